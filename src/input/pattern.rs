//! Shell patterns that match a whole text: `*` matches any run of characters, slashes included, `?`
//! one character, and `[abc]`, `[a-z]` and `[!a]` one of a set. Nothing else is special, and case
//! matters.
//!
//! `globset` has another notion of a character: there, `?` matches one byte, `[^a]` is negated, and
//! `{a,b}`, `\` and `**` have a meaning.
//!
//! guide/options.md, "Patterns".

/// A compiled pattern. Matching takes at most time proportional to text length times pattern
/// length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Vec<PatternToken>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum PatternToken {
    Character(u32),
    /// `?`
    One,
    /// `*`
    Run,
    Set {
        negated: bool,
        /// First and last character. A reversed range is empty.
        ranges: Vec<(u32, u32)>,
    },
}

impl Pattern {
    /// Compiles a pattern. Every text is one: a `[` without `]` matches itself.
    pub fn new(pattern: impl AsRef<[u8]>) -> Self {
        let characters = characters(pattern.as_ref());
        let mut tokens = Vec::new();
        let mut rest = characters.as_slice();
        while let Some((&first, after)) = rest.split_first() {
            rest = after;
            tokens.push(match char::from_u32(first) {
                Some('?') => PatternToken::One,
                Some('*') if tokens.last() == Some(&PatternToken::Run) => continue,
                Some('*') => PatternToken::Run,
                Some('[') => match set(after) {
                    Some((token, after)) => {
                        rest = after;
                        token
                    }
                    None => PatternToken::Character(first),
                },
                _ => PatternToken::Character(first),
            });
        }
        Self(tokens)
    }

    /// Whether the pattern matches the whole text.
    pub fn matches(&self, text: &[u8]) -> bool {
        let tokens = self.0.as_slice();
        let (mut token, mut at) = (0, 0);
        // Where to retry if the tokens after the last `*` do not match: that `*` takes one
        // character more. Earlier ones never need to.
        let mut retry: Option<(usize, usize)> = None;
        while at < text.len() {
            let (character, length) = character(&text[at..]);
            match tokens.get(token) {
                Some(PatternToken::Run) => {
                    token += 1;
                    retry = Some((token, at));
                    continue;
                }
                Some(one) if one.matches(character) => {
                    token += 1;
                    at += length;
                    continue;
                }
                _ => {}
            }
            let Some((after_run, from)) = retry else {
                return false;
            };
            if after_run == tokens.len() {
                return true;
            }
            let (_, skipped) = self::character(&text[from..]);
            (token, at) = (after_run, from + skipped);
            retry = Some((after_run, at));
        }
        tokens[token..]
            .iter()
            .all(|token| *token == PatternToken::Run)
    }
}

impl PatternToken {
    fn matches(&self, character: u32) -> bool {
        match self {
            PatternToken::Character(own) => *own == character,
            PatternToken::One => true,
            PatternToken::Run => false,
            PatternToken::Set { negated, ranges } => {
                let inside = ranges
                    .iter()
                    .any(|(first, last)| (*first..=*last).contains(&character));
                inside != *negated
            }
        }
    }
}

/// The set after a `[`, and what follows its `]`. Returns `None` if there is no `]`.
fn set(after_bracket: &[u32]) -> Option<(PatternToken, &[u32])> {
    let negated = after_bracket.first() == Some(&u32::from('!'));
    let inner = &after_bracket[usize::from(negated)..];
    // A `]` in first place is a member.
    let close = 1 + inner
        .get(1..)?
        .iter()
        .position(|character| *character == u32::from(']'))?;
    let mut ranges = Vec::new();
    let mut members = &inner[..close];
    while let Some((&first, rest)) = members.split_first() {
        members = match rest {
            [hyphen, last, rest @ ..] if *hyphen == u32::from('-') => {
                ranges.push((first, *last));
                rest
            }
            _ => {
                ranges.push((first, first));
                rest
            }
        };
    }
    Some((PatternToken::Set { negated, ranges }, &inner[close + 1..]))
}

fn characters(text: &[u8]) -> Vec<u32> {
    let mut all = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let (character, length) = character(&text[at..]);
        all.push(character);
        at += length;
    }
    all
}

/// The first character of a text that is not empty, and its length in bytes. A byte that is not
/// UTF-8 is a character with a number above all real ones.
fn character(text: &[u8]) -> (u32, usize) {
    if text[0].is_ascii() {
        return (u32::from(text[0]), 1);
    }
    let longest = &text[..text.len().min(4)];
    let chunk = longest.utf8_chunks().next();
    match chunk.and_then(|chunk| chunk.valid().chars().next()) {
        Some(character) => (u32::from(character), character.len_utf8()),
        None => (u32::from(char::MAX) + 1 + u32::from(text[0]), 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, text: impl AsRef<[u8]>) -> bool {
        Pattern::new(pattern).matches(text.as_ref())
    }

    #[test]
    fn a_pattern_matches_the_whole_text() {
        assert!(matches("/search", "/search"));
        assert!(!matches("/search", "/search/"));
        assert!(!matches("/search", "a/search"));
        assert!(!matches("/search", "/Search"));
        assert!(matches("", ""));
        assert!(!matches("", "a"));
        assert!(!matches("a", ""));
    }

    #[test]
    fn a_star_matches_any_run_with_slashes_and_newlines() {
        assert!(matches("/a*", "/a/b/c"));
        assert!(matches("*/account", "/my/account"));
        assert!(matches("*", ""));
        assert!(matches("**a**", "bab"));
        assert!(matches("/a*c", "/a\nc"));
        assert!(matches("*ab*ab", "abaab"));
        assert!(!matches("*ab*ab", "aab"));
    }

    #[test]
    fn a_question_mark_matches_one_character_or_invalid_byte() {
        assert!(matches("/?pv6", "/ipv6"));
        assert!(!matches("/?pv6", "/pv6"));
        assert!(matches("caf?", "café"));
        assert!(!matches("caf??", "café"));
        assert!(matches("caf?", b"caf\xe9"));
        assert!(matches("?b", b"\xe2b"));
        assert!(!matches("??", "中"));
    }

    #[test]
    fn sets_have_members_and_ranges_and_can_be_negated() {
        assert!(matches("/[a-i]*", "/downloads"));
        assert!(!matches("/[a-i]*", "/search"));
        assert!(matches("[!a]", "b"));
        assert!(!matches("[!a]", "a"));
        assert!(matches("[^a]", "^") && matches("[^a]", "a"));
        assert!(matches("[]]", "]") && matches("[!]]", "a") && !matches("[!]]", "]"));
        assert!(matches("[a-]", "-") && matches("[-a]", "-"));
        assert!(matches("[a-c-e]", "-") && matches("[a-c-e]", "e") && !matches("[a-c-e]", "d"));
        assert!(!matches("[z-a]", "b"));
        assert!(matches("[é中]", "中") && !matches("[é]", b"\xe9") && matches("[!é]", b"\xe9"));
        assert!(!matches("?*[!é]", "éé"));
        assert!(matches("[*?]", "*") && !matches("[*?]", "a"));
    }

    #[test]
    fn unclosed_sets_and_other_special_characters_match_themselves() {
        assert!(matches("a[b", "a[b"));
        assert!(matches("[!]", "[!]") && matches("[]", "[]") && matches("[", "["));
        assert!(matches("a[*", "a[bc"));
        assert!(matches("\\*", "\\a") && !matches("\\*", "*"));
        assert!(matches("{a,b}", "{a,b}") && !matches("{a,b}", "a"));
        assert!(!matches("/**/b", "/b"));
    }

    #[test]
    fn hostile_patterns_take_no_exponential_time() {
        let pattern = Pattern::new("*a".repeat(60) + "b");
        assert!(!pattern.matches("a".repeat(5_000).as_bytes()));
    }

    /// The definition of a match, as a slow reference.
    fn by_definition(tokens: &[PatternToken], text: &[u32]) -> bool {
        match (tokens.split_first(), text.split_first()) {
            (None, rest) => rest.is_none(),
            (Some((PatternToken::Run, after)), rest) => {
                by_definition(after, text)
                    || rest.is_some_and(|(_, rest)| by_definition(tokens, rest))
            }
            (Some((token, after)), Some((first, rest))) => {
                token.matches(*first) && by_definition(after, rest)
            }
            (Some(_), None) => false,
        }
    }

    proptest! {
        #[test]
        fn matching_agrees_with_the_definition(pattern in "[ab*?\\[\\]!é-]{0,8}", text in "[abé\\[-]{0,8}") {
            let pattern = Pattern::new(pattern);
            let want = by_definition(&pattern.0, &characters(text.as_bytes()));
            prop_assert_eq!(pattern.matches(text.as_bytes()), want);
        }

        #[test]
        fn any_bytes_are_a_pattern_and_a_text(
            pattern in proptest::collection::vec(any::<u8>(), 0..20),
            text in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let _ = Pattern::new(&pattern).matches(&text);
            let plain: Vec<u8> = text.iter().copied().filter(|b| !b"*?[".contains(b)).collect();
            prop_assert!(Pattern::new(&plain).matches(&plain));
        }
    }
}
