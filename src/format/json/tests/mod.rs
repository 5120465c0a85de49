//! Tests of the JSON formats: a few lines of each, and what is read of a line.

mod agreement;
mod fields;
mod grammar;

use super::*;
use crate::format::Fit;
use crate::format::text::testing::values;

const NGINX: [&str; 4] = [
    r#"{"ip": "203.0.113.9","host": "www.example.com","path": "/index.html?a=1","status": "200","referrer": "-","user_agent": "Mozilla/5.0 (X11)","length": 5120,"generation_time_milli": 0.131,"date": "2024-05-14T06:25:24+02:00"}"#,
    r#"{"ip": "::1", "path": "/b", "status": 404, "date": "2024-05-14T06:25:24Z", "request_id": "abc", "method": "GET", "n": -1.5e3}"#,
    r#"{"ip":"::1","path":"/","status":200,"date":"2024-05-14T06:25:24Z","up":"x","host":"é","userid":"","length":0}"#,
    r#"{"ip": "::1", "path": "/caf\xC3\xA9\u00e9\ud83d\ude00\"", "status": "200", "date": "2024", "o": {"a": [1, {"b": null}], "c": "}"}, "t": true}"#,
];
const TRAEFIK: [&str; 1] = [
    r#"{"ClientAddr": "203.0.113.9:52458", "ClientHost": "203.0.113.9", "ClientUsername": "-", "request_User-Agent": "Mozilla/5.0", "request_Referer": "https://r/", "DownstreamContentSize": 1523, "DownstreamStatus": 200, "Duration": 10002425284, "RequestHost": "www.example.com", "RequestMethod": "GET", "RequestPath": "/app?id=1", "level": "info", "msg": "", "time": "2024-05-14T11:39:31+02:00"}"#,
];
const CADDY: [&str; 1] = [
    r#"{"level": "info", "ts": 1715668174.8155608, "msg": "handled request", "request": {"remote_ip": "203.0.113.1", "client_ip": "203.0.113.9", "method": "GET", "host": "www.example.com", "uri": "/beta/?q=1", "headers": {"User-Agent": ["Mozilla/5.0", "x"], "Referer": ["https://r/"]}}, "user_id": "kim", "duration": 0.001335486, "size": 3609, "status": 200, "resp_headers": {"Server": ["Caddy"]}}"#,
];

type Found = Vec<(&'static str, String)>;

/// The fields of a line, and the extra `request_id`.
fn read(name: &str, line: impl AsRef<[u8]>) -> Option<Found> {
    let wanted = Wanted(vec!["request_id".to_owned()]);
    let format = formats(&wanted)
        .into_iter()
        .find(|format| format.name() == name);
    let (format, arena, mut record) = (format.unwrap(), Bump::new(), Record::default());
    let fit = format.parse(line.as_ref(), &arena, &mut record);
    (fit == Fit::Record).then(|| {
        let mut found = values(&record);
        if let Some(extra) = record.by_name("request_id") {
            found.push(("request_id", String::from_utf8_lossy(extra).into_owned()));
        }
        found
    })
}

fn field(name: &str, line: impl AsRef<[u8]>, wanted: &str) -> Option<String> {
    let found = read(name, line)?.into_iter().find(|(n, _)| *n == wanted)?;
    Some(found.1)
}

/// A nginx line that has what it needs, and these members.
fn nginx(members: &str) -> String {
    format!(r#"{{"ip": "::1", "path": "/", "status": 200, "date": "2024", {members}}}"#)
}
