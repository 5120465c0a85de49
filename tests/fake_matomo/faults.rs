//! Each fault: the response, and what is stored.

use std::num::NonZeroUsize;
use std::thread;

use super::client::{Client, Reply};
use super::*;
use crate::support::fake::{Fault, When};

/// Sends four hits to a server with this fault. Returns the response and the stored hits.
fn try_out(fault: Fault) -> (Option<Reply>, Vec<usize>) {
    let matomo = faulty(Faults {
        script: vec![Some(fault)],
        ..Faults::default()
    });
    let answer = send(&matomo, &hits(4));
    assert!(matomo.wait_idle(LONG));
    let stored = numbers(&matomo);
    // The fault is over.
    assert_eq!(send(&matomo, &hits(1)).unwrap().json()["tracked"], 1);
    (answer, stored)
}

const ALL: [usize; 4] = [0, 1, 2, 3];
const SHORT: Duration = Duration::from_millis(30);

#[test]
fn closed_connections_have_no_response() {
    for (fault, stored) in [
        (Fault::Refuse, &[][..]),
        (Fault::CloseInBody, &[]),
        (Fault::Stall(SHORT), &[]),
        (Fault::CommitClose, &ALL),
        (Fault::CommitStall(SHORT), &ALL),
    ] {
        let (answer, found) = try_out(fault.clone());
        assert!(answer.is_none(), "{fault:?}");
        assert_eq!(found, stored, "{fault:?}");
    }
}

#[test]
fn a_large_body_is_not_read_by_a_server_that_refuses() {
    for fault in [Fault::Refuse, Fault::CloseInBody] {
        let matomo = faulty(Faults {
            script: vec![Some(fault)],
            ..Faults::default()
        });
        let large = vec![b' '; 8 << 20];
        assert!(Client::of(&matomo).track(&large).is_none());
        assert!(matomo.log().tracker[0].body.is_empty());
    }
}

#[test]
fn a_late_commit_happens_after_the_client_hung_up() {
    let matomo = faulty(Faults {
        script: vec![Some(Fault::CommitLate(Duration::from_millis(150)))],
        ..Faults::default()
    });
    let mut client = Client::of(&matomo);
    client.send("/piwik.php", "", &good_body(&matomo, &hits(2)));
    while matomo
        .log()
        .tracker
        .first()
        .is_none_or(|call| call.body.is_empty())
    {
        thread::sleep(Duration::from_millis(1));
    }
    drop(client);
    assert_eq!(matomo.store().count().unwrap(), 0);
    assert!(matomo.wait_idle(LONG));
    assert_eq!(matomo.store().count().unwrap(), 2);
}

#[test]
fn a_late_commit_is_answered_if_the_client_waits() {
    let (answer, stored) = try_out(Fault::CommitLate(SHORT));
    assert_eq!(answer.unwrap().json()["tracked"], 4);
    assert_eq!(stored, ALL);
}

#[test]
fn a_rolled_back_batch_reports_its_progress() {
    let (answer, stored) = try_out(Fault::RollBack);
    let answer = answer.unwrap();
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (500, r#"{"status":"error","tracked":3,"invalid":0}"#)
    );
    assert!(stored.is_empty());
}

#[test]
fn a_deadlock_loses_the_first_half_and_claims_all() {
    let (answer, stored) = try_out(Fault::Deadlock);
    let answer = answer.unwrap();
    assert_eq!(answer.status, 500);
    assert_eq!(
        answer.text(),
        r#"{"status":"error","tracked":4,"invalid":0,"invalid_indices":[]}"#
    );
    assert_eq!(stored, [2, 3]);
}

#[test]
fn front_ends_answer_in_html() {
    for status in [200, 400, 403, 404, 429, 502, 503, 504] {
        let (answer, stored) = try_out(Fault::Html(status));
        let answer = answer.unwrap();
        assert_eq!(answer.status, status);
        assert!(answer.is_html() && stored.is_empty());
    }
    let (answer, stored) = try_out(Fault::CommitHtml(504));
    assert_eq!(answer.unwrap().status, 504);
    assert_eq!(stored, ALL);
}

#[test]
fn statuses_come_with_the_headers_they_need() {
    let (answer, stored) = try_out(Fault::TooLarge);
    let answer = answer.unwrap();
    assert_eq!(
        (answer.status, answer.header("connection")),
        (413, Some("close"))
    );
    assert!(answer.is_html() && stored.is_empty());

    let (answer, stored) = try_out(Fault::Busy(429, Some("7".into())));
    let answer = answer.unwrap();
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (429, Some("7"))
    );
    assert!(stored.is_empty());

    let (answer, _) = try_out(Fault::Busy(503, None));
    let answer = answer.unwrap();
    assert_eq!((answer.status, answer.header("retry-after")), (503, None));

    for status in [301, 302, 307] {
        let (answer, stored) = try_out(Fault::Redirect(
            status,
            "https://new.example/piwik.php".into(),
        ));
        let answer = answer.unwrap();
        assert_eq!(
            (answer.status, answer.header("location")),
            (status, Some("https://new.example/piwik.php"))
        );
        assert!(stored.is_empty());
    }

    let (answer, stored) = try_out(Fault::Empty500);
    let answer = answer.unwrap();
    assert_eq!((answer.status, answer.body.len()), (500, 0));
    assert!(stored.is_empty());
}

#[test]
fn responses_may_be_cut_or_preceded_by_warnings() {
    let (answer, stored) = try_out(Fault::HalfJson);
    let text = answer.unwrap().text();
    assert!(text.starts_with(r#"{"status":"#) && !text.ends_with('}'));
    assert_eq!(stored, ALL);

    let (answer, stored) = try_out(Fault::Warnings);
    let text = answer.unwrap().text();
    assert!(text.contains("<b>Warning</b>"));
    assert!(text.ends_with(r#"{"status":"success","tracked":4,"invalid":0,"invalid_indices":[]}"#));
    assert_eq!(stored, ALL);
}

#[test]
fn counts_may_be_wrong() {
    let (answer, stored) = try_out(Fault::Lost(1));
    assert_eq!(
        answer.unwrap().text(),
        r#"{"status":"success","tracked":3,"invalid":0,"invalid_indices":[]}"#
    );
    assert_eq!(stored, [1, 2, 3]);

    let (answer, stored) = try_out(Fault::Invalid(vec![0, 2, 9]));
    assert_eq!(
        answer.unwrap().text(),
        r#"{"status":"success","tracked":2,"invalid":2,"invalid_indices":[0,2]}"#
    );
    assert_eq!(stored, [1, 3]);

    let (answer, stored) = try_out(Fault::Nothing);
    assert_eq!(
        answer.unwrap().text(),
        r#"{"status":"success","tracked":0,"invalid":0}"#
    );
    assert!(stored.is_empty());

    let (answer, stored) = try_out(Fault::Twice);
    assert_eq!(answer.unwrap().json()["tracked"], 8);
    assert_eq!(stored, ALL);
}

#[test]
fn a_poisoned_url_fails_its_batch_until_the_faults_change() {
    let matomo = faulty(Faults {
        rules: vec![(When::UrlHolds("/2".into()), Fault::RollBack)],
        ..Faults::default()
    });
    for _ in 0..2 {
        assert_eq!(send(&matomo, &hits(4)).unwrap().status, 500);
    }
    assert_eq!(send(&matomo, &[hit(0), hit(1)]).unwrap().status, 200);
    matomo.set_faults(Faults::default());
    assert_eq!(send(&matomo, &[hit(2)]).unwrap().status, 200);
    assert_eq!(numbers(&matomo), [0, 1, 2]);
}

#[test]
fn bodies_over_the_limit_are_rejected() {
    let matomo = FakeMatomo::start(Options {
        body_limit: Some(100_000),
        ..options()
    });
    let mut padded = hit(1);
    padded["x"] = json!("x".repeat(1 << 20));
    let answer = send(&matomo, &[padded]).unwrap();
    assert_eq!(
        (answer.status, answer.header("connection")),
        (413, Some("close"))
    );
    assert_eq!(send(&matomo, &hits(1)).unwrap().status, 200);
}

/// Sends batches at the same time, each on a connection of its own. Returns the statuses, sorted.
fn at_once(matomo: &FakeMatomo, batches: Vec<Vec<Value>>) -> Vec<u16> {
    let mut statuses: Vec<u16> = thread::scope(|scope| {
        let sent: Vec<_> = batches
            .into_iter()
            .map(|batch| scope.spawn(move || send(matomo, &batch).unwrap().status))
            .collect();
        sent.into_iter().map(|one| one.join().unwrap()).collect()
    });
    statuses.sort_unstable();
    statuses
}

fn first_days(delay: Duration) -> FakeMatomo {
    FakeMatomo::start(Options {
        faults: Faults {
            deadlock_first_days: true,
            ..Faults::default()
        },
        delay,
        ..options()
    })
}

#[test]
fn concurrent_first_batches_of_a_day_deadlock() {
    let matomo = first_days(Duration::from_millis(300));
    let statuses = at_once(&matomo, vec![vec![hit(1), hit(2)], vec![hit(3), hit(4)]]);
    assert_eq!(statuses, [200, 500]);
    let stored = numbers(&matomo);
    assert!(
        stored == [1, 2, 4] || stored == [3, 4, 2] || stored == [2, 3, 4] || stored == [4, 1, 2],
        "{stored:?}"
    );
}

#[test]
fn a_first_batch_alone_does_not_deadlock() {
    let matomo = first_days(SHORT);
    assert_eq!(send(&matomo, &hits(1)).unwrap().status, 200);
    let statuses = at_once(&matomo, vec![hits(2), hits(2), hits(2), hits(2)]);
    assert_eq!(statuses, [200; 4]);
}

#[test]
fn a_swallowed_deadlock_loses_the_first_hits_despite_a_success_response() {
    let matomo = faulty(Faults {
        script: vec![Some(Fault::Swallowed(2))],
        ..Faults::default()
    });
    let mut requests = hits(4);
    requests[3]["idsite"] = json!(99);
    let reply = send(&matomo, &requests).unwrap();
    assert_eq!(reply.status, 200);
    let answer = reply.json();
    assert_eq!(
        (&answer["status"], &answer["tracked"]),
        (&json!("success"), &json!(3))
    );
    assert_eq!(answer["invalid_indices"], json!([3]));
    assert_eq!(numbers(&matomo), [2]);
}

#[test]
fn concurrent_batches_of_different_past_days_lose_first_hits() {
    let of_day = |number: usize, days_ago| {
        let mut hit = hit(number);
        hit["cdt"] = json!(noon(days_ago));
        hit
    };
    let slow = [of_day(0, 5), of_day(1, 5)];
    let quick = [of_day(2, 5), of_day(3, 4), of_day(4, 4)];
    for days_may_meet in [false, true] {
        let matomo = FakeMatomo::start(Options {
            faults: slow_first(),
            days_may_meet,
            ..options()
        });
        for (reply, sent) in send_during(&matomo, &slow, &quick).iter().zip([2, 3]) {
            assert_eq!(
                (reply.status, &reply.json()["tracked"]),
                (200, &json!(sent))
            );
        }
        match days_may_meet {
            true => assert_eq!(numbers(&matomo), [2, 3, 4, 0, 1]),
            false => assert_eq!(numbers(&matomo), [4, 0, 1]),
        }
        // Now both days are noted.
        let [_, again] = send_during(&matomo, &slow, &quick);
        assert_eq!(again.status, 200);
        let stored = numbers(&matomo).len();
        assert_eq!(stored, if days_may_meet { 10 } else { 8 });
    }
}

#[test]
fn concurrent_batches_of_one_day_lose_nothing() {
    let matomo = faulty(slow_first());
    send_during(&matomo, &hits(2), &hits(3));
    assert_eq!(numbers(&matomo), [0, 1, 2, 0, 1]);
}

#[test]
fn today_never_deadlocks() {
    let matomo = first_days(SHORT);
    let mut today = hit(1);
    today["cdt"] = json!("");
    let statuses = at_once(
        &matomo,
        vec![vec![today.clone()], vec![today.clone()], vec![today]],
    );
    assert_eq!(statuses, [200; 3]);
}

#[test]
fn a_stalled_response_blocks_no_other_request() {
    let matomo = faulty(Faults {
        script: vec![Some(Fault::Stall(LONG))],
        ..Faults::default()
    });
    let mut stalled = Client::of(&matomo);
    stalled.send("/piwik.php", "", &good_body(&matomo, &hits(1)));
    while matomo.log().tracker.is_empty() {
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(send(&matomo, &[hit(2)]).unwrap().status, 200);
    assert_eq!(matomo.log().busy_peak, 2);
    assert!(!matomo.wait_idle(Duration::ZERO));
}

#[test]
fn concurrent_requests_are_slower_and_may_fail() {
    let matomo = FakeMatomo::start(Options {
        faults: Faults {
            rules: vec![(When::BusyAbove(1), Fault::Empty500)],
            crowd: NonZeroUsize::new(1),
            ..Faults::default()
        },
        delay: Duration::from_millis(250),
        ..options()
    });
    assert_eq!(at_once(&matomo, vec![hits(1), hits(1)]), [200, 500]);
    let calls = matomo.log().tracker;
    let took = |status| {
        let call = calls
            .iter()
            .find(|call| call.status == Some(status))
            .unwrap();
        call.ended.unwrap() - call.began
    };
    assert!(took(500) >= Duration::from_millis(500));
    assert!(took(200) >= Duration::from_millis(250));
}
