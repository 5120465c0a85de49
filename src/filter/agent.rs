//! Recognizes bots by their user agent; see guide/requests.md, "Bots".

use std::hash::BuildHasher;

use aho_corasick::{AhoCorasick, MatchKind};
use foldhash::quality::RandomState;

use super::bot_list::{BotEntry, BotList};
use crate::error::{Error, Result};
use crate::hit::{AgentClass, LoggedRequest};

/// The texts of Matomo's script, in lower case. Each may be anywhere in the user agent.
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

/// Values of [`Bots::indexes`] that are no index.
const UNKNOWN: u16 = u16::MAX;
const NO_ENTRY: u16 = u16::MAX - 1;

/// Which user agents are those of bots.
#[derive(Debug, Default)]
pub struct BotOptions<'a> {
    /// `--bots=current`: the list decides. Otherwise the texts of Matomo's script do.
    pub by_list: bool,
    /// `--bot-list`: replaces the built-in list.
    pub list: Option<BotList>,
    /// `--useragent-exclude`
    pub excluded: &'a [String],
}

/// Recognizes bots. Results are cached, because few distinct user agents make up a log.
#[derive(Debug)]
pub struct Bots {
    /// Whether what is in the list is a bot.
    by_list: bool,
    /// The built-in list is read when it is needed.
    list: Option<BotList>,
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
    /// The index in the list of each user agent in `cache`, [`NO_ENTRY`] or [`UNKNOWN`]. Empty
    /// until one is needed.
    indexes: Vec<u16>,
}

impl Bots {
    pub fn new(options: BotOptions) -> Result<Self> {
        let (ascii, non_ascii): (Vec<_>, Vec<_>) =
            options.excluded.iter().partition(|text| text.is_ascii());
        let of_script = BOTS.into_iter().filter(|_| !options.by_list);
        let of_script = of_script.map(str::to_owned);
        let texts = of_script.chain(ascii.into_iter().map(|text| text.to_ascii_lowercase()));
        let texts = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostFirst)
            .build(texts)
            .map_err(|error| Error::usage(format!("--useragent-exclude: {error}")))?;
        let non_ascii = non_ascii.iter().map(|text| text.to_lowercase()).collect();
        Ok(Self {
            by_list: options.by_list,
            list: options.list,
            texts,
            lower: Vec::new(),
            non_ascii,
            hasher: RandomState::default(),
            cache: vec![0; CACHE_SLOTS],
            indexes: Vec::new(),
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

    /// Whether a request is a bot's, and which one it is in the list, which may have those that are
    /// no bots by [`Bots::is_bot`], too. Tries the user agent as decoded and as logged.
    pub fn classify(&mut self, request: &LoggedRequest) -> AgentClass {
        if let Some(known) = request.agent_class {
            return known;
        }
        let class = self.classify_agent(request.user_agent);
        match request.record.raw_agent() {
            Some(raw) if !class.is_bot || class.entry.is_none() => {
                let of_raw = self.classify_agent(raw);
                AgentClass {
                    is_bot: class.is_bot || of_raw.is_bot,
                    entry: class.entry.or(of_raw.entry),
                }
            }
            _ => class,
        }
    }

    /// All bots in the list.
    pub fn entries(&mut self) -> &[BotEntry] {
        self.list.get_or_insert_with(BotList::built_in).entries()
    }

    fn is_bot_agent(&mut self, agent: &[u8]) -> bool {
        self.look_up(agent).1
    }

    /// The slot of a user agent, and whether it is a bot's.
    fn look_up(&mut self, agent: &[u8]) -> (usize, bool) {
        let hash = self.hasher.hash_one(agent) | 1;
        let slot = (hash >> (u64::BITS - CACHE_SLOTS.ilog2())) as usize;
        let is_bot = match self.cache[slot] ^ hash {
            0 => true,
            1 => false,
            _ => {
                if let Some(index) = self.indexes.get_mut(slot) {
                    *index = UNKNOWN;
                }
                let is_bot = self.judge(agent, slot);
                self.cache[slot] = hash ^ u64::from(!is_bot);
                is_bot
            }
        };
        (slot, is_bot)
    }

    fn judge(&mut self, agent: &[u8], slot: usize) -> bool {
        self.set_lower(agent);
        (self.by_list && self.search_list(slot).is_some())
            || self.texts.is_match(&self.lower)
            || self.has_non_ascii_text(agent)
    }

    fn classify_agent(&mut self, agent: &[u8]) -> AgentClass {
        let (slot, is_bot) = self.look_up(agent);
        let entry = match self.indexes.get(slot).copied() {
            None | Some(UNKNOWN) => {
                self.set_lower(agent);
                self.search_list(slot)
            }
            Some(NO_ENTRY) => None,
            Some(index) => Some(index.into()),
        };
        AgentClass { is_bot, entry }
    }

    /// Searches the list for the user agent in `lower`, and notes the result.
    fn search_list(&mut self, slot: usize) -> Option<usize> {
        if self.indexes.is_empty() {
            self.indexes = vec![UNKNOWN; CACHE_SLOTS];
        }
        let list = self.list.get_or_insert_with(BotList::built_in);
        let found = list.find(&self.lower);
        // A list has fewer bots than NO_ENTRY.
        let index = found.and_then(|index| u16::try_from(index).ok());
        self.indexes[slot] = index.unwrap_or(NO_ENTRY);
        found
    }

    fn set_lower(&mut self, agent: &[u8]) {
        self.lower.clear();
        self.lower.extend_from_slice(agent);
        self.lower.make_ascii_lowercase();
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
            let mut bots = Bots::new(BotOptions::default()).unwrap();
            prop_assert_eq!(bots.is_bot_agent(&agent), BOTS.iter().any(has));
        }
    }

    #[test]
    fn results_are_the_same_however_many_agents_come_between() {
        let excluded = ["Grüße".to_owned(), "evil".to_owned()];
        let options = BotOptions {
            excluded: &excluded,
            ..BotOptions::default()
        };
        let mut bots = Bots::new(options).unwrap();
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

    fn by_list(list: Option<&str>, excluded: &[String]) -> Bots {
        let list = list.map(|list| BotList::parse(list).unwrap());
        let by_list = true;
        Bots::new(BotOptions {
            by_list,
            list,
            excluded,
        })
        .unwrap()
    }

    fn name(bots: &mut Bots, agent: &str) -> Option<String> {
        let index = bots.classify_agent(agent.as_bytes()).entry?;
        Some(bots.entries()[index].name.clone())
    }

    #[test]
    fn the_list_decides_instead_of_the_texts() {
        let excluded = ["Grüße".to_owned(), "evil".to_owned()];
        let mut bots = by_list(Some("Mine\nDevin\n"), &excluded);
        for (agent, is_bot) in [
            ("Mine/1.0", true),
            ("Undermined", false),
            ("Googlebot/2.1", false),
            ("curl/8.0", false),
            ("EVIL", true),
            ("ein GRÜßE", true),
        ] {
            for _ in 0..2 {
                assert_eq!(bots.is_bot_agent(agent.as_bytes()), is_bot, "{agent}");
            }
        }
        let mut built_in = by_list(None, &[]);
        assert!(built_in.is_bot_agent(b"Mozilla/5.0 (compatible; GPTBot/1.2)"));
        assert!(built_in.is_bot_agent(b"FooBot/1.0"));
        assert!(!built_in.is_bot_agent(b"Mozilla/5.0 Firefox/125.0"));
    }

    #[test]
    fn an_agent_has_an_entry_whether_or_not_it_is_a_bot() {
        let mut bots = Bots::new(BotOptions::default()).unwrap();
        assert!(!bots.is_bot_agent(b"ChatGPT-User"));
        assert!(bots.indexes.is_empty() && bots.list.is_none());
        assert_eq!(name(&mut bots, "ChatGPT-User").unwrap(), "ChatGPT-User");
        assert!(!bots.is_bot_agent(b"ChatGPT-User"));
        assert!(bots.is_bot_agent(b"my feed thing"));
        assert_eq!(name(&mut bots, "my feed thing"), None);
    }

    #[test]
    fn entries_are_the_same_however_many_agents_come_between() {
        for by_list in [false, true] {
            let list = BotList::parse("Devin\nGPTBot\n").unwrap();
            let mut bots = Bots::new(BotOptions {
                by_list,
                list: Some(list),
                excluded: &[],
            })
            .unwrap();
            for _ in 0..2 {
                for number in 0..2 * CACHE_SLOTS {
                    let agent = format!("GPTBot/{number}");
                    assert_eq!(bots.classify_agent(agent.as_bytes()).entry, Some(1));
                    let agent = format!("Mozilla/{number}");
                    assert_eq!(bots.classify_agent(agent.as_bytes()).entry, None);
                    assert!(!bots.is_bot_agent(agent.as_bytes()));
                }
            }
        }
    }
}
