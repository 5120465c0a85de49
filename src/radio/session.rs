//! One listening session: its time, and the requests that make Matomo count this time
//! (guide/listening.md, "Sessions").

use crate::format::date::without_fraction;
use crate::format::whole_number;

/// Seconds of the longest session, 30 days. A longer duration is not usable.
pub const MAX_SESSION_SECONDS: u64 = 30 * 86_400;

/// 1995-01-01 UTC, in seconds since 1970. No session starts earlier.
pub const EARLIEST_START: i64 = 788_918_400;

/// The year 10000 UTC, in seconds since 1970. Matomo cannot read a later date.
const END_LIMIT: i64 = 253_402_300_800;

/// Seconds between the events of a session. A visit ends after 30 minutes without one.
///
/// Matomo's pings (`ping=1`) cannot take their place: they lengthen a visit, but do not keep it
/// open (seen in 5.0.2: five connections became eight visits).
const EVENT_INTERVAL: u64 = 25 * 60;

/// The time that a listener was connected to a mount point: `[start, end)`.
///
/// It starts in 1995 or later and takes at most 30 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    start: i64,
    seconds: u64,
}

/// The meaning of a line in the log of a streaming server (guide/listening.md, "Which lines").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerLine {
    Session(Session),
    /// A session of unknown length: a page view without events, counted with
    /// [`ListeningStats::count_no_duration`](super::ListeningStats::count_no_duration).
    NoDuration,
    /// Not a listener: a plain hit.
    NotListening,
}

impl ListenerLine {
    /// Reads a line, which the server writes when the listener leaves.
    ///
    /// `end` is the date of the line, in seconds since 1970, UTC. `session_time` is the duration in
    /// seconds, as in the log. `method` is `None` if the format has no method, which counts as
    /// `GET`.
    pub fn read(
        end: i64,
        session_time: Option<&[u8]>,
        method: Option<&[u8]>,
        status: &[u8],
    ) -> Self {
        if method.is_some_and(|method| method != b"GET") || !matches!(status, b"200" | b"206") {
            return Self::NotListening;
        }
        session_time
            .and_then(without_fraction)
            .and_then(whole_number)
            .and_then(|seconds| Session::new(end.checked_sub_unsigned(seconds)?, seconds))
            .map_or(Self::NoDuration, Self::Session)
    }
}

impl Session {
    /// `start` is in seconds since 1970, UTC. Returns `None` if the session is too long, starts
    /// before 1995 or ends after 9999.
    pub fn new(start: i64, seconds: u64) -> Option<Self> {
        let end = start.checked_add_unsigned(seconds)?;
        (seconds <= MAX_SESSION_SECONDS && start >= EARLIEST_START && end < END_LIMIT)
            .then_some(Self { start, seconds })
    }

    /// Seconds since 1970, UTC.
    pub fn start(self) -> i64 {
        self.start
    }

    /// Seconds since 1970, UTC. The listener has left by then.
    pub fn end(self) -> i64 {
        // Cannot overflow: `new` checks both.
        self.start.saturating_add_unsigned(self.seconds)
    }

    /// At most 30 days.
    pub fn seconds(self) -> u64 {
        self.seconds
    }

    /// Joins a session and its continuation. The result is as long as both together. Returns `None`
    /// if that is too long.
    pub fn joined(self, next: Self) -> Option<Self> {
        Self::new(self.start, self.seconds + next.seconds)
    }

    /// The requests for Matomo, in order of time: a page view at the start, an event every 25
    /// minutes before the end, which keeps the visit open, and at the end an event with the
    /// seconds (guide/listening.md, "Requests sent").
    ///
    /// A session of 0 seconds has the final event too. Otherwise Matomo's average would not be the
    /// summary's.
    pub fn requests(self) -> impl ExactSizeIterator<Item = SessionRequest> {
        // At most 1,727, as a session takes at most 30 days.
        let events = (self.seconds.saturating_sub(1) / EVENT_INTERVAL) as u32;
        (0..events + 2).map(move |number| match number {
            0 => SessionRequest {
                time: self.start,
                kind: SessionRequestKind::PageView,
            },
            number if number <= events => SessionRequest {
                time: self
                    .start
                    .saturating_add_unsigned(EVENT_INTERVAL * u64::from(number)),
                kind: SessionRequestKind::Connected,
            },
            _ => SessionRequest {
                time: self.end(),
                kind: SessionRequestKind::Listened(self.seconds),
            },
        })
    }
}

/// One request of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionRequest {
    /// Seconds since 1970, UTC.
    pub time: i64,
    pub kind: SessionRequestKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionRequestKind {
    /// Opens a visit (`new_visit=1`).
    PageView,
    /// An event without a value (`e_a=connected`).
    Connected,
    /// The event with the seconds of the session (`e_a=listened`, `e_v`).
    Listened(u64),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2024-05-14 05:00:03, UTC.
    const END: i64 = 1_715_662_803;

    fn read(session_time: &str) -> ListenerLine {
        ListenerLine::read(END, Some(session_time.as_bytes()), Some(b"GET"), b"200")
    }

    #[test]
    fn a_session_starts_its_duration_before_the_date_of_the_line() {
        for (text, seconds) in [
            ("1807", 1807),
            ("0", 0),
            ("007", 7),
            ("7.999", 7),
            ("7.", 7),
            ("2592000", MAX_SESSION_SECONDS),
            ("0000000000000000000000000000000000000017", 17),
        ] {
            let ListenerLine::Session(session) = read(text) else {
                panic!("{text} is a duration");
            };
            assert_eq!(session.seconds(), seconds);
            assert_eq!(session.start(), END - seconds as i64);
            assert_eq!(session.end(), END);
        }
    }

    #[test]
    fn other_texts_are_not_durations() {
        for text in [
            "-",
            "",
            "-1",
            "+1",
            " 1",
            ".5",
            "1.2.3",
            "1.-",
            "1e3",
            "0x10",
            "NaN",
            "2592001",
            "99999999999999999999999",
            "\u{661}",
        ] {
            assert_eq!(read(text), ListenerLine::NoDuration, "{text}");
        }
        assert_eq!(
            ListenerLine::read(END, None, None, b"200"),
            ListenerLine::NoDuration,
            "no field"
        );
    }

    #[test]
    fn sessions_are_between_1995_and_9999() {
        let at = |end| ListenerLine::read(end, Some(b"60"), None, b"200");
        assert_eq!(at(EARLIEST_START + 59), ListenerLine::NoDuration);
        assert!(matches!(at(EARLIEST_START + 60), ListenerLine::Session(_)));
        assert!(matches!(at(END_LIMIT - 1), ListenerLine::Session(_)));
        for end in [END_LIMIT, i64::MIN, -1, i64::MAX] {
            assert_eq!(at(end), ListenerLine::NoDuration, "{end}");
        }
    }

    #[test]
    fn only_a_get_with_status_200_or_206_is_a_session() {
        let read =
            |method: Option<&[u8]>, status| ListenerLine::read(END, Some(b"60"), method, status);
        for status in [b"200", b"206"] {
            assert!(matches!(
                read(Some(b"GET"), status),
                ListenerLine::Session(_)
            ));
            assert!(matches!(read(None, status), ListenerLine::Session(_)));
        }
        for method in ["SOURCE", "PUT", "HEAD", "POST", "get", "-", ""] {
            assert_eq!(
                read(Some(method.as_bytes()), b"200"),
                ListenerLine::NotListening,
                "{method}"
            );
        }
        for status in ["404", "302", "304", "201", "", "2000", "-"] {
            assert_eq!(
                read(None, status.as_bytes()),
                ListenerLine::NotListening,
                "{status}"
            );
        }
        assert_eq!(
            ListenerLine::read(END, Some(b"-"), Some(b"GET"), b"404"),
            ListenerLine::NotListening,
            "no duration is expected of other lines"
        );
    }

    fn requests(seconds: u64) -> Vec<(i64, SessionRequestKind)> {
        let session = Session::new(END, seconds).unwrap();
        session
            .requests()
            .map(|request| (request.time - END, request.kind))
            .collect()
    }

    #[test]
    fn a_session_is_a_page_view_and_events_the_last_with_its_seconds() {
        use SessionRequestKind::{Connected, Listened, PageView};
        assert_eq!(
            requests(1807),
            [(0, PageView), (1500, Connected), (1807, Listened(1807))]
        );
        assert_eq!(requests(256), [(0, PageView), (256, Listened(256))]);
        assert_eq!(
            requests(1500),
            [(0, PageView), (1500, Listened(1500))],
            "no further event at the end"
        );
        assert_eq!(
            requests(1501),
            [(0, PageView), (1500, Connected), (1501, Listened(1501))]
        );
        assert_eq!(requests(0), [(0, PageView), (0, Listened(0))]);
        assert_eq!(requests(MAX_SESSION_SECONDS).len(), 1 + 1727 + 1);
    }

    /// The example that was tried with a real Matomo.
    #[test]
    fn five_sessions_are_21_requests() {
        let all: Vec<_> = [1807, 256, 12000, 17, 5400]
            .into_iter()
            .flat_map(requests)
            .map(|(_, kind)| kind)
            .collect();
        let count = |wanted: fn(&SessionRequestKind) -> bool| {
            all.iter().filter(|kind| wanted(kind)).count()
        };
        assert_eq!(count(|kind| *kind == SessionRequestKind::PageView), 5);
        assert_eq!(count(|kind| *kind == SessionRequestKind::Connected), 11);
        assert_eq!(
            count(|kind| matches!(kind, SessionRequestKind::Listened(_))),
            5
        );
        let sum: u64 = all
            .iter()
            .map(|kind| match kind {
                SessionRequestKind::Listened(seconds) => *seconds,
                _ => 0,
            })
            .sum();
        assert_eq!(sum, 19_480);
    }

    proptest! {
        #[test]
        fn no_line_causes_a_panic(
            end in any::<i64>(), text in prop::collection::vec(any::<u8>(), 0..30), seconds in any::<u64>(),
        ) {
            ListenerLine::read(end, Some(&text), None, b"200");
            ListenerLine::read(end, Some(seconds.to_string().as_bytes()), None, b"200");
            Session::new(end, seconds);
        }

        #[test]
        fn a_session_has_a_request_at_least_every_25_minutes(seconds in 0..=MAX_SESSION_SECONDS) {
            let requests = requests(seconds);
            prop_assert_eq!(requests[0], (0, SessionRequestKind::PageView));
            prop_assert_eq!(requests[requests.len() - 1], (seconds as i64, SessionRequestKind::Listened(seconds)));
            prop_assert!(requests.windows(2).all(|pair| (0..=1500).contains(&(pair[1].0 - pair[0].0))));
            let inner = &requests[1..requests.len() - 1];
            prop_assert!(inner.iter().all(|(time, kind)| *kind == SessionRequestKind::Connected && time % 1500 == 0));
            prop_assert!(inner.iter().all(|(time, _)| *time < seconds as i64));
        }
    }
}
