//! A hit as a tracking request: one JSON object, written straight into the batch (SPEC section 6).

use crate::format::Field;
use crate::hit::Hit;
use crate::listening::{Mark, MarkKind};
use crate::matomo::json::{self, Broken};
use crate::site::Site;

/// Characters of path and query, and of the referrer, that are sent; the rest is cut off.
const LONGEST_URL: usize = 1024;

/// What goes into every request; from the options of the same names.
#[derive(Clone, Debug, Default)]
pub struct TrackingOptions {
    pub query_delimiter: Vec<u8>,
    pub strip_query: bool,
    pub title_delimiter: String,
    pub track_http_method: bool,
    pub reverse_dns: bool,
    pub bots: bool,
    /// `rec` is 0 unless the log's own request says otherwise.
    pub replaying: bool,
    /// Field and name, in the order given.
    pub page_variables: Vec<(String, String)>,
    pub visit_variables: Vec<(String, String)>,
    /// `--listening-category`
    pub listening_category: String,
}

/// Writes requests. Holds the scratch room that one request needs, so that none is allocated for the next.
#[derive(Debug, Default)]
pub struct Writer {
    options: TrackingOptions,
    /// `"queuedtracking":0,"dp":1` and what else is the same in every request.
    constant: Vec<u8>,
    url: Vec<u8>,
    text: Vec<u8>,
}

impl Writer {
    pub fn new(options: TrackingOptions) -> Self {
        let mut constant = Vec::new();
        constant.extend_from_slice(if options.replaying {
            b"\"rec\":0"
        } else {
            b"\"rec\":1"
        });
        constant.extend_from_slice(b",\"apiv\":1,\"queuedtracking\":0");
        constant.extend_from_slice(if options.reverse_dns {
            b",\"dp\":0"
        } else {
            b",\"dp\":1"
        });
        if options.bots {
            constant.extend_from_slice(b",\"bots\":1");
        }
        Self {
            options,
            constant,
            ..Self::default()
        }
    }

    /// Appends the request of one hit. `pv_id` is the hit's mark, by which Matomo can be asked for it.
    pub fn write(&mut self, hit: &Hit, site: &Site, pv_id: &[u8], out: &mut Vec<u8>) {
        self.set_url(hit, site);
        self.begin(hit, site, out);
        push_member(out, "pv_id", pv_id);
        push_date(out, hit.time);
        self.push_variables(hit, out);
        if hit.is_download {
            out.extend_from_slice(b",\"download\":\"");
            json::push_url(out, &self.url);
            out.push(b'"');
        }
        if (hit.is_error() && !self.options.replaying) || hit.is_redirect() {
            self.push_title(hit, out);
        }
        if let Some(time) = hit.generation_time {
            out.extend_from_slice(b",\"pf_srv\":");
            json::push_number(out, time as u64);
        }
        if hit.length > 0 {
            out.extend_from_slice(b",\"bw_bytes\":");
            json::push_number(out, hit.length);
        }
        if let Some(event) = &hit.event {
            push_member(out, "e_c", event.category);
            push_member(out, "e_a", event.action);
            if let Some(name) = event.name {
                push_member(out, "e_n", name);
            }
        }
        out.push(b'}');
    }

    /// What the requests of a connection have that does not depend on how long it lasted. The page view has all that
    /// a hit's has but a generation time (a stream has none) and the bytes; the events repeat it without variables.
    pub fn prepare(&mut self, hit: &Hit, site: &Site) -> Prepared {
        self.set_url(hit, site);
        let (mut view, mut event) = (Vec::new(), Vec::new());
        self.begin(hit, site, &mut view);
        event.extend_from_slice(&view);
        view.extend_from_slice(b",\"new_visit\":1");
        self.push_variables(hit, &mut view);
        event.extend_from_slice(b",\"ca\":1");
        push_member(
            &mut event,
            "e_c",
            self.options.listening_category.as_bytes(),
        );
        push_member(&mut event, "e_n", hit.path);
        Prepared { view, event }
    }

    /// What every request of a hit has: the page view as well as the events that repeat it.
    fn begin(&self, hit: &Hit, site: &Site, out: &mut Vec<u8>) {
        out.push(b'{');
        out.extend_from_slice(&self.constant);
        push_member(out, "idsite", site.id.as_bytes());
        out.extend_from_slice(b",\"url\":\"");
        json::push_url(out, &self.url);
        out.extend_from_slice(b"\",\"urlref\":\"");
        json::push_url(out, cut(hit.referrer));
        out.push(b'"');
        match &hit.cid {
            Some(cid) => push_member(out, "cid", cid),
            None => push_member(out, "cip", hit.ip),
        }
        push_member(out, "ua", hit.user_agent);
        if let Some(user) = hit.userid {
            push_member(out, "uid", user);
        }
    }

    /// The address of the page: scheme and host, or the main url where the hit has no host; then path and query.
    fn set_url(&mut self, hit: &Hit, site: &Site) {
        self.url.clear();
        if hit.path.first() == Some(&b'/') {
            match (hit.host, &site.main_url) {
                (Some(host), _) if memchr::memmem::find(host, b"://").is_some() => {
                    self.url.extend_from_slice(host)
                }
                (Some(b"") | None, Some(main_url)) => {
                    self.url.extend_from_slice(main_url.as_bytes())
                }
                (host, _) => {
                    let host = host
                        .filter(|host| !host.is_empty())
                        .unwrap_or(NO_HOST.as_bytes());
                    self.url.extend_from_slice(site.scheme().as_bytes());
                    self.url.extend_from_slice(b"://");
                    self.url.extend_from_slice(host);
                }
            }
        }
        let begin = self.url.len();
        self.url.extend_from_slice(hit.path);
        if !self.options.strip_query && !hit.query.is_empty() {
            self.url.extend_from_slice(&self.options.query_delimiter);
            self.url.extend_from_slice(hit.query);
        }
        let length = cut(&self.url[begin..]).len();
        self.url.truncate(begin + length);
    }

    /// `cvar` and `_cvar`: JSON texts within JSON.
    fn push_variables(&mut self, hit: &Hit, out: &mut Vec<u8>) {
        self.text.clear();
        let mut number = push_fields(&mut self.text, hit, &self.options.page_variables);
        if self.options.track_http_method
            && let Some(method) = hit
                .record
                .get(Field::Method)
                .filter(|method| *method != b"-")
        {
            push_variable(&mut self.text, &mut number, "HTTP-method", method);
        }
        push_variable(&mut self.text, &mut number, "HTTP-code", hit.status);
        push_variables(out, "cvar", &self.text);

        self.text.clear();
        let mut number = push_fields(&mut self.text, hit, &self.options.visit_variables);
        if self.options.bots {
            let name = if hit.is_bot { "Bot" } else { "Not-Bot" };
            push_variable(&mut self.text, &mut number, name, hit.user_agent);
        }
        if number > 0 {
            push_variables(out, "_cvar", &self.text);
        }
    }

    /// `404/URL = <url, percent-encoded>/From = <referrer, percent-encoded>`
    fn push_title(&mut self, hit: &Hit, out: &mut Vec<u8>) {
        let delimiter = self.options.title_delimiter.as_bytes();
        out.extend_from_slice(b",\"action_name\":\"");
        json::push_text(out, hit.status);
        json::push_text(out, delimiter);
        out.extend_from_slice(b"URL = ");
        push_encoded(out, &self.url, &mut self.text);
        if !hit.referrer.is_empty() {
            json::push_text(out, delimiter);
            out.extend_from_slice(b"From = ");
            push_encoded(out, cut(hit.referrer), &mut self.text);
        }
        out.push(b'"');
    }
}

/// The requests of a connection, but for their dates and marks.
#[derive(Clone, Debug)]
pub struct Prepared {
    view: Vec<u8>,
    event: Vec<u8>,
}

impl Prepared {
    /// Appends one request of the connection. `bytes`: what was sent in all, for the page view.
    pub fn write(&self, mark: Mark, bytes: u64, pv_id: &[u8], out: &mut Vec<u8>) {
        match mark.kind {
            MarkKind::PageView => {
                out.extend_from_slice(&self.view);
                if bytes > 0 {
                    out.extend_from_slice(b",\"bw_bytes\":");
                    json::push_number(out, bytes);
                }
            }
            MarkKind::Connected => {
                out.extend_from_slice(&self.event);
                out.extend_from_slice(b",\"e_a\":\"connected\"");
            }
            MarkKind::Listened(seconds) => {
                out.extend_from_slice(&self.event);
                out.extend_from_slice(b",\"e_a\":\"listened\",\"e_v\":");
                json::push_number(out, seconds);
            }
        }
        push_member(out, "pv_id", pv_id);
        push_date(out, mark.time);
        out.push(b'}');
    }
}

/// The host of hits whose log has an empty one (SPEC section 7).
pub const NO_HOST: &str = "no-hostname-found-in-log";

/// The beginning of `text`, `LONGEST_URL` characters at most; a byte that is no UTF-8 counts as one.
fn cut(text: &[u8]) -> &[u8] {
    if text.len() <= LONGEST_URL {
        return text;
    }
    let mut left = LONGEST_URL;
    let mut end = 0;
    for chunk in text.utf8_chunks() {
        let valid = chunk.valid();
        match valid.char_indices().nth(left) {
            Some((place, _)) => return &text[..end + place],
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

fn push_member(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":\"");
    json::push_text(out, value);
    out.push(b'"');
}

fn push_variables(out: &mut Vec<u8>, name: &str, members: &[u8]) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":\"{");
    json::push_text(out, members);
    out.extend_from_slice(b"}\"");
}

/// Fields as custom variables, as they were read; `-` and absent ones leave no gap. Returns how many there are.
fn push_fields(text: &mut Vec<u8>, hit: &Hit, variables: &[(String, String)]) -> u32 {
    let mut number = 0;
    for (field, name) in variables {
        match hit.raw(field) {
            None | Some(b"-") => {}
            Some(value) => push_variable(text, &mut number, name, value),
        }
    }
    number
}

fn push_variable(text: &mut Vec<u8>, number: &mut u32, name: &str, value: &[u8]) {
    if *number > 0 {
        text.push(b',');
    }
    *number += 1;
    text.push(b'"');
    json::push_number(text, *number);
    text.extend_from_slice(b"\":[\"");
    json::push_text(text, name.as_bytes());
    text.extend_from_slice(b"\",\"");
    json::push_text(text, value);
    text.extend_from_slice(b"\"]");
}

/// Percent-encodes everything but letters, digits and `_.-~`; the result needs no escaping in JSON.
fn push_encoded(out: &mut Vec<u8>, url: &[u8], valid: &mut Vec<u8>) {
    valid.clear();
    json::push_valid(valid, url, Broken::PercentEncoded);
    for byte in valid.iter() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => out.push(*byte),
            _ => json::push_percent(out, *byte),
        }
    }
}

/// `cdt`, UTC. `time`: seconds since 1970, in the years 1 to 9999.
fn push_date(out: &mut Vec<u8>, time: i64) {
    let (year, month, day) = civil(time.div_euclid(86_400));
    let second = time.rem_euclid(86_400) as u32;
    let two = |number: u32| [b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8];
    out.extend_from_slice(b",\"cdt\":\"");
    out.extend_from_slice(&two(year / 100));
    out.extend_from_slice(&two(year % 100));
    for (before, number) in [
        (b'-', month),
        (b'-', day),
        (b' ', second / 3600),
        (b':', second / 60 % 60),
        (b':', second % 60),
    ] {
        out.push(before);
        out.extend_from_slice(&two(number));
    }
    out.push(b'"');
}

/// Year, month and day of a day counted from 1970 (the proleptic Gregorian calendar, reckoned from March so that
/// the leap day stands last).
fn civil(day: i64) -> (u32, u32, u32) {
    let day = day + 719_468;
    let era = day.div_euclid(146_097);
    let day_of_era = day.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year as u32, month as u32, day_of_month as u32)
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_long_text_is_cut_at_1024_characters() {
        assert_eq!(cut(&[b'x'; 1025]).len(), 1024);
        assert_eq!(cut("é".repeat(1030).as_bytes()).len(), 2048);
        assert_eq!(cut(&[0xE9; 2000]).len(), 1024);
    }

    proptest! {
        #[test]
        fn dates_are_written_as_the_calendar_has_them(time in -62_135_596_800i64..253_402_300_800) {
            let mut out = Vec::new();
            push_date(&mut out, time);
            let expected = DateTime::from_timestamp(time, 0).unwrap().format(",\"cdt\":\"%Y-%m-%d %H:%M:%S\"").to_string();
            prop_assert_eq!(String::from_utf8(out).unwrap(), expected);
        }

        #[test]
        fn what_is_cut_is_a_beginning_of_at_most_1024_characters(bytes in prop::collection::vec(any::<u8>(), 0..5000)) {
            let cut = cut(&bytes);
            prop_assert!(bytes.starts_with(cut));
            let characters: usize = cut.utf8_chunks().map(|c| c.valid().chars().count() + c.invalid().len()).sum();
            prop_assert!(characters <= 1024);
            prop_assert!(cut.len() == bytes.len() || characters == 1024);
        }
    }
}
