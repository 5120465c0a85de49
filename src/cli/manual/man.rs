//! The man page import-logs(1).

use std::io;

use clap::Command;
use clap_mangen::Man;

use crate::cli::examples::EXAMPLES;
use crate::cli::read::command;
use crate::error::{Error, Result};
use crate::guide::markdown::{Element, parse, plain, section};
use crate::guide::{CHAPTERS, roff};

const DESCRIPTION: &str = "\
# Description

`import-logs` imports the access logs of web servers and of Icecast and SHOUTcast servers into
Matomo. It reads files, compressed files and pipes, recognizes their format, and sends each line
once, also if it is interrupted. The sections after the examples are the chapters of the guide,
which `import-logs --guide` shows as well.
";

const FILES: &str = "\
# Files

| file | meaning |
|---|---|
| the file of `--defaults` | options that are used unless the command line or the environment gives them |
| the file of `--token-auth-file` | the API token, in the first line; `chmod 600` keeps it from other users |
| the folder of `--state-dir`, such as `/var/lib/import-logs` | the ledger of what is imported, and copies of pipes that are not imported yet |
| `../../config/config.ini.php`, relative to the program | the configuration of a Matomo on this machine, which is asked for a token if none is given |
";

/// The sections of the chapter on options that have a section of their own in a man page.
const EXTRACTED: [(&str, &str); 2] = [
    ("EXIT STATUS", "Exit status"),
    ("ENVIRONMENT", "Environment"),
];

/// The apostrophe of clap's generator, which defines it before each part.
const DEFINITION: &str = ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n";

/// The page, in roff.
///
/// # Errors
///
/// Fails only if clap's generator does.
pub fn page() -> Result<String> {
    let options = chapter("options");
    let mut page = start()?;
    page += &roff::convert(&parse(DESCRIPTION));
    page += &option_sections()?;
    page += &extracted(&options, EXTRACTED[0]);
    page += &roff::convert(&parse(FILES));
    page += &extracted(&options, EXTRACTED[1]);
    page += &roff::convert(&parse(&examples()));
    for chapter in CHAPTERS {
        let mut elements = parse(chapter.text);
        if chapter.name == "options" {
            elements = without_extracted(&elements);
        }
        // OPTIONS is the list that --help shows.
        page += &roff::convert(&elements).replacen(
            ".SH \"OPTIONS\"\n",
            ".SH \"OPTIONS IN DETAIL\"\n",
            1,
        );
    }
    Ok(page)
}

fn chapter(name: &str) -> Vec<Element> {
    let chapter = CHAPTERS.iter().find(|chapter| chapter.name == name);
    chapter.map_or(Vec::new(), |chapter| parse(chapter.text))
}

/// A section of the chapter on options, as one of the page.
fn extracted(options: &[Element], (title, heading): (&str, &str)) -> String {
    let text = roff::convert(section(options, heading));
    // A paragraph directly below a title needs no request.
    let text = text.strip_prefix(".PP\n").unwrap_or(&text);
    format!(".SH \"{title}\"\n{text}")
}

/// Title, name and synopsis.
fn start() -> Result<String> {
    let command = command().override_usage("import-logs [OPTION]... [FILE]...");
    let source = format!("import-logs {}", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command);
    // The page has no date, so that the same version always has the same page.
    let title =
        format!("{DEFINITION}.TH IMPORT\\-LOGS 1 \"\" \"{source}\" \"User Commands\"\n.ad l\n");
    Ok(title
        + &rendered(|out| man.render_name_section(out))?
        + &rendered(|out| man.render_synopsis_section(out))?)
}

/// All options, in the groups of `--help`, as subsections.
fn option_sections() -> Result<String> {
    let man = Man::new(visible(command()));
    let sections = rendered(|out| man.render_options_section(out))?;
    let lines = sections
        .lines()
        .map(|line| match line.strip_prefix(".SH ") {
            Some(title) if title != "OPTIONS" => {
                let title = title.trim_matches('"').to_lowercase();
                let mut letters = title.chars();
                let first = letters.next().map(|first| first.to_ascii_uppercase());
                let title: String = first.into_iter().chain(letters).collect();
                format!(".SS \"{}\"\n", title.replace("Http", "HTTP"))
            }
            _ => format!("{line}\n"),
        });
    Ok(lines.collect())
}

/// Short help: what the guide says is not repeated.
fn visible(command: Command) -> Command {
    command.mut_args(|arg| {
        let help = arg.get_help().cloned();
        match help {
            Some(help) => arg.long_help(help),
            None => arg,
        }
    })
}

fn rendered(render: impl FnOnce(&mut dyn io::Write) -> io::Result<()>) -> Result<String> {
    let mut bytes = Vec::new();
    render(&mut bytes)
        .map_err(|error| Error::stopped(format!("the man page cannot be written: {error}")))?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.strip_prefix(DEFINITION).unwrap_or(&text).to_owned())
}

fn examples() -> String {
    let mut text = "# Examples\n".to_owned();
    for (purpose, command) in EXAMPLES {
        text += &format!("\n{purpose}:\n\n```sh\n{command}\n```\n");
    }
    text
}

/// The chapter on options without the sections that the page has elsewhere.
fn without_extracted(elements: &[Element]) -> Vec<Element> {
    let mut kept = Vec::new();
    let mut is_kept = true;
    for element in elements {
        if let Element::Heading { level: 1 | 2, text } = element {
            let title = plain(text);
            is_kept = !EXTRACTED.iter().any(|(_, heading)| *heading == title);
        }
        if is_kept {
            kept.push(element.clone());
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_the_usual_sections_in_order_and_all_chapters() {
        let page = page().unwrap();
        let sections: Vec<&str> = page
            .lines()
            .filter_map(|line| line.strip_prefix(".SH "))
            .map(|title| title.trim_matches('"'))
            .collect();
        let expected = [
            "NAME",
            "SYNOPSIS",
            "DESCRIPTION",
            "OPTIONS",
            "EXIT STATUS",
            "FILES",
            "ENVIRONMENT",
            "EXAMPLES",
            "OPTIONS IN DETAIL",
            "FORMATS",
            "REQUESTS",
            "LISTENING",
            "GUARANTEES",
            "A FASTER MATOMO",
            "BIG SITES",
            "MIGRATING FROM IMPORT_LOGS.PY",
            "TROUBLESHOOTING",
        ];
        assert_eq!(sections, expected);
        assert!(page.starts_with(DEFINITION), "{}", &page[..100]);
        assert_eq!(page.matches(DEFINITION).count(), 1);
    }

    #[test]
    fn the_options_are_those_of_the_help_by_heading() {
        let sections = option_sections().unwrap();
        for heading in ["Matomo", "Log format", "Radio", "Output"] {
            let line = format!("\n.SS \"{heading}\"\n");
            assert!(sections.contains(&line), "{heading}: {sections}");
        }
        let command = command();
        for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
            let Some(long) = arg.get_long() else { continue };
            let long = long.replace('-', "\\-");
            assert!(sections.contains(&format!("\\-\\-{long}\\fR")), "{long}");
        }
    }

    #[test]
    fn the_exit_status_and_the_environment_are_filled_and_not_repeated() {
        let page = page().unwrap();
        for (title, words) in [
            ("EXIT STATUS", "stopped by SIGHUP"),
            ("ENVIRONMENT", "MATOMO_TOKEN_AUTH"),
        ] {
            let (_, rest) = page.split_once(&format!(".SH \"{title}\"\n")).unwrap();
            let (section, _) = rest.split_once("\n.SH").unwrap();
            assert!(section.contains(words), "{section}");
        }
        assert!(!page.contains(".SS \"Exit status\""));
        assert!(!page.contains(".SS \"Environment\""));
    }
}
