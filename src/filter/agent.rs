//! Recognizes bots by their user agent; see guide/requests.md, "Bots".

use std::hash::BuildHasher;

use aho_corasick::{AhoCorasick, MatchKind};
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

/// Slots of the cache, which takes 128 KiB. A log has hundreds of distinct user agents, a hostile
/// one millions. A larger one is slower even for 100,000: the processor's own caches do not hold
/// it, and to fetch a slot from memory takes nearly as long as a search.
const CACHE_SLOTS: usize = 1 << 14;

/// Recognizes bots. Results are cached, because few distinct user agents make up a log.
#[derive(Debug)]
pub struct Bots {
    /// In lower case. Then the search looks for the beginnings of all texts in many bytes at once,
    /// which it cannot do if it ignores case.
    texts: AhoCorasick,
    /// The user agent in lower case. Reused.
    lower: Vec<u8>,
    /// Non-ASCII texts of `--useragent-exclude`, in lower case.
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
        let built_in = BOTS.into_iter().map(str::to_owned);
        let texts = built_in.chain(ascii.into_iter().map(|text| text.to_ascii_lowercase()));
        let texts = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostFirst)
            .build(texts)
            .map_err(|error| Error::usage(format!("--useragent-exclude: {error}")))?;
        let non_ascii = non_ascii.iter().map(|text| text.to_lowercase()).collect();
        Ok(Self {
            texts,
            lower: Vec::new(),
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
                let is_bot = self.has_text(agent) || self.has_non_ascii_text(agent);
                self.cache[slot] = hash ^ u64::from(!is_bot);
                is_bot
            }
        }
    }

    fn has_text(&mut self, agent: &[u8]) -> bool {
        self.lower.clear();
        self.lower.extend_from_slice(agent);
        self.lower.make_ascii_lowercase();
        self.texts.is_match(&self.lower)
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
    use proptest::prelude::*;

    use super::*;

    /// A text that makes a bot, or a part of one.
    fn piece() -> impl Strategy<Value = Vec<u8>> {
        let text = prop::sample::select(BOTS.to_vec());
        (text, 0..30_usize, any::<u32>()).prop_map(|(text, cut, upper)| {
            let bytes = text.bytes().take(text.len().max(cut) - cut).zip(0..);
            let in_any_case = |(byte, at): (u8, u32)| match upper >> at & 1 {
                0 => byte,
                _ => byte.to_ascii_uppercase(),
            };
            bytes.map(in_any_case).collect()
        })
    }

    proptest! {
        #[test]
        fn a_text_is_found_in_any_place_and_case(
            before in prop::collection::vec(any::<u8>(), 0..70), piece in piece(), after in "[a-zA-Z /;.]{0,70}",
        ) {
            let agent = [&before[..], &piece, after.as_bytes()].concat();
            let lower = agent.to_ascii_lowercase();
            let has = |text: &&str| lower.windows(text.len()).any(|part| part == text.as_bytes());
            let mut bots = Bots::new(&[]).unwrap();
            prop_assert_eq!(bots.is_bot_agent(&agent), BOTS.iter().any(has));
        }
    }

    #[test]
    fn results_are_the_same_however_many_agents_come_between() {
        let mut bots = Bots::new(&["Grüße".to_owned(), "evil".to_owned()]).unwrap();
        let human = |number| format!("Mozilla/5.0 build/{number}").into_bytes();
        let bot = |number| format!("Mozilla/5.0 (compatible; Googlebot/{number})").into_bytes();
        for _ in 0..2 {
            for number in 0..2 * CACHE_SLOTS {
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
