//! The order of requests in a window, and how its lines are settled.

use super::*;
use crate::recorder::parcel::LinePosition;

/// Lines, each with its visitor, agent and number of requests, which read `line.request`.
pub fn window(units: &[(u64, u64, u32)]) -> Window {
    let mut parcel = Chunk::default();
    for (line, (visitor, agent, requests)) in units.iter().enumerate() {
        for part in 0..*requests {
            parcel
                .body
                .extend_from_slice(format!("{line}.{part}").as_bytes());
            parcel.end_request();
        }
        parcel.units.push(RequestGroup {
            file: 0,
            log: None,
            originals: Vec::new(),
            marked: true,
            place: LinePosition {
                line: line as u64,
                start: 0,
                end: 0,
            },
            more: Vec::new(),
            site: 0,
            days: (0, 0),
            requests: *requests,
            agent: *agent,
            visitor: *visitor,
        });
    }
    let mut window = Window::default();
    window.add(&mut parcel);
    assert!(parcel.units.is_empty() && parcel.body.is_empty());
    window
}

fn texts(window: &Window, order: &[u32]) -> Vec<String> {
    order
        .iter()
        .map(|request| String::from_utf8(window.json(*request).to_vec()).unwrap())
        .collect()
}

#[test]
fn agents_stand_together_and_a_visitors_hits_keep_their_order() {
    let window = window(&[
        (1, 10, 1),
        (2, 20, 1),
        (3, 10, 1),
        (1, 20, 1),
        (2, 20, 1),
        (3, 10, 1),
    ]);
    let order = window.order_by_agent();
    assert_eq!(
        texts(&window, &order),
        ["0.0", "3.0", "2.0", "5.0", "1.0", "4.0"]
    );
}

#[test]
fn hits_of_one_agent_stay_in_the_logs_order() {
    let window = window(&[(1, 10, 1), (2, 10, 1), (1, 10, 1), (2, 10, 1)]);
    assert_eq!(window.order_by_agent(), window.order_of_log());
}

#[test]
fn requests_of_one_line_stay_together_in_order() {
    let window = window(&[(1, 10, 3), (2, 20, 1), (3, 10, 2)]);
    let order = window.order_by_agent();
    assert_eq!(
        texts(&window, &order),
        ["0.0", "0.1", "0.2", "2.0", "2.1", "1.0"]
    );
}

#[test]
fn a_line_is_settled_with_its_last_request_and_by_the_worst() {
    let mut window = window(&[(1, 10, 3)]);
    assert_eq!(window.settle(0, HitOutcome::Imported), None);
    assert_eq!(window.settle(1, HitOutcome::Refused), None);
    assert_eq!(window.unsettled().count(), 1);
    assert_eq!(
        window.settle(2, HitOutcome::Imported).map(|(_, fate)| fate),
        Some(HitOutcome::Refused)
    );
    assert_eq!(window.unsettled().count(), 0);
}

#[test]
fn windows_take_several_parcels() {
    let mut both = window(&[(1, 10, 2)]);
    let mut parcel = Chunk::default();
    parcel.body.extend_from_slice(b"later");
    parcel.end_request();
    parcel.units.push(RequestGroup {
        place: LinePosition {
            line: 7,
            ..LinePosition::default()
        },
        requests: 1,
        ..both.unit(0).clone()
    });
    both.add(&mut parcel);
    assert_eq!(both.json(2), b"later");
    assert_eq!(both.unit(2).place.line, 7);
}
