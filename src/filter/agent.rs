//! Recognizes bots by their user agent; see guide/requests.md, "Bots".

use std::hash::BuildHasher;

use aho_corasick::AhoCorasick;
use foldhash::quality::RandomState;

use crate::error::{Error, Result};
use crate::hit::LoggedRequest;

/// Lower case. Each may be anywhere in the user agent.
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

/// Slots of the cache, which takes 2 MiB if all its pages are used. A log has hundreds of distinct
/// user agents, a hostile one millions. With 100,000, one in six is not found.
const CACHE_SLOTS: usize = 1 << 18;

/// Recognizes bots. Results are cached, because few distinct user agents make up a log.
#[derive(Debug)]
pub struct Bots {
    texts: AhoCorasick,
    /// Non-ASCII texts of `--useragent-exclude`, in lower case. The automaton ignores case only in
    /// ASCII.
    non_ascii: Vec<String>,
    hasher: RandomState,
    /// The slot of a user agent is given by the upper bits of its hash. It contains the hash, with
    /// the result in the lowest bit. A new user agent overwrites an old one. Two user agents have
    /// the same hash once in 2^63 pairs, and no log can provoke that, since the hasher is seeded at
    /// random.
    cache: Vec<u64>,
}

impl Bots {
    /// `excluded` are the texts of `--useragent-exclude`.
    pub fn new(excluded: &[String]) -> Result<Self> {
        let (ascii, non_ascii): (Vec<_>, Vec<_>) =
            excluded.iter().partition(|text| text.is_ascii());
        let texts = BOTS
            .into_iter()
            .chain(ascii.into_iter().map(String::as_str));
        let texts = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .build(texts)
            .map_err(|error| Error::usage(format!("--useragent-exclude: {error}")))?;
        let non_ascii = non_ascii.iter().map(|text| text.to_lowercase()).collect();
        Ok(Self {
            texts,
            non_ascii,
            hasher: RandomState::default(),
            cache: vec![0; CACHE_SLOTS],
        })
    }

    /// Tries the user agent as decoded and as logged.
    pub fn is_bot(&mut self, request: &LoggedRequest) -> bool {
        self.is_bot_agent(request.user_agent)
            || request
                .record
                .raw_agent()
                .is_some_and(|raw| self.is_bot_agent(raw))
    }

    fn is_bot_agent(&mut self, agent: &[u8]) -> bool {
        let hash = self.hasher.hash_one(agent) | 1;
        let slot = (hash >> (u64::BITS - CACHE_SLOTS.ilog2())) as usize;
        match self.cache[slot] ^ hash {
            0 => true,
            1 => false,
            _ => {
                let is_bot = self.texts.is_match(agent) || self.has_non_ascii_text(agent);
                self.cache[slot] = hash ^ u64::from(!is_bot);
                is_bot
            }
        }
    }

    fn has_non_ascii_text(&self, agent: &[u8]) -> bool {
        if self.non_ascii.is_empty() {
            return false;
        }
        let agent = String::from_utf8_lossy(agent).to_lowercase();
        self.non_ascii.iter().any(|text| agent.contains(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_the_same_however_many_agents_come_between() {
        let mut bots = Bots::new(&["Grüße".to_owned(), "evil".to_owned()]).unwrap();
        let human = |number| format!("Mozilla/5.0 build/{number}").into_bytes();
        let bot = |number| format!("Mozilla/5.0 (compatible; Googlebot/{number})").into_bytes();
        for _ in 0..2 {
            for number in 0..CACHE_SLOTS / 4 {
                assert!(!bots.is_bot_agent(&human(number)));
                assert!(bots.is_bot_agent(&bot(number)));
            }
            for (agent, is_bot) in [
                ("", false),
                ("an EVIL one", true),
                ("GRÜSSE", false),
                ("ein GRÜßE", true),
            ] {
                assert_eq!(bots.is_bot_agent(agent.as_bytes()), is_bot, "{agent}");
            }
        }
    }
}
