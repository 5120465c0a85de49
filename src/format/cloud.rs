//! Formats of hosters, proxies and clouds.

use super::Format;
use super::date::DateFormat;
use super::text::{
    DATE, HOST, HOST_PORT, IP, IP_PORT, LENGTH, REFERRER, REQUEST, REQUEST_NO_METHOD, Row, STATUS,
    TextFormat, USER_AGENT, USERID, WORD,
};

#[cfg(test)]
mod tests;

/// Behind a fraction of a second nothing is left to know: the date is UTC. Application load balancers write
/// their type first.
const ELB_DATE: &str = r"(?:\S+\s+)?(?P<date>[\d-]+T[\d:]+)\.\S*";
const ELB_SECONDS: &str = r"(?P<generation_time_secs>\S+)";
/// A whole address; its host and port are apart from its path.
const ELB_REQUEST: &str = r#""\S+\s+\w+://(?P<host>[^\s/]*):\d+(?P<path>/.*?)\s+\S+""#;

/// What syslog puts before the line.
const SYSLOG: &str = r".*?:";
const HAPROXY_DATE: &str = r"\[(?P<date>[^\s\].]+)\.\d+\]";
/// Front end, back end and timers, then the status.
const HAPROXY_STATUS: &str = r".*?\s+(?P<status>\d{3})";
/// With `option logasap` the line is written before the answer is over, and a plus says so.
const HAPROXY_LENGTH: &str = r"(?P<length>[+-]?\d+)";
/// The cookies of request and answer, `-` where none was captured, then whatever the proxy tells of its state.
const HAPROXY_STATE: &str = r"\S+\s+\S+.*?";

/// `2 s` is no number, and so no time in the end.
const GANDI_SECONDS: &str = r"\((?P<generation_time_secs>[^)]*)\)";

static ROWS: [Row; 5] = [
    Row {
        name: "s3",
        parts: &[
            WORD, HOST, DATE, IP, USERID, WORD, WORD, WORD, REQUEST, STATUS, WORD, LENGTH, WORD,
            WORD, WORD, REFERRER, USER_AGENT,
        ],
        dates: DateFormat::Clf,
        scan: None,
    },
    Row {
        name: "elb",
        parts: &[
            ELB_DATE,
            WORD,
            IP_PORT,
            WORD,
            WORD,
            ELB_SECONDS,
            WORD,
            STATUS,
            WORD,
            WORD,
            LENGTH,
            ELB_REQUEST,
            USER_AGENT,
            WORD,
            WORD,
        ],
        dates: DateFormat::IsoSeconds,
        scan: None,
    },
    Row {
        name: "ovh",
        parts: &[
            IP,
            HOST_PORT,
            USERID,
            DATE,
            REQUEST_NO_METHOD,
            STATUS,
            LENGTH,
            REFERRER,
            USER_AGENT,
        ],
        dates: DateFormat::Clf,
        scan: None,
    },
    Row {
        name: "haproxy",
        parts: &[
            SYSLOG,
            IP_PORT,
            HAPROXY_DATE,
            HAPROXY_STATUS,
            HAPROXY_LENGTH,
            HAPROXY_STATE,
            REQUEST,
        ],
        dates: DateFormat::Clf,
        scan: None,
    },
    Row {
        name: "gandi",
        parts: &[
            HOST,
            IP,
            WORD,
            USERID,
            DATE,
            GANDI_SECONDS,
            REQUEST,
            STATUS,
            LENGTH,
            REFERRER,
            USER_AGENT,
        ],
        dates: DateFormat::Clf,
        scan: None,
    },
];

/// The formats of this family, in the order of SPEC section 3. Cheap: a regex is compiled when a line needs it.
pub fn formats() -> Vec<Box<dyn Format>> {
    ROWS.iter()
        .map(|row| Box::new(TextFormat::new(row)) as Box<dyn Format>)
        .collect()
}
