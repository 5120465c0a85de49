//! Command lines that cannot be meant: exit status 2, the option and its value in the message,
//! nothing sent.

use crate::support::stored::fake_matomo;
use crate::support::{Folder, Program, logs};

/// Tried with an address, a token and a log beside it.
#[track_caller]
fn assert_wrong(arg: &str, words: &[&str]) {
    let server = fake_matomo();
    let ended = Program::new(&Folder::with_log(logs::log(5)))
        .to(&server)
        .args("--idsite=1 access.log")
        .arg(arg)
        .run()
        .exits(2)
        .says(words);
    assert_eq!(ended.out, "");
    assert_eq!(server.log().calls, 0);
}

#[test]
fn an_option_that_is_none_is_named() {
    assert_wrong("--enable-statics", &["--enable-statics"]);
}

#[test]
fn a_shortened_option_that_could_be_two_is_named() {
    assert_wrong("--enable-http", &["--enable-http"]);
}

#[test]
fn a_date_that_is_none_is_named() {
    for date in [
        "yesterday",
        "2024-05-14",
        "2024-05-14 06:25:24",
        "2024-02-31 00:00:00 +0000",
    ] {
        let arg = format!("--exclude-older-than={date}");
        assert_wrong(&arg, &[&arg, "YYYY-MM-DD hh:mm:ss +hhmm"]);
        let arg = format!("--exclude-newer-than={date}");
        assert_wrong(&arg, &[&arg, "YYYY-MM-DD hh:mm:ss +hhmm"]);
    }
}

#[test]
fn a_number_that_is_none_is_named() {
    for arg in [
        "--recorders=many",
        "--skip=-1",
        "--retry-delay=soon",
        "--retry-delay=nan",
        "--request-timeout=-5",
        "--request-timeout=0",
        "--request-timeout=1e-12",
        "--add-to-date=1h",
    ] {
        assert_wrong(arg, &[arg]);
    }
}

#[test]
fn an_empty_site_or_host_sends_no_hit_elsewhere() {
    for option in ["--idsite", "--idsite-fallback", "--log-hostname"] {
        assert_wrong(&format!("{option}="), &[option, "is empty"]);
    }
}

#[test]
fn an_empty_text_does_not_drop_every_hit_nor_send_events_that_matomo_refuses() {
    for option in [
        "--useragent-exclude",
        "--include-path",
        "--listening-category",
    ] {
        assert_wrong(&format!("{option}="), &[option, "is empty"]);
    }
}

#[test]
fn a_format_that_is_none_is_named_with_those_that_are() {
    assert_wrong(
        "--log-format-name=nonesuch",
        &["--log-format-name=nonesuch", "common_complete", "icecast2"],
    );
}

#[test]
fn a_regex_that_is_none_is_refused_before_the_first_line() {
    assert_wrong("--log-format-regex=(?P<ip>[", &["--log-format-regex"]);
    assert_wrong(
        "--log-format-regex=(?P<ip>.*)",
        &["--log-format-regex", "path"],
    );
}

#[test]
fn an_encoding_that_is_none_is_named_with_those_that_are() {
    assert_wrong("--encoding=klingon", &["--encoding=klingon", "latin"]);
}

#[test]
fn a_time_zone_that_is_none_is_named() {
    assert_wrong(
        "--log-timezone=Mars/Base",
        &["--log-timezone=Mars/Base", "Europe/Berlin"],
    );
}

#[test]
fn an_address_that_is_none_is_named() {
    let folder = Folder::with_log(logs::log(5));
    let ended = Program::new(&folder)
        .args("--url=ftp://m/ --idsite=1 access.log")
        .run();
    assert_eq!(ended.exits(2).says(&["--url=ftp://m/"]).out, "");
}

#[test]
fn without_an_address_the_message_names_both_ways() {
    let ended = Program::new(&Folder::with_log(logs::log(5)))
        .args("--idsite=1 access.log")
        .run();
    assert_eq!(ended.exits(2).says(&["--url", "--sandbox"]).out, "");
}

#[test]
fn an_address_and_the_sandbox_are_one_too_many() {
    assert_wrong("--sandbox", &["--sandbox", "--url"]);
}

#[test]
fn without_a_log_the_message_says_so() {
    let ended = Program::new(&Folder::new()).args("--url=http://m/").run();
    assert_eq!(ended.exits(2).says(&["FILE"]).out, "");
}

#[test]
fn an_output_file_that_cannot_be_written_is_named() {
    assert_wrong(
        "--output=none/messages.txt",
        &["--output=none/messages.txt"],
    );
}

#[test]
fn a_pattern_that_matches_no_path_is_named() {
    let folder = Folder::with_log(logs::log(5));
    folder.write("patterns", "/page-1*\nother/*\n");
    let ended = Program::new(&folder)
        .to(&fake_matomo())
        .args("--idsite=1 access.log --exclude-path=private/* --include-path=*")
        .args("--exclude-path-from=patterns")
        .run()
        .exits(0)
        .says(&[
            "--exclude-path: the pattern 'private/*' matches no path",
            "--exclude-path-from=patterns: the pattern 'other/*' matches no path",
        ]);
    assert_eq!(ended.err.matches("matches no path").count(), 2, "{ended}");
    assert_eq!(ended.summary().get("imported"), 4);
}

#[test]
fn a_log_format_that_cannot_be_read_is_named_with_the_place() {
    assert_wrong("--log-format=%h", &["--log-format='%h'", "no date", "%t"]);
    assert_wrong("--log-format=%h%u", &["--log-format", "character 3", "%u"]);
    assert_wrong("--log-format=$", &["--log-format", "character 1"]);
    assert_wrong("--log-format=", &["--log-format", "is empty"]);
    assert_wrong("--log-format=combinde", &["combinde", "no such format"]);
}

#[test]
fn an_ip_address_that_is_none_is_named() {
    for (arg, words) in [
        (
            "--exclude-ip=10.0.0.0/33",
            &["'10.0.0.0/33'", "no such file"][..],
        ),
        (
            "--exclude-ip=access.log",
            &["access.log: line 1:", "10.0.0.0/8"],
        ),
        (
            "--trusted-proxy=proxy.example.com",
            &["--trusted-proxy", "10.0.0.0/8"],
        ),
        (
            "--client-ip=ip,,x_forwarded_for",
            &["--client-ip", "fields separated by commas"],
        ),
    ] {
        assert_wrong(arg, words);
    }
}
