//! The guide agrees with the program and with the comments that cite it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use bumpalo::Bump;
use clap::CommandFactory;
use regex::Regex;

use crate::cli::Cli;
use crate::format::registry::{self, FormatOptions};
use crate::format::{Fit, Record};

/// The names of all chapters.
const CHAPTERS: [&str; super::CHAPTERS.len()] = {
    let mut names = [""; super::CHAPTERS.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = super::CHAPTERS[index].name;
        index += 1;
    }
    names
};

/// Words in the chapters that look like options but belong to other programs.
const FOREIGN_OPTIONS: [&str; 1] = ["now"];

/// Words in the tables of messages that other crates write.
const FOREIGN_MESSAGES: [&str; 1] = ["unexpected argument"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn chapter(name: &str) -> String {
    let path = root().join("src/guide").join(format!("{name}.md"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap()
}

/// All Rust files below a folder of the project.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// A chapter's headings, without the `#` signs. Comments in code blocks are not headings.
fn headings(chapter: &str) -> BTreeSet<&str> {
    let mut in_code = false;
    let mut found = BTreeSet::new();
    for line in chapter.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        } else if !in_code && line.starts_with('#') {
            found.insert(line.trim_start_matches('#').trim());
        }
    }
    found
}

/// A line break within a comment.
static COMMENT_BREAK: LazyLock<Regex> = LazyLock::new(|| regex(r"\n[ \t]*//[/!]?[ \t]*"));
static CITATION: LazyLock<Regex> = LazyLock::new(|| regex(r#"guide/(\w+)\.md, "([^"]+)""#));
static MENTION: LazyLock<Regex> = LazyLock::new(|| regex(r"guide/\w+\.md"));

/// The chapters and headings that the comments of a source file cite, also across lines.
fn citations(source: &str) -> Vec<(String, String)> {
    let joined = COMMENT_BREAK.replace_all(source, " ");
    CITATION
        .captures_iter(&joined)
        .map(|found| (found[1].to_owned(), found[2].to_owned()))
        .collect()
}

/// What is wrong with the citations of a source file.
fn mistakes(source: &str) -> Vec<String> {
    let cited = citations(source);
    let mut mistakes: Vec<String> = cited
        .iter()
        .filter(|(name, heading)| {
            !CHAPTERS.contains(&name.as_str())
                || !headings(&chapter(name)).contains(heading.as_str())
        })
        .map(|(name, heading)| format!("guide/{name}.md has no heading \"{heading}\""))
        .collect();
    let comments = source
        .lines()
        .filter(|line| line.trim_start().starts_with("//"));
    let mentioned = comments.flat_map(|line| MENTION.find_iter(line)).count();
    if mentioned > cited.len() {
        mistakes.push("a chapter is cited without a heading in quotes".to_owned());
    }
    mistakes
}

#[test]
fn every_cited_heading_exists() {
    let this_file = root().join("src/guide/tests.rs");
    let mut cited = 0;
    let mut wrong = Vec::new();
    for folder in ["src", "tests", "benches"] {
        for path in rust_files(&root().join(folder)) {
            if path == this_file {
                continue;
            }
            let source = fs::read_to_string(&path).unwrap();
            cited += citations(&source).len();
            let mistakes = mistakes(&source).into_iter();
            wrong.extend(mistakes.map(|mistake| format!("{}: {mistake}", path.display())));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cited > 0, "no comment cites the guide");
}

#[test]
fn citations_are_found_and_checked() {
    let cites = |name: &str, heading: &str| format!("guide/{name}.md, \"{heading}\"");
    let source = format!(
        "/// One rule ({}),\nfn a() {{}}\n    // another: guide/formats.md,\n    // \"W3C\n    // options\".\n",
        cites("requests", "Parameters"),
    );
    let found = citations(&source);
    let found: Vec<(&str, &str)> = found.iter().map(|(a, b)| (&**a, &**b)).collect();
    assert_eq!(
        found,
        [("requests", "Parameters"), ("formats", "W3C options")]
    );
    assert_eq!(mistakes(&source), [""; 0]);
    assert_eq!(mistakes(&cites("requests", "No such heading")).len(), 1);
    assert_eq!(mistakes(&cites("nothing", "Parameters")).len(), 1);
    assert_eq!(mistakes("// See guide/requests.md.").len(), 1);
    assert!(citations("// no citation, \"Parameters\"").is_empty());
}

#[test]
fn comments_in_code_are_not_headings() {
    let chapter = "# One\n\ntext # text\n\n```text\n# no\n```\n\n### Two words\n";
    assert_eq!(headings(chapter), BTreeSet::from(["One", "Two words"]));
}

#[test]
fn every_chapter_is_part_of_the_guide() {
    let files = fs::read_dir(root().join("src/guide")).unwrap();
    let files = files.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let chapters: BTreeSet<String> = files.filter(|name| name.ends_with(".md")).collect();
    let expected = CHAPTERS.map(|name| format!("{name}.md"));
    assert_eq!(chapters, BTreeSet::from(expected));
}

/// Code blocks without a language would be run as Rust by `cargo test`.
#[test]
fn every_code_block_names_its_language() {
    for name in CHAPTERS {
        let text = chapter(name);
        let fences: Vec<&str> = text
            .lines()
            .map(str::trim)
            .filter(|line| line.starts_with("```"))
            .collect();
        let closed = fences.len().is_multiple_of(2);
        assert!(closed, "{name}: a code block is not closed");
        for fence in fences.iter().step_by(2) {
            assert!(fence.len() > 3, "{name}: a code block without a language");
        }
    }
}

/// The options in a chapter, without `--`.
fn named_options(text: &str) -> BTreeSet<String> {
    regex(r"(?:^|[^\w-])--([a-zA-Z][\w-]*)")
        .captures_iter(text)
        .map(|found| found[1].to_owned())
        .collect()
}

#[test]
fn the_chapter_on_options_has_every_option_and_no_other() {
    let mut command = Cli::command();
    command.build();
    let mut visible = BTreeSet::new();
    let mut known = BTreeSet::new();
    for argument in command.get_arguments() {
        let long = argument.get_long().map(str::to_owned);
        if !argument.is_hide_set() {
            visible.extend(long.clone());
        }
        known.extend(long);
        let aliases = argument.get_all_aliases().unwrap_or_default();
        known.extend(aliases.into_iter().map(str::to_owned));
    }
    let named = named_options(&chapter("options"));
    let missing: Vec<&String> = visible.difference(&named).collect();
    assert!(missing.is_empty(), "not in options.md: {missing:?}");
    for name in CHAPTERS {
        let is_unknown = |option: &String| {
            // Options may be shortened.
            !known.iter().any(|known| known.starts_with(option.as_str()))
                && !FOREIGN_OPTIONS.contains(&option.as_str())
        };
        let unknown: Vec<String> = named_options(&chapter(name))
            .into_iter()
            .filter(is_unknown)
            .collect();
        assert!(
            unknown.is_empty(),
            "unknown options in {name}.md: {unknown:?}"
        );
    }
}

/// The lines of the first code block after a line that begins with `` `name`: ``.
fn example<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
    let label = format!("`{name}`:");
    text.lines()
        .skip_while(|line| !line.starts_with(&label))
        .skip_while(|line| !line.starts_with("```"))
        .skip(1)
        .take_while(|line| !line.starts_with("```"))
        .collect()
}

#[test]
fn the_chapter_on_formats_has_every_format_and_examples_that_fit() {
    let text = chapter("formats");
    let rows: Vec<&str> = text
        .lines()
        .skip_while(|line| *line != "## Built-in formats")
        .skip_while(|line| !line.starts_with("| `"))
        .take_while(|line| line.starts_with('|'))
        .filter_map(|row| row.split('`').nth(1))
        .collect();
    assert_eq!(rows, registry::names());
    for mut format in registry::all(&FormatOptions::default()).unwrap() {
        let name = format.name();
        let lines = example(&text, name);
        assert!(!lines.is_empty(), "no example of {name}");
        for line in lines {
            if line.starts_with('#') {
                format.header(line.as_bytes()).unwrap();
                continue;
            }
            let arena = Bump::new();
            let fit = format.parse(line.as_bytes(), &arena, &mut Record::default());
            assert_eq!(fit, Fit::Record, "{name}: {line}");
        }
    }
}

#[test]
fn the_messages_in_troubleshooting_exist() {
    let continued = regex(r"\\\n\s*");
    let source: String = rust_files(&root().join("src"))
        .into_iter()
        .filter(|path| !path.ends_with("guide/tests.rs"))
        .map(|path| {
            let text = fs::read_to_string(path).unwrap();
            continued.replace_all(&text, "").into_owned()
        })
        .collect();
    let text = chapter("troubleshooting");
    let cells = text
        .lines()
        .skip_while(|line| *line != "| words | cause and remedy |")
        .filter(|line| line.starts_with("| `"))
        .filter_map(|row| row.split(" | ").next());
    let words = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let missing: Vec<&str> = words
        .filter(|words| !source.contains(words) && !FOREIGN_MESSAGES.contains(words))
        .collect();
    assert!(missing.is_empty(), "no message has the words {missing:?}");
}
