//! The list of bots: fragments of user agents, each with the name, the category and the operator of
//! its bot; see guide/requests.md, "Lists of bots".

use std::cmp::Reverse;
use std::collections::HashMap;

use aho_corasick::{AhoCorasick, Match};

/// Made by fixtures/bots/make.py. The file NOTICE has the licenses of its sources.
const BUILT_IN: &str = include_str!("bots.tsv");

/// Maximum number of names in a list.
const MAX_ENTRIES: usize = 60_000;

/// What a bot is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BotCategory {
    /// Collects text to train models.
    AiTraining,
    /// Fetches a page because a person asked for it.
    AiAssistant,
    /// Makes the index of an AI's search.
    AiSearch,
    Crawler,
    Monitor,
    FeedReader,
    /// A library or a tool, with which anyone can write a bot.
    Library,
}

impl BotCategory {
    pub const ALL: [Self; 7] = [
        Self::AiTraining,
        Self::AiAssistant,
        Self::AiSearch,
        Self::Crawler,
        Self::Monitor,
        Self::FeedReader,
        Self::Library,
    ];

    /// The name in lists and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::AiTraining => "AI training",
            Self::AiAssistant => "AI assistant",
            Self::AiSearch => "AI search",
            Self::Crawler => "crawler",
            Self::Monitor => "monitor",
            Self::FeedReader => "feed reader",
            Self::Library => "library",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|category| category.name().eq_ignore_ascii_case(name))
    }
}

/// A bot in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BotEntry {
    pub name: String,
    pub category: BotCategory,
    /// Empty if unknown.
    pub operator: String,
}

/// Finds the bot of a user agent.
#[derive(Clone, Debug, Default)]
pub struct BotList {
    entries: Vec<BotEntry>,
    fragments: Vec<Fragment>,
    /// Finds fragments, in lower case. All matches count, since one whose neighbors do not fit may
    /// hide another. `None` without fragments.
    search: Option<AhoCorasick>,
}

#[derive(Clone, Copy, Debug)]
struct Fragment {
    /// Index of its bot.
    entry: usize,
    /// Whether a word may begin before it.
    is_open_before: bool,
    /// Whether its last word may go on.
    is_open_after: bool,
}

impl BotList {
    pub fn built_in() -> Self {
        // A test reads it.
        Self::parse(BUILT_IN).unwrap_or_default()
    }

    /// The part of the built-in list that has these names. It takes a hundredth of the memory.
    pub(super) fn built_in_part(names: impl Fn(&str) -> bool) -> Self {
        let is_wanted = |line: &&str| line.split('\t').nth(1).is_some_and(&names);
        let lines: Vec<&str> = BUILT_IN.lines().filter(is_wanted).collect();
        Self::parse(&lines.join("\n")).unwrap_or_default()
    }

    /// Reads a list: a fragment a line, and after tabs the name, the category and the operator.
    /// These three may be missing. Lines with the same name are one bot.
    ///
    /// # Errors
    ///
    /// Returns the number of the first line that is wrong, and why.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut list = Self::default();
        let mut texts = Vec::new();
        let mut names = HashMap::new();
        for (index, line) in text.lines().enumerate() {
            let is_comment = line.trim_start().starts_with('#');
            if !is_comment && !line.trim().is_empty() {
                let text = list.add(line, &mut names);
                texts.push(text.map_err(|why| format!("line {}: {why}", index + 1))?);
            }
        }
        if texts.is_empty() {
            return Err("no line has a fragment of a user agent".to_owned());
        }
        let search = AhoCorasick::new(texts).map_err(|error| error.to_string())?;
        list.search = Some(search);
        Ok(list)
    }

    /// Adds a line, and returns its fragment in lower case. `names` has the index of each name.
    fn add(&mut self, line: &str, names: &mut HashMap<String, usize>) -> Result<String, String> {
        let columns: Vec<&str> = line.trim_end().split('\t').map(str::trim).collect();
        let column = |index: usize| columns.get(index).copied().unwrap_or_default();
        if columns.len() > 4 {
            return Err(format!(
                "it has {} columns; write fragment, name, category and operator",
                columns.len()
            ));
        }
        let (fragment, text) = Fragment::parse(column(0))?;
        let name = match column(1) {
            "" => text,
            name => name,
        };
        let given = match column(2) {
            "" => None,
            name => Some(BotCategory::from_name(name).ok_or_else(|| unknown_category(name))?),
        };
        let entry = *names
            .entry(name.to_ascii_lowercase())
            .or_insert(self.entries.len());
        match self.entries.get(entry) {
            Some(first) if given.is_some_and(|category| category != first.category) => {
                return Err(format!(
                    "'{name}' has the category '{}' in an earlier line",
                    first.category.name()
                ));
            }
            Some(_) => {}
            None if entry == MAX_ENTRIES => {
                return Err(format!("the list has more than {MAX_ENTRIES} bots"));
            }
            None => self.entries.push(BotEntry {
                name: name.to_owned(),
                category: given.unwrap_or(BotCategory::Crawler),
                operator: column(3).to_owned(),
            }),
        }
        self.fragments.push(Fragment { entry, ..fragment });
        Ok(text.to_ascii_lowercase())
    }

    /// All bots, in the order of the list.
    pub fn entries(&self) -> &[BotEntry] {
        &self.entries
    }

    /// The index of the bot of a user agent, which is in lower case. If several fit, a library
    /// counts less, and a fragment that is open before least. Of the others, the first in the agent
    /// counts: `like Googlebot` comes after the agent's own name. Of those at one place, the
    /// longest counts.
    pub(super) fn find(&self, agent: &[u8]) -> Option<usize> {
        let found = self.search.as_ref()?.find_overlapping_iter(agent);
        let found = found
            .filter_map(|found| Some((found, self.fragments.get(found.pattern().as_usize())?)));
        let fitting = found.filter(|(found, fragment)| fragment.fits(found, agent));
        let best = fitting.max_by_key(|(found, fragment)| {
            let category = self.entries.get(fragment.entry).map(|entry| entry.category);
            (
                !fragment.is_open_before,
                category != Some(BotCategory::Library),
                Reverse(found.start()),
                found.len(),
                Reverse(found.pattern()),
            )
        });
        best.map(|(_, fragment)| fragment.entry)
    }
}

impl Fragment {
    /// Also returns its text.
    fn parse(column: &str) -> Result<(Self, &str), String> {
        let (is_open_before, text) = match column.strip_prefix('*') {
            Some(text) => (true, text),
            None => (false, column),
        };
        let (is_open_after, text) = match text.strip_suffix('*') {
            Some(text) => (true, text),
            None => (false, text),
        };
        match text {
            "" => Err("the fragment is empty".to_owned()),
            _ if text.contains('*') => Err(format!(
                "'{column}': a * can only be at the beginning and at the end of a fragment"
            )),
            _ => Ok((
                Self {
                    entry: 0,
                    is_open_before,
                    is_open_after,
                },
                text,
            )),
        }
    }

    /// Whether it is no part of a longer word, or may be.
    fn fits(&self, found: &Match, agent: &[u8]) -> bool {
        let is_word = |index: usize| agent.get(index).is_some_and(u8::is_ascii_alphanumeric);
        let continues =
            |inside: usize, outside: Option<usize>| is_word(inside) && outside.is_some_and(is_word);
        (self.is_open_before || !continues(found.start(), found.start().checked_sub(1)))
            && (self.is_open_after || !continues(found.end().saturating_sub(1), Some(found.end())))
    }
}

fn unknown_category(name: &str) -> String {
    let names = BotCategory::ALL.map(BotCategory::name);
    format!("'{name}' is no category; use one of {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found<'l>(list: &'l BotList, agent: &str) -> Option<&'l str> {
        let index = list.find(agent.to_ascii_lowercase().as_bytes())?;
        Some(&list.entries()[index].name)
    }

    #[track_caller]
    fn assert_found(list: &str, agent: &str, name: Option<&str>) {
        let list = BotList::parse(list).unwrap();
        assert_eq!(found(&list, agent), name, "{agent}");
    }

    #[test]
    fn a_fragment_is_a_whole_word() {
        for (fragment, agent, is_found) in [
            ("Devin", "Devin", true),
            ("Devin", "x (DEVIN/1.0)", true),
            ("Devin", "devine/1.0", false),
            ("Devin", "McDevin", false),
            ("Devin", "Devin2", false),
            ("Devin", "Mc_Devin-2", true),
            ("Devin", "devine devin", true),
            ("Devin", "é Devinü", true),
            ("Java/", "Java/1.8", true),
            ("Java/", "MyJava/1.8", false),
            ("*bot/", "FooBot/1", true),
            ("*bot/", "FooBots/1", false),
            ("Pingdom*", "PingdomTMS", true),
            ("Pingdom*", "MyPingdom", false),
            ("*crawl*", "MyCrawlers", true),
            (" bot ", "a bot", true),
            ("(compatible;", "x(compatible;y", true),
        ] {
            let list = BotList::parse(fragment).unwrap();
            assert_eq!(
                found(&list, agent).is_some(),
                is_found,
                "{fragment} in {agent}"
            );
        }
    }

    #[test]
    fn the_best_fragment_decides() {
        let list = "*bot/\tany\nGoogle\nGooglebot\nGooglebot-Image\ncurl\tcurl\tlibrary\n\
                    python-requests\tpython\tlibrary\nshort\nbot\n";
        for (agent, name) in [
            ("Googlebot-Image/1.0", Some("Googlebot-Image")),
            ("Googlebot (like Googlebot-Image)", Some("Googlebot")),
            ("Googlebots", None),
            ("FooBot/1", Some("any")),
            ("python-requests short", Some("short")),
            ("curl python-requests", Some("curl")),
            ("foobot/ curl", Some("curl")),
            ("foobot/ bot/", Some("bot")),
        ] {
            assert_found(list, agent, name);
        }
    }

    #[test]
    fn lines_of_one_name_are_one_bot() {
        let list = BotList::parse(
            "# a list\r\n\r\n  A \tThe Bot\tAI Search\tACME\r\nB\tthe bot\n\nC\t\t\tOther\n#D\n",
        );
        let list = list.unwrap();
        let entry = |name: &str, category, operator: &str| BotEntry {
            name: name.to_owned(),
            category,
            operator: operator.to_owned(),
        };
        assert_eq!(
            list.entries(),
            [
                entry("The Bot", BotCategory::AiSearch, "ACME"),
                entry("C", BotCategory::Crawler, "Other")
            ]
        );
        assert_eq!(found(&list, "a"), Some("The Bot"));
        assert_eq!(found(&list, "b"), Some("The Bot"));
        assert_eq!(found(&list, "d"), None);
    }

    #[test]
    fn errors_name_the_line() {
        for (text, error) in [
            ("", "no line has a fragment"),
            ("# only\n\n", "no line has a fragment"),
            ("a\n\nb*c", "line 3: 'b*c': a * can only"),
            ("a\n**", "line 2: the fragment is empty"),
            ("a\n\tName", "line 2: the fragment is empty"),
            ("a\n*", "line 2: the fragment is empty"),
            ("#\na\tA\tspy", "line 2: 'spy' is no category"),
            ("a\tA\tcrawler\tO\tmore", "line 1: it has 5 columns"),
            (
                "a\tA\tlibrary\nb\ta\tmonitor",
                "line 2: 'a' has the category 'library'",
            ),
        ] {
            let found = BotList::parse(text).unwrap_err();
            assert!(found.starts_with(error), "{found}");
        }
        let many: String = (0..=MAX_ENTRIES).map(|n| format!("bot{n}\n")).collect();
        let error = BotList::parse(&many).unwrap_err();
        assert_eq!(error, "line 60001: the list has more than 60000 bots");
    }

    #[test]
    fn any_bytes_are_an_agent() {
        let list = BotList::built_in();
        for agent in [&b""[..], b"\xff", b"\0gptbot\xff", &[b'a'; 100_000]] {
            list.find(agent);
        }
        assert_eq!(found(&list, "\0gptbot\u{ff}"), Some("GPTBot"));
    }

    #[test]
    fn the_built_in_list_is_valid_and_has_each_fragment_once() {
        let list = BotList::parse(BUILT_IN).unwrap();
        assert!(list.entries().len() > 1500);
        let lines = BUILT_IN.lines().filter(|line| !line.starts_with('#'));
        let fragments: Vec<String> = lines
            .map(|line| line.split('\t').next().unwrap().to_ascii_lowercase())
            .collect();
        let distinct: std::collections::HashSet<_> = fragments.iter().collect();
        assert_eq!(distinct.len(), fragments.len());
        for category in BotCategory::ALL {
            let mut entries = list.entries().iter();
            assert!(entries.any(|entry| entry.category == category));
        }
    }

    /// The agents are those of real requests.
    #[test]
    fn known_agents_have_their_names_and_categories() {
        let agents = include_str!("../../fixtures/bots/agents.tsv");
        let agents = agents.lines().filter(|line| !line.starts_with('#'));
        let list = BotList::built_in();
        let mut number = 0;
        for line in agents {
            let columns: Vec<&str> = line.split('\t').collect();
            let [name, category, operator, agent] = columns[..] else {
                panic!("{line}");
            };
            let index = list.find(agent.to_ascii_lowercase().as_bytes());
            let entry = index.map(|index| &list.entries()[index]);
            let entry = entry.unwrap_or_else(|| panic!("{agent} is no bot"));
            let found = (&*entry.name, entry.category.name(), &*entry.operator);
            assert_eq!(found, (name, category, operator), "{agent}");
            number += 1;
        }
        assert_eq!(number, 42);
    }

    #[test]
    fn browsers_and_players_are_no_bots() {
        let list = BotList::built_in();
        for agent in [
            "",
            "-",
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36",
            "Mozilla/5.0 (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0",
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Mobile/15E148 Safari/604.1",
            "Mozilla/5.0 (Linux; Android 7.0; CUBOT_X18_Plus Build/NRD90M) AppleWebKit/537.36 Chrome/62.0.3202.84 Mobile Safari/537.36",
            "VLC/3.0.20 LibVLC/3.0.20",
            "WinampMPEG/5.66, Ultravox/2.1",
            "AppleCoreMedia/1.0.0.21E236 (iPhone; U; CPU OS 17_4_1 like Mac OS X; de_de)",
            "Lavf/60.16.100",
            "okhttp/4.12.0",
            "Dalvik/2.1.0 (Linux; U; Android 13; SM-A536B)",
            "TuneIn Radio/31.7",
            "NSPlayer/12.00.19041.2075",
            "GStreamer souphttpsrc 1.20.3 libsoup/2.74.2",
            "Sonos/78.1-51100 (ZPS12)",
        ] {
            assert_eq!(found(&list, agent), None, "{agent}");
        }
    }
}
