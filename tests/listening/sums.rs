//! For any log, the sum of the event values equals the seconds of the summary and of the log, and
//! the hours of relays are counted apart.

use proptest::prelude::*;
use proptest::sample::select;

use super::{DAY, PLAYER, SHOUTCAST_HEADER, date, icecast, rows, seconds_sent, stored};
use crate::support::stored::fake_matomo;
use crate::support::{Folder, Program};

/// A line of an Icecast or SHOUTcast log.
#[derive(Clone, Debug)]
struct Line {
    address: &'static str,
    /// Seconds since 1970.
    end: i64,
    method: &'static str,
    mount: &'static str,
    status: &'static str,
    agent: &'static str,
    duration: String,
}

const RELAY: &str = "Icecast/2.4.4";

/// 30 days in seconds.
const MAX_SESSION_SECONDS: i64 = 30 * 86_400;

fn duration() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (0..7200_i64).prop_map(|seconds| seconds.to_string()),
        2 => select(&["0", "1", "300", "1500", "3000", "2592000", "2592001"][..]).prop_map(str::to_owned),
        1 => select(&["-", "-5", "007", "1.5", "99999999999999999999999"][..]).prop_map(str::to_owned),
        1 => any::<u32>().prop_map(|seconds| seconds.to_string()),
    ]
}

fn line() -> impl Strategy<Value = Line> {
    let end = prop_oneof![
        4 => DAY..DAY + 600,
        2 => DAY..DAY + 86_400,
    ];
    (
        (
            select(
                &[
                    "192.0.2.1",
                    "192.0.2.2",
                    "2001:db8::1",
                    "-",
                    "aaaaaaaaaaaaaaaaaaaa",
                ][..],
            ),
            end,
            select(&["GET", "GET", "GET", "GET", "HEAD", "SOURCE"][..]),
            select(
                &[
                    "/live.mp3",
                    "/jazz",
                    "//jazz/;?x=1",
                    "/status.xsl",
                    "/live.m3u",
                    "/",
                ][..],
            ),
        ),
        (
            select(&["200", "200", "200", "206", "304", "302", "404"][..]),
            select(&["VLC", "Winamp", "curl", RELAY][..]),
            duration(),
        ),
    )
        .prop_map(
            |((address, end, method, mount), (status, agent, duration))| Line {
                address,
                end,
                method,
                mount,
                status,
                agent,
                duration,
            },
        )
}

impl Line {
    fn icecast(&self) -> String {
        let Self {
            address,
            method,
            mount,
            status,
            agent,
            duration,
            ..
        } = self;
        let end = date(self.end, "%d/%b/%Y:%H:%M:%S +0000");
        format!(
            "{address} - - [{end}] \"{method} {mount} HTTP/1.0\" {status} 5 \"-\" \"{agent}\" {duration}\n"
        )
    }

    fn shoutcast(&self) -> String {
        let Self {
            address,
            mount,
            status,
            agent,
            duration,
            ..
        } = self;
        let end = date(self.end, "%Y-%m-%d %H:%M:%S");
        format!("{address} - {end} {mount} {status} {agent} 5 {duration} 128\n")
    }

    /// Whether the line is a connection to a stream. SHOUTcast logs have no method, and SHOUTcast
    /// streams from `/`.
    fn connects(&self, is_shoutcast: bool) -> bool {
        matches!(self.status, "200" | "206")
            && !matches!(self.mount, "/status.xsl" | "/live.m3u")
            && (is_shoutcast || (self.method == "GET" && self.mount != "/"))
    }

    /// The seconds of the line, or 0 if they cannot be used.
    fn seconds(&self) -> u64 {
        let whole = self.duration.split('.').next().unwrap();
        let seconds = whole.parse::<i64>().unwrap_or(-1);
        let usable = (0..=MAX_SESSION_SECONDS).contains(&seconds);
        if usable { seconds.unsigned_abs() } else { 0 }
    }
}

/// Imports the log, and checks the seconds sent and those of the summary. `connections` are the
/// lines of listeners, bots and relays.
fn check_sums<'l>(
    log: String,
    args: &str,
    connections: impl Iterator<Item = &'l Line> + Clone,
) -> Result<(), TestCaseError> {
    let listeners = connections.clone();
    let listeners = listeners.filter(|line| !matches!(line.agent, RELAY | "curl"));
    let seconds: u64 = listeners.map(Line::seconds).sum();
    let relays = connections.filter(|line| line.agent == RELAY);
    let relays = relays.map(Line::seconds).collect::<Vec<_>>();
    let relay_hours = relays.iter().sum::<u64>() as f64 / 3600.0;
    let server = fake_matomo();
    let folder = Folder::with_log(log);
    let ended = Program::new(&folder)
        .to(&server)
        .args("--idsite=1 --listening-time=events --enable-http-errors --report=report.json")
        .arg("access.log")
        .args(args)
        .run()
        .exits(0);
    let reported = rows(&folder).first().map_or(0, |all| all.seconds);
    let sent = seconds_sent(&stored(&server));
    prop_assert_eq!((sent, reported), (seconds, seconds), "{}", ended);
    let has_figures = ended.summary().get("imported") > 0;
    let relay_line = format!(
        "\n        {} lines of relays, {relay_hours:.2} hours",
        relays.len()
    );
    prop_assert_eq!(
        ended.out.contains(&relay_line),
        !relays.is_empty() && has_figures,
        "{}",
        ended
    );
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn sums_of_any_icecast_log_agree(lines in prop::collection::vec(line(), 1..40), recorders in 1..4) {
        let connections = lines.iter().filter(|line| line.connects(false));
        let log = lines.iter().map(Line::icecast).collect();
        check_sums(log, &format!("--log-format-name=icecast2 --recorders={recorders}"), connections)?;
    }

    #[test]
    fn sums_of_any_shoutcast_log_agree(lines in prop::collection::vec(line(), 1..40), payload in 1..20) {
        let connections = lines.iter().filter(|line| line.connects(true));
        let log = SHOUTCAST_HEADER.to_owned() + &lines.iter().map(Line::shoutcast).collect::<String>();
        check_sums(log, &format!("--log-format-name=shoutcast --recorder-max-payload-size={payload}"), connections)?;
    }
}

#[test]
fn the_events_of_a_long_session_do_not_repeat_long_texts() {
    let (server, folder) = (fake_matomo(), Folder::new());
    let month = 30 * 86_400 - 1;
    let agent = "\u{e9}".repeat(400_000);
    let line =
        icecast("10.0.0.1", 0, &format!("/{}", "m".repeat(100_000)), month).replace(PLAYER, &agent);
    folder.write("access.log", line);
    let mut program = Program::new(&folder)
        .to(&server)
        .args("--idsite=1 --log-format-name=icecast2 --log-hostname=radio.example access.log")
        .start();
    let mut peak = 0;
    while !program.has_ended() {
        peak = program.peak_memory().unwrap_or(0).max(peak);
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    program.end().exits(0);
    assert!(peak < 100 << 20, "{peak} bytes");
    let hits = stored(&server);
    assert_eq!(hits.len(), 1729);
    assert_eq!(seconds_sent(&hits), month as u64);
    for hit in hits {
        let size = hit.to_string().len();
        assert!(size < 4096, "{size} bytes: {hit}");
        assert_eq!(hit["ua"].as_str().unwrap(), "\u{e9}".repeat(128));
    }
}
