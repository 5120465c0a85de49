//! Hits of AI assistants that act for a person. Matomo 5.7 and later have reports of them. See
//! guide/requests.md, "AI assistants".

use std::fmt;

use clap::ValueEnum;

use super::bot_list::{BotEntry, BotList};

/// Whether hits of AI assistants go to Matomo's reports of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum AssistantMode {
    /// If the server has these reports
    #[default]
    Auto,
    On,
    /// Handle them like other hits
    Off,
}

/// Major and minor version of Matomo.
type Version = (u32, u32);

/// The assistants that Matomo keeps hits of, by their names in the list of bots, and the first and
/// the last version that are known to keep them. Matomo drops the hits of others.
const REPORTED: [(&str, Version, Version); 9] = [
    ("ChatGPT-User", (5, 7), NO_END),
    ("Claude-User", (5, 7), NO_END),
    ("Devin", (5, 7), (5, 7)),
    ("Gemini-Deep-Research", (5, 7), NO_END),
    ("Google-NotebookLM", (5, 7), NO_END),
    ("MistralAI-User", (5, 7), NO_END),
    ("Perplexity-User", (5, 7), NO_END),
    ("DuckAssistBot", (5, 8), NO_END),
    ("Google-GeminiNotebook", (5, 8), NO_END),
];

const NO_END: Version = (u32::MAX, u32::MAX);

/// The part of the built-in list of bots that has these assistants.
pub fn assistant_list() -> BotList {
    BotList::built_in_part(|name| versions(name).is_some())
}

/// Decides which bots are assistants whose hits go to Matomo's reports of them.
#[derive(Default)]
pub struct Assistants {
    mode: AssistantMode,
    /// Asks for the version of the server.
    ask: Option<Box<dyn Fn() -> Option<Version>>>,
    /// Whether each entry of the list of bots is one. Empty until that is asked.
    reported: Vec<bool>,
}

impl Assistants {
    pub fn new(mode: AssistantMode) -> Self {
        Self {
            mode,
            ..Self::default()
        }
    }

    /// Sets how to ask for the version of the server, which is done when the first assistant is
    /// seen.
    pub fn ask_with(&mut self, ask: impl Fn() -> Option<Version> + 'static) {
        self.ask = Some(Box::new(ask));
    }

    pub fn is_off(&self) -> bool {
        self.mode == AssistantMode::Off
    }

    /// Whether a bot, given by its index in the list, is one.
    pub fn includes(&mut self, index: usize, list: &[BotEntry]) -> bool {
        let Some(entry) = list.get(index) else {
            return false;
        };
        if self.reported.is_empty() && versions(&entry.name).is_some() {
            let is_asked = self.mode == AssistantMode::Auto;
            let version = self.ask.as_ref().filter(|_| is_asked).and_then(|ask| ask());
            self.reported = list
                .iter()
                .map(|entry| versions(&entry.name).is_some_and(|kept| self.has(kept, version)))
                .collect();
        }
        self.reported.get(index).copied().unwrap_or(false)
    }

    /// Whether a bot has the name of such an assistant, whatever the server and the options say.
    pub fn knows(entry: &BotEntry) -> bool {
        versions(&entry.name).is_some()
    }

    /// Whether the server keeps hits of an assistant that these versions keep.
    fn has(&self, (first, last): (Version, Version), version: Option<Version>) -> bool {
        match self.mode {
            AssistantMode::Off => false,
            AssistantMode::Auto => version.is_some_and(|it| (first..=last).contains(&it)),
            AssistantMode::On => true,
        }
    }
}

/// The first and the last version that keep hits of an assistant.
fn versions(name: &str) -> Option<(Version, Version)> {
    let mut kept = REPORTED.iter();
    let found = kept.find(|(kept, ..)| kept.eq_ignore_ascii_case(name));
    found.map(|(_, first, last)| (*first, *last))
}

impl fmt::Debug for Assistants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Assistants")
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::super::bot_list::BotCategory;
    use super::*;

    /// The assistants whose hits go to the reports, and how often the server was asked.
    fn included(mode: AssistantMode, version: Option<Version>) -> (Vec<String>, u32) {
        let list = BotList::built_in();
        let asked = Rc::new(Cell::new(0));
        let mut assistants = Assistants::new(mode);
        let count = Rc::clone(&asked);
        assistants.ask_with(move || {
            count.set(count.get() + 1);
            version
        });
        let entries = list.entries();
        let is_included = |index: &usize| assistants.includes(*index, entries);
        let indexes: Vec<usize> = (0..entries.len()).filter(is_included).collect();
        let mut names: Vec<String> = indexes
            .iter()
            .map(|index| entries[*index].name.clone())
            .collect();
        names.sort_unstable();
        (names, asked.get())
    }

    #[test]
    fn the_version_of_the_server_decides() {
        use AssistantMode::{Auto, Off, On};
        for (mode, version, expected) in [
            (Auto, None, 0),
            (Auto, Some((5, 6)), 0),
            (Auto, Some((5, 7)), 7),
            (Auto, Some((5, 8)), 8),
            (Auto, Some((6, 0)), 8),
            (On, None, 9),
            (On, Some((5, 0)), 9),
            (Off, Some((5, 8)), 0),
        ] {
            let (names, asked) = included(mode, version);
            assert_eq!(names.len(), expected, "{mode:?} {version:?}: {names:?}");
            assert_eq!(asked, u32::from(mode == Auto));
        }
    }

    #[test]
    fn the_short_list_has_these_assistants() {
        let list = assistant_list();
        let mut names: Vec<&str> = list.entries().iter().map(|entry| &*entry.name).collect();
        names.sort_unstable();
        let mut kept = REPORTED.map(|(name, ..)| name);
        kept.sort_unstable();
        assert_eq!(names, kept);
    }

    #[test]
    fn each_name_is_an_assistant_in_the_list() {
        let list = BotList::built_in();
        for (name, ..) in REPORTED {
            let entry = list.entries().iter().find(|entry| entry.name == name);
            let category = entry.map(|entry| entry.category);
            assert_eq!(category, Some(BotCategory::AiAssistant), "{name}");
        }
    }

    #[test]
    fn a_log_without_assistants_asks_nothing() {
        let list = BotList::built_in();
        let mut assistants = Assistants::new(AssistantMode::Auto);
        assistants.ask_with(|| unreachable!());
        let training = |entry: &BotEntry| entry.category == BotCategory::AiTraining;
        let index = list.entries().iter().position(training).unwrap();
        assert!(!assistants.includes(index, list.entries()));
    }
}
