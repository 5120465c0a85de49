//! Logs whose lines are numbered, so that tests can find each line on the server.

use std::fmt::Write;

pub const AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0";

/// A line of the format ncsa_extended with the page `/page-NUMBER`. Addresses rotate through
/// `visitors`, and each line is a second later.
pub fn line(number: usize, visitors: usize) -> String {
    page(&format!("/page-{number}"), number, visitors)
}

/// The same with another path.
pub fn page(path: &str, number: usize, visitors: usize) -> String {
    let visitor = number % visitors.max(1);
    let (hour, minute, second) = (number / 3600 % 24, number / 60 % 60, number % 60);
    format!(
        "10.0.{}.{} - - [14/May/2024:{hour:02}:{minute:02}:{second:02} +0000] \"GET {path} HTTP/1.1\" 200 {} \"-\" \"{AGENT}\"\n",
        visitor / 250,
        visitor % 250 + 1,
        number + 1,
    )
}

/// The lines 0 to `lines` - 1, by 25 visitors.
pub fn log(lines: usize) -> String {
    log_of(lines, 25)
}

pub fn log_of(lines: usize, visitors: usize) -> String {
    (0..lines).map(|number| line(number, visitors)).collect()
}

/// The lines of [`log_of`], with names for the addresses.
pub fn named(lines: usize, visitors: usize) -> String {
    log_of(lines, visitors).replace("10.0.", "client-")
}

/// A line of the format common_complete.
pub fn hosted(host: &str, number: usize) -> String {
    format!("{host} {}", line(number, 25))
}

/// A line of the format nginx_json. The host is not escaped.
pub fn json(host: &str, number: usize) -> String {
    let mut line = String::new();
    let _ = writeln!(
        line,
        r#"{{"ip": "10.0.0.{}", "host": "{host}", "path": "/page-{number}", "status": "200", "referrer": "-", "user_agent": "{AGENT}", "length": 12, "generation_time_milli": 0.1, "date": "2024-05-14T06:{:02}:{:02}+02:00"}}"#,
        number % 25 + 1,
        number / 60 % 60,
        number % 60,
    );
    line
}
