//! Visits as Matomo's visitor log tells them, for the question which hits of a batch are there.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Deserializer};

use super::reply::List;

/// What stays as it is inside a condition of a segment.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// One page of one question.
#[derive(Clone, Copy, Debug)]
pub struct VisitQuery<'a> {
    pub idsite: &'a str,
    /// The first day and the last, `2026-11-15,2026-11-17`: days of the site's time zone.
    pub days: &'a str,
    /// As [`any_of`] writes it, conditions joined by `;` (and) or `,` (or). Empty: all visits.
    pub segment: &'a str,
    /// Most visits to be given.
    pub limit: u32,
    /// How many are passed over first.
    pub offset: u32,
}

/// One visit; what else Matomo tells of it is passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Visit {
    /// Perhaps anonymised: its last bytes 0.
    #[serde(rename = "visitIp", default, deserialize_with = "text")]
    pub ip: Option<String>,
    #[serde(rename = "actionDetails", default, deserialize_with = "list")]
    pub actions: Vec<SeenAction>,
}

/// One action of a visit: a page view, download or event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct SeenAction {
    /// The hit's `pv_id`.
    #[serde(rename = "idpageview", default, deserialize_with = "text")]
    pub pv_id: Option<String>,
}

/// A segment for visits whose `field` (`visitIp`, `actionUrl`) is one of some values, given as they are.
pub fn any_of<'a>(field: &str, values: impl IntoIterator<Item = &'a str>) -> String {
    values
        .into_iter()
        .map(|value| format!("{field}=={}", utf8_percent_encode(value, PLAIN)))
        .collect::<Vec<_>>()
        .join(",")
}

/// A text or number; anything else counts as absent.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Shape {
        Text(String),
        Number(u64),
        Other(serde::de::IgnoredAny),
    }
    Ok(match Shape::deserialize(deserializer)? {
        Shape::Text(text) => Some(text),
        Shape::Number(number) => Some(number.to_string()),
        Shape::Other(_) => None,
    })
}

fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SeenAction>, D::Error> {
    List::deserialize(deserializer).map(|List(items)| items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visits_are_read_as_matomo_tells_them() {
        let told = r#"[{"idVisit":"7","visitIp":"192.0.2.0","actionDetails":[
            {"type":"action","url":"http://h/a","idpageview":"aB3xYz","timeSpent":5},
            {"type":"event","url":null,"idpageview":123456,"eventValue":{"a":[1]}},
            {"type":"search","idpageview":null}]},
            {"visitIp":false,"actionDetails":{"1":{"url":"http://h/b","idpageview":"q"}}},
            {}]"#;
        let visits: Vec<Visit> = serde_json::from_str(told).unwrap();
        let ids: Vec<Vec<Option<&str>>> = visits
            .iter()
            .map(|visit| visit.actions.iter().map(|a| a.pv_id.as_deref()).collect())
            .collect();
        assert_eq!(
            ids,
            [
                vec![Some("aB3xYz"), Some("123456"), None],
                vec![Some("q")],
                vec![]
            ]
        );
        assert_eq!(visits[0].ip.as_deref(), Some("192.0.2.0"));
        assert_eq!(visits[1].ip, None);
    }

    #[test]
    fn values_of_a_segment_cannot_become_conditions() {
        assert_eq!(
            any_of("actionUrl", ["http://h/?a=1,2;b==é", "x-_.~"]),
            "actionUrl==http%3A%2F%2Fh%2F%3Fa%3D1%2C2%3Bb%3D%3D%C3%A9,actionUrl==x-_.~"
        );
        assert_eq!(
            any_of("visitIp", ["2001:db8::1"]),
            "visitIp==2001%3Adb8%3A%3A1"
        );
        assert_eq!(any_of("visitIp", []), "");
    }
}
