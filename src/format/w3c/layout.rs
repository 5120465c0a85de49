//! A `#Fields:` line made ready: its columns in order, read by hand where that is sure, by regex elsewhere.

use bumpalo::Bump;
use regex::bytes::{Regex, RegexBuilder};

use super::column::Column;
use super::dialect::Dialect;
use super::is_blank;
use super::options::{UsersRegex, W3cOptions, translated};
use crate::format::custom::{LineText, PythonRegex};
use crate::format::{Field, Record};

/// More columns than any server writes; beyond it a log is broken or means harm.
const MOST_COLUMNS: usize = 1000;

/// The columns of a log.
#[derive(Debug)]
pub struct Layout {
    names: Vec<u8>,
    /// For reading by hand; `None` where a column is the user's.
    columns: Option<Vec<Column>>,
    python: String,
    fields: Vec<Field>,
    regex: LineRegex,
    groups: Vec<Group>,
}

/// The regex of a whole line.
#[derive(Debug)]
enum LineRegex {
    Bytes(Regex),
    /// With one of the user's own in it, which is meant for text.
    Text(PythonRegex),
}

/// One column.
enum Part {
    Ours(Column),
    /// `--w3c-field-regex`, as it stands in the regex of a line.
    Users(String),
}

/// A named group of the regex: its number, and what it gives.
#[derive(Debug)]
struct Group {
    number: usize,
    gives: Gives,
}

#[derive(Debug)]
enum Gives {
    Field(Field),
    /// Kept only where a custom variable asks for it.
    Extra {
        name: String,
        wanted: bool,
    },
}

/// How reading by hand went.
enum ByHand {
    Fits,
    Misfit,
    /// A quoted column may have ended too early: the regex tries the other ends.
    Unsure,
}

impl Layout {
    /// Prepares the columns in `names` (what stands behind `#Fields:`). The error is a text for the user.
    ///
    /// A column that the dialect does not know is passed over, and so is a second one for the same field. The
    /// user's own regexes come first: what they give, no other column does.
    pub fn new(dialect: &Dialect, options: &W3cOptions, names: &[u8]) -> Result<Self, String> {
        let columns: Vec<&[u8]> = header_names(names).collect();
        if columns.len() > MOST_COLUMNS {
            return Err(format!("more than {MOST_COLUMNS} columns"));
        }
        let mut given = Vec::new();
        let users = users_columns(options, &columns, &mut given)?;
        let parts = users
            .into_iter()
            .zip(columns)
            .map(|(users, name)| {
                users.unwrap_or_else(|| Part::Ours(ours(dialect, options, name, &mut given)))
            })
            .collect();
        Self::of(dialect, options, names, parts)
    }

    fn of(
        dialect: &Dialect,
        options: &W3cOptions,
        names: &[u8],
        columns: Vec<Part>,
    ) -> Result<Self, String> {
        let parts: Vec<String> = columns.iter().map(Part::regex).collect();
        let python = parts.join(r"\s+");
        let columns: Option<Vec<Column>> = columns.iter().map(Part::ours).collect();
        let (regex, named) = LineRegex::new(&python, columns.is_some()).map_err(|error| {
            format!("its regex cannot be built, look at --w3c-field-regex: {error}")
        })?;
        let groups: Vec<Group> = named
            .into_iter()
            .map(|(name, number)| {
                let gives = match Field::from_name(&name) {
                    Some(field) => Gives::Field(field),
                    None => Gives::Extra {
                        wanted: options.wanted.contains(&name),
                        name,
                    },
                };
                Group { number, gives }
            })
            .collect();
        let mut fields: Vec<Field> = groups.iter().filter_map(Group::field).collect();
        dialect.complete_fields(&mut fields);
        Ok(Self {
            names: names.to_vec(),
            python,
            columns,
            fields,
            regex,
            groups,
        })
    }

    /// The columns' names, as the header has them.
    pub fn names(&self) -> &[u8] {
        &self.names
    }

    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Fields and the user's own groups.
    pub fn richness(&self) -> usize {
        let extras = self.groups.iter().filter(|group| group.field().is_none());
        self.fields.len() + extras.count()
    }

    /// The regex in Python's syntax.
    pub fn python(&self) -> &str {
        &self.python
    }

    /// Fills in the fields that stand in the line; `false`: the line does not fit.
    pub fn read<'a>(&'a self, line: &'a [u8], arena: &'a Bump, record: &mut Record<'a>) -> bool {
        let Some(columns) = &self.columns else {
            return self.read_by_regex(line, arena, record);
        };
        match read_by_hand(columns, line, record) {
            ByHand::Fits => true,
            ByHand::Misfit => false,
            ByHand::Unsure => {
                for &field in &self.fields {
                    record.forget(field);
                }
                self.read_by_regex(line, arena, record)
            }
        }
    }

    fn read_by_regex<'a>(
        &'a self,
        line: &'a [u8],
        arena: &'a Bump,
        record: &mut Record<'a>,
    ) -> bool {
        match &self.regex {
            LineRegex::Bytes(regex) => regex.captures(line).is_some_and(|found| {
                self.fill(record, |number| Some(found.get(number)?.as_bytes()));
                true
            }),
            LineRegex::Text(regex) => {
                let text = LineText::new(line, arena);
                // Columns end with the line, not with a newline.
                regex
                    .captures(text.as_str().trim_end_matches('\n'))
                    .is_some_and(|found| {
                        self.fill(record, |number| {
                            Some(text.bytes(found.get(number)?.range()))
                        });
                        true
                    })
            }
        }
    }

    fn fill<'a>(&'a self, record: &mut Record<'a>, value: impl Fn(usize) -> Option<&'a [u8]>) {
        for group in &self.groups {
            let Some(value) = value(group.number) else {
                continue;
            };
            match &group.gives {
                Gives::Field(field) => record.set(*field, value),
                Gives::Extra { name, wanted: true } => record.set_extra(name, value),
                Gives::Extra { .. } => {}
            }
        }
    }
}

impl LineRegex {
    /// From the regex in Python's syntax; where all of it is ours, it is one over bytes as well. Gives the named groups
    /// and their numbers, too.
    fn new(python: &str, is_ours: bool) -> Result<(Self, Vec<(String, usize)>), String> {
        if !is_ours {
            let regex = translated(python).map_err(|error| error.why)?;
            let names = regex.names.clone();
            return Ok((Self::Text(regex), names));
        }
        let regex = byte_regex(&format!("^{python}")).map_err(|error| error.to_string())?;
        let numbered = regex.capture_names().enumerate();
        let names = numbered
            .filter_map(|(number, name)| Some((name?.to_owned(), number)))
            .collect();
        Ok((Self::Bytes(regex), names))
    }
}

fn read_by_hand<'a>(columns: &[Column], line: &'a [u8], record: &mut Record<'a>) -> ByHand {
    let (mut rest, mut misfit) = (line, ByHand::Misfit);
    for (at, column) in columns.iter().enumerate() {
        let last = at + 1 == columns.len();
        let Some(taken) = column.take(rest, last, record) else {
            return misfit;
        };
        if taken.at_quote {
            misfit = ByHand::Unsure;
        }
        rest = &rest[taken.len..];
        let blanks = rest.iter().take_while(|&&b| is_blank(b)).count();
        if blanks == 0 && !last {
            return misfit;
        }
        rest = &rest[blanks..];
    }
    ByHand::Fits
}

impl Group {
    fn field(&self) -> Option<Field> {
        match self.gives {
            Gives::Field(field) => Some(field),
            Gives::Extra { .. } => None,
        }
    }
}

impl Part {
    fn ours(&self) -> Option<Column> {
        match self {
            Part::Ours(column) => Some(*column),
            Part::Users(_) => None,
        }
    }

    fn regex(&self) -> String {
        match self {
            Part::Ours(column) => column.regex(),
            Part::Users(in_line) => in_line.clone(),
        }
    }
}

/// The columns that the user has a regex for, each name once; the fields that they give go to `given`.
fn users_columns(
    options: &W3cOptions,
    columns: &[&[u8]],
    given: &mut Vec<Field>,
) -> Result<Vec<Option<Part>>, String> {
    let mut used: Vec<&[u8]> = Vec::new();
    let mut users = |name| {
        let Some(typed) = options.regex_for(name).filter(|_| !used.contains(&name)) else {
            return Ok(None);
        };
        used.push(name);
        let regex = UsersRegex::new(typed).map_err(|error| {
            let name = String::from_utf8_lossy(name);
            format!("--w3c-field-regex for {name}: {error}")
        })?;
        let names = regex.names.iter().map(String::as_str);
        given.extend(names.filter_map(Field::from_name));
        Ok(Some(Part::Users(regex.in_line)))
    };
    columns.iter().map(|name| users(*name)).collect()
}

/// The column of that name, without the fields that are `given` already.
fn ours(dialect: &Dialect, options: &W3cOptions, name: &[u8], given: &mut Vec<Field>) -> Column {
    let known = options
        .standard_name(name)
        .and_then(|standard| dialect.column(standard, options));
    let Some(mut column) = known else {
        return Column::SKIP;
    };
    for gives in &mut column.gives {
        *gives = gives.filter(|field| !given.contains(field));
        given.extend(*gives);
    }
    match column.gives {
        [None, None] => Column::SKIP,
        _ => column,
    }
}

/// A log is bytes, so `\S` and `.` take any of them; none of a line is a line end.
fn byte_regex(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern)
        .unicode(false)
        .dot_matches_new_line(true)
        .build()
}

/// The names in a header, one after the other.
pub fn header_names(names: &[u8]) -> impl Iterator<Item = &[u8]> {
    names
        .split(|&b| is_blank(b))
        .filter(|name| !name.is_empty())
}
