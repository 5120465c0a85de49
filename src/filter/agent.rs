//! Bots, told by texts in the user agent.

use std::hash::BuildHasher;

use aho_corasick::AhoCorasick;
use foldhash::quality::RandomState;

use crate::error::{Error, Result};
use crate::hit::LoggedRequest;

/// Lower case; anywhere in the agent (SPEC section 5).
const BOTS: [&str; 29] = [
    "adsbot-google",
    "ask jeeves",
    "baidubot",
    "bot-",
    "bot/",
    "ccooter/",
    "crawl",
    "curl",
    "echoping",
    "exabot",
    "feed",
    "googlebot",
    "ia_archiver",
    "java/",
    "libwww",
    "mediapartners-google",
    "msnbot",
    "netcraftsurvey",
    "panopta",
    "pingdom.com_bot_",
    "robot",
    "spider",
    "surveybot",
    "twiceler",
    "voilabot",
    "yahoo",
    "yandex",
    "zabbix",
    "googlestackdrivermonitoring",
];

/// How many agents' verdicts can be remembered, in 512 KiB. A log has hundreds of distinct agents; one made to hurt
/// has millions.
const REMEMBERED: usize = 1 << 16;

/// Finds bots, and remembers what it found: the same few agents fill a log.
#[derive(Debug)]
pub struct Bots {
    texts: AhoCorasick,
    /// Texts of the user's own beyond ASCII, in lower case: the automaton ignores case only within ASCII.
    foreign: Vec<String>,
    hasher: RandomState,
    /// By the upper bits of an agent's hash: the hash, whose lowest bit is the verdict. An agent takes the place of the one
    /// that was there. That two agents share both place and hash happens once in 2^63 times, and by chance only, for
    /// the hash is another one in each run.
    verdicts: Vec<u64>,
}

impl Bots {
    /// `excluded`: the texts of `--useragent-exclude`.
    pub fn new(excluded: &[String]) -> Result<Self> {
        let (ascii, foreign): (Vec<_>, Vec<_>) = excluded.iter().partition(|text| text.is_ascii());
        let texts = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .build(
                BOTS.into_iter()
                    .chain(ascii.iter().map(|text| text.as_str())),
            )
            .map_err(|error| Error::usage(format!("--useragent-exclude: {error}")))?;
        let foreign = foreign.iter().map(|text| text.to_lowercase()).collect();
        Ok(Self {
            texts,
            foreign,
            hasher: RandomState::default(),
            verdicts: vec![0; REMEMBERED],
        })
    }

    /// Where a format decodes the agent, what stands in the log is looked at too.
    pub fn is_bot(&mut self, request: &LoggedRequest) -> bool {
        self.verdict(request.user_agent) || request.raw_agent.is_some_and(|raw| self.verdict(raw))
    }

    fn verdict(&mut self, agent: &[u8]) -> bool {
        let hash = self.hasher.hash_one(agent) | 1;
        let place = (hash >> (u64::BITS - REMEMBERED.ilog2())) as usize;
        match self.verdicts[place] ^ hash {
            0 => true,
            1 => false,
            _ => {
                let verdict = self.texts.is_match(agent) || self.has_foreign(agent);
                self.verdicts[place] = hash ^ u64::from(!verdict);
                verdict
            }
        }
    }

    fn has_foreign(&self, agent: &[u8]) -> bool {
        if self.foreign.is_empty() {
            return false;
        }
        let agent = String::from_utf8_lossy(agent).to_lowercase();
        self.foreign.iter().any(|text| agent.contains(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_the_same_each_time_however_many_agents_come_between() {
        let mut bots = Bots::new(&["Grüße".to_owned(), "evil".to_owned()]).unwrap();
        let human = |number| format!("Mozilla/5.0 build/{number}").into_bytes();
        let bot = |number| format!("Mozilla/5.0 (compatible; Googlebot/{number})").into_bytes();
        for _ in 0..2 {
            for number in 0..2 * REMEMBERED {
                assert!(!bots.verdict(&human(number)));
                assert!(bots.verdict(&bot(number)));
            }
            for (agent, verdict) in [
                ("", false),
                ("an EVIL one", true),
                ("GRÜSSE", false),
                ("ein GRÜßE", true),
            ] {
                assert_eq!(bots.verdict(agent.as_bytes()), verdict, "{agent}");
            }
        }
    }
}
