//! `--bots`, `--bot-list`, `--bot-ranges`: what counts as a bot, and which bots there were.

use std::fmt::Write;

use serde_json::Value;

use crate::support::folder::fixtures;
use crate::support::{Ended, Folder, Program};

const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:125.0) Gecko/20100101 Firefox/125.0";

/// The agents of fixtures/bots/agents.tsv: name, category, operator, user agent.
fn agents() -> Vec<[String; 4]> {
    let text = std::fs::read_to_string(fixtures().join("bots/agents.tsv")).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let columns = lines.map(|line| line.split('\t').map(str::to_owned).collect::<Vec<_>>());
    columns.map(|row| row.try_into().unwrap()).collect()
}

/// A log with a line for each user agent.
fn log<'a>(agents: impl IntoIterator<Item = &'a str>) -> String {
    let mut log = String::new();
    for (number, agent) in agents.into_iter().enumerate() {
        let _ = writeln!(
            log,
            "198.51.100.{} - - [14/May/2024:06:25:24 +0200] \"GET /{number} HTTP/1.1\" 200 100 \
             \"-\" \"{agent}\"",
            number % 250
        );
    }
    log
}

fn import(folder: &Folder, args: &str) -> Ended {
    Program::new(folder)
        .args("--sandbox --log-format-name=ncsa_extended access.log")
        .args(args)
        .run()
        .exits(0)
}

#[track_caller]
fn assert_bots(agents: &[&str], args: &str, bots: u64) {
    let folder = Folder::with_log(log(agents.iter().copied()));
    folder.write(
        "list.tsv",
        "# mine\n\nExampleBot\tExample\tmonitor\n*Fox/\n",
    );
    let summary = import(&folder, args).summary();
    assert_eq!(summary.get("bots"), bots, "{args}");
    assert_eq!(
        summary.get("imported"),
        agents.len() as u64 - bots,
        "{args}"
    );
}

#[test]
fn the_current_list_has_bots_that_the_texts_of_the_script_lack() {
    let agents = agents();
    let bots: Vec<&str> = agents.iter().map(|[.., agent]| &**agent).collect();
    assert_bots(&bots, "--bots=current", 42);
    // Eleven have none of the texts.
    assert_bots(&bots, "", 31);
    assert_bots(&bots, "--bots=script", 31);
    let browsers = [BROWSER, "Devine/1.0 (a browser)", "-", "curly/1.0"];
    assert_bots(&browsers, "--bots=current", 0);
    assert_bots(&browsers, "", 1);
}

#[test]
fn a_list_of_the_user_replaces_the_built_in_one() {
    let agents = [BROWSER, "examplebot/1.0", "Googlebot/2.1", "curl/8.0"];
    assert_bots(&agents, "--bot-list=list.tsv", 2);
    assert_bots(&agents, "--bot-list=list.tsv --bots=current", 2);
    let excluded = "--bot-list=list.tsv --useragent-exclude=CURL";
    assert_bots(&agents, excluded, 3);
    assert_bots(&agents, "--useragent-exclude=firefox", 4);
}

fn json(folder: &Folder) -> Value {
    serde_json::from_str(&folder.read("r.json")).unwrap()
}

/// A number of a bot in a report.
fn number(report: &Value, name: &str, field: &str) -> Option<u64> {
    let bots = report["bots"].as_array().unwrap();
    let bot = bots.iter().find(|bot| bot["name"] == name);
    bot.unwrap_or_else(|| panic!("no {name}: {report}"))[field].as_u64()
}

#[test]
fn each_agent_has_its_name_and_category_in_the_report() {
    let agents = agents();
    for args in [
        "--bots=current",
        "--enable-bots",
        "--bots=current --enable-bots",
    ] {
        let bots = agents.iter().map(|[.., agent]| &**agent);
        let folder = Folder::with_log(log(bots.chain([BROWSER])));
        let ended = import(
            &folder,
            &format!("{args} --report=r.json --report=r.csv --report=r.html"),
        );
        let report = json(&folder);
        let mut found: Vec<[String; 3]> = Vec::new();
        for bot in report["bots"].as_array().unwrap() {
            assert_eq!(
                (&bot["hits"], &bot["bytes"]),
                (&1.into(), &100.into()),
                "{bot}"
            );
            assert_eq!(
                (&bot["client_errors"], &bot["forged"]),
                (&0.into(), &Value::Null)
            );
            found.push(
                ["name", "category", "operator"].map(|key| bot[key].as_str().unwrap().to_owned()),
            );
        }
        let mut expected: Vec<_> = agents
            .iter()
            .map(|[name, category, operator, _]| [name, category, operator].map(String::clone))
            .collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{args}");
        let table = ended.out.split_once("Bot summary\n").unwrap().1;
        assert!(table.contains("    AI assistant  Devin "), "{ended}");
        assert!(!table.contains("forged"), "{ended}");
        assert!(
            folder
                .read("r.html")
                .contains("<th scope=\"row\">GPTBot</th><td>OpenAI</td>")
        );
        assert_eq!(folder.read("r.csv").matches("\nbot,").count(), 42);
    }
}

#[test]
fn without_the_options_no_bot_is_counted() {
    let folder = Folder::with_log(log(["GPTBot/1.2", BROWSER]));
    for args in ["", "--bots=script", "--useragent-exclude=GPT"] {
        let ended = import(&folder, &format!("{args} --report=r.json --report=r.csv"));
        assert!(!ended.out.contains("Bot summary"), "{ended}");
        assert_eq!(json(&folder)["bots"], Value::Null);
        assert!(
            folder
                .read("r.csv")
                .lines()
                .next()
                .unwrap()
                .ends_with(",zone")
        );
    }
    let folder = Folder::with_log(log([BROWSER]));
    let ended = import(&folder, "--bots=current --report=r.json");
    assert!(!ended.out.contains("Bot summary"), "{ended}");
    assert_eq!(json(&folder)["bots"].as_array().unwrap().len(), 0);
}

#[test]
fn every_line_of_a_bot_counts_whatever_filter_drops_it() {
    let line = |path: &str, status: u16, agent: &str| {
        format!(
            "198.51.100.7 - - [14/May/2024:06:25:24 +0200] \"GET {path} HTTP/1.1\" {status} 50 \
             \"-\" \"{agent}\"\n"
        )
    };
    let gpt = "Mozilla/5.0 (compatible; GPTBot/1.2)";
    let lines = [
        line("/", 200, gpt),
        line("/none", 404, gpt),
        line("/gone", 410, gpt),
        line("/old", 301, gpt),
        line("/broken", 500, gpt),
        line("/logo.png", 200, gpt),
        line("/robots.txt", 200, gpt),
        line("/private/", 200, gpt),
        line("/feed", 200, "my feed"),
        line("/", 200, BROWSER),
        line("/none", 404, BROWSER),
        "no line of a log GPTBot/1.2\n".to_owned(),
    ];
    for args in [
        "--bots=current",
        "--enable-bots",
        "--enable-bots --enable-http-errors",
    ] {
        let folder = Folder::with_log(lines.concat());
        import(
            &folder,
            &format!("{args} --exclude-path=/private/* --report=r.json"),
        );
        let report = json(&folder);
        for (field, expected) in [("hits", 8), ("bytes", 400), ("client_errors", 2)] {
            assert_eq!(number(&report, "GPTBot", field), Some(expected), "{args}");
        }
        let others = report["bots"].as_array().unwrap().len() - 1;
        // Only a text of the script makes it a bot.
        assert_eq!(others, usize::from(args != "--bots=current"), "{args}");
    }
}

#[test]
fn hits_from_other_addresses_than_those_of_the_operator_are_forged() {
    let agents = [
        "GPTBot/1.2",
        "GPTBot/1.2",
        "ChatGPT-User/1.0",
        "Googlebot/2.1",
    ];
    let folder = Folder::with_log(log(agents));
    // The lines have the addresses from 198.51.100.0 on.
    let ranges = r#"{"creationTime": "2026-05-01T00:00:00", "prefixes": [
        {"ipv4Prefix": "198.51.100.0/32"}, {"ipv6Prefix": "2001:db8::/32"}]}"#;
    for name in ["gptbot.json", "other.json"] {
        folder.write(name, ranges);
    }
    for (args, gpt, user) in [
        ("--bot-ranges=gptbot.json", (Some(1), Some(1)), (None, None)),
        (
            "--bot-ranges=GPTBOT=other.json --bots=current",
            (Some(1), Some(1)),
            (None, None),
        ),
        (
            "--bot-ranges=openai=other.json",
            (Some(1), Some(1)),
            (Some(0), Some(1)),
        ),
    ] {
        let ended = import(&folder, &format!("{args} --report=r.json"));
        let report = json(&folder);
        let checked = |name| {
            let [verified, forged] =
                ["verified", "forged"].map(|field| number(&report, name, field));
            (verified, forged)
        };
        assert_eq!(checked("GPTBot"), gpt, "{args}");
        assert_eq!(checked("ChatGPT-User"), user, "{args}");
        assert_eq!(checked("Googlebot"), (None, None), "{args}");
        ended.prints(&["4xx  verified  forged\n"]);
    }
}

#[test]
fn names_from_a_list_are_clean_on_a_terminal() {
    let folder = Folder::with_log(log(["evil/1.0"]));
    folder.write("list.tsv", "evil\t\x1b]0;owned\x07\n");
    let ended = import(&folder, "--bot-list=list.tsv --report=r.csv");
    ended.prints(&["\\x1b]0;owned\\x07"]).hides("\x1b");
    assert!(folder.read("r.csv").contains("\\x1b]0;owned"));
}

#[test]
fn wrong_files_of_addresses_are_explained() {
    let folder = Folder::with_log(log([BROWSER]));
    folder.write(
        "gptbot.json",
        "{\"prefixes\": [{\"ipv4Prefix\": \"192.0.2.0/33\"}]}",
    );
    folder.write(
        "searchbot.json",
        "{\"prefixes\": [{\"ipv4Prefix\": \"192.0.2.0/24\"}]}",
    );
    for (arg, words) in [
        ("--bot-ranges=", "--bot-ranges is empty"),
        (
            "--bot-ranges=none.json",
            "--bot-ranges=none.json: cannot be read",
        ),
        (
            "--bot-ranges=gptbot.json",
            "--bot-ranges=gptbot.json: prefix 1: '192.0.2.0/33' is not",
        ),
        ("--bot-ranges=GPTBot=access.log", "not a list of prefixes"),
        (
            "--bot-ranges=searchbot.json",
            "no bot and no operator is named 'searchbot'; did you mean",
        ),
        (
            "--bot-ranges=searchbot.json",
            "Write --bot-ranges=NAME=FILE",
        ),
        ("--bot-ranges==gptbot.json", "--bot-ranges"),
    ] {
        let program = Program::new(&folder).args("--sandbox access.log").arg(arg);
        assert_eq!(program.run().exits(2).says(&[words]).out, "", "{arg}");
    }
    let program = Program::new(&folder)
        .args("--sandbox access.log --bot-ranges=GPTBot=searchbot.json --report=searchbot.json");
    program
        .run()
        .exits(2)
        .says(&["--bot-ranges names the same file"]);
}
