//! Counts the lines of each bot; see guide/requests.md, "Bot summary".

use super::bot_list::{BotCategory, BotEntry};
use super::bot_ranges::BotRanges;
use crate::hit::ClientAddress;
use crate::report::clean_to;
use crate::report::summary::heading;
use crate::report::{Align, Table};

/// The name of all bots that are not in the list.
const OTHER_BOTS: &str = "Other bots";

/// Maximum rows of a category in the summary.
const MAX_ROWS: usize = 10;

/// Maximum characters of a name in the summary.
const MAX_NAME_CHARS: usize = 30;

/// Counts lines by bot. Its size is that of the list.
#[derive(Debug)]
pub struct BotCounter {
    /// By index in the list, and one more for bots that are not in it.
    counts: Vec<BotCounts>,
    /// The index for bots that are not in the list.
    other: usize,
    ranges: BotRanges,
}

/// What is counted of a bot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BotCounts {
    /// Lines, whether imported or filtered.
    pub hits: u64,
    /// The sum of the lengths of responses.
    pub bytes: u64,
    /// Lines with status 4xx.
    pub client_errors: u64,
    /// Lines from addresses of the operator.
    pub verified: u64,
    /// Lines from other addresses.
    pub forged: u64,
}

/// The figures of all bots with lines: by category, and then those with most hits first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BotFigures {
    pub rows: Vec<BotRow>,
}

/// A bot with lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BotRow {
    /// Untrusted, as is the operator.
    pub name: String,
    pub category: BotCategory,
    pub operator: String,
    pub counts: BotCounts,
    /// Whether the addresses of its operator are known.
    pub is_checked: bool,
}

impl BotCounter {
    pub fn new(list: &[BotEntry], ranges: BotRanges) -> Self {
        let other = list.iter().position(|bot| bot.name == OTHER_BOTS);
        Self {
            counts: vec![BotCounts::default(); list.len() + 1],
            other: other.unwrap_or(list.len()),
            ranges,
        }
    }

    /// Counts a line of the bot with this index in the list, or of one that is not in it.
    pub fn add<'a>(
        &mut self,
        bot: Option<usize>,
        status: &[u8],
        bytes: u64,
        address: impl FnOnce() -> ClientAddress<'a>,
    ) {
        let bot = bot.unwrap_or(self.other);
        let Some(counts) = self.counts.get_mut(bot) else {
            return;
        };
        counts.hits += 1;
        counts.bytes = counts.bytes.saturating_add(bytes);
        counts.client_errors += u64::from(status.first() == Some(&b'4'));
        if let Some(ranges) = self.ranges.of(bot)
            && let ClientAddress::Ip(address) = address()
        {
            match ranges.contains_text(address) {
                true => counts.verified += 1,
                false => counts.forged += 1,
            }
        }
    }

    /// `list` is the one that the counter was made for.
    pub fn figures(&self, list: &[BotEntry]) -> BotFigures {
        let other = BotEntry {
            name: OTHER_BOTS.to_owned(),
            category: BotCategory::Crawler,
            operator: String::new(),
        };
        let bots = list.iter().chain([&other]).zip(&self.counts).enumerate();
        let bots = bots.filter(|(_, (_, counts))| counts.hits > 0);
        let rows = bots.map(|(index, (bot, counts))| BotRow {
            name: bot.name.clone(),
            category: bot.category,
            operator: bot.operator.clone(),
            counts: *counts,
            is_checked: self.ranges.of(index).is_some(),
        });
        let mut rows: Vec<BotRow> = rows.collect();
        rows.sort_by(|a, b| {
            let key = |row: &BotRow| (row.category, std::cmp::Reverse(row.counts.hits));
            key(a).cmp(&key(b)).then_with(|| a.name.cmp(&b.name))
        });
        BotFigures { rows }
    }
}

impl BotCounts {
    fn plus(self, other: Self) -> Self {
        Self {
            hits: self.hits.saturating_add(other.hits),
            bytes: self.bytes.saturating_add(other.bytes),
            client_errors: self.client_errors.saturating_add(other.client_errors),
            verified: self.verified.saturating_add(other.verified),
            forged: self.forged.saturating_add(other.forged),
        }
    }
}

impl BotRow {
    /// The sum of the rows that a table leaves out. `None` without any.
    pub fn sum(rows: &[Self]) -> Option<Self> {
        let sum = rows.iter().cloned().reduce(|sum, row| Self {
            counts: sum.counts.plus(row.counts),
            is_checked: sum.is_checked || row.is_checked,
            ..sum
        });
        sum.map(|sum| Self {
            name: format!("and {} more", rows.len()),
            operator: String::new(),
            ..sum
        })
    }

    /// Hits from addresses of the operator, and from others; `None` if its addresses are unknown.
    pub fn checked(&self) -> Option<(u64, u64)> {
        self.is_checked
            .then_some((self.counts.verified, self.counts.forged))
    }
}

impl BotFigures {
    /// Whether the addresses of a bot in the rows are known.
    pub fn is_checked(&self) -> bool {
        self.rows.iter().any(|row| row.is_checked)
    }

    /// The rows of each category that has some.
    pub fn by_category(&self) -> impl Iterator<Item = &[BotRow]> {
        self.rows.chunk_by(|a, b| a.category == b.category)
    }

    /// The part of the summary. Empty without bots.
    pub fn text(&self) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let left = ["category", "bot"].map(|title| (Align::Left, title));
        let mut right = vec!["hits", "bytes", "4xx"];
        if self.is_checked() {
            right.extend(["verified", "forged"]);
        }
        let right = right.into_iter().map(|title| (Align::Right, title));
        let mut table = Table::new(left.into_iter().chain(right));
        for rows in self.by_category() {
            let (listed, others) = rows.split_at(rows.len().min(MAX_ROWS));
            for row in listed {
                let name = clean_to(row.name.as_bytes(), MAX_NAME_CHARS);
                table.row(self.cells(row, &name));
            }
            if let Some(sum) = BotRow::sum(others) {
                table.row(self.cells(&sum, &sum.name));
            }
        }
        heading("Bot summary") + &table.to_string()
    }

    fn cells(&self, row: &BotRow, name: &str) -> Vec<String> {
        let counts = row.counts;
        let mut cells = vec![row.category.name().to_owned(), name.to_owned()];
        cells.extend([counts.hits, counts.bytes, counts.client_errors].map(|it| it.to_string()));
        if self.is_checked() {
            cells.extend(match row.checked() {
                Some((verified, forged)) => [verified.to_string(), forged.to_string()],
                None => ["-".to_owned(), "-".to_owned()],
            });
        }
        cells
    }
}

#[cfg(test)]
mod tests {
    use super::super::bot_list::BotList;
    use super::*;

    const LIST: &str = "GPTBot\tGPTBot\tAI training\tOpenAI\nuser\tChatGPT-User\tAI assistant\n\
                        Googlebot\nBingbot\ncurl\tcurl\tlibrary\n";

    fn list() -> BotList {
        BotList::parse(LIST).unwrap()
    }

    fn ip(address: &'static str) -> impl FnOnce() -> ClientAddress<'static> {
        move || ClientAddress::Ip(address.as_bytes())
    }

    #[test]
    fn rows_are_sorted_by_category_and_hits() {
        let list = list();
        let mut counter = BotCounter::new(list.entries(), BotRanges::default());
        for (bot, status, bytes) in [
            (Some(4), "200", 1),
            (Some(2), "200", 10),
            (Some(3), "404", 10),
            (Some(3), "403", u64::MAX),
            (Some(1), "500", 5),
            (None, "200", 7),
            (Some(99), "200", 7),
        ] {
            counter.add(bot, status.as_bytes(), bytes, || {
                panic!("nothing to compare")
            });
        }
        assert_eq!(
            counter.figures(list.entries()).text(),
            format!(
                "\nBot summary\n-----------\n\n\
                 \x20   category      bot           hits                 bytes  4xx\n\
                 \x20   AI assistant  ChatGPT-User     1                     5    0\n\
                 \x20   crawler       Bingbot          2  {}    2\n\
                 \x20   crawler       Googlebot        1                    10    0\n\
                 \x20   crawler       Other bots       1                     7    0\n\
                 \x20   library       curl             1                     1    0\n",
                u64::MAX
            )
        );
    }

    #[test]
    fn hits_from_other_addresses_are_forged() {
        let list = list();
        let file = r#"{"prefixes": [{"ipv4Prefix": "192.0.2.0/28"}]}"#;
        let networks = BotRanges::read_file(file).unwrap();
        let ranges = BotRanges::new(vec![("OpenAI".into(), networks)], list.entries()).unwrap();
        let mut counter = BotCounter::new(list.entries(), ranges);
        counter.add(Some(0), b"200", 1, ip("192.0.2.3"));
        counter.add(Some(0), b"200", 1, ip("192.0.2.4"));
        counter.add(Some(0), b"200", 1, ip("203.0.113.9"));
        counter.add(Some(0), b"200", 1, || ClientAddress::of_agent(b"GPTBot"));
        counter.add(Some(2), b"200", 1, || panic!("nothing to compare"));
        let figures = counter.figures(list.entries());
        let checked: Vec<_> = figures.rows.iter().map(BotRow::checked).collect();
        assert_eq!(checked, [Some((2, 1)), None]);
        let text = figures.text();
        assert!(text.contains("4xx  verified  forged\n"), "{text}");
        assert!(
            text.contains("GPTBot        4      4    0         2       1\n"),
            "{text}"
        );
        assert!(
            text.contains("Googlebot     1      1    0         -       -\n"),
            "{text}"
        );
    }

    #[test]
    fn a_category_has_few_rows_and_clean_names() {
        let many: String = (10..40).map(|n| format!("\x1b[2J{n}\n")).collect();
        let list = BotList::parse(&many).unwrap();
        let mut counter = BotCounter::new(list.entries(), BotRanges::default());
        for bot in 0..30 {
            (0..=bot).for_each(|_| counter.add(Some(bot), b"404", 2, || panic!()));
        }
        let text = counter.figures(list.entries()).text();
        assert_eq!(text.lines().count(), 4 + 1 + MAX_ROWS + 1);
        assert!(text.contains("\\x1b[2J39      30     60   30\n"), "{text}");
        assert!(text.contains("and 20 more   210    420  210\n"), "{text}");
        assert!(!text.contains('\x1b'));
    }

    #[test]
    fn bots_that_are_not_in_the_list_join_its_row_of_others() {
        let list = BotList::parse("Googlebot\n*bot/\tOther bots\n").unwrap();
        let mut counter = BotCounter::new(list.entries(), BotRanges::default());
        counter.add(None, b"200", 1, || panic!());
        counter.add(Some(1), b"200", 1, || panic!());
        let figures = counter.figures(list.entries());
        assert_eq!((figures.rows.len(), figures.rows[0].counts.hits), (1, 2));
    }

    #[test]
    fn without_bots_there_is_no_text() {
        let list = list();
        let counter = BotCounter::new(list.entries(), BotRanges::default());
        assert_eq!(counter.figures(list.entries()).text(), "");
    }
}
