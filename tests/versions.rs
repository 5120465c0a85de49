//! What depends on the version and the plugins of Matomo.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::fake::{FakeMatomo, Fault, Faults, Options, TrackerCall, Version, When};
use crate::support::stored::{assert_each_once, count, numbers, options, started};
use crate::support::{Ended, Folder, Program, logs, until};

/// What sends all kinds of custom variables.
const VARIABLES: &str =
    "--regex-group-to-page-cvar=userid=User,ip=IP --track-http-method=yes --enable-bots";

/// How often a method was called, on its own or as a part of `API.getBulkRequest`.
fn calls(matomo: &FakeMatomo, method: &str) -> usize {
    let names_method = |text: &String| text.contains(method);
    let log = matomo.log();
    let calls = log.api.iter();
    calls
        .filter(|call| names_method(&call.method) || call.form.values().any(names_method))
        .count()
}

/// Imports ten lines.
fn import(matomo: &FakeMatomo, args: &str) -> Ended {
    let folder = Folder::with_log(logs::log(10));
    let program = Program::new(&folder).to(matomo);
    let ended = program.args("--idsite=1 access.log").args(args).run();
    assert_each_once(matomo, 10);
    ended.exits(0)
}

/// Starts a server of each version. A request takes this long.
fn of_each_version(delay: Duration) -> impl Iterator<Item = (Version, FakeMatomo)> {
    Version::ALL.into_iter().map(move |version| {
        let options = Options {
            version,
            delay,
            ..options()
        };
        (version, started(options))
    })
}

#[test]
fn every_version_gets_each_line_once_and_can_be_verified() {
    for (_, matomo) in of_each_version(Duration::ZERO) {
        let folder = Folder::with_log(logs::log(300));
        let args = "--idsite=1 --recorders=3 --state-dir=state access.log";
        for more in ["", "", "--verify=all"] {
            let program = Program::new(&folder).to(&matomo).args(args).args(more);
            let ended = program.run().exits(0);
            assert_each_once(&matomo, 300);
            if !more.is_empty() {
                ended.prints(&["0 hits are missing"]);
            }
        }
    }
}

/// Hosts whose sites are asked for in advance.
const HOSTS: usize = 120;

#[test]
fn every_version_answers_for_many_hosts_and_several_sites() {
    let hosts: Vec<String> = (0..HOSTS).map(|host| format!("h{host}.example")).collect();
    let sites: Vec<(&str, u64)> = hosts.iter().map(String::as_str).zip(1..).collect();
    let urls = hosts.iter().map(|host| format!("http://{host}"));
    let urls: Vec<String> = urls.collect();
    let urls: Vec<(u64, &str)> = (1..).zip(urls.iter().map(String::as_str)).collect();
    for version in Version::ALL {
        let matomo = started(Options {
            version,
            ..Options::fixed(&urls, &sites)
        });
        let log: String = (0..HOSTS * 3)
            .map(|number| logs::hosted(&hosts[number % HOSTS], number))
            .collect();
        let folder = Folder::with_log(log);
        let program = Program::new(&folder).to(&matomo);
        program.args("--recorders=2 access.log").run().exits(0);
        assert_each_once(&matomo, HOSTS * 3);
    }
}

#[test]
fn a_second_token_is_announced_before_a_version_refuses_it() {
    for (version, status) in [(Version(5, 7), 0), (Version(5, 8), 1)] {
        let matomo = started(Options {
            version,
            ..options()
        });
        let folder = Folder::with_log(logs::log(10));
        let program = Program::new(&folder).to(&matomo);
        let args = "--idsite=1 --request-suffix=token_auth=other --retry-delay=0 access.log";
        let ended = program.args(args).run().exits(status);
        ended.says(&["--request-suffix has a token_auth"]);
    }
}

#[test]
fn what_the_newest_version_leaves_out_is_found_and_explained() {
    for (version, missing) in [(Version(5, 8), 0), (Version(6, 0), 40)] {
        let matomo = started(Options {
            version,
            ..options()
        });
        let agent = |number: usize| match number % 10 {
            0 => logs::line(number, 25).replace(logs::AGENT, "Mozilla/5.0 HeadlessChrome/124"),
            _ => logs::line(number, 25),
        };
        let folder = Folder::with_log((0..400).map(agent).collect::<String>());
        let args = "--idsite=1 --state-dir=state access.log";
        let program = || Program::new(&folder).to(&matomo).args(args);
        program().run().exits(0);
        let ended = program().args("--verify=all").run();
        match missing {
            0 => drop(ended.exits(0)),
            _ => drop(ended.exits(3).prints(&[
                "40 hits are missing",
                "the plugin TrackingSpamPrevention, part of Matomo 6, leaves out headless browsers",
            ])),
        }
    }
}

#[test]
fn a_limit_of_questions_is_obeyed() {
    let matomo = started(options());
    let folder = Folder::with_log(logs::log(100));
    let args = "--idsite=1 --state-dir=state --retry-delay=0 access.log";
    let program = || Program::new(&folder).to(&matomo).args(args);
    program().run().exits(0);
    matomo
        .store()
        .read(|db| db.execute("DELETE FROM hits WHERE id = 7", []))
        .unwrap();
    let limited = Some(Fault::Busy(429, Some("1".to_owned())));
    matomo.set_faults(Faults {
        api: vec![None, None, None, limited.clone(), limited],
        ..Faults::default()
    });
    let ended = program().args("--verify=all").run().exits(3);
    ended.prints(&["1 hits are missing"]);
}

#[test]
fn custom_variables_that_matomo_ignores_are_named_with_their_dimensions() {
    for (custom_variables, args, expected) in [
        (
            false,
            VARIABLES,
            Some(
                "it drops the custom variables of --regex-group-to-page-cvar, --track-http-method, \
                 --enable-bots; create custom dimensions there, and send --dimension=ID=userid --dimension=ID=ip \
                 --dimension=ID=http_method --dimension=ID=bot instead",
            ),
        ),
        (true, VARIABLES, None),
        (false, "--enable-bots", Some("--dimension=ID=bot instead")),
    ] {
        let matomo = started(Options {
            custom_variables,
            ..options()
        });
        let ended = import(&matomo, args);
        match expected {
            Some(text) => drop(ended.says(&[text])),
            None => drop(ended.hides("CustomVariables")),
        }
        assert_eq!(calls(&matomo, "isPluginActivated"), 1, "{args}");
    }
}

#[test]
fn the_server_is_not_asked_if_nothing_depends_on_its_answer() {
    for args in ["", "--enable-bots --dimension=3=bot", "--dimension=3=bot"] {
        let matomo = started(options());
        import(&matomo, args).hides("CustomVariables");
        assert_eq!(calls(&matomo, "isPluginActivated"), 0, "{args}");
        assert_eq!(calls(&matomo, "getMatomoVersion"), 0, "{args}");
    }
}

#[test]
fn a_server_that_does_not_say_what_it_can_do_stops_no_import() {
    for fault in [
        Fault::Html(401),
        Fault::Html(200),
        Fault::Answer(200, "[]"),
        Fault::Answer(200, r#"{"result":"error","message":"no"}"#),
        Fault::Answer(200, r#"[{"result":"error"},{"value":null}]"#),
    ] {
        let matomo = started(Options {
            faults: Faults {
                // The first call is about the site.
                api: vec![None, Some(fault)],
                ..Faults::default()
            },
            ..options()
        });
        import(&matomo, VARIABLES).hides("CustomVariables");
        assert_eq!(calls(&matomo, "isPluginActivated"), 1);
    }
}

const ASSISTANT: &str = "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko); compatible; ChatGPT-User/1.0; +https://openai.com/bot";

/// Lines in a log of assistants.
const LINES: usize = 300;

/// Every third line is of an assistant; of these, some are errors, redirects and downloads.
fn assistant_log() -> String {
    let line = |number: usize| {
        let path = match number % 21 {
            15 => format!("/file.pdf?page-{number}"),
            _ => format!("/page-{number}"),
        };
        let line = logs::page(&path, number, 25);
        match (number % 3, number % 9) {
            (0, 3) => line.replace("\" 200 ", "\" 404 "),
            (0, 6) => line.replace("\" 200 ", "\" 301 "),
            _ => line,
        }
    };
    let by_assistant = |(number, line): (usize, String)| match number % 3 {
        0 => line.replace(logs::AGENT, ASSISTANT),
        _ => line,
    };
    (0..LINES)
        .map(|number| (number, line(number)))
        .map(by_assistant)
        .collect()
}

fn is_assistant(hit: &Value) -> bool {
    hit["recMode"] == 1
}

fn import_assistants(matomo: &FakeMatomo, args: &str) -> Ended {
    let folder = Folder::with_log(assistant_log());
    let program = Program::new(&folder).to(matomo);
    let args = format!("--idsite=1 --retry-delay=0 {args} access.log");
    program.args(&args).run()
}

/// Checks that hits of assistants are in requests of their own, which are sent alone.
#[track_caller]
fn assert_assistants_are_apart(calls: &[TrackerCall]) {
    for call in calls {
        let hits = call.requests();
        let assistants = hits.iter().filter(|hit| is_assistant(hit)).count();
        if assistants == 0 {
            continue;
        }
        assert_eq!(assistants, hits.len());
        assert!(assistants <= 20, "{assistants}");
        let is_other = |other: &&TrackerCall| other.number != call.number;
        for other in calls.iter().filter(is_other) {
            let is_before = other.ended.is_some_and(|ended| ended <= call.began);
            let is_after = call.ended.is_some_and(|ended| ended <= other.began);
            assert!(is_before || is_after, "{call:?} and {other:?}");
        }
    }
}

#[test]
fn assistants_go_to_the_reports_of_versions_that_have_them() {
    for (version, matomo) in of_each_version(Duration::from_millis(5)) {
        let args = "--recorders=4 --recorder-max-payload-size=40";
        let ended = import_assistants(&matomo, args).exits(0);
        let sent = matomo.log().sent();
        let assistants: Vec<&Value> = sent.iter().filter(|hit| is_assistant(hit)).collect();
        if version < Version(5, 7) {
            // As visits, without errors and redirects.
            assert!(assistants.is_empty(), "{version:?}");
            assert_eq!(ended.summary().get("imported"), 234);
            ended.hides("AI assistants");
            continue;
        }
        assert_eq!(assistants.len(), 100, "{version:?}");
        assert_each_once(&matomo, LINES);
        assert_assistants_are_apart(&matomo.log().tracker);
        assert_eq!(calls(&matomo, "getMatomoVersion"), 1);
        for hit in assistants {
            assert_eq!(hit["ua"], ASSISTANT);
            assert_eq!(hit["source"], "import-logs");
            assert!(
                hit["http_status"].is_u64() && hit["bw_bytes"].is_u64(),
                "{hit}"
            );
            assert!(hit["pv_id"].is_null() && hit["cvar"].is_null(), "{hit}");
            assert!(hit["action_name"].is_null(), "{hit}");
        }
        let is_download = |hit: &&Value| hit["download"].is_string();
        assert!(
            sent.iter()
                .filter(|hit| is_assistant(hit))
                .any(|hit| is_download(&hit))
        );
        ended.prints(&["100 requests of AI assistants, which Matomo counts"]);
    }
}

#[test]
fn a_dry_run_counts_assistants_too() {
    let matomo = started(Options {
        version: Version(5, 8),
        ..options()
    });
    for args in ["--dry-run", "--dry-run --ai-assistants=off"] {
        let ended = import_assistants(&matomo, args).exits(0);
        let imported = if args.contains("off") { 234 } else { 300 };
        assert_eq!(ended.summary().get("imported"), imported);
    }
    assert!(matomo.log().sent().is_empty());
}

#[test]
fn a_pending_batch_of_an_earlier_setting_is_looked_up() {
    // As visits: one batch with hits of assistants among others is stored, but not confirmed.
    let matomo = started(Options {
        version: Version(5, 8),
        faults: Faults {
            rules: vec![(When::From(1), Fault::CommitStall(Duration::from_secs(60)))],
            ..Faults::default()
        },
        ..options()
    });
    let folder = Folder::with_log(assistant_log());
    let program = |args: &str| {
        let all = "--idsite=1 --state-dir=state --request-timeout=1 --enable-http-errors";
        let more = "--enable-http-redirects access.log";
        Program::new(&folder)
            .to(&matomo)
            .args(all)
            .args(more)
            .args(args)
    };
    let running = program("--ai-assistants=off").start();
    let is_sent = until(Duration::from_secs(20), || count(&matomo) == LINES as u64);
    assert!(is_sent);
    running.signal(Signal::KILL);
    running.end();
    matomo.set_faults(Faults::default());
    program("").run().exits(0);
    assert_each_once(&matomo, LINES);
    assert!(!matomo.log().sent().iter().any(is_assistant));
}

#[test]
fn verification_leaves_assistants_out() {
    let matomo = started(Options {
        version: Version(5, 8),
        ..options()
    });
    let folder = Folder::with_log(assistant_log());
    let program = || {
        let args = "--idsite=1 --state-dir=state access.log";
        Program::new(&folder).to(&matomo).args(args)
    };
    program().run().exits(0);
    let ended = program().args("--verify=all --repair").run().exits(0);
    ended.prints(&["0 hits are missing"]);
    assert_each_once(&matomo, LINES);
    // Nor are they sent again if the server does not say its version.
    matomo.set_faults(Faults {
        api: vec![None, Some(Fault::Html(401)), Some(Fault::Html(401))],
        ..Faults::default()
    });
    program().args("--verify=all --repair").run();
    assert_each_once(&matomo, LINES);
}

#[test]
fn the_option_decides_about_assistants() {
    for (version, mode, expected) in [
        (Version(5, 0), "on", 100),
        (Version(6, 0), "off", 0),
        (Version(6, 0), "auto", 100),
    ] {
        let matomo = started(Options {
            version,
            ..options()
        });
        import_assistants(&matomo, &format!("--ai-assistants={mode}")).exits(0);
        let sent = matomo.log().sent();
        let found = sent.iter().filter(|hit| is_assistant(hit)).count();
        assert_eq!(found, expected, "{version:?} {mode}");
    }
}

#[test]
fn a_batch_of_assistants_without_an_answer_is_in_doubt() {
    for (args, resent, in_doubt) in [("", 20, 0), ("--in-doubt=skip", 0, 20)] {
        let matomo = started(Options {
            version: Version(5, 8),
            faults: Faults {
                // The first request has all visits.
                script: vec![None, None, Some(Fault::CommitHtml(502))],
                ..Faults::default()
            },
            ..options()
        });
        let ended = import_assistants(&matomo, args).exits(3);
        let summary = ended.summary();
        assert_eq!(summary.get("resent"), resent, "{ended}");
        assert_eq!(summary.get("in_doubt"), in_doubt, "{ended}");
        ended.says(&["such as those of AI assistants, cannot be looked up"]);
        assert_assistants_are_apart(&matomo.log().tracker);
    }
}

#[test]
fn a_run_after_one_that_was_killed_sends_what_is_left_of_the_assistants() {
    let matomo = started(Options {
        version: Version(5, 8),
        faults: Faults {
            rules: vec![(When::From(4), Fault::Stall(Duration::from_secs(60)))],
            ..Faults::default()
        },
        ..options()
    });
    let folder = Folder::with_log(assistant_log());
    let program = || {
        let args = "--idsite=1 --state-dir=state --request-timeout=1 --in-doubt=skip access.log";
        Program::new(&folder).to(&matomo).args(args)
    };
    let running = program().start();
    let is_sent = until(Duration::from_secs(20), || matomo.log().tracker.len() == 4);
    assert!(is_sent);
    running.signal(Signal::KILL);
    running.end();
    matomo.set_faults(Faults::default());
    program().run().exits(3);
    // The batch that was under way is skipped.
    let stored = numbers(&matomo);
    assert_eq!(stored.len(), LINES - 20);
    assert!(stored.windows(2).all(|pair| pair[0] < pair[1]));
    program().run().exits(0);
    assert_eq!(numbers(&matomo), stored);
}
