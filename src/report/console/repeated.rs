//! Messages that come again and again while a server is away: printed once, then counted.

use std::time::{Duration, Instant};

/// A terminal gets the same message again after this time.
const TERMINAL_INTERVAL: Duration = Duration::from_secs(60);

/// Different messages that are remembered. Others are printed each time.
const MAX_MESSAGES: usize = 100;

/// Counts messages.
#[derive(Debug, Default)]
pub(super) struct Repeated(Vec<CountedMessage>);

#[derive(Debug)]
struct CountedMessage {
    key: String,
    count: u64,
    /// The count that was printed last, and when.
    printed: u64,
    printed_at: Instant,
}

impl Repeated {
    /// Counts a message. Returns what to print now.
    pub fn add(&mut self, key: &str, text: &str, terminal: bool) -> Option<String> {
        let known = self.0.iter_mut().find(|message| message.key == key);
        let Some(message) = known else {
            if self.0.len() < MAX_MESSAGES {
                self.0.push(CountedMessage {
                    key: key.to_owned(),
                    count: 1,
                    printed: 1,
                    printed_at: Instant::now(),
                });
            }
            return Some(text.to_owned());
        };
        message.count += 1;
        if !terminal || message.printed_at.elapsed() < TERMINAL_INTERVAL {
            return None;
        }
        message.printed = message.count;
        message.printed_at = Instant::now();
        Some(format!("{text} ({} times so far)", message.count))
    }

    /// Forgets all messages. Returns the final count of each that was not printed each time.
    pub fn end(&mut self) -> Vec<String> {
        let messages = std::mem::take(&mut self.0).into_iter();
        messages
            .filter(|message| message.count > message.printed)
            .map(|CountedMessage { key, count, .. }| format!("{key} ({count} times in all)"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_printed_once_and_then_counted() {
        let mut repeated = Repeated::default();
        for terminal in [true, false] {
            assert_eq!(
                repeated
                    .add("503", "503; again in 2 s", terminal)
                    .as_deref(),
                Some("503; again in 2 s")
            );
            for _ in 0..15 {
                assert_eq!(repeated.add("503", "503; again in 4 s", terminal), None);
            }
            assert_eq!(repeated.add("502", "502", terminal).as_deref(), Some("502"));
            assert_eq!(repeated.end(), ["503 (16 times in all)"]);
            assert!(repeated.end().is_empty());
        }
    }

    #[test]
    fn a_terminal_gets_it_again_after_a_minute() {
        let mut repeated = Repeated::default();
        repeated.add("503", "503", true);
        let Some(a_minute_ago) = Instant::now().checked_sub(TERMINAL_INTERVAL) else {
            return;
        };
        repeated.0[0].printed_at = a_minute_ago;
        assert_eq!(repeated.add("503", "503", false), None);
        assert_eq!(
            repeated.add("503", "503", true).as_deref(),
            Some("503 (3 times so far)")
        );
        assert!(repeated.end().is_empty());
    }

    #[test]
    fn memory_is_bounded() {
        let mut repeated = Repeated::default();
        for number in 0..MAX_MESSAGES * 2 {
            let text = number.to_string();
            assert_eq!(repeated.add(&text, &text, false), Some(text));
        }
        assert_eq!(repeated.0.len(), MAX_MESSAGES);
    }
}
