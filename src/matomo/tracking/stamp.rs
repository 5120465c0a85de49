//! Mark and date of a request.

use chrono::{DateTime, Datelike};

use crate::hit_id::{self, HitId};

const SECONDS_A_DAY: i64 = 86_400;

/// `pv_id` and `cdt`, ready to be written. Hits of a log are nearly always of the day of the one before, so only the
/// clock is written anew each time.
#[derive(Debug)]
pub struct Stamp {
    day: Option<i64>,
    text: [u8; TEMPLATE.len()],
}

const TEMPLATE: &[u8; 45] = b",\"pv_id\":\"......\",\"cdt\":\"yyyy-mm-dd hh:mm:ss\"";
const MARK: usize = 10;
const DATE: usize = 25;
const CLOCK: usize = DATE + 11;

impl Default for Stamp {
    fn default() -> Self {
        Self {
            day: None,
            text: *TEMPLATE,
        }
    }
}

impl Stamp {
    /// The two members with a comma before them. `time`: seconds since 1970, UTC, in the years 1 to 9999.
    pub fn of(&mut self, mark: &HitId, time: i64) -> &[u8] {
        self.text[MARK..MARK + hit_id::LENGTH].copy_from_slice(mark);
        let day = time.div_euclid(SECONDS_A_DAY);
        if self.day != Some(day) {
            self.day = Some(day);
            self.set_day(day);
        }
        let second = time.rem_euclid(SECONDS_A_DAY) as u32;
        let clock = [second / 3600, second / 60 % 60, second % 60];
        for (place, number) in clock.into_iter().enumerate() {
            self.set(CLOCK + 3 * place, number);
        }
        &self.text
    }

    fn set_day(&mut self, day: i64) {
        // The years 1 to 9999 are within chrono's calendar.
        let date = DateTime::from_timestamp(day * SECONDS_A_DAY, 0).unwrap_or_default();
        let year = date.year_ce().1;
        let numbers = [
            (0, year / 100),
            (2, year % 100),
            (5, date.month()),
            (8, date.day()),
        ];
        for (place, number) in numbers {
            self.set(DATE + place, number);
        }
    }

    /// Two digits.
    fn set(&mut self, place: usize, number: u32) {
        let digits = [b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8];
        self.text[place..place + 2].copy_from_slice(&digits);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn expected(mark: &str, time: i64) -> String {
        let date = DateTime::from_timestamp(time, 0).unwrap();
        format!(
            ",\"pv_id\":\"{mark}\",{}",
            date.format("\"cdt\":\"%Y-%m-%d %H:%M:%S\"")
        )
    }

    #[test]
    fn each_stamp_is_of_its_own_day() {
        let mut stamp = Stamp::default();
        for time in [0, -1, 86_399, 86_400, 86_399, 1_715_644_801] {
            let text = stamp.of(b"abcdef", time).to_vec();
            assert_eq!(String::from_utf8(text).unwrap(), expected("abcdef", time));
        }
    }

    proptest! {
        #[test]
        fn dates_are_written_as_the_calendar_has_them(
            times in prop::collection::vec(-62_135_596_800i64..253_402_300_800, 1..4),
        ) {
            let mut stamp = Stamp::default();
            for time in times {
                let text = stamp.of(b"ABC123", time).to_vec();
                prop_assert_eq!(String::from_utf8(text).unwrap(), expected("ABC123", time));
            }
        }
    }
}
