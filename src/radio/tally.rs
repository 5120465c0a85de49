//! The listening figures of a run, collected connection by connection.
//!
//! Exact to a million connections, within 40 MB. Above that, memory stays bounded: the medians and the numbers of
//! unique listeners are estimated within 1 %, connections, time and days stay exact, and so does the most listeners
//! at once as long as connections come in about the order of the log (it is marked where it may be too low).

use super::connection::Session;
use super::days::Days;
use super::figures::{DayReport, ListeningReport, MountReport, Peak};
use super::mounts::{ALL, Mounts, OTHERS};
use super::peaks::Peaks;
use super::spread::Spread;

#[derive(Debug, Default)]
pub struct ListeningStats {
    mounts: Mounts,
    /// Of each mount point, by its number.
    sums: Vec<Sum>,
    spread: Spread,
    peaks: Peaks,
    days: Days,
    no_duration: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    connections: u64,
    seconds: u64,
}

impl ListeningStats {
    /// `mount`: as the log has it, without query. `listener`: a hash of address and agent, or whatever else tells
    /// listeners apart.
    pub fn add(&mut self, mount: &[u8], connection: Session, listener: u64) {
        let mount = self.mounts.number(mount);
        let place = usize::from(mount);
        if place >= self.sums.len() {
            self.sums.resize(place + 1, Sum::default());
        }
        self.sums[place].add(connection.seconds());
        self.spread.add(mount, connection.seconds(), listener);
        self.peaks.add(mount, connection);
        self.days.add(mount, connection);
    }

    /// A listener whose time is not known.
    pub fn no_duration(&mut self) {
        self.no_duration = self.no_duration.saturating_add(1);
    }

    /// All figures so far. Takes half a second for a million connections, and hardly any memory: what was collected
    /// is sorted in place.
    pub fn figures(&mut self) -> ListeningReport {
        let spread = self.spread.results();
        let peaks = self.peaks.most();
        let figures = |mount: u16, sum: Sum| {
            let spread = spread.get(&mount);
            MountReport {
                connections: sum.connections,
                seconds: sum.seconds,
                median: spread.map_or(0.0, |spread| spread.median),
                listeners: spread.map_or(0, |spread| spread.listeners),
                peak: peaks.get(&mount).map_or(Peak::default(), |peak| Peak {
                    listeners: peak.most.max(0).unsigned_abs(),
                    at: (peak.most > 0).then_some(peak.when),
                    exact: peak.possible <= peak.most,
                }),
            }
        };
        let mut mounts: Vec<_> = self
            .mounts
            .names()
            .map(|(number, name)| {
                let sum = self.sum(number);
                (number, name.to_vec(), figures(number, sum))
            })
            .collect();
        mounts.sort_unstable_by(|(_, a_name, a), (_, b_name, b)| {
            (b.seconds, b.connections, a_name).cmp(&(a.seconds, a.connections, b_name))
        });
        let days = self
            .days
            .iter()
            .map(|(day, seconds)| DayReport {
                day,
                seconds: seconds.values().sum(),
                mounts: mounts
                    .iter()
                    .map(|(number, ..)| seconds.get(number).copied().unwrap_or_default())
                    .collect(),
            })
            .collect();
        let others = self.sum(OTHERS);
        let mut total = Sum::default();
        for sum in &self.sums {
            total.connections += sum.connections;
            total.seconds = total.seconds.saturating_add(sum.seconds);
        }
        ListeningReport {
            all: figures(ALL, total),
            others: (others.connections > 0).then(|| figures(OTHERS, others)),
            mounts: mounts
                .into_iter()
                .map(|(_, name, figures)| (name, figures))
                .collect(),
            days,
            estimated: self.spread.is_estimated(),
            no_duration: self.no_duration,
        }
    }

    fn sum(&self, number: u16) -> Sum {
        self.sums
            .get(usize::from(number))
            .copied()
            .unwrap_or_default()
    }
}

impl Sum {
    fn add(&mut self, seconds: u64) {
        self.connections += 1;
        self.seconds = self.seconds.saturating_add(seconds);
    }
}

#[cfg(test)]
mod tests;
