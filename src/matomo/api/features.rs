//! What the server can do, as far as it depends on its version and plugins.

use serde_json::Value;

use super::{Api, ApiReply, ListReply, bulk_form};

/// What a server can do. What is unknown is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerFeatures {
    /// Major and minor version.
    pub version: Option<(u32, u32)>,
    /// Whether the plugin CustomVariables is active. It is no longer part of Matomo 5.
    pub custom_variables: Option<bool>,
    /// Whether the plugin QueuedTracking is active.
    pub queued_tracking: Option<bool>,
}

impl Api {
    /// Returns what the server can do. Asks once. If Matomo does not answer, nothing is known.
    pub fn features(&self) -> ServerFeatures {
        *self.features.get_or_init(|| self.ask_for_features())
    }

    /// Returns the number of workers of Matomo's queue, if it is set and the token may see it. Asks
    /// each time.
    pub fn queue_workers(&self) -> Option<usize> {
        let method = "CorePluginsAdmin.getSystemSettings";
        let ListReply(plugins): ListReply<Value> = self.query(method, &[]).ok()?;
        let mut plugins = plugins.iter();
        let plugin = plugins.find(|plugin| plugin["pluginName"] == "QueuedTracking")?;
        let mut settings = plugin["settings"].as_array()?.iter();
        let workers = settings.find(|setting| setting["name"] == "numQueueWorkers")?;
        match &workers["value"] {
            Value::Number(number) => usize::try_from(number.as_u64()?).ok(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        }
    }

    fn ask_for_features(&self) -> ServerFeatures {
        let questions = [
            &[("method", "API.getMatomoVersion")][..],
            &[
                ("method", "API.isPluginActivated"),
                ("pluginName", "CustomVariables"),
            ],
            &[
                ("method", "API.isPluginActivated"),
                ("pluginName", "QueuedTracking"),
            ],
        ];
        let form = bulk_form(questions);
        let form: Vec<(&str, &str)> = form.iter().map(|(k, v)| (&**k, &**v)).collect();
        let reply = self.with_retries(|| self.call_with_token("API.getBulkRequest", &form));
        let Ok(ApiReply::Json(body)) = reply else {
            return ServerFeatures::default();
        };
        let answers = serde_json::from_slice::<Vec<Value>>(&body).unwrap_or_default();
        let answer = |index: usize| answers.get(index).map(|answer| &answer["value"]);
        ServerFeatures {
            version: answer(0).and_then(Value::as_str).and_then(parse_version),
            custom_variables: answer(1).and_then(Value::as_bool),
            queued_tracking: answer(2).and_then(Value::as_bool),
        }
    }
}

/// Major and minor of a version such as `5.7.1` or `6.0.0-b1`.
fn parse_version(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.trim().split(['.', '-']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn major_and_minor_version_are_read() {
        for (text, expected) in [
            ("5.7.1", Some((5, 7))),
            ("5.10.0-b2", Some((5, 10))),
            ("6.0-dev", Some((6, 0))),
            (" 4.16.1\n", Some((4, 16))),
            ("5", None),
            ("", None),
            ("Matomo 5.7", None),
        ] {
            assert_eq!(parse_version(text), expected, "{text}");
        }
    }
}
