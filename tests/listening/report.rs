//! The options of the listening report, and the listener log.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{PLAYER, icecast};
use crate::support::folder::fixtures;
use crate::support::{Folder, Program};

/// A log whose sessions are in other countries and at several mount points.
fn log() -> String {
    [
        icecast("192.0.2.1", 7200, "/jazz.mp3", 3600),
        icecast("192.0.2.1", 7260, "/jazz.mp3", 3600),
        icecast("192.0.2.130", 9000, "/jazz.ogg?a=b", 1800),
        icecast("203.0.113.200", 9100, "/news", 30),
        icecast("2001:db8:1::7", 100, "//news", 200).replace(PLAYER, "Sonos/70.3"),
        icecast("192.0.2.0", 9200, "/status.xsl", 10),
    ]
    .concat()
}

/// Runs an import with a JSON report, and returns the part about listening.
fn report(folder: &Folder, args: &str) -> Value {
    folder.write("access.log", log());
    let database = fixtures().join("countries.mmdb");
    let args = args.replace("DATABASE", &database.display().to_string());
    Program::new(folder)
        .args("--sandbox=hits.db --log-format-name=icecast2 --report=r.json access.log")
        .args(&args)
        .run()
        .exits(0);
    let report: Value = serde_json::from_str(&folder.read("r.json")).unwrap();
    report["listening"].clone()
}

/// Sessions and seconds of the groups of a kind.
fn groups(listening: &Value, kind: &str) -> BTreeMap<String, (u64, u64)> {
    let groups = listening["groups"].as_array().unwrap().iter();
    groups
        .filter(|group| group["kind"] == kind)
        .map(|group| {
            let number = |name: &str| group["total"][name].as_u64().unwrap();
            let name = group["name"].as_str().unwrap().to_owned();
            (name, (number("sessions"), number("seconds")))
        })
        .collect()
}

fn expected<const N: usize>(rows: [(&str, u64, u64); N]) -> BTreeMap<String, (u64, u64)> {
    let rows = rows.map(|(name, sessions, seconds)| (name.to_owned(), (sessions, seconds)));
    rows.into()
}

#[test]
fn channels_add_mount_points_up() {
    let listening = report(
        &Folder::new(),
        "--channel=Jazz=/jazz.* --channel=All=*,/jazz.mp3 --channel=None=/none",
    );
    let channels = groups(&listening, "channel");
    for (name, sums) in expected([("Jazz", 3, 9000), ("All", 5, 9230)]) {
        assert_eq!(channels[&name], sums, "{name}");
    }
    assert_eq!(groups(&listening, "all"), expected([("", 5, 9230)]));
}

#[test]
fn countries_and_players_share_the_hours() {
    let listening = report(&Folder::new(), "--geoip-database=DATABASE");
    let countries = groups(&listening, "country");
    assert_eq!(countries["US"], (3, 7400));
    assert_eq!(countries["DE"], (1, 1800));
    // A session without a country, whatever its name.
    let sums = countries
        .values()
        .fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1));
    assert_eq!((countries.len(), sums), (3, (5, 9230)), "{countries:?}");
    let players = groups(&listening, "player");
    assert_eq!(players, expected([("VLC", 4, 9030), ("Sonos", 1, 200)]));
}

#[test]
fn a_report_of_one_country_leaves_out_the_others() {
    let listening = report(
        &Folder::new(),
        "--geoip-database=DATABASE --report-country=us",
    );
    assert_eq!(listening["country"], "US");
    assert_eq!(groups(&listening, "all"), expected([("", 3, 7400)]));
    assert_eq!(listening["left_out"]["other_countries"], 2);
}

#[test]
fn overlapping_sessions_of_a_listener_are_merged() {
    let folder = Folder::new();
    let listening = report(&folder, "--merge-sessions --minimum-session=300");
    let mounts = groups(&listening, "mount");
    assert_eq!(mounts["/jazz.mp3"], (1, 3660));
    assert_eq!(listening["merged"], 1);
    let all = &listening["groups"][0]["total"];
    assert_eq!(all["sessions"], 4);
    assert_eq!(all["long_sessions"], 2, "{all}");
}

/// A log with hidden addresses, odd user agents and partial content.
fn odd_log() -> Vec<u8> {
    let mut log = log().into_bytes();
    let hash = "a94a8fe5ccb19ba61c4c0873d391e987982fbbd3";
    log.extend(icecast(hash, 9300, "/jazz.mp3", 700).bytes());
    log.extend(icecast("2001:DB8:0:0::1", 9300, "/jazz.mp3", 0).bytes());
    log.extend(icecast("2001:db8::1", 9300, "/jazz.mp3", 90_000).bytes());
    let partial = icecast("192.0.2.131", 9400, "/news", 65);
    log.extend(partial.replace(" 200 ", " 206 ").bytes());
    let odd = icecast("192.0.2.132", 9500, "/n\u{fc}ws", 66);
    log.extend(odd.replace(PLAYER, "-").bytes());
    let odd = icecast("192.0.2.133", 9500, "/news", 67);
    let at = odd.find(PLAYER).unwrap();
    log.extend([&odd.as_bytes()[..at], b"\xff\xfe", &odd.as_bytes()[at..]].concat());
    log
}

#[test]
fn a_kept_sandbox_gives_the_report_of_the_import() {
    let database = fixtures().join("countries.mmdb");
    let database = format!("--geoip-database={}", database.display());
    // As events, and as plain hits with connections.
    for import in ["--log-format-name=icecast2", "--listening-time=auto"] {
        let folder = Folder::new();
        folder.write("access.log", odd_log());
        let run = |name: &str, args: &str| {
            Program::new(&folder)
                .args("--sandbox=hits.db --report-timezone=Europe/Berlin --channel=Jazz=/jazz.*")
                .args(&format!("--report={name}.json --report={name}.txt {args}"))
                .arg(&database)
                .run()
                .exits(0);
            let report: Value =
                serde_json::from_str(&folder.read(&format!("{name}.json"))).unwrap();
            report["listening"].clone()
        };
        let imported = run("new", &format!("{import} access.log"));
        let sessions = &imported["groups"][0]["total"]["sessions"];
        assert_eq!(*sessions, 11, "{import}: {imported}");
        assert_eq!(run("kept", ""), imported, "{import}");
        for stream in ["jazz.mp3", "jazz.ogg", "news", "n_ws"] {
            let [new, kept] = ["new", "kept"].map(|name| {
                let text = std::fs::read(folder.file(&format!("{name}.{stream}.txt")));
                text.unwrap()
            });
            assert!(!new.is_empty());
            assert_eq!(
                String::from_utf8(new).unwrap(),
                String::from_utf8(kept).unwrap(),
                "{import}: {stream}"
            );
        }
    }
}

/// The lines of a listener log, without the header.
fn lines(folder: &Folder, name: &str) -> Vec<String> {
    let text = folder.read(name);
    let (header, lines) = text.split_once('\n').unwrap();
    assert!(
        header.starts_with("IP Address\tDate\tTime\tStream ID\t"),
        "{header}"
    );
    lines.lines().map(str::to_owned).collect()
}

#[test]
fn the_listener_log_has_a_file_for_each_stream() {
    let folder = Folder::new();
    report(&folder, "--report=may.txt");
    let line = |address: &str, time: &str, mount: &str, seconds: u64, agent: &str| {
        format!("{address}\t2024-05-{time}\t{mount}\t{seconds}\t200\t{agent}")
    };
    assert_eq!(
        lines(&folder, "may.jazz.mp3.txt"),
        [
            line("192.0.2.1", "14\t01:00:00", "/jazz.mp3", 3600, PLAYER),
            line("192.0.2.1", "14\t01:01:00", "/jazz.mp3", 3600, PLAYER),
        ]
    );
    let ogg = line("192.0.2.130", "14\t02:00:00", "/jazz.ogg", 1800, PLAYER);
    assert_eq!(lines(&folder, "may.jazz.ogg.txt"), [ogg]);
    assert_eq!(
        lines(&folder, "may.news.txt"),
        [
            line("2001:db8:1::7", "13\t23:58:20", "/news", 200, "Sonos/70.3"),
            line("203.0.113.200", "14\t02:31:10", "/news", 30, PLAYER),
        ]
    );
    assert!(!folder.file("may.txt").exists());
    let left = std::fs::read_dir(folder.path()).unwrap();
    let names = left.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.starts_with('.')).count(), 0);
}

#[test]
fn a_hostile_user_agent_stays_in_its_column_of_the_listener_log() {
    let folder = Folder::new();
    let agent = "<script>alert(1)</script>'\\x09=1+1\\x0d\\x0a192.0.2.9\\x09x";
    let log = icecast("192.0.2.1", 60, "/live", 60).replace(PLAYER, agent);
    folder.write("access.log", log);
    Program::new(&folder)
        .args("--sandbox --log-format-name=icecast2 --report=may.txt access.log")
        .run()
        .exits(0);
    let lines = lines(&folder, "may.txt");
    assert_eq!(lines.len(), 1, "{lines:?}");
    let cells: Vec<&str> = lines[0].split('\t').collect();
    assert_eq!(cells.len(), 7, "{cells:?}");
    assert!(
        cells[6].starts_with("<script>alert(1)</script>'"),
        "{cells:?}"
    );
}
