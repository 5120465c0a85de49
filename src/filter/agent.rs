//! Bots, told by texts in the user agent.

use std::collections::HashMap;

use aho_corasick::AhoCorasick;

use crate::error::{Error, Result};
use crate::hit::Hit;

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

/// How many agents' verdicts are remembered. A log has hundreds of distinct agents; one made to hurt has millions.
const REMEMBERED: usize = 4096;

/// Finds bots, and remembers what it found: the same few agents fill a log.
#[derive(Debug)]
pub struct Bots {
    texts: AhoCorasick,
    /// Texts of the user's own beyond ASCII, in lower case: the automaton ignores case only within ASCII.
    foreign: Vec<String>,
    verdicts: HashMap<Vec<u8>, bool, foldhash::fast::RandomState>,
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
            verdicts: HashMap::default(),
        })
    }

    /// Where a format decodes the agent, what stands in the log is looked at too.
    pub fn is_bot(&mut self, hit: &Hit) -> bool {
        self.verdict(hit.user_agent) || hit.raw_agent.is_some_and(|raw| self.verdict(raw))
    }

    fn verdict(&mut self, agent: &[u8]) -> bool {
        if let Some(verdict) = self.verdicts.get(agent) {
            return *verdict;
        }
        let verdict = self.texts.is_match(agent) || self.has_foreign(agent);
        if self.verdicts.len() < REMEMBERED {
            self.verdicts.insert(agent.to_vec(), verdict);
        }
        verdict
    }

    fn has_foreign(&self, agent: &[u8]) -> bool {
        if self.foreign.is_empty() {
            return false;
        }
        let agent = String::from_utf8_lossy(agent).to_lowercase();
        self.foreign.iter().any(|text| agent.contains(text))
    }
}
