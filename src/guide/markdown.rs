//! Reads the Markdown that the guide uses: headings, paragraphs, lists, tables, code blocks, and
//! code, bold and emphasized words and links in texts.

/// A part of a chapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Element {
    /// Level 1 is the title of the chapter.
    Heading {
        level: usize,
        text: Vec<Inline>,
    },
    Paragraph(Vec<Inline>),
    /// Items with what is before each: `-`, or a number.
    List(Vec<(String, Vec<Inline>)>),
    Table {
        header: Vec<Vec<Inline>>,
        rows: Vec<Vec<Vec<Inline>>>,
    },
    Code(Vec<String>),
}

/// A piece of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inline {
    Plain(String),
    Code(String),
    Bold(String),
    Emphasis(String),
    Link { text: String, target: String },
}

/// Reads a chapter.
pub fn parse(markdown: &str) -> Vec<Element> {
    let mut blocks = Vec::new();
    let mut lines = markdown.lines().peekable();
    while let Some(line) = lines.next() {
        let trimmed = line.trim();
        if trimmed.is_empty() {
            continue;
        }
        if is_fence(trimmed) {
            // In a list, the code has the indent of the fence.
            let indent = &line[..line.len() - line.trim_start().len()];
            let code = lines.by_ref().take_while(|line| !is_fence(line.trim()));
            let code = code.map(|line| line.strip_prefix(indent).unwrap_or(line).to_owned());
            blocks.push(Element::Code(code.collect()));
        } else if let Some((level, text)) = heading(line) {
            let text = inline(text);
            blocks.push(Element::Heading { level, text });
        } else if trimmed.starts_with('|') {
            let mut rows = vec![cells(trimmed)];
            while let Some(row) = lines.next_if(|line| line.trim().starts_with('|')) {
                rows.push(cells(row.trim()));
            }
            blocks.push(table(rows));
        } else if let Some((marker, text)) = item(trimmed) {
            let mut items = vec![(marker.to_owned(), text.to_owned())];
            while let Some(line) = lines.next_if(|line| !ends_text(line)) {
                match (item(line.trim()), items.last_mut()) {
                    (None, Some((_, text))) => append(text, line),
                    (Some((marker, text)), _) => items.push((marker.to_owned(), text.to_owned())),
                    (None, None) => {}
                }
            }
            let items = items.into_iter();
            let items = items.map(|(marker, text)| (marker, inline(&text)));
            blocks.push(Element::List(items.collect()));
        } else {
            let mut text = trimmed.to_owned();
            let is_more = |line: &&str| !ends_text(line) && item(line.trim()).is_none();
            while let Some(line) = lines.next_if(is_more) {
                append(&mut text, line);
            }
            blocks.push(Element::Paragraph(inline(&text)));
        }
    }
    blocks
}

/// The blocks below a heading, up to the next one of its level or above. Empty if there is no such
/// heading.
pub fn section<'b>(blocks: &'b [Element], title: &str) -> &'b [Element] {
    let is_title = |block: &Element| match block {
        Element::Heading { text, .. } => plain(text) == title,
        _ => false,
    };
    let Some(start) = blocks.iter().position(is_title) else {
        return &[];
    };
    let level_of = |block: &Element| match block {
        Element::Heading { level, .. } => Some(*level),
        _ => None,
    };
    let level = level_of(&blocks[start]);
    let rest = &blocks[start + 1..];
    let ends = |block: &Element| level_of(block).is_some() && level_of(block) <= level;
    let end = rest.iter().position(ends).unwrap_or(rest.len());
    &rest[..end]
}

/// A text without markup.
pub fn plain(text: &[Inline]) -> String {
    text.iter()
        .map(|piece| match piece {
            Inline::Plain(text)
            | Inline::Code(text)
            | Inline::Bold(text)
            | Inline::Emphasis(text)
            | Inline::Link { text, .. } => text.as_str(),
        })
        .collect()
}

/// How a table's row becomes a text: its first cell, and the others with their headers.
pub fn row_texts<'r>(
    header: &'r [Vec<Inline>],
    row: &'r [Vec<Inline>],
) -> Option<(&'r [Inline], Vec<Inline>)> {
    let (first, rest) = row.split_first()?;
    let mut text = Vec::new();
    for (index, cell) in rest.iter().enumerate() {
        if cell.is_empty() {
            continue;
        }
        let is_last = index + 1 == rest.len();
        if !is_last {
            let name = header.get(index + 1).map(|name| plain(name));
            let name = name.unwrap_or_default();
            text.push(Inline::Plain(format!("{name}: ")));
        }
        text.extend(cell.iter().cloned());
        if !is_last {
            text.push(Inline::Plain(". ".to_owned()));
        }
    }
    Some((first, text))
}

fn is_fence(line: &str) -> bool {
    line.starts_with("```")
}

fn heading(line: &str) -> Option<(usize, &str)> {
    let text = line.trim_start_matches('#');
    let level = line.len() - text.len();
    (1..=6)
        .contains(&level)
        .then(|| text.strip_prefix(' '))
        .flatten()
        .map(|text| (level, text.trim()))
}

/// Whether a line is not part of the paragraph or list before it.
fn ends_text(line: &str) -> bool {
    let trimmed = line.trim();
    trimmed.is_empty() || is_fence(trimmed) || trimmed.starts_with('|') || heading(line).is_some()
}

/// The marker and the text of a list item.
fn item(line: &str) -> Option<(&str, &str)> {
    let (marker, text) = line.split_once(' ')?;
    let number = marker.strip_suffix('.').unwrap_or_default();
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    (marker == "-" || is_number).then(|| (marker, text.trim()))
}

fn append(text: &mut String, line: &str) {
    text.push(' ');
    text.push_str(line.trim());
}

/// The cells of a table's row. `\\|` is a bar inside a cell.
fn cells(row: &str) -> Vec<String> {
    let row = row.strip_prefix('|').unwrap_or(row);
    let row = row.strip_suffix('|').unwrap_or(row);
    let mut cells = vec![String::new()];
    let mut chars = row.chars().peekable();
    while let Some(char) = chars.next() {
        let is_bar = char == '\\' && chars.next_if_eq(&'|').is_some();
        match (is_bar, char, cells.last_mut()) {
            (true, _, Some(cell)) => cell.push('|'),
            (false, '|', _) => cells.push(String::new()),
            (false, char, Some(cell)) => cell.push(char),
            (_, _, None) => {}
        }
    }
    cells.iter().map(|cell| cell.trim().to_owned()).collect()
}

/// The second row only separates the header from the others.
fn table(rows: Vec<Vec<String>>) -> Element {
    let texts =
        |row: Vec<String>| -> Vec<Vec<Inline>> { row.iter().map(|cell| inline(cell)).collect() };
    let mut rows = rows.into_iter();
    let header = rows.next().map(texts).unwrap_or_default();
    Element::Table {
        header,
        rows: rows.skip(1).map(texts).collect(),
    }
}

/// Reads the markup in a text. What is never closed is plain text.
fn inline(text: &str) -> Vec<Inline> {
    let mut pieces: Vec<Inline> = Vec::new();
    let mut rest = text;
    let mut before = None;
    while let Some(char) = rest.chars().next() {
        if let Some((piece, length)) = marked(rest, before) {
            pieces.push(piece);
            rest = &rest[length..];
            before = Some(' ');
            continue;
        }
        match pieces.last_mut() {
            Some(Inline::Plain(text)) => text.push(char),
            _ => pieces.push(Inline::Plain(char.to_string())),
        }
        rest = &rest[char.len_utf8()..];
        before = Some(char);
    }
    pieces
}

/// The piece with markup that a text begins with, and its length in bytes. `before` is the
/// character before it.
fn marked(text: &str, before: Option<char>) -> Option<(Inline, usize)> {
    let quoted = |mark: &str| -> Option<(String, usize)> {
        let (inner, _) = text.strip_prefix(mark)?.split_once(mark)?;
        let is_text = !inner.is_empty() && !inner.starts_with(' ') && !inner.ends_with(' ');
        is_text.then(|| (inner.to_owned(), inner.len() + 2 * mark.len()))
    };
    if text.starts_with("``") {
        return quoted("``").map(|(text, length)| (Inline::Code(text), length));
    }
    if let Some(code) = text.strip_prefix('`') {
        let (code, _) = code.split_once('`')?;
        return Some((Inline::Code(code.to_owned()), code.len() + 2));
    }
    if text.starts_with("**") {
        return quoted("**").map(|(text, length)| (Inline::Bold(text), length));
    }
    if text.starts_with('*') && !before.is_some_and(char::is_alphanumeric) {
        return quoted("*").map(|(text, length)| (Inline::Emphasis(text), length));
    }
    let (label, rest) = text.strip_prefix('[')?.split_once("](")?;
    let (target, _) = rest.split_once(')')?;
    if label.contains(['[', '\n']) {
        return None;
    }
    let length = label.len() + target.len() + "[]()".len();
    let link = Inline::Link {
        text: label.replace('`', ""),
        target: target.to_owned(),
    };
    Some((link, length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guide::CHAPTERS;

    fn text(text: &str) -> Vec<Inline> {
        vec![Inline::Plain(text.to_owned())]
    }

    #[test]
    fn blocks_are_recognized() {
        let blocks = parse(
            "# One\n\nSome text\nand more.\n- a\n  b\n- c\n\n1. d\n\n```sh\n# x\n\n| y\n```\n\
             | k | v |\n|---|---|\n| a\\|b | c |\n## Two\n",
        );
        let item = |marker: &str, words| (marker.to_owned(), text(words));
        let heading = |level, words| Element::Heading {
            level,
            text: text(words),
        };
        assert_eq!(
            blocks,
            [
                heading(1, "One"),
                Element::Paragraph(text("Some text and more.")),
                Element::List(vec![item("-", "a b"), item("-", "c")]),
                Element::List(vec![item("1.", "d")]),
                Element::Code(vec!["# x".into(), String::new(), "| y".into()]),
                Element::Table {
                    header: vec![text("k"), text("v")],
                    rows: vec![vec![text("a|b"), text("c")]],
                },
                heading(2, "Two"),
            ]
        );
    }

    #[test]
    fn markup_in_texts_is_read() {
        use Inline::*;
        let plain = |text: &str| Plain(text.to_owned());
        for (markdown, expected) in [
            (
                "a `b *c*` d",
                vec![plain("a "), Code("b *c*".into()), plain(" d")],
            ),
            (
                "**a b**, *c*",
                vec![Bold("a b".into()), plain(", "), Emphasis("c".into())],
            ),
            ("2*3*4 * 5 ` [x]", vec![plain("2*3*4 * 5 ` [x]")]),
            (
                "[the `x` y](z.md#q)",
                vec![Link {
                    text: "the x y".into(),
                    target: "z.md#q".into(),
                }],
            ),
        ] {
            assert_eq!(inline(markdown), expected, "{markdown}");
        }
    }

    #[test]
    fn a_section_ends_at_the_next_heading_of_its_level() {
        let blocks = parse("# A\n## B\nb\n### C\nc\n## D\nd\n");
        assert_eq!(section(&blocks, "B").len(), 3);
        assert_eq!(section(&blocks, "D").len(), 1);
        assert_eq!(section(&blocks, "E"), []);
    }

    /// No markup is left in the texts of the chapters.
    #[test]
    fn every_chapter_is_read_completely() {
        for chapter in CHAPTERS {
            let blocks = parse(chapter.text);
            let first = blocks.first();
            assert!(matches!(first, Some(Element::Heading { level: 1, .. })));
            let is_heading = |block: &&Element| matches!(block, Element::Heading { .. });
            let headings = blocks.iter().filter(is_heading).count();
            // Every other part is between code blocks.
            let prose = chapter.text.split("\n```").step_by(2);
            let written: usize = prose.map(|text| text.matches("\n#").count()).sum();
            let written = written + 1;
            assert_eq!(headings, written, "{}", chapter.name);
            let mut texts: Vec<&Vec<Inline>> = Vec::new();
            for block in &blocks {
                match block {
                    Element::Heading { text, .. } | Element::Paragraph(text) => texts.push(text),
                    Element::List(items) => texts.extend(items.iter().map(|(_, text)| text)),
                    Element::Table { header, rows } => {
                        let name = chapter.name;
                        assert!(!rows.is_empty(), "{name}: {header:?}");
                        for row in rows {
                            assert_eq!(row.len(), header.len(), "{name}: {row:?}");
                        }
                        texts.extend(header.iter().chain(rows.iter().flatten()));
                    }
                    Element::Code(lines) => assert!(!lines.is_empty()),
                }
            }
            for piece in texts.into_iter().flatten() {
                if let Inline::Plain(text) = piece {
                    let is_left = ["`", "**", "](", "```"]
                        .iter()
                        .any(|mark| text.contains(mark));
                    assert!(!is_left, "{}: {text}", chapter.name);
                }
            }
        }
    }
}
