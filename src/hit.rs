//! Record to hit: what a line's fields mean (SPEC section 4).

use bumpalo::Bump;
use chrono_tz::Tz;

use crate::format::date::DateFormat;
use crate::format::{Field, Fields, Format, Record, whole_number};
use crate::radio::variants::CID;

/// How fields become hits; from the options of the same names.
#[derive(Clone, Debug)]
pub struct HitOptions {
    /// Where the query begins in a path.
    pub query_delimiter: Vec<u8>,
    pub lowercase_path: bool,
    /// Seconds.
    pub add_to_date: i64,
    /// The zone of dates that carry none; without it UTC.
    pub timezone: Option<Tz>,
    /// `--log-hostname`: every hit's host, as typed.
    pub forced_host: Option<String>,
    /// Fields that count as absent, custom variables aside.
    pub ignored: Fields,
}

/// What an extension says of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileKind {
    pub download: bool,
    /// A download by the built-in list that the user's list leaves out.
    pub unwanted_download: bool,
    pub is_static: bool,
}

/// A site of Matomo's, as tracking requests need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// `idsite`, as Matomo or the user wrote it.
    pub id: String,
    /// The main url without slashes at its end; known with `--idsite` and when replaying.
    pub main_url: Option<String>,
}

impl Site {
    pub fn new(id: &str, main_url: Option<&str>) -> Self {
        Self {
            id: id.to_owned(),
            main_url: main_url.map(|url| url.trim_end_matches('/').to_owned()),
        }
    }

    /// What stands before a host: the scheme of the site's main url where that is known, otherwise `http`.
    pub fn scheme(&self) -> &str {
        let scheme = self
            .main_url
            .as_deref()
            .and_then(|url| url.split_once("://"));
        scheme.map_or("http", |(scheme, _)| scheme)
    }
}

/// One request that a server answered, as filters, sites and tracking requests want it.
pub struct Hit<'a> {
    /// The line's fields as they were read, for custom variables, and the format that read them.
    pub record: &'a Record<'a>,
    pub format: &'a dyn Format,
    pub ip: &'a [u8],
    /// Without query.
    pub path: &'a [u8],
    /// Without delimiter; empty where there is none.
    pub query: &'a [u8],
    /// What follows the path's last dot, in whatever case; the whole path where it has no dot.
    pub extension: &'a [u8],
    pub status: &'a [u8],
    /// Lower case, without dots or quotes around; `None` where the log has no host.
    pub host: Option<&'a [u8]>,
    /// Empty where the log has `-` or none.
    pub referrer: &'a [u8],
    pub user_agent: &'a [u8],
    /// The agent as it stands in the log, where a format decodes it.
    pub raw_agent: Option<&'a [u8]>,
    /// Where the log hides the address: what tells the visitor apart instead.
    pub cid: Option<[u8; CID]>,
    /// A radio log's listener: neither a download nor a static file, whatever the mount point's name ends in.
    pub is_listener: bool,
    /// Set by the filters: what its extension says of it.
    pub file: FileKind,
    /// Set by the filters: a request of a file to download.
    pub is_download: bool,
    /// Set by the filters: the agent is a bot's.
    pub is_bot: bool,

    // From here on set by [`HitOptions::complete`], once the filters that need no date have been passed.
    /// Seconds since 1970, UTC.
    pub time: i64,
    pub userid: Option<&'a [u8]>,
    /// Bytes.
    pub length: u64,
    /// Milliseconds; finite and above 0, else absent.
    pub generation_time: Option<f64>,
    pub event: Option<Event<'a>>,
    pub session_time: Option<&'a [u8]>,
}

#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    pub category: &'a [u8],
    pub action: &'a [u8],
    pub name: Option<&'a [u8]>,
}

impl<'a> Hit<'a> {
    /// A field by the name that the user gave it, as it was read: an agent that the format decodes stays coded.
    pub fn raw(&self, name: &str) -> Option<&'a [u8]> {
        match self.format.field(name) {
            Some(Field::UserAgent) => self.raw_agent.or_else(|| self.record.get(Field::UserAgent)),
            Some(field) => self.record.get(field),
            None => self.record.by_name(name),
        }
    }

    pub fn is_error(&self) -> bool {
        matches!(self.status.first(), Some(b'4' | b'5'))
    }

    /// 304 is the answer to a visitor who has the page already: no redirect.
    pub fn is_redirect(&self) -> bool {
        self.status.first() == Some(&b'3') && self.status != b"304"
    }
}

impl HitOptions {
    /// A hit, as far as filters look at it before its date.
    pub fn hit<'a>(
        &self,
        format: &'a dyn Format,
        record: &'a Record<'a>,
        arena: &'a Bump,
    ) -> Hit<'a> {
        let get = |field| self.get(record, field);
        let (path, query) = self.path_and_query(record, arena);
        let host = match &self.forced_host {
            Some(host) => Some(arena.alloc_str(host).as_bytes()),
            None => get(Field::Host).map(|host| tidy_host(host, arena)),
        };
        let referrer = unquoted(get(Field::Referrer).unwrap_or_default());
        Hit {
            record,
            format,
            ip: get(Field::Ip).unwrap_or_default(),
            path,
            query,
            extension: memchr::memrchr(b'.', path).map_or(path, |dot| &path[dot + 1..]),
            status: get(Field::Status).unwrap_or_default(),
            host,
            referrer: if referrer == b"-" { b"" } else { referrer },
            user_agent: unquoted(get(Field::UserAgent).unwrap_or_default()),
            raw_agent: record.raw_agent(),
            cid: None,
            is_listener: false,
            file: FileKind::default(),
            is_download: false,
            is_bot: false,
            time: 0,
            userid: None,
            length: 0,
            generation_time: None,
            event: None,
            session_time: None,
        }
    }

    /// The rest of a hit, which lines that are dropped before do not need. `None`: its date is none, and the line is
    /// invalid.
    pub fn complete(&self, hit: &mut Hit) -> Option<()> {
        let get = |field| self.get(hit.record, field);
        hit.time = self.time(hit.record, hit.format.dates())?;
        hit.userid = get(Field::Userid)
            .filter(|user| *user != b"-" && user.iter().any(|byte| *byte != b'"'));
        hit.length = get(Field::Length).and_then(whole_number).unwrap_or(0);
        hit.generation_time = self.generation_time(hit.record);
        hit.event = event(
            get(Field::EventCategory),
            get(Field::EventAction),
            get(Field::EventName),
        );
        hit.session_time = get(Field::SessionTime);
        Some(())
    }

    /// The moment of a record, in seconds since 1970, UTC. `None`: its date is none.
    pub fn time(&self, record: &Record, dates: &DateFormat) -> Option<i64> {
        let moment = dates.read(record)?;
        let offset = match moment
            .offset
            .filter(|_| !self.ignored.contains(Field::Timezone))
        {
            Some(offset) => i64::from(offset),
            // Of the clock that the line was written by, not of one set forward or back.
            None => self
                .timezone
                .map_or(0, |zone| offset_in(zone, moment.local)),
        };
        let time = moment
            .local
            .checked_sub(offset)?
            .checked_add(self.add_to_date)?;
        // The years that both Matomo and a calendar of four digits know.
        (-62_135_596_800..253_402_300_800)
            .contains(&time)
            .then_some(time)
    }

    fn get<'a>(&self, record: &Record<'a>, field: Field) -> Option<&'a [u8]> {
        if self.ignored.contains(field) {
            None
        } else {
            record.get(field)
        }
    }

    /// A format with its own `query_string` has path and query apart; otherwise the path is cut.
    fn path_and_query<'a>(&self, record: &Record<'a>, arena: &'a Bump) -> (&'a [u8], &'a [u8]) {
        let mut path = record.get(Field::Path).unwrap_or_default();
        if self.lowercase_path {
            path = lowercase(path, arena);
        }
        let (path, query) = match self.get(record, Field::QueryString) {
            Some(query) => (path, query),
            None => match find(&self.query_delimiter, path) {
                Some(place) => (&path[..place], &path[place + self.query_delimiter.len()..]),
                None => (path, &b""[..]),
            },
        };
        (path, if query == b"-" { b"" } else { query })
    }

    fn generation_time(&self, record: &Record) -> Option<f64> {
        let number = |field, factor: f64| -> Option<f64> {
            let text = std::str::from_utf8(self.get(record, field)?).ok()?;
            Some(text.trim().parse::<f64>().ok()? * factor)
        };
        number(Field::GenerationTimeMilli, 1.0)
            .or_else(|| number(Field::GenerationTimeMicro, 0.001))
            .or_else(|| number(Field::GenerationTimeSecs, 1000.0))
            .filter(|time| time.is_finite() && *time > 0.0)
    }
}

/// Where a delimiter begins. Nearly always it is one byte, for which nothing needs to be prepared.
fn find(delimiter: &[u8], text: &[u8]) -> Option<usize> {
    match delimiter {
        [byte] => memchr::memchr(*byte, text),
        _ => memchr::memmem::find(text, delimiter),
    }
}

fn event<'a>(
    category: Option<&'a [u8]>,
    action: Option<&'a [u8]>,
    name: Option<&'a [u8]>,
) -> Option<Event<'a>> {
    Some(Event {
        category: category?,
        action: action?,
        name: name.filter(|name| *name != b"-"),
    })
}

fn unquoted(text: &[u8]) -> &[u8] {
    match text {
        [b'"', inner @ .., b'"'] => inner,
        _ => text,
    }
}

/// Lower case, dots at its ends taken off, then outer quotes.
fn tidy_host<'a>(host: &'a [u8], arena: &'a Bump) -> &'a [u8] {
    let mut host = lowercase(host, arena);
    while let [b'.', rest @ ..] | [rest @ .., b'.'] = host {
        host = rest;
    }
    unquoted(host)
}

/// Lower case as far as ASCII goes; other letters only where the whole text is UTF-8.
fn lowercase<'a>(text: &'a [u8], arena: &'a Bump) -> &'a [u8] {
    if text
        .iter()
        .all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase())
    {
        return text;
    }
    match std::str::from_utf8(text) {
        Ok(valid) if !valid.is_ascii() => arena.alloc_str(&valid.to_lowercase()).as_bytes(),
        _ => {
            let lower = arena.alloc_slice_copy(text);
            lower.make_ascii_lowercase();
            lower
        }
    }
}

/// Seconds east of UTC at a wall-clock moment. In the hour that summer time repeats, its first reading; in the
/// hour that it leaves out, the offset in force before.
fn offset_in(zone: Tz, local: i64) -> i64 {
    use chrono::{DateTime, MappedLocalTime, Offset, TimeDelta, TimeZone};
    let Some(wall) = DateTime::from_timestamp(local, 0).map(|time| time.naive_utc()) else {
        return 0;
    };
    let offset = match zone.offset_from_local_datetime(&wall) {
        MappedLocalTime::Single(offset) | MappedLocalTime::Ambiguous(offset, _) => offset,
        MappedLocalTime::None => zone.offset_from_utc_datetime(&(wall - TimeDelta::days(1))),
    };
    i64::from(offset.fix().local_minus_utc())
}
