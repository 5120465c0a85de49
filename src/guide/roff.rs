//! Chapters for the man page.

use super::markdown::{Element, Inline, plain, row_texts};

/// Converts blocks to roff for the `man` macros. A heading of level 1 becomes a section.
pub fn convert(blocks: &[Element]) -> String {
    let mut roff = String::new();
    let mut after_heading = false;
    for block in blocks {
        let paragraph = if after_heading { "" } else { ".PP\n" };
        after_heading = false;
        match block {
            Element::Heading { level, text } => {
                let text = plain(text);
                match level {
                    1 => roff += &format!(".SH \"{}\"\n", argument(&text.to_uppercase())),
                    2 => roff += &format!(".SS \"{}\"\n", argument(&text)),
                    _ => roff += &format!(".PP\n\\fB{}\\fR\n", escaped(&text)),
                }
                after_heading = *level <= 2;
            }
            Element::Paragraph(text) => {
                roff += paragraph;
                roff += &line(text);
            }
            Element::List(items) => {
                for (marker, text) in items {
                    let marker = match marker.as_str() {
                        "-" => "\\(bu",
                        number => number,
                    };
                    roff += &format!(".IP \"{marker}\" 4\n{}", line(text));
                }
            }
            Element::Table { header, rows } => {
                for (first, text) in rows.iter().filter_map(|row| row_texts(header, row)) {
                    roff += ".TP\n";
                    roff += &line(first);
                    roff += &line(&text);
                }
            }
            Element::Code(lines) => {
                roff += paragraph;
                roff += ".RS 4\n.nf\n";
                for line in lines {
                    roff += &protected(&escaped(line));
                    roff.push('\n');
                }
                roff += ".fi\n.RE\n";
            }
        }
    }
    roff
}

/// A text as one line of input.
fn line(text: &[Inline]) -> String {
    let mut line = String::new();
    for piece in text {
        match piece {
            Inline::Plain(text) => line += &escaped(text),
            Inline::Code(text) | Inline::Bold(text) => {
                line += &format!("\\fB{}\\fR", escaped(text));
            }
            Inline::Emphasis(text) => line += &format!("\\fI{}\\fR", escaped(text)),
            Inline::Link { text, target } => {
                line += &escaped(text);
                if target.starts_with("http") {
                    line += &format!(" <{}>", escaped(target));
                }
            }
        }
    }
    protected(&line) + "\n"
}

/// Keeps a line from being a request, and from being empty.
fn protected(line: &str) -> String {
    match line.chars().next() {
        None | Some('.' | '\'' | ' ' | '\t') => format!("\\&{line}"),
        _ => line.to_owned(),
    }
}

/// An argument of a request, in quotes.
fn argument(text: &str) -> String {
    escaped(text).replace('"', "\\(dq")
}

/// A text in which nothing has a meaning for roff.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\\' => escaped.push_str("\\e"),
            '-' => escaped.push_str("\\-"),
            '\'' => escaped.push_str("\\(aq"),
            '`' => escaped.push_str("\\(ga"),
            '^' => escaped.push_str("\\(ha"),
            '~' => escaped.push_str("\\(ti"),
            '\t' => escaped.push_str("    "),
            ' '..='~' => escaped.push(char),
            char => escaped.push_str(&format!("\\[u{:04X}]", char as u32)),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guide::CHAPTERS;
    use crate::guide::markdown::parse;

    #[test]
    fn blocks_become_macros() {
        let markdown = "# A-b\n\nSee `x\\y`, *z* and [q](https://e.example/).\n\n## C \"d\"\n\n\
                        - one\n- .two\n\n| o | default | meaning |\n|---|---|---|\n\
                        | `-a` | 1 | what |\n\n```text\n.x\n\n'é\n```\n";
        let expected = "\
            .SH \"A\\-B\"\n\
            See \\fBx\\ey\\fR, \\fIz\\fR and q <https://e.example/>.\n\
            .SS \"C \\(dqd\\(dq\"\n\
            .IP \"\\(bu\" 4\none\n\
            .IP \"\\(bu\" 4\n\\&.two\n\
            .TP\n\\fB\\-a\\fR\ndefault: 1. what\n\
            .PP\n.RS 4\n.nf\n\\&.x\n\\&\n\\(aq\\[u00E9]\n.fi\n.RE\n";
        assert_eq!(convert(&parse(markdown)), expected);
    }

    #[test]
    fn every_chapter_converts_to_macros_that_man_knows() {
        const MACROS: [&str; 10] = [
            ".SH", ".SS", ".PP", ".IP", ".TP", ".RS", ".RE", ".nf", ".fi", ".br",
        ];
        for chapter in CHAPTERS {
            let roff = convert(&parse(chapter.text));
            assert!(roff.is_ascii(), "{}", chapter.name);
            assert_eq!(
                roff.matches("\n.nf\n").count(),
                roff.matches("\n.fi\n").count()
            );
            for line in roff.lines() {
                let first = line.split(' ').next().unwrap_or_default();
                let is_request = line.starts_with(['.', '\'']);
                assert!(
                    !is_request || MACROS.contains(&first),
                    "{}: {line}",
                    chapter.name
                );
            }
        }
    }
}
