//! One listener's connection to a mount point: when it was, and the requests that make Matomo count its time.

use crate::format::date::without_fraction;
use crate::format::whole_number;

/// Seconds of the longest connection, 30 days; a longer duration is none.
pub const LONGEST: u64 = 30 * 86_400;

/// 1995-01-01, UTC: no listener was connected before.
pub const EARLIEST: i64 = 788_918_400;

/// The year 10000, UTC: a date beyond it cannot be written for Matomo.
const LATEST: i64 = 253_402_300_800;

/// Seconds between a connection's events. A visit ends after 30 minutes without one.
const PULSE: u64 = 25 * 60;

/// A time listened, `[start, end)`: it began in 1995 or later, and lasted [`LONGEST`] at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    start: i64,
    seconds: u64,
}

/// What a line of a radio server's log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerLine {
    Session(Session),
    /// A listener whose time is not known: a page view alone, counted with
    /// [`ListeningStats::no_duration`](super::ListeningStats::no_duration).
    NoDuration,
    /// No listener: a plain hit.
    NotListening,
}

impl ListenerLine {
    /// `end`: the line's date, in seconds since 1970, UTC; the line is written when the listener leaves.
    /// `session_time`: seconds, as they stand in the log. `method`: `None` where the format has none, which stands
    /// for any.
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
    /// `start` in seconds since 1970, UTC. `None`: such a connection cannot have been.
    pub fn new(start: i64, seconds: u64) -> Option<Self> {
        let end = start.checked_add_unsigned(seconds)?;
        (seconds <= LONGEST && start >= EARLIEST && end < LATEST).then_some(Self { start, seconds })
    }

    /// Seconds since 1970, UTC.
    pub fn start(self) -> i64 {
        self.start
    }

    /// Seconds since 1970, UTC; the listener had left by then.
    pub fn end(self) -> i64 {
        // Both are small: `new` has seen to that.
        self.start.saturating_add_unsigned(self.seconds)
    }

    /// At most [`LONGEST`].
    pub fn seconds(self) -> u64 {
        self.seconds
    }

    /// This connection and its continuation as one, as long as both together. `None`: that would be too long.
    pub fn joined(self, next: Self) -> Option<Self> {
        Self::new(self.start, self.seconds + next.seconds)
    }

    /// The requests it is for Matomo, in order of time: a page view at the start, an event every 25 minutes strictly
    /// before the end, so that the visit stays open, and at the end the event with the seconds.
    ///
    /// A connection of 0 seconds has that event too, with the value 0: it is a listener who came, and an average
    /// without it would not be the one of the summary.
    pub fn beats(self) -> impl ExactSizeIterator<Item = SessionRequest> {
        // At most 1,727 of them, since the connection is no longer than 30 days.
        let pulses = (self.seconds.saturating_sub(1) / PULSE) as u32;
        (0..pulses + 2).map(move |number| match number {
            0 => SessionRequest {
                time: self.start,
                kind: SessionRequestKind::PageView,
            },
            number if number <= pulses => SessionRequest {
                time: self
                    .start
                    .saturating_add_unsigned(PULSE * u64::from(number)),
                kind: SessionRequestKind::Connected,
            },
            _ => SessionRequest {
                time: self.end(),
                kind: SessionRequestKind::Listened(self.seconds),
            },
        })
    }
}

/// One request of a connection.
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
    /// An event without value (`e_a=connected`).
    Connected,
    /// The event that carries the seconds (`e_a=listened`, `e_v`).
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
    fn a_connection_began_its_duration_before_the_lines_date() {
        for (text, seconds) in [
            ("1807", 1807),
            ("0", 0),
            ("007", 7),
            ("7.999", 7),
            ("7.", 7),
            ("2592000", LONGEST),
            ("0000000000000000000000000000000000000017", 17),
        ] {
            let ListenerLine::Session(connection) = read(text) else {
                panic!("{text} is a duration");
            };
            assert_eq!(connection.seconds(), seconds);
            assert_eq!(connection.start(), END - seconds as i64);
            assert_eq!(connection.end(), END);
        }
    }

    #[test]
    fn what_is_no_duration_is_none() {
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
            "absent"
        );
    }

    #[test]
    fn nobody_listened_before_1995_or_after_9999() {
        let at = |end| ListenerLine::read(end, Some(b"60"), None, b"200");
        assert_eq!(at(EARLIEST + 59), ListenerLine::NoDuration);
        assert!(matches!(at(EARLIEST + 60), ListenerLine::Session(_)));
        assert!(matches!(at(LATEST - 1), ListenerLine::Session(_)));
        for end in [LATEST, i64::MIN, -1, i64::MAX] {
            assert_eq!(at(end), ListenerLine::NoDuration, "{end}");
        }
    }

    #[test]
    fn only_an_answered_get_is_a_connection() {
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
            "a missing duration is missed in a connection only"
        );
    }

    fn beats(seconds: u64) -> Vec<(i64, SessionRequestKind)> {
        let connection = Session::new(END, seconds).unwrap();
        connection
            .beats()
            .map(|beat| (beat.time - END, beat.kind))
            .collect()
    }

    #[test]
    fn a_connection_is_a_page_view_events_and_the_event_with_its_seconds() {
        use SessionRequestKind::{Connected, Listened, PageView};
        assert_eq!(
            beats(1807),
            [(0, PageView), (1500, Connected), (1807, Listened(1807))]
        );
        assert_eq!(beats(256), [(0, PageView), (256, Listened(256))]);
        assert_eq!(
            beats(1500),
            [(0, PageView), (1500, Listened(1500))],
            "no event at the end itself"
        );
        assert_eq!(
            beats(1501),
            [(0, PageView), (1500, Connected), (1501, Listened(1501))]
        );
        assert_eq!(beats(0), [(0, PageView), (0, Listened(0))]);
        assert_eq!(beats(LONGEST).len(), 1 + 1727 + 1);
    }

    /// What was tried on a running Matomo.
    #[test]
    fn five_connections_are_21_requests() {
        let all: Vec<_> = [1807, 256, 12000, 17, 5400]
            .into_iter()
            .flat_map(beats)
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
        fn no_line_makes_it_panic(
            end in any::<i64>(), text in prop::collection::vec(any::<u8>(), 0..30), seconds in any::<u64>(),
        ) {
            ListenerLine::read(end, Some(&text), None, b"200");
            ListenerLine::read(end, Some(seconds.to_string().as_bytes()), None, b"200");
            Session::new(end, seconds);
        }

        #[test]
        fn a_visit_is_never_without_a_request_for_half_an_hour(seconds in 0..=LONGEST) {
            let beats = beats(seconds);
            prop_assert_eq!(beats[0], (0, SessionRequestKind::PageView));
            prop_assert_eq!(beats[beats.len() - 1], (seconds as i64, SessionRequestKind::Listened(seconds)));
            prop_assert!(beats.windows(2).all(|pair| (0..=1500).contains(&(pair[1].0 - pair[0].0))));
            let inner = &beats[1..beats.len() - 1];
            prop_assert!(inner.iter().all(|(time, kind)| *kind == SessionRequestKind::Connected && time % 1500 == 0));
            prop_assert!(inner.iter().all(|(time, _)| *time < seconds as i64));
        }
    }
}
