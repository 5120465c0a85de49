//! What `--verify` found: how many hits are missing, and what they have in common.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use chrono::DateTime;

use crate::matomo::visit_log::{Presence, SoughtHit};
use crate::report::clean_to;

/// Values that are counted for each property.
const MAX_VALUES: usize = 20_000;
/// Values that are shown for each property, if this part of the missing hits has them, in percent.
const SHOWN_VALUES: usize = 3;
const MIN_SHARE: u64 = 20;
/// Characters of a user agent that are kept.
const MAX_AGENT: usize = 100;
/// Missing hits that are named with their lines.
const SHOWN_LINES: usize = 10;
/// Missing hits that are looked for in other sites.
const MAX_EXAMPLES: usize = 5;
/// A user agent of so many hits that are all missing is left out on purpose.
const MIN_AGENT_HITS: u64 = 3;

/// Parts of user agents, in lower case, that TrackingSpamPrevention takes for headless browsers.
const HEADLESS: [&str; 3] = ["headless", "phantomjs", "electron"];

const PROPERTIES: [&str; 5] = ["site", "day", "network", "status", "user agent"];

/// A hit that was looked up.
pub struct Finding<'a> {
    pub log: &'a str,
    pub line: u64,
    pub status: &'a [u8],
    pub hit: &'a SoughtHit,
    pub presence: Presence,
    /// The setting that excludes it.
    pub reason: Option<&'static str>,
}

#[derive(Default)]
pub struct Findings {
    /// Hits with an id of the log's own, or without a visit.
    pub cannot_be_looked_up: u64,
    /// Sites that have some of the missing hits.
    pub other_sites: Vec<String>,
    /// By how much Matomo's counts of days are smaller.
    pub fewer: u64,
    present: u64,
    unknown: u64,
    missing: u64,
    excluded: BTreeMap<&'static str, u64>,
    properties: [HashMap<String, ValueCount>; PROPERTIES.len()],
    lines: Vec<String>,
    examples: Vec<SoughtHit>,
}

/// Hits that have one value of a property.
#[derive(Clone, Copy, Default)]
struct ValueCount {
    missing: u64,
    present: u64,
}

impl Findings {
    pub fn add(&mut self, finding: Finding) {
        match finding.presence {
            Presence::Present => self.present += 1,
            Presence::Unknown => {
                self.unknown += 1;
                return;
            }
            Presence::Missing => match finding.reason {
                Some(reason) => {
                    *self.excluded.entry(reason).or_default() += 1;
                    return;
                }
                None => self.missing += 1,
            },
        }
        let Finding { hit, status, .. } = finding;
        let is_missing = finding.presence == Presence::Missing;
        let date = DateTime::from_timestamp(hit.time, 0).unwrap_or_default();
        let values = [
            hit.idsite.clone(),
            date.date_naive().to_string(),
            hit.network(),
            clean_to(status, MAX_AGENT).into_owned(),
            clean_to(hit.agent.as_bytes(), MAX_AGENT).into_owned(),
        ];
        for (counts, value) in self.properties.iter_mut().zip(values) {
            if value.is_empty() || (counts.len() >= MAX_VALUES && !counts.contains_key(&value)) {
                continue;
            }
            let count = counts.entry(value).or_default();
            count.missing += u64::from(is_missing);
            count.present += u64::from(!is_missing);
        }
        if is_missing && self.lines.len() < SHOWN_LINES {
            self.lines.push(format!("{}:{}", finding.log, finding.line));
        }
        if is_missing && self.examples.len() < MAX_EXAMPLES {
            self.examples.push(hit.in_site(&hit.idsite));
        }
    }

    /// Adds hits that a setting of Matomo excludes and that were not looked up.
    pub fn add_excluded(&mut self, reason: &'static str, hits: u64) {
        *self.excluded.entry(reason).or_default() += hits;
    }

    pub fn take_examples(&mut self) -> Vec<SoughtHit> {
        std::mem::take(&mut self.examples)
    }

    pub fn has_answers(&self) -> bool {
        self.present + self.unknown + self.missing > 0
    }

    /// Hits that are missing, and that no setting of Matomo excludes.
    pub fn unexplained(&self) -> u64 {
        self.missing
    }

    /// The report. `complete` of the `days` have as many actions in Matomo as in the logs.
    pub fn text(&self, logs: usize, hits: u64, complete: Option<(usize, usize)>) -> String {
        let mut text = String::from("Verification\n------------\n\n");
        let mut line = |number: u64, what: &str| {
            let _ = writeln!(text, "    {number} {what}");
        };
        line(hits, &format!("hits of {logs} logs are imported"));
        if let Some((complete, days)) = complete {
            line(
                complete as u64,
                &format!("of {days} days have as many actions in Matomo as in the logs"),
            );
        }
        if self.fewer > 0 {
            line(self.fewer, "actions fewer are in Matomo on the other days");
        }
        line(
            self.present,
            "hits of the other days were looked up and found",
        );
        for (reason, number) in &self.excluded {
            line(
                *number,
                &format!("hits are left out by Matomo's settings: {reason}"),
            );
        }
        line(self.missing, "hits are missing");
        if self.unknown > 0 {
            line(
                self.unknown,
                "hits may be among actions that Matomo does not show",
            );
        }
        if self.cannot_be_looked_up > 0 {
            line(self.cannot_be_looked_up, "hits cannot be looked up");
        }
        if self.missing > 0 {
            self.describe_missing(&mut text);
        }
        text
    }

    fn describe_missing(&self, text: &mut String) {
        text.push_str("\n    What the missing hits have in common:\n\n");
        for (property, counts) in PROPERTIES.iter().zip(&self.properties) {
            let is_common = |it: &ValueCount| it.missing * 100 >= self.missing * MIN_SHARE;
            let mut values: Vec<_> = counts.iter().filter(|(_, it)| is_common(it)).collect();
            values.sort_by_key(|(value, it)| (std::cmp::Reverse(it.missing), *value));
            for (value, ValueCount { missing, present }) in values.into_iter().take(SHOWN_VALUES) {
                let _ = writeln!(
                    text,
                    "        {property} {value}: {missing} missing, {present} present"
                );
            }
        }
        let _ = writeln!(text, "\n    The first lines: {}", self.lines.join(", "));
        let _ = writeln!(text, "    Likely cause: {}", self.cause());
    }

    fn cause(&self) -> String {
        if !self.other_sites.is_empty() {
            let sites = self.other_sites.join(", ");
            return format!("they were imported into another site ({sites})");
        }
        let [_, days, networks, _, agents] = &self.properties;
        let gone = |counts: &HashMap<String, ValueCount>, least: u64| -> u64 {
            let gone = counts
                .values()
                .filter(|it| it.present == 0 && it.missing >= least);
            gone.map(|it| it.missing).sum()
        };
        let first_present = days
            .iter()
            .filter(|(_, it)| it.present > 0)
            .map(|(day, _)| day);
        let first_present = first_present.min();
        let is_older = |day: &String| first_present.is_none_or(|first| day < first);
        let older: u64 = days
            .iter()
            .filter(|(day, it)| it.present == 0 && is_older(day))
            .map(|(_, it)| it.missing)
            .sum();
        let is_elsewhere = networks.values().any(|it| it.present > 0);
        let headless = agents.iter().filter(|(agent, it)| {
            let agent = agent.to_ascii_lowercase();
            it.present == 0 && HEADLESS.iter().any(|text| agent.contains(text))
        });
        if older == self.missing {
            "Matomo deletes old visits, or they were deleted by hand".to_owned()
        } else if headless.map(|(_, it)| it.missing).sum::<u64>() == self.missing {
            "the plugin TrackingSpamPrevention, part of Matomo 6, leaves out headless browsers; \
             switch that off in its settings if you need these hits"
                .to_owned()
        } else if gone(agents, MIN_AGENT_HITS) == self.missing {
            "Matomo takes these user agents for bots or spam and leaves them out".to_owned()
        } else if is_elsewhere && gone(networks, MIN_AGENT_HITS) == self.missing {
            "Matomo leaves out these networks: its plugin TrackingSpamPrevention, part of Matomo 6, \
             does that to hosting providers and to networks with many visits; add those that you \
             need to ip_allow_list in the section [TrackingSpamPrevention] of its config.ini.php"
                .to_owned()
        } else {
            "lost by Matomo behind an acknowledgement, or deleted since".to_owned()
        }
    }
}
