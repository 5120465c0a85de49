//! `--bots`, `--bot-list`: what counts as a bot.

use std::fmt::Write;

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
