//! The table: every response that Matomo was seen to send, and its outcome.

use proptest::prelude::*;

use super::*;

const NEW: History = History {
    accepted_for_site: false,
    success: false,
};
const RUNNING: History = History {
    accepted_for_site: true,
    success: true,
};
const HTML: &str = "<html><head><title>Oops</title></head></html>";

fn exchange(result: ExchangeResult) -> Exchange {
    Exchange {
        to_queue: false,
        url: "http://m/piwik.php".into(),
        option: "--url",
        endpoint: "piwik.php".into(),
        result,
    }
}

fn response(status: u16, body: &str) -> HttpResponse {
    HttpResponse {
        status,
        retry_after: None,
        location: None,
        challenge: false,
        body: body.into(),
        complete: true,
    }
}

fn classified(response: HttpResponse, sent: usize, history: History) -> Outcome {
    classify(
        &exchange(ExchangeResult::Response(response)),
        sent,
        &history,
    )
}

/// The name of an outcome and its text.
fn describe(outcome: &Outcome) -> (&'static str, String) {
    match outcome {
        Outcome::Acknowledged(hits) => ("acknowledged", format!("{hits:?}")),
        Outcome::Queued => ("queued", String::new()),
        Outcome::NotSent { detail } => ("not sent", detail.clone()),
        Outcome::NotProcessed { detail, .. } => ("not processed", detail.clone()),
        Outcome::TooLarge { detail } => ("too large", detail.clone()),
        Outcome::Unconfirmed {
            answered, detail, ..
        } => (
            if *answered {
                "unconfirmed"
            } else {
                "unconfirmed, no response"
            },
            detail.clone(),
        ),
        Outcome::Stop { message } => ("stop", message.clone()),
    }
}

fn acknowledged(body: &str, sent: usize, history: History) -> Acknowledged {
    match classified(response(200, body), sent, history) {
        Outcome::Acknowledged(hits) => hits,
        other => panic!("{body}: {other:?}"),
    }
}

fn tally(tracked: i64, invalid: i64, indices: &str) -> String {
    format!(r#"{{"status":"success","tracked":{tracked},"invalid":{invalid}{indices}}}"#)
}

#[test]
fn each_response_has_its_outcome() {
    let error = r#"{"status":"error","tracked":20,"invalid":0,"invalid_indices":[]}"#;
    let api_error = r#"{"result":"error","message":"too many bad tokens"}"#;
    let none = tally(0, 0, "");
    let all_bad = tally(0, 3, "");
    let cut = r#"{"status":"success","trac"#;
    for (status, body, history, want, says) in [
        // Seen on a running Matomo.
        (
            200,
            &*tally(3, 0, r#","invalid_indices":[]"#),
            NEW,
            "acknowledged",
            "",
        ),
        (200, &*tally(3, 0, ""), NEW, "acknowledged", ""),
        (
            200,
            &*tally(1, 2, r#","invalid_indices":[1,2]"#),
            NEW,
            "acknowledged",
            "",
        ),
        (200, &*all_bad, NEW, "stop", "the token"),
        (200, &*all_bad, RUNNING, "acknowledged", ""),
        (200, &*none, NEW, "stop", "record_statistics"),
        (200, &*none, RUNNING, "stop", "record_statistics"),
        (400, HTML, NEW, "stop", "BulkTracking"),
        (400, error, NEW, "stop", "BulkTracking"),
        // Version 5.7 and later.
        (400, error, RUNNING, "unconfirmed", ""),
        (400, HTML, RUNNING, "unconfirmed", ""),
        (500, error, NEW, "unconfirmed", "Matomo failed"),
        (500, "", NEW, "unconfirmed", "an empty body"),
        (413, HTML, NEW, "too large", "client_max_body_size"),
        (502, HTML, NEW, "unconfirmed", "PHP behind"),
        (504, HTML, NEW, "unconfirmed", "PHP behind"),
        (204, "", NEW, "unconfirmed", "an empty body"),
        (500, api_error, NEW, "unconfirmed", "too many bad tokens"),
        (503, HTML, NEW, "not processed", "maintenance"),
        // Rules for responses that were not seen.
        (200, &*tally(2, 0, ""), NEW, "acknowledged", ""),
        (503, error, NEW, "unconfirmed", ""),
        (503, "", RUNNING, "not processed", ""),
        (429, HTML, NEW, "not processed", "limits the rate"),
        (429, error, NEW, "unconfirmed", ""),
        (408, "", NEW, "not processed", ""),
        (301, "", NEW, "stop", "check --url"),
        (304, "", RUNNING, "stop", ""),
        (401, HTML, NEW, "stop", "the token is wrong or has expired"),
        (401, HTML, RUNNING, "stop", ""),
        (403, HTML, NEW, "stop", "forbids"),
        (403, HTML, RUNNING, "not processed", "forbids"),
        (404, HTML, NEW, "stop", "--tracker-endpoint-path"),
        (404, HTML, RUNNING, "not processed", ""),
        (405, "", NEW, "stop", ""),
        (501, "", NEW, "unconfirmed", ""),
        (
            200,
            HTML,
            NEW,
            "unconfirmed",
            "an HTML page titled \"Oops\"; this is not a response of Matomo: check --url",
        ),
        (200, "", NEW, "unconfirmed", "an empty body"),
        (200, cut, NEW, "unconfirmed", ""),
        (200, error, NEW, "unconfirmed", ""),
        (200, api_error, NEW, "unconfirmed", ""),
        (101, "", NEW, "unconfirmed", ""),
        (999, "", NEW, "unconfirmed", ""),
    ] {
        let outcome = classified(response(status, body), 3, history);
        let (name, text) = describe(&outcome);
        assert_eq!(name, want, "{status} {body} {outcome:?}");
        assert!(text.contains(says), "{status} {body}: {text}");
        if name != "acknowledged" {
            assert!(text.contains("http://m/piwik.php"), "{text}");
        }
    }
}

#[test]
fn a_failed_connection_is_not_sent_unless_a_retry_cannot_help() {
    for (cause, want) in [
        (ConnectFailure::UnknownHost, "not sent"),
        (ConnectFailure::Refused, "not sent"),
        (ConnectFailure::Timeout, "not sent"),
        (ConnectFailure::Tls, "not sent"),
        (ConnectFailure::Other, "not sent"),
        (ConnectFailure::Certificate, "stop"),
    ] {
        let result = ExchangeResult::NotSent {
            cause,
            detail: "why".into(),
        };
        let outcome = classify(&exchange(result), 3, &RUNNING);
        assert_eq!(describe(&outcome), (want, "why".into()));
    }
}

#[test]
fn without_a_response_a_batch_is_unconfirmed_and_halved_after_a_reset() {
    for timed_out in [false, true] {
        let result = ExchangeResult::NoResponse {
            timed_out,
            detail: "why".into(),
        };
        let want = Outcome::Unconfirmed {
            answered: false,
            halve: !timed_out,
            hopeless: false,
            rejected: false,
            retry_after: None,
            detail: "why".into(),
        };
        assert_eq!(classify(&exchange(result), 3, &NEW), want);
    }
}

#[test]
fn a_400_after_a_success_is_about_one_of_the_hits() {
    for (status, history, expected) in [
        (400, RUNNING, Some(true)),
        (400, NEW, None),
        (500, RUNNING, Some(false)),
        (502, RUNNING, Some(false)),
    ] {
        let outcome = classified(response(status, HTML), 3, history);
        let found = match outcome {
            Outcome::Unconfirmed {
                rejected, halve, ..
            } => {
                assert_eq!(halve, rejected, "{status}");
                Some(rejected)
            }
            _ => None,
        };
        assert_eq!(found, expected, "{status}");
    }
}

#[test]
fn an_answer_that_any_batch_would_get_is_hopeless() {
    let pixel = "GIF89a\u{1}\0\u{1}\0";
    let notice = "Keep full control of your data with the leading free/libre analytics platform";
    let login = "<form><input type=\"password\"></form>";
    let php = "<br />\n<b>Fatal error</b>:  Allowed memory size exhausted in a.php";
    let success = r#"{"status":"success","tracked":3,"invalid":0}"#;
    for (status, body, at_first, later, says) in [
        (
            200,
            pixel,
            true,
            true,
            "a GIF image; Matomo's tracker got the request without",
        ),
        (
            200,
            notice,
            true,
            true,
            "its BulkTracking plugin is switched off",
        ),
        (204, "", true, true, "not Matomo's answer to a batch"),
        (200, login, true, true, "this is a login page"),
        (200, "<p>It works!", true, false, "not a response of Matomo"),
        (200, php, false, false, "display_errors=Off"),
        (200, "", false, false, "an empty body"),
        (500, login, false, false, "500"),
    ] {
        for (history, hopeless) in [(NEW, at_first), (RUNNING, later)] {
            let outcome = classified(response(status, body), 3, history);
            let Outcome::Unconfirmed {
                hopeless: found,
                detail,
                ..
            } = outcome
            else {
                panic!("{body}: {outcome:?}")
            };
            assert_eq!(found, hopeless, "{status} {body}");
            assert!(detail.contains(says), "{detail}");
        }
    }
    // PHP's messages before the JSON are only noise.
    let noisy = format!("{php}{success}");
    let outcome = classified(response(200, &noisy), 3, NEW);
    assert!(matches!(outcome, Outcome::Acknowledged(_)));
}

#[test]
fn an_incomplete_response_is_unconfirmed_unless_it_says_enough() {
    let incomplete = |status, body: &str| HttpResponse {
        complete: false,
        ..response(status, body)
    };
    let outcome = classified(incomplete(200, r#"{"status":"succ"#), 3, NEW);
    assert!(
        matches!(
            outcome,
            Outcome::Unconfirmed {
                answered: false,
                halve: true,
                ..
            }
        ),
        "{outcome:?}"
    );
    assert_eq!(
        describe(&classified(incomplete(200, &tally(3, 0, "")), 3, NEW)).0,
        "acknowledged"
    );
    assert_eq!(
        describe(&classified(incomplete(413, "<ht"), 3, NEW)).0,
        "too large"
    );
    assert_eq!(
        describe(&classified(incomplete(503, "<ht"), 3, NEW)).0,
        "not processed"
    );
}

#[test]
fn retry_after_is_passed_on() {
    let want = Some(Duration::from_secs(7));
    let late = |status| HttpResponse {
        retry_after: want,
        ..response(status, "")
    };
    let Outcome::NotProcessed { retry_after, .. } = classified(late(503), 1, NEW) else {
        panic!()
    };
    assert_eq!(retry_after, want);
    let Outcome::Unconfirmed { retry_after, .. } = classified(late(504), 1, NEW) else {
        panic!()
    };
    assert_eq!(retry_after, want);
}

#[test]
fn a_redirect_names_the_new_address() {
    let moved = HttpResponse {
        location: Some("https://stats.m/piwik.php".into()),
        ..response(301, "")
    };
    let (name, text) = describe(&classified(moved, 1, RUNNING));
    assert_eq!(name, "stop");
    assert!(text.ends_with("use --url=https://stats.m/"), "{text}");
}

#[test]
fn a_web_server_that_asks_for_a_password_is_not_a_bad_token() {
    let asks = HttpResponse {
        challenge: true,
        ..response(401, "")
    };
    let (name, text) = describe(&classified(asks, 1, NEW));
    assert_eq!(name, "stop");
    assert!(text.contains("--auth-user"), "{text}");
}

#[test]
fn tracked_refused_and_lost_hits_are_counted() {
    for (body, sent, tracked, refused, lost) in [
        (tally(3, 0, ""), 3, 3, Refused::Indices(vec![]), 0),
        (
            tally(1, 4, r#","invalid_indices":[1,2,3,4]"#),
            5,
            1,
            Refused::Indices(vec![1, 2, 3, 4]),
            0,
        ),
        (
            tally(1, 2, r#","invalid_indices":{"0":2,"7":0}"#),
            3,
            1,
            Refused::Indices(vec![0, 2]),
            0,
        ),
        (tally(1, 2, ""), 3, 1, Refused::Count(2), 0),
        (
            tally(1, 2, r#","invalid_indices":null"#),
            3,
            1,
            Refused::Count(2),
            0,
        ),
        (
            tally(1, 1, r#","invalid_indices":[0]"#),
            5,
            1,
            Refused::Indices(vec![0]),
            3,
        ),
        (tally(0, 2, ""), 5, 0, Refused::Count(2), 3),
        (tally(2, 0, ""), 3, 2, Refused::Indices(vec![]), 1),
    ] {
        let want = Acknowledged {
            tracked,
            refused,
            lost,
            noise: None,
            warning: None,
        };
        assert_eq!(acknowledged(&body, sent, NEW), want, "{body}");
    }
}

#[test]
fn a_response_that_contradicts_itself_is_acknowledged_with_a_warning() {
    for (body, tracked, refused, lost) in [
        // More than was sent.
        (tally(9, 0, ""), 4, Refused::Indices(vec![]), 0),
        (tally(3, 3, ""), 1, Refused::Count(3), 0),
        (tally(1, i64::MAX, ""), 0, Refused::Count(4), 0),
        // Wrong indices: out of range, twice, negative, huge, not numbers, too few, too many.
        (
            tally(3, 1, r#","invalid_indices":[4]"#),
            3,
            Refused::Count(1),
            0,
        ),
        (
            tally(2, 2, r#","invalid_indices":[1,1]"#),
            2,
            Refused::Count(2),
            0,
        ),
        (
            tally(3, 1, r#","invalid_indices":[-1]"#),
            3,
            Refused::Count(1),
            0,
        ),
        (
            tally(3, 1, r#","invalid_indices":[1e30]"#),
            3,
            Refused::Count(1),
            0,
        ),
        (
            tally(3, 1, r#","invalid_indices":["x",null]"#),
            3,
            Refused::Count(1),
            0,
        ),
        (
            tally(3, 1, r#","invalid_indices":[]"#),
            3,
            Refused::Count(1),
            0,
        ),
        (
            tally(3, 1, r#","invalid_indices":[1,2]"#),
            3,
            Refused::Count(1),
            0,
        ),
    ] {
        let done = acknowledged(&body, 4, RUNNING);
        assert_eq!(
            (done.tracked, done.refused, done.lost),
            (tracked, refused, lost),
            "{body}"
        );
        assert!(
            done.warning
                .is_some_and(|warning| warning.contains("http://m/piwik.php")),
            "{body}"
        );
    }
}

#[test]
fn text_around_the_json_is_noise() {
    let body = format!("Warning: x\n<br>{}", tally(1, 0, ""));
    let done = acknowledged(&body, 1, NEW);
    assert_eq!(done.noise.as_deref(), Some("Warning: x\n<br>"));
}

#[test]
fn a_token_that_the_server_echoes_is_not_shown() {
    let token = "0123456789abcdef0123456789abcdef";
    for (status, body) in [
        (200, format!("bad {token}")),
        (404, format!("<title>{token}</title>")),
        (200, format!("token_auth={token} {}", tally(1, 0, ""))),
    ] {
        let outcome = classified(response(status, &body), 1, NEW);
        assert!(!format!("{outcome:?}").contains(token), "{outcome:?}");
    }
}

proptest! {
    #[test]
    fn the_counts_always_add_up(
        sent in 0usize..50,
        tracked: u64,
        small in 0u64..60,
        invalid in 0u64..60,
        indices in proptest::collection::vec(-5i64..70, 0..60),
        huge: bool,
    ) {
        let tracked = if huge { tracked } else { small };
        let body = serde_json::json!({
            "status": "success", "tracked": tracked, "invalid": invalid, "invalid_indices": indices
        });
        if let Outcome::Acknowledged(done) = classified(response(200, &body.to_string()), sent, RUNNING) {
            let refused = match &done.refused {
                Refused::Indices(indices) => indices.len(),
                Refused::Count(count) => *count,
            };
            prop_assert_eq!(done.tracked + refused + done.lost, sent);
            if let Refused::Indices(indices) = &done.refused {
                prop_assert!(indices.is_sorted() && indices.iter().all(|index| *index < sent));
            }
        }
    }

    #[test]
    fn any_response_can_be_classified(status: u16, body: Vec<u8>, complete: bool, sent in 0usize..5, success: bool) {
        let response = HttpResponse { body, complete, ..response(status, "") };
        classified(response, sent, History { accepted_for_site: false, success });
    }
}

#[test]
fn only_an_image_says_that_a_batch_is_in_the_queue() {
    let classified = |to_queue, response| {
        let exchange = Exchange {
            to_queue,
            ..exchange(ExchangeResult::Response(response))
        };
        describe(&classify(&exchange, 3, &History::default())).0
    };
    let image = || response(200, "GIF89a\u{1}");
    assert_eq!(classified(true, image()), "queued");
    assert_eq!(classified(false, image()), "unconfirmed");
    let cut = HttpResponse {
        complete: false,
        ..image()
    };
    assert_eq!(classified(true, cut), "unconfirmed, no response");
    // With `send_image=0`, Matomo answers so to a wrong token, too.
    assert_eq!(classified(true, response(204, "")), "unconfirmed");
    assert_eq!(classified(true, response(200, "")), "unconfirmed");
    assert_eq!(
        classified(true, response(500, "GIF89a\u{1}")),
        "unconfirmed"
    );
    assert_eq!(classified(true, response(400, "GIF89a\u{1}")), "stop");
    // The queue is switched off.
    let stored = classified(true, response(200, &tally(3, 0, "")));
    assert_eq!(stored, "acknowledged");
}
