//! The members of a request that are more than an escaped text: page URL, custom variables, and
//! hit identifier with date.

use std::borrow::Cow;

use chrono::{DateTime, Datelike};

use crate::format::short::is_plain;
use crate::hit::{LoggedRequest, Site};
use crate::hit_id::{self, HitId};
use crate::matomo::json::{self, InvalidBytes};
use crate::privacy::AddressMask;

/// The host in the URL of a hit whose log has an empty one.
pub const NO_HOST: &str = "no-hostname-found-in-log";

/// Characters of path and query, and of the referrer, that are sent.
const MAX_URL_CHARS: usize = 1024;

const SECONDS_PER_DAY: i64 = 86_400;

/// The part of a URL before the path: scheme and host, or the site's main URL if the request has no
/// host. See guide/requests.md, "Page addresses".
pub fn origin(request: &LoggedRequest, site: &Site) -> Vec<u8> {
    match (request.host, &site.main_url) {
        (Some(host), _) if memchr::memmem::find(host, b"://").is_some() => host.to_vec(),
        (Some(b"") | None, Some(main_url)) => main_url.as_bytes().to_vec(),
        (host, _) => {
            let host = host.filter(|host| !host.is_empty());
            let host = host.unwrap_or(NO_HOST.as_bytes());
            let scheme = request.scheme.unwrap_or(site.scheme().as_bytes());
            [scheme, b"://", host].concat()
        }
    }
}

/// The part of a URL after the host: path, delimiter and query.
#[derive(Clone, Copy)]
pub struct PagePath<'a> {
    path: &'a [u8],
    delimiter: &'a [u8],
    query: &'a [u8],
}

impl<'a> PagePath<'a> {
    /// Leaves out the query if `delimiter` is `None`.
    pub fn new(request: &LoggedRequest<'a>, delimiter: Option<&'a [u8]>) -> Self {
        let (delimiter, query) = match delimiter {
            Some(delimiter) if !request.query.is_empty() => (delimiter, request.query),
            _ => (&b""[..], &b""[..]),
        };
        Self {
            path: request.path,
            delimiter,
            query,
        }
    }

    /// Appends it to the inside of a JSON string, truncated to [`MAX_URL_CHARS`].
    pub fn push(self, out: &mut Vec<u8>) {
        if self.path.len() + self.delimiter.len() + self.query.len() > MAX_URL_CHARS {
            json::push_url(out, truncate(&self.whole()));
            return;
        }
        json::push_url(out, self.path);
        if !self.query.is_empty() {
            json::push_url(out, self.delimiter);
            json::push_url(out, self.query);
        }
    }

    /// Appends it percent-encoded, truncated to [`MAX_URL_CHARS`].
    pub fn push_encoded(self, out: &mut Vec<u8>) {
        push_encoded(out, truncate(&self.whole()));
    }

    fn whole(self) -> Vec<u8> {
        [self.path, self.delimiter, self.query].concat()
    }
}

/// Truncates a text to [`MAX_URL_CHARS`].
pub fn truncate(text: &[u8]) -> &[u8] {
    first_chars(text, MAX_URL_CHARS)
}

/// Truncates a text to so many characters. A byte that is not UTF-8 counts as a character.
pub fn first_chars(text: &[u8], chars: usize) -> &[u8] {
    if text.len() <= chars {
        return text;
    }
    let mut left = chars;
    let mut end = 0;
    for chunk in text.utf8_chunks() {
        let valid = chunk.valid();
        match valid.char_indices().nth(left) {
            Some((at, _)) => return &text[..end + at],
            None => left -= valid.chars().count(),
        }
        end += valid.len();
        let broken = chunk.invalid().len().min(left);
        left -= broken;
        end += broken;
        if left == 0 {
            break;
        }
    }
    &text[..end]
}

/// Percent-encodes all bytes but letters, digits and `_.-~`. The result needs no escaping in JSON.
pub fn push_encoded(out: &mut Vec<u8>, url: &[u8]) {
    let mut valid = Vec::new();
    json::push_valid(&mut valid, url, InvalidBytes::PercentEncoded);
    for byte in valid {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => out.push(byte),
            _ => json::push_percent(out, byte),
        }
    }
}

/// Appends `cvar` or `_cvar`, which is JSON in a JSON string:
/// `,"cvar":"{\"1\":[\"HTTP-code\",\"200\"]}"`. Appends nothing if there are no variables.
pub struct CustomVariables<'o> {
    out: &'o mut Vec<u8>,
    name: &'static str,
    number: u32,
}

impl<'o> CustomVariables<'o> {
    pub fn new(name: &'static str, out: &'o mut Vec<u8>) -> Self {
        Self {
            out,
            name,
            number: 0,
        }
    }

    /// Pushes fields as logged, with masked addresses. Skips those that are missing or `-`.
    pub fn push_fields(
        &mut self,
        request: &LoggedRequest,
        fields: &[(String, String)],
        mask: Option<AddressMask>,
    ) {
        for (field, name) in fields {
            if let Some(value) = logged_value(request, field, mask) {
                self.push(name, &value);
            }
        }
    }

    pub fn push(&mut self, name: &str, value: &[u8]) {
        self.number += 1;
        if self.number == 1 {
            self.out.extend_from_slice(b",\"");
            self.out.extend_from_slice(self.name.as_bytes());
            self.out.extend_from_slice(b"\":\"{");
        } else {
            self.out.push(b',');
        }
        self.out.extend_from_slice(b"\\\"");
        json::push_number(self.out, self.number);
        self.out.extend_from_slice(b"\\\":[\\\"");
        push_twice(self.out, name.as_bytes());
        self.out.extend_from_slice(b"\\\",\\\"");
        push_twice(self.out, value);
        self.out.extend_from_slice(b"\\\"]");
    }

    pub fn end(self) {
        if self.number > 0 {
            self.out.extend_from_slice(b"}\"");
        }
    }
}

/// A field as logged, with masked addresses. `None` if it is missing or `-`.
pub fn logged_value<'a>(
    request: &LoggedRequest<'a>,
    field: &str,
    mask: Option<AddressMask>,
) -> Option<Cow<'a, [u8]>> {
    let value = request.raw(field).filter(|value| *value != b"-")?;
    Some(match mask {
        None => Cow::Borrowed(value),
        Some(mask) => mask.mask_text(value),
    })
}

/// Appends a text as the inside of a JSON string inside a JSON string.
fn push_twice(out: &mut Vec<u8>, text: &[u8]) {
    if is_plain(text) {
        out.extend_from_slice(text);
    } else {
        let mut once = Vec::new();
        json::push_text(&mut once, text);
        json::push_text(out, &once);
    }
}

/// Writes `pv_id` and `cdt`. Keeps the last date, since most hits are of the same day as the one
/// before.
#[derive(Debug)]
pub struct IdAndDate {
    day: Option<i64>,
    text: [u8; TEMPLATE.len()],
}

const TEMPLATE: &[u8; 45] = b",\"pv_id\":\"......\",\"cdt\":\"yyyy-mm-dd hh:mm:ss\"";
const ID_AT: usize = 10;
const MEMBER_OF_DATE_AT: usize = 17;
const DATE_AT: usize = 25;
const CLOCK_AT: usize = DATE_AT + 11;

impl Default for IdAndDate {
    fn default() -> Self {
        Self {
            day: None,
            text: *TEMPLATE,
        }
    }
}

impl IdAndDate {
    /// Returns both members, each with a comma before it. `time` is in seconds since 1970, UTC, in
    /// the years 1 to 9999.
    pub fn text(&mut self, id: &HitId, time: i64) -> &[u8] {
        self.text[ID_AT..ID_AT + hit_id::LENGTH].copy_from_slice(id);
        self.set_time(time);
        &self.text
    }

    /// Returns the date alone, with a comma before it.
    pub fn date_text(&mut self, time: i64) -> &[u8] {
        self.set_time(time);
        &self.text[MEMBER_OF_DATE_AT..]
    }

    fn set_time(&mut self, time: i64) {
        let day = time.div_euclid(SECONDS_PER_DAY);
        if self.day != Some(day) {
            self.day = Some(day);
            self.set_day(day);
        }
        let second = time.rem_euclid(SECONDS_PER_DAY) as u32;
        let clock = [second / 3600, second / 60 % 60, second % 60];
        for (index, number) in clock.into_iter().enumerate() {
            self.set(CLOCK_AT + 3 * index, number);
        }
    }

    fn set_day(&mut self, day: i64) {
        // Never out of range: chrono knows the years 1 to 9999.
        let date = DateTime::from_timestamp(day * SECONDS_PER_DAY, 0).unwrap_or_default();
        // Its formatter takes ten times as long, and sessions often change the day.
        let year = date.year().unsigned_abs();
        self.set(DATE_AT, year / 100);
        self.set(DATE_AT + 2, year % 100);
        self.set(DATE_AT + 5, date.month());
        self.set(DATE_AT + 8, date.day());
    }

    /// Sets two digits.
    fn set(&mut self, at: usize, number: u32) {
        let digits = [b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8];
        self.text[at..at + 2].copy_from_slice(&digits);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::matomo::json::push_url;

    #[test]
    fn a_long_text_is_truncated_to_1024_characters() {
        assert_eq!(truncate(&[b'x'; 1025]).len(), 1024);
        assert_eq!(truncate("é".repeat(1030).as_bytes()).len(), 2048);
        assert_eq!(truncate(&[0xE9; 2000]).len(), 1024);
    }

    fn written(variables: &[(&str, &[u8])]) -> String {
        let mut out = Vec::new();
        let mut member = CustomVariables::new("cvar", &mut out);
        for (name, value) in variables {
            member.push(name, value);
        }
        member.end();
        String::from_utf8(out).unwrap()
    }

    fn read(written: &str) -> Value {
        let whole: Value = serde_json::from_str(&format!("{{\"x\":1{written}}}")).unwrap();
        serde_json::from_str(whole["cvar"].as_str().unwrap()).unwrap()
    }

    #[test]
    fn custom_variables_are_json_in_a_json_string() {
        let text = written(&[("HTTP-method", b"GET"), ("HTTP-code", b"200")]);
        let expected =
            r#","cvar":"{\"1\":[\"HTTP-method\",\"GET\"],\"2\":[\"HTTP-code\",\"200\"]}""#;
        assert_eq!(text, expected);
    }

    #[test]
    fn no_custom_variables_append_nothing() {
        assert_eq!(written(&[]), "");
    }

    fn expected(id: &str, time: i64) -> String {
        let date = DateTime::from_timestamp(time, 0).unwrap();
        format!(
            ",\"pv_id\":\"{id}\",{}",
            date.format("\"cdt\":\"%Y-%m-%d %H:%M:%S\"")
        )
    }

    #[test]
    fn each_date_is_written_for_its_own_day() {
        let mut id_and_date = IdAndDate::default();
        for time in [0, -1, 86_399, 86_400, 86_399, 1_715_644_801] {
            let text = id_and_date.text(b"abcdef", time).to_vec();
            assert_eq!(String::from_utf8(text).unwrap(), expected("abcdef", time));
        }
    }

    proptest! {
        #[test]
        fn truncation_keeps_at_most_1024_characters(bytes in prop::collection::vec(any::<u8>(), 0..5000)) {
            let kept = truncate(&bytes);
            prop_assert!(bytes.starts_with(kept));
            let characters: usize = kept.utf8_chunks().map(|c| c.valid().chars().count() + c.invalid().len()).sum();
            prop_assert!(characters <= 1024);
            prop_assert!(kept.len() == bytes.len() || characters == 1024);
        }

        /// Short paths are written part by part, long ones as a whole.
        #[test]
        fn a_page_path_is_written_like_one_text(
            path in prop::collection::vec(any::<u8>(), 0..800),
            query in prop::collection::vec(any::<u8>(), 0..800),
        ) {
            let page = PagePath { path: &path, delimiter: if query.is_empty() { b"" } else { "é?".as_bytes() }, query: &query };
            let (mut found, mut expected) = (Vec::new(), Vec::new());
            page.push(&mut found);
            push_url(&mut expected, truncate(&page.whole()));
            prop_assert_eq!(String::from_utf8(found).unwrap(), String::from_utf8(expected).unwrap());
        }

        #[test]
        fn any_name_and_value_can_be_read_back(name in any::<String>(), value in any::<Vec<u8>>()) {
            let found = read(&written(&[("first", b"\"\\"), (&name, &value)]));
            let lossy = String::from_utf8_lossy(&value);
            prop_assert_eq!(found, json!({"1": ["first", "\"\\"], "2": [name, lossy]}));
        }

        #[test]
        fn dates_are_written_as_chrono_writes_them(
            times in prop::collection::vec(-62_135_596_800i64..253_402_300_800, 1..4),
        ) {
            let mut id_and_date = IdAndDate::default();
            for time in times {
                let text = id_and_date.text(b"ABC123", time).to_vec();
                prop_assert_eq!(String::from_utf8(text).unwrap(), expected("ABC123", time));
            }
        }
    }
}
