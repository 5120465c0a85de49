//! Completions for shells. They offer the names of formats and of other fixed values, too.

use clap::builder::PossibleValuesParser;
use clap::{Command, ValueHint};
use clap_complete::Shell;

use crate::cli::read::command;
use crate::format::{json, registry};
use crate::guide::CHAPTERS;
use crate::input::envelope::EnvelopeChoice;

const NAME: &str = "import-logs";

/// The completion script of a shell.
pub fn of(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut completed(), NAME, &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// The script for bash, which also completes values after `=`. Bash splits words there, and
/// clap_complete's script does not know that.
pub fn bash() -> String {
    const PREVIOUS: &str = "    prev=\"$3\"\n";
    const JOINED: &str = "    if [[ \"${cur}\" == \"=\" ]]; then
        prev=\"${COMP_WORDS[COMP_CWORD-1]}\"
        cur=\"\"
    elif [[ \"${prev}\" == \"=\" && \"${COMP_CWORD}\" -ge 2 ]]; then
        prev=\"${COMP_WORDS[COMP_CWORD-2]}\"
    fi
";
    of(Shell::Bash).replacen(PREVIOUS, &format!("{PREVIOUS}{JOINED}"), 1)
}

/// The command with the values that only completions know: the program checks them itself.
fn completed() -> Command {
    let mut formats = registry::names();
    formats.push(json::MAPPED);
    let envelopes: Vec<&str> = EnvelopeChoice::names().collect();
    let chapters = CHAPTERS.map(|chapter| chapter.name);
    command()
        .mut_arg("files", |arg| arg.value_hint(ValueHint::FilePath))
        .mut_arg("sandbox", |arg| arg.value_hint(ValueHint::FilePath))
        .mut_arg("exclude_ip", |arg| arg.value_hint(ValueHint::FilePath))
        .mut_arg("state_dir", |arg| arg.value_hint(ValueHint::DirPath))
        .mut_arg("php_binary", |arg| arg.value_hint(ValueHint::CommandName))
        .mut_arg("url", |arg| arg.value_hint(ValueHint::Url))
        .mut_arg("api_url", |arg| arg.value_hint(ValueHint::Url))
        .mut_arg("tracker_url", |arg| arg.value_hint(ValueHint::Url))
        .mut_arg("log_format_name", |arg| {
            arg.value_parser(PossibleValuesParser::new(&formats))
        })
        .mut_arg("log_format", |arg| {
            arg.value_parser(PossibleValuesParser::new(&formats))
        })
        .mut_arg("log_envelope", |arg| {
            arg.value_parser(PossibleValuesParser::new(&envelopes))
        })
        .mut_arg("guide", |arg| {
            arg.value_parser(PossibleValuesParser::new(chapters))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Vec<String> {
        let command = command();
        let shown = command.get_arguments().filter(|arg| !arg.is_hide_set());
        let longs = shown.filter_map(|arg| arg.get_long());
        longs.map(str::to_owned).collect()
    }

    #[test]
    fn every_script_has_every_option_and_every_format() {
        let scripts = [
            bash(),
            of(Shell::Zsh),
            of(Shell::Fish),
            of(Shell::PowerShell),
        ];
        for script in scripts {
            for option in options() {
                let names = [format!("--{option}"), format!("-l {option}")];
                assert!(names.iter().any(|name| script.contains(name)), "{option}");
            }
            // fish and zsh describe values, if they can.
            assert!(script.contains("nginx_json") || script.contains("log-format-name"));
        }
        for script in [bash(), of(Shell::Zsh), of(Shell::Fish)] {
            for format in registry::names() {
                assert!(script.contains(format), "{format}");
            }
        }
    }

    #[test]
    fn bash_completes_values_after_an_equals_sign() {
        let script = bash();
        assert!(script.contains("COMP_WORDS[COMP_CWORD-2]"));
        assert!(!of(Shell::Bash).contains("COMP_WORDS[COMP_CWORD-2]"));
    }
}
