//! Turns a record into a hit: what the fields of a line mean.
//!
//! A line becomes a hit in two steps. [`HitOptions::request`] makes a [`LoggedRequest`], which is
//! all that most filters need. Its date is read and its site looked up only if those filters keep
//! it; [`HitOptions::sent_hit`] then makes the [`Hit`].

mod address;
mod day;
pub mod host;
mod query;
pub mod replay;
mod request_target;
mod rewrite;

use std::borrow::Cow;
use std::net::IpAddr;
use std::rc::Rc;

use bumpalo::Bump;
use chrono_tz::Tz;

use crate::format::date::{DateFormat, LastDate};
use crate::format::{Field, Fields, Format, Record, short, whole_number};
use crate::network::NetworkSet;
use crate::privacy::{AddressMask, VisitorKey};
use crate::radio::stable_hash;

pub use address::ClientAddress;
pub use day::{HitDays, SiteCalendar, Zone};
pub use query::QueryFilter;
use replay::Arguments;
pub use request_target::TargetKind;
use request_target::{RequestParts, RequestTarget};
use rewrite::OwnAddresses;
pub use rewrite::{Privacy, Rewrite};

/// Milliseconds of the longest generation time that is sent, one day. No page takes longer.
const MAX_GENERATION_TIME: f64 = 86_400_000.0;

/// How fields become hits. Most fields are the option of the same name.
#[derive(Clone, Debug)]
pub struct HitOptions {
    /// Separates the path from the query.
    pub query_delimiter: Vec<u8>,
    pub lowercase_path: bool,
    /// Seconds.
    pub add_to_date: i64,
    /// Time zone of dates that have none. Defaults to UTC.
    pub timezone: Option<Tz>,
    /// `--log-hostname`: the host of every hit, as typed.
    pub forced_host: Option<String>,
    /// Fields that count as absent except in custom variables.
    pub ignored: Fields,
    pub client: AddressOptions,
    /// `None` sends a request as it is logged.
    pub rewrite: Option<Box<Rewrite>>,
    /// Of the line before.
    pub last_date: LastDate,
}

/// Which address is the client's.
#[derive(Clone, Debug, Default)]
pub struct AddressOptions {
    /// `--client-ip`: the fields that may have it, the preferred one first. Empty for `ip`.
    pub fields: Vec<String>,
    /// `--trusted-proxy`.
    pub proxies: NetworkSet,
}

impl AddressOptions {
    fn is_default(&self) -> bool {
        self.fields.is_empty() && self.proxies.is_empty()
    }
}

/// What a file extension says about a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileKind {
    pub download: bool,
    /// In the built-in list of downloads, but not in the user's.
    pub unwanted_download: bool,
    pub is_static: bool,
}

/// A Matomo site, as tracking requests need it.
#[derive(Debug)]
pub struct Site {
    /// Position in the run's list of sites. Two sites of a run never share it.
    pub index: u32,
    /// `idsite`, as Matomo or the user wrote it.
    pub id: String,
    /// The main URL without trailing slashes. Known with `--idsite` and when replaying.
    pub main_url: Option<String>,
    pub calendar: SiteCalendar,
}

impl Site {
    pub fn new(index: u32, id: &str, main_url: Option<&str>) -> Self {
        Self {
            index,
            id: id.to_owned(),
            main_url: main_url.map(|url| url.trim_end_matches('/').to_owned()),
            calendar: SiteCalendar::default(),
        }
    }

    /// The scheme for page URLs: that of the main URL if known, otherwise `http`.
    pub fn scheme(&self) -> &str {
        let scheme = self
            .main_url
            .as_deref()
            .and_then(|url| url.split_once("://"));
        scheme.map_or("http", |(scheme, _)| scheme)
    }
}

/// A request that a server logged, before its date and site are known.
pub struct LoggedRequest<'a> {
    /// The fields as parsed, for custom variables, and the format that parsed them.
    pub record: &'a Record<'a>,
    pub format: &'a dyn Format,
    /// Whether the request is for a page.
    pub target: TargetKind,
    /// The scheme of a request for a whole URL, else that of the log, in lower case.
    pub scheme: Option<&'a [u8]>,
    /// Without the query. Begins with a slash.
    pub path: &'a [u8],
    /// Without the delimiter; may be empty.
    pub query: &'a [u8],
    /// What follows the last dot of the path, in its original case; the whole path if it has none.
    pub extension: &'a [u8],
    pub status: &'a [u8],
    /// As [`host::normalize`] returns it, or as typed. Empty if the line has none, `None` if the
    /// log has none.
    pub host: Option<&'a [u8]>,
    /// Empty if the log has `-` or none.
    pub referrer: &'a [u8],
    pub user_agent: &'a [u8],
    /// Set for a radio listener: neither a download nor a static file, whatever the mount point's
    /// name.
    pub is_listener: bool,
    /// Set by the filters from the extension.
    pub file: FileKind,
    /// Set by the filters.
    pub is_download: bool,
    /// Set by the filters from the user agent.
    pub is_bot: bool,
    /// Set by the filters: a hit of an AI assistant, which is no visit.
    pub is_assistant: bool,
    /// What the list of bots says about the user agent, if that was looked up already.
    pub agent_class: Option<AgentClass>,
}

/// A user agent in the list of bots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentClass {
    pub is_bot: bool,
    /// The index of its bot in the list.
    pub entry: Option<usize>,
}

/// A logged request that is imported: its date is valid and its site known.
pub struct Hit<'a> {
    pub request: &'a LoggedRequest<'a>,
    pub address: ClientAddress<'a>,
    /// Seconds since 1970, UTC.
    pub time: i64,
    pub site: Rc<Site>,
    pub userid: Option<&'a [u8]>,
    /// Bytes.
    pub length: u64,
    /// Milliseconds; above 0 and at most a day.
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

impl<'a> LoggedRequest<'a> {
    /// A field as logged, by the name that the user gave it. A user agent is not decoded.
    pub fn raw(&self, name: &str) -> Option<&'a [u8]> {
        match self.format.field(name) {
            Some(Field::UserAgent) => {
                let raw = self.record.raw_agent();
                raw.or_else(|| self.record.get(Field::UserAgent))
            }
            Some(field) => self.record.get(field),
            None => self.record.by_name(name),
        }
    }

    pub fn is_error(&self) -> bool {
        is_error(self.status)
    }

    /// A 304 answers a visitor whose browser has the page already; it is not a redirect.
    pub fn is_redirect(&self) -> bool {
        self.status.first() == Some(&b'3') && self.status != b"304"
    }
}

impl HitOptions {
    /// Reads the fields that filters need before they know the date.
    pub fn request<'a>(
        &self,
        format: &'a dyn Format,
        record: &'a Record<'a>,
        arena: &'a Bump,
    ) -> LoggedRequest<'a> {
        let method = self.get(record, Field::Method);
        let (path, query, dot) = self.path_and_query(record, arena);
        if !is_usual_target(method, path) {
            return self.unusual_request((path, query), format, record, arena);
        }
        let target = RequestTarget {
            kind: TargetKind::Page,
            scheme: None,
            host: b"",
            path,
            query,
        };
        let extension = dot.map_or(path, |dot| &path[dot + 1..]);
        self.request_for(target, extension, format, record, arena)
    }

    /// Reads a request whose target may be anything.
    #[cold]
    fn unusual_request<'a>(
        &self,
        (path, query): (&'a [u8], &'a [u8]),
        format: &'a dyn Format,
        record: &'a Record<'a>,
        arena: &'a Bump,
    ) -> LoggedRequest<'a> {
        let parts = RequestParts {
            method: self.get(record, Field::Method),
            path,
            query,
            is_error: is_error(self.get(record, Field::Status).unwrap_or_default()),
        };
        let target = RequestTarget::read(parts, arena);
        // A slash that is not in the log is no part of the name.
        let name = match target.scheme.is_some() || path.starts_with(b"/") {
            true => target.path,
            false => &target.path[1..],
        };
        let dot = memchr::memrchr(b'.', target.path);
        let extension = dot.map_or(name, |dot| &target.path[dot + 1..]);
        self.request_for(target, extension, format, record, arena)
    }

    #[inline(always)]
    fn request_for<'a>(
        &self,
        target: RequestTarget<'a>,
        extension: &'a [u8],
        format: &'a dyn Format,
        record: &'a Record<'a>,
        arena: &'a Bump,
    ) -> LoggedRequest<'a> {
        let get = |field| self.get(record, field);
        let RequestTarget { path, query, .. } = target;
        let user_agent = unquoted(get(Field::UserAgent).unwrap_or_default());
        let referrer = unquoted(get(Field::Referrer).unwrap_or_default());
        LoggedRequest {
            record,
            format,
            target: target.kind,
            scheme: target.scheme.or_else(|| self.scheme(record, arena)),
            path,
            query,
            extension,
            status: get(Field::Status).unwrap_or_default(),
            host: self.host(record, target.host, arena),
            referrer: if referrer == b"-" { b"" } else { referrer },
            user_agent,
            is_listener: false,
            file: FileKind::default(),
            is_download: false,
            is_bot: false,
            is_assistant: false,
            agent_class: None,
        }
    }

    /// The hit of a request that passed the filters, as it is sent. See [`HitOptions::hit`].
    pub fn sent_hit<'a, 'l: 'a>(
        &self,
        request: &'a mut LoggedRequest<'l>,
        time: i64,
        site: Rc<Site>,
        arena: &'l Bump,
    ) -> Hit<'a> {
        let Some(rewrite) = &self.rewrite else {
            return self.hit(request, time, site);
        };
        let own = match &rewrite.privacy {
            Some(_) => self.own_addresses(request),
            None => OwnAddresses::default(),
        };
        rewrite.request(request, &own, &site, arena);
        let mut hit = self.hit(request, time, site);
        if let Some(privacy) = &rewrite.privacy {
            if hit.address.is_id() {
                let masked = self.id_of_masked_field(hit.request, privacy.mask);
                hit.address = masked.unwrap_or(hit.address);
            }
            privacy.hit(&mut hit, &own, arena);
        }
        hit
    }

    /// The visitor id of an address field that has something like an address, which is masked: an
    /// id of the whole text could be found by trying all addresses.
    fn id_of_masked_field<'a>(
        &self,
        request: &LoggedRequest,
        mask: AddressMask,
    ) -> Option<ClientAddress<'a>> {
        let names = self.client.fields.iter().map(String::as_str);
        let mut fields = names.chain(["ip"]).filter_map(|name| request.raw(name));
        fields.find_map(|field| match mask.mask_text(field) {
            Cow::Owned(masked) => Some(ClientAddress::Id(ClientAddress::id_of_text(&masked))),
            Cow::Borrowed(_) => None,
        })
    }

    /// Masks addresses in the arguments of a replayed request.
    pub fn mask_arguments(&self, arguments: &mut Arguments, request: &LoggedRequest) {
        if let Some(privacy) = self.privacy() {
            arguments.mask(privacy.mask, &self.own_addresses(request));
        }
    }

    fn own_addresses(&self, request: &LoggedRequest) -> OwnAddresses {
        let mut own = OwnAddresses::default();
        let names = self.client.fields.iter().map(String::as_str);
        let fields = ["ip", "x_forwarded_for"].into_iter().chain(names);
        fields
            .filter_map(|name| request.raw(name))
            .for_each(|field| own.add(field));
        own
    }

    /// What is hidden of visitors.
    pub fn privacy(&self) -> Option<&Privacy> {
        self.rewrite.as_ref()?.privacy.as_ref()
    }

    /// Sets the key of visitor ids, if visitors have ids.
    pub fn set_visitor_key(&mut self, key: VisitorKey) {
        let rewrite = self.rewrite.as_mut();
        let privacy = rewrite.and_then(|rewrite| rewrite.privacy.as_mut());
        if let Some(visitors) = privacy.and_then(|privacy| privacy.visitors.as_mut()) {
            *visitors = key;
        }
    }

    /// Reads the fields that only tracking requests need. `time` is [`HitOptions::time`] of the
    /// record.
    pub fn hit<'a>(&self, request: &'a LoggedRequest<'a>, time: i64, site: Rc<Site>) -> Hit<'a> {
        let get = |field| self.get(request.record, field);
        Hit {
            request,
            address: self.address(request),
            time,
            site,
            userid: self.userid(request.record),
            length: self.length(request.record),
            generation_time: self.generation_time(request.record),
            event: event(
                get(Field::EventCategory),
                get(Field::EventAction),
                get(Field::EventName),
            ),
            session_time: self.session_time(request.record),
        }
    }

    /// A hash of the visitor of a request, which is the same on every machine, in every run and in
    /// every version. A replayed request has `arguments`.
    ///
    /// Hits that Matomo takes for those of one visitor have the same hash: what is masked when it
    /// is sent is masked here.
    pub fn visitor_hash(&self, request: &LoggedRequest, arguments: Option<&Arguments>) -> u64 {
        let privacy = self.privacy();
        let hash = |text: &[u8]| match privacy {
            Some(privacy) => hash_of_visitor(&privacy.mask.mask_text(text)),
            None => hash_of_visitor(text),
        };
        let sends_users = privacy.is_none_or(|privacy| privacy.visitors.is_none());
        let user = self.userid(request.record).filter(|_| sends_users);
        if let Some(visitor) = visitor(arguments, user) {
            return hash(visitor);
        }
        let address = self.address(request);
        let masked = privacy.filter(|_| address.is_id());
        let masked = masked.and_then(|privacy| self.id_of_masked_field(request, privacy.mask));
        hash(masked.unwrap_or(address).as_bytes())
    }

    /// The user of a line. Dashes, blanks and quotes alone are none.
    fn userid<'a>(&self, record: &Record<'a>) -> Option<&'a [u8]> {
        self.get(record, Field::Userid)
            .filter(|user| *user != b"-")
            .map(<[u8]>::trim_ascii)
            .filter(|user| user.iter().any(|byte| !b"- \"".contains(byte)))
    }

    /// The length of the response, in bytes.
    pub fn length(&self, record: &Record) -> u64 {
        // HAProxy writes `+4096` if it logs a response before its end.
        self.get(record, Field::Length)
            .and_then(|length| whole_number(length.strip_prefix(b"+").unwrap_or(length)))
            .unwrap_or(0)
    }

    /// How far the clock that wrote a line is from UTC, in seconds east. `None` if the line does
    /// not say.
    pub fn offset(&self, record: &Record, dates: &DateFormat) -> Option<i32> {
        let offset = dates.read_after(&self.last_date, record)?.offset;
        offset.filter(|_| !self.ignored.contains(Field::Timezone))
    }

    /// Seconds since 1970, UTC. Returns `None` if the date cannot be parsed or is not in the years
    /// 1 to 9999, which Matomo can store.
    pub fn time(&self, record: &Record, dates: &DateFormat) -> Option<i64> {
        let moment = dates.read_after(&self.last_date, record)?;
        let in_log = moment
            .offset
            .filter(|_| !self.ignored.contains(Field::Timezone));
        let offset = match (in_log, self.timezone) {
            (Some(offset), _) => i64::from(offset),
            // The offset when the line was written, so it is found before `add_to_date` is added.
            (None, Some(zone)) => offset_in(zone, moment.local),
            (None, None) => 0,
        };
        let time = moment
            .local
            .checked_sub(offset)?
            .checked_add(self.add_to_date)?;
        (-62_135_596_800..253_402_300_800)
            .contains(&time)
            .then_some(time)
    }

    /// The client's address. Read on demand, because many requests are dropped before it matters.
    pub fn address<'a>(&self, request: &LoggedRequest<'a>) -> ClientAddress<'a> {
        let ip = self.get(request.record, Field::Ip);
        match self.client.is_default() {
            true => ClientAddress::of(ip, request.user_agent),
            false => self.client_behind_proxies(ip, request),
        }
    }

    #[cold]
    fn client_behind_proxies<'a>(
        &self,
        ip: Option<&'a [u8]>,
        request: &LoggedRequest<'a>,
    ) -> ClientAddress<'a> {
        let proxies = &self.client.proxies;
        let read = |field| match proxies.is_empty() {
            true => ClientAddress::read(field),
            false => ClientAddress::outside(field, proxies),
        };
        let mut names = self.client.fields.iter();
        let client = match names.len() {
            0 => ip.and_then(read),
            _ => names.find_map(|name| read(request.raw(name)?)),
        };
        client.unwrap_or_else(|| ClientAddress::of_agent(request.user_agent))
    }

    /// The duration of a listener's connection, as in the log.
    pub fn session_time<'a>(&self, record: &Record<'a>) -> Option<&'a [u8]> {
        self.get(record, Field::SessionTime)
    }

    fn get<'a>(&self, record: &Record<'a>, field: Field) -> Option<&'a [u8]> {
        match self.ignored.contains(field) {
            true => ignored(),
            false => record.get(field),
        }
    }

    /// The scheme that the log has in a field of its own, if pages can have it.
    fn scheme<'a>(&self, record: &Record<'a>, arena: &'a Bump) -> Option<&'a [u8]> {
        let scheme = lowercase(self.get(record, Field::Scheme)?, arena);
        matches!(scheme, b"http" | b"https").then_some(scheme)
    }

    /// The host that the user gave, else that of the log, else that of the request's target.
    fn host<'a>(
        &self,
        record: &Record<'a>,
        of_target: &'a [u8],
        arena: &'a Bump,
    ) -> Option<&'a [u8]> {
        if let Some(host) = &self.forced_host {
            return Some(arena.alloc_str(host).as_bytes());
        }
        let normalize = |host| host::normalize(host, arena);
        match self.get(record, Field::Host).map(normalize) {
            None | Some(b"") if !of_target.is_empty() => Some(normalize(of_target)),
            host => host,
        }
    }

    /// Cuts the path at the delimiter, unless the format has a `query_string` of its own. Also
    /// returns the place of the last dot in the path.
    fn path_and_query<'a>(
        &self,
        record: &Record<'a>,
        arena: &'a Bump,
    ) -> (&'a [u8], &'a [u8], Option<usize>) {
        let mut whole = record.get(Field::Path).unwrap_or_default();
        if self.lowercase_path {
            whole = lowercase(whole, arena);
        }
        let (path, query, dot) = match self.get(record, Field::QueryString) {
            Some(query) => (whole, query, memchr::memrchr(b'.', whole)),
            None => {
                let (place, dot) = query_and_last_dot(whole, &self.query_delimiter);
                let (path, rest) = whole.split_at(place.unwrap_or(whole.len()));
                let query = rest.get(self.query_delimiter.len()..).unwrap_or_default();
                (path, query, dot)
            }
        };
        (path, if query == b"-" { b"" } else { query }, dot)
    }

    fn generation_time(&self, record: &Record) -> Option<f64> {
        let number = |field, factor: f64| -> Option<f64> {
            let text = std::str::from_utf8(self.get(record, field)?).ok()?;
            Some(sum(text)? * factor)
        };
        number(Field::GenerationTimeMilli, 1.0)
            .or_else(|| number(Field::GenerationTimeMicro, 0.001))
            .or_else(|| number(Field::GenerationTimeSecs, 1000.0))
            .filter(|time| *time > 0.0 && *time <= MAX_GENERATION_TIME)
    }
}

/// What identifies a visitor for Matomo before its address does: a user, then another id. `user` is
/// that of the line, which Matomo gets unless `arguments`, those of a replayed request, have one.
pub fn visitor<'v>(arguments: Option<&'v Arguments>, user: Option<&'v [u8]>) -> Option<&'v [u8]> {
    let replayed = arguments.and_then(Arguments::user).map(str::as_bytes);
    let other = || arguments.and_then(Arguments::visitor).map(str::as_bytes);
    replayed.or(user).or_else(other)
}

/// An IPv6 address in its usual form, however it is written, and an IPv4 address that is written as
/// one. `None` for anything else.
pub fn plain_address(visitor: &[u8]) -> Option<String> {
    memchr::memchr(b':', visitor)?;
    let address: IpAddr = str::from_utf8(visitor).ok()?.parse().ok()?;
    Some(address.to_canonical().to_string())
}

/// A hash of a visitor's address, id or name that never changes: FNV-1a, of the bytes of an address
/// (4 or 16), however it is written, and of other texts as they are.
pub fn hash_of_visitor(visitor: &[u8]) -> u64 {
    let address = str::from_utf8(visitor).ok();
    let address = address.and_then(|text| text.parse::<IpAddr>().ok());
    match address.map(|address| address.to_canonical()) {
        Some(IpAddr::V4(address)) => stable_hash(address.octets()),
        Some(IpAddr::V6(address)) => stable_hash(address.octets()),
        None => stable_hash(visitor.iter().copied()),
    }
}

/// Nearly no run ignores a field: then a branch is cheaper than a conditional move.
#[cold]
fn ignored<'a>() -> Option<&'a [u8]> {
    None
}

/// Whether a target is a path on this server, as nearly always.
fn is_usual_target(method: Option<&[u8]>, path: &[u8]) -> bool {
    let is_usual = |method| method == b"GET" || method == b"POST" || method == b"HEAD";
    path.first() == Some(&b'/') && method.is_none_or(is_usual)
}

/// The place of the query's delimiter, and that of the last dot before it. The delimiter is nearly
/// always one byte, which needs no prepared search.
fn query_and_last_dot(path: &[u8], delimiter: &[u8]) -> (Option<usize>, Option<usize>) {
    match delimiter {
        [byte] => short::query_and_last_dot(path, *byte),
        _ => {
            let place = memchr::memmem::find(path, delimiter);
            let before = &path[..place.unwrap_or(path.len())];
            (place, memchr::memrchr(b'.', before))
        }
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

/// A number, or the sum of those that nginx writes for several upstream servers: `0.2, 0.1 : 0.3`.
fn sum(text: &str) -> Option<f64> {
    let number = |text: &str| text.trim().parse::<f64>().ok();
    number(text).or_else(|| {
        let mut parts = text.split([',', ':']).map(str::trim);
        // A server that gave no answer has a dash.
        parts.try_fold(0.0, |sum, part| match part {
            "-" => Some(sum),
            part => Some(sum + number(part)?),
        })
    })
}

/// 4xx and 5xx, and 000 or 0: the client left before there was a response.
fn is_error(status: &[u8]) -> bool {
    matches!(status.first(), Some(b'4' | b'5')) || matches!(status, b"000" | b"0")
}

fn unquoted(text: &[u8]) -> &[u8] {
    match text {
        [b'"', inner @ .., b'"'] => inner,
        _ => text,
    }
}

/// Lower-cases ASCII letters, and all other letters if the text is valid UTF-8.
fn lowercase<'a>(text: &'a [u8], arena: &'a Bump) -> &'a [u8] {
    let is_lower = |byte: &u8| byte.is_ascii() && !byte.is_ascii_uppercase();
    if text.iter().all(is_lower) {
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

/// Seconds east of UTC at a local time, given in seconds since 1970. The hour that occurs twice in
/// autumn counts as its first occurrence; the hour that spring skips has the offset of the day
/// before.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_the_same_however_it_is_written() {
        for (written, plain) in [
            ("2001:DB8:0:0::7", Some("2001:db8::7")),
            ("2001:db8::7", Some("2001:db8::7")),
            ("::ffff:203.0.113.7", Some("203.0.113.7")),
            ("203.0.113.7", None),
            ("ann:bob", None),
            ("", None),
        ] {
            assert_eq!(plain_address(written.as_bytes()).as_deref(), plain);
            let plain = plain.unwrap_or(written);
            assert_eq!(
                hash_of_visitor(written.as_bytes()),
                hash_of_visitor(plain.as_bytes())
            );
        }
    }
}
