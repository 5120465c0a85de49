//! Keeps hits of different past days of a site apart.
//!
//! The first hit of a site's past day makes Matomo note that day in a table, inside the transaction
//! of its batch. If several requests do that at once for different days, the database resolves a
//! deadlock by rolling one of them back, and Matomo may answer with success all the same. It
//! happens no more if all requests in flight belong to the same day of each site, and if a day's
//! first hits have gone alone.
//!
//! Logs are in order, so a day nearly always begins once. Where the days of a log alternate, hits
//! of other days are held back until a window is full, so that the recorders wait for each other
//! once a window, not once a line.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;

use super::queue::{RequestGroup, WaitingGroup};
use crate::hit::HitDays;

/// Bytes of requests that are held back.
pub const HELD_BYTES: usize = 512 << 10;

/// Groups that open a site's day, each of another visitor: Matomo leaves some hits out without
/// opening the day.
const OPENERS: usize = 3;

/// A day with no more requests than this is not shared among the recorders: it goes alone, with
/// other small days.
pub const SMALL_DAY: usize = 500;

/// A past day of a site: index of the site, and day counted from 1970.
type SiteDay = (u32, i32);

/// Decides which groups may be in flight together, and holds the others back.
#[derive(Debug)]
pub struct DayWindow {
    /// The past day of each site in this epoch.
    current: HashMap<u32, i32, RandomState>,
    /// Days that this run has sent hits of.
    opened: HashSet<SiteDay, RandomState>,
    held: Vec<WaitingGroup>,
    /// Bytes of their requests.
    held_bytes: usize,
    max_bytes: usize,
    small_day: usize,
    /// Visitors with a group that is held back. Their further groups wait behind it.
    waiting: HashSet<u64, RandomState>,
}

impl DayWindow {
    pub fn new(max_bytes: usize, small_day: usize) -> Self {
        Self {
            current: HashMap::default(),
            opened: HashSet::default(),
            held: Vec::new(),
            held_bytes: 0,
            max_bytes,
            small_day,
            waiting: HashSet::default(),
        }
    }

    /// Whether a group may be sent in this epoch, before those held back.
    pub fn admits(&self, group: &RequestGroup) -> bool {
        self.fits(group) && (self.waiting.is_empty() || !self.waiting.contains(&group.visitor))
    }

    fn fits(&self, group: &RequestGroup) -> bool {
        match group.days {
            HitDays::Today => true,
            HitDays::Past(day) => self.current.get(&group.site) == Some(&day),
            HitDays::Several => false,
        }
    }

    /// Holds a group back.
    pub fn hold(&mut self, waiting: WaitingGroup) {
        self.waiting.insert(waiting.group.visitor);
        self.held_bytes += waiting.json_bytes();
        self.held.push(waiting);
    }

    pub fn held(&self) -> &[WaitingGroup] {
        &self.held
    }

    pub fn is_full(&self) -> bool {
        self.held_bytes >= self.max_bytes
    }

    /// Takes the groups that have to go alone, because they touch several days, and those that may
    /// as well, because little is held of their days, or none of it is in the past.
    pub fn take_small_days(&mut self) -> Vec<WaitingGroup> {
        let mut requests: HashMap<SiteDay, usize, RandomState> = HashMap::default();
        for WaitingGroup { group, .. } in &self.held {
            if let HitDays::Past(day) = group.days {
                *requests.entry((group.site, day)).or_default() += group.requests as usize;
            }
        }
        requests.retain(|_, requests| *requests <= self.small_day);
        let taken = self.take(|_, group| match group.days {
            HitDays::Today | HitDays::Several => true,
            HitDays::Past(day) => requests.contains_key(&(group.site, day)),
        });
        for WaitingGroup { group, .. } in &taken {
            if let HitDays::Past(day) = group.days {
                self.opened.insert((group.site, day));
                // What follows is mostly of the same day.
                self.current.insert(group.site, day);
            }
        }
        taken
    }

    /// Chooses the days of the next epoch: for each site, the day of its first group that is held.
    /// Other sites keep theirs.
    pub fn choose_days(&mut self) {
        for WaitingGroup { group, .. } in &self.held {
            self.current.remove(&group.site);
        }
        let mut blocked = HashSet::<u64, RandomState>::default();
        for WaitingGroup { group, .. } in &self.held {
            if blocked.contains(&group.visitor) {
                continue;
            }
            if let HitDays::Past(day) = group.days {
                self.current.entry(group.site).or_insert(day);
            }
            if !self.fits(group) {
                blocked.insert(group.visitor);
            }
        }
    }

    /// Takes the groups that open days of this epoch. They have to go alone.
    pub fn take_openers(&mut self) -> Vec<WaitingGroup> {
        let days = self.current.iter().map(|(site, day)| (*site, *day));
        let new: Vec<SiteDay> = days.filter(|day| !self.opened.contains(day)).collect();
        if new.is_empty() {
            return Vec::new();
        }
        let last_openers = self.last_openers(&new);
        self.opened.extend(new);
        let mut place = 0;
        self.take(|window, group| {
            place += 1;
            let last = last_openers.get(&group.visitor);
            window.fits(group) && last.is_some_and(|last| place <= *last)
        })
    }

    /// Chooses groups that open these days. Returns for each of their visitors the place of the
    /// last one, from 1: what the visitor has before it goes with it.
    fn last_openers(&self, new: &[SiteDay]) -> HashMap<u64, usize, RandomState> {
        let mut counts: HashMap<SiteDay, usize, RandomState> =
            new.iter().map(|day| (*day, 0)).collect();
        let mut last = HashMap::default();
        // Preferably the first group of a visitor.
        for may_follow in [false, true] {
            let mut seen = HashSet::<u64, RandomState>::default();
            let mut blocked = HashSet::<u64, RandomState>::default();
            for (place, WaitingGroup { group, .. }) in (1..).zip(&self.held) {
                let is_first = seen.insert(group.visitor);
                if blocked.contains(&group.visitor) || !self.fits(group) {
                    blocked.insert(group.visitor);
                    continue;
                }
                let HitDays::Past(day) = group.days else {
                    continue;
                };
                let wanted = if may_follow { 1 } else { OPENERS };
                if let Some(count) = counts.get_mut(&(group.site, day))
                    && *count < wanted
                    && (is_first || may_follow)
                {
                    *count += 1;
                    last.insert(group.visitor, place);
                }
            }
        }
        last
    }

    /// Takes all groups of this epoch.
    pub fn take_fitting(&mut self) -> Vec<WaitingGroup> {
        self.take(|window, group| window.fits(group))
    }

    /// Takes the groups that are wanted, but none whose visitor has an earlier one that stays.
    fn take(
        &mut self,
        mut is_wanted: impl FnMut(&Self, &RequestGroup) -> bool,
    ) -> Vec<WaitingGroup> {
        let mut taken = Vec::new();
        self.held_bytes = 0;
        self.waiting.clear();
        for waiting in std::mem::take(&mut self.held) {
            let visitor = waiting.group.visitor;
            if self.waiting.contains(&visitor) || !is_wanted(self, &waiting.group) {
                self.hold(waiting);
            } else {
                taken.push(waiting);
            }
        }
        taken
    }
}
