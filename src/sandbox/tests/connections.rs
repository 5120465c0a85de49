//! Connections, basic authentication, the file that stays.

use std::fs;
use std::io::Write;

use super::client::Client;
use super::*;
use crate::error::Kind;
use crate::radio::Session;

fn listen(sandbox: &Sandbox, seconds: u64) {
    let connection = Session::new(1_700_000_000, seconds).unwrap();
    sandbox
        .store()
        .add_connection("/live", connection, 1)
        .unwrap();
}

#[test]
fn many_requests_go_over_one_connection_and_are_counted() {
    let sandbox = sandbox(Faults::default());
    let mut client = Client::of(&sandbox);
    for number in 0..3 {
        client.track(&body(SUPER, &[hit(number)])).unwrap();
        client.call("SitesManager.getAllSites", &[]).unwrap();
    }
    let log = sandbox.log();
    assert_eq!(
        (log.connections, log.connections_peak, log.calls),
        (1, 1, 6)
    );
    let numbers: Vec<u64> = log.tracker.iter().map(|call| call.number).collect();
    assert_eq!(numbers, [1, 3, 5]);
    let mut other = Client::of(&sandbox);
    other.track(&body(SUPER, &[hit(9)])).unwrap();
    assert_eq!(sandbox.log().connections_peak, 2);
}

#[test]
fn a_body_may_come_in_chunks() {
    let sandbox = sandbox(Faults::default());
    let mut client = Client::of(&sandbox);
    let whole = body(SUPER, &hits(2));
    let (first, second) = whole.split_at(20);
    let mut request =
        b"POST /piwik.php HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in [first, second, b""] {
        request.extend(format!("{:x}\r\n", chunk.len()).bytes());
        request.extend(chunk);
        request.extend(b"\r\n");
    }
    client.0.write_all(&request).unwrap();
    assert_eq!(client.receive().unwrap().json()["tracked"], 2);
}

#[test]
fn a_client_that_hangs_up_in_its_body_leaves_nothing() {
    let sandbox = sandbox(Faults::default());
    let whole = body(SUPER, &hits(2));
    let mut client = Client::of(&sandbox);
    let head = format!(
        "POST /piwik.php HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        whole.len()
    );
    client.0.write_all(head.as_bytes()).unwrap();
    client.0.write_all(&whole[..whole.len() / 2]).unwrap();
    drop(client);
    assert_eq!(send(&sandbox, &[hit(7)]).unwrap().status, 200);
    assert!(sandbox.wait_idle(LONG));
    assert_eq!(numbers(&sandbox), [7]);
}

#[test]
fn basic_authentication_is_asked_of_every_request() {
    let sandbox = start(Options {
        basic_auth: Some(("Aladdin".into(), Secret::new("open sesame"))),
        ..options()
    });
    let mut client = Client::of(&sandbox);
    assert_eq!(client.track(&body(SUPER, &hits(1))).unwrap().status, 401);
    assert_eq!(
        client.call("SitesManager.getAllSites", &[]).unwrap().status,
        401
    );
    let header =
        "Content-Type: application/json\r\nAuthorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n";
    let answer = client
        .post("/piwik.php", header, &body(SUPER, &hits(1)))
        .unwrap();
    assert_eq!(answer.status, 200);
}

#[test]
fn a_get_is_a_page() {
    let sandbox = sandbox(Faults::default());
    let mut client = Client::of(&sandbox);
    client
        .0
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let answer = client.receive().unwrap();
    assert!(answer.status == 200 && answer.is_html());
}

#[test]
fn a_file_stays_and_is_added_to() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trial.sqlite");
    for number in 0..2 {
        let sandbox = start(Options {
            file: Some(file.clone()),
            ..options()
        });
        send(&sandbox, &[hit(number)]).unwrap();
        listen(&sandbox, 60);
    }
    let db = rusqlite::Connection::open(&file).unwrap();
    let count = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(
        count("SELECT count(*) FROM hits WHERE idsite = 1 AND status IS NULL"),
        2
    );
    assert_eq!(count("SELECT max(batch) FROM hits"), 2);
    assert_eq!(count("SELECT count(*) FROM visits"), 2);
    assert_eq!(count("SELECT sum(seconds) FROM connections"), 120);
}

#[test]
fn a_file_of_something_else_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("access.log");
    fs::write(
        &text,
        "10.0.0.1 - - [x] \"GET / HTTP/1.1\" 200 1\n".repeat(50),
    )
    .unwrap();
    let other = folder.path().join("other.sqlite");
    rusqlite::Connection::open(&other)
        .unwrap()
        .execute_batch("CREATE TABLE t (x)")
        .unwrap();
    for file in [text, other, folder.path().join("no/such/folder")] {
        let before = fs::read(&file).ok();
        let options = Options {
            file: Some(file.clone()),
            ..options()
        };
        let error = Sandbox::start(options).err().unwrap();
        assert_eq!(error.kind(), Kind::Stopped);
        assert!(
            error.to_string().contains(&file.display().to_string()),
            "{error}"
        );
        assert_eq!(fs::read(&file).ok(), before);
    }
}
