//! Text, numbers, dates and tables as HTML.

use std::fmt::Write;

use chrono::{Datelike, NaiveDate};

use crate::radio::{Month, ReportZone};
use crate::report::{clean_to, grouped};

/// Maximum characters of a name from a log.
const MAX_NAME_CHARS: usize = 80;

/// Shown where a figure does not exist.
pub const NONE: &str = "–";

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Untrusted text for HTML and SVG, in elements and in quoted attributes. Control characters, also
/// those that change the direction of text, become visible escapes.
pub fn text(untrusted: &str) -> String {
    let mut html = String::new();
    for c in clean_to(untrusted.as_bytes(), MAX_NAME_CHARS).chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&#34;"),
            '\'' => html.push_str("&#39;"),
            c => html.push(c),
        }
    }
    html
}

/// A number with groups of three digits and a fixed number of decimals.
pub fn decimal(number: f64, decimals: usize) -> String {
    if !number.is_finite() {
        return NONE.into();
    }
    let number = if number > 0.0 { number } else { 0.0 };
    let text = format!("{number:.decimals$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    match whole.parse() {
        Ok(whole) => grouped(whole) + rest,
        // Larger than any count.
        Err(_) => text,
    }
}

/// Seconds as hours with two decimals.
pub fn hours(seconds: u64) -> String {
    decimal(seconds as f64 / 3600.0, 2)
}

/// A number of listeners at a time: small ones with a decimal.
pub fn listeners(number: f64) -> String {
    decimal(number, usize::from(number < 100.0))
}

/// The part of a whole in percent.
pub fn percent(part: u64, whole: u64) -> String {
    format!("{}%", decimal(share(part as f64, whole as f64) * 100.0, 1))
}

/// The part of a whole, 0 to 1.
pub fn share(part: f64, whole: f64) -> f64 {
    match whole > 0.0 && part.is_finite() {
        true => (part / whole).clamp(0.0, 1.0),
        false => 0.0,
    }
}

/// Seconds as `1:47:03`.
pub fn clock(seconds: f64) -> String {
    // A float becomes the nearest number that fits; NaN becomes 0.
    let seconds = seconds.round() as u64;
    let (hours, rest) = (seconds / 3600, seconds % 3600);
    format!("{}:{:02}:{:02}", grouped(hours), rest / 60, rest % 60)
}

/// Seconds in two units: `1 h 47 min`, `48 min 12 s`, `12 s`.
pub fn duration(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    let minutes = (seconds as f64 / 60.0).round() as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", grouped(minutes / 60), minutes % 60),
    }
}

/// `1 session`, `12,345 sessions`
pub fn counted(number: u64, one: &str, many: &str) -> String {
    format!(
        "{} {}",
        grouped(number),
        if number == 1 { one } else { many }
    )
}

pub fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

fn month_name(month: u32) -> &'static str {
    let index = month.saturating_sub(1) as usize;
    MONTHS.get(index).copied().unwrap_or(NONE)
}

fn short_month(month: u32) -> &'static str {
    let name = month_name(month);
    name.get(..3).unwrap_or(name)
}

/// `14 September 2026`
pub fn long_date(day: NaiveDate) -> String {
    format!("{} {} {}", day.day(), month_name(day.month()), day.year())
}

/// `14 Sep 2026`
pub fn date(day: NaiveDate) -> String {
    format!("{} {}", day_and_month(day), day.year())
}

/// `14 Sep`
pub fn day_and_month(day: NaiveDate) -> String {
    format!("{} {}", day.day(), short_month(day.month()))
}

/// `Sep 2026`
pub fn month(month: Month) -> String {
    format!("{} {}", short_month(month.month), month.year)
}

/// `14 Sep 2026, 19:42` in a time zone. `time` is in seconds since 1970, UTC.
pub fn moment(zone: ReportZone, time: i64) -> String {
    let local = zone.local(time);
    format!("{}, {}", date(local.date()), local.format("%H:%M"))
}

/// `1 to 30 September 2026`, from the first to the last day.
pub fn dates(first: NaiveDate, last: NaiveDate) -> String {
    if first == last {
        long_date(first)
    } else if Month::of(first) == Month::of(last) {
        format!("{} to {}", first.day(), long_date(last))
    } else if first.year() == last.year() {
        let name = month_name(first.month());
        format!("{} {name} to {}", first.day(), long_date(last))
    } else {
        format!("{} to {}", long_date(first), long_date(last))
    }
}

/// A part of the page with a heading. `class` decides how it is printed.
pub fn section(class: &str, title: &str, body: &str) -> String {
    format!("<section class=\"{class}\">\n<h2>{title}</h2>\n{body}</section>\n")
}

/// A chart with its legend and caption. All texts are HTML.
pub fn figure(chart: &str, legend: &str, caption: &str) -> String {
    format!("<figure>\n{chart}{legend}<figcaption>{caption}</figcaption>\n</figure>\n")
}

/// The numbers of a chart as text, closed on the screen and open in print.
pub fn details(summary: &str, table: &HtmlTable) -> String {
    format!("<details>\n<summary>{summary}</summary>\n{table}</details>\n")
}

/// A bar in a cell of a table, beside its number. `share` is 0 to 1.
pub fn bar(share: f64) -> String {
    format!(
        "<svg class=\"bar\" aria-hidden=\"true\"><rect width=\"{:.1}%\" height=\"100%\"/></svg>",
        share.clamp(0.0, 1.0) * 100.0
    )
}

/// A table of numbers whose first column has names. All texts are HTML, the caption without tags.
pub struct HtmlTable {
    caption: String,
    titles: Vec<String>,
    bodies: String,
}

impl HtmlTable {
    /// An empty title is that of a column of bars.
    pub fn new(caption: &str, titles: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            caption: caption.into(),
            titles: titles.into_iter().map(Into::into).collect(),
            bodies: String::from("<tbody>\n"),
        }
    }

    pub fn row(&mut self, name: &str, cells: impl IntoIterator<Item = String>) {
        self.write_row("", name, cells);
    }

    /// A row for the sum of all others.
    pub fn total(&mut self, name: &str, cells: impl IntoIterator<Item = String>) {
        self.write_row(" class=\"total\"", name, cells);
    }

    /// A heading over the rows that follow.
    pub fn group(&mut self, name: &str) {
        // Writing into a String cannot fail.
        let _ = writeln!(
            self.bodies,
            "</tbody>\n<tbody>\n<tr class=\"group\"><th scope=\"rowgroup\" colspan=\"{}\">\
             {name}</th></tr>",
            self.titles.len()
        );
    }

    fn write_row(&mut self, class: &str, name: &str, cells: impl IntoIterator<Item = String>) {
        let _ = write!(self.bodies, "<tr{class}><th scope=\"row\">{name}</th>");
        for cell in cells {
            let _ = write!(self.bodies, "<td>{cell}</td>");
        }
        self.bodies.push_str("</tr>\n");
    }
}

impl std::fmt::Display for HtmlTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let class = match self.titles.len() {
            // Numbers far from their names are hard to read.
            ..=3 => " class=\"few\"",
            _ => "",
        };
        // A wide table scrolls by itself, also with the keyboard.
        write!(
            f,
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{caption}\">\
             <table{class}>\n<caption>{caption}</caption>\n<thead><tr>",
            caption = self.caption
        )?;
        for title in &self.titles {
            match title.is_empty() {
                true => f.write_str("<td></td>")?,
                false => write!(f, "<th scope=\"col\">{title}</th>")?,
            }
        }
        write!(
            f,
            "</tr></thead>\n{}</tbody>\n</table></div>\n",
            self.bodies
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn untrusted_text_is_escaped() {
        for (untrusted, html) in [
            ("/live.mp3", "/live.mp3"),
            (
                "<script>alert('1')</script>&\"",
                "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;&#34;",
            ),
            (
                "a\u{202e}b\u{2066}\x1b[2J\x7f\u{85}\0",
                "a\\u{202e}b\\u{2066}\\x1b[2J\\x7f\\u{85}\\x00",
            ),
            ("Überraschung 電台", "Überraschung 電台"),
        ] {
            assert_eq!(text(untrusted), html);
        }
        assert_eq!(text(&"&".repeat(200)), "&amp;".repeat(MAX_NAME_CHARS) + "…");
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(decimal(6260.654, 2), "6,260.65");
        assert_eq!(decimal(999.999, 2), "1,000.00");
        assert_eq!(decimal(0.0, 0), "0");
        assert_eq!(decimal(f64::NAN, 2), NONE);
        assert_eq!(decimal(f64::INFINITY, 2), NONE);
        assert_eq!(decimal(-0.0, 1), "0.0");
        assert_eq!(decimal(1e30, 0), format!("{:.0}", 1e30));
        assert_eq!(
            (listeners(99.44), listeners(1234.5)),
            ("99.4".into(), "1,234".into())
        );
        assert_eq!(
            (percent(1, 3), percent(1, 0)),
            ("33.3%".into(), "0.0%".into())
        );
        assert_eq!(share(f64::NAN, 1.0), 0.0);
    }

    #[test]
    fn durations_have_units() {
        for (seconds, short, long) in [
            (0.0, "0:00:00", "0 s"),
            (59.6, "0:01:00", "1 min 0 s"),
            (2892.0, "0:48:12", "48 min 12 s"),
            (6423.0, "1:47:03", "1 h 47 min"),
            (7199.0, "1:59:59", "2 h 0 min"),
            (f64::NAN, "0:00:00", "0 s"),
            (4_000_000.0, "1,111:06:40", "1,111 h 7 min"),
        ] {
            assert_eq!(
                (clock(seconds).as_str(), duration(seconds).as_str()),
                (short, long)
            );
        }
    }

    #[test]
    fn a_period_names_the_month_and_the_year_once() {
        let day = |text: &str| text.parse().unwrap();
        for (first, last, shown) in [
            ("2026-09-01", "2026-09-30", "1 to 30 September 2026"),
            ("2026-09-01", "2026-10-03", "1 September to 3 October 2026"),
            (
                "2025-12-31",
                "2026-01-01",
                "31 December 2025 to 1 January 2026",
            ),
            ("2024-05-14", "2024-05-14", "14 May 2024"),
        ] {
            assert_eq!(dates(day(first), day(last)), shown);
        }
    }
}
