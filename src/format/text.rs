//! Text formats: each is a [`TextSpec`], whose template says how a line is laid out, or a template
//! that a user pasted; see guide/formats.md, "Text formats".

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};

use bumpalo::Bump;
use regex::bytes::{CaptureLocations, Regex, RegexBuilder};

use super::address::looks_like_address;
use super::date::DateFormat;
use super::layout::{Layout, Slot};
use super::template::Template;
use super::{Field, Fit, Format, Record, Wanted, is_absent};
use crate::error::{Error, Result};
use crate::sync;

/// A text format as data.
#[derive(Debug)]
pub struct TextSpec {
    pub name: &'static str,
    /// In the language of Apache or nginx, see [`template`](super::template).
    pub template: &'static str,
    /// The variables in the template that are regular expressions, in Python's syntax.
    pub pieces: &'static [(&'static str, &'static str)],
    /// How dates are written, if the template does not say it.
    pub dates: Option<&'static DateFormat>,
    /// The `--log-date-format` that reads such dates, if nothing else says it.
    pub date_pattern: Option<&'static str>,
    /// Corrects a record where a template cannot say what a value means.
    pub adjust: Option<Adjust>,
    /// Whether a line can have this format. Spares other lines the regular expression.
    pub begins: Option<fn(&[u8]) -> bool>,
    /// See [`Format::recognizes`].
    pub recognizes: Option<fn(&Record) -> bool>,
    /// See [`Format::may_recognize`].
    pub may_recognize: Option<fn(&[u8]) -> bool>,
}

impl TextSpec {
    /// A format that its template describes.
    pub const fn new(name: &'static str, template: &'static str) -> Self {
        Self {
            name,
            template,
            pieces: &[],
            dates: None,
            date_pattern: None,
            adjust: None,
            begins: None,
            recognizes: None,
            may_recognize: None,
        }
    }
}

/// Takes the line and what was read of it.
pub type Adjust = for<'a> fn(&'a [u8], &mut Record<'a>);

/// Reads the lines of one [`TextSpec`], or of a template that a user pasted.
#[derive(Clone, Debug)]
pub struct TextFormat {
    name: &'static str,
    adjust: Option<Adjust>,
    begins: Option<fn(&[u8]) -> bool>,
    recognizes: Option<fn(&Record) -> bool>,
    may_recognize: Option<fn(&[u8]) -> bool>,
    compiled: Arc<CompiledTemplate>,
}

#[derive(Debug)]
struct CompiledTemplate {
    layout: Layout,
    dates: DateFormat,
    date_pattern: Option<String>,
    /// Compiled when a line first needs it. Most runs use one format, and most of its lines are
    /// scanned.
    matcher: OnceLock<CompiledRegex>,
}

/// By the address of the [`TextSpec`]. Each log gets formats of its own, and compiling them takes
/// longer than reading a small log.
static COMPILED: sync::Mutex<BTreeMap<usize, Arc<CompiledTemplate>>> =
    sync::Mutex::new(BTreeMap::new());

impl CompiledTemplate {
    fn new(template: Template, wanted: &Wanted) -> Arc<Self> {
        Arc::new(Self {
            layout: Layout::new(&template, wanted),
            dates: template.dates.unwrap_or(DateFormat::Clf),
            date_pattern: template.date_pattern,
            matcher: OnceLock::new(),
        })
    }

    fn built_in(spec: &TextSpec) -> Arc<Self> {
        let mut template = Template::built_in(spec.template, spec.pieces);
        template.dates = spec.dates.cloned().or(template.dates);
        template.date_pattern = spec
            .date_pattern
            .map(str::to_owned)
            .or(template.date_pattern);
        Self::new(template, &Wanted::default())
    }

    fn shared(spec: &'static TextSpec) -> Arc<Self> {
        let mut compiled = COMPILED.lock();
        let template = compiled.entry(std::ptr::from_ref(spec).addr());
        Arc::clone(template.or_insert_with(|| Self::built_in(spec)))
    }

    fn matcher(&self) -> &CompiledRegex {
        self.matcher.get_or_init(|| {
            CompiledRegex::new(&self.layout)
                .expect("the regexes of built-in formats are valid: a test compiles every one")
        })
    }
}

#[derive(Debug)]
struct CompiledRegex {
    regex: Regex,
    /// What becomes of each group, and whether its value may have escapes.
    groups: Vec<(Slot, bool)>,
    /// Reused, so that a line costs no allocation. No thread waits for the lock.
    locations: Mutex<CaptureLocations>,
}

impl TextFormat {
    pub fn new(spec: &'static TextSpec) -> TextFormat {
        Self::of(spec, CompiledTemplate::shared(spec))
    }

    fn of(spec: &TextSpec, compiled: Arc<CompiledTemplate>) -> TextFormat {
        TextFormat {
            name: spec.name,
            adjust: spec.adjust,
            begins: spec.begins,
            recognizes: spec.recognizes,
            may_recognize: spec.may_recognize,
            compiled,
        }
    }

    /// Compiles `--log-format`.
    ///
    /// # Errors
    ///
    /// Returns a usage error if the text cannot be read, or lacks what every hit needs.
    pub fn pasted(typed: &str, wanted: &Wanted) -> Result<TextFormat> {
        let compiled = CompiledTemplate::new(Template::pasted(typed)?, wanted);
        let matcher = CompiledRegex::new(&compiled.layout).map_err(|_| {
            Error::usage(
                "--log-format is too long: leave out what follows the fields that you need",
            )
        })?;
        // Nothing else has compiled it.
        let _ = compiled.matcher.set(matcher);
        let has_forwarded = compiled.layout.begins_with_forwarded();
        Ok(TextFormat {
            name: "custom",
            adjust: has_forwarded.then_some(prefer_forwarded),
            begins: None,
            recognizes: None,
            may_recognize: None,
            compiled,
        })
    }

    #[cfg(test)]
    pub(super) fn layout(&self) -> &Layout {
        &self.compiled.layout
    }

    /// Parses a line with the regex alone. Returns the length of what it matched.
    pub(super) fn search<'a>(
        &'a self,
        line: &'a [u8],
        arena: &'a Bump,
        record: &mut Record<'a>,
    ) -> Option<usize> {
        let matcher = self.compiled.matcher();
        match matcher.locations.try_lock() {
            Ok(mut locations) => {
                matcher.capture(&mut locations, &self.compiled.layout, line, arena, record)
            }
            // Another thread uses them, or panicked while it did.
            Err(_) => {
                let mut locations = matcher.regex.capture_locations();
                matcher.capture(&mut locations, &self.compiled.layout, line, arena, record)
            }
        }
    }

    /// Whether the first field is no address, but one follows before the date: then the line begins
    /// with a host or a prefix, and has another format.
    fn begins_with_host(&self, line: &[u8], record: &Record) -> bool {
        if !self.compiled.layout.begins_with_address() {
            return false;
        }
        let address = record.get(Field::Ip).unwrap_or_default();
        let after = &line[address.len()..];
        if after.starts_with(b" - - [") {
            return false;
        }
        let date = after.iter().position(|byte| *byte == b'[');
        let before_date = &after[..date.unwrap_or(after.len())];
        before_date.iter().any(|byte| matches!(byte, b'.' | b':'))
            && !looks_like_address(address)
            && before_date
                .split(u8::is_ascii_whitespace)
                .any(looks_like_address)
    }
}

impl CompiledRegex {
    /// Fails if the layout is too long.
    fn new(layout: &Layout) -> std::result::Result<CompiledRegex, regex::Error> {
        let (regex, groups) = layout.regex();
        // Without Unicode, `\S` and `.` also match bytes that are not UTF-8. No line contains a
        // line feed; letting `.` match it anyway spares the scanner a check.
        let regex = RegexBuilder::new(&regex)
            .unicode(false)
            .dot_matches_new_line(true)
            .build()?;
        let locations = Mutex::new(regex.capture_locations());
        Ok(CompiledRegex {
            regex,
            groups,
            locations,
        })
    }

    fn capture<'a>(
        &self,
        locations: &mut CaptureLocations,
        layout: &'a Layout,
        line: &'a [u8],
        arena: &'a Bump,
        record: &mut Record<'a>,
    ) -> Option<usize> {
        let found = self.regex.captures_read(locations, line)?;
        for (index, (slot, has_escapes)) in self.groups.iter().enumerate() {
            if let Some((start, end)) = locations.get(index + 1) {
                layout.set(*slot, &line[start..end], *has_escapes, arena, record);
            }
        }
        Some(found.end())
    }
}

/// Takes the address from what proxies have seen, where that comes first in the line.
pub(super) fn prefer_forwarded<'a>(_line: &'a [u8], record: &mut Record<'a>) {
    if let Some(forwarded) = record.get(Field::ForwardedFor)
        && !is_absent(forwarded)
    {
        record.set(Field::Ip, forwarded);
    }
}

impl Format for TextFormat {
    fn name(&self) -> &'static str {
        self.name
    }

    fn parse<'a>(&'a self, line: &'a [u8], arena: &'a Bump, record: &mut Record<'a>) -> Fit {
        if self.begins.is_some_and(|begins| !begins(line)) {
            return Fit::Misfit;
        }
        let length = self.compiled.layout.scan(line, arena, record).or_else(|| {
            *record = Record::default();
            // Cheaper than a search, and most lines of other formats end here.
            let may_fit = self.compiled.layout.may_fit(line);
            may_fit.then(|| self.search(line, arena, record)).flatten()
        });
        match length {
            Some(length) if !self.begins_with_host(line, record) => {
                record.set_rest(&line[length..]);
                if let Some(adjust) = self.adjust {
                    adjust(line, record);
                }
                Fit::Record
            }
            _ => Fit::Misfit,
        }
    }

    fn dates(&self) -> &DateFormat {
        &self.compiled.dates
    }

    fn date_pattern(&self) -> Option<&str> {
        let own = self.compiled.date_pattern.as_deref();
        own.or_else(|| self.dates().pattern())
    }

    fn fields(&self) -> &[Field] {
        self.compiled.layout.fields()
    }

    fn field(&self, name: &str) -> Option<Field> {
        Field::from_name(name).or_else(|| self.compiled.layout.field(name))
    }

    /// The zone may be part of the date.
    fn has(&self, field: Field) -> bool {
        let in_date = match self.dates() {
            DateFormat::Json => true,
            DateFormat::Strptime(format) => format.has_zone(),
            _ => false,
        };
        (in_date && field == Field::Timezone) || self.fields().contains(&field)
    }

    fn may_have_extra(&self, name: &str) -> bool {
        self.compiled.layout.has_extra(name)
    }

    fn may_recognize(&self, line: &[u8]) -> bool {
        self.may_recognize.is_none_or(|may| may(line))
    }

    fn recognizes(&self, _line: &[u8], record: &Record) -> bool {
        self.recognizes.is_none_or(|recognizes| recognizes(record))
    }

    fn regex(&self) -> Option<String> {
        Some(self.compiled.layout.python_regex())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::testing::values;

    static TEST_SPEC: TextSpec = TextSpec::new("test", "%h %l %>s");

    #[test]
    fn the_regex_reads_what_the_scanner_does_not() {
        // Other tests do not share it.
        let format = TextFormat::of(&TEST_SPEC, CompiledTemplate::built_in(&TEST_SPEC));
        let arena = Bump::new();
        let read = |line| {
            let mut record = Record::default();
            let fit = format.parse(line, &arena, &mut record);
            (fit == Fit::Record).then(|| values(&record))
        };
        let want = vec![("ip", "::1".to_owned()), ("status", "200".to_owned())];
        assert_eq!(read(b"::1 - 200 more"), Some(want.clone()));
        assert!(
            format.compiled.matcher.get().is_none(),
            "no line has needed the regex"
        );
        assert_eq!(read(b"::1\t-  200 more"), Some(want));
        assert_eq!(
            read(b" ::1 - 200"),
            None,
            "a line matches from its beginning"
        );
        assert_eq!(format.fields(), [Field::Ip, Field::Status]);
        assert_eq!(format.richness(), 2);
    }

    #[test]
    fn what_follows_the_last_field_is_the_rest() {
        let (format, arena) = (TextFormat::new(&TEST_SPEC), Bump::new());
        for (line, rest) in [
            ("::1 - 200", ""),
            ("::1 - 200x y", "x y"),
            ("::1  - 200 z", " z"),
        ] {
            let mut record = Record::default();
            format.parse(line.as_bytes(), &arena, &mut record);
            assert_eq!(record.rest(), rest.as_bytes());
        }
    }

    #[test]
    fn the_regex_is_in_python_syntax() {
        let format = TextFormat::new(&TEST_SPEC);
        let want = r"(?P<ip>(?:\S+,\s+)*\S+)\s+\S+\s+(?P<status>\d+)";
        assert_eq!(format.regex().as_deref(), Some(want));
    }

    #[test]
    fn a_line_is_read_while_another_thread_reads_one() {
        let (format, arena) = (TextFormat::new(&TEST_SPEC), Bump::new());
        let search = |line| {
            let mut record = Record::default();
            format.search(line, &arena, &mut record)?;
            record.get(Field::Status)
        };
        assert_eq!(search(b"::1 - 200"), Some(&b"200"[..]));
        let _busy = format
            .compiled
            .matcher
            .get()
            .map(|matcher| matcher.locations.lock());
        assert_eq!(search(b"::1 - 404"), Some(&b"404"[..]));
    }

    #[test]
    fn a_host_before_the_address_does_not_fit() {
        let (format, arena) = (TextFormat::new(&TEST_SPEC), Bump::new());
        let fits = |line: &str| {
            format.parse(line.as_bytes(), &arena, &mut Record::default()) == Fit::Record
        };
        assert!(fits("www.example.com - 200"));
        assert!(fits("203.0.113.9 192.0.2.4 200"));
        assert!(!fits("www.example.com 192.0.2.4 200"));
        assert!(!fits("- 2001:db8::1 200"));
    }
}
