//! Matomo cannot be reached: the message and the exit status are right, and no line counts as
//! imported.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::fake::{FakeMatomo, Fault, Faults, Live, Options, When};

use crate::support::http::{Response, Server};
use crate::support::matomo::Matomo;
use crate::support::stored::{count, options, started};
use crate::support::{Ended, Folder, Program, TOKEN, logs, tls};

/// Imports ten lines to a URL.
fn import(url: &str, args: &str) -> Ended {
    import_with(&Folder::with_log(logs::log(10)), url, args)
}

fn import_with(folder: &Folder, url: &str, args: &str) -> Ended {
    Program::new(folder)
        .arg(format!("--url={url}"))
        .env("MATOMO_TOKEN_AUTH", TOKEN)
        .args("--idsite=1 --retry-delay=0 access.log")
        .args(args)
        .run()
}

/// Checks that the import stopped with an error and without a summary.
#[track_caller]
fn assert_stopped(ended: Ended, texts: &[&str]) {
    let ended = ended.exits(1).says(&["error: "]).says(texts);
    assert_eq!(ended.out, "");
}

#[test]
fn an_unknown_host_is_named() {
    let ended = import("http://matomo.invalid/", "");
    assert_stopped(ended, &["no host \"matomo.invalid\"", "check --url"]);
}

#[test]
fn a_closed_port_is_named() {
    let place = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let ended = import(&place, "");
    assert_stopped(ended, &[&place, "connection refused", "--url"]);
}

#[test]
fn retries_of_the_first_contact_are_shown_on_a_terminal_only() {
    let place = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let folder = Folder::with_log(logs::log(10));
    let program = |args: &str| {
        Program::new(&folder)
            .arg(format!("--url={place}"))
            .env("MATOMO_TOKEN_AUTH", TOKEN)
            .args("--idsite=1 --retry-delay=0 access.log")
            .args(args)
    };
    let first = format!("cannot reach {place}: connection refused; retry 1 of 2 now");
    let ended = program("").on_terminal(80).run().exits(1);
    ended.says(&[&first, "; retry 2 of 2 now", "error: cannot reach http://"]);
    for program in [program(""), program("--quiet").on_terminal(80)] {
        program.run().exits(1).hides("; retry");
    }
}

#[test]
fn an_unknown_api_host_is_named() {
    let server = started(options());
    let ended = import(&server.url(), "--api-url=http://api.invalid/");
    assert_stopped(ended, &["no host \"api.invalid\"", "check --api-url"]);
    assert_eq!(server.log().calls, 0);
}

#[test]
fn https_to_a_port_without_tls_is_explained() {
    let server = Server::start(|_| Response::html(200));
    let ended = import(&format!("https://{}", server.place()), "");
    assert_stopped(
        ended,
        &[&server.place(), "TLS handshake failed", "speaks https"],
    );
}

#[test]
fn an_untrusted_certificate_stops_the_import_at_once() {
    let requests = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&requests);
    let (server, _) = tls::self_signed(move |_| {
        seen.fetch_add(1, Ordering::Relaxed);
        Response::html(200)
    });
    // A retry could not succeed and would exceed the time limit of the test.
    let ended = import(&server.url(), "--retry-delay=1000");
    let place = server.place();
    assert_stopped(
        ended,
        &[
            &place,
            "certificate",
            "--ca-certificate",
            "--accept-invalid-ssl-certificate",
        ],
    );
    assert_eq!(requests.load(Ordering::Relaxed), 0);
}

#[test]
fn a_private_certificate_authority_is_trusted_on_request() {
    for by_file in [true, false] {
        let matomo = Arc::new(Matomo::new(&serde_json::Value::Null));
        let answering = Arc::clone(&matomo);
        let (server, pem) = tls::self_signed(move |request| answering.answer(request));
        let folder = Folder::with_log(logs::log(10));
        folder.write("authority.pem", pem);
        let trust = match by_file {
            true => "--ca-certificate=authority.pem",
            false => "--accept-invalid-ssl-certificate",
        };
        let ended = import_with(&folder, &server.url(), trust).exits(0);
        assert_eq!(ended.summary().get("imported"), 10);
        assert_eq!(matomo.seen().hits.len(), 10);
    }
}

#[test]
fn a_redirect_stops_the_import_and_its_target_is_shown() {
    let server = Server::start(|_| Response {
        status: 301,
        headers: vec![(
            "Location",
            "https://analytics.example.org/matomo/?secret=x".into(),
        )],
        body: Vec::new(),
    });
    let ended = import(&server.url(), "").hides("secret=x");
    assert_stopped(ended, &["https://analytics.example.org/matomo/", "--url"]);
}

#[test]
fn a_redirect_of_the_tracker_stops_before_anything_is_stored() {
    let server = always(Fault::Redirect(
        302,
        "https://new.example.org/matomo.php".into(),
    ));
    let ended = to(&server, "")
        .exits(1)
        .says(&["https://new.example.org/matomo.php"]);
    assert_nothing_imported(&server, &ended);
}

#[test]
fn html_instead_of_json_is_an_error() {
    let server = Server::start(|_| Response::html(200));
    let ended = import(&server.url(), "");
    assert_stopped(ended, &[&server.place(), "HTML", "--url"]);
}

#[test]
fn html_instead_of_the_trackers_json_is_an_error() {
    let server = always(Fault::Html(200));
    let ended = to(&server, "").exits(1).says(&["/piwik.php", "HTML"]);
    assert_nothing_imported(&server, &ended);
}

/// What Matomo answers instead of JSON, and how it is named.
const ODD_ANSWERS: [(u16, &str, &str); 4] = [
    (200, "GIF89a\u{1}", "a GIF image"),
    (204, "", "204 (No Content)"),
    (
        200,
        "This resource is part of Matomo. Keep full control of your data with the leading \
         free/libre analytics platform",
        "free/libre analytics",
    ),
    (
        200,
        "<html><title>Sign in</title><form><input type=\"password\"></form></html>",
        "a login page",
    ),
];

#[test]
fn an_odd_answer_of_the_tracker_is_named_and_nothing_is_sent_again() {
    for (status, body, says) in ODD_ANSWERS {
        let server = always(Fault::Answer(status, body));
        let ended = to(&server, "").exits(1).says(&["/piwik.php", says]);
        assert_nothing_imported(&server, &ended);
        assert_eq!(server.log().tracker.len(), 1, "{body}");
        ended.says(&["1 request was sent, and Matomo stored nothing of it"]);
        // If Matomo cannot be asked, the batch is left to the next run.
        let server = started(Options {
            live: Live::Closed,
            faults: Faults {
                rules: vec![(When::From(1), Fault::Answer(status, body))],
                ..Faults::default()
            },
            ..options()
        });
        let ended = to(&server, "").exits(1).says(&["/piwik.php", says]);
        assert_eq!(server.log().tracker.len(), 1, "{body}");
        ended.says(&["run again with --state-dir="]);
    }
}

#[test]
fn an_odd_answer_of_the_api_is_named_before_anything_is_sent() {
    let php =
        "<br />\n<b>Notice</b>:  Undefined index: x in a.php on line <b>1</b>{\"idsite\":\"1\"}";
    for (status, body, says) in ODD_ANSWERS
        .into_iter()
        .chain([(200, php, "display_errors")])
    {
        let server = started(Options {
            faults: Faults {
                api: vec![Some(Fault::Answer(status, body))],
                ..Faults::default()
            },
            ..options()
        });
        assert_stopped(to(&server, ""), &[says, "getSiteFromId"]);
        assert!(server.log().tracker.is_empty(), "{body}");
    }
}

#[test]
fn a_bad_gateway_is_retried_and_then_stops_the_import() {
    let server = always(Fault::Html(502));
    let ended = to(&server, "--retry-max-attempts=2")
        .exits(1)
        .says(&["502", "/piwik.php"]);
    assert_nothing_imported(&server, &ended);
}

#[test]
fn a_proxy_is_used_except_for_loopback_hosts() {
    let matomo = Arc::new(Matomo::new(&serde_json::Value::Null));
    let answering = Arc::clone(&matomo);
    let proxy = Server::start(move |request| {
        assert!(request.target.starts_with("http://matomo.invalid/"));
        answering.answer(request)
    });
    let folder = Folder::with_log(logs::log(10));
    let through = |url: &str| {
        Program::new(&folder)
            .arg(format!("--url={url}"))
            .env("HTTP_PROXY", &proxy.url())
            .env("MATOMO_TOKEN_AUTH", TOKEN)
            .args("--idsite=1 access.log")
            .run()
            .exits(0)
    };
    through("http://matomo.invalid/");
    assert_eq!(matomo.seen().hits.len(), 10);
    let direct = Arc::new(Matomo::new(&serde_json::Value::Null));
    let answering = Arc::clone(&direct);
    let server = Server::start(move |request| answering.answer(request));
    through(&server.url());
    assert_eq!(
        (matomo.seen().hits.len(), direct.seen().hits.len()),
        (10, 10)
    );
}

/// A server whose tracker always has this fault.
fn always(fault: Fault) -> FakeMatomo {
    started(Options {
        faults: Faults {
            rules: vec![(When::From(1), fault)],
            ..Faults::default()
        },
        ..options()
    })
}

fn to(server: &FakeMatomo, args: &str) -> Ended {
    Program::new(&Folder::with_log(logs::log(10)))
        .to(server)
        .args("--idsite=1 --retry-delay=0 access.log")
        .args(args)
        .run()
}

#[track_caller]
fn assert_nothing_imported(server: &FakeMatomo, ended: &Ended) {
    assert_eq!(count(server), 0);
    assert_eq!(ended.summary().get("imported"), 0, "{ended}");
    assert_eq!(ended.summary().get("unsent"), 10, "{ended}");
}
