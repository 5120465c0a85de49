//! A recorder's read-ahead: the requests it holds, in the order that suits the server.

use super::parcel::{Parcel, Unit};

/// Requests waiting to be sent, and how far each line of them has come.
#[derive(Debug, Default)]
pub struct Window {
    body: Vec<u8>,
    requests: Vec<Request>,
    units: Vec<Pending>,
}

/// One tracking request: its place in the window's body, and whose it is.
#[derive(Clone, Copy, Debug)]
struct Request {
    begin: u32,
    end: u32,
    unit: u32,
}

/// A unit and what has become of its requests so far.
#[derive(Clone, Debug)]
pub struct Pending {
    pub unit: Unit,
    /// Requests that have no outcome yet.
    pub left: u32,
    pub fate: Fate,
}

/// What a line came to. Later is worse: the worst of its requests decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    Imported,
    /// Nobody knows whether Matomo has it, and by `--in-doubt=skip` it was not sent again.
    InDoubt,
    Lost,
    Refused,
}

impl Window {
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// How many requests wait.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Bytes of the requests that wait.
    pub fn size(&self) -> usize {
        self.body.len()
    }

    pub fn clear(&mut self) {
        self.body.clear();
        self.requests.clear();
        self.units.clear();
    }

    pub fn add(&mut self, parcel: &Parcel) {
        let offset = self.body.len() as u32;
        self.body.extend_from_slice(&parcel.body);
        let mut ends = parcel.ends.iter();
        let mut begin = offset;
        for unit in &parcel.units {
            let number = self.units.len() as u32;
            for end in ends.by_ref().take(unit.requests as usize) {
                self.requests.push(Request {
                    begin,
                    end: offset + end,
                    unit: number,
                });
                begin = offset + end;
            }
            self.units.push(Pending {
                unit: unit.clone(),
                left: unit.requests,
                fate: Fate::Imported,
            });
        }
    }

    /// The order of the log.
    pub fn order_of_log(&self) -> Vec<u32> {
        (0..self.requests.len() as u32).collect()
    }

    /// The JSON object of a request.
    pub fn json(&self, request: u32) -> &[u8] {
        let request = self.requests[request as usize];
        &self.body[request.begin as usize..request.end as usize]
    }

    /// The line that a request comes from.
    pub fn unit(&self, request: u32) -> &Unit {
        &self.units[self.requests[request as usize].unit as usize].unit
    }

    /// Notes a request's outcome. Gives the line and its fate when this was the last of its requests.
    pub fn settle(&mut self, request: u32, fate: Fate) -> Option<(&Unit, Fate)> {
        let pending = &mut self.units[self.requests[request as usize].unit as usize];
        pending.left = pending.left.saturating_sub(1);
        pending.fate = pending.fate.max(fate);
        (pending.left == 0).then_some((&pending.unit, pending.fate))
    }

    /// Whether a request of the line that this one comes from has been refused.
    pub fn is_refused(&self, request: u32) -> bool {
        self.units[self.requests[request as usize].unit as usize].fate == Fate::Refused
    }

    /// Whether the line that a request comes from has its outcome.
    pub fn is_settled(&self, request: u32) -> bool {
        self.units[self.requests[request as usize].unit as usize].left == 0
    }

    /// The lines that have requests without outcome.
    pub fn unsettled(&self) -> impl Iterator<Item = &Unit> {
        self.units
            .iter()
            .filter(|pending| pending.left > 0)
            .map(|pending| &pending.unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::parcel::Place;

    fn window(units: &[(u64, u64, u32)]) -> Window {
        let mut parcel = Parcel::default();
        for (line, (visitor, agent, requests)) in units.iter().enumerate() {
            for part in 0..*requests {
                parcel
                    .body
                    .extend_from_slice(format!("{line}.{part}").as_bytes());
                parcel.end_request();
            }
            parcel.units.push(Unit {
                file: 0,
                log: None,
                originals: Vec::new(),
                place: Place {
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
        window.add(&parcel);
        window
    }

    #[test]
    fn a_line_is_settled_with_its_last_request_and_by_the_worst() {
        let mut window = window(&[(1, 10, 3)]);
        assert_eq!(window.settle(0, Fate::Imported), None);
        assert_eq!(window.settle(1, Fate::Refused), None);
        assert_eq!(window.unsettled().count(), 1);
        assert_eq!(
            window.settle(2, Fate::Imported).map(|(_, fate)| fate),
            Some(Fate::Refused)
        );
        assert_eq!(window.unsettled().count(), 0);
    }

    #[test]
    fn windows_take_several_parcels() {
        let mut both = window(&[(1, 10, 2)]);
        let mut parcel = Parcel::default();
        parcel.body.extend_from_slice(b"later");
        parcel.end_request();
        parcel.units.push(Unit {
            place: Place {
                line: 7,
                ..Place::default()
            },
            requests: 1,
            ..both.unit(0).clone()
        });
        both.add(&parcel);
        assert_eq!(both.json(2), b"later");
        assert_eq!(both.unit(2).place.line, 7);
    }
}
