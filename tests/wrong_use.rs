//! Invalid command lines: the exit status is 2, the message names the option and its value, and
//! nothing is sent.

use crate::support::stored::fake_matomo;
use crate::support::{Folder, Program, logs};

/// Checks that an argument is refused in an otherwise valid command line.
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
fn an_unknown_option_is_named() {
    assert_wrong("--enable-statics", &["--enable-statics"]);
}

#[test]
fn without_arguments_two_examples_are_shown() {
    let ended = Program::new(&Folder::new()).run().exits(2);
    assert_eq!(ended.out, "");
    assert_eq!(ended.err.trim_end().lines().count(), 4, "{ended}");
    assert_eq!(
        ended.err.matches("\n  import-logs --").count(),
        2,
        "{ended}"
    );
}

#[test]
fn both_helps_end_with_five_examples() {
    for help in ["-h", "--help"] {
        let ended = Program::new(&Folder::new()).arg(help).run().exits(0);
        let (_, examples) = ended.out.split_once("\nExamples:\n").unwrap();
        assert_eq!(examples.matches(":\n    import-logs --").count(), 5);
        assert!(!examples.contains("\n\n"), "{examples}");
    }
}

#[test]
fn what_was_probably_meant_is_suggested() {
    assert_wrong("--verbose", &["'--verbose'", "'-d'"]);
    assert_wrong("--dryrun", &["'--dryrun'", "'--dry-run'"]);
    for option in ["--log-format-name", "--log-format"] {
        let arg = format!("{option}=ngnix_json");
        assert_wrong(&arg, &["did you mean nginx_json?"]);
    }
}

#[test]
fn parameters_of_queries_are_dropped_or_kept() {
    Program::new(&Folder::with_log(logs::log(1)))
        .args("--url=http://localhost --drop-query=a --keep-query=b access.log")
        .run()
        .exits(2)
        .says(&["--drop-query and --keep-query cannot be used together"]);
    assert_wrong(
        "--drop-query=utm*x",
        &["--drop-query=utm*x", "only at its end"],
    );
    assert_wrong("--keep-query=a,,b", &["--keep-query", "is empty"]);
}

#[test]
fn at_least_one_recorder_is_needed() {
    for arg in ["--recorders=0", "--recorders=-4"] {
        assert_wrong(arg, &[arg, "at least one recorder"]);
    }
}

#[test]
fn the_id_of_a_site_is_a_number() {
    for arg in ["--idsite=1x", "--idsite=1,2", "--idsite-fallback=0"] {
        assert_wrong(arg, &[arg, "expected the number of a site"]);
    }
}

#[test]
fn names_of_query_parameters_are_checked() {
    for (arg, text) in [
        ("--drop-query=*é", "a '*' is allowed only at its end"),
        ("--drop-query=a,,b", "give parameters separated by commas"),
        ("--keep-query=a*b*", "a '*' is allowed only at its end"),
    ] {
        assert_wrong(arg, &[text]);
    }
    let folder = Folder::with_log("");
    let program = Program::new(&folder).args("--sandbox --drop-query=é,señ* access.log");
    program.run().exits(0);
}

#[test]
fn dimensions_have_an_id_and_a_field() {
    for (arg, text) in [
        ("--dimension=userid", "'userid' is not of the form ID=FIELD"),
        ("--dimension=0=userid", "from 1 to 999"),
        ("--dimension=1=", "'1=' is not of the form"),
        (
            "--dimension=1=ip,1=host",
            "the dimension 1 has two fields, ip and host",
        ),
    ] {
        assert_wrong(arg, &[text]);
    }
}

#[test]
fn the_format_that_is_printed_needs_no_log_if_it_is_named() {
    let folder = Folder::new();
    let printed = |args: &str| Program::new(&folder).args(args).run().exits(0).out;
    let named = printed("--dump-log-regex --log-format-name=common");
    assert!(named.contains("format: common\nregex: "), "{named}");
    let mapped = "--dump-log-regex --json-map=ip=a,date=d,path=p,status=s";
    assert!(printed(mapped).contains("its lines are JSON"));
    let w3c = printed("--dump-log-regex --log-format-name=iis --sandbox=none.db");
    assert!(w3c.contains("none before a '#Fields: ...' line"), "{w3c}");
    let unnamed = Program::new(&folder).arg("--dump-log-regex").run();
    unnamed.exits(2).says(&["name a log, or a format"]);
}

#[test]
fn an_ambiguous_abbreviation_is_refused() {
    assert_wrong("--enable-http", &["--enable-http"]);
}

#[test]
fn an_invalid_date_is_named() {
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
fn an_unusable_json_map_is_explained() {
    let map = "--json-map=client_ip=ip,ts=date";
    assert_wrong(map, &["--json-map", "client_ip=ip", "write ip=client_ip"]);
    let map = "--json-map=ip=a,date=d,path=p";
    assert_wrong(map, &["--json-map has no key for status"]);
    let name = "--log-format-name=json";
    assert_wrong(name, &["--json-map=ip=KEY,date=KEY,path=KEY,status=KEY"]);
}

#[test]
fn an_invalid_number_is_named() {
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
fn an_empty_site_or_host_is_refused() {
    for option in ["--idsite", "--idsite-fallback", "--log-hostname"] {
        assert_wrong(&format!("{option}="), &[option, "is empty"]);
    }
}

#[test]
fn an_empty_pattern_or_category_is_refused() {
    for option in [
        "--useragent-exclude",
        "--include-path",
        "--listening-category",
    ] {
        assert_wrong(&format!("{option}="), &[option, "is empty"]);
    }
}

#[test]
fn an_unknown_format_is_named_with_the_known_formats() {
    assert_wrong(
        "--log-format-name=nonesuch",
        &["--log-format-name=nonesuch", "common_complete", "icecast2"],
    );
}

#[test]
fn an_invalid_regex_is_refused() {
    assert_wrong("--log-format-regex=(?P<ip>[", &["--log-format-regex"]);
    assert_wrong(
        "--log-format-regex=(?P<ip>.*)",
        &["--log-format-regex", "path"],
    );
}

#[test]
fn an_unknown_encoding_is_named_with_known_encodings() {
    assert_wrong("--encoding=klingon", &["--encoding=klingon", "latin"]);
}

#[test]
fn an_unknown_time_zone_is_named() {
    assert_wrong(
        "--log-timezone=Mars/Base",
        &["--log-timezone=Mars/Base", "Europe/Berlin"],
    );
    assert_wrong(
        "--report-timezone=Berlin",
        &["--report-timezone=Berlin", "Europe/Berlin"],
    );
}

#[test]
fn wrong_options_of_the_listening_report_are_explained() {
    let database = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let database = format!("--geoip-database={database}");
    for (arg, words) in [
        ("--minimum-session=1m", "whole number"),
        ("--channel=Jazz", "--channel=Jazz: expected a name"),
        ("--channel==/jazz", "the name is empty"),
        ("--channel=Jazz=", "has no mount point"),
        ("--report-country=USA", "two letters"),
        ("--report-country=US", "needs --geoip-database"),
        ("--geoip-database=none.mmdb", "cannot be read"),
        (&database, "not a database in MaxMind's format"),
    ] {
        assert_wrong(arg, &["--", words]);
    }
}

#[test]
fn an_invalid_url_is_named() {
    let folder = Folder::with_log(logs::log(5));
    let ended = Program::new(&folder)
        .args("--url=ftp://m/ --idsite=1 access.log")
        .run();
    assert_eq!(ended.exits(2).says(&["--url=ftp://m/"]).out, "");
}

#[test]
fn without_a_url_the_message_names_both_options() {
    let ended = Program::new(&Folder::with_log(logs::log(5)))
        .args("--idsite=1 access.log")
        .run();
    assert_eq!(ended.exits(2).says(&["--url", "--sandbox"]).out, "");
}

#[test]
fn a_url_and_the_sandbox_conflict() {
    assert_wrong("--sandbox", &["--sandbox", "--url"]);
}

#[test]
fn without_a_log_the_message_says_so() {
    let ended = Program::new(&Folder::new()).args("--url=http://m/").run();
    assert_eq!(ended.exits(2).says(&["FILE"]).out, "");
}

#[test]
fn an_unwritable_output_file_is_named() {
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
fn an_invalid_log_format_is_named_with_the_place() {
    assert_wrong("--log-format=%h", &["--log-format='%h'", "no date", "%t"]);
    assert_wrong("--log-format=%h%u", &["--log-format", "character 3", "%u"]);
    assert_wrong("--log-format=$", &["--log-format", "character 1"]);
    assert_wrong("--log-format=", &["--log-format", "is empty"]);
    assert_wrong("--log-format=combinde", &["combinde", "no such format"]);
}

#[test]
fn an_invalid_ip_address_is_named() {
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

#[test]
fn a_run_without_a_log_needs_a_report_and_the_file_of_a_sandbox() {
    let folder = Folder::new();
    let ended = |args: &str| Program::new(&folder).args(args).run().exits(2);
    ended("--sandbox").says(&["<FILE>"]);
    ended("--sandbox=kept.db").says(&["<FILE>"]);
    for more in [
        "",
        "--url=http://m/",
        "--sandbox",
        "--sandbox=kept.db --dry-run",
        "--sandbox=kept.db --explain",
        "--sandbox=kept.db --dump-log-regex",
    ] {
        ended(&format!("--report=r.csv {more}")).says(&["no log is named"]);
    }
    ended("--report=r.csv --sandbox=kept.db").says(&["--sandbox=kept.db: there is no such file"]);
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 0, "no database is created");
}

#[test]
fn a_wrong_line_in_a_list_of_bots_is_named() {
    let folder = Folder::with_log(logs::log(5));
    for (text, words) in [
        (
            "Bot\n# spy\nSpy\tSpy\tspy\n",
            "--bot-list=list.tsv: line 3: 'spy' is no category; use one of AI training,",
        ),
        ("Bot\nA*B\n", "--bot-list=list.tsv: line 2: 'A*B': a *"),
        ("# none\n", "--bot-list=list.tsv: no line has a fragment"),
    ] {
        folder.write("list.tsv", text);
        let ended = Program::new(&folder)
            .args("--sandbox --bot-list=list.tsv access.log")
            .run();
        assert_eq!(ended.exits(2).says(&[words]).out, "");
    }
    assert_wrong(
        "--bot-list=none.tsv",
        &["--bot-list=none.tsv: cannot be read"],
    );
    assert_wrong("--bots=all", &["--bots", "script", "current"]);
    let ended = Program::new(&folder)
        .args("--sandbox --bots=script --bot-list=list.tsv access.log")
        .run();
    ended.exits(2).says(&["--bots=script", "--bot-list"]);
}
