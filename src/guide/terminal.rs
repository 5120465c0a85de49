//! Chapters as plain text.

use super::markdown::{Element, Inline, plain, row_texts};

/// Columns of a line. Code and long words may be wider.
const WIDTH: usize = 80;

/// Converts blocks to plain text of at most 80 columns.
pub fn convert(blocks: &[Element]) -> String {
    let mut text = String::new();
    for block in blocks {
        if !text.is_empty() {
            text.push('\n');
        }
        match block {
            Element::Heading { level, text: words } => {
                let words = plain(words);
                let underline = match level {
                    1 => "=",
                    2 => "-",
                    _ => "",
                };
                text += &words;
                text.push('\n');
                if !underline.is_empty() {
                    text += &underline.repeat(words.chars().count());
                    text.push('\n');
                }
            }
            Element::Paragraph(words) => wrap(&mut text, &shown(words), "", ""),
            Element::List(items) => {
                for (marker, words) in items {
                    let indent = " ".repeat(marker.len() + 1);
                    wrap(&mut text, &shown(words), &format!("{marker} "), &indent);
                }
            }
            Element::Table { header, rows } => {
                for (first, words) in rows.iter().filter_map(|row| row_texts(header, row)) {
                    wrap(&mut text, &shown(first), "  ", "  ");
                    wrap(&mut text, &shown(&words), "      ", "      ");
                }
            }
            Element::Code(lines) => {
                for line in lines {
                    text += format!("    {line}").trim_end();
                    text.push('\n');
                }
            }
        }
    }
    text
}

/// A text with the addresses of its links.
fn shown(words: &[Inline]) -> String {
    words
        .iter()
        .map(|piece| match piece {
            Inline::Link { text, target } if target.starts_with("http") => {
                format!("{text} <{target}>")
            }
            piece => plain(std::slice::from_ref(piece)),
        })
        .collect()
}

/// Appends a text in lines that begin with `first`, then with `indent`.
fn wrap(out: &mut String, text: &str, first: &str, indent: &str) {
    let mut line = first.to_owned();
    let mut is_empty = true;
    for word in text.split_whitespace() {
        let width = line.chars().count() + word.chars().count() + usize::from(!is_empty);
        if width > WIDTH && !is_empty {
            out.push_str(line.trim_end());
            out.push('\n');
            line = indent.to_owned();
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    out.push_str(line.trim_end());
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guide::CHAPTERS;
    use crate::guide::markdown::parse;

    #[test]
    fn blocks_become_text() {
        let long = "word ".repeat(20);
        let markdown = format!(
            "# Title\n\n## Part\n\n### Sub\n\n`{long}` [x](https://e.example)\n\n\
             1. {long}\n\n| a | b | c |\n|---|---|---|\n| `-a` | 1 | what |\n\n```sh\nx\n```\n"
        );
        let text = convert(&parse(&markdown));
        assert!(text.starts_with("Title\n=====\n\nPart\n----\n\nSub\n\nword word"));
        assert!(text.contains("word x <https://e.example>\n"), "{text}");
        assert!(
            text.contains("\n1. word") && text.contains("\n   word"),
            "{text}"
        );
        assert!(text.contains("\n  -a\n      b: 1. what\n"), "{text}");
        assert!(text.ends_with("\n\n    x\n"), "{text}");
        assert!(text.lines().all(|line| line.len() <= WIDTH), "{text}");
    }

    #[test]
    fn every_chapter_becomes_text() {
        for chapter in CHAPTERS {
            let text = convert(&parse(chapter.text));
            assert!(text.len() > chapter.text.len() / 2, "{}", chapter.name);
            for line in text.lines().filter(|line| !line.starts_with("    ")) {
                let is_wide = line.chars().count() > WIDTH && line.trim().contains(' ');
                assert!(!is_wide, "{}: {line}", chapter.name);
            }
        }
    }
}
