//! What depends on the version and the plugins of Matomo.

use crate::support::fake::{FakeMatomo, Fault, Faults, Options, Version};
use crate::support::stored::{assert_each_once, options, started};
use crate::support::{Ended, Folder, Program, logs};

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

/// Starts a server of each version.
fn of_each_version() -> impl Iterator<Item = (Version, FakeMatomo)> {
    Version::ALL.into_iter().map(|version| {
        let options = Options {
            version,
            ..options()
        };
        (version, started(options))
    })
}

#[test]
fn every_version_gets_each_line_once_and_can_be_verified() {
    for (_, matomo) in of_each_version() {
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

#[test]
fn custom_variables_that_matomo_ignores_are_named_with_their_dimensions() {
    for (custom_variables, args, expected) in [
        (
            false,
            VARIABLES,
            Some(
                "what --regex-group-to-page-cvar, --track-http-method, --enable-bots sends is lost; \
                 create custom dimensions there, and send --dimension=ID=userid --dimension=ID=ip \
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
