//! Tests of the summary: its exact text, and what scripts find in it.

use regex::Regex;

use super::*;

/// What scripts look for, and a number for each.
const READ_BY_SCRIPTS: [(&str, u64); 16] = [
    (r"(\d+) requests imported successfully", 101),
    (r"(\d+) requests were downloads", 102),
    (r"(\d+) requests ignored", 2 * 9 + 36),
    (r"(\d+) HTTP errors", 2),
    (r"(\d+) HTTP redirects", 3),
    (r"(\d+) invalid log lines", 4),
    (r"(\d+) filtered log lines", 5),
    (r"(\d+) requests did not match any known site", 6),
    (r"(\d+) requests did not match any --hostname", 7),
    (r"(\d+) requests done by bots", 8),
    (r"(\d+) requests to static resources", 9),
    (r"(\d+) requests to file downloads did not match", 10),
    (r"requests imported to (\d+) sites", 23),
    (r"(\d+) sites already existed", 21),
    (r"(\d+) sites were created", 2),
    (r"(\d+) distinct hostnames did not match", 2),
];

/// An account with those numbers.
fn account() -> Account {
    let account = Account::new();
    let (_, file) = account.open("access.log");
    file.begin();
    file.add(Count::Read, 155);
    file.add(Count::Imported, 101);
    file.add(Count::Downloads, 102);
    for (i, (count, _)) in Count::IGNORED.into_iter().enumerate() {
        file.add(count, i as u64 + 2);
    }
    account
}

fn sites() -> SiteSummary {
    SiteSummary {
        imported_to: 23,
        existed: 21,
        created: vec![
            ("new.example".into(), "100".into()),
            ("other.example".into(), "101".into()),
        ],
        unmatched: vec!["z.example".into(), "a.example".into()],
        unmatched_total: 2,
    }
}

fn summary(account: &Account, sites: &SiteSummary) -> String {
    input(account, sites).text()
}

fn input<'a>(account: &'a Account, sites: &'a SiteSummary) -> SummaryInput<'a> {
    SummaryInput {
        account,
        sites,
        elapsed: Duration::from_millis(10_400),
        url: Some("https://user:secret@matomo.example/stats/?token_auth=1#x"),
        dry_run: false,
        read_back: None,
        in_queue: 0,
        replaying: false,
    }
}

/// The three parts that scripts read, then our own.
const EXPECTED: &str = "\
Logs import summary
-------------------

    101 requests imported successfully
    102 requests were downloads
    54 requests ignored:
        2 HTTP errors
        3 HTTP redirects
        4 invalid log lines
        5 filtered log lines
        6 requests did not match any known site
        7 requests did not match any --hostname
        8 requests done by bots, search engines...
        9 requests to static resources (css, js, images, ico, ttf...)
        10 requests to file downloads did not match any --download-extensions

Website import summary
----------------------

    101 requests imported to 23 sites
        21 sites already existed
        2 sites were created:
            new.example (ID: 100)
            other.example (ID: 101)
    2 distinct hostnames did not match any existing site:
        a.example
        z.example

    TIP: if a site has another address in Matomo, add the hostname to that site's alias URLs
         (Administration, Measurables, Manage).
    TIP: use --add-sites-new-hosts to create a site for each new hostname.
    TIP: use --idsite-fallback=ID to import requests for unknown hostnames to one site.
    TIP: use --idsite=ID to import all requests to one site, regardless of the hostname.
    TIP: to import a log again for one hostname only, use --hostname=HOST; otherwise the other
         requests are counted twice.

Performance summary
-------------------

    Total time: 10 seconds
    Requests imported per second: 10 requests per second

Processing the imported data
----------------------------

    Reports show the imported requests after Matomo has processed them. If neither a cron job
    nor a visit to the reports does that, run this in Matomo's directory:

        ./console core:archive --url=https://matomo.example/stats/
";

#[test]
fn the_layout_is_the_one_that_scripts_know() {
    assert_eq!(summary(&account(), &sites()), EXPECTED);
}

#[test]
fn scripts_find_their_numbers_whatever_else_is_in_the_summary() {
    let account = account();
    let file = account.file(0).unwrap();
    for count in [
        Count::Refused,
        Count::Lost,
        Count::InDoubt,
        Count::Unsent,
        Count::Resent,
        Count::Header,
    ] {
        file.add(count, 777);
    }
    let (_, empty) = account.open("7 requests imported successfully");
    empty.add(Count::Header, 1);
    let text = summary(&account, &sites());
    for (pattern, number) in READ_BY_SCRIPTS {
        let found = Regex::new(pattern).unwrap().captures(&text).unwrap();
        assert_eq!(found[1].parse(), Ok(number), "{pattern}");
    }
}

#[test]
fn what_went_wrong_stands_after_downloads_and_only_where_it_happened() {
    let account = account();
    let well = summary(&account, &sites());
    for words in ["refused", "lost", "in doubt", "not yet sent"] {
        assert!(!well.contains(words), "{words}");
    }
    let file = account.file(0).unwrap();
    let counts = [
        Count::Refused,
        Count::Lost,
        Count::Resent,
        Count::InDoubt,
        Count::Unsent,
    ];
    for (i, count) in counts.into_iter().enumerate() {
        file.add(count, i as u64 + 1);
    }
    assert!(summary(&account, &sites()).contains(
        "    102 requests were downloads
    1 requests refused by the server
    2 requests lost by the server
    3 requests in doubt: sent again, perhaps imported twice
    4 requests in doubt: not sent again, perhaps not imported
    5 requests not yet sent
    54 requests ignored:\n"
    ));
}

#[test]
fn several_files_have_a_line_each() {
    let account = account();
    account.open("binary.log");
    account.open("empty.log").1.begin();
    let (_, file) = account.open("w3c\x1b.log");
    file.begin();
    file.add(Count::Read, 20);
    file.add(Count::Header, 4);
    file.add(Count::Imported, 9);
    file.add(Count::Bots, 6);
    file.add(Count::Unsent, 1);
    assert!(summary(&account, &sites()).contains(
        "
Log files
---------

    access.log: 155 lines, 101 imported, 54 ignored
    binary.log: not read
    empty.log: 0 lines, 0 imported, 0 ignored
    w3c\\x1b.log: 20 lines, 9 imported, 6 ignored, 4 header lines, 1 not yet sent
"
    ));
}

#[test]
fn tips_come_only_with_hosts_that_matched_no_site() {
    let (account, mut sites) = (account(), sites());
    let text = summary(&account, &sites);
    for option in [
        "alias URLs",
        "--add-sites-new-hosts",
        "--idsite-fallback",
        "--idsite=",
    ] {
        assert!(text.contains(option), "{option}");
    }
    let replayed = SummaryInput {
        replaying: true,
        ..input(&account, &sites)
    }
    .text();
    assert!(replayed.contains("TIP") && !replayed.contains("--add-sites-new-hosts"));
    sites.unmatched.clear();
    sites.unmatched_total = 0;
    assert!(!summary(&account, &sites).contains("TIP"));
}

#[test]
fn a_long_list_of_invented_hosts_is_cut_and_says_so() {
    let mut sites = sites();
    sites.unmatched = (0..MAX_LISTED + 5)
        .map(|i| format!("host{i:05}\x1b[2J"))
        .collect();
    sites.unmatched_total = MAX_LISTED + 40;
    let text = summary(&account(), &sites);
    assert!(
        text.contains("        host00999\\x1b[2J\n        ... and 40 more\n"),
        "{text}"
    );
    assert!(
        text.contains(
            "1040 distinct hostnames did not match any existing site:\n        host00000"
        )
    );
}

#[test]
fn what_to_do_next_fits_what_was_done() {
    let (account, sites) = (account(), sites());
    let dry = SummaryInput {
        dry_run: true,
        ..input(&account, &sites)
    }
    .text();
    assert!(!dry.contains("core:archive") && dry.contains("dry run"));
    let nothing = summary(&Account::new(), &sites);
    assert!(!nothing.contains("core:archive"));
}

#[test]
fn the_address_to_archive_can_be_pasted_and_holds_no_credentials() {
    let cases = [
        (
            "https://user:secret@matomo.example/stats/?token_auth=1#x",
            "https://matomo.example/stats/",
        ),
        ("matomo.example", "http://matomo.example/"),
        (
            "user:secret@matomo.example:8080",
            "http://matomo.example:8080/",
        ),
        (
            "https://matomo.example/it's;here/",
            r"'https://matomo.example/it'\''s;here/'",
        ),
        ("http://[", "http://your-matomo.example/"),
    ];
    for (url, expected) in cases {
        assert_eq!(shell_word(&public_url(url)), expected);
    }
}
