//! Finds the numbers of the summary by their labels, as a script does.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;

/// The numbers that Matomo's script also prints, and their labels.
const WORDS: [(&str, &str); 16] = [
    ("imported", r"(\d+) requests imported successfully"),
    ("downloads", r"(\d+) requests were downloads"),
    ("ignored", r"(\d+) requests ignored"),
    ("http_errors", r"(\d+) HTTP errors"),
    ("http_redirects", r"(\d+) HTTP redirects"),
    ("invalid", r"(\d+) invalid log lines"),
    ("filtered", r"(\d+) filtered log lines"),
    ("no_site", r"(\d+) requests did not match any known site"),
    ("hostname", r"(\d+) requests did not match any --hostname"),
    ("bots", r"(\d+) requests done by bots"),
    ("static", r"(\d+) requests to static resources"),
    (
        "skipped_downloads",
        r"(\d+) requests to file downloads did not match",
    ),
    ("sites", r"requests imported to (\d+) sites"),
    ("sites_existed", r"(\d+) sites already existed"),
    ("sites_created", r"(\d+) sites were created"),
    ("hosts_ignored", r"(\d+) distinct hostnames did not match"),
];

/// Lines that are printed only if they are not zero.
const OWN_WORDS: [(&str, &str); 5] = [
    ("refused", r"(\d+) requests refused by the server"),
    ("lost", r"(\d+) requests lost by the server"),
    ("resent", r"(\d+) requests in doubt: sent again"),
    ("in_doubt", r"(\d+) requests in doubt: not sent again"),
    ("unsent", r"(\d+) requests not yet sent"),
];

type Patterns = Vec<(&'static str, Regex)>;

static KNOWN: LazyLock<Patterns> = LazyLock::new(|| compiled(&WORDS));
static OWN: LazyLock<Patterns> = LazyLock::new(|| compiled(&OWN_WORDS));

fn compiled(words: &[(&'static str, &str)]) -> Patterns {
    let each = words.iter();
    each.map(|(name, words)| (*name, Regex::new(words).unwrap()))
        .collect()
}

/// Numbers by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Those of [`WORDS`] that are in the text.
    pub known: BTreeMap<&'static str, u64>,
    own: BTreeMap<&'static str, u64>,
}

impl Summary {
    pub fn of(text: &str) -> Self {
        let read = |patterns: &Patterns| {
            let found = patterns.iter().filter_map(|(name, pattern)| {
                let number = pattern.captures(text)?.get(1)?.as_str().parse().unwrap();
                Some((*name, number))
            });
            found.collect()
        };
        Self {
            known: read(&KNOWN),
            own: read(&OWN),
        }
    }

    /// A number by its name. Zero if it is one of [`OWN_WORDS`] and not printed.
    #[track_caller]
    pub fn get(&self, name: &str) -> u64 {
        if OWN_WORDS.iter().any(|(known, _)| *known == name) {
            return self.own.get(name).copied().unwrap_or(0);
        }
        match self.known.get(name) {
            Some(number) => *number,
            None => panic!("no {name} in the summary: {self:?}"),
        }
    }

    /// The sum of the nine lines under "ignored".
    pub fn dropped(&self) -> u64 {
        WORDS[3..12].iter().map(|(name, _)| self.get(name)).sum()
    }
}
