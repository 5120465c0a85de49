//! Replays the tracking requests in the log of a Matomo server; see guide/requests.md, "Replaying".

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;

use foldhash::fast::RandomState;
use serde_json::{Map, Value};

use super::LoggedRequest;
use super::rewrite::OwnAddresses;
use crate::format::escapes;
use crate::privacy::AddressMask;

/// Arguments that are times, which `--add-to-date` shifts, too.
const TIME_KEYS: [&str; 4] = ["_idts", "_viewts", "_ects", "_refts"];
/// Arguments that identify the visitor. The first that a request has counts.
const VISITOR_KEYS: [&str; 4] = ["uid", "cid", "_id", "cip"];
/// Keys with deeper brackets are not nested, which bounds the recursion. PHP has the same limit.
const MAX_DEPTH: usize = 64;

#[derive(Clone, Debug)]
pub struct ReplayOptions {
    /// The end of the path of tracking requests. Defaults to `piwik.php` and `matomo.php`.
    pub tracker_file: Option<String>,
    /// Seconds.
    pub add_to_date: i64,
}

/// The arguments of a tracking request in the log, in order.
///
/// Boxed because every accepted hit has room for them, but only replayed ones have any.
#[derive(Debug, PartialEq)]
pub struct Arguments(Box<Map<String, Value>>);

impl ReplayOptions {
    /// Returns `None` if the request is not a tracking request with an `idsite`.
    pub fn arguments(&self, request: &LoggedRequest) -> Option<Arguments> {
        let path = request.path.to_ascii_lowercase();
        let is_tracker = match &self.tracker_file {
            Some(file) => path.ends_with(file.as_bytes()),
            None => path.ends_with(b"piwik.php") || path.ends_with(b"matomo.php"),
        };
        let mut arguments = is_tracker.then(|| Arguments::parse(request.query))?;
        arguments.idsite()?;
        if self.add_to_date != 0 {
            arguments.shift(self.add_to_date);
        }
        Some(arguments)
    }
}

impl Arguments {
    fn parse(query: &[u8]) -> Arguments {
        let mut arguments = PhpArray::default();
        for pair in query.split(|byte| *byte == b'&') {
            let Some(at) = memchr::memchr(b'=', pair) else {
                continue;
            };
            let (key, value) = (&pair[..at], &pair[at + 1..]);
            let (key, value) = (decoded(key), decoded(value));
            // With `send_image=0` the response to a batch would be an empty 204, and its outcome
            // unknown.
            if key.is_empty() || value.is_empty() || key == "send_image" {
                continue;
            }
            match brackets(&key) {
                Some((name, inner)) => arguments.nest(name, &inner, value),
                None => arguments.put(key, value),
            }
        }
        Arguments(Box::new(arguments.members()))
    }

    pub fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(Value::as_str)
    }

    pub fn idsite(&self) -> Option<&str> {
        self.text("idsite")
    }

    /// The user, who identifies the visitor before all else.
    pub fn user(&self) -> Option<&str> {
        self.text("uid")
    }

    /// The argument that identifies the visitor, if the request has one.
    pub fn visitor(&self) -> Option<&str> {
        VISITOR_KEYS.iter().find_map(|key| self.text(key))
    }

    /// Whether the request has a `pv_id`, which replaces ours.
    pub fn has_pv_id(&self) -> bool {
        self.0.contains_key("pv_id")
    }

    /// Masks addresses in the texts: in addresses of pages and in user agents, which have versions
    /// that look the same, only those of the line itself.
    pub(super) fn mask(&mut self, mask: AddressMask, own: &OwnAddresses) {
        const WITH_VERSIONS: [&str; 5] = ["url", "download", "link", "action_name", "ua"];
        for (key, value) in self.0.iter_mut() {
            match WITH_VERSIONS.contains(&key.as_str()) {
                true => mask_value(value, mask, &|address| own.contains(address)),
                false => mask_value(value, mask, &|_| true),
            }
        }
    }

    fn shift(&mut self, seconds: i64) {
        for (key, value) in self.0.iter_mut() {
            let time = value.as_str().and_then(|text| text.parse::<i64>().ok());
            if let Some(time) = time.filter(|_| TIME_KEYS.contains(&key.as_str())) {
                *value = Value::String(time.saturating_add(seconds).to_string());
            }
        }
    }

    /// Merges the arguments into `own`, the request made from the line. They win, except over
    /// `idsite`, the title of a redirect, and the length, generation time, event, download and bot
    /// flag of the line.
    pub fn merge_into(self, own: &[u8], logged: &LoggedRequest) -> Vec<u8> {
        let Ok(mut request) = serde_json::from_slice::<Map<String, Value>>(own) else {
            return own.to_vec();
        };
        if self.visitor().is_some() {
            // It replaces the address of the line.
            request.remove("cid");
        }
        for (key, value) in *self.0 {
            let keep_own = match key.as_str() {
                "idsite" => true,
                "bw_bytes" | "pf_srv" | "e_c" | "e_a" | "e_n" | "download" | "bots" => {
                    request.contains_key(&key)
                }
                "action_name" => logged.is_redirect(),
                _ => false,
            };
            if !keep_own {
                request.insert(key, value);
            }
        }
        Value::Object(request).to_string().into_bytes()
    }
}

/// Decodes `+` and `%XX`. Bytes that are not UTF-8 become U+FFFD.
fn decoded(text: &[u8]) -> String {
    let mut bytes = text.to_vec();
    for byte in &mut bytes {
        if *byte == b'+' {
            *byte = b' ';
        }
    }
    let length = escapes::decode_percent(&mut bytes);
    bytes.truncate(length);
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Splits `a[b][]` into `a` and `["b", ""]`. Returns `None` for a plain key.
fn brackets(key: &str) -> Option<(&str, Vec<&str>)> {
    let (name, inner) = key.split_once('[').filter(|(name, _)| !name.is_empty())?;
    let inner: Vec<&str> = inner.strip_suffix(']')?.split("][").collect();
    (inner.len() <= MAX_DEPTH).then_some((name, inner))
}

/// A PHP array in the making. Adding an argument takes constant time, since queries may be hostile.
#[derive(Default)]
struct PhpArray {
    /// `Null` for members in `arrays`.
    members: Map<String, Value>,
    arrays: HashMap<String, PhpArray, RandomState>,
    /// The key that `[]` means: one more than the largest number.
    next: u64,
}

impl PhpArray {
    fn put(&mut self, key: String, value: String) {
        self.note(&key);
        self.arrays.remove(&key);
        self.members.insert(key, Value::String(value));
    }

    /// Adds a value under a key and the keys in brackets after it. An empty key is the next number.
    fn nest(&mut self, key: &str, inner: &[&str], value: String) {
        let key = match key {
            "" => self.next.to_string(),
            _ => key.to_owned(),
        };
        match inner {
            [] => self.put(key, value),
            [first, rest @ ..] => {
                self.note(&key);
                self.members.insert(key.clone(), Value::Null);
                self.arrays.entry(key).or_default().nest(first, rest, value);
            }
        }
    }

    fn note(&mut self, key: &str) {
        if let Some(number) = number(key) {
            self.next = self.next.max(number.saturating_add(1));
        }
    }

    fn members(mut self) -> Map<String, Value> {
        for (key, member) in &mut self.members {
            if let Some(array) = self.arrays.remove(key) {
                *member = array.value();
            }
        }
        self.members
    }

    /// A list if the keys are 0 to n-1 in any order, otherwise an object.
    fn value(self) -> Value {
        let members = self.members();
        let indexes = 0..members.len() as u64;
        let is_index = |key: &String| number(key).is_some_and(|number| indexes.contains(&number));
        if !members.keys().all(is_index) {
            return Value::Object(members);
        }
        // All keys differ, so each index occurs once.
        let mut list = vec![Value::Null; members.len()];
        for (key, member) in members {
            if let Some(slot) = number(&key).and_then(|number| list.get_mut(number as usize)) {
                *slot = member;
            }
        }
        Value::Array(list)
    }
}

/// The number that PHP takes a key for: decimal, without sign or leading zeros.
fn number(key: &str) -> Option<u64> {
    let is_plain = key == "0" || !key.starts_with(['0', '+']);
    is_plain.then(|| key.parse().ok())?
}

/// Masks the addresses in all texts of a value for which this returns true.
fn mask_value(value: &mut Value, mask: AddressMask, is_wanted: &dyn Fn(Option<IpAddr>) -> bool) {
    match value {
        Value::String(text) => {
            if let Cow::Owned(masked) = mask.mask_text_if(text.as_bytes(), is_wanted) {
                *text = String::from_utf8_lossy(&masked).into_owned();
            }
        }
        Value::Array(values) => values
            .iter_mut()
            .for_each(|value| mask_value(value, mask, is_wanted)),
        Value::Object(members) => members
            .values_mut()
            .for_each(|value| mask_value(value, mask, is_wanted)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parsed(query: &str) -> Value {
        Value::Object(*Arguments::parse(query.as_bytes()).0)
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
    fn keys_from_0_on_are_a_list_in_any_order() {
        assert_eq!(parsed("c[1]=y&c[0]=x"), json!({"c": ["x", "y"]}));
        assert_eq!(
            parsed("h[1][ty]=b&h[0][ty]=a&h[1][x]=c"),
            json!({"h": [{"ty": "a"}, {"ty": "b", "x": "c"}]})
        );
        assert_eq!(
            parsed("a[00]=x&b[0]=x&b[01]=y&c[0]=x&c[2]=y"),
            json!({"a": {"00": "x"}, "b": {"0": "x", "01": "y"}, "c": {"0": "x", "2": "y"}})
        );
    }

    #[test]
    fn an_empty_key_is_the_number_after_the_largest() {
        assert_eq!(
            parsed("a[5]=x&a[2]=y&a[]=z&a[][b]=u&a[6]=v"),
            json!({"a": {"5": "x", "2": "y", "6": "v", "7": {"b": "u"}}})
        );
    }

    #[test]
    fn a_long_query_is_parsed_in_linear_time() {
        let begun = std::time::Instant::now();
        let different: String = (0..100_000).map(|n| format!("k{n}=1&")).collect();
        assert_eq!(parsed(&different).as_object().unwrap().len(), 100_000);
        let same = "a[]=1&".repeat(100_000);
        assert_eq!(parsed(&same)["a"].as_array().unwrap().len(), 100_000);
        // Quadratic time would be minutes.
        assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    }

    #[test]
    fn the_last_of_repeated_arguments_counts_and_empty_ones_are_dropped() {
        assert_eq!(
            parsed("a=1&b=&a=2&c&d=+x%20y%zz"),
            json!({"a": "2", "d": " x y%zz"})
        );
        assert_eq!(parsed("a=1&a[x]=2"), json!({"a": {"x": "2"}}));
        assert_eq!(parsed("a[x]=2&a=1"), json!({"a": "1"}));
    }

    #[test]
    fn send_image_is_left_out() {
        assert_eq!(parsed("send_image=0&a=1"), json!({"a": "1"}));
    }

    #[test]
    fn deep_nesting_is_a_plain_key() {
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
            Value::Object(*arguments.0),
            json!({"_idts": "70", "_viewts": "x", "other": "100"})
        );
    }
}
