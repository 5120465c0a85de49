//! The text of the bar: which parts of it fit into the width of the terminal.

use std::time::Duration;

use crate::report::grouped;

/// The drawing of the bar is not narrower than this, and not wider than that, in columns.
const MIN_DRAWING: usize = 8;
const MAX_DRAWING: usize = 24;
/// Below this width of the terminal, the bar is not drawn.
const DRAWN_FROM: usize = 72;

/// What the bar says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parts {
    /// In thousandths. `None` if the size of a log is not known.
    pub done: Option<u16>,
    /// Lines.
    pub imported: u64,
    /// Lines a second.
    pub rate: u64,
    pub left: Option<Duration>,
    /// Bytes read, while reading is ahead of the server.
    pub read: Option<u64>,
    pub stopping: Option<Stopping>,
}

/// What a run that is stopping waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stopping {
    /// Requests to the server.
    pub requests: u64,
    /// The longest time that they are waited for.
    pub at_most: Duration,
}

impl Parts {
    /// The text in at most `width` columns: one line, and another one while the run is stopping.
    pub fn text(&self, width: usize) -> String {
        let mut text = self.first_line(width);
        if let Some(stopping) = &self.stopping {
            text.push('\n');
            text.push_str(&stopping.text(width));
        }
        text
    }

    fn first_line(&self, width: usize) -> String {
        let percent = self.done.map(|done| format!("{} %", done / 10));
        let read = self.read.map(|bytes| format!("read {}", size(bytes)));
        let imported = format!("{} imported", grouped(self.imported));
        let rate = format!("{}/s", grouped(self.rate));
        // While the run is stopping, no more is sent.
        let left = self.left.filter(|_| self.stopping.is_none());
        let left = left.map(|left| format!("{} left", time(left)));
        // In the order of the line, each with its rank: the last ones are dropped first.
        let mut parts: Vec<(u8, String)> = [
            (0, percent),
            (2, Some(imported)),
            (3, Some(rate)),
            (1, left),
            (4, read),
        ]
        .into_iter()
        .filter_map(|(rank, part)| Some((rank, part?)))
        .collect();
        let join = |parts: &[(u8, String)]| {
            let texts: Vec<&str> = parts.iter().map(|(_, text)| text.as_str()).collect();
            texts.join(", ")
        };
        let mut line = join(&parts);
        while line.len() > width && parts.len() > 1 {
            let last = parts.iter().map(|(rank, _)| *rank).max();
            parts.retain(|(rank, _)| Some(*rank) != last);
            line = join(&parts);
        }
        if line.len() > width {
            return String::new();
        }
        match (self.done, width.checked_sub(line.len() + 3)) {
            (Some(done), Some(room)) if width >= DRAWN_FROM && room >= MIN_DRAWING => {
                format!("[{}] {line}", drawing(done, room.min(MAX_DRAWING)))
            }
            _ => line,
        }
    }
}

impl Stopping {
    /// The longest text that fits.
    fn text(&self, width: usize) -> String {
        let requests = match self.requests {
            1 => "1 request".to_owned(),
            requests => format!("{} requests", grouped(requests)),
        };
        let again = "; Ctrl-C again ends at once";
        let seconds = self.at_most.as_secs();
        let texts = match self.requests {
            0 => [
                format!("stopping: writing down what is done{again}"),
                "stopping: writing down what is done".to_owned(),
                "stopping".to_owned(),
                "stopping".to_owned(),
            ],
            _ => [
                format!("stopping: waiting for {requests} under way (at most {seconds} s){again}"),
                format!("stopping: waiting for {requests} (at most {seconds} s){again}"),
                format!("stopping: waiting for {requests} (at most {seconds} s)"),
                format!("stopping ({seconds} s)"),
            ],
        };
        let fits = texts.into_iter().find(|text| text.len() <= width);
        fits.unwrap_or_default()
    }
}

/// The inside of the bar, `width` columns wide.
fn drawing(done: u16, width: usize) -> String {
    let filled = usize::from(done.min(1000)) * width / 1000;
    let head = if filled > 0 && filled < width {
        ">"
    } else {
        ""
    };
    let line = "=".repeat(filled - head.len());
    format!("{line}{head}{:rest$}", "", rest = width - filled)
}

/// A time in words, in the unit that matters: `14 min`, `2 h 5 min`.
fn time(time: Duration) -> String {
    let seconds = (time.as_secs_f64().ceil() as u64).max(1);
    match (seconds, seconds.div_ceil(60)) {
        (..100, _) => format!("{seconds} s"),
        (_, minutes @ ..100) => format!("{minutes} min"),
        (_, minutes @ ..6000) => format!("{} h {} min", minutes / 60, minutes % 60),
        (_, minutes) => format!("{} days", grouped(minutes / 1440)),
    }
}

/// A number of bytes with two or three digits, as disks are measured: `1.4 MB`.
fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "kB", "MB", "GB", "TB", "PB"] {
        match value {
            ..9.95 if unit != "B" => return format!("{value:.1} {unit}"),
            ..999.5 => return format!("{value:.0} {unit}"),
            _ => value /= 1000.0,
        }
    }
    format!("{value:.0} EB")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> Parts {
        Parts {
            done: Some(374),
            imported: 12_352,
            rate: 1_234,
            left: Some(Duration::from_secs(14 * 60)),
            read: Some(1_400_000),
            stopping: None,
        }
    }

    #[test]
    fn a_wide_terminal_gets_all_parts() {
        assert_eq!(
            parts().text(79),
            "[======>             ] 37 %, 12,352 imported, 1,234/s, 14 min left, read 1.4 MB"
        );
        assert_eq!(parts().text(200).len(), 56 + 3 + MAX_DRAWING);
    }

    #[test]
    fn a_narrow_terminal_gets_fewer_parts() {
        for (width, text) in [
            (
                71,
                "37 %, 12,352 imported, 1,234/s, 14 min left, read 1.4 MB",
            ),
            (55, "37 %, 12,352 imported, 1,234/s, 14 min left"),
            (42, "37 %, 12,352 imported, 14 min left"),
            (33, "37 %, 14 min left"),
            (16, "37 %"),
            (3, ""),
        ] {
            assert_eq!(parts().text(width), text, "{width}");
        }
    }

    #[test]
    fn no_text_is_wider_than_the_terminal() {
        let large = Parts {
            done: Some(1000),
            imported: u64::MAX,
            rate: u64::MAX,
            left: Some(Duration::MAX),
            read: Some(u64::MAX),
            stopping: Some(Stopping {
                requests: u64::MAX,
                at_most: Duration::MAX,
            }),
        };
        let stopping = Parts {
            stopping: Some(Stopping {
                requests: 3,
                at_most: Duration::from_secs(28),
            }),
            ..parts()
        };
        let unknown = Parts {
            done: None,
            left: None,
            ..parts()
        };
        for parts in [parts(), large, stopping, unknown, Parts::default()] {
            for width in 20..=200 {
                let text = parts.text(width);
                assert!(
                    text.lines().all(|line| line.len() <= width),
                    "{width}: {text}"
                );
                assert!(!text.is_empty(), "{width}");
            }
        }
    }

    #[test]
    fn a_run_that_stops_says_what_it_waits_for() {
        let text = |requests, width| {
            let stopping = Some(Stopping {
                requests,
                at_most: Duration::from_secs(28),
            });
            let text = Parts {
                stopping,
                ..parts()
            }
            .text(width);
            let (bar, waits) = text.split_once('\n').unwrap();
            assert!(bar.contains("37 %") && !bar.contains("left"), "{bar}");
            waits.to_owned()
        };
        for (requests, width, waits) in [
            (
                3,
                100,
                "stopping: waiting for 3 requests under way (at most 28 s); Ctrl-C again ends at once",
            ),
            (
                3,
                79,
                "stopping: waiting for 3 requests (at most 28 s); Ctrl-C again ends at once",
            ),
            (1, 59, "stopping: waiting for 1 request (at most 28 s)"),
            (1, 30, "stopping (28 s)"),
            (
                0,
                79,
                "stopping: writing down what is done; Ctrl-C again ends at once",
            ),
        ] {
            assert_eq!(text(requests, width), waits);
        }
    }

    #[test]
    fn the_bar_is_full_only_at_the_end() {
        assert_eq!(drawing(0, 10), "          ");
        assert_eq!(drawing(500, 10), "====>     ");
        assert_eq!(drawing(999, 10), "========> ");
        assert_eq!(drawing(1000, 10), "==========");
    }

    #[test]
    fn times_and_sizes_have_few_digits() {
        let seconds = |seconds| time(Duration::from_secs_f64(seconds));
        for (left, text) in [
            (0.0, "1 s"),
            (45.2, "46 s"),
            (99.0, "99 s"),
            (100.0, "2 min"),
            (835.0, "14 min"),
            (7500.0, "2 h 5 min"),
            (400_000.0, "4 days"),
        ] {
            assert_eq!(seconds(left), text);
        }
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (999_600, "1.0 MB"),
            (1_440_000, "1.4 MB"),
            (25_000_000_000, "25 GB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
