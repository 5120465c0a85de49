//! The whole report, over stores of a few hits.

use super::*;
use crate::radio::Session;
use crate::sandbox::options::Sites;
use crate::sandbox::stored::Stored;
use chrono::DateTime;
use serde_json::{Value, json};

/// A store with these hits: site, epoch seconds, last byte of the address, the rest.
fn store(hits: &[(i64, i64, u8, Value)]) -> Store {
    let store = Store::open(None, &Sites::EveryHost).unwrap();
    store.add_site(Some(2), "radio.example", &[]).unwrap();
    let rows: Vec<_> = hits
        .iter()
        .map(|(site, epoch, address, hit)| {
            let date = DateTime::from_timestamp(*epoch, 0).unwrap();
            Box::new(Stored::new(
                hit.as_object().unwrap(),
                *site,
                date,
                [10, 0, 0, *address].into(),
            ))
        })
        .collect();
    store.record(&rows).unwrap();
    store
}

const NOON: i64 = 1_789_905_600;

#[test]
fn an_empty_store_says_so() {
    assert_eq!(report(&store(&[])).unwrap(), "The sandbox holds no hits.\n");
}

#[test]
fn hits_are_counted_by_site_url_status_and_referrer() {
    let status = json!({"1": ["HTTP-code", "200"]}).to_string();
    let page = json!({"url": "http://example.org/", "cvar": status, "bw_bytes": 1500, "urlref": "https://news.example/x"});
    let store = store(&[
        (1, NOON, 1, page.clone()),
        (1, NOON + 1800, 1, page.clone()),
        (1, NOON + 3601, 1, page.clone()),
        (
            1,
            NOON,
            2,
            json!({"url": "http://example.org/a.zip", "download": "http://example.org/a.zip"}),
        ),
        (
            2,
            NOON,
            1,
            json!({"url": "http://radio.example/", "urlref": "-"}),
        ),
    ]);
    assert_eq!(
        report(&store).unwrap(),
        "\
Sites
-----
  Visits  Page views  Downloads  Events  Bytes  Site  Name
       3           3          1       0  4,500     1  Sandbox
       1           1          0       0      0     2  radio.example
       4           4          1       0  4,500        all sites

Most viewed
-----------
  Page views  Url
           3  http://example.org/
           1  http://radio.example/

Status codes
------------
  Requests  Status
         3  200

Referring hosts
---------------
  Requests  Host
         3  news.example
"
    );
}

#[test]
fn a_new_visit_and_midnight_end_a_visit() {
    let midnight = NOON + 12 * 3600;
    let store = store(&[
        (1, NOON, 1, json!({})),
        (1, NOON + 60, 1, json!({"new_visit": 1})),
        (1, midnight - 60, 1, json!({})),
        (1, midnight + 60, 1, json!({})),
    ]);
    let visits = |db: &rusqlite::Connection| {
        db.query_row("SELECT count(*) FROM visits", [], |row| row.get(0))
    };
    assert_eq!(store.read::<i64>(visits).unwrap(), 4);
}

/// The five connections that were tried on a running Matomo.
#[test]
fn listening_is_told_in_all_by_mount_point_and_by_day() {
    let heard = |mount: &str, seconds: u64| json!({"e_c": "Listening", "e_a": "listened", "e_n": mount, "e_v": seconds});
    let store = store(&[
        (1, NOON + 1807, 1, heard("/live", 1807)),
        (1, NOON + 256, 2, heard("/live", 256)),
        (1, NOON + 12_000, 3, heard("/live", 12_000)),
        (1, NOON + 17, 4, heard("/live", 17)),
        (1, NOON + 5400, 5, heard("/live", 5400)),
        (
            1,
            NOON,
            5,
            json!({"e_c": "Listening", "e_a": "connected", "e_n": "/live"}),
        ),
    ]);
    let text = |store: &Store| {
        report(store)
            .unwrap()
            .split_once("Listening\n")
            .unwrap()
            .1
            .to_owned()
    };
    assert_eq!(
            text(&store),
            "\
---------
  5 connections: 19,480 s, 5.41 hours, average 3,896 s, median 1,807 s,
  most at once 5 (first at 2026-09-20 12:00:00 UTC), unique listeners 5

Listening by mount point
------------------------
  Connections  Seconds  Hours  Average s  Median s  Most at once       First at (UTC)  Unique listeners  Mount point
            5   19,480   5.41      3,896     1,807             5  2026-09-20 12:00:00                 5  /live

Listening hours per day (UTC)
-----------------------------
   All  Day
  5.41  2026-09-20
"
        );
}

#[test]
fn what_crosses_midnight_is_told_of_both_days_and_few_mount_points_are_named() {
    let store = store(&[]);
    for number in 0..MOST as u64 + 2 {
        let connection = Session::new(NOON + 43_200 - 3600, 5400 + number).unwrap();
        store
            .add_connection(&format!("/{number}"), connection, number)
            .unwrap();
    }
    let text = report(&store).unwrap();
    let others = text
        .lines()
        .find(|line| line.ends_with("other mount points"));
    let others: Vec<_> = others.unwrap().split_whitespace().take(3).collect();
    assert_eq!(others, ["2", "10,801", "3.00"]);
    let days = text.split_once("per day (UTC)\n").unwrap().1;
    assert_eq!(
        days,
        "\
-----------------------------
    All   /31   /30   /29   /28   /27   /26  (others)  Day
  32.00  1.00  1.00  1.00  1.00  1.00  1.00     26.00  2026-09-20
  16.14  0.51  0.51  0.51  0.51  0.51  0.51     13.09  2026-09-21
"
    );
}

#[test]
fn days_before_those_that_are_listed_are_one_row() {
    let store = store(&[]);
    for day in 0..400 {
        let connection = Session::new(NOON + day * 86_400, 3600).unwrap();
        store.add_connection("/live", connection, 1).unwrap();
    }
    let text = report(&store).unwrap();
    assert!(
        text.contains("\n  34.00  earlier\n   1.00  2026-10-24\n"),
        "{text}"
    );
}

#[test]
fn bytes_beyond_any_disk_do_no_harm() {
    let large = json!({"bw_bytes": i64::MAX});
    let store = store(&[(1, NOON, 1, large.clone()), (1, NOON, 1, large)]);
    assert!(
        report(&store)
            .unwrap()
            .contains("18,446,744,073,709,551,615")
    );
}
