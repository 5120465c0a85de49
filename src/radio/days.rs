//! Seconds listened on each day, UTC; what crosses midnight is divided.

use std::collections::BTreeMap;

use super::connection::Session;

/// Days that are kept: the last ones with listeners. Others would only be memory, and nobody reads as much.
pub const MOST: usize = 366;

pub const DAY: i64 = 86_400;

/// Seconds by mount point, by day counted from 1970.
#[derive(Debug, Default)]
pub struct Days {
    days: BTreeMap<i64, BTreeMap<u16, u64>>,
}

impl Days {
    pub fn add(&mut self, mount: u16, connection: Session) {
        let (mut from, end) = (connection.start(), connection.end());
        while from < end {
            let day = from.div_euclid(DAY);
            let until = end.min((day + 1) * DAY);
            self.add_seconds(day, mount, (until - from).unsigned_abs());
            from = until;
        }
    }

    /// The days from the first to the last, and each one's seconds by mount point.
    pub fn iter(&self) -> impl Iterator<Item = (i64, &BTreeMap<u16, u64>)> {
        self.days.iter().map(|(day, seconds)| (*day, seconds))
    }

    fn add_seconds(&mut self, day: i64, mount: u16, seconds: u64) {
        if self.days.len() == MOST
            && !self.days.contains_key(&day)
            && let Some(first) = self.days.first_entry()
        {
            // A day that was given up stays so: what is shown of a day is all of it.
            if day < *first.key() {
                return;
            }
            first.remove();
        }
        let sum = self.days.entry(day).or_default().entry(mount).or_default();
        *sum = sum.saturating_add(seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2024-05-14, counted from 1970.
    const TODAY: i64 = 19_857;

    fn add(days: &mut Days, mount: u16, start: i64, seconds: u64) {
        days.add(mount, Session::new(start, seconds).unwrap());
    }

    fn all(days: &Days) -> Vec<(i64, Vec<(u16, u64)>)> {
        days.iter()
            .map(|(day, mounts)| (day - TODAY, mounts.iter().map(|(m, s)| (*m, *s)).collect()))
            .collect()
    }

    #[test]
    fn what_crosses_midnight_is_divided() {
        let mut days = Days::default();
        add(&mut days, 0, TODAY * DAY - 100, 100 + 86_400 + 7);
        add(&mut days, 1, TODAY * DAY + 86_390, 10);
        add(&mut days, 1, TODAY * DAY, 0);
        assert_eq!(
            all(&days),
            [
                (-1, vec![(0, 100)]),
                (0, vec![(0, 86_400), (1, 10)]),
                (1, vec![(0, 7)])
            ]
        );
    }

    #[test]
    fn the_last_days_are_kept_whatever_the_order() {
        let mut days = Days::default();
        for day in (0..400).rev().chain(0..500) {
            add(&mut days, 0, (TODAY + day) * DAY, 60);
        }
        let kept = all(&days);
        assert_eq!(kept.len(), MOST);
        assert_eq!((kept[0].0, kept[MOST - 1].0), (134, 499));
        assert_eq!(
            kept[0].1,
            [(0, 120)],
            "all that was ever listened on that day"
        );
    }
}
