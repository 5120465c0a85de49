//! Custom regexes on valid and invalid lines, and what they have in common with Python's.

use proptest::prelude::*;

use super::*;
use crate::error::ErrorKind;
use crate::format::date::Moment;

const NCSA: &str = r#"(?P<ip>\S+) \S+ \S+ \[(?P<date>.*?) (?P<timezone>.*?)\] "\S+ (?P<path>.*?) \S+" (?P<status>\S+) (?P<length>\S+)"#;
const LINE: &str = r#"203.0.113.9 - - [14/May/2024:06:25:24 +0200] "GET /a?b HTTP/1.1" 200 512"#;
/// 2024-05-14 06:25:24
const MAY: i64 = 1_715_667_924;

fn custom(regex: &str) -> Custom {
    Custom::new(regex, None, &Wanted::default()).unwrap()
}

fn with_dates(regex: &str, dates: &str) -> Custom {
    Custom::new(
        regex,
        Some(Strptime::new(dates).unwrap()),
        &Wanted::default(),
    )
    .unwrap()
}

fn refusal(regex: &str) -> String {
    let error = Custom::new(regex, None, &Wanted::default()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Usage);
    error.to_string()
}

/// A field of a line as text. Returns `None` if the line does not match or lacks the field.
fn field(format: &Custom, line: &[u8], name: &str) -> Option<String> {
    let arena = Bump::new();
    let mut record = Record::default();
    match format.parse(line, &arena, &mut record) {
        Fit::Record => record
            .by_name(name)
            .map(|value| String::from_utf8_lossy(value).into_owned()),
        Fit::Misfit => None,
    }
}

fn moment(format: &Custom, line: &str) -> Option<Moment> {
    let arena = Bump::new();
    let mut record = Record::default();
    match format.parse(line.as_bytes(), &arena, &mut record) {
        Fit::Record => format.dates().read(&record),
        Fit::Misfit => None,
    }
}

#[test]
fn groups_become_fields() {
    let format = custom(NCSA);
    for (name, want) in [
        ("ip", "203.0.113.9"),
        ("date", "14/May/2024:06:25:24"),
        ("timezone", "+0200"),
        ("path", "/a?b"),
        ("status", "200"),
        ("length", "512"),
    ] {
        assert_eq!(
            field(&format, LINE.as_bytes(), name).as_deref(),
            Some(want),
            "{name}"
        );
    }
    assert_eq!(
        moment(&format, LINE),
        Some(Moment {
            local: MAY,
            offset: Some(7200)
        })
    );
    assert_eq!(format.name(), "custom");
    assert_eq!(format.regex().as_deref(), Some(NCSA));
    assert_eq!(format.fields().len(), 6);
    assert!(format.has(Field::Timezone) && !format.has(Field::Host));
}

#[test]
fn a_line_matches_from_its_start_but_not_always_to_its_end() {
    let format = custom(NCSA);
    assert_eq!(
        field(&format, format!("x{LINE}").as_bytes(), "ip").as_deref(),
        Some("x203.0.113.9")
    );
    assert_eq!(field(&format, format!(" {LINE}").as_bytes(), "ip"), None);
    assert!(field(&format, format!("{LINE} and more").as_bytes(), "ip").is_some());
}

#[test]
fn a_regex_may_skip_a_prefix() {
    let format = custom(&format!(".* ({NCSA}).*"));
    let line = format!("May 14 06:25:24 web1 nginx: {LINE} 365 www.example.com");
    assert_eq!(
        field(&format, line.as_bytes(), "ip").as_deref(),
        Some("203.0.113.9")
    );
}

#[test]
fn the_regex_sees_the_final_newline() {
    let base = r"(?P<ip>\S+) (?P<date>\S+) (?P<path>\S+) ";
    let line = b"203.0.113.9 x / 200";
    for end in [
        r"(?P<status>\d+)$",
        r"(?P<status>\d+)\n",
        r"(?P<status>\d+)\s+\Z",
        r"(?P<status>.*)",
    ] {
        let format = custom(&format!("{base}{end}"));
        assert_eq!(
            field(&format, line, "status").as_deref(),
            Some("200"),
            "{end}"
        );
        assert_eq!(
            field(&format, b"203.0.113.9 x / 200 ", "status").is_some(),
            end.contains(".*") || end.contains(r"\s")
        );
    }
    let format = custom(&format!(r"{base}(?P<status>[^x]+)"));
    assert_eq!(field(&format, line, "status").as_deref(), Some("200\n"));
}

#[test]
fn dates_are_read_with_the_date_format() {
    let regex = r"(?P<ip>\S+) (?P<date>\S+ \S+) (?P<path>\S+) (?P<status>\d+)";
    let format = with_dates(regex, "%Y.%m.%d %H-%M-%S");
    let want = Some(Moment {
        local: MAY,
        offset: None,
    });
    assert_eq!(
        moment(&format, "203.0.113.9 2024.05.14 06-25-24 /a?b 200"),
        want
    );

    let regex = r"(?P<ip>\S+) (?P<date>\S+) (?P<path>\S+) (?P<status>\d+)";
    let format = with_dates(regex, "%Y-%m-%dT%H:%M:%S.%f");
    assert_eq!(
        moment(&format, "203.0.113.9 2024-05-14T06:25:24.5 /a?b 200"),
        want
    );

    let regex = r"(?P<ip>\S+) (?P<date>\S+) (?P<time>\S+) (?P<path>\S+) (?P<status>\d+)";
    let format = with_dates(regex, "%Y-%m-%d %H:%M:%S");
    assert_eq!(
        moment(&format, "203.0.113.9 2024-05-14 06:25:24 /a?b 200"),
        want
    );
}

#[test]
fn without_a_date_format_a_time_group_is_part_of_the_date() {
    let format =
        custom(r"(?P<ip>\S+) (?P<date>\S+)( (?P<time>\d\S*))? (?P<path>\S+) (?P<status>\d+)");
    assert_eq!(
        moment(&format, "h 14/May/2024:06:25:24 06:25:24 / 200"),
        None
    );
    assert!(moment(&format, "h 14/May/2024:06:25:24 / 200").is_some());
}

#[test]
fn look_around_and_back_references_work() {
    let regex = r"(?P<ip>\S+)(?= ) (?P<date>\S+) (?P<path>(?!/private)\S+) (?P<status>\d+)";
    let format = custom(regex);
    assert_eq!(
        field(&format, b"h 1 /a?b 200", "path").as_deref(),
        Some("/a?b")
    );
    assert_eq!(field(&format, b"h 1 /private/x 200", "path"), None);

    let format =
        custom(r#"(?P<ip>\S+) (?P<q>["'])(?P<path>.*?)(?P=q) (?P<date>\S+) (?P<status>\d+)"#);
    assert_eq!(
        field(&format, b"h '/a\" b' 1 200", "path").as_deref(),
        Some("/a\" b")
    );
    assert_eq!(field(&format, b"h '/a\" 1 200", "path"), None);
}

#[test]
fn a_group_that_did_not_match_is_an_absent_field() {
    for regex in [
        r"(?P<ip>\S+) (?P<date>\S+) (?P<path>\S+) (?P<status>\d+)(?: (?P<host>\S+))?",
        r"(?P<ip>\S+)(?= ) (?P<date>\S+) (?P<path>\S+) (?P<status>\d+)(?: (?P<host>\S+))?",
    ] {
        let format = custom(regex);
        assert_eq!(
            field(&format, b"h 1 / 200 www", "host").as_deref(),
            Some("www")
        );
        assert_eq!(field(&format, b"h 1 / 200", "host"), None);
        assert!(field(&format, b"h 1 / 200", "ip").is_some());
    }
}

#[test]
fn other_groups_are_kept_if_wanted() {
    let regex =
        r"(?P<ip>\S+) (?P<date>\S+) (?P<path>\S+) (?P<status>\d+) (?P<pool>\S+) (?P<zone>\S+)";
    let format = Custom::new(regex, None, &Wanted(vec!["pool".to_string()])).unwrap();
    assert_eq!(
        field(&format, b"h 1 / 200 p z", "pool").as_deref(),
        Some("p")
    );
    assert_eq!(field(&format, b"h 1 / 200 p z", "zone"), None);
    assert_eq!(format.richness(), 6);
    assert_eq!(format.fields().len(), 4);
}

#[test]
fn missing_groups_are_named() {
    let text = refusal(r"(?P<ip>\S+) (?P<path>\S+)");
    assert!(
        text.contains("--log-format-regex lacks (?P<date>...), (?P<status>...)"),
        "{text}"
    );
}

#[test]
fn an_invalid_regex_is_refused_with_the_place() {
    let text = refusal(r"é (?P<ip>\S+");
    assert!(
        text.contains("--log-format-regex") && text.contains("character 3"),
        "{text}"
    );
    let text = refusal(r"(?P<ip>\S+) (?P<date>\S+) (?P<path>\w{1,999999}) (?P<status>\d+)");
    assert!(text.contains("cannot be used"), "{text}");
}

#[test]
fn a_deeply_nested_regex_is_refused() {
    for inside in ["a", "(?=a)"] {
        let nested = format!("{}{inside}{}", "(".repeat(50_000), ")".repeat(50_000));
        let regex = format!("(?P<ip>.)(?P<date>.)(?P<path>.)(?P<status>.){nested}");
        assert!(refusal(&regex).contains("nested"));
    }
}

#[test]
fn bytes_that_are_not_utf8_are_kept() {
    let arena = Bump::new();
    let mut record = Record::default();
    let format =
        custom(r#"(?P<ip>\S+) (?P<date>\S+) "(?P<path>[^"]*)" (?P<status>\d+) (?P<host>.*)"#);
    let line = b"\xc3\xa9 1 \"/caf\xe9\" 200 \xff\xc3\xa9\xfe";
    assert_eq!(format.parse(line, &arena, &mut record), Fit::Record);
    assert_eq!(record.get(Field::Ip), Some(&b"\xc3\xa9"[..]));
    assert_eq!(record.get(Field::Path), Some(&b"/caf\xe9"[..]));
    assert_eq!(record.get(Field::Status), Some(&b"200"[..]));
    assert_eq!(record.get(Field::Host), Some(&b"\xff\xc3\xa9\xfe"[..]));
}

#[test]
fn a_line_that_backtracks_too_much_does_not_match() {
    let format = custom(r"(?P<ip>(a|b|ab)*(?=c)) (?P<date>\S+) (?P<path>\S+) (?P<status>\d+)");
    assert_eq!(field(&format, b"ab", "ip"), None);
    assert!(!format.gave_up());
    assert_eq!(field(&format, "ab".repeat(500).as_bytes(), "ip"), None);
    assert!(format.gave_up());
    let format = custom(r"(?P<ip>\S+)(?= ) (?P<date>\S+) (?P<path>\S+) (?P<status>\d+)");
    let line = format!("{} 1 / 200", "a".repeat(1 << 20));
    assert_eq!(field(&format, line.as_bytes(), "ip"), None);
    assert!(format.gave_up());
}

#[test]
fn a_plain_regex_matches_long_lines() {
    let format = custom(r"(?P<ip>(a*)*) (?P<date>\S+) (?P<path>\S+) (?P<status>\d+)");
    let line = format!("{} 1 / 200", "a".repeat(1 << 16));
    assert_eq!(
        field(&format, line.as_bytes(), "status").as_deref(),
        Some("200")
    );
}

proptest! {
    #[test]
    fn no_line_panics(line: Vec<u8>) {
        let arena = Bump::new();
        for regex in [NCSA.to_string(), format!("(?!x){NCSA}")] {
            let _ = custom(&regex).parse(&line, &arena, &mut Record::default());
        }
    }

    #[test]
    fn every_byte_of_a_line_is_kept(line: Vec<u8>) {
        let arena = Bump::new();
        for ahead in ["", "(?=.)"] {
            let format = custom(&format!(r"(?s){ahead}(?P<ip>.?)(?P<date>\S*)(?P<path>[^a]*)(?P<status>.*)"));
            let mut record = Record::default();
            prop_assert_eq!(format.parse(&line, &arena, &mut record), Fit::Record);
            let parts = Field::REQUIRED.map(|field| record.get(field).unwrap_or_default());
            prop_assert_eq!(parts.concat(), [&line[..], b"\n"].concat());
        }
    }

    #[test]
    fn no_regex_panics(
        middle in r#"([ab1. "\[\](){}*+?|^$\\-]|\\[dswDSWbBAZ1]|\(\?[:=!>#]|\(\?<[=!]|\(\?P<x>|\(\?P=x\)|\(\?i\)|é){0,12}"#,
        line: Vec<u8>,
    ) {
        let regex = format!("(?P<ip>.?)(?P<date>.?)(?P<path>.?)(?P<status>.?){middle}");
        if let Ok(format) = Custom::new(&regex, None, &Wanted::default()) {
            let arena = Bump::new();
            let _ = format.parse(&line, &arena, &mut Record::default());
            let _ = format.parse(b"ab1 \"-ab", &arena, &mut Record::default());
        }
        let _ = PythonRegex::new(&middle);
    }

    #[test]
    fn the_default_date_format_reads_what_its_pattern_reads(
        date in "[0-9 ]?[0-9]/([A-Z][a-z]{2}|may|JUN)/[0-9]{4}:[0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2}",
        zone in "[+-]?[0-9]{0,4}|Z|[+-][0-9]{2}:[0-9]{2}",
    ) {
        let regex = r"(?P<ip>)(?P<path>)(?P<status>)(?P<date>.*) \[(?P<timezone>.*)\]";
        let line = format!("{date} [{zone}]");
        let (default, pattern) = (custom(regex), with_dates(regex, "%d/%b/%Y:%H:%M:%S"));
        prop_assert_eq!(moment(&default, &line), moment(&pattern, &line));
    }
}

#[test]
fn a_line_without_a_required_field_does_not_match() {
    let format = custom(r"(?P<ip>\S+) (?P<date>\S+) (?P<path>\S+)(?: (?P<status>\d+))?");
    assert_eq!(
        field(&format, b"1.2.3.4 x /a 200", "path").as_deref(),
        Some("/a")
    );
    assert_eq!(field(&format, b"1.2.3.4 x /a", "path"), None);
}

type Groups = &'static [Option<&'static str>];

/// A regex, a line, and what Python 3.11's `re.match` finds in the line and its newline: the whole
/// match, then the groups.
const MATCHES: &[(&str, &str, Option<Groups>)] = &[
    (r"a$", "a", Some(&[Some("a")])),
    (r"a$", "ab", None),
    (r"a\n", "a", Some(&[Some("a\n")])),
    (r"a\s$", "a", Some(&[Some("a\n")])),
    (r"a\Z", "a", None),
    (r"a\n\Z", "a", Some(&[Some("a\n")])),
    (r"(.*)", "ab", Some(&[Some("ab"), Some("ab")])),
    (r#"([^"]*)"#, "ab", Some(&[Some("ab\n"), Some("ab\n")])),
    (r"a.", "a", None),
    (r"(?s)a.", "a", Some(&[Some("a\n")])),
    (r"(?m)^a$", "a", Some(&[Some("a")])),
    (r"b", "ab", None),
    (r"a", "ab", Some(&[Some("a")])),
    (r"(a)|b", "b", Some(&[Some("b"), None])),
    (
        r"(a{,2})(a*)",
        "aaa",
        Some(&[Some("aaa"), Some("aa"), Some("a")]),
    ),
    (r"(a{,})b", "aab", Some(&[Some("aab"), Some("aa")])),
    (r"a{1", "a{1", Some(&[Some("a{1")])),
    (r"a{}", "a{}", Some(&[Some("a{}")])),
    (r"a{x}", "a{x}", Some(&[Some("a{x}")])),
    (r"{,a", "{,a", Some(&[Some("{,a")])),
    (r"}]", "}]", Some(&[Some("}]")])),
    (
        r#"\"\/\-\ \:\_\é\#\&\~"#,
        "\"/- :_é#&~",
        Some(&[Some("\"/- :_é#&~")]),
    ),
    (
        r"\101\x42\u0043\U00000044\0",
        "ABCD\0",
        Some(&[Some("ABCD\0")]),
    ),
    (r"(\t)\a?", "\t", Some(&[Some("\t"), Some("\t")])),
    (r"[[]a", "[a", Some(&[Some("[a")])),
    (r"[]a]+", "]a", Some(&[Some("]a")])),
    (r"[^]]", "a", Some(&[Some("a")])),
    (r"[a&&b]+", "a&b", Some(&[Some("a&b")])),
    (r"[+--]+", "+,-", Some(&[Some("+,-")])),
    (r"[~~]", "~", Some(&[Some("~")])),
    (r"[a-]+", "a-", Some(&[Some("a-")])),
    (r"[[:alpha:]]+", ":]", Some(&[Some(":]")])),
    (r"[\w-]+", "a-1 ", Some(&[Some("a-1")])),
    (r"[\b]", "\x08", Some(&[Some("\x08")])),
    (r"[\1-\3]", "\x02", Some(&[Some("\x02")])),
    (r"[\S\n]+", "ab c", Some(&[Some("ab")])),
    (r"[^\W\d]+", "ab1", Some(&[Some("ab")])),
    (r"[.*$^|()]+", "^$(.*|)", Some(&[Some("^$(.*|)")])),
    (r"\d+", "12٣", Some(&[Some("12٣")])),
    (r"\w+", "é_1-", Some(&[Some("é_1")])),
    (r"\s", "\u{a0}", Some(&[Some("\u{a0}")])),
    (r"(?a)\w+", "aé", Some(&[Some("a")])),
    (r"(?a)\d+", "1٣", Some(&[Some("1")])),
    (r"(?a)\s", "\u{a0}", None),
    (r"(?a)[\W]", "é", Some(&[Some("é")])),
    (r"(?i)ab", "AB", Some(&[Some("AB")])),
    (r"(?i:a)b", "AB", None),
    (r"(?i:a)b", "Ab", Some(&[Some("Ab")])),
    (r"(?i)a(?-i:b)", "AB", None),
    (r"(?x) a b # c", "ab", Some(&[Some("ab")])),
    (r"(?x)a\ [ ]b # )", "a  b", Some(&[Some("a  b")])),
    (r"(?x: a )b c", "ab c", Some(&[Some("ab c")])),
    (r"(?x)(?-x:a b)", "a b", Some(&[Some("a b")])),
    (r"(?x)a +", "aa", Some(&[Some("aa")])),
    (r"a(?#b)*c", "aac", Some(&[Some("aac")])),
    (r"(?im)A", "a", Some(&[Some("a")])),
    (r"a(?=b)", "ab", Some(&[Some("a")])),
    (r"a(?!b)", "ab", None),
    (r"a(?<=a)b", "ab", Some(&[Some("ab")])),
    (r"a(?<!a)b", "ab", None),
    (r"(?>a*)a", "aa", None),
    (r"a*+a", "aa", None),
    (r"(?:ab)?+c", "abc", Some(&[Some("abc")])),
    (r"a{1,2}+a", "aa", None),
    (r"(?P<x>a)(?P=x)", "aa", Some(&[Some("aa"), Some("a")])),
    (r"(a)\1", "ab", None),
    (
        r"(a)(?:b)(c)\2",
        "abcc",
        Some(&[Some("abcc"), Some("a"), Some("c")]),
    ),
    (r"(?i)(a)\1", "aA", Some(&[Some("aA"), Some("a")])),
    (r"(a)?b\1", "b", None),
    (r"(a)?(?(1)b|c)", "ab", Some(&[Some("ab"), Some("a")])),
    (r"(a)?(?(1)b|c)", "c", Some(&[Some("c"), None])),
    (r"(?P<x>a)?(?(x)b)", "ab", Some(&[Some("ab"), Some("a")])),
    (r"(?=(a))a\1", "aa", Some(&[Some("aa"), Some("a")])),
    (r"((a)|b)+", "ab", Some(&[Some("ab"), Some("b"), Some("a")])),
    (r"(a(?=b))*?b", "ab", Some(&[Some("ab"), Some("a")])),
    (r"a(?:$)+", "a", Some(&[Some("a")])),
    (r"a(?:$)+", "ab", None),
    (r"(?:\b)*ab", "ab", Some(&[Some("ab")])),
    (r"(?:^)+a", "ab", Some(&[Some("a")])),
    (
        r"(?:(?=a)(?<!b))+a(?:(?:$)|b)+",
        "abb",
        Some(&[Some("abb")]),
    ),
    (r"a((?=b))?b", "ab", Some(&[Some("ab"), Some("")])),
    (r"(a)?(?:(?(1)))*b", "ab", Some(&[Some("ab"), Some("a")])),
];

/// Regexes that are refused, the place (characters, from 1) and a word of the message.
const REFUSED: &[(&str, usize, &str)] = &[
    (r"(?P<ip>\S+", 1, "no matching )"),
    (r"é(b", 2, "no matching )"),
    (r"a)", 2, "no matching ("),
    (r"a**", 3, "repeated"),
    (r"*a", 1, "repeated"),
    (r"a|*", 3, "repeated"),
    (r"(?:+)", 4, "repeated"),
    (r"a(?=x)?b", 7, "repeated"),
    (r"(?:)*", 5, "repeated"),
    (r"a{2,1}", 2, "above"),
    (r"a{99999999999}", 2, "too high"),
    (r"[a", 1, "no matching ]"),
    (r"x[]", 2, "no matching ]"),
    (r"a[z-a]", 2, "range"),
    (r"[\d-z]", 1, "range"),
    (r"[a-\d]", 1, "range"),
    (r"\q", 1, r"\q"),
    (r"a\\\q", 4, r"\q"),
    (r"[\q]", 1, r"\q"),
    (r"[\A]", 1, r"\A"),
    (r"[\8]", 1, r"\8"),
    (r"\N{DIGIT ONE}", 1, r"\N"),
    (r"\400", 1, "octal"),
    (r"\x4", 3, "hex"),
    (r"\u123", 3, "hex"),
    (r"\U00110000", 3, "codepoint"),
    ("a\\", 2, "at the end"),
    ("[\\", 1, "no matching ]"),
    (r"(a)\2", 4, "no group 2"),
    (r"(?P<a>x)(?P<a>y)", 9, "two groups"),
    (r"(?P<>x)", 1, "name"),
    (r"(?P<a", 1, "no meaning"),
    (r"(?P=a)", 1, "back reference"),
    (r"(?P>a)", 1, "no meaning"),
    (r"(?~a)", 1, "no meaning"),
    (r"(?", 1, "no meaning"),
    (r"(?i", 1, "no meaning"),
    (r"(?z)", 1, "flag"),
    (r"(?L)b", 1, "flag"),
    (r"(?-a:x)", 1, "flag"),
    (r"a(?i)", 2, "start"),
    (r"(?#a", 1, "no meaning"),
    (r"(?(2)a)", 1, "no group 2"),
    (r"(?(0)a)", 1, "no group 0"),
    (r"(?(q)a)", 1, "back reference"),
];

/// The whole match and the groups after it, `groups` in all.
fn find(regex: &str, line: &[u8], groups: usize) -> Option<Vec<Option<Vec<u8>>>> {
    let regex = PythonRegex::new(regex).unwrap_or_else(|error| panic!("{regex}: {error}"));
    let arena = Bump::new();
    let text = LineText::new(line, &arena);
    let found = regex.captures(text.as_str())?;
    let group = |number| {
        found
            .get(number)
            .map(|group| text.bytes(group.range()).to_vec())
    };
    Some((0..groups).map(group).collect())
}

#[test]
fn regexes_match_what_python_matches() {
    for (regex, line, want) in MATCHES {
        let groups = want.map_or(0, <[_]>::len);
        let want = want.map(|groups| {
            let bytes = |group: &Option<&str>| group.map(|text| text.as_bytes().to_vec());
            groups.iter().map(bytes).collect::<Vec<_>>()
        });
        let found = find(regex, line.as_bytes(), groups);
        assert_eq!(found, want, "{regex} on {line:?}");
    }
}

#[test]
fn invalid_regexes_are_refused_with_the_place() {
    for (regex, place, word) in REFUSED {
        let error = PythonRegex::new(regex).expect_err(regex);
        assert_eq!(error.place, Some(*place), "{regex}: {error}");
        assert!(error.why.contains(word), "{regex}: {error}");
    }
}

#[test]
fn digits_after_a_back_reference_are_literal() {
    assert_eq!(
        find(r"(?P<a>x)(?P=a)1", b"xx1", 1),
        Some(vec![Some(b"xx1".to_vec())])
    );
    assert_eq!(
        find(r"(x)(?:\1)1", b"xx1", 1),
        Some(vec![Some(b"xx1".to_vec())])
    );
}

#[test]
fn only_regexes_that_need_it_backtrack() {
    for plain in [
        r"(?P<a>\S+) [^\]]*$",
        r"(?:a|b)*?c",
        r"(?i:a)(?#b)",
        r"a{2,3}?",
    ] {
        assert!(!PythonRegex::new(plain).unwrap().backtracks, "{plain}");
    }
    for hard in [
        r"(?=a)",
        r"(?<!a)b",
        r"(a)\1",
        r"a*+",
        r"(?>a)",
        r"(a)?(?(1)b)",
    ] {
        assert!(PythonRegex::new(hard).unwrap().backtracks, "{hard}");
    }
}

#[test]
fn named_groups_keep_their_numbers() {
    let regex = PythonRegex::new(r"(x)(?P<a>y)(?:z)(?<b>w)").unwrap();
    assert_eq!(regex.names, [("a".to_string(), 2), ("b".to_string(), 3)]);
}

#[test]
fn a_byte_that_is_not_utf8_is_one_character_but_not_a_letter() {
    let whole = |regex| find(regex, b"/caf\xe9\xff x", 1).map(|groups| groups[0].clone().unwrap());
    assert_eq!(whole(r"\S+"), Some(b"/caf\xe9\xff".to_vec()));
    assert_eq!(whole(r"/caf.{2} "), Some(b"/caf\xe9\xff ".to_vec()));
    assert_eq!(whole(r#"[^"]+"#), Some(b"/caf\xe9\xff x\n".to_vec()));
    assert_eq!(whole(r"/\w+"), Some(b"/caf".to_vec()));
    assert_eq!(whole(r"(?=.*x)/caf\W+"), Some(b"/caf\xe9\xff ".to_vec()));
}

#[test]
fn characters_that_look_like_placeholders_are_kept() {
    let line = "\u{10ffe9}\u{10ff80}x".as_bytes();
    assert_eq!(find(r"\S+", line, 1), Some(vec![Some(line.to_vec())]));
    let broken = [line, b"\xff"].concat();
    assert_eq!(find(r"\S+", &broken, 1), Some(vec![Some(broken.clone())]));
}
