//! All options as Markdown, in the groups of `--help`.

use clap::Arg;

use crate::cli::read::command;

/// A table for each group.
pub fn markdown() -> String {
    let command = command();
    let mut text = "# Options of import-logs\n".to_owned();
    let mut heading = None;
    let shown = || command.get_arguments().filter(|arg| !arg.is_hide_set());
    let (with, without): (Vec<&Arg>, Vec<&Arg>) =
        shown().partition(|arg| arg.get_help_heading().is_some());
    for arg in with.into_iter().chain(without) {
        let title = arg.get_help_heading().unwrap_or("Other");
        if heading != Some(title) {
            text += &format!("\n## {title}\n\n| option | default | meaning |\n|---|---|---|\n");
            heading = Some(title);
        }
        text += &row(arg);
    }
    text
}

fn row(arg: &Arg) -> String {
    let mut names = Vec::new();
    names.extend(arg.get_short().map(|short| format!("`-{short}`")));
    let takes_value = arg.get_action().takes_values();
    let value = arg.get_value_names().unwrap_or_default().join(" ");
    let value = match (takes_value, arg.is_require_equals_set()) {
        (false, _) => String::new(),
        (true, true) => format!("[={value}]"),
        (true, false) => format!("={value}"),
    };
    match arg.get_long() {
        Some(long) => names.push(format!("`--{long}{value}`")),
        None => names.push(format!("`{}`", value.trim_start_matches('='))),
    }
    let defaults = arg.get_default_values().iter().filter(|_| takes_value);
    let defaults: Vec<String> = defaults
        .map(|value| format!("`{}`", value.to_string_lossy()))
        .collect();
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    // A default that is no fixed value is part of the help text.
    let (help, described) = help.split_once(" [default: ").unwrap_or((&help, ""));
    let described = described.trim_end_matches(']');
    let mut help = help.to_owned();
    let values: Vec<String> = arg
        .get_possible_values()
        .iter()
        .filter(|_| takes_value)
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    if !values.is_empty() {
        help += &format!(" ({})", values.join(", "));
    }
    let cells = [names.join(", "), defaults.join(" ") + described, help];
    let cells = cells.map(|cell| cell.replace('|', "\\|"));
    format!("| {} |\n", cells.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guide::markdown::{Element, parse, plain};

    #[test]
    fn every_shown_option_has_a_row() {
        let mut rows = Vec::new();
        for element in parse(&markdown()) {
            if let Element::Table { rows: some, .. } = element {
                assert!(some.iter().all(|row| row.len() == 3));
                rows.extend(some.into_iter().map(|row| plain(&row[0])));
            }
        }
        let command = command();
        for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
            let long = arg
                .get_long()
                .map_or("FILE".to_owned(), |long| format!("--{long}"));
            let is_row = |row: &String| {
                row.split(", ")
                    .any(|name| name.split(['=', '[']).next() == Some(&long))
            };
            assert_eq!(rows.iter().filter(|row| is_row(row)).count(), 1, "{long}");
        }
        assert!(rows.contains(&"-u, --url=URL".to_owned()), "{rows:?}");
        assert!(rows.contains(&"--sandbox[=FILE]".to_owned()));
        let row = "| `--idsite=ID` | looked up by the host of each hit | Site ID of all hits |\n";
        assert!(markdown().contains(row));
        assert!(!markdown().contains("[default: "));
    }
}
