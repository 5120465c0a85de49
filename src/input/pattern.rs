//! Shell patterns over a whole text (SPEC section 2): `*` any run of characters, slashes included, `?` one
//! character, `[abc]`, `[a-z]`, `[!a]` one of a set; nothing else is special, and case counts.

/// One pattern, compiled once. Matching takes time in proportion to text times pattern at worst.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Vec<Token>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Character(u32),
    /// `?`
    One,
    /// `*`
    Run,
    Set {
        negated: bool,
        /// First and last character; a range that runs backwards holds none.
        ranges: Vec<(u32, u32)>,
    },
}

impl Pattern {
    /// Every text is a pattern: a `[` that nothing closes stands for itself.
    pub fn new(pattern: impl AsRef<[u8]>) -> Self {
        let characters = characters(pattern.as_ref());
        let mut tokens = Vec::new();
        let mut rest = characters.as_slice();
        while let Some((&first, after)) = rest.split_first() {
            rest = after;
            tokens.push(match char::from_u32(first) {
                Some('?') => Token::One,
                // Two in a row mean what one does.
                Some('*') if tokens.last() == Some(&Token::Run) => continue,
                Some('*') => Token::Run,
                Some('[') => match set(after) {
                    Some((token, after)) => {
                        rest = after;
                        token
                    }
                    None => Token::Character(first),
                },
                _ => Token::Character(first),
            });
        }
        Self(tokens)
    }

    /// Whether the pattern fits the text from its beginning to its end.
    pub fn matches(&self, text: &[u8]) -> bool {
        let tokens = self.0.as_slice();
        let (mut token, mut at) = (0, 0);
        // Where to go on when what follows the last `*` does not fit: that `*` takes one character more. An
        // earlier `*` never has to give anything back, so there is no more than this to try.
        let mut retry: Option<(usize, usize)> = None;
        while at < text.len() {
            let (character, length) = character(&text[at..]);
            match tokens.get(token) {
                Some(Token::Run) => {
                    token += 1;
                    retry = Some((token, at));
                    continue;
                }
                Some(one) if one.fits(character) => {
                    token += 1;
                    at += length;
                    continue;
                }
                _ => {}
            }
            let Some((after_run, from)) = retry else {
                return false;
            };
            // A `*` at the end takes all the rest.
            if after_run == tokens.len() {
                return true;
            }
            let (_, skipped) = self::character(&text[from..]);
            (token, at) = (after_run, from + skipped);
            retry = Some((after_run, at));
        }
        tokens[token..].iter().all(|token| *token == Token::Run)
    }
}

impl Token {
    fn fits(&self, character: u32) -> bool {
        match self {
            Token::Character(own) => *own == character,
            Token::One => true,
            Token::Run => false,
            Token::Set { negated, ranges } => {
                let inside = ranges
                    .iter()
                    .any(|(first, last)| (*first..=*last).contains(&character));
                inside != *negated
            }
        }
    }
}

/// The set that begins after a `[`, and what follows its `]`. None: nothing closes it.
fn set(after_bracket: &[u32]) -> Option<(Token, &[u32])> {
    let negated = after_bracket.first() == Some(&u32::from('!'));
    let inner = &after_bracket[usize::from(negated)..];
    // A `]` that stands first is a member.
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
    Some((Token::Set { negated, ranges }, &inner[close + 1..]))
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

/// The first character of a text that is not empty, and its length in bytes. A byte that is no UTF-8 is a
/// character of its own, with a number above all real ones.
fn character(text: &[u8]) -> (u32, usize) {
    let lead = text[0];
    let length = match lead {
        0x00..=0x7f => return (u32::from(lead), 1),
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    };
    text.get(..length)
        .and_then(|bytes| std::str::from_utf8(bytes).ok())
        .and_then(|text| text.chars().next())
        .map_or((u32::from(char::MAX) + 1 + u32::from(lead), 1), |found| {
            (u32::from(found), length)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, text: impl AsRef<[u8]>) -> bool {
        Pattern::new(pattern).matches(text.as_ref())
    }

    #[test]
    fn the_whole_text_must_fit() {
        assert!(matches("/search", "/search"));
        assert!(!matches("/search", "/search/"));
        assert!(!matches("/search", "a/search"));
        assert!(!matches("/search", "/Search"));
        assert!(matches("", ""));
        assert!(!matches("", "a"));
        assert!(!matches("a", ""));
    }

    #[test]
    fn a_star_is_any_run_slashes_and_line_ends_included() {
        assert!(matches("/a*", "/a/b/c"));
        assert!(matches("*/account", "/my/account"));
        assert!(matches("*", ""));
        assert!(matches("**a**", "bab"));
        assert!(matches("/a*c", "/a\nc"));
        assert!(matches("*ab*ab", "abaab"));
        assert!(!matches("*ab*ab", "aab"));
    }

    #[test]
    fn a_question_mark_is_one_character_or_one_stray_byte() {
        assert!(matches("/?pv6", "/ipv6"));
        assert!(!matches("/?pv6", "/pv6"));
        assert!(matches("caf?", "café"));
        assert!(!matches("caf??", "café"));
        assert!(matches("caf?", b"caf\xe9"));
        assert!(matches("?b", b"\xe2b"));
        assert!(!matches("??", "中"));
    }

    #[test]
    fn sets_are_members_ranges_and_their_negation() {
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
    fn an_unclosed_set_and_a_backslash_are_themselves() {
        assert!(matches("a[b", "a[b"));
        assert!(matches("[!]", "[!]") && matches("[]", "[]") && matches("[", "["));
        assert!(matches("a[*", "a[bc"));
        assert!(matches("\\*", "\\a") && !matches("\\*", "*"));
    }

    #[test]
    fn hostile_patterns_take_no_exponential_time() {
        let pattern = Pattern::new("*a".repeat(60) + "b");
        assert!(!pattern.matches("a".repeat(5_000).as_bytes()));
    }

    /// The definition itself, slow but plain.
    fn by_definition(tokens: &[Token], text: &[u32]) -> bool {
        match (tokens.split_first(), text.split_first()) {
            (None, rest) => rest.is_none(),
            (Some((Token::Run, after)), rest) => {
                by_definition(after, text)
                    || rest.is_some_and(|(_, rest)| by_definition(tokens, rest))
            }
            (Some((token, after)), Some((first, rest))) => {
                token.fits(*first) && by_definition(after, rest)
            }
            (Some(_), None) => false,
        }
    }

    proptest! {
        #[test]
        fn matching_is_what_the_definition_says(pattern in "[ab*?\\[\\]!é-]{0,8}", text in "[abé\\[-]{0,8}") {
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
