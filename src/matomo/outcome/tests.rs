//! The table: every row of what Matomo was seen to answer, and of what the delivery makes of it.

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

fn exchange(seen: Seen) -> Exchange {
    Exchange {
        url: "http://m/piwik.php".into(),
        option: "--url",
        endpoint: "piwik.php".into(),
        seen,
    }
}

fn answer(status: u16, body: &str) -> Answer {
    Answer {
        status,
        retry_after: None,
        location: None,
        challenge: false,
        body: body.into(),
        whole: true,
    }
}

fn judged(answer: Answer, sent: usize, history: History) -> Outcome {
    judge(&exchange(Seen::Answer(answer)), sent, &history)
}

/// The outcome's kind and its text.
fn kind(outcome: &Outcome) -> (&'static str, String) {
    match outcome {
        Outcome::Committed(done) => ("committed", format!("{done:?}")),
        Outcome::NotSent { detail } => ("not sent", detail.clone()),
        Outcome::NotProcessed { detail, .. } => ("not processed", detail.clone()),
        Outcome::TooLarge { detail } => ("too large", detail.clone()),
        Outcome::InDoubt {
            answered, detail, ..
        } => (
            if *answered {
                "doubt"
            } else {
                "doubt, no answer"
            },
            detail.clone(),
        ),
        Outcome::Stop { message } => ("stop", message.clone()),
    }
}

fn committed(body: &str, sent: usize, history: History) -> Committed {
    match judged(answer(200, body), sent, history) {
        Outcome::Committed(done) => done,
        other => panic!("{body}: {other:?}"),
    }
}

fn tally(tracked: i64, invalid: i64, indices: &str) -> String {
    format!(r#"{{"status":"success","tracked":{tracked},"invalid":{invalid}{indices}}}"#)
}

#[test]
fn each_answer_has_its_outcome() {
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
            "committed",
            "",
        ),
        (200, &*tally(3, 0, ""), NEW, "committed", ""),
        (
            200,
            &*tally(1, 2, r#","invalid_indices":[1,2]"#),
            NEW,
            "committed",
            "",
        ),
        (200, &*all_bad, NEW, "stop", "the token"),
        (200, &*all_bad, RUNNING, "committed", ""),
        (200, &*none, NEW, "stop", "record_statistics"),
        (200, &*none, RUNNING, "stop", "record_statistics"),
        (400, HTML, NEW, "stop", "BulkTracking"),
        (400, error, RUNNING, "stop", "BulkTracking"),
        (500, error, NEW, "doubt", "Matomo failed"),
        (500, "", NEW, "doubt", "an empty body"),
        (413, HTML, NEW, "too large", "client_max_body_size"),
        (502, HTML, NEW, "doubt", "PHP behind"),
        (504, HTML, NEW, "doubt", "PHP behind"),
        (204, "", NEW, "doubt", "an empty body"),
        (500, api_error, NEW, "doubt", "too many bad tokens"),
        (503, HTML, NEW, "not processed", "maintenance"),
        // What the design adds.
        (200, &*tally(2, 0, ""), NEW, "committed", ""),
        (503, error, NEW, "doubt", ""),
        (503, "", RUNNING, "not processed", ""),
        (429, HTML, NEW, "not processed", "less often"),
        (429, error, NEW, "doubt", ""),
        (408, "", NEW, "not processed", ""),
        (301, "", NEW, "stop", "check --url"),
        (304, "", RUNNING, "stop", ""),
        (401, HTML, NEW, "stop", "check the token"),
        (401, HTML, RUNNING, "stop", ""),
        (403, HTML, NEW, "stop", "forbids"),
        (403, HTML, RUNNING, "not processed", "forbids"),
        (404, HTML, NEW, "stop", "--tracker-endpoint-path"),
        (404, HTML, RUNNING, "not processed", ""),
        (405, "", NEW, "stop", ""),
        (501, "", NEW, "doubt", ""),
        (
            200,
            HTML,
            NEW,
            "doubt",
            "an HTML page titled \"Oops\"; that is not what Matomo answers: check --url",
        ),
        (200, "", NEW, "doubt", "an empty body"),
        (200, cut, NEW, "doubt", ""),
        (200, error, NEW, "doubt", ""),
        (200, api_error, NEW, "doubt", ""),
        (101, "", NEW, "doubt", ""),
        (999, "", NEW, "doubt", ""),
    ] {
        let outcome = judged(answer(status, body), 3, history);
        let (told, text) = kind(&outcome);
        assert_eq!(told, want, "{status} {body} {outcome:?}");
        assert!(text.contains(says), "{status} {body}: {text}");
        if told != "committed" {
            assert!(text.contains("http://m/piwik.php"), "{text}");
        }
    }
}

#[test]
fn what_failed_before_a_connection_stood_is_not_sent_unless_it_cannot_heal() {
    for (cause, want) in [
        (Cause::NoSuchHost, "not sent"),
        (Cause::Refused, "not sent"),
        (Cause::ConnectTimeout, "not sent"),
        (Cause::Tls, "not sent"),
        (Cause::Other, "not sent"),
        (Cause::Certificate, "stop"),
    ] {
        let seen = Seen::NotSent {
            cause,
            detail: "why".into(),
        };
        let outcome = judge(&exchange(seen), 3, &RUNNING);
        assert_eq!(kind(&outcome), (want, "why".into()));
    }
}

#[test]
fn no_answer_is_doubt_and_after_a_reset_the_batch_is_halved() {
    for timed_out in [false, true] {
        let seen = Seen::NoAnswer {
            timed_out,
            detail: "why".into(),
        };
        let want = Outcome::InDoubt {
            answered: false,
            halve: !timed_out,
            retry_after: None,
            detail: "why".into(),
        };
        assert_eq!(judge(&exchange(seen), 3, &NEW), want);
    }
}

#[test]
fn an_answer_that_broke_off_is_doubt_unless_it_said_enough() {
    let half = |status, body: &str| Answer {
        whole: false,
        ..answer(status, body)
    };
    let outcome = judged(half(200, r#"{"status":"succ"#), 3, NEW);
    assert!(
        matches!(
            outcome,
            Outcome::InDoubt {
                answered: false,
                halve: true,
                ..
            }
        ),
        "{outcome:?}"
    );
    assert_eq!(
        kind(&judged(half(200, &tally(3, 0, "")), 3, NEW)).0,
        "committed"
    );
    assert_eq!(kind(&judged(half(413, "<ht"), 3, NEW)).0, "too large");
    assert_eq!(kind(&judged(half(503, "<ht"), 3, NEW)).0, "not processed");
}

#[test]
fn the_time_told_is_handed_on() {
    let told = Some(Duration::from_secs(7));
    let late = |status| Answer {
        retry_after: told,
        ..answer(status, "")
    };
    let Outcome::NotProcessed { retry_after, .. } = judged(late(503), 1, NEW) else {
        panic!()
    };
    assert_eq!(retry_after, told);
    let Outcome::InDoubt { retry_after, .. } = judged(late(504), 1, NEW) else {
        panic!()
    };
    assert_eq!(retry_after, told);
}

#[test]
fn a_redirect_names_the_new_address() {
    let moved = Answer {
        location: Some("https://stats.m/piwik.php".into()),
        ..answer(301, "")
    };
    let (told, text) = kind(&judged(moved, 1, RUNNING));
    assert_eq!(told, "stop");
    assert!(text.ends_with("use --url=https://stats.m/"), "{text}");
}

#[test]
fn a_web_server_that_asks_for_a_password_is_told_from_a_bad_token() {
    let asks = Answer {
        challenge: true,
        ..answer(401, "")
    };
    let (told, text) = kind(&judged(asks, 1, NEW));
    assert_eq!(told, "stop");
    assert!(text.contains("--auth-user"), "{text}");
}

#[test]
fn the_parts_of_a_batch_are_counted() {
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
        let want = Committed {
            tracked,
            refused,
            lost,
            noise: None,
            odd: None,
        };
        assert_eq!(committed(&body, sent, NEW), want, "{body}");
    }
}

#[test]
fn an_answer_that_contradicts_itself_is_committed_with_a_warning() {
    for (body, tracked, refused, lost) in [
        // More than was sent.
        (tally(9, 0, ""), 4, Refused::Indices(vec![]), 0),
        (tally(3, 3, ""), 1, Refused::Count(3), 0),
        (tally(1, i64::MAX, ""), 0, Refused::Count(4), 0),
        // Places that are none: out of range, twice, negative, huge, no numbers, too few, too many.
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
        let done = committed(&body, 4, RUNNING);
        assert_eq!(
            (done.tracked, done.refused, done.lost),
            (tracked, refused, lost),
            "{body}"
        );
        assert!(
            done.odd
                .is_some_and(|odd| odd.contains("http://m/piwik.php")),
            "{body}"
        );
    }
}

#[test]
fn text_around_the_json_is_noise() {
    let body = format!("Warning: x\n<br>{}", tally(1, 0, ""));
    let done = committed(&body, 1, NEW);
    assert_eq!(done.noise.as_deref(), Some("Warning: x\n<br>"));
}

#[test]
fn a_token_that_the_server_repeats_is_not_shown() {
    let token = "0123456789abcdef0123456789abcdef";
    for (status, body) in [
        (200, format!("bad {token}")),
        (404, format!("<title>{token}</title>")),
        (200, format!("token_auth={token} {}", tally(1, 0, ""))),
    ] {
        let outcome = judged(answer(status, &body), 1, NEW);
        assert!(!format!("{outcome:?}").contains(token), "{outcome:?}");
    }
}

proptest! {
    #[test]
    fn the_parts_always_add_up(
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
        if let Outcome::Committed(done) = judged(answer(200, &body.to_string()), sent, RUNNING) {
            let refused = match &done.refused {
                Refused::Indices(places) => places.len(),
                Refused::Count(count) => *count,
            };
            prop_assert_eq!(done.tracked + refused + done.lost, sent);
            if let Refused::Indices(places) = &done.refused {
                prop_assert!(places.is_sorted() && places.iter().all(|place| *place < sent));
            }
        }
    }

    #[test]
    fn any_answer_is_judged(status: u16, body: Vec<u8>, whole: bool, sent in 0usize..5, success: bool) {
        let seen = Answer { body, whole, ..answer(status, "") };
        judged(seen, sent, History { accepted_for_site: false, success });
    }
}
