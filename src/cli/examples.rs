//! What is shown below the options, and to those who type only the program's name.

/// Command lines, and what they are for.
pub const EXAMPLES: [(&str, &str); 5] = [
    (
        "Try an import without a Matomo",
        "import-logs --sandbox access.log",
    ),
    (
        "Show how the first lines of a log are read",
        "import-logs --explain access.log",
    ),
    (
        "Import a log, four requests at once",
        "import-logs --url=https://matomo.example --token-auth-file=token --idsite=1 --recorders=4 \
         access.log",
    ),
    (
        "Import new lines every night, rotated logs included",
        "import-logs --quiet --url=https://matomo.example --token-auth-file=token --idsite=1 \
         --state-dir=/var/lib/import-logs '/var/log/nginx/access.log*'",
    ),
    (
        "Measure the listeners of a radio station",
        "import-logs --sandbox --log-format-name=icecast2 --report=may.html access.log",
    ),
];

/// Each status with its meaning, in lines that also fit into a narrow terminal.
const EXIT_STATUS: &str = "Exit status:
  0  success; some lines may have been invalid or filtered
  1  the import stopped; the message says why
  2  invalid usage
  3  finished, but a warning says what needs attention
  129, 130, 143  stopped by SIGHUP, SIGINT or SIGTERM";

/// The end of `--help`.
pub fn after_help() -> String {
    let mut text = format!("{EXIT_STATUS}\n\nExamples:");
    for (purpose, command) in EXAMPLES {
        text += &format!("\n  {purpose}:\n    {command}");
    }
    text
}

/// What is shown if no argument is given.
pub fn first_steps() -> String {
    let [(_, trial), _, (_, import), ..] = EXAMPLES;
    format!(
        "no log is named; for example:\n  {trial}\n  {import}\n'import-logs -h' lists the options.\n"
    )
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn every_example_is_a_valid_command_line() {
        for (purpose, command) in EXAMPLES {
            let words = command.split_whitespace().map(OsString::from);
            let cli = Cli::read(words).unwrap_or_else(|error| panic!("{purpose}: {error}"));
            assert_eq!(cli.files.len(), 1, "{purpose}");
        }
    }

    #[test]
    fn the_first_steps_are_four_lines_with_two_examples() {
        let text = first_steps();
        assert_eq!(text.lines().count(), 4);
        assert_eq!(text.matches("\n  import-logs ").count(), 2);
    }
}
