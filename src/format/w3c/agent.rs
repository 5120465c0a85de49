//! User agents as W3C dialects write them, who must not leave a blank in a bare column.

use bumpalo::Bump;

use crate::format::percent::percent_decoded;

/// How a dialect hides the blanks of a user agent (SPEC section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentCoding {
    /// As it was sent.
    Plain,
    /// `+` is a blank where the agent has none; `++` is a blank and a plus.
    Plus,
    /// Percent-encoded so many times.
    Percent(u8),
}

impl AgentCoding {
    /// The agent that `raw` stands for; `None` where it is what it is.
    pub fn decode<'a>(self, raw: &[u8], arena: &'a Bump) -> Option<&'a [u8]> {
        match self {
            AgentCoding::Plain => None,
            AgentCoding::Plus => (raw.contains(&b'+') && !raw.contains(&b' ')).then(|| {
                let text = arena.alloc_slice_copy(raw);
                blanks_from_plus(text);
                &*text
            }),
            AgentCoding::Percent(times) => percent_decoded(raw, times, arena),
        }
    }
}

/// Each plus is a blank, but the second of a pair stays.
fn blanks_from_plus(text: &mut [u8]) {
    let mut at = 0;
    while at < text.len() {
        if text[at] == b'+' {
            text[at] = b' ';
            at += usize::from(text.get(at + 1) == Some(&b'+'));
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(coding: AgentCoding, raw: &str) -> String {
        let arena = Bump::new();
        let agent = coding
            .decode(raw.as_bytes(), &arena)
            .unwrap_or(raw.as_bytes());
        String::from_utf8_lossy(agent).into_owned()
    }

    #[test]
    fn plus_is_a_blank_only_where_the_agent_has_none() {
        let plus = |raw| decoded(AgentCoding::Plus, raw);
        assert_eq!(plus("Mozilla/5.0+(X11;+Linux)"), "Mozilla/5.0 (X11; Linux)");
        assert_eq!(plus("\"A B+C\""), "\"A B+C\"");
        assert_eq!(plus("Bot/2;++http://x/"), "Bot/2; +http://x/");
        assert_eq!(plus("+++"), " + ");
        assert_eq!(plus("-"), "-");
    }

    #[test]
    fn percent_signs_are_decoded_as_often_as_the_dialect_encodes() {
        let twice = |raw| decoded(AgentCoding::Percent(2), raw);
        assert_eq!(twice("WIN%252010"), "WIN 10");
        assert_eq!(twice("WIN%2010"), "WIN 10");
        assert_eq!(decoded(AgentCoding::Percent(1), "A%2F5%2520"), "A/5%20");
    }

    #[test]
    fn an_agent_that_needs_no_decoding_is_not_copied() {
        let arena = Bump::new();
        assert_eq!(AgentCoding::Plus.decode(b"A/1", &arena), None);
        assert_eq!(AgentCoding::Percent(2).decode(b"A/1", &arena), None);
        assert_eq!(AgentCoding::Plain.decode(b"A+%20", &arena), None);
    }
}
