//! Detection: which format a log has (SPEC section 3).

use bumpalo::Bump;

use super::registry::{self, FormatOptions};
use super::w3c;
use super::{Fit, Format, Record, json};
use crate::error::Result;
use crate::report::rejects;

#[cfg(test)]
mod tests;

/// Lines that decide, once one of them fits anything; blank lines and comments are not among them.
const SAMPLE: usize = 100;
/// Lines that are looked through at most, whatever they hold, from the first on that holds something; how many bytes,
/// `choice` says.
const MOST_LINES: usize = 100_000;
/// Header lines that are kept for the W3C family.
const MOST_HEADERS: usize = 100;

/// Looks at a log's first lines until they tell its format.
pub struct Detector {
    candidates: Vec<Candidate>,
    /// The first comments, and the last `#Fields:` line that came before a format of the W3C family was made.
    headers: Vec<Vec<u8>>,
    /// How many `#Fields:` lines came.
    fields_lines: usize,
    /// How many of them had come when they were last tried.
    fields_tried: Option<usize>,
    /// How many of the headers made a format of the W3C family.
    w3c_headers: Option<usize>,
    at_first_line: bool,
    /// From the first one on that is neither blank nor a comment.
    lines: usize,
    /// Those that are neither blank nor a comment.
    filled: usize,
    /// Lines that fit anything at all.
    fitting: usize,
    blank: bool,
    hint: Option<String>,
    /// What the log itself says in its first line.
    named: Option<Box<dyn Format>>,
    options: FormatOptions,
    arena: Bump,
}

struct Candidate {
    format: Box<dyn Format>,
    kind: Kind,
    fits: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    /// One that fits wins over all others.
    Json,
    /// Takes its fields from header lines.
    W3c,
}

impl Candidate {
    fn new(format: Box<dyn Format>) -> Self {
        let kind = if format.regex().is_none() {
            Kind::Json
        } else {
            Kind::Text
        };
        Self {
            format,
            kind,
            fits: 0,
        }
    }
}

impl Detector {
    /// An error: an option of the W3C family cannot be used.
    pub fn new(options: &FormatOptions) -> Result<Self> {
        // The options of the W3C family are refused here, not when its header comes.
        registry::all(options)?;
        let lines = registry::lines(&options.wanted).into_iter();
        // ovh cannot be told from others.
        let candidates = lines
            .filter(|format| format.name() != "ovh")
            .map(Candidate::new);
        Ok(Self {
            candidates: candidates.collect(),
            headers: Vec::new(),
            fields_lines: 0,
            fields_tried: None,
            w3c_headers: None,
            at_first_line: true,
            lines: 0,
            filled: 0,
            fitting: 0,
            blank: true,
            hint: None,
            named: None,
            options: options.clone(),
            arena: Bump::new(),
        })
    }

    /// Looks at one more line. `true`: enough is known.
    pub fn look(&mut self, line: &[u8]) -> bool {
        if std::mem::take(&mut self.at_first_line)
            && let Some(name) = rejects::format_of(line)
            && let Ok(format) = registry::by_name(name, &self.options)
        {
            self.named = Some(format);
            return true;
        }
        let blank = line.trim_ascii().is_empty();
        let comment = line.starts_with(b"#");
        self.blank &= blank || comment;
        // Before something is there, as many may come as will.
        self.lines += usize::from(!self.saw_nothing());
        if blank {
            return self.is_enough();
        }
        if comment {
            self.keep_header(line);
            for candidate in self
                .candidates
                .iter_mut()
                .filter(|candidate| candidate.kind == Kind::W3c)
            {
                // One that cannot be used is none: lines behind it do not fit.
                let _ = candidate.format.header(line);
            }
        } else {
            self.try_w3c();
        }
        let mut fits_any = false;
        for candidate in &mut self.candidates {
            let fits = (candidate.kind != Kind::Json
                || json::recognises(candidate.format.name(), line))
                && candidate
                    .format
                    .parse(line, &self.arena, &mut Record::default())
                    == Fit::Record;
            if fits && candidate.kind == Kind::W3c && candidate.fits == 0 {
                let headers: Vec<&[u8]> = self.headers.iter().map(Vec::as_slice).collect();
                let name = candidate.format.name();
                self.hint = w3c::iis_hint(name, &self.options.w3c, &headers, &[line]);
            }
            candidate.fits += usize::from(fits);
            fits_any |= fits;
        }
        self.arena.reset();
        self.fitting += usize::from(fits_any);
        self.filled += usize::from(fits_any || !comment);
        self.is_enough()
    }

    fn is_enough(&self) -> bool {
        self.lines >= MOST_LINES || (self.fitting > 0 && self.filled >= SAMPLE)
    }

    /// Nothing but blank lines and comments so far that say nothing.
    pub fn saw_nothing(&self) -> bool {
        self.blank && self.named.is_none()
    }

    /// What the user should know of a W3C log's header.
    pub fn hint(&mut self) -> Option<String> {
        self.hint.take()
    }

    /// The format that a file of rejects names; else the richest format that fits at least half of the lines that fit
    /// anything, a JSON format before all others.
    pub fn decide(mut self) -> Option<Box<dyn Format>> {
        if self.named.is_some() {
            return self.named;
        }
        let most = |candidates: &[Candidate], json: bool| {
            let mut best: Option<usize> = None;
            for (place, candidate) in candidates.iter().enumerate() {
                let eligible = candidate.fits > 0
                    && candidate.fits * 2 >= self.fitting
                    && (candidate.kind == Kind::Json || !json);
                let richer = best.is_none_or(|best| {
                    candidate.format.richness() > candidates[best].format.richness()
                });
                if eligible && richer {
                    best = Some(place);
                }
            }
            best
        };
        let place = most(&self.candidates, true).or_else(|| most(&self.candidates, false))?;
        let found = self.candidates.swap_remove(place);
        match self.w3c_headers {
            // Later headers have changed the columns, and the lines are to be read from the first on.
            Some(headers) if found.kind == Kind::W3c => {
                let mut format = registry::by_name(found.format.name(), &self.options).ok()?;
                for header in &self.headers[..headers] {
                    let _ = format.header(header);
                }
                Some(format)
            }
            _ => Some(found.format),
        }
    }

    /// Of the `#Fields:` lines before the first line of data only the last one counts.
    fn keep_header(&mut self, line: &[u8]) {
        if w3c::is_fields_line(line) {
            if self.fields_lines >= MOST_HEADERS {
                return;
            }
            self.fields_lines += 1;
            if self.w3c_headers.is_none() {
                self.headers.retain(|header| !w3c::is_fields_line(header));
            }
        } else if self.headers.len() >= MOST_HEADERS {
            return;
        }
        self.headers.push(line.to_vec());
    }

    /// Behind a header: the dialects that it names, as candidates like all others. What stands before a header, such
    /// as the end of a line in a log that was cut, says nothing.
    fn try_w3c(&mut self) {
        if self.w3c_headers.is_some() || self.fields_tried == Some(self.fields_lines) {
            return;
        }
        self.fields_tried = Some(self.fields_lines);
        let headers: Vec<&[u8]> = self.headers.iter().map(Vec::as_slice).collect();
        for dialect in w3c::dialects()
            .iter()
            .filter(|dialect| dialect.recognises(&headers, &self.options.w3c))
        {
            let Ok(mut format) = dialect.open(&self.options.w3c) else {
                continue;
            };
            for header in &headers {
                // One that cannot be used leaves the format without columns.
                let _ = format.header(header);
            }
            if format.ready() {
                self.w3c_headers = Some(headers.len());
                self.candidates.push(Candidate {
                    format: Box::new(format),
                    kind: Kind::W3c,
                    fits: 0,
                });
            }
        }
    }
}
