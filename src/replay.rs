//! Replaying: the log is that of a Matomo, and its tracking requests are sent again (SPEC section 6).

use serde_json::{Map, Value};

use crate::hit::Hit;

/// Times within a request, which `--add-to-date` shifts too.
const TIMES: [&str; 4] = ["_idts", "_viewts", "_ects", "_refts"];
/// What tells visitors apart, first found.
const VISITOR: [&str; 4] = ["uid", "cid", "_id", "cip"];
/// Deeper brackets than these are no nesting but somebody's attempt to exhaust the stack (PHP stops at 64 too).
const DEEPEST: usize = 64;

#[derive(Clone, Debug)]
pub struct ReplayOptions {
    /// The end of a tracking request's path; without it `piwik.php` and `matomo.php`.
    pub tracker_file: Option<String>,
    /// Seconds.
    pub add_to_date: i64,
}

/// The arguments of one tracking request in the log, in their order.
#[derive(Debug, PartialEq)]
pub struct Arguments(Vec<(String, Value)>);

impl ReplayOptions {
    /// The arguments of a hit that is a tracking request with an `idsite`. `None`: it is none, the line is invalid.
    pub fn arguments(&self, hit: &Hit) -> Option<Arguments> {
        let path = hit.path.to_ascii_lowercase();
        let is_tracker = match &self.tracker_file {
            Some(file) => path.ends_with(file.as_bytes()),
            None => path.ends_with(b"piwik.php") || path.ends_with(b"matomo.php"),
        };
        let mut arguments = is_tracker.then(|| Arguments::parse(hit.query))?;
        arguments.idsite()?;
        if self.add_to_date != 0 {
            arguments.shift(self.add_to_date);
        }
        Some(arguments)
    }
}

impl Arguments {
    fn parse(query: &[u8]) -> Arguments {
        let mut flat: Vec<(String, Value)> = Vec::new();
        let mut nested = Map::new();
        for pair in query.split(|byte| *byte == b'&') {
            let (key, value) = match memchr::memchr(b'=', pair) {
                Some(place) => (&pair[..place], &pair[place + 1..]),
                None => continue,
            };
            let (key, value) = (decoded(key), decoded(value));
            // Matomo answers `send_image=0` with an empty 204: the batch's outcome would be unknown.
            if key.is_empty() || value.is_empty() || key == "send_image" {
                continue;
            }
            match brackets(&key) {
                Some((name, inner)) => {
                    if !flat.iter().any(|(known, _)| known == name) {
                        flat.push((name.to_owned(), Value::Null));
                    }
                    nest(nested.entry(name).or_insert(Value::Null), &inner, value);
                }
                None => {
                    flat.retain(|(known, _)| *known != key);
                    nested.remove(&key);
                    flat.push((key, Value::String(value)));
                }
            }
        }
        for (key, value) in &mut flat {
            if let Some(tree) = nested.remove(key.as_str()) {
                *value = listed(tree);
            }
        }
        Arguments(flat)
    }

    pub fn text(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == key)
            .and_then(|(_, value)| value.as_str())
    }

    pub fn idsite(&self) -> Option<&str> {
        self.text("idsite")
    }

    /// What tells this visitor from others, where the request has something better than the address.
    pub fn visitor(&self) -> Option<&str> {
        VISITOR.iter().find_map(|key| self.text(key))
    }

    fn shift(&mut self, seconds: i64) {
        for (key, value) in &mut self.0 {
            let time = value.as_str().and_then(|text| text.parse::<i64>().ok());
            if let Some(time) = time.filter(|_| TIMES.contains(&key.as_str())) {
                *value = Value::String(time.saturating_add(seconds).to_string());
            }
        }
    }

    /// Puts the arguments over the line's own request. The line's own length, times, event, download and bot mark,
    /// and a kept redirect's title, stay.
    pub fn over(self, own: &[u8], hit: &Hit) -> Vec<u8> {
        let Ok(mut request) = serde_json::from_slice::<Map<String, Value>>(own) else {
            return own.to_vec();
        };
        for (key, value) in self.0 {
            let kept = match key.as_str() {
                "idsite" => true,
                "bw_bytes" | "pf_srv" | "e_c" | "e_a" | "e_n" | "download" | "bots" => {
                    request.contains_key(&key)
                }
                "action_name" => hit.is_redirect(),
                _ => false,
            };
            if !kept {
                request.insert(key, value);
            }
        }
        Value::Object(request).to_string().into_bytes()
    }
}

/// `+` is a blank, `%XX` a byte; what is no UTF-8 then becomes U+FFFD.
fn decoded(text: &[u8]) -> String {
    let hex = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [byte, after @ ..] = rest {
        rest = after;
        bytes.push(match (byte, after) {
            (b'+', _) => b' ',
            (b'%', [high, low, behind @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                rest = behind;
                hex(*high).unwrap_or(0) << 4 | hex(*low).unwrap_or(0)
            }
            _ => *byte,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `a[b][]` is `a` and `["b", ""]`. `None`: a plain key.
fn brackets(key: &str) -> Option<(&str, Vec<&str>)> {
    let (name, inner) = key.split_once('[').filter(|(name, _)| !name.is_empty())?;
    let inner: Vec<&str> = inner.strip_suffix(']')?.split("][").collect();
    (inner.len() <= DEEPEST).then_some((name, inner))
}

fn nest(tree: &mut Value, keys: &[&str], value: String) {
    let [key, rest @ ..] = keys else {
        *tree = Value::String(value);
        return;
    };
    if !tree.is_object() {
        *tree = Value::Object(Map::new());
    }
    if let Value::Object(members) = tree {
        let key = if key.is_empty() {
            next_index(members)
        } else {
            (*key).to_owned()
        };
        nest(members.entry(key).or_insert(Value::Null), rest, value);
    }
}

/// PHP's next number of an array: one more than the largest.
fn next_index(members: &Map<String, Value>) -> String {
    let largest = members
        .keys()
        .filter_map(|key| key.parse::<u64>().ok())
        .max();
    largest
        .map_or(0, |number| number.saturating_add(1))
        .to_string()
}

/// Objects whose keys are 0..n-1 become lists.
fn listed(tree: Value) -> Value {
    let Value::Object(members) = tree else {
        return tree;
    };
    let in_order = members
        .keys()
        .enumerate()
        .all(|(number, key)| *key == number.to_string());
    if in_order {
        Value::Array(
            members
                .into_iter()
                .map(|(_, member)| listed(member))
                .collect(),
        )
    } else {
        Value::Object(
            members
                .into_iter()
                .map(|(key, member)| (key, listed(member)))
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parsed(query: &str) -> Value {
        Value::Object(Arguments::parse(query.as_bytes()).0.into_iter().collect())
    }

    #[test]
    fn brackets_become_nested_values() {
        assert_eq!(
            parsed("h[0][ty]=1&h[0][x]=2&h[1][ty]=3&k[a][]=1&k[a][]=2"),
            json!({"h": [{"ty": "1", "x": "2"}, {"ty": "3"}], "k": {"a": ["1", "2"]}})
        );
        assert_eq!(parsed("a[1]=x&a[2]=y"), json!({"a": {"1": "x", "2": "y"}}));
        assert_eq!(parsed("a[]=x&a[]=y&a[]=z"), json!({"a": ["x", "y", "z"]}));
        assert_eq!(parsed("a[=x&[b]=y"), json!({"a[": "x", "[b]": "y"}));
    }

    #[test]
    fn the_last_of_repeated_arguments_counts_and_empty_ones_are_absent() {
        assert_eq!(
            parsed("a=1&b=&a=2&c&d=+x%20y%zz"),
            json!({"a": "2", "d": " x y%zz"})
        );
        assert_eq!(parsed("a=1&a[x]=2"), json!({"a": {"x": "2"}}));
        assert_eq!(parsed("a[x]=2&a=1"), json!({"a": "1"}));
    }

    #[test]
    fn what_would_silence_the_answer_is_left_out() {
        assert_eq!(parsed("send_image=0&a=1"), json!({"a": "1"}));
    }

    #[test]
    fn hostile_nesting_is_a_plain_key() {
        let key = format!("a{}", "[x]".repeat(100_000));
        assert_eq!(
            parsed(&format!("{key}=1"))
                .as_object()
                .unwrap()
                .keys()
                .next()
                .unwrap(),
            &key
        );
    }

    #[test]
    fn times_are_shifted() {
        let mut arguments = Arguments::parse(b"_idts=100&_viewts=x&other=100");
        arguments.shift(-30);
        assert_eq!(
            Value::Object(arguments.0.into_iter().collect()),
            json!({"_idts": "70", "_viewts": "x", "other": "100"})
        );
    }
}
