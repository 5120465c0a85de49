use super::html;
use super::markup::{clock, decimal, hours};
use crate::radio::{GroupFigures, GroupKind, Month, Period, ReportZone};
use crate::report::grouped;
use crate::report_file::LogFigures;
use samples::{day, empty, hostile, listening, month, mounts, report, samples, web, year};

mod chromium;
mod samples;

/// Panics unless each tag is closed, each attribute is quoted, and there are no stray brackets.
fn check_well_formed(page: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = page.strip_prefix("<!DOCTYPE html>").unwrap();
    while let Some(start) = rest.find('<') {
        check_text(&rest[..start], &open);
        let end = rest.find('>').unwrap();
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        assert!(!tag.contains('<'), "{tag}");
        let name = tag.split([' ', '/']).find(|word| !word.is_empty()).unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "{tag}");
            continue;
        }
        check_attributes(tag.trim_end_matches('/'));
        if !tag.ends_with('/') && name != "meta" {
            open.push(name);
        }
        if name == "style" {
            let end = rest.find("</style>").unwrap();
            assert!(!rest[..end].contains('<'));
            rest = &rest[end..];
        }
    }
    check_text(rest, &open);
    assert!(open.is_empty(), "{open:?}");
}

fn check_text(text: &str, open: &[&str]) {
    assert!(!text.contains('>'), "{text}");
    let is_hidden = |c: char| c.is_control() && c != '\n' || matches!(c, '\u{202a}'..='\u{2069}');
    assert!(!text.contains(is_hidden), "{text:?}");
    for after in text.split('&').skip(1) {
        let entity = after.split(';').next().unwrap();
        assert!(
            ["amp", "lt", "gt", "#34", "#39"].contains(&entity),
            "{text}"
        );
    }
    assert!(!open.is_empty() || text.trim().is_empty(), "{text}");
}

fn check_attributes(tag: &str) {
    let quoted: Vec<&str> = tag.split('"').collect();
    assert_eq!(quoted.len() % 2, 1, "{tag}");
    for (index, part) in quoted.iter().enumerate().step_by(2) {
        // Every part but the last one is the name of the attribute that follows.
        let name = match index + 1 < quoted.len() {
            true => part.strip_suffix('=').unwrap_or("="),
            false => part,
        };
        let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '-' | '\n');
        assert!(name.chars().all(is_word), "{tag}");
    }
}

/// The text of the elements that begin with a tag.
fn texts_after<'a>(page: &'a str, tag: &str) -> Vec<&'a str> {
    let parts = page.split(tag).skip(1);
    parts.map(|part| part.split("</").next().unwrap()).collect()
}

#[test]
fn pages_of_all_shapes_are_well_formed_and_load_nothing() {
    for (name, report) in samples() {
        let page = html(&report);
        check_well_formed(&page);
        let body = &page[page.find("<body>").unwrap()..];
        for part in [
            "<script", "<img", "<link", "src=", "href", "@import", "http:", "https:",
        ] {
            // Escaped texts of the hostile page have them as well.
            let is_text = name == "hostile" && part == "src=";
            assert!(is_text || !page.contains(part), "{name}: {part}");
        }
        for number in ["NaN", "inf,", "inf<", "inf\"", "-0"] {
            assert!(!body.contains(&format!(">{number}")), "{name}: {number}");
            assert!(!body.contains(&format!("\"{number}")), "{name}: {number}");
        }
        assert!(page.contains("content=\"default-src 'none'; style-src 'unsafe-inline'\""));
        assert_eq!(body.matches("<h1>").count(), 1, "{name}");
        for svg in body.split("<svg ").skip(1) {
            let tag = svg.split('>').next().unwrap();
            let has_title = tag.contains("role=\"img\"") && svg.contains("><title>");
            assert!(
                has_title || tag.contains("aria-hidden=\"true\""),
                "{name}: {tag}"
            );
        }
        if let Some(folder) = std::env::var_os("IMPORT_LOGS_HTML_SAMPLES") {
            let file = std::path::Path::new(&folder).join(name.replace(' ', "-") + ".html");
            std::fs::write(file, page).unwrap();
        }
    }
}

#[test]
fn the_checker_finds_faults() {
    for page in [
        "<!DOCTYPE html><p>",
        "<!DOCTYPE html><p></b>",
        "<!DOCTYPE html><p>a > b</p>",
        "<!DOCTYPE html><p>&nbsp</p>",
        "<!DOCTYPE html><p class=a></p>",
        "<!DOCTYPE html><p class=\"a\" b\"></p>",
        "<!DOCTYPE html><p>\u{202e}</p>",
        "<!DOCTYPE html><p></p>text",
    ] {
        assert!(
            std::panic::catch_unwind(|| check_well_formed(page)).is_err(),
            "{page}"
        );
    }
    check_well_formed("<!DOCTYPE html><p class=\"a\">&lt;</p>\n");
}

#[test]
fn the_six_numbers_are_those_of_the_figures() {
    let report = month();
    let page = html(&report);
    let total = report.listening.unwrap().all().unwrap().total();
    assert_eq!(
        (total.seconds, total.sessions),
        (65_278_783, 21_372),
        "the sample has changed"
    );
    let shown = texts_after(&page, "<dd>");
    assert_eq!(
        shown[..6],
        [
            &*hours(total.seconds),
            &*grouped(total.sessions),
            "47 min 51 s",
            &*decimal(total.average_listeners(), 2),
            &*grouped(total.peak),
            &*grouped(total.listeners),
        ]
    );
    for smaller in [
        format!(
            "<b>{} sessions</b> of at least 60 seconds",
            grouped(total.long_sessions)
        ),
        "<b>18 min 34 s</b> median session".into(),
        format!(
            "<b>{}</b> hours per listener",
            decimal(total.hours_per_listener(), 2)
        ),
    ] {
        assert!(page.contains(&smaller), "{smaller}");
    }
    assert!(page.contains("<b>1 to 31 March 2026</b> · Time zone Europe/Berlin</p>"));
}

#[test]
fn all_measures_of_a_mount_point_are_in_a_row() {
    let report = month();
    let page = html(&report);
    let figures = report.listening.unwrap();
    let jazz = figures.of(GroupKind::Mount).nth(2).unwrap();
    let total = jazz.total();
    let cells = [
        hours(total.seconds),
        grouped(total.sessions),
        grouped(total.long_sessions),
        clock(total.average_session()),
        "0:17:01".into(),
        decimal(total.average_listeners(), 2),
        grouped(total.peak),
        "3 Mar 2026, 16:20".into(),
        grouped(total.listeners),
        decimal(total.hours_per_listener(), 2),
    ];
    let row = format!(
        "<tr><th scope=\"row\">/jazz</th><td>{}</td></tr>",
        cells.join("</td><td>")
    );
    assert!(page.contains(&row), "{row}");
}

#[test]
fn days_and_months_add_up_and_the_clock_is_changed() {
    let report = month();
    let page = html(&report);
    let figures = report.listening.as_ref().unwrap();
    let all = figures.all().unwrap();
    // The clock is put forward at 2:00.
    let sunday = all.periods[&Period::Day(day("2026-03-29"))];
    assert_eq!(sunday.period_seconds, 23 * 3600);
    assert!(page.contains(&format!(
        "<title>29 March 2026: {} hours</title>",
        hours(sunday.seconds)
    )));
    assert!(page.contains(&format!(
        "<th scope=\"row\">Sun 29 Mar 2026</th><td>{}</td>",
        hours(sunday.seconds)
    )));
    let march = all.periods[&Period::Month(Month::of(day("2026-03-01")))];
    assert_eq!(march.seconds, all.total().seconds);
    let sums = format!(
        "<th scope=\"row\">All</th><td>{}</td></tr>",
        hours(march.seconds)
    );
    assert!(page.contains(&sums), "{sums}");
    let rest: u64 = figures
        .of(GroupKind::Mount)
        .skip(6)
        .map(|group| group.total().seconds)
        .sum();
    assert!(page.contains(&format!("other mount points <b>{}</b>", hours(rest))));
    let at_noon = all.periods[&Period::WeekHour(2, 12)].average_listeners();
    let wednesday = page.split("<abbr title=\"Wednesday\">").nth(1).unwrap();
    assert_eq!(
        texts_after(wednesday, "<td class=\"h")[12],
        format!("5\">{at_noon:.1}")
    );
}

#[test]
fn a_year_of_many_mount_points_is_small() {
    let page = html(&year());
    assert!(page.len() < 300_000, "{}", page.len());
    assert!(
        page.contains("Listening hours per week")
            && page.contains("<th scope=\"row\">950 more</th>")
    );
    assert!(page.contains("<th scope=\"col\">All</th><th scope=\"col\">Jan 2026</th>"));
    let three = html(&report(
        Some(listening("2024-02-28", 800, &mounts(8))),
        None,
    ));
    assert!(three.contains("Hours by month and mount point, 2025</caption>"));
    assert!(three.contains("Listening hours per month"));
    let twenty = html(&report(
        Some(listening("2005-02-28", 7400, &mounts(3))),
        None,
    ));
    assert!(twenty.contains("<th scope=\"col\">before 2014</th><th scope=\"col\">2014</th>"));
    assert!(three.len() < 300_000 && twenty.len() < 300_000);
}

#[test]
fn texts_that_grow_when_escaped_do_not_make_a_page_large() {
    let long = "\"".repeat(500);
    let mut figures = listening("2026-01-01", 365, &vec![long.clone(); 60]);
    let players = figures.of(GroupKind::Player).cloned().collect::<Vec<_>>();
    let mut groups: Vec<GroupFigures> = players.into_iter().cycle().take(120).collect();
    for (index, group) in groups.iter_mut().enumerate() {
        group.kind = [GroupKind::Country, GroupKind::Channel][index % 2];
        group.name = long.clone();
    }
    figures.groups.append(&mut groups);
    let list = vec![(long.clone(), 1); 60];
    let mut web = web();
    (web.pages, web.status, web.referrers) = (list.clone(), list.clone(), list);
    let mut report = report(Some(figures), Some(web));
    report.run.logs = vec![
        LogFigures {
            name: long,
            ..Default::default()
        };
        60
    ];
    let page = html(&report);
    check_well_formed(&page);
    assert!(page.len() < 300_000, "{}", page.len());
}

#[test]
fn hostile_texts_are_shown_as_they_are() {
    let page = html(&hostile());
    let shown = concat!(
        "/&lt;script&gt;alert(1)&lt;/script&gt;&#34;&#39;&gt;&lt;img src=x&gt;&amp;amp;",
        r"\x00\x1b[2J\u{85}\u{202e}\n"
    );
    assert!(page.contains(&format!("<h1>{shown}</h1>")), "{page}");
    for place in [
        "Listeners in ",
        "1 line</b>: ",
        "<th scope=\"row\">",
        "other countries than ",
    ] {
        assert!(page.contains(&format!("{place}{shown}")), "{place}");
    }
    // Channel, mount points, countries, players, pages, status codes, referrers, bots and logs.
    let rows = page
        .matches(&format!("<th scope=\"row\">{shown}</th>"))
        .count();
    assert_eq!(rows, 2 + 2 + 2 + 4 + 6 + 3 + 2 + 1);
}

#[test]
fn long_lists_are_cut() {
    let mut report = month();
    report.run.logs = (0..62)
        .map(|number| LogFigures {
            name: format!("log{number}"),
            read: 1000,
            ..Default::default()
        })
        .collect();
    let page = html(&report);
    assert!(page.contains(">log49</th>") && !page.contains(">log50</th>"));
    assert!(page.contains("<th scope=\"row\">and 12 more logs</th><td>12,000</td>"));
}

#[test]
fn the_foot_says_what_is_left_out() {
    let mut report = month();
    report.listening.as_mut().unwrap().country = Some("US".into());
    let page = html(&report);
    for text in [
        "<b>1,234 lines</b> of relays with 651.58 hours",
        "<b>17 sessions</b> without a usable length",
        "<b>0 sessions</b> of other countries than US",
        "<b>12 sessions</b> joined",
        "<b>1,234 lines</b>: address is in --relay",
        "<b>2,222 lines</b>: request of a bot",
        "<b>3 lines</b>: not confirmed by Matomo",
        "Listeners in US only",
        concat!(
            "Made by import-logs ",
            env!("CARGO_PKG_VERSION"),
            " on 21 Sep 2026, 16:13"
        ),
    ] {
        assert!(page.contains(text), "{text}");
    }
}

#[test]
fn the_foot_has_the_zone_of_a_web_log() {
    let mut report = report(None, Some(web()));
    report.zone = ReportZone::Named(chrono_tz::Europe::Berlin);
    assert!(html(&report).contains(" on 21 Sep 2026, 16:13 (Europe/Berlin)."));
}

#[test]
fn a_web_log_has_its_own_lists() {
    let page = html(&report(None, Some(web())));
    assert!(page.contains("<p class=\"kind\">Access report</p>"));
    assert!(page.contains("<b>1 to 30 September 2026</b>"));
    for row in [
        "<th scope=\"row\">imported</th><td>120,000</td>",
        "<th scope=\"row\">Wed 9 Sep 2026</th><td>0</td>",
        "<td>12,345</td><td>34.7%</td>",
        "<td>97</td><td>0.3%</td>",
    ] {
        assert!(page.contains(row), "{row}");
    }
    assert!(!page.contains("Listening"));
    let both = html(&report(
        Some(listening("2026-09-01", 30, &mounts(3))),
        Some(web()),
    ));
    let place = |text: &str| both.find(text).unwrap();
    assert!(place("Session lengths") < place("Most viewed pages"));
}

#[test]
fn a_report_without_sessions_says_so() {
    let page = html(&empty());
    assert!(page.contains("no listening sessions of known length"));
    assert_eq!(
        texts_after(&page, "<dd>")[..6],
        ["0.00", "0", "0 s", "0.00", "0", "0"]
    );
    let mut report = report(None, None);
    report.title = Some(" ".into());
    report.run.from_sandbox = true;
    let page = html(&report);
    assert!(page.contains("<h1>Import report</h1>") && page.contains("kept sandbox database"));
}
