//! Connections and basic authentication.

use std::io::Write;

use super::client::Client;
use super::*;

#[test]
fn many_requests_go_over_one_connection_and_are_counted() {
    let matomo = faultless();
    let mut client = Client::of(&matomo);
    for number in 0..3 {
        client.track(&good_body(&matomo, &[hit(number)])).unwrap();
        client.call("SitesManager.getAllSites", &[]).unwrap();
    }
    let log = matomo.log();
    assert_eq!(
        (log.connections, log.connections_peak, log.calls),
        (1, 1, 6)
    );
    let numbers: Vec<u64> = log.tracker.iter().map(|call| call.number).collect();
    assert_eq!(numbers, [1, 3, 5]);
    let mut other = Client::of(&matomo);
    other.track(&good_body(&matomo, &[hit(9)])).unwrap();
    assert_eq!(matomo.log().connections_peak, 2);
}

#[test]
fn a_body_may_come_in_chunks() {
    let matomo = faultless();
    let mut client = Client::of(&matomo);
    let whole = good_body(&matomo, &hits(2));
    let (first, second) = whole.split_at(20);
    let mut request =
        b"POST /piwik.php HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in [first, second, b""] {
        request.extend(format!("{:x}\r\n", chunk.len()).bytes());
        request.extend(chunk);
        request.extend(b"\r\n");
    }
    client.stream.write_all(&request).unwrap();
    assert_eq!(client.receive().unwrap().json()["tracked"], 2);
}

#[test]
fn a_client_that_disconnects_within_its_body_stores_nothing() {
    let matomo = faultless();
    let whole = good_body(&matomo, &hits(2));
    let mut client = Client::of(&matomo);
    let head = format!(
        "POST /piwik.php HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        whole.len()
    );
    client.stream.write_all(head.as_bytes()).unwrap();
    client.stream.write_all(&whole[..whole.len() / 2]).unwrap();
    drop(client);
    assert_eq!(send(&matomo, &[hit(7)]).unwrap().status, 200);
    assert!(matomo.wait_idle(LONG));
    assert_eq!(numbers(&matomo), [7]);
}

#[test]
fn every_request_needs_basic_authentication() {
    let matomo = FakeMatomo::start(Options {
        basic_auth: Some(("Aladdin".into(), Secret::new("open sesame"))),
        ..options()
    });
    let mut client = Client::of(&matomo);
    assert_eq!(
        client.track(&good_body(&matomo, &hits(1))).unwrap().status,
        401
    );
    assert_eq!(
        client.call("SitesManager.getAllSites", &[]).unwrap().status,
        401
    );
    let header =
        "Content-Type: application/json\r\nAuthorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n";
    let answer = client
        .post("/piwik.php", header, &good_body(&matomo, &hits(1)))
        .unwrap();
    assert_eq!(answer.status, 200);
}

#[test]
fn a_get_request_returns_a_page() {
    let matomo = faultless();
    let mut client = Client::of(&matomo);
    client
        .stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let answer = client.receive().unwrap();
    assert!(answer.status == 200 && answer.is_html());
}
