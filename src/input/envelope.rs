//! Log envelopes: what Docker, container runtimes, syslog and `docker compose` put around each line
//! of a log (guide/formats.md, "Envelopes").
//!
//! An envelope is judged by one line alone, so that a line means the same wherever reading begins.
//! Each reader is strict: what it does not know as its envelope is a line of the log itself.

/// What is around each line of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogEnvelope {
    /// Docker's logging driver `json-file`: `{"log":"LINE\n","stream":"stdout","time":"DATE"}`.
    Docker,
    /// Container runtimes of Kubernetes, and Podman: `DATE stdout F LINE`.
    Cri,
    /// RFC 3164 and RFC 5424, with and without priority, and the short output of `journalctl`.
    Syslog,
    /// `docker compose logs` and `docker service logs`: `SERVICE-1  | LINE`.
    Compose,
    /// `docker logs --timestamps` and `kubectl logs --timestamps`: `DATE LINE`.
    Timestamps,
}

/// `--log-envelope`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EnvelopeChoice {
    /// The envelope that the first lines of each log have, if any.
    #[default]
    Detect,
    Named(LogEnvelope),
    /// Lines are read as they are.
    None,
}

impl EnvelopeChoice {
    /// Finds a choice by its name on the command line.
    pub fn by_name(name: &str) -> Option<Self> {
        match name {
            "auto" => Some(Self::Detect),
            "none" => Some(Self::None),
            _ => LogEnvelope::by_name(name).map(Self::Named),
        }
    }

    /// The names of all choices.
    pub fn names() -> impl Iterator<Item = &'static str> {
        let envelopes = LogEnvelope::NAMES.iter().map(|(name, _)| *name);
        ["auto", "none"].into_iter().chain(envelopes)
    }
}

/// The output of a program that a line comes from. Parts of a line are joined within a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContainerStream {
    Stdout,
    Stderr,
}

impl ContainerStream {
    fn by_name(name: &[u8]) -> Option<Self> {
        match name {
            b"stdout" => Some(Self::Stdout),
            b"stderr" => Some(Self::Stderr),
            _ => None,
        }
    }
}

/// What an envelope says about its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub stream: ContainerStream,
    /// The line does not end with this text, but with a later text of the stream.
    pub is_partial: bool,
}

impl Piece {
    const WHOLE: Self = Self {
        stream: ContainerStream::Stdout,
        is_partial: false,
    };
}

impl LogEnvelope {
    /// The envelopes by name. Names of the same envelope follow each other.
    pub const NAMES: [(&'static str, Self); 6] = [
        ("docker", Self::Docker),
        ("cri", Self::Cri),
        ("syslog", Self::Syslog),
        ("journald", Self::Syslog),
        ("compose", Self::Compose),
        ("timestamps", Self::Timestamps),
    ];

    /// Finds an envelope by one of its names.
    pub fn by_name(name: &str) -> Option<Self> {
        let mut names = Self::NAMES.iter();
        names.find_map(|(own, envelope)| (*own == name).then_some(*envelope))
    }

    /// The first of its names.
    pub fn name(self) -> &'static str {
        let mut names = Self::NAMES.iter();
        names
            .find_map(|(name, envelope)| (*envelope == self).then_some(*name))
            .unwrap_or_default()
    }

    /// The envelope of a line.
    pub fn of(line: &[u8]) -> Option<Self> {
        let all: &[Self] = match line {
            // Nearly all logs begin with an address. No date of ISO 8601 begins so, and no version
            // of syslog.
            [b'0'..=b'9', b'0'..=b'9' | b'.', _, _, after, ..] if *after != b'-' => {
                &[Self::Compose]
            }
            _ => &[
                Self::Docker,
                Self::Cri,
                Self::Syslog,
                Self::Compose,
                Self::Timestamps,
            ],
        };
        let mut all = all.iter().copied();
        all.find(|envelope| envelope.is_around(line))
    }

    /// Whether a line has this envelope.
    pub fn is_around(self, line: &[u8]) -> bool {
        self.open(line, &mut Vec::new()).is_some()
    }

    /// Appends the text in the envelope of a line to `text`. Returns `None` and appends nothing if
    /// the line does not have this envelope.
    pub(super) fn open(self, line: &[u8], text: &mut Vec<u8>) -> Option<Piece> {
        let (content, piece) = match self {
            Self::Docker => return open_docker(line, text),
            Self::Cri => read_cri(line)?,
            Self::Syslog => (read_syslog(line)?, Piece::WHOLE),
            Self::Compose => (read_compose(line)?, Piece::WHOLE),
            Self::Timestamps => (read_timestamps(line)?, Piece::WHOLE),
        };
        text.extend_from_slice(content);
        Some(piece)
    }
}

/// A text without the line break at its end. `\r` may precede it.
pub(super) fn without_carriage_return(text: &mut Vec<u8>) {
    if text.last() == Some(&b'\r') {
        text.pop();
    }
}

// Docker's json-file. The keys come in any order; `attrs` has labels and variables of the
// container, and `stream` is left out if it is empty.

fn open_docker(line: &[u8], text: &mut Vec<u8>) -> Option<Piece> {
    let before = text.len();
    let piece = decode_docker(line, text);
    if piece.is_none() {
        text.truncate(before);
    }
    piece
}

fn decode_docker(line: &[u8], text: &mut Vec<u8>) -> Option<Piece> {
    let before = text.len();
    let (mut has_log, mut stream, mut has_time, mut has_attrs) = (false, None, false, false);
    let mut json = DockerJson { rest: line };
    json.expect(b'{')?;
    loop {
        let key = json.plain_string()?;
        json.expect(b':')?;
        match key {
            b"log" if !has_log => {
                json.decode_string(text)?;
                has_log = true;
            }
            b"stream" if stream.is_none() => {
                stream = Some(ContainerStream::by_name(json.plain_string()?)?)
            }
            b"time" if !has_time => {
                let time = json.plain_string()?;
                has_time = rfc3339_length(time)? == time.len();
            }
            b"attrs" if !has_attrs => {
                json.skip_object()?;
                has_attrs = true;
            }
            _ => return None,
        }
        match json.next_byte()? {
            b',' => {}
            b'}' => break,
            _ => return None,
        }
    }
    let is_docker = has_log && has_time && json.rest.trim_ascii().is_empty();
    if !is_docker {
        return None;
    }
    let is_partial = text.len() == before || text.last() != Some(&b'\n');
    if !is_partial {
        text.pop();
        if text.len() > before {
            without_carriage_return(text);
        }
    }
    // Docker writes an envelope for each line. A `\r` at the end may be followed by `\n` in the
    // next part.
    let content = &text[before..];
    let content = content.strip_suffix(b"\r").unwrap_or(content);
    if memchr::memchr2(b'\n', b'\r', content).is_some() {
        return None;
    }
    Some(Piece {
        stream: stream.unwrap_or(ContainerStream::Stdout),
        is_partial,
    })
}

/// Reads the little JSON that Docker writes.
struct DockerJson<'a> {
    rest: &'a [u8],
}

impl<'a> DockerJson<'a> {
    /// The next byte that is not white space.
    fn next_byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.trim_ascii_start().split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next_byte()? == byte).then_some(())
    }

    /// A string without escapes.
    fn plain_string(&mut self) -> Option<&'a [u8]> {
        self.expect(b'"')?;
        let end = memchr::memchr2(b'"', b'\\', self.rest)?;
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest.strip_prefix(b"\"")?;
        Some(text)
    }

    /// Appends the next string, decoded.
    fn decode_string(&mut self, text: &mut Vec<u8>) -> Option<()> {
        self.expect(b'"')?;
        loop {
            let end = memchr::memchr2(b'"', b'\\', self.rest)?;
            text.extend_from_slice(&self.rest[..end]);
            let is_end = self.rest[end] == b'"';
            self.rest = &self.rest[end + 1..];
            if is_end {
                return Some(());
            }
            self.decode_escape(text)?;
        }
    }

    /// Decodes what follows a backslash.
    fn decode_escape(&mut self, text: &mut Vec<u8>) -> Option<()> {
        let (escape, rest) = self.rest.split_first()?;
        self.rest = rest;
        let byte = match escape {
            b'"' | b'\\' | b'/' => *escape,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let character = self.decode_utf16()?;
                text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                return Some(());
            }
            _ => return None,
        };
        text.push(byte);
        Some(())
    }

    /// Decodes what follows `\u`. An unpaired surrogate becomes U+FFFD.
    fn decode_utf16(&mut self) -> Option<char> {
        let unit = self.hex_unit()?;
        if (0xd800..0xdc00).contains(&unit)
            && let Some(rest) = self.rest.strip_prefix(b"\\u")
        {
            let before = std::mem::replace(&mut self.rest, rest);
            let low = self.hex_unit()?;
            if let Some(Ok(character)) = char::decode_utf16([unit, low]).next() {
                return Some(character);
            }
            self.rest = before;
        }
        Some(char::from_u32(u32::from(unit)).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex_unit(&mut self) -> Option<u16> {
        let (digits, rest) = self.rest.split_first_chunk::<4>()?;
        self.rest = rest;
        digits.iter().try_fold(0, |unit, digit| {
            let digit = char::from(*digit).to_digit(16)?;
            Some(unit << 4 | digit as u16)
        })
    }

    /// Skips an object, without recursion, or `null`.
    fn skip_object(&mut self) -> Option<()> {
        if let Some(rest) = self.rest.trim_ascii_start().strip_prefix(b"null") {
            self.rest = rest;
            return Some(());
        }
        self.expect(b'{')?;
        let mut depth = 1u32;
        while depth > 0 {
            match self.next_byte()? {
                b'{' | b'[' => depth = depth.checked_add(1)?,
                b'}' | b']' => depth -= 1,
                b'"' => self.skip_string()?,
                _ => {}
            }
        }
        Some(())
    }

    /// Skips the rest of a string.
    fn skip_string(&mut self) -> Option<()> {
        loop {
            let end = memchr::memchr2(b'"', b'\\', self.rest)?;
            let is_end = self.rest[end] == b'"';
            self.rest = self.rest.get(end + if is_end { 1 } else { 2 }..)?;
            if is_end {
                return Some(());
            }
        }
    }
}

// Container runtimes: `DATE stdout F LINE`. `P` marks a part of a line, and `:` separates tags.

fn read_cri(line: &[u8]) -> Option<(&[u8], Piece)> {
    let rest = line[rfc3339_length(line)?..].strip_prefix(b" ")?;
    let (stream, rest) = split_word(rest)?;
    let stream = ContainerStream::by_name(stream)?;
    let (tags, text) = split_word(rest).unwrap_or((rest, b""));
    let is_partial = match tags.split(|byte| *byte == b':').next()? {
        b"P" => true,
        b"F" => false,
        _ => return None,
    };
    Some((text, Piece { stream, is_partial }))
}

// syslog, as servers send it and as rsyslog, syslog-ng and journalctl write it.

fn read_syslog(line: &[u8]) -> Option<&[u8]> {
    let after_priority = skip_priority(line);
    let rest = after_priority.unwrap_or(line);
    if let Some(rest) = rest.strip_prefix(b"1 ") {
        return read_rfc5424(rest, after_priority.is_some());
    }
    let date = bsd_date_length(rest)
        .or_else(|| syslog_rfc3339_length(rest))
        .or_else(|| journald_date_length(rest))?;
    let rest = rest[date..].strip_prefix(b" ")?;
    // The host may be missing.
    let (first, rest) = split_word(rest)?;
    let text = match is_tag(first) {
        // Heroku's router. The date belongs to its line.
        true if first.starts_with(b"heroku[") => return None,
        true => rest,
        false => {
            let (tag, text) = split_word(rest)?;
            is_tag(tag).then_some(text)?
        }
    };
    Some(skip_blanks(text))
}

/// Skips `<PRIORITY>`.
fn skip_priority(line: &[u8]) -> Option<&[u8]> {
    let rest = line.strip_prefix(b"<")?;
    let digits = count_digits(rest);
    let priority: u16 = str::from_utf8(&rest[..digits]).ok()?.parse().ok()?;
    let rest = rest[digits..].strip_prefix(b">")?;
    (digits <= 3 && priority <= 191).then_some(rest)
}

/// Whether a word is `PROGRAM:` or `PROGRAM[PID]:`.
fn is_tag(word: &[u8]) -> bool {
    let Some(tag) = word.strip_suffix(b":") else {
        return false;
    };
    let name = match tag.strip_suffix(b"]") {
        Some(tag) => match memchr::memchr(b'[', tag) {
            Some(at) => &tag[..at],
            None => return false,
        },
        None => tag,
    };
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_./()@+".contains(byte);
    !name.is_empty() && name.iter().all(is_part)
}

/// Reads what follows the version: `DATE HOST PROGRAM PID MESSAGE-ID DATA LINE`. Without priority
/// the date must not be missing.
fn read_rfc5424(rest: &[u8], has_priority: bool) -> Option<&[u8]> {
    let (date, mut rest) = split_word(rest)?;
    let is_missing = has_priority && date == b"-";
    if !is_missing && rfc3339_length(date) != Some(date.len()) {
        return None;
    }
    for _ in 0..4 {
        let (word, after) = split_word(rest)?;
        if word.is_empty() {
            return None;
        }
        rest = after;
    }
    let rest = skip_structured_data(rest)?;
    let text = match rest {
        [] => rest,
        [b' ', text @ ..] => text,
        _ => return None,
    };
    Some(text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text))
}

/// Skips `-`, or elements such as `[id name="value"]`.
fn skip_structured_data(text: &[u8]) -> Option<&[u8]> {
    if let Some(rest) = text.strip_prefix(b"-") {
        return Some(rest);
    }
    let mut rest = text.strip_prefix(b"[")?;
    loop {
        let end = memchr::memchr2(b'"', b']', rest)?;
        let is_value = rest[end] == b'"';
        rest = &rest[end + 1..];
        if is_value {
            let mut json = DockerJson { rest };
            json.skip_string()?;
            rest = json.rest;
        } else {
            match rest.strip_prefix(b"[") {
                Some(next) => rest = next,
                None => return Some(rest),
            }
        }
    }
}

// docker compose logs, docker service logs: the name of a container, padded, and a bar. Both may be
// colored. The option -t adds a date.

fn read_compose(line: &[u8]) -> Option<&[u8]> {
    let rest = skip_color(line);
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.@".contains(byte);
    let length = rest.iter().take_while(|byte| is_part(byte)).count();
    let (name, rest) = rest.split_at(length);
    // Addresses and numbers are fields of a log.
    let is_name = name.first()?.is_ascii_alphanumeric() && name.iter().any(u8::is_ascii_alphabetic);
    let bar = skip_blanks(rest);
    if !is_name || bar.len() == rest.len() {
        return None;
    }
    let text = skip_color(bar.strip_prefix(b"|")?);
    match text {
        [] => Some(text),
        [b' ', text @ ..] => {
            let text = skip_color(text);
            Some(skip_timestamp(text).unwrap_or(text))
        }
        _ => None,
    }
}

// docker logs --timestamps, kubectl logs --timestamps: a date.

fn read_timestamps(line: &[u8]) -> Option<&[u8]> {
    let text = skip_timestamp(line)?;
    read_cri(line).is_none().then_some(text)
}

/// Skips a date as Docker and Kubernetes print it, and the blank behind it. The fraction always has
/// nine digits. Dates in access logs have fewer.
fn skip_timestamp(text: &[u8]) -> Option<&[u8]> {
    let length = rfc3339_length(text)?;
    if fraction_length(&text[RFC3339_SHAPE.len()..]) != ".000000000".len() {
        return None;
    }
    text[length..].strip_prefix(b" ")
}

/// Skips an escape sequence that sets a color.
fn skip_color(text: &[u8]) -> &[u8] {
    let Some(rest) = text.strip_prefix(b"\x1b[") else {
        return text;
    };
    let is_number = |byte: &&u8| byte.is_ascii_digit() || **byte == b';';
    let length = rest.iter().take_while(is_number).count();
    rest[length..].strip_prefix(b"m").unwrap_or(text)
}

// Words and dates.

/// The text before and after the first blank.
fn split_word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(b' ', text)?;
    Some((&text[..end], &text[end + 1..]))
}

fn skip_blanks(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|byte| **byte == b' ').count();
    &text[blanks..]
}

fn count_digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// Whether a text begins like `shape`, in which `0` is any digit.
fn has_shape(text: &[u8], shape: &[u8]) -> bool {
    let fits = |(byte, shape): (&u8, &u8)| match shape {
        b'0' => byte.is_ascii_digit(),
        _ => byte == shape,
    };
    text.len() >= shape.len() && text.iter().zip(shape).all(fits)
}

/// The length of a fraction of a second at the beginning, or 0.
fn fraction_length(text: &[u8]) -> usize {
    match text {
        [b'.' | b',', rest @ ..] if rest.first().is_some_and(u8::is_ascii_digit) => {
            1 + count_digits(rest)
        }
        _ => 0,
    }
}

/// A date of RFC 3339 up to its seconds.
const RFC3339_SHAPE: &[u8] = b"0000-00-00T00:00:00";

/// The length of a date of RFC 3339 at the beginning. The offset may lack its colon, as in
/// `journalctl -o short-iso`.
fn rfc3339_length(text: &[u8]) -> Option<usize> {
    if !has_shape(text, RFC3339_SHAPE) {
        return None;
    }
    let length = RFC3339_SHAPE.len() + fraction_length(&text[RFC3339_SHAPE.len()..]);
    let offset = match &text[length..] {
        [b'Z' | b'z', ..] => 1,
        [b'+' | b'-', offset @ ..] if has_shape(offset, b"00:00") => 6,
        [b'+' | b'-', offset @ ..] if has_shape(offset, b"0000") => 5,
        _ => return None,
    };
    Some(length + offset)
}

/// The same for syslog, whose fractions have at most six digits (RFC 5424, 6.2.3). Longer ones are
/// those of `--timestamps`.
fn syslog_rfc3339_length(text: &[u8]) -> Option<usize> {
    let length = rfc3339_length(text)?;
    let fraction = fraction_length(&text[RFC3339_SHAPE.len()..]);
    (fraction <= ".000000".len()).then_some(length)
}

/// The length of a date of `journalctl -o short-full` at the beginning:
/// `Tue 2024-05-14 06:25:24 CEST`.
fn journald_date_length(text: &[u8]) -> Option<usize> {
    const DAYS: &[u8] = b"MonTueWedThuFriSatSun";
    const SHAPE: &[u8] = b" 0000-00-00 00:00:00";
    let (day, rest) = text.split_first_chunk::<3>()?;
    if !DAYS.chunks_exact(3).any(|name| name == day) || !has_shape(rest, SHAPE) {
        return None;
    }
    let before = SHAPE.len() + fraction_length(&rest[SHAPE.len()..]);
    let zone = rest[before..].strip_prefix(b" ")?;
    let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || b"+-:".contains(byte);
    let length = zone.iter().take_while(is_part).count();
    (length > 0).then_some(day.len() + before + 1 + length)
}

/// The length of a date of RFC 3164 at the beginning: `May 14 06:25:24`, perhaps with a year before
/// the time, and with a fraction.
fn bsd_date_length(text: &[u8]) -> Option<usize> {
    const MONTHS: &[u8] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    let (month, rest) = text.split_first_chunk::<3>()?;
    if !MONTHS.chunks_exact(3).any(|name| name == month) {
        return None;
    }
    let shapes: [&[u8]; 6] = [
        b" 00 00:00:00",
        b"  0 00:00:00",
        b" 0 00:00:00",
        b" 00 0000 00:00:00",
        b"  0 0000 00:00:00",
        b" 0 0000 00:00:00",
    ];
    let shape = shapes.into_iter().find(|shape| has_shape(rest, shape))?;
    Some(month.len() + shape.len() + fraction_length(&rest[shape.len()..]))
}

#[cfg(test)]
pub(crate) mod tests;
