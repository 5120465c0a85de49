//! The language of `--json-map`, in which the built-in formats are written, too; see
//! guide/formats.md, "Other JSON logs".
//!
//! ```text
//! ip=client.ip|remote_ip,path=url,status=status,date=time,referrer=headers.Referer[0]
//! ```

use super::convert::{Conversion, TimeUnit};
use crate::error::{Error, Result};
use crate::format::Field;

/// Steps of a path. The reader takes no more levels than this in a line.
const MAX_STEPS: usize = 128;

/// Which keys hold which field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyMap(pub Vec<MapEntry>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapEntry {
    pub target: MapTarget,
    /// In the order of preference.
    pub sources: Vec<KeyPath>,
}

/// What the value of a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapTarget {
    Field(Field, Conversion),
    /// A request line: method, path and protocol.
    Request,
}

/// The keys that lead to a value, from the outermost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPath(pub Vec<PathStep>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathStep {
    Key(String),
    /// Place in an array, counted from 0.
    Element(usize),
}

impl MapTarget {
    /// The target that a map calls by this name.
    pub fn from_name(name: &str) -> Option<Self> {
        use Field::{GenerationTimeMicro, GenerationTimeMilli, GenerationTimeSecs};
        let time = |field, unit| Self::Field(field, Conversion::Duration(unit));
        Some(match name {
            "request" => Self::Request,
            "generation_time_s" => time(GenerationTimeSecs, TimeUnit::Second),
            "generation_time_ms" => time(GenerationTimeMilli, TimeUnit::Milli),
            "generation_time_us" => time(GenerationTimeMicro, TimeUnit::Micro),
            "generation_time_ns" => time(GenerationTimeMilli, TimeUnit::Nano),
            _ => match Field::from_name(name)? {
                GenerationTimeSecs => time(GenerationTimeSecs, TimeUnit::Second),
                GenerationTimeMilli => time(GenerationTimeMilli, TimeUnit::Milli),
                GenerationTimeMicro => time(GenerationTimeMicro, TimeUnit::Micro),
                field => Self::Field(field, Conversion::None),
            },
        })
    }

    /// Whether a line can have only one of these.
    fn excludes(self, other: Self) -> bool {
        match (self, other) {
            (Self::Field(_, Conversion::Duration(_)), Self::Field(_, Conversion::Duration(_))) => {
                true
            }
            (Self::Field(own, _), Self::Field(its, _)) => own == its,
            (own, its) => own == its,
        }
    }
}

impl KeyMap {
    /// Reads the values of `--json-map`.
    ///
    /// # Errors
    ///
    /// Returns a usage error that names the entry if it cannot be read, if it names no field, or if
    /// its field has an entry already.
    pub fn new(lists: &[String]) -> Result<Self> {
        let mut map = Self::default();
        for entry in lists.iter().flat_map(|list| split(list, ',')) {
            let wrong = |why: String| Error::usage(format!("--json-map, entry {entry:?}: {why}"));
            let Some((name, keys)) = entry.split_once('=') else {
                return Err(wrong("write it as field=key".to_owned()));
            };
            let (name, keys) = (name.trim(), keys.trim());
            let Some(target) = MapTarget::from_name(name) else {
                return Err(wrong(no_such_field(name, keys)));
            };
            if map.0.iter().any(|entry| entry.target.excludes(target)) {
                return Err(wrong(format!(
                    "{name} is given already; list its keys in the order of preference: \
                     {name}=first|second"
                )));
            }
            let mut sources = Vec::new();
            for key in split(keys, '|') {
                let path = KeyPath::new(key).map_err(wrong)?;
                // A key may have dots of its own.
                let whole = KeyPath(vec![PathStep::Key(unescaped(key.trim()))]);
                if path != whole {
                    sources.push(whole);
                }
                sources.push(path);
            }
            map.0.push(MapEntry { target, sources });
        }
        Ok(map)
    }

    /// Reads the map of a built-in format. Its keys have no dots of their own. Entries that cannot
    /// be read are left out; a test reads all maps.
    pub fn built_in(map: &str) -> Self {
        let entry = |entry| {
            let (name, keys) = str::split_once(entry, '=')?;
            let sources = split(keys, '|').into_iter().map(KeyPath::new);
            Some(MapEntry {
                target: MapTarget::from_name(name.trim())?,
                sources: sources.collect::<std::result::Result<_, _>>().ok()?,
            })
        };
        Self(split(map, ',').into_iter().filter_map(entry).collect())
    }

    /// The names of the required fields that have no key.
    pub fn missing(&self) -> Vec<&'static str> {
        let has = |wanted| {
            self.0.iter().any(|entry| match entry.target {
                MapTarget::Field(field, _) => field == wanted,
                MapTarget::Request => wanted == Field::Path,
            })
        };
        let missing = Field::REQUIRED.into_iter().filter(|field| !has(*field));
        missing.map(Field::name).collect()
    }
}

fn no_such_field(name: &str, key: &str) -> String {
    if MapTarget::from_name(key).is_some() {
        return format!("the field comes first; write {key}={name}");
    }
    let mut names: Vec<&str> = Field::all().map(Field::name).collect();
    names.retain(|name| !name.starts_with("generation_time"));
    names.push("request");
    format!(
        "{name:?} is not a field; the fields are {}, and generation_time_s (_ms, _us, _ns)",
        names.join(", ")
    )
}

impl KeyPath {
    /// Reads a path such as `request.headers.Referer[0]`. The error is a text for the user.
    pub fn new(text: &str) -> std::result::Result<Self, String> {
        let mut steps = Vec::new();
        for part in split(text.trim(), '.') {
            let (key, elements) = without_elements(part);
            match key {
                "" => return Err(format!("a key in {text:?} is empty")),
                _ => steps.push(PathStep::Key(unescaped(key))),
            }
            steps.extend(elements);
        }
        if steps.len() > MAX_STEPS {
            return Err(format!("a path has at most {MAX_STEPS} keys"));
        }
        Ok(Self(steps))
    }

    /// The paths of a custom variable: a key may have any name.
    pub fn of_extra(name: &str) -> Vec<Self> {
        let whole = Self(vec![PathStep::Key(name.to_owned())]);
        let path = Self::new(name).ok().filter(|path| *path != whole);
        [whole].into_iter().chain(path).collect()
    }
}

/// Takes `[0]` off the end of a part of a path, any number of times.
fn without_elements(mut part: &str) -> (&str, Vec<PathStep>) {
    let mut elements = Vec::new();
    while let Some((key, number)) = part.strip_suffix(']').and_then(|it| it.rsplit_once('['))
        && !key.ends_with('\\')
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && let Ok(number) = number.parse::<u32>()
    {
        elements.insert(0, PathStep::Element(number as usize));
        part = key;
    }
    (part, elements)
}

/// Splits a text at a character that no backslash precedes.
fn split(text: &str, at: char) -> Vec<&str> {
    let (mut parts, mut start, mut is_escaped) = (Vec::new(), 0, false);
    for (place, character) in text.char_indices() {
        if character == at && !is_escaped {
            parts.push(&text[start..place]);
            start = place + at.len_utf8();
        }
        is_escaped = character == '\\' && !is_escaped;
    }
    parts.push(&text[start..]);
    parts
}

/// Removes the backslash before each character that has one.
fn unescaped(text: &str) -> String {
    let mut characters = text.chars();
    std::iter::from_fn(|| match characters.next()? {
        '\\' => characters.next().or(Some('\\')),
        character => Some(character),
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::json::tables::TABLES;

    fn map(typed: &str) -> Result<KeyMap> {
        KeyMap::new(&[typed.to_owned()])
    }

    fn path(text: &str) -> Vec<String> {
        let steps = KeyPath::new(text).unwrap().0.into_iter();
        steps
            .map(|step| match step {
                PathStep::Key(key) => key,
                PathStep::Element(at) => format!("[{at}]"),
            })
            .collect()
    }

    #[test]
    fn a_path_has_keys_and_places() {
        for (text, want) in [
            ("a", &["a"][..]),
            (" a.b ", &["a", "b"]),
            (
                "request.headers.Referer[0]",
                &["request", "headers", "Referer", "[0]"],
            ),
            ("a[1][2].b", &["a", "[1]", "[2]", "b"]),
            (r"a\.b.c", &["a.b", "c"]),
            (r"a\[0]", &["a[0]"]),
            (r"a\\.b", &[r"a\", "b"]),
            (r"a\|b\,c", &["a|b,c"]),
            (r"a\", &[r"a\"]),
            ("cs(Referer)", &["cs(Referer)"]),
            ("x-edge-location", &["x-edge-location"]),
            ("timestamp(ms)", &["timestamp(ms)"]),
            ("a[x]", &["a[x]"]),
            ("a[0]x", &["a[0]x"]),
            ("a[4294967295]", &["a", "[4294967295]"]),
            ("a[4294967296]", &["a[4294967296]"]),
            ("größe", &["größe"]),
        ] {
            assert_eq!(path(text), want, "{text}");
        }
        for text in ["", " ", ".", "a.", ".a", "a..b", "[0]", "a.[0]"] {
            assert!(KeyPath::new(text).is_err(), "{text:?}");
        }
        assert!(KeyPath::new(&["a"; MAX_STEPS].join(".")).is_ok());
        assert!(KeyPath::new(&["a"; MAX_STEPS + 1].join(".")).is_err());
    }

    #[test]
    fn a_map_has_keys_in_the_order_of_preference() {
        let map = map(r"ip = a.b | c\|d, generation_time_ms=took").unwrap();
        let key = |name: &str| PathStep::Key(name.to_owned());
        let [ip, took] = &map.0[..] else {
            panic!("{map:?}");
        };
        assert_eq!(ip.target, MapTarget::Field(Field::Ip, Conversion::None));
        let whole = KeyPath(vec![key("a.b")]);
        let nested = KeyPath(vec![key("a"), key("b")]);
        let escaped = KeyPath(vec![key("c|d")]);
        assert_eq!(ip.sources, [whole, nested, escaped]);
        let duration = Conversion::Duration(TimeUnit::Milli);
        let target = MapTarget::Field(Field::GenerationTimeMilli, duration);
        assert_eq!(took.target, target);
    }

    #[test]
    fn several_lists_are_one_map() {
        let lists = ["ip=a,date=b", "request=c", "status=d"].map(str::to_owned);
        let map = KeyMap::new(&lists).unwrap();
        assert_eq!(map.0.len(), 4);
        assert_eq!(map.missing(), [""; 0]);
        let map = KeyMap::new(&lists[1..]).unwrap();
        assert_eq!(map.missing(), ["ip", "date"]);
    }

    #[test]
    fn a_wrong_entry_is_named() {
        for (typed, part) in [
            ("", "write it as field=key"),
            ("ip=a,date", r#"entry "date": write it as field=key"#),
            ("client_ip=ip", "write ip=client_ip"),
            (
                "address=addr",
                r#""address" is not a field; the fields are ip, date"#,
            ),
            ("ip=", "a key in \"\" is empty"),
            ("ip=a|", "a key in \"\" is empty"),
            ("ip=a..b", "a key in \"a..b\" is empty"),
            ("ip=a,ip=b", "ip=first|second"),
            ("request=a,request=b", "request is given already"),
            (
                "generation_time_ms=a,generation_time_s=b",
                "generation_time_s is given already",
            ),
        ] {
            let error = map(typed).unwrap_err().to_string();
            assert!(error.contains("--json-map"), "{error}");
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn the_maps_of_the_built_in_formats_are_read() {
        for table in &TABLES {
            let map = table.map();
            assert_eq!(map.0.len(), table.map.len(), "{}", table.name);
            assert_eq!(map.missing(), [""; 0], "{}", table.name);
            for (field, conversion) in table.conversions {
                let target = MapTarget::Field(*field, *conversion);
                let has = map.0.iter().any(|entry| entry.target == target);
                assert!(has, "{} {field:?}", table.name);
            }
        }
    }
}
