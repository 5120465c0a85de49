//! The columns of a W3C log: what each may contain, and how a line is read by them.
//!
//! Lines are read column by column, or by a regex if a column is the user's own or if a quoted
//! value may have ended too early.

use bumpalo::Bump;
use memchr::memchr_iter;

use super::dialect::Dialect;
use super::{FieldRegex, W3cOptions, is_blank, python_over_bytes};
use crate::format::custom::{LineText, PythonRegex};
use crate::format::{Field, Record, is_absent};

/// The group of a column of addresses that counts where another one has no value.
const FALLBACK_ADDRESS: &str = "fallback_ip";

/// No server writes more columns.
const MAX_COLUMNS: usize = 1000;

/// The columns of one `#Fields:` line.
#[derive(Debug)]
pub struct LogColumns {
    names: Vec<u8>,
    /// For reading without the regex. `None` if a column is the user's own.
    columns: Option<Vec<Column>>,
    python: String,
    fields: Vec<Field>,
    regex: PythonRegex,
    /// Each named group of the regex, by number.
    groups: Vec<(usize, Captured)>,
}

enum ColumnSource {
    BuiltIn(Column),
    /// A regex of `--w3c-field-regex`, as part of the regex of a line.
    User(String),
}

#[derive(Debug)]
enum Captured {
    Field(Field),
    /// The field, if its own column has no value.
    Fallback(Field),
    /// A custom variable needs it.
    Wanted(String),
    Unwanted,
}

/// The result of reading a line without the regex.
enum ColumnScan {
    Fits,
    Misfit,
    /// A quoted value may have ended too early. The regex tries the other ends.
    Unsure,
}

impl LogColumns {
    /// Takes the names after `#Fields:`. The error is a text for the user.
    ///
    /// Skips unknown columns and all but the first column for a field. A field that one of the
    /// user's regexes captures is taken from there. The column of the address that the user
    /// replaced by another one counts where that has no value.
    pub fn new(dialect: &Dialect, options: &W3cOptions, names: &[u8]) -> Result<Self, String> {
        let columns: Vec<&[u8]> = header_names(names).collect();
        if columns.len() > MAX_COLUMNS {
            return Err(format!("more than {MAX_COLUMNS} columns"));
        }
        let mut given = Vec::new();
        let users = user_columns(options, &columns, &mut given)?;
        let has_users_address = given.contains(&Field::Ip);
        let mut has_fallback = false;
        let mut built_in = |name| {
            let is_replaced = has_users_address || options.standard_name(name).is_none();
            let is_address =
                |column: Column| column.kind == ColumnType::Ip && is_replaced && !has_fallback;
            if dialect.column(name, options).is_some_and(is_address) {
                has_fallback = true;
                return ColumnSource::BuiltIn(Column::FALLBACK_ADDRESS);
            }
            ColumnSource::BuiltIn(built_in(dialect, options, name, &mut given))
        };
        let columns: Vec<ColumnSource> = users
            .into_iter()
            .zip(columns)
            .map(|(users, name)| users.unwrap_or_else(|| built_in(name)))
            .collect();
        let parts: Vec<String> = columns.iter().map(ColumnSource::regex).collect();
        let python = parts.join(r"\s+");
        let regex = python_over_bytes(&python).map_err(|error| {
            let why = error.why;
            format!("its regex cannot be compiled, check --w3c-field-regex: {why}")
        })?;
        let captured = |name: &String| match Field::from_name(name) {
            Some(field) => Captured::Field(field),
            None if name == FALLBACK_ADDRESS => Captured::Fallback(Field::Ip),
            None if options.wanted.contains(name) => Captured::Wanted(name.clone()),
            None => Captured::Unwanted,
        };
        let names_and_numbers = regex.names.iter();
        let groups: Vec<_> = names_and_numbers
            .map(|(name, number)| (*number, captured(name)))
            .collect();
        let fields = groups.iter().filter_map(|(_, captured)| match captured {
            Captured::Field(field) => Some(*field),
            Captured::Fallback(field) if !given.contains(field) => Some(*field),
            Captured::Fallback(_) | Captured::Wanted(_) | Captured::Unwanted => None,
        });
        let mut fields: Vec<Field> = fields.collect();
        dialect.complete_fields(&mut fields);
        Ok(Self {
            names: names.to_vec(),
            columns: columns.iter().map(ColumnSource::built_in).collect(),
            python,
            fields,
            regex,
            groups,
        })
    }

    /// The names of the columns, as in the header.
    pub fn names(&self) -> &[u8] {
        &self.names
    }

    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The number of fields and of the user's other groups.
    pub fn richness(&self) -> usize {
        let is_extra =
            |captured: &Captured| matches!(captured, Captured::Wanted(_) | Captured::Unwanted);
        let groups = self.groups.iter();
        self.fields.len() + groups.filter(|(_, captured)| is_extra(captured)).count()
    }

    /// The regex in Python's syntax.
    pub fn python(&self) -> &str {
        &self.python
    }

    /// Parses a line. Returns `false` if it does not fit.
    ///
    /// Columns are separated by runs of blanks. If some are missing then, each blank separates two
    /// columns: some servers write nothing for a missing value.
    pub fn read<'a>(&'a self, line: &'a [u8], arena: &'a Bump, record: &mut Record<'a>) -> bool {
        if self.read_columns(line, arena, record) {
            return true;
        }
        let Some((line, dashes)) = with_dashes(line, header_names(&self.names).count()) else {
            return false;
        };
        let line = arena.alloc_slice_copy(&line);
        *record = Record::default();
        if !self.read_columns(line, arena, record) {
            return false;
        }
        for &field in &self.fields {
            let is_missing = |value: &[u8]| {
                let place = value.as_ptr().addr().wrapping_sub(line.as_ptr().addr());
                value == b"-" && dashes.contains(&place)
            };
            if record.get(field).is_some_and(is_missing) {
                record.forget(field);
            }
        }
        record.get(Field::Path).is_some()
    }

    /// Parses a line whose columns are all there.
    pub(super) fn read_columns<'a>(
        &'a self,
        line: &'a [u8],
        arena: &'a Bump,
        record: &mut Record<'a>,
    ) -> bool {
        let Some(columns) = &self.columns else {
            return self.read_by_regex(line, arena, record);
        };
        match scan(columns, line, record) {
            ColumnScan::Fits => true,
            ColumnScan::Misfit => false,
            ColumnScan::Unsure => {
                for &field in &self.fields {
                    record.forget(field);
                }
                self.read_by_regex(line, arena, record)
            }
        }
    }

    fn read_by_regex<'a>(&'a self, line: &[u8], arena: &'a Bump, record: &mut Record<'a>) -> bool {
        let text = LineText::new(line, arena);
        // A line feed at the end is not part of the last column.
        let Some(found) = self.regex.captures(text.as_str().trim_end_matches('\n')) else {
            return false;
        };
        for (number, captured) in &self.groups {
            let Some(value) = found.get(*number).map(|group| text.bytes(group.range())) else {
                continue;
            };
            match captured {
                Captured::Field(field) => set_field(record, *field, value, false),
                Captured::Fallback(field) => set_field(record, *field, value, true),
                Captured::Wanted(name) => record.set_extra(name, value),
                Captured::Unwanted => {}
            }
        }
        true
    }
}

fn scan<'a>(columns: &[Column], line: &'a [u8], record: &mut Record<'a>) -> ColumnScan {
    let (mut rest, mut misfit) = (line, ColumnScan::Misfit);
    for (at, column) in columns.iter().enumerate() {
        let last = at + 1 == columns.len();
        let Some(taken) = column.take(rest, last, record) else {
            return misfit;
        };
        if taken.at_quote {
            misfit = ColumnScan::Unsure;
        }
        rest = &rest[taken.len..];
        let blanks = rest.iter().take_while(|&&b| is_blank(b)).count();
        if blanks == 0 && !last {
            return misfit;
        }
        rest = &rest[blanks..];
    }
    ColumnScan::Fits
}

impl ColumnSource {
    fn built_in(&self) -> Option<Column> {
        match self {
            ColumnSource::BuiltIn(column) => Some(*column),
            ColumnSource::User(_) => None,
        }
    }

    fn regex(&self) -> String {
        match self {
            ColumnSource::BuiltIn(column) => column.regex(),
            ColumnSource::User(in_line) => in_line.clone(),
        }
    }
}

/// The columns that the user gave a regex for. Each regex is used for one column only. Adds their
/// fields to `given`.
fn user_columns(
    options: &W3cOptions,
    columns: &[&[u8]],
    given: &mut Vec<Field>,
) -> Result<Vec<Option<ColumnSource>>, String> {
    let mut used: Vec<&[u8]> = Vec::new();
    let mut users = |name| {
        let Some(typed) = options.regex_for(name).filter(|_| !used.contains(&name)) else {
            return Ok(None);
        };
        used.push(name);
        let regex = FieldRegex::new(typed).map_err(|error| {
            let name = String::from_utf8_lossy(name);
            format!("--w3c-field-regex for {name}: {error}")
        })?;
        let names = regex.names.iter().map(String::as_str);
        given.extend(names.filter_map(Field::from_name));
        Ok(Some(ColumnSource::User(regex.in_line)))
    };
    columns.iter().map(|name| users(*name)).collect()
}

/// The column of a name, without the fields that are `given` already. Adds the others to `given`.
fn built_in(
    dialect: &Dialect,
    options: &W3cOptions,
    name: &[u8],
    given: &mut Vec<Field>,
) -> Column {
    let known = options
        .standard_name(name)
        .and_then(|standard| dialect.column(standard, options));
    let Some(mut column) = known else {
        return Column::SKIP;
    };
    for field in &mut column.fields {
        *field = field.filter(|field| !given.contains(field));
        given.extend(*field);
    }
    match column.fields {
        [None, None] => Column::SKIP,
        _ => column,
    }
}

/// Sets a field that several columns may have: one without a value leaves it to the others, a
/// fallback to any other.
fn set_field<'a>(record: &mut Record<'a>, field: Field, value: &'a [u8], is_fallback: bool) {
    let yields = is_fallback || is_absent(value);
    if !(yields && record.get(field).is_some_and(|other| !is_absent(other))) {
        record.set(field, value);
    }
}

/// Writes a dash for each missing value of a line with fewer than `columns` columns. Returns the
/// line and the places of the dashes, or `None` if none is missing or the line still has fewer.
fn with_dashes(line: &[u8], columns: usize) -> Option<(Vec<u8>, Vec<usize>)> {
    let values = header_names(line).count();
    if values == 0 || values >= columns {
        return None;
    }
    let (mut whole, mut dashes) = (Vec::with_capacity(line.len() + columns), Vec::new());
    let (mut cells, mut is_empty, mut is_quoted) = (1, true, false);
    // A blank after the line ends its last cell.
    for byte in line.iter().chain(b" ") {
        if is_blank(*byte) && !is_quoted {
            if is_empty {
                dashes.push(whole.len());
                whole.push(b'-');
            }
            cells += 1;
            is_empty = true;
        } else {
            is_quoted ^= *byte == b'"';
            is_empty = false;
        }
        whole.push(*byte);
    }
    (cells > columns).then_some((whole, dashes))
}

/// The names of columns in a header.
pub fn header_names(names: &[u8]) -> impl Iterator<Item = &[u8]> {
    names
        .split(|&b| is_blank(b))
        .filter(|name| !name.is_empty())
}

/// The values that a column may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    Text,
    /// The target of a request. Begins with no quote.
    Path,
    /// A path after an optional `rtmp:/`, which is dropped.
    StreamPath,
    /// A host, then a path from the first `/`. A scheme in front is dropped.
    Uri,
    Digits,
    /// Digits and dots.
    Number,
    /// A number. `-` and negative numbers give no value.
    Duration,
    /// Printable ASCII without quotes: an address or a list of them.
    Ip,
    /// Digits and `-`.
    Date,
    /// Digits and `:`. A fraction of a second is dropped.
    Time,
}

/// Whether a value is quoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quotes {
    Never,
    /// Optional, and not part of the value.
    Stripped,
    /// Optional, and part of the value, since custom variables send values as logged.
    Kept,
    /// Required, and not part of the value.
    Required,
}

/// A column and its fields. A [`ColumnType::Uri`] (host and path) and a [`ColumnType::Duration`]
/// have two, others one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    pub kind: ColumnType,
    pub quotes: Quotes,
    pub fields: [Option<Field>; 2],
    /// Counts only where another column for the field has no value.
    pub is_fallback: bool,
}

/// The end of a column in a line.
struct ColumnEnd {
    /// Bytes from the start of the column.
    len: usize,
    /// The column ended at a quote. A later quote might fit, too.
    at_quote: bool,
}

impl Column {
    /// A column that is skipped, quoted or not.
    pub const SKIP: Column = Column {
        kind: ColumnType::Text,
        quotes: Quotes::Kept,
        fields: [None, None],
        is_fallback: false,
    };

    /// The column of the address, if another one replaces it.
    const FALLBACK_ADDRESS: Column = Column {
        fields: [Some(Field::Ip), None],
        is_fallback: true,
        ..Column::SKIP
    };

    /// Reads the column at the start of `rest`, up to the first possible end, which is also what
    /// [`Column::regex`] prefers. A blank must follow unless the column is the last. Returns `None`
    /// if the column does not fit.
    fn take<'a>(&self, rest: &'a [u8], last: bool, record: &mut Record<'a>) -> Option<ColumnEnd> {
        let close = match self.quotes {
            Quotes::Never | Quotes::Stripped => None,
            Quotes::Kept => closing_quote(rest, last),
            Quotes::Required => Some(closing_quote(rest, last)?),
        };
        let (text, len) = match close {
            Some(close) if self.quotes == Quotes::Kept => (&rest[..=close], close + 1),
            Some(close) => (&rest[1..close], close + 1),
            None => {
                let len = rest.iter().position(|&b| is_blank(b)).unwrap_or(rest.len());
                (&rest[..len], len)
            }
        };
        let at_quote = close.is_some();
        self.set(text, at_quote, last && !at_quote, record)?;
        Some(ColumnEnd { len, at_quote })
    }

    /// Sets the fields. All of `text` must fit, or only its beginning if `prefix` is set.
    fn set<'a>(
        &self,
        text: &'a [u8],
        quoted: bool,
        prefix: bool,
        record: &mut Record<'a>,
    ) -> Option<()> {
        let value = match self.kind {
            ColumnType::Text => (quoted || !text.is_empty()).then_some(text)?,
            ColumnType::Path => is_target(text, quoted).then_some(text)?,
            ColumnType::StreamPath => {
                let path = text.strip_prefix(b"rtmp:/").unwrap_or_default();
                let path = if is_target(path, quoted) { path } else { text };
                is_target(path, quoted).then_some(path)?
            }
            ColumnType::Uri => {
                let text = without_scheme(text);
                let (host, path) = text.split_at(text.iter().position(|&b| b == b'/')?);
                if host.contains(&b'"') {
                    return None;
                }
                for (field, value) in self.fields.into_iter().zip([host, path]) {
                    if let Some(field) = field {
                        record.set(field, value);
                    }
                }
                return Some(());
            }
            ColumnType::Duration if text.starts_with(b"-") => {
                let number = text[1..].iter().all(|byte| self.kind.has(*byte));
                return (number || prefix).then_some(());
            }
            ColumnType::Digits | ColumnType::Number | ColumnType::Duration
                if quoted && text.is_empty() =>
            {
                text
            }
            _ => self.run(text, prefix)?,
        };
        for field in self.fields.into_iter().flatten() {
            set_field(record, field, value, self.is_fallback);
        }
        Some(())
    }

    /// The leading bytes of the column's type in `text`, without surrounding quotes.
    fn run<'a>(&self, text: &'a [u8], prefix: bool) -> Option<&'a [u8]> {
        let strip = self.quotes == Quotes::Stripped;
        let text = match text {
            [b'"', inside @ ..] if strip => inside,
            _ => text,
        };
        let len = text
            .iter()
            .position(|&b| !self.kind.has(b))
            .unwrap_or(text.len());
        let (value, mut after) = text.split_at(len);
        if self.kind == ColumnType::Time && after.starts_with(b".") {
            let digits = after[1..].iter().take_while(|b| b.is_ascii_digit());
            after = &after[1 + digits.count()..];
        }
        if strip && after.starts_with(b"\"") {
            after = &after[1..];
        }
        (len > 0 && (prefix || after.is_empty())).then_some(value)
    }

    /// A regex for the column, in Python's syntax.
    pub fn regex(&self) -> String {
        let [first, second] = self.fields;
        let quoted = self.quotes == Quotes::Required;
        // A quoted value may be empty or contain blanks. It ends at the first quote that lets the
        // rest match.
        let (some, text) = if quoted { ("*", ".*?") } else { ("+", r"\S+") };
        let path = if quoted { ".*?" } else { r#"[^"\s]\S*"# };
        let below_host = if quoted { "/.*?" } else { r"/\S*" };
        let inside = match self.kind {
            ColumnType::Text if self.is_fallback => {
                format!(r#"(?P<{FALLBACK_ADDRESS}>".*?"|\S+)"#)
            }
            ColumnType::Text if self.quotes == Quotes::Kept => group(first, r#"".*?"|\S+"#),
            ColumnType::Text => group(first, text),
            ColumnType::Path => group(first, path),
            ColumnType::StreamPath => format!("(?:rtmp:/)?{}", group(first, path)),
            ColumnType::Uri => {
                let host = if quoted { r#"[^"/]*"# } else { r#"[^"/\s]*"# };
                format!(
                    "(?:[a-z]+://)?{}{}",
                    group(first, host),
                    group(second, below_host)
                )
            }
            ColumnType::Digits => group(first, &format!("[0-9]{some}")),
            ColumnType::Number => group(first, &format!("[0-9.]{some}")),
            ColumnType::Duration => {
                let number = group(first, &group(second, &format!("[0-9.]{some}")));
                format!("(?:-[0-9.]*|{number})")
            }
            ColumnType::Ip => group(first, "[!#-~]+"),
            ColumnType::Date => group(first, "[0-9-]+"),
            ColumnType::Time => group(first, "[0-9:]+") + r"(?:\.[0-9]*)?",
        };
        match self.quotes {
            Quotes::Never | Quotes::Kept => inside,
            Quotes::Stripped => format!("\"?{inside}\"?"),
            Quotes::Required => format!("\"{inside}\""),
        }
    }
}

impl ColumnType {
    /// Whether a value may contain the byte. Always `false` for types that are not made of certain
    /// bytes.
    fn has(self, byte: u8) -> bool {
        match self {
            ColumnType::Digits => byte.is_ascii_digit(),
            ColumnType::Number | ColumnType::Duration => byte.is_ascii_digit() || byte == b'.',
            ColumnType::Ip => byte.is_ascii_graphic() && byte != b'"',
            ColumnType::Date => byte.is_ascii_digit() || byte == b'-',
            ColumnType::Time => byte.is_ascii_digit() || byte == b':',
            ColumnType::Text | ColumnType::Path | ColumnType::StreamPath | ColumnType::Uri => false,
        }
    }
}

/// Whether a text can be the target of a request.
fn is_target(text: &[u8], quoted: bool) -> bool {
    quoted || !matches!(text, [] | [b'"', ..])
}

/// Drops the scheme of a URL, if it has one and a path.
fn without_scheme(text: &[u8]) -> &[u8] {
    let letters = text.iter().take_while(|byte| byte.is_ascii_lowercase());
    match text.split_at(letters.count()) {
        ([_, ..], [b':', b'/', b'/', rest @ ..]) if rest.contains(&b'/') => rest,
        _ => text,
    }
}

fn group(field: Option<Field>, inside: &str) -> String {
    match field {
        Some(field) => format!("(?P<{}>{inside})", field.name()),
        None => format!("(?:{inside})"),
    }
}

/// The first possible end of a value that begins with a quote.
fn closing_quote(rest: &[u8], last: bool) -> Option<usize> {
    let inside = rest.strip_prefix(b"\"")?;
    memchr_iter(b'"', inside)
        .map(|at| at + 1)
        .find(|at| last || rest.get(at + 1).is_some_and(|&b| is_blank(b)))
}
