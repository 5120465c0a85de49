//! A `#Fields:` line made ready: its columns in order, read by hand where that is sure, by regex elsewhere.

use regex::bytes::{Regex, RegexBuilder};

use super::column::Column;
use super::dialect::Dialect;
use super::is_blank;
use super::options::{W3cOptions, users_regex};
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
    regex: Regex,
    groups: Vec<Group>,
}

/// One column.
enum Part {
    Ours(Column),
    /// `--w3c-field-regex`: as typed, and as our regex engine takes it.
    Users {
        typed: String,
        compiled: String,
    },
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
        let pattern = format!("^{}", join(&columns, Part::compiled));
        let regex = byte_regex(&pattern, false).map_err(|error| {
            format!("its regex cannot be built, look at --w3c-field-regex: {error}")
        })?;
        let groups: Vec<Group> = regex
            .capture_names()
            .enumerate()
            .filter_map(|(number, name)| {
                let name = name?;
                let gives = Field::from_name(name).map_or_else(
                    || Gives::Extra {
                        name: name.to_owned(),
                        wanted: options.wanted.contains(name),
                    },
                    Gives::Field,
                );
                Some(Group { number, gives })
            })
            .collect();
        let mut fields: Vec<Field> = groups.iter().filter_map(Group::field).collect();
        dialect.complete_fields(&mut fields);
        Ok(Self {
            names: names.to_vec(),
            python: join(&columns, Part::typed),
            columns: columns.iter().map(Part::ours).collect(),
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
    pub fn read<'a>(&'a self, line: &'a [u8], record: &mut Record<'a>) -> bool {
        let Some(columns) = &self.columns else {
            return self.read_by_regex(line, record);
        };
        match read_by_hand(columns, line, record) {
            ByHand::Fits => true,
            ByHand::Misfit => false,
            ByHand::Unsure => {
                for &field in &self.fields {
                    record.forget(field);
                }
                self.read_by_regex(line, record)
            }
        }
    }

    fn read_by_regex<'a>(&'a self, line: &'a [u8], record: &mut Record<'a>) -> bool {
        let Some(captures) = self.regex.captures(line) else {
            return false;
        };
        for group in &self.groups {
            let Some(value) = captures.get(group.number) else {
                continue;
            };
            match &group.gives {
                Gives::Field(field) => record.set(*field, value.as_bytes()),
                Gives::Extra { name, wanted: true } => record.set_extra(name, value.as_bytes()),
                Gives::Extra { .. } => {}
            }
        }
        true
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
            Part::Users { .. } => None,
        }
    }

    fn typed(&self) -> String {
        match self {
            Part::Ours(column) => column.regex(),
            Part::Users { typed, .. } => typed.clone(),
        }
    }

    fn compiled(&self) -> String {
        match self {
            Part::Ours(column) => column.regex(),
            Part::Users { compiled, .. } => compiled.clone(),
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
        let (regex, compiled) = users_regex(typed).map_err(|error| {
            let name = String::from_utf8_lossy(name);
            format!("--w3c-field-regex for {name}: {error}")
        })?;
        given.extend(regex.capture_names().flatten().filter_map(Field::from_name));
        Ok(Some(Part::Users {
            typed: format!("(?:{typed})"),
            compiled,
        }))
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

fn join(columns: &[Part], text: impl Fn(&Part) -> String) -> String {
    columns.iter().map(text).collect::<Vec<_>>().join(r"\s+")
}

/// A regex over bytes; `unicode` for texts that need it. A dot takes every byte: a line has no line end.
pub fn byte_regex(pattern: &str, unicode: bool) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern)
        .unicode(unicode)
        .dot_matches_new_line(true)
        .build()
}

/// The names in a header, one after the other.
pub fn header_names(names: &[u8]) -> impl Iterator<Item = &[u8]> {
    names
        .split(|&b| is_blank(b))
        .filter(|name| !name.is_empty())
}
