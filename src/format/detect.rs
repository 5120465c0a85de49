//! Finds out which format a log has; see guide/formats.md, "Detection".

use std::cmp::Reverse;

use bumpalo::Bump;

use super::address::{is_address_of_server, looks_like_address};
use super::family::{self, Family};
use super::registry::{self, FormatOptions};
use super::w3c;
use super::{Field, Fit, Format, Record};
use crate::error::{Error, Result};
use crate::report::rejects;

/// Lines that decide, not counting blank lines and comments. If none of them fits a format, more
/// are read.
const SAMPLE_LINES: usize = 100;
/// Lines read at most, counted from the first that is neither blank nor a comment. The caller also
/// limits the bytes.
const MAX_LINES: usize = 100_000;
/// Header lines kept for the W3C family.
const MAX_HEADERS: usize = 100;

/// Reads the first lines of a log until they show its format.
#[derive(Default)]
pub struct Detector {
    candidates: Vec<FormatCandidate>,
    /// The places of the candidates without a header, the richest first, and of equally rich ones
    /// in the order of the table.
    richest_first: Vec<usize>,
    leader: Option<Leader>,
    /// The first comments, and the last `#Fields:` line before a format of the W3C family became a
    /// candidate.
    headers: Vec<Vec<u8>>,
    /// `#Fields:` lines so far.
    fields_lines: usize,
    /// `#Fields:` lines when the W3C family was last tried.
    fields_tried: Option<usize>,
    /// The number of headers with which a format of the W3C family became a candidate.
    w3c_headers: Option<usize>,
    is_begun: bool,
    /// Lines from the first that is neither blank nor a comment.
    lines: usize,
    /// Lines that are neither blank nor a comment.
    filled: usize,
    /// Lines that fit at least one format.
    fitting: usize,
    /// A line was neither blank nor a comment.
    saw_data: bool,
    hint: Option<String>,
    /// Why the columns of the last header cannot be used.
    header_error: Option<Error>,
    /// The format that the first line names, in a file written by `--rejects`.
    named: Option<Box<dyn Format>>,
    options: FormatOptions,
    arena: Bump,
}

/// The formats that are tried on each log. Making them takes longer than reading a small log, so
/// the next log uses them again.
pub struct Candidates {
    list: Vec<FormatCandidate>,
    /// See [`Detector::richest_first`].
    richest_first: Vec<usize>,
}

struct FormatCandidate {
    format: Box<dyn Format>,
    /// See [`family::place`].
    family: Option<usize>,
    kind: CandidateKind,
    /// Lines that fit this format best.
    fits: usize,
    /// Lines that this format or its family can read.
    reads: usize,
    /// How it reads the last line. `None`: not at all, or not for certain.
    reading: Option<Reading>,
    /// How it may read the last line, which does not show that it has this format.
    unsure: Option<Reading>,
}

/// How a format reads the first lines of a log, to explain why it was chosen or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatTrial {
    pub format: &'static str,
    pub richness: usize,
    /// Lines that fit.
    pub fits: usize,
    /// Those of them in which the address does not look like one, or the host does.
    pub implausible: usize,
    /// Those of them in which text follows the last field.
    pub cut: usize,
}

/// The candidate that reads all lines so far as well as can be. As long as it does, poorer text
/// formats lose to it. Nothing is counted, and they need not look.
struct Leader {
    place: usize,
    /// They may still win, so they look at each line, as formats with a header do: JSON formats,
    /// and richer ones that could read the first line, but not for certain.
    rivals: Vec<usize>,
    /// The lines, one after the other, and where each ends.
    lines: Vec<u8>,
    ends: Vec<usize>,
}

impl Leader {
    fn keep(&mut self, line: &[u8]) {
        self.lines.extend_from_slice(line);
        self.ends.push(self.lines.len());
    }
}

/// How well a line fits a format. The best comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Reading {
    /// The address looks like one, and the host does not, unless it is that of a server.
    is_plausible: bool,
    /// Nothing follows the last field.
    is_whole: bool,
}

impl Reading {
    const BEST: Self = Self {
        is_plausible: true,
        is_whole: true,
    };

    fn of(record: &Record) -> Self {
        let is_client = |host| looks_like_address(host) && !is_address_of_server(host);
        let has_client_as_host = record.get(Field::Host).is_some_and(is_client);
        let reading = Self::whatever_the_host(record);
        Self {
            is_plausible: reading.is_plausible && !has_client_as_host,
            ..reading
        }
    }

    fn whatever_the_host(record: &Record) -> Self {
        Self {
            is_plausible: record.get(Field::Ip).is_some_and(looks_like_address),
            is_whole: record.is_whole(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CandidateKind {
    Text,
    /// Wins over all other kinds.
    Json,
    /// Takes its columns from header lines.
    W3c,
}

impl FormatCandidate {
    fn new(format: Box<dyn Format>) -> Self {
        let kind = match format.is_json() {
            true => CandidateKind::Json,
            false => CandidateKind::Text,
        };
        Self::of_kind(kind, format)
    }

    fn of_kind(kind: CandidateKind, format: Box<dyn Format>) -> Self {
        Self {
            family: family::place(format.name()),
            format,
            kind,
            fits: 0,
            reads: 0,
            reading: None,
            unsure: None,
        }
    }

    /// How this format reads a line, or else how it may read it.
    fn attempt(&self, line: &[u8], arena: &Bump) -> (Option<Reading>, Option<Reading>) {
        let mut record = Record::default();
        let fits =
            self.format.may_fit(line) && self.format.parse(line, arena, &mut record) == Fit::Record;
        match (fits, self.format.recognizes(line, &record)) {
            (true, true) => (Some(Reading::of(&record)), None),
            (true, false) if self.kind == CandidateKind::Text => {
                (None, Some(Reading::whatever_the_host(&record)))
            }
            _ => (None, None),
        }
    }

    /// How this format reads a line.
    fn reading(&self, line: &[u8], arena: &Bump) -> Option<Reading> {
        self.attempt(line, arena).0
    }

    /// Reads a line and keeps the result.
    fn read(&mut self, line: &[u8], arena: &Bump) {
        (self.reading, self.unsure) = self.attempt(line, arena);
    }
}

impl Candidates {
    fn new(options: &FormatOptions) -> Self {
        // ovh looks like other formats.
        let list: Vec<_> = registry::without_header(&options.wanted)
            .into_iter()
            .filter(|format| format.name() != "ovh")
            .map(FormatCandidate::new)
            .collect();
        Self {
            richest_first: richest_first(&list),
            list,
        }
    }
}

fn richest_first(candidates: &[FormatCandidate]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..candidates.len()).collect();
    places.sort_by_key(|place| Reverse(candidates[*place].format.richness()));
    places
}

impl Detector {
    /// # Errors
    ///
    /// Returns a usage error if `--w3c-fields` lacks a required column.
    pub fn new(options: &FormatOptions) -> Result<Self> {
        // Rejects bad options of the W3C family even if the log has no header.
        registry::check(options)?;
        Ok(Self::with(None, options))
    }

    /// Uses the candidates of an earlier log with the same options, if there is one.
    pub fn with(candidates: Option<Candidates>, options: &FormatOptions) -> Self {
        let candidates = candidates.unwrap_or_else(|| Candidates::new(options));
        Self {
            candidates: candidates.list,
            richest_first: candidates.richest_first,
            options: options.clone(),
            ..Self::default()
        }
    }

    /// Reads one more line. Returns `true` when no more lines are needed.
    pub fn look(&mut self, line: &[u8]) -> bool {
        if !std::mem::replace(&mut self.is_begun, true)
            && let Some(name) = rejects::format_of(line)
            && let Ok(format) = registry::by_name(name, &self.options)
        {
            self.named = Some(format);
            return true;
        }
        let blank = line.trim_ascii().is_empty();
        let comment = line.starts_with(b"#");
        self.saw_data |= !blank && !comment;
        // Any number of blank lines and comments may come first.
        self.lines += usize::from(!self.saw_nothing());
        if blank {
            return self.is_enough();
        }
        if comment {
            self.keep_header(line);
            for candidate in self
                .candidates
                .iter_mut()
                .filter(|candidate| candidate.kind == CandidateKind::W3c)
            {
                // After a header that cannot be used, no line fits.
                let _ = candidate.format.header(line);
            }
        } else {
            self.try_w3c();
        }
        let fits_any = if self.leader_reads(line) {
            true
        } else if comment && self.leader.is_some() && !self.any_reads(line) {
            // Nothing reads a comment in a W3C log.
            false
        } else {
            self.drop_leader();
            (self.fitting == 0 && self.find_leader(line)) || self.count(line)
        };
        self.arena.reset();
        self.fitting += usize::from(fits_any);
        self.filled += usize::from(fits_any || !comment);
        self.is_enough()
    }

    /// Whether the leader reads a line as well as can be, and no format that may win against it
    /// reads it. The line is kept then.
    fn leader_reads(&mut self, line: &[u8]) -> bool {
        let Some(leader) = &mut self.leader else {
            return false;
        };
        let (has_header, arena) = (self.richest_first.len(), &self.arena);
        let rivals = leader.rivals.iter().copied();
        let mut others = rivals.chain(has_header..self.candidates.len());
        let leads = self.candidates[leader.place].reading(line, arena) == Some(Reading::BEST)
            && !others.any(|place| {
                let other = &self.candidates[place];
                place != leader.place
                    && other.format.may_recognize(line)
                    && other.reading(line, arena).is_some()
            });
        if leads {
            leader.keep(line);
        }
        leads
    }

    fn any_reads(&self, line: &[u8]) -> bool {
        let mut candidates = self.candidates.iter();
        candidates.any(|candidate| candidate.reading(line, &self.arena).is_some())
    }

    /// Looks for a candidate that reads a line as well as can be, the richest first. The line is
    /// kept, not counted. Call it before any line fits.
    fn find_leader(&mut self, line: &[u8]) -> bool {
        let has_w3c = self.candidates.len() > self.richest_first.len();
        let with_w3c = has_w3c.then(|| richest_first(&self.candidates));
        let is_json = |place: &usize| self.candidates[*place].kind == CandidateKind::Json;
        let mut rivals: Vec<usize> = (0..self.candidates.len()).filter(is_json).collect();
        for place in with_w3c.as_ref().unwrap_or(&self.richest_first) {
            let candidate = &mut self.candidates[*place];
            candidate.read(line, &self.arena);
            if candidate.unsure.is_some() {
                rivals.push(*place);
            }
            if candidate.reading == Some(Reading::BEST) {
                let mut leader = Leader {
                    place: *place,
                    rivals,
                    lines: Vec::new(),
                    ends: Vec::new(),
                };
                leader.keep(line);
                self.leader = Some(leader);
                self.note_unit(*place, line);
                return true;
            }
        }
        false
    }

    /// Counts the lines of the leader for all candidates.
    fn drop_leader(&mut self) {
        let Some(leader) = self.leader.take() else {
            return;
        };
        let mut start = 0;
        for end in leader.ends {
            let line = &leader.lines[start..end];
            for (place, candidate) in self.candidates.iter_mut().enumerate() {
                match candidate.kind {
                    // Its columns may have changed since.
                    _ if place == leader.place => {
                        (candidate.reading, candidate.unsure) = (Some(Reading::BEST), None);
                    }
                    CandidateKind::Text => candidate.read(line, &self.arena),
                    CandidateKind::Json | CandidateKind::W3c => {
                        (candidate.reading, candidate.unsure) = (None, None);
                    }
                }
            }
            self.count_best();
            self.arena.reset();
            start = end;
        }
    }

    /// Counts a line for all candidates. Returns whether it fits any.
    fn count(&mut self, line: &[u8]) -> bool {
        for place in 0..self.candidates.len() {
            self.candidates[place].read(line, &self.arena);
            self.note_unit(place, line);
        }
        self.count_best()
    }

    /// Notes the hint about the first line that a W3C format reads.
    fn note_unit(&mut self, place: usize, line: &[u8]) {
        let candidate = &self.candidates[place];
        let is_first = candidate.kind == CandidateKind::W3c && candidate.fits == 0;
        if is_first && candidate.reading.is_some() {
            let headers: Vec<&[u8]> = self.headers.iter().map(Vec::as_slice).collect();
            let name = candidate.format.name();
            self.hint = w3c::iis_hint(name, &self.options.w3c, &headers, &[line]);
        }
    }

    /// Counts the last line for the formats that read it best and for their families. Returns
    /// whether there are any.
    fn count_best(&mut self) -> bool {
        let readings = self.candidates.iter().map(|candidate| candidate.reading);
        let Some(best) = readings.max().flatten() else {
            return false;
        };
        // A bit for each family.
        let mut families = 0_u32;
        for candidate in &self.candidates {
            let has_fit = candidate.reading == Some(best);
            families |= candidate
                .family
                .map_or(0, |family| u32::from(has_fit) << family);
        }
        for candidate in &mut self.candidates {
            let is_best = candidate.reading == Some(best);
            let is_related = |family| families >> family & 1 == 1;
            candidate.fits += usize::from(is_best);
            let is_of_family = candidate.family.is_some_and(is_related);
            let is_unsure = candidate.unsure == Some(best);
            candidate.reads += usize::from(is_best || is_of_family || is_unsure);
        }
        true
    }

    fn is_enough(&self) -> bool {
        self.lines >= MAX_LINES || (self.fitting > 0 && self.filled >= SAMPLE_LINES)
    }

    /// Whether all lines so far were blank or comments.
    pub fn saw_nothing(&self) -> bool {
        !self.saw_data && self.named.is_none()
    }

    /// Why the log's header cannot be used, if it looks like one of the W3C family.
    pub fn header_error(&mut self) -> Option<Error> {
        self.header_error.take()
    }

    /// A warning about the unit of `time-taken` in a W3C log.
    pub fn hint(&mut self) -> Option<String> {
        self.hint.take()
    }

    /// How each candidate reads these lines, comments left out. Call it before
    /// [`Detector::decide`], with the lines that were looked at.
    pub fn trials<'l>(&self, lines: impl Iterator<Item = &'l [u8]> + Clone) -> Vec<FormatTrial> {
        let mut arena = Bump::new();
        let mut trials = Vec::new();
        for candidate in &self.candidates {
            let mut trial = FormatTrial {
                format: candidate.format.name(),
                richness: candidate.format.richness(),
                fits: 0,
                implausible: 0,
                cut: 0,
            };
            for line in lines.clone().filter(|line| !line.starts_with(b"#")) {
                if let Some(reading) = candidate.reading(line, &arena) {
                    trial.fits += 1;
                    trial.implausible += usize::from(!reading.is_plausible);
                    trial.cut += usize::from(!reading.is_whole);
                }
                arena.reset();
            }
            trials.push(trial);
        }
        trials
    }

    /// The format of the log. Returns `None` if no format fits.
    pub fn decide(mut self) -> Option<Box<dyn Format>> {
        self.take_format()
    }

    /// The same, and the candidates for the next log.
    pub fn decide_and_keep(mut self) -> (Option<Box<dyn Format>>, Candidates) {
        let format = self.take_format();
        self.candidates.retain_mut(|candidate| {
            (candidate.fits, candidate.reads) = (0, 0);
            candidate.kind != CandidateKind::W3c
        });
        let candidates = Candidates {
            list: self.candidates,
            richest_first: self.richest_first,
        };
        (format, candidates)
    }

    fn take_format(&mut self) -> Option<Box<dyn Format>> {
        if self.named.is_some() {
            return self.named.take();
        }
        let place = match &self.leader {
            Some(leader) => leader.place,
            None => self.best(true).or_else(|| self.best(false))?,
        };
        let found = &self.candidates[place];
        let mut format = registry::by_name(found.format.name(), &self.options).ok()?;
        match self.w3c_headers {
            // Later headers may have changed the columns, but the import starts at the first line.
            Some(headers) if found.kind == CandidateKind::W3c => {
                for header in &self.headers[..headers] {
                    let _ = format.header(header);
                }
                Some(format)
            }
            _ => Some(Family::of(format, &self.options)),
        }
    }

    /// The candidate that reads the most lines, and of several the one with the most fields among
    /// those that at least half of the lines fit best. Of equally rich formats, the first in the
    /// table. With `json`, only a JSON format that reads half of the lines.
    fn best(&self, json: bool) -> Option<usize> {
        let candidates = || {
            let candidates = self.candidates.iter().enumerate();
            candidates.filter(|(_, candidate)| {
                let is_json = candidate.kind == CandidateKind::Json;
                candidate.reads > 0 && (!json || is_json && candidate.fits * 2 >= self.fitting)
            })
        };
        let most = candidates().map(|(_, candidate)| candidate.reads).max()?;
        let key = |candidate: &FormatCandidate| match candidate.fits * 2 >= most {
            true => (usize::MAX, candidate.format.richness()),
            false => (candidate.fits, candidate.format.richness()),
        };
        let best = candidates().filter(|(_, candidate)| candidate.reads == most);
        let best = best.rev().max_by_key(|(_, candidate)| key(candidate));
        best.map(|(place, _)| place)
    }

    /// Only the last `#Fields:` line before the first line of data counts.
    fn keep_header(&mut self, line: &[u8]) {
        if w3c::is_fields_line(line) {
            if self.fields_lines >= MAX_HEADERS {
                return;
            }
            self.fields_lines += 1;
            if self.w3c_headers.is_none() {
                self.headers.retain(|header| !w3c::is_fields_line(header));
            }
        } else if self.headers.len() >= MAX_HEADERS {
            return;
        }
        self.headers.push(line.to_vec());
    }

    /// Adds the dialects that the last header matches as candidates. Lines before the header, such
    /// as the rest of a truncated line, have no say in this.
    fn try_w3c(&mut self) {
        if self.w3c_headers.is_some() || self.fields_tried == Some(self.fields_lines) {
            return;
        }
        self.fields_tried = Some(self.fields_lines);
        let headers: Vec<&[u8]> = self.headers.iter().map(Vec::as_slice).collect();
        for dialect in w3c::dialects()
            .iter()
            .filter(|dialect| dialect.recognizes(&headers, &self.options.w3c))
        {
            let Ok(mut format) = dialect.open(&self.options.w3c) else {
                continue;
            };
            for header in &headers {
                // A header that cannot be used leaves the format without columns.
                let result = format.header(header);
                self.header_error = self.header_error.take().or(result.err());
            }
            if format.ready() {
                self.header_error = None;
                self.w3c_headers = Some(headers.len());
                let format = FormatCandidate::of_kind(CandidateKind::W3c, Box::new(format));
                self.candidates.push(format);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};

    use super::*;
    use crate::format::Field;
    use crate::format::w3c::W3cOptions;

    const COMMON: &str = r#"203.0.113.9 - - [14/May/2024:06:25:24 +0200] "GET / HTTP/1.1" 200 5"#;
    const EXTENDED: &str =
        r#"203.0.113.9 - - [14/May/2024:06:25:24 +0200] "GET / HTTP/1.1" 200 5 "-" "Mozilla/5.0""#;
    const COMPLETE: &str = r#"www.example.com:80 203.0.113.9 - - [14/May/2024:06:25:24 +0200] "GET / HTTP/1.1" 200 5 "-" "Mozilla/5.0""#;
    const ICECAST: &str =
        r#"203.0.113.9 - - [14/May/2024:06:25:24 +0200] "GET /live HTTP/1.1" 200 5 "-" "VLC" 1807"#;
    const LIGHTTPD: &str = r#"203.0.113.9 www.example.com - [14/May/2024:06:25:24 +0200] "GET / HTTP/1.1" 200 5 "-" "Mozilla/5.0""#;
    /// As [`LIGHTTPD`], without a domain.
    const BARE: &str = r#"203.0.113.9 [::1] - [14/May/2024:06:25:24 +0200] "GET / HTTP/1.1" 200 5 "-" "Mozilla/5.0""#;
    const ELB: &str = r#"2024-05-14T23:39:43.9Z lb 203.0.113.9:2817 - 0 0 0 200 200 0 5 "GET http://www.example.com:80/ HTTP/1.1" "Mozilla/5.0" - -"#;
    const NGINX: &str = r#"{"ip": "::1", "path": "/", "status": 200, "referrer": "-", "date": "2024-05-14T06:25:24Z"}"#;
    const FIELDS: &str = "#Fields: date time c-ip cs-uri-stem sc-status time-taken";
    const IIS_FIELDS: &str =
        "#Fields: date time c-ip cs-uri-stem sc-status sc-win32-status time-taken";
    const IIS: &str = "#Software: Microsoft Internet Information Services 10.0";
    const W3C: &str = "2024-05-14 06:25:24 203.0.113.9 / 200 15";
    const W3C_IIS: &str = "2024-05-14 06:25:24 203.0.113.9 / 200 0 15";
    const JUNK: &str = "not a log line";

    fn detector(options: &FormatOptions, lines: &[&str]) -> Detector {
        let mut detector = Detector::new(options).unwrap();
        for line in lines {
            if detector.look(line.as_bytes()) {
                break;
            }
        }
        detector
    }

    #[track_caller]
    fn assert_found(lines: &[&str], expected: Option<&str>) {
        let found = detector(&FormatOptions::default(), lines).decide();
        assert_eq!(found.map(|format| format.name()), expected);
    }

    /// Repeats one line, then another.
    fn mixed<'l>(first: (usize, &'l str), then: (usize, &'l str)) -> Vec<&'l str> {
        [vec![first.1; first.0], vec![then.1; then.0]].concat()
    }

    #[test]
    fn one_odd_first_line_does_not_decide() {
        for odd in [JUNK, COMMON, COMPLETE, ICECAST, ELB, NGINX, "", "\u{feff}"] {
            assert_found(&mixed((1, odd), (9, EXTENDED)), Some("ncsa_extended"));
        }
        assert_found(&mixed((1, EXTENDED), (9, NGINX)), Some("nginx_json"));
    }

    #[test]
    fn the_richest_format_that_fits_half_of_the_lines_wins() {
        // Every extended line is a common one, too.
        let half = mixed((50, COMMON), (50, EXTENDED));
        assert_found(&half, Some("ncsa_extended"));
        assert_found(&mixed((51, COMMON), (49, EXTENDED)), Some("common"));
        assert_found(&mixed((50, EXTENDED), (50, ICECAST)), Some("icecast2"));
        assert_found(&mixed((51, EXTENDED), (49, ICECAST)), Some("ncsa_extended"));
        // Lines that fit no format do not count.
        let lines = [mixed((1, COMMON), (90, JUNK)), vec![EXTENDED]].concat();
        assert_found(&lines, Some("ncsa_extended"));
    }

    #[test]
    fn a_host_that_is_no_domain_leaves_the_others_their_format() {
        for odd in ["-", "203.0.113.1", "203.0.113.1:80", "[2001:db8::1]"] {
            let odd = LIGHTTPD.replace("www.example.com", odd);
            for (before, after) in [(0, 9), (5, 5), (9, 0)] {
                let lines = [mixed((before, LIGHTTPD), (1, &odd)), vec![LIGHTTPD; after]].concat();
                assert_found(&lines, Some("lighttpd"));
            }
            assert_found(&mixed((50, &odd), (50, LIGHTTPD)), Some("lighttpd"));
            assert_found(&mixed((51, &odd), (49, LIGHTTPD)), Some("ncsa_extended"));
        }
    }

    #[test]
    fn an_address_with_a_port_of_a_server_is_a_host() {
        for (with_host, without) in [("common_complete", EXTENDED), ("common_vhost", COMMON)] {
            for host in [
                "127.0.1.1:80",
                "203.0.113.1:443",
                "[2001:db8::1]:8080",
                "[::1]:1023",
            ] {
                let (address, named) = (format!("{host} {without}"), format!("a.b:80 {without}"));
                assert_found(&[&address], Some(with_host));
                assert_found(&mixed((9, &address), (1, &named)), Some(with_host));
                assert_found(&mixed((1, &named), (9, &address)), Some(with_host));
            }
            // Addresses that proxies have seen come first, too.
            for client in [
                "203.0.113.1",
                "203.0.113.1:51234",
                "[2001:db8::1]:1024",
                "::80",
            ] {
                let both = format!("{client} {without}");
                let found = detector(&FormatOptions::default(), &[&both])
                    .decide()
                    .unwrap();
                assert_ne!(found.name(), with_host, "{client}");
            }
        }
    }

    #[test]
    fn among_equally_rich_formats_the_first_in_the_table_wins() {
        for lines in [mixed((5, ELB), (5, COMMON)), mixed((5, COMMON), (5, ELB))] {
            assert_found(&lines, Some("common"));
        }
        let lines = mixed((5, ICECAST), (5, COMPLETE));
        assert_found(&lines, Some("common_complete"));
    }

    #[test]
    fn a_json_format_wins_if_it_fits_half_of_the_lines() {
        assert_found(&mixed((50, COMPLETE), (50, NGINX)), Some("nginx_json"));
        assert_found(&mixed((51, COMPLETE), (49, NGINX)), Some("common_complete"));
        assert_found(&["", NGINX, "  \t", "", NGINX, ""], Some("nginx_json"));
        let unknown = NGINX.replace("referrer", "referer");
        assert_found(&[&unknown], None);
    }

    #[test]
    fn a_hundred_lines_are_enough_once_one_of_them_fits() {
        assert_found(&mixed((100, COMMON), (900, ICECAST)), Some("common"));
        let mut detector = Detector::new(&FormatOptions::default()).unwrap();
        for number in 1..=100 {
            assert_eq!(detector.look(COMMON.as_bytes()), number == 100);
        }
    }

    #[test]
    fn detection_waits_for_the_first_line_that_fits() {
        assert_found(&mixed((99, JUNK), (5, EXTENDED)), Some("ncsa_extended"));
        assert_found(&mixed((5_000, JUNK), (1, EXTENDED)), Some("ncsa_extended"));
        assert_found(&mixed((5_000, ""), (1, EXTENDED)), Some("ncsa_extended"));
        let mut detector = Detector::new(&FormatOptions::default()).unwrap();
        for number in 1..=MAX_LINES {
            assert_eq!(detector.look(b"-"), number == MAX_LINES);
        }
        assert!(detector.decide().is_none());
    }

    #[test]
    fn blank_lines_and_comments_do_not_decide() {
        for nothing in ["", "# comment"] {
            let lines = [mixed((99, nothing), (1, COMMON)), vec![NGINX; 99]].concat();
            assert_found(&lines, Some("nginx_json"));
            // But detection ends after a limited number of them.
            let mut detector = detector(&FormatOptions::default(), &[COMMON]);
            for number in 2..=MAX_LINES {
                assert_eq!(detector.look(nothing.as_bytes()), number == MAX_LINES);
            }
        }
        assert_found(
            &mixed((150, "#"), (1, FIELDS))
                .into_iter()
                .chain([W3C])
                .collect::<Vec<_>>(),
            Some("w3c_extended"),
        );
    }

    #[test]
    fn a_log_of_comments_and_blank_lines_has_no_format() {
        for lines in [&[][..], &["", " \t\r"], &["#", "# comment"], &[FIELDS, IIS]] {
            let detector = detector(&FormatOptions::default(), lines);
            assert!(detector.saw_nothing(), "{lines:?}");
            assert!(detector.decide().is_none(), "{lines:?}");
        }
        let detector = detector(&FormatOptions::default(), &["#", JUNK]);
        assert!(!detector.saw_nothing());
        assert!(detector.decide().is_none());
    }

    #[test]
    fn a_w3c_log_is_recognized_by_its_header_if_lines_fit_it() {
        assert_found(&["#Version: 1.0", FIELDS, "", W3C], Some("w3c_extended"));
        assert_found(&["", IIS, IIS_FIELDS, W3C_IIS], Some("iis"));
        // The last header before the data counts.
        assert_found(&[FIELDS, IIS_FIELDS, W3C_IIS], Some("iis"));
        assert_found(&[FIELDS, W3C, IIS_FIELDS, W3C_IIS], Some("w3c_extended"));
        assert_found(&[W3C], None);
        assert_found(&[FIELDS, JUNK], None);
        // An odd first data line does not decide, and neither does a header that cannot be used.
        assert_found(&[FIELDS, JUNK, W3C], Some("w3c_extended"));
        let unusable = "#Fields: date time";
        assert_found(&[unusable, W3C], None);
        assert_found(&[unusable, FIELDS, W3C], Some("w3c_extended"));
        assert_found(&[unusable, JUNK, FIELDS, W3C], Some("w3c_extended"));
        assert_found(&[FIELDS, W3C, unusable], Some("w3c_extended"));
        assert_found(&[unusable, EXTENDED], Some("ncsa_extended"));
        // A header over lines of another format.
        assert_found(&[FIELDS, EXTENDED], Some("ncsa_extended"));
        assert_found(&["# a comment", EXTENDED], Some("ncsa_extended"));
    }

    #[test]
    fn the_end_of_a_rotated_line_before_the_header_does_no_harm() {
        assert_found(&[JUNK, IIS, FIELDS, W3C, W3C], Some("w3c_extended"));
        assert_found(&[JUNK, "", IIS_FIELDS, W3C_IIS], Some("iis"));
    }

    #[test]
    fn columns_from_the_command_line_stand_for_a_header() {
        let options = FormatOptions {
            w3c: W3cOptions {
                fields: Some(FIELDS.to_owned()),
                ..W3cOptions::default()
            },
            ..FormatOptions::default()
        };
        for lines in [
            &[W3C][..],
            &[W3C, W3C, "#Fields: time date c-ip cs-uri-stem sc-status"],
        ] {
            let found = detector(&options, lines).decide().unwrap();
            assert_eq!(found.name(), "w3c_extended");
            // A later header has not come yet when the first line is read.
            let (arena, mut record) = (Bump::new(), Record::default());
            let fit = found.parse(W3C.as_bytes(), &arena, &mut record);
            assert_eq!(fit, Fit::Record);
            assert_eq!(record.get(Field::Date), Some(&b"2024-05-14"[..]));
        }
    }

    #[test]
    fn the_detected_format_reads_a_log_from_its_first_line() {
        let later = "#Fields: time date c-ip cs-uri-stem sc-status";
        let lines = [
            JUNK,
            FIELDS,
            W3C,
            W3C,
            later,
            "06:25:24 2024-05-14 ::1 / 200",
        ];
        let mut found = detector(&FormatOptions::default(), &lines)
            .decide()
            .unwrap();
        assert!(
            found.ready(),
            "a line before the header does not stop the import"
        );
        let (arena, mut fitting) = (Bump::new(), 0);
        for line in lines {
            let mut record = Record::default();
            match found.parse(line.as_bytes(), &arena, &mut record) {
                Fit::Record => fitting += 1,
                Fit::Misfit if line.starts_with('#') => found.header(line.as_bytes()).unwrap(),
                Fit::Misfit => {}
            }
        }
        assert_eq!(fitting, 3);
    }

    #[test]
    fn a_wrong_unit_of_time_taken_gives_a_hint() {
        let hint = |lines: &[&str]| detector(&FormatOptions::default(), lines).hint();
        let names_the_option = |lines: &[&str]| {
            let text = hint(lines).unwrap_or_else(|| panic!("no hint: {lines:?}"));
            assert!(text.contains("--w3c-time-taken-millisecs"), "{text}");
        };
        names_the_option(&[IIS, IIS_FIELDS, "2024-05-14 06:25:24 ::1 / 200 0 0.015"]);
        names_the_option(&[IIS, FIELDS, W3C]);
        assert_eq!(hint(&[IIS, IIS_FIELDS, W3C_IIS]), None);
        assert_eq!(hint(&[FIELDS, W3C]), None);
    }

    #[test]
    fn the_first_line_of_a_rejects_file_names_its_format() {
        let named = |name: &str| format!("# rejected by import-logs, format: {name}");
        assert_found(&[&named("common"), JUNK], Some("common"));
        assert_found(&[&named("iis"), FIELDS, JUNK], Some("iis"));
        assert_found(&[&named("custom"), EXTENDED], Some("ncsa_extended"));
        assert_found(&[EXTENDED, &named("common")], Some("ncsa_extended"));
        assert_found(&["# format: common", EXTENDED], Some("ncsa_extended"));
    }

    #[test]
    fn a_leader_changes_no_decision() {
        let pool = [
            COMMON,
            EXTENDED,
            COMPLETE,
            ICECAST,
            ELB,
            LIGHTTPD,
            BARE,
            NGINX,
            FIELDS,
            "# a comment",
            "",
            "odd",
            "2024-05-14 06:25:24 203.0.113.9 /a 200 5",
            r#"203.0.113.9 - - [14/May/2024:06:25:24 +0200] "GET / HTTP/1.1" 200 5 "http://trunca"#,
            r#"www.example.com 203.0.113.9 - - [14/May/2024:06:25:24 +0200] "GET / HTTP/1.1" 200 5"#,
        ];
        let lines = prop::collection::vec(prop::sample::select(pool.to_vec()), 1..30);
        // Most logs have only a few kinds of lines.
        let kinds = prop::collection::vec(prop::sample::select(pool.to_vec()), 1..4);
        let repeated =
            kinds.prop_flat_map(|kinds| prop::collection::vec(prop::sample::select(kinds), 1..30));
        let mut runner = TestRunner::new(Config {
            failure_persistence: None,
            ..Config::default()
        });
        let outcome = runner.run(&prop_oneof![lines, repeated], |lines| {
            let decide = |has_leader: bool| {
                let mut detector = Detector::new(&FormatOptions::default()).unwrap();
                for line in &lines {
                    let is_enough = detector.look(line.as_bytes());
                    if !has_leader {
                        detector.drop_leader();
                    }
                    if is_enough {
                        break;
                    }
                }
                (detector.fitting, detector.decide().map(|it| it.name()))
            };
            prop_assert_eq!(decide(true), decide(false));
            Ok(())
        });
        outcome.unwrap();
    }
}
