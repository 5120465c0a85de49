//! Which format detection takes mixed and odd logs for.

use super::*;
use crate::format::Field;
use crate::format::w3c::W3cOptions;

const COMMON: &str = r#"203.0.113.9 - - [14/May/2024:06:25:24 +0200] "GET / HTTP/1.1" 200 5"#;
const EXTENDED: &str =
    r#"203.0.113.9 - - [14/May/2024:06:25:24 +0200] "GET / HTTP/1.1" 200 5 "-" "Mozilla/5.0""#;
const COMPLETE: &str = r#"www.example.com:80 203.0.113.9 - - [14/May/2024:06:25:24 +0200] "GET / HTTP/1.1" 200 5 "-" "Mozilla/5.0""#;
const ICECAST: &str =
    r#"203.0.113.9 - - [14/May/2024:06:25:24 +0200] "GET /live HTTP/1.1" 200 5 "-" "VLC" 1807"#;
const ELB: &str = r#"2024-05-14T23:39:43.9Z lb 203.0.113.9:2817 - 0 0 0 200 200 0 5 "GET http://www.example.com:80/ HTTP/1.1" "Mozilla/5.0" - -"#;
const NGINX: &str =
    r#"{"ip": "::1", "path": "/", "status": 200, "referrer": "-", "date": "2024-05-14T06:25:24Z"}"#;
const FIELDS: &str = "#Fields: date time c-ip cs-uri-stem sc-status time-taken";
const IIS_FIELDS: &str = "#Fields: date time c-ip cs-uri-stem sc-status sc-win32-status time-taken";
const IIS: &str = "#Software: Microsoft Internet Information Services 10.0";
const W3C: &str = "2024-05-14 06:25:24 203.0.113.9 / 200 15";
const W3C_IIS: &str = "2024-05-14 06:25:24 203.0.113.9 / 200 0 15";
const JUNK: &str = "no line of any log";

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

/// So many of one line, then so many of another.
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
    // What fits nothing does not count.
    let lines = [mixed((1, COMMON), (90, JUNK)), vec![EXTENDED]].concat();
    assert_found(&lines, Some("ncsa_extended"));
}

#[test]
fn of_equally_rich_formats_the_first_of_the_table_wins() {
    for lines in [mixed((5, ELB), (5, COMMON)), mixed((5, COMMON), (5, ELB))] {
        assert_found(&lines, Some("common"));
    }
    let lines = mixed((5, ICECAST), (5, COMPLETE));
    assert_found(&lines, Some("common_complete"));
}

#[test]
fn a_json_format_wins_outright_where_it_fits_half_of_the_lines() {
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
fn a_late_first_line_that_fits_is_waited_for() {
    assert_found(&mixed((99, JUNK), (5, EXTENDED)), Some("ncsa_extended"));
    assert_found(&mixed((5_000, JUNK), (1, EXTENDED)), Some("ncsa_extended"));
    assert_found(&mixed((5_000, ""), (1, EXTENDED)), Some("ncsa_extended"));
    let mut detector = Detector::new(&FormatOptions::default()).unwrap();
    for number in 1..=MOST_LINES {
        assert_eq!(detector.look(b"-"), number == MOST_LINES);
    }
    assert!(detector.decide().is_none());
}

#[test]
fn blank_lines_and_comments_are_not_among_the_lines_that_decide() {
    for nothing in ["", "# comment"] {
        let lines = [mixed((99, nothing), (1, COMMON)), vec![NGINX; 99]].concat();
        assert_found(&lines, Some("nginx_json"));
        // But they do not go on for ever.
        let mut detector = detector(&FormatOptions::default(), &[COMMON]);
        for number in 2..=MOST_LINES {
            assert_eq!(detector.look(nothing.as_bytes()), number == MOST_LINES);
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
fn comments_and_blanks_alone_are_nothing() {
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
fn a_w3c_log_is_known_by_its_header_where_lines_fit_it() {
    assert_found(&["#Version: 1.0", FIELDS, "", W3C], Some("w3c_extended"));
    assert_found(&["", IIS, IIS_FIELDS, W3C_IIS], Some("iis"));
    // Of two headers the last counts, and it takes its fields from there on.
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
fn a_format_that_was_found_reads_a_log_from_its_first_line_on() {
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
    assert!(found.ready(), "a line before the header stops no import");
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
fn times_of_iis_in_the_wrong_unit_are_told() {
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
fn a_file_of_rejects_says_its_format_in_its_first_line() {
    let named = |name: &str| format!("# rejected by import-logs, format: {name}");
    assert_found(&[&named("common"), JUNK], Some("common"));
    assert_found(&[&named("iis"), FIELDS, JUNK], Some("iis"));
    assert_found(&[&named("custom"), EXTENDED], Some("ncsa_extended"));
    assert_found(&[EXTENDED, &named("common")], Some("ncsa_extended"));
    assert_found(&["# format: common", EXTENDED], Some("ncsa_extended"));
}
