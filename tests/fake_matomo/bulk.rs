//! Bulk tracking: responses, and what is stored.

use serde_json::{Value, json};

use super::client::Client;
use super::*;
use crate::support::fake::Role;

#[test]
fn a_super_user_gets_the_indices_of_invalid_hits() {
    let matomo = faultless();
    let answer = send(&matomo, &hits(3)).unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.text(),
        r#"{"status":"success","tracked":3,"invalid":0,"invalid_indices":[]}"#
    );
    assert_eq!(matomo.store().hits().unwrap(), hits(3));
}

#[test]
fn a_write_token_gets_no_indices() {
    let matomo = faultless();
    let answer = Client::of(&matomo).track(&body(WRITE, &hits(1))).unwrap();
    assert_eq!(
        answer.text(),
        r#"{"status":"success","tracked":1,"invalid":0}"#
    );
}

#[test]
fn hits_of_unknown_sites_are_invalid_and_the_others_stored() {
    let matomo = faultless();
    let mut requests = hits(5);
    for request in &mut requests[1..] {
        request["idsite"] = json!(99);
    }
    let answer = send(&matomo, &requests).unwrap();
    assert_eq!(
        answer.text(),
        r#"{"status":"success","tracked":1,"invalid":4,"invalid_indices":[1,2,3,4]}"#
    );
    assert_eq!(numbers(&matomo), [0]);
}

#[test]
fn bad_view_and_missing_tokens_make_every_hit_invalid() {
    let matomo = faultless();
    for token in ["bad", VIEW, ""] {
        let answer = Client::of(&matomo).track(&body(token, &hits(3))).unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(
            answer.text(),
            r#"{"status":"success","tracked":0,"invalid":3}"#
        );
    }
    let roles: Vec<Role> = matomo.log().tracker.iter().map(|call| call.role).collect();
    assert_eq!(roles, [Role::Bad, Role::View, Role::None]);
    assert_eq!(matomo.store().count().unwrap(), 0);
}

#[test]
fn a_token_counts_inside_each_request_but_not_in_query_or_header() {
    let matomo = faultless();
    let mut request = hit(1);
    let bare = json!({"requests": [request.clone()]}).to_string();
    let mut client = Client::of(&matomo);
    let token = matomo.token().expose();
    let target = format!("/piwik.php?token_auth={token}");
    let header = format!("Content-Type: application/json\r\nAuthorization: Bearer {token}\r\n");
    let answer = client.post(&target, &header, bare.as_bytes()).unwrap();
    assert_eq!(answer.json()["invalid"], 1);
    request["token_auth"] = json!(token);
    let answer = client
        .track(json!({"requests": [request]}).to_string().as_bytes())
        .unwrap();
    assert_eq!(answer.json()["tracked"], 1);
    assert!(
        !matomo.store().hits().unwrap()[0]
            .to_string()
            .contains(token)
    );
}

#[test]
fn an_unreadable_body_is_an_empty_batch() {
    let matomo = faultless();
    let whole = good_body(&matomo, &hits(1));
    let surrogate = r#"{"requests":[{"idsite":1,"rec":1,"url":"\ud83d"}]}"#;
    let bodies: [&[u8]; 5] = [
        &whole[..whole.len() - 5],
        b"{\"requests\":[{\"idsite\":1,\"rec\":1,\"url\":\"\xff\"}]}",
        surrogate.as_bytes(),
        br#"{"requests":[]}"#,
        br#"{"token_auth":"x","requests":{}}"#,
    ];
    for bytes in bodies {
        let answer = Client::of(&matomo).track(bytes).unwrap();
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, r#"{"status":"success","tracked":0,"invalid":0}"#)
        );
    }
    assert_eq!(matomo.store().count().unwrap(), 0);
}

#[test]
fn a_body_that_is_not_a_batch_gets_a_gif_and_html() {
    let matomo = faultless();
    for bytes in [&b"{}"[..], b"hello", b"\x1f\x8b\x08\x00\x01\x02", b""] {
        let answer = Client::of(&matomo).track(bytes).unwrap();
        assert_eq!(answer.status, 400);
        assert!(answer.body.starts_with(b"GIF89a"));
        assert!(answer.text().contains("<html>"));
    }
}

#[test]
fn negative_bytes_roll_the_batch_back() {
    let matomo = faultless();
    let mut requests = hits(4);
    requests[2]["bw_bytes"] = json!(-5);
    let answer = send(&matomo, &requests).unwrap();
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (500, r#"{"status":"error","tracked":2,"invalid":0}"#)
    );
    assert_eq!(matomo.store().count().unwrap(), 0);
}

#[test]
fn unusable_dates_become_now_and_unusable_addresses_become_zeros() {
    let matomo = faultless();
    let mut requests = hits(5);
    for (request, date) in
        requests
            .iter_mut()
            .zip(["nonsense", "2099-01-01 00:00:00", "1999-01-01 00:00:00"])
    {
        request["cdt"] = json!(date);
    }
    requests[4]["cip"] = json!("not an address");
    assert_eq!(send(&matomo, &requests).unwrap().json()["tracked"], 5);
    let rows: Vec<(i64, String)> = matomo
        .store()
        .read(|db| {
            let mut all =
                db.prepare("SELECT strftime('%s') - epoch, address FROM hits ORDER BY id")?;
            all.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })
        .unwrap();
    assert!(
        rows[..3].iter().all(|(age, _)| (0..60).contains(age)),
        "{rows:?}"
    );
    assert!(rows[3].0 > 86_400);
    assert_eq!(rows[4].1, "0.0.0.0");
}

#[test]
fn hits_that_are_not_recorded_count_as_tracked() {
    let matomo = faultless();
    let mut requests = hits(3);
    requests[0]["rec"] = json!(0);
    requests[1]["ping"] = json!(1);
    let answer = send(&matomo, &requests).unwrap();
    assert_eq!(answer.json()["tracked"], 3);
    assert_eq!(numbers(&matomo), [2]);
}

#[test]
fn an_empty_request_is_neither_tracked_nor_invalid() {
    let matomo = faultless();
    let answer = send(&matomo, &[hit(1), Value::Null]).unwrap();
    assert_eq!(
        answer.text(),
        r#"{"status":"success","tracked":1,"invalid":0,"invalid_indices":[]}"#
    );
}

#[test]
fn a_repeated_hit_is_stored_again() {
    let matomo = faultless();
    send(&matomo, &hits(1)).unwrap();
    send(&matomo, &hits(1)).unwrap();
    assert_eq!(numbers(&matomo), [0, 0]);
}

#[test]
fn debug_output_precedes_the_answer_and_without_an_image_it_is_empty() {
    let matomo = faultless();
    let mut client = Client::of(&matomo);
    let text = client
        .track_at(
            "/matomo.php?queuedtracking=0&debug=1",
            &good_body(&matomo, &hits(1)),
        )
        .unwrap()
        .text();
    assert!(text.starts_with("Debug enabled"));
    assert!(text.ends_with(r#"{"status":"success","tracked":1,"invalid":0,"invalid_indices":[]}"#));
    let silent =
        json!({"token_auth": matomo.token().expose(), "send_image": 0, "requests": hits(1)})
            .to_string();
    let answer = client.track(silent.as_bytes()).unwrap();
    assert_eq!((answer.status, answer.body.len()), (204, 0));
    assert_eq!(matomo.store().count().unwrap(), 2);
}

#[test]
fn only_paths_of_php_files_track() {
    let matomo = faultless();
    let mut client = Client::of(&matomo);
    for path in [
        "/piwik.php",
        "/matomo.php",
        "/sub/dir/matomo.php",
        "/own.php",
    ] {
        assert_eq!(
            client
                .track_at(path, &good_body(&matomo, &hits(1)))
                .unwrap()
                .status,
            200
        );
    }
    assert_eq!(
        client
            .track_at("/nowhere", &good_body(&matomo, &hits(1)))
            .unwrap()
            .status,
        404
    );
    assert_eq!(matomo.log().tracker[2].path, "/sub/dir/matomo.php");
}

#[test]
fn too_many_bad_tokens_lock_everyone_out() {
    let matomo = faultless();
    let mut client = Client::of(&matomo);
    for _ in 0..21 {
        assert_eq!(client.track(&body("bad", &hits(1))).unwrap().status, 200);
    }
    assert_eq!(
        client.track(&good_body(&matomo, &hits(1))).unwrap().status,
        500
    );
    assert_eq!(
        client.call("SitesManager.getAllSites", &[]).unwrap().status,
        500
    );
}

#[test]
fn the_log_contains_what_was_sent() {
    let matomo = faultless();
    send(&matomo, &hits(2)).unwrap();
    let log = matomo.log();
    let call = &log.tracker[0];
    assert_eq!((call.number, call.hits, call.status), (1, 2, Some(200)));
    assert_eq!(call.query, "queuedtracking=0");
    assert_eq!(call.header("content-type"), Some("application/json"));
    assert!(call.ended.is_some());
    assert_eq!(log.sent(), hits(2));
}

#[test]
fn without_a_log_only_counts_are_kept() {
    let matomo = FakeMatomo::start(Options {
        keep_log: false,
        ..options()
    });
    send(&matomo, &hits(2)).unwrap();
    let log = matomo.log();
    assert!(log.tracker.is_empty());
    assert_eq!((log.calls, log.busy_peak, log.connections), (1, 1, 1));
}
