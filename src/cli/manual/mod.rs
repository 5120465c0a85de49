//! What the program prints about itself: the guide, the man page, the options as Markdown, and
//! completions for shells.

mod completion;
mod man;
mod options;

use clap::ValueEnum;

use super::Cli;
use crate::error::{Error, Result};
use crate::guide::{self, CHAPTERS, markdown, terminal};
use crate::suggestion::did_you_mean;

/// What `--generate` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Generate {
    /// The man page import-logs(1)
    Man,
    /// Completions for bash
    Bash,
    /// Completions for zsh
    Zsh,
    /// Completions for fish
    Fish,
    /// Completions for PowerShell
    Powershell,
    /// All options as Markdown
    Markdown,
}

/// A text about the program.
#[derive(Debug)]
pub struct ManualText {
    pub text: String,
    /// Show it in a pager on a terminal.
    pub is_paged: bool,
}

/// The text that `--generate`, `--show-options` or `--guide` asks for.
///
/// # Errors
///
/// Returns a usage error if there is no such chapter.
pub fn requested(cli: &Cli) -> Result<Option<ManualText>> {
    let unpaged = |text| {
        Some(ManualText {
            text,
            is_paged: false,
        })
    };
    if let Some(kind) = cli.help.generate {
        return generate(kind).map(unpaged);
    }
    if cli.defaults.show_options {
        return Ok(unpaged(cli.origins.table.clone()));
    }
    let Some(name) = cli.help.guide.as_deref() else {
        return Ok(None);
    };
    let text = match name {
        "" => {
            let chapters = CHAPTERS.iter().map(|chapter| converted(chapter.text));
            chapters.collect::<Vec<String>>().join("\n\n")
        }
        name => converted(chapter(name)?.text),
    };
    Ok(Some(ManualText {
        text,
        is_paged: true,
    }))
}

fn converted(chapter: &str) -> String {
    terminal::convert(&markdown::parse(chapter))
}

fn chapter(name: &str) -> Result<guide::Chapter> {
    let chapter = CHAPTERS.iter().find(|chapter| chapter.name == name);
    chapter.copied().ok_or_else(|| {
        let names = CHAPTERS.map(|chapter| chapter.name);
        let suggestion = did_you_mean(name, names);
        Error::usage(format!(
            "--guide={name}: there is no such chapter{suggestion}\nchapters: {}",
            names.join(", ")
        ))
    })
}

fn generate(kind: Generate) -> Result<String> {
    match kind {
        Generate::Man => man::page(),
        Generate::Markdown => Ok(options::markdown()),
        Generate::Bash => Ok(completion::bash()),
        Generate::Zsh => Ok(completion::of(clap_complete::Shell::Zsh)),
        Generate::Fish => Ok(completion::of(clap_complete::Shell::Fish)),
        Generate::Powershell => Ok(completion::of(clap_complete::Shell::PowerShell)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guide_has_all_chapters_and_names_them() {
        let text = |guide: &str| {
            let mut cli = Cli::default();
            cli.help.guide = Some(guide.to_owned());
            requested(&cli).map(|text| text.unwrap().text)
        };
        let all = text("").unwrap();
        for chapter in CHAPTERS {
            assert!(
                all.contains(&text(chapter.name).unwrap()),
                "{}",
                chapter.name
            );
        }
        let error = text("optoins").unwrap_err().to_string();
        assert!(error.contains("did you mean options?"), "{error}");
        assert!(error.contains("listening, guarantees"), "{error}");
    }
}
