//! `--drop-query` and `--keep-query`: which parameters of a query are sent; see guide/requests.md,
//! "Parameters of a query".

use bumpalo::Bump;

use crate::format::escapes::hex_byte;

/// Which parameters of queries are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryFilter {
    names: Vec<ParameterName>,
    /// Whether only these are sent, or all others.
    keeps: bool,
}

/// The name of a parameter, or what several names begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ParameterName {
    /// In lower case.
    text: Vec<u8>,
    is_prefix: bool,
}

impl QueryFilter {
    /// Sends all parameters but these. A `*` at the end of a name matches any characters.
    pub fn dropping(names: &[String]) -> Self {
        Self {
            names: names.iter().map(|name| ParameterName::new(name)).collect(),
            keeps: false,
        }
    }

    /// Sends only these parameters.
    pub fn keeping(names: &[String]) -> Self {
        Self {
            keeps: true,
            ..Self::dropping(names)
        }
    }

    /// Cuts a query, without its delimiter. What is left is unchanged; it is empty if no parameter
    /// is left.
    pub fn cut<'a>(&self, query: &'a [u8], arena: &'a Bump) -> &'a [u8] {
        let parameters = || query.split(|byte| *byte == b'&');
        if parameters().all(|parameter| self.sends(parameter)) {
            return query;
        }
        let mut kept = parameters().filter(|parameter| self.sends(parameter));
        if kept.clone().all(<[u8]>::is_empty) {
            return b"";
        }
        let text = arena.alloc_slice_copy(query);
        let mut length = 0;
        let mut push = |bytes: &[u8]| {
            text[length..length + bytes.len()].copy_from_slice(bytes);
            length += bytes.len();
        };
        if let Some(first) = kept.next() {
            push(first);
        }
        kept.for_each(|parameter| {
            push(b"&");
            push(parameter);
        });
        &text[..length]
    }

    /// Cuts the query of a URL. Without a query, the question mark goes as well.
    pub fn cut_url<'a>(&self, url: &'a [u8], arena: &'a Bump) -> &'a [u8] {
        let end = memchr::memchr(b'#', url).unwrap_or(url.len());
        let (whole, fragment) = url.split_at(end);
        let Some(place) = memchr::memchr(b'?', whole) else {
            return url;
        };
        let (page, query) = (&whole[..place], &whole[place + 1..]);
        match self.cut(query, arena) {
            cut if cut.len() == query.len() => url,
            b"" => arena.alloc_slice_copy(&[page, fragment].concat()),
            cut => arena.alloc_slice_copy(&[page, b"?", cut, fragment].concat()),
        }
    }

    fn sends(&self, parameter: &[u8]) -> bool {
        let end = memchr::memchr(b'=', parameter);
        let name = &parameter[..end.unwrap_or(parameter.len())];
        self.names.iter().any(|known| known.is(name)) == self.keeps
    }
}

impl ParameterName {
    fn new(typed: &str) -> Self {
        let prefix = typed.strip_suffix('*');
        Self {
            text: prefix.unwrap_or(typed).to_ascii_lowercase().into_bytes(),
            is_prefix: prefix.is_some(),
        }
    }

    /// Whether a name in a query is this one. It may be percent-encoded.
    fn is(&self, name: &[u8]) -> bool {
        let mut name = decoded(name);
        let begins = self.text.iter().all(|byte| name.next() == Some(*byte));
        begins && (self.is_prefix || name.next().is_none())
    }
}

/// Decodes each `%HH`, and converts ASCII letters to lower case.
fn decoded(mut rest: &[u8]) -> impl Iterator<Item = u8> {
    std::iter::from_fn(move || {
        let escaped = match rest {
            [b'%', high, low, ..] => hex_byte(*high, *low),
            _ => None,
        };
        let byte = escaped.or_else(|| rest.first().copied())?;
        rest = &rest[if escaped.is_some() { 3 } else { 1 }..];
        Some(byte.to_ascii_lowercase())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filter(typed: &str, keeps: bool) -> QueryFilter {
        let names: Vec<String> = typed.split(',').map(str::to_owned).collect();
        match keeps {
            true => QueryFilter::keeping(&names),
            false => QueryFilter::dropping(&names),
        }
    }

    #[track_caller]
    fn assert_cut(filter: &QueryFilter, query: &str, expected: &str) {
        let arena = Bump::new();
        let cut = filter.cut(query.as_bytes(), &arena);
        assert_eq!(str::from_utf8(cut), Ok(expected), "{query}");
    }

    #[test]
    fn dropped_parameters_leave_the_others_as_they_are() {
        let drop = filter("utm_*,fbclid,X-ARR-LOG-ID", false);
        for (query, expected) in [
            ("a=%7e&utm_source=x&b=+", "a=%7e&b=+"),
            ("utm_source=x&a=1", "a=1"),
            ("a=1&utm_medium=x&utm_source=y", "a=1"),
            ("utm_source=x&fbclid=2", ""),
            ("x-arr-log-id=0f8fad5b", ""),
            ("a=1&X-Arr-Log-Id=0f8fad5b&a=1", "a=1&a=1"),
            ("%75tm%5Fsource=x&b", "b"),
            ("utm_", ""),
            ("FBCLID", ""),
            // Other names.
            ("fbclid2=1&xfbclid=1&utm=1", "fbclid2=1&xfbclid=1&utm=1"),
            ("a=utm_source&b=fbclid", "a=utm_source&b=fbclid"),
            ("a&&b=&=c", "a&&b=&=c"),
            ("a&&fbclid&=c", "a&&=c"),
            ("fbclid=1&", ""),
            ("fbclid%=1&%zz=2", "fbclid%=1&%zz=2"),
            ("", ""),
        ] {
            assert_cut(&drop, query, expected);
        }
        assert_cut(&filter("*", false), "a=1&b=2", "");
    }

    #[test]
    fn kept_parameters_are_left_alone() {
        let keep = filter("q,page*", true);
        for (query, expected) in [
            ("q=a%20b&sid=1&Page_size=2", "q=a%20b&Page_size=2"),
            ("sid=1&q", "q"),
            ("sid=1", ""),
            ("q=1&&q=2&", "q=1&q=2"),
            ("%71=1&r=2", "%71=1"),
            ("q=1&page=2", "q=1&page=2"),
            ("", ""),
        ] {
            assert_cut(&keep, query, expected);
        }
    }

    #[test]
    fn the_query_of_a_url_is_between_question_mark_and_fragment() {
        let drop = filter("s", false);
        for (url, expected) in [
            ("http://h/a?s=1", "http://h/a"),
            ("http://h/a?s=1&b=2#s=1", "http://h/a?b=2#s=1"),
            ("http://h/a?s=1#top", "http://h/a#top"),
            ("http://h/a#?s=1", "http://h/a#?s=1"),
            ("http://h/a?b=?&s=1", "http://h/a?b=?"),
            ("http://h/a", "http://h/a"),
            ("http://h/a?", "http://h/a?"),
        ] {
            let arena = Bump::new();
            let cut = drop.cut_url(url.as_bytes(), &arena);
            assert_eq!(str::from_utf8(cut), Ok(expected), "{url}");
        }
    }

    proptest! {
        #[test]
        fn dropping_and_keeping_share_the_parameters_out(
            query in "[ab%61=&]{0,30}", bytes in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            for query in [query.as_bytes(), &bytes] {
                let arena = Bump::new();
                let parts = |keeps: bool| {
                    let cut = filter("a*", keeps).cut(query, &arena);
                    let parts = cut.split(|byte| *byte == b'&').filter(|part| !part.is_empty());
                    parts.map(<[u8]>::to_vec).collect::<Vec<_>>()
                };
                let mut both = [parts(false), parts(true)].concat();
                let all = query.split(|byte| *byte == b'&').filter(|part| !part.is_empty());
                let mut all: Vec<_> = all.map(<[u8]>::to_vec).collect();
                both.sort_unstable();
                all.sort_unstable();
                prop_assert_eq!(both, all);
            }
        }
    }
}
