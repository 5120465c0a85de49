//! The addresses that operators publish for their bots; see guide/requests.md, "Forged bots".

use std::collections::HashMap;

use serde::Deserialize;

use super::bot_list::BotEntry;
use crate::network::{Network, NetworkSet};
use crate::suggestion::did_you_mean;

/// The addresses of bots, by index in the list.
#[derive(Debug, Default)]
pub struct BotRanges(HashMap<usize, NetworkSet>);

/// A file as OpenAI, Google and Bing publish it.
#[derive(Deserialize)]
struct RangeFile {
    prefixes: Vec<Prefix>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Prefix {
    ipv4_prefix: Option<String>,
    ipv6_prefix: Option<String>,
}

impl BotRanges {
    /// Joins files. Each has the name of a bot, or else of an operator, and its networks.
    ///
    /// # Errors
    ///
    /// Returns the name that is not in the list, and why that is wrong.
    pub fn new(files: Vec<(String, Vec<Network>)>, list: &[BotEntry]) -> Result<Self, String> {
        let mut by_bot: HashMap<usize, Vec<Network>> = HashMap::new();
        for (name, networks) in files {
            let bots = bots_named(&name, list);
            if bots.is_empty() {
                let names = list.iter().map(|bot| &*bot.name);
                let meant = did_you_mean(&name, names);
                return Err(format!("no bot and no operator is named '{name}'{meant}"));
            }
            for bot in bots {
                by_bot.entry(bot).or_default().extend(&networks);
            }
        }
        let sets = by_bot.into_iter();
        let sets = sets.map(|(bot, networks)| (bot, networks.into_iter().collect()));
        Ok(Self(sets.collect()))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The addresses of a bot, if they are known.
    pub(super) fn of(&self, bot: usize) -> Option<&NetworkSet> {
        self.0.get(&bot)
    }

    /// Reads the networks of a file.
    ///
    /// # Errors
    ///
    /// It is not such a file, or it has no network.
    pub fn read_file(text: &str) -> Result<Vec<Network>, String> {
        let file: RangeFile = serde_json::from_str(text).map_err(|error| {
            format!("not a list of prefixes as operators publish it in JSON: {error}")
        })?;
        let mut networks = Vec::new();
        for (index, prefix) in file.prefixes.iter().enumerate() {
            let at = |why: &str| format!("prefix {}: {why}", index + 1);
            let given = [&prefix.ipv4_prefix, &prefix.ipv6_prefix];
            let given: Vec<&String> = given.into_iter().flatten().collect();
            if given.is_empty() {
                return Err(at("it has neither ipv4Prefix nor ipv6Prefix"));
            }
            for text in given {
                networks.push(text.parse().map_err(|why: String| at(&why))?);
            }
        }
        match networks.is_empty() {
            true => Err("it lists no prefixes".to_owned()),
            false => Ok(networks),
        }
    }
}

/// The bot of a name, else the bots of an operator.
fn bots_named(name: &str, list: &[BotEntry]) -> Vec<usize> {
    let having = |is_wanted: &dyn Fn(&BotEntry) -> bool| -> Vec<usize> {
        let bots = list.iter().enumerate();
        let bots = bots.filter(|(_, bot)| is_wanted(bot));
        bots.map(|(index, _)| index).collect()
    };
    let named = having(&|bot| bot.name.eq_ignore_ascii_case(name));
    // An operator that is unknown has an empty name.
    match named.is_empty() && !name.is_empty() {
        true => having(&|bot| bot.operator.eq_ignore_ascii_case(name)),
        false => named,
    }
}

#[cfg(test)]
mod tests {
    use super::super::bot_list::BotList;
    use super::*;

    const OPENAI: &str = r#"{"creationTime": "2026-05-01T00:00:00.000000", "prefixes": [
        {"ipv4Prefix": "192.0.2.0/28"}, {"ipv6Prefix": "2001:db8::/64"}]}"#;

    #[test]
    fn the_networks_of_a_file_are_read() {
        let networks = BotRanges::read_file(OPENAI).unwrap();
        let set: NetworkSet = networks.into_iter().collect();
        assert!(set.contains_text(b"192.0.2.15") && set.contains_text(b"2001:db8::9"));
        assert!(!set.contains_text(b"192.0.2.16"));
    }

    #[test]
    fn a_file_of_another_kind_is_refused() {
        for (text, why) in [
            ("", "not a list of prefixes"),
            ("[]", "not a list of prefixes"),
            ("{}", "missing field `prefixes`"),
            (r#"{"prefixes": []}"#, "it lists no prefixes"),
            (
                r#"{"prefixes": [{"ipv4Prefix": "192.0.2.0/24"}, {}]}"#,
                "prefix 2: it has neither",
            ),
            (
                r#"{"prefixes": [{"ipv4Prefix": "192.0.2.0/33"}]}"#,
                "prefix 1: '192.0.2.0/33' is not",
            ),
        ] {
            let error = BotRanges::read_file(text).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_file_belongs_to_a_bot_or_to_the_bots_of_an_operator() {
        let list = "A\tABot\tcrawler\tACME\nB\tBBot\tcrawler\tacme\nC\tacme2\n";
        let list = BotList::parse(list).unwrap();
        let networks = || BotRanges::read_file(OPENAI).unwrap();
        let ranges =
            |name: &str| BotRanges::new(vec![(name.to_owned(), networks())], list.entries());
        for (name, bots) in [("abot", &[0][..]), ("Acme", &[0, 1]), ("ACME2", &[2])] {
            let ranges = ranges(name).unwrap();
            let found = (0..3).filter(|bot| ranges.of(*bot).is_some());
            assert_eq!(found.collect::<Vec<_>>(), bots, "{name}");
        }
        let error = ranges("bbott").unwrap_err();
        assert_eq!(
            error,
            "no bot and no operator is named 'bbott'; did you mean BBot?"
        );
        assert!(ranges("").is_err());
    }

    #[test]
    fn files_of_one_bot_add_up() {
        let other = r#"{"prefixes": [{"ipv4Prefix": "198.51.100.0/24"}]}"#;
        let list = BotList::parse("A\n").unwrap();
        let file = |text| ("a".to_owned(), BotRanges::read_file(text).unwrap());
        let ranges = BotRanges::new(vec![file(OPENAI), file(other)], list.entries()).unwrap();
        let set = ranges.of(0).unwrap();
        assert!(set.contains_text(b"192.0.2.1") && set.contains_text(b"198.51.100.1"));
    }
}
