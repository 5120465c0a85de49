//! What the program prints about itself: man page, completions, options and guide.

use std::process::Command;

use crate::support::{Folder, Program};

/// Not with [`Program`], since the guide shows the token of the tests as an example.
fn printed(arg: &str) -> String {
    let mut program = Command::new(env!("CARGO_BIN_EXE_import-logs"));
    let output = program.arg(arg).output().unwrap();
    assert!(output.status.success(), "{arg}: {output:?}");
    assert!(output.stderr.is_empty(), "{arg}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_kind_is_printed_without_a_log_and_a_server() {
    for (kind, begins) in [
        ("man", ".ie "),
        ("bash", "_import__logs() {"),
        ("zsh", "#compdef import-logs"),
        ("fish", "complete -c import-logs"),
        ("powershell", "\nusing namespace"),
        ("markdown", "# Options of import-logs\n"),
    ] {
        let text = printed(&format!("--generate={kind}"));
        assert!(text.starts_with(begins), "{kind}: {}", &text[..100]);
        assert!(text.len() > 5000, "{kind}: {} bytes", text.len());
    }
}

#[test]
fn the_guide_is_plain_text_in_a_pipe() {
    let all = printed("--guide");
    let chapter = printed("--guide=options");
    assert!(chapter.starts_with("Options\n=======\n"));
    assert!(all.contains(&chapter) && all.len() > 3 * chapter.len());
    let wrong = Program::new(&Folder::new()).arg("--guide=option").run();
    wrong
        .exits(2)
        .says(&["did you mean options?", "chapters: options, formats"]);
    let log = Program::new(&Folder::new())
        .args("--guide access.log")
        .run();
    log.exits(2).says(&["--guide", "cannot be used with"]);
}

/// What bash offers after these words. The last one is being typed.
fn candidates(words: &[&str]) -> Option<Vec<String>> {
    let folder = Folder::new();
    folder.write("completions", printed("--generate=bash"));
    folder.write("yesterday.log", "");
    let previous = words.len().checked_sub(2).map_or("", |index| words[index]);
    let last = words.last().copied().unwrap_or_default();
    let ask = "source ./completions;  cur=$1; prev=$2; shift 2; COMP_WORDS=(import-logs \"$@\"); \
               COMP_CWORD=$#; _import__logs import-logs \"$cur\" \"$prev\"; \
               printf '%s\\n' \"${COMPREPLY[@]}\"";
    let bash = Command::new("bash")
        .current_dir(folder.path())
        .args(["--norc", "-c", ask, "bash", last, previous])
        .args(words)
        .output();
    // Not every system has bash.
    let output = bash.ok()?;
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    Some(text.lines().map(str::to_owned).collect())
}

#[test]
fn bash_offers_options_values_and_files() {
    for (words, offered) in [
        (&["--log-format-n"][..], &["--log-format-name"][..]),
        (
            &["--log-format-name", "nginx_"],
            &["nginx_proxy_manager", "nginx_json"],
        ),
        (
            &["--log-format-name", "=", "nginx_"],
            &["nginx_proxy_manager", "nginx_json"],
        ),
        (&["--read-back", "="], &["on", "off"]),
        (&["--idsite", "=", "1", "--generate", "=", "z"], &["zsh"]),
        (&["--guide", "=", "l"], &["listening"]),
        (&["--token-auth-file", "=", "yes"], &["yesterday.log"]),
    ] {
        let Some(found) = candidates(words) else {
            return;
        };
        assert_eq!(found, offered, "{words:?}");
    }
}
