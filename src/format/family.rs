//! Related formats that read a log together.
//!
//! The format of a log may change in its middle, and some servers write lines of two formats. A
//! log whose format was detected is therefore read by the whole family.

use bumpalo::Bump;

use super::date::DateFormat;
use super::registry::{self, FormatOptions};
use super::{Field, Fit, Format, Record};

/// The families, each from the format with the most fields to that with the fewest.
static FAMILIES: [&[&str]; 2] = [
    &["icecast2", "ncsa_extended", "common"],
    &["common_complete", "common_vhost"],
];

/// The place of a format's family in the list. Formats with the same place read a log together.
pub fn place(name: &str) -> Option<usize> {
    FAMILIES.iter().position(|family| family.contains(&name))
}

/// A format that was detected, and its relatives.
pub struct Family {
    main: Box<dyn Format>,
    /// A format with more fields, if what it reads beyond those of `main` is certain.
    richer: Option<Box<dyn Format>>,
    others: Vec<Box<dyn Format>>,
}

impl Family {
    /// Returns the format alone if it has no relatives.
    pub fn of(main: Box<dyn Format>, options: &FormatOptions) -> Box<dyn Format> {
        let Some(family) = place(main.name()).map(|place| FAMILIES[place]) else {
            return main;
        };
        let format = |name: &&str| registry::by_name(name, options).ok();
        let place = family.iter().position(|name| *name == main.name());
        let richer = place
            .and_then(|place| place.checked_sub(1))
            .map(|place| family[place]);
        // A number at the end of a line is seconds of listening only in Icecast's logs.
        let richer = richer.filter(|name| *name != "icecast2");
        let others = family.iter().filter(|name| **name != main.name());
        Box::new(Family {
            richer: richer.as_ref().and_then(format),
            others: others.filter_map(format).collect(),
            main,
        })
    }
}

impl Format for Family {
    fn name(&self) -> &'static str {
        self.main.name()
    }

    fn parse<'a>(&'a self, line: &'a [u8], arena: &'a Bump, record: &mut Record<'a>) -> Fit {
        if self.main.parse(line, arena, record) == Fit::Record {
            let richer = self.richer.as_ref().filter(|_| !record.is_whole());
            if let Some(richer) = richer {
                let mut other = Record::default();
                if richer.parse(line, arena, &mut other) == Fit::Record {
                    *record = other;
                }
            }
            return Fit::Record;
        }
        // A line that was cut off may begin like one of a format with fewer fields.
        for format in &self.others {
            let mut other = Record::default();
            if format.parse(line, arena, &mut other) == Fit::Record && other.is_whole() {
                *record = other;
                return Fit::Record;
            }
        }
        Fit::Misfit
    }

    fn dates(&self) -> &DateFormat {
        self.main.dates()
    }

    fn fields(&self) -> &[Field] {
        self.main.fields()
    }

    fn may_have_extra(&self, name: &str) -> bool {
        self.main.may_have_extra(name)
    }

    fn richness(&self) -> usize {
        self.main.richness()
    }

    fn regex(&self) -> Option<String> {
        self.main.regex()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};

    use super::*;
    use crate::format::testing::values;

    const COMMON: &str = r#"203.0.113.9 - - [14/May/2024:06:25:24 +0200] "GET /a HTTP/1.1" 200 5"#;
    const REFERRER_AND_AGENT: &str = r#" "https://r.example/" "Mozilla/5.0 (X11)""#;

    fn family(name: &str) -> Box<dyn Format> {
        let options = FormatOptions::default();
        Family::of(registry::by_name(name, &options).unwrap(), &options)
    }

    fn read(name: &str, line: &str) -> Option<Vec<(&'static str, String)>> {
        let (format, arena, mut record) = (family(name), Bump::new(), Record::default());
        let fit = format.parse(line.as_bytes(), &arena, &mut record);
        (fit == Fit::Record).then(|| values(&record))
    }

    fn agent(name: &str, line: &str) -> Option<String> {
        let found = read(name, line)?.into_iter();
        found
            .rev()
            .find(|(name, _)| *name == "user_agent")
            .map(|(_, agent)| agent)
    }

    #[test]
    fn a_line_of_a_relative_fits_if_nothing_follows_it() {
        assert!(read("ncsa_extended", COMMON).is_some());
        assert!(read("icecast2", &format!("{COMMON}{REFERRER_AND_AGENT}")).is_some());
        for cut in [r#" "http://trunca"#, r#" "-""#, r#" "-" "Mozilla"#] {
            let line = format!("{COMMON}{cut}");
            assert_eq!(read("ncsa_extended", &line), None, "{line}");
            assert_eq!(read("icecast2", &line), None, "{line}");
        }
        let vhost = format!("www.example.com:80 {COMMON}");
        assert!(read("common_complete", &vhost).is_some());
        assert_eq!(read("common_complete", &format!("{vhost} \"-")), None);
        assert_eq!(read("ncsa_extended", &vhost), None);
    }

    #[test]
    fn common_does_not_swallow_an_agent() {
        let line = format!("{COMMON}{REFERRER_AND_AGENT}");
        assert_eq!(agent("common", &line).as_deref(), Some("Mozilla/5.0 (X11)"));
        assert_eq!(
            agent("common", &format!("{line} 0.2")).as_deref(),
            Some("Mozilla/5.0 (X11)")
        );
        let vhost = format!("www.example.com {line}");
        assert_eq!(
            agent("common_vhost", &vhost).as_deref(),
            Some("Mozilla/5.0 (X11)")
        );
    }

    #[test]
    fn a_mix_of_two_formats_of_a_family_loses_no_line() {
        let lines = |name: &str| {
            let mut line = match name.starts_with("common_") {
                true => format!("www.example.com:80 {COMMON}"),
                false => COMMON.to_owned(),
            };
            if name != "common" && name != "common_vhost" {
                line += REFERRER_AND_AGENT;
            }
            if name == "icecast2" {
                line += " 1807";
            }
            line
        };
        let mixes = Cell::new(0);
        let pair = prop::sample::select(vec![
            ("icecast2", "ncsa_extended"),
            ("icecast2", "common"),
            ("ncsa_extended", "common"),
            ("common_complete", "common_vhost"),
        ]);
        let which = prop::collection::vec(any::<bool>(), 1..200);
        let mut runner = TestRunner::new(Config {
            cases: 100,
            failure_persistence: None,
            ..Config::default()
        });
        let outcome = runner.run(&(pair, which), |((first, second), which)| {
            let line = |is_first: &bool| lines(if *is_first { first } else { second });
            let mut detector =
                crate::format::detect::Detector::new(&FormatOptions::default()).unwrap();
            for is_first in &which {
                if detector.look(line(is_first).as_bytes()) {
                    break;
                }
            }
            let (format, arena) = (detector.decide().unwrap(), Bump::new());
            for is_first in &which {
                let (line, mut record) = (line(is_first), Record::default());
                let fit = format.parse(line.as_bytes(), &arena, &mut record);
                prop_assert_eq!(fit, Fit::Record, "{} {}", format.name(), line);
                let has_agent = record.get(Field::UserAgent).is_some();
                prop_assert_eq!(has_agent, line.contains("Mozilla"));
            }
            mixes.set(mixes.get() + 1);
            Ok(())
        });
        outcome.unwrap();
        assert_eq!(mixes.get(), 100);
    }
}
