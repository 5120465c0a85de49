//! Command lines as in cron tables and pipes. For each, the server, the summary and the test's own
//! count agree on the number of imported hits.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use serde_json::Value;

use crate::support::fake::Options;
use crate::support::folder::{fixture, gzip};
use crate::support::stored::{assert_each_once, count, fake_matomo, options, started, text};
use crate::support::{Folder, Program, logs};

/// The fields that decide whether a line is imported.
struct Line {
    host: String,
    path: String,
    status: u16,
    agent: String,
}

/// Splits an NCSA line at its quotes.
fn ncsa(line: &str) -> Line {
    let parts: Vec<&str> = line.split('"').collect();
    Line {
        host: String::new(),
        path: parts[1].split(' ').nth(1).unwrap().to_owned(),
        status: parts[2].trim().split(' ').next().unwrap().parse().unwrap(),
        agent: parts[5].to_owned(),
    }
}

fn json(line: &str) -> Line {
    let line: Value = serde_json::from_str(line).unwrap();
    Line {
        host: text(&line, "host").to_owned(),
        path: text(&line, "path").to_owned(),
        status: text(&line, "status").parse().unwrap(),
        agent: text(&line, "user_agent").to_owned(),
    }
}

/// Which statuses are imported besides 2xx and 304.
struct Kept {
    errors: bool,
    redirects: bool,
}

impl Line {
    fn is_imported(&self, kept: Kept) -> bool {
        let path = self.path.split('?').next().unwrap();
        let is_static = [".css", ".js", ".png", ".ico", ".woff2", "/robots.txt"];
        let agent = self.agent.to_lowercase();
        let is_status_kept = match self.status {
            304 => true,
            300..400 => kept.redirects,
            400.. => kept.errors,
            _ => true,
        };
        is_status_kept
            && !is_static.iter().any(|end| path.ends_with(end))
            && !["googlebot", "bot/", "curl"]
                .iter()
                .any(|bot| agent.contains(bot))
    }
}

#[test]
fn eight_recorders_import_an_icecast_log() {
    let log = fixture("icecast2");
    let kept: Vec<&str> = log
        .lines()
        .filter(|line| {
            let line = ncsa(line);
            // The server's own pages are not streams.
            !line.path.starts_with("/admin/")
                && !line.path.starts_with("/status")
                && line.is_imported(Kept {
                    errors: true,
                    redirects: false,
                })
        })
        .collect();
    let listened = kept.iter().filter(|line| ncsa(line).status == 200);
    let listened = listened.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap());
    let server = started(options());
    let ended = Program::new(&Folder::with_log(&log))
        .args("--show-progress")
        .to(&server)
        .args("--idsite=1 --recorders=8 --enable-http-errors --log-format-name=icecast2")
        .args("--strip-query-string access.log")
        .run()
        .exits(0);
    let expected = kept.len() as u64;
    assert!(expected > 2800, "{expected}");
    assert_eq!(ended.summary().get("imported"), expected);
    assert_eq!(ended.summary().get("ignored"), ended.summary().dropped());
    assert_eq!(
        expected + ended.summary().dropped(),
        log.lines().count() as u64
    );
    let hits = server.store().hits().unwrap();
    // The other hits are events of the connections: still listening, or left after that many
    // seconds.
    let (events, pages): (Vec<_>, Vec<_>) =
        hits.iter().partition(|hit| !text(hit, "e_c").is_empty());
    assert_eq!(pages.len() as u64, expected);
    let seconds = events.iter().filter_map(|event| number(&event["e_v"]));
    assert_eq!(seconds.sum::<u64>(), listened.sum::<u64>());
    assert!(hits.iter().all(|hit| !text(hit, "url").contains('?')));
}

/// A number of a hit, written as a number or as text.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

#[test]
fn a_compressed_log_is_imported_to_a_host_and_port() {
    let log = fixture("ncsa_extended");
    let expected = log.lines().map(ncsa).filter(|line| {
        line.is_imported(Kept {
            errors: false,
            redirects: false,
        })
    });
    let expected = expected.count() as u64;
    // Two gzip members, as when logrotate appends to a compressed file.
    let (one, two) = log.split_at(log.len() / 3);
    let folder = Folder::new();
    folder.write("yesterday.log.gz", [gzip(one), gzip(two)].concat());
    let server = started(options());
    let place = server.url().replace("http://", "");
    let token = server.token().expose();
    let ended = Program::new(&folder)
        .args("-u")
        .arg(place.trim_end_matches('/'))
        .env("MATOMO_TOKEN_AUTH", token)
        .secret(token)
        .args("--idsite=1 yesterday.log.gz")
        .run()
        .exits(0);
    assert!(expected > 300, "{expected}");
    assert_eq!(ended.summary().get("imported"), expected);
    assert_eq!(count(&server), expected);
    let lines = log.lines().count() as u64;
    assert_eq!(expected + ended.summary().dropped(), lines);
}

#[test]
fn piped_nginx_json_goes_to_the_site_of_each_host() {
    let log = fixture("nginx_json");
    let imported: Vec<Line> = log
        .lines()
        .map(json)
        .filter(|line| {
            line.is_imported(Kept {
                errors: true,
                redirects: true,
            })
        })
        .collect();
    let server = started(Options::fixed(
        &[
            (1, "http://www.example.com"),
            (7, "http://blog.example.com"),
        ],
        &[("www.example.com", 1), ("blog.example.com", 7)],
    ));
    let ended = Program::new(&Folder::new())
        .to(&server)
        .args("--enable-http-errors --enable-http-redirects --log-format-name=nginx_json -")
        .stdin(&log)
        .run()
        .exits(0);
    assert_eq!(ended.summary().get("imported"), imported.len() as u64);
    assert_eq!(ended.summary().get("sites"), 2);
    let hits = server.store().hits().unwrap();
    assert_eq!(hits.len(), imported.len());
    for (host, site) in [("www.example.com", "1"), ("blog.example.com", "7")] {
        let expected = imported.iter().filter(|line| line.host == host).count();
        let stored = hits
            .iter()
            .filter(|hit| text(hit, "idsite") == site)
            .count();
        assert!(stored > 100);
        assert_eq!(stored, expected, "{host}");
    }
}

#[test]
fn a_file_name_that_is_not_utf8_is_accepted() {
    let (server, folder) = (fake_matomo(), Folder::new());
    let name = OsStr::from_bytes(b"caf\xe9.log");
    std::fs::write(folder.path().join(name), logs::log(5)).unwrap();
    let ended = Program::new(&folder)
        .to(&server)
        .args("--idsite=1 --state-dir=state")
        .arg(name)
        .run()
        .exits(0);
    assert_eq!(ended.err, "");
    assert_each_once(&server, 5);
}

#[test]
fn host_filters_keep_lines_without_a_host_if_the_site_is_given() {
    let log: String = (0..5).map(|number| logs::hosted("", number)).collect();
    for option in [
        "--hostname=*.example",
        "--include-host=a.example",
        "--exclude-host=",
    ] {
        let server = fake_matomo();
        Program::new(&Folder::with_log(&log))
            .to(&server)
            .args("--idsite=1 --log-format-name=common_complete access.log")
            .arg(option)
            .run()
            .exits(0);
        assert_each_once(&server, 5);
    }
}
