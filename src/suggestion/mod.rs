//! "Did you mean": finds the name that was probably meant.

/// The known name that is most like `typed`. Case, hyphens and underscores do not matter. Returns
/// `None` if none is similar.
pub fn closest<'n>(typed: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let plain = plain(typed);
    let allowed = (plain.chars().count() / 3).clamp(1, 4);
    known
        .into_iter()
        .map(|name| (strsim::osa_distance(&plain, &self::plain(name)), name))
        .filter(|(distance, name)| *distance <= allowed && *distance < name.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// The end of a message: `; did you mean NAME?`, or nothing.
pub fn did_you_mean<'n>(typed: &str, known: impl IntoIterator<Item = &'n str>) -> String {
    match closest(typed, known) {
        Some(name) => format!("; did you mean {name}?"),
        None => String::new(),
    }
}

fn plain(name: &str) -> String {
    // No name is as long, and the distance takes quadratic time.
    const MAX_CHARS: usize = 100;
    let letters = name.chars().filter(|c| !matches!(c, '-' | '_'));
    letters.take(MAX_CHARS).collect::<String>().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_name_is_found() {
        let known = ["dry-run", "nginx_json", "iis", "idsite", "quiet"];
        for (typed, expected) in [
            ("dryrun", Some("dry-run")),
            ("ngnix_json", Some("nginx_json")),
            ("Nginx-JSON", Some("nginx_json")),
            ("id_site", Some("idsite")),
            ("quite", Some("quiet")),
            ("isi", Some("iis")),
            ("verbose", None),
            ("", None),
            ("xy", None),
        ] {
            assert_eq!(closest(typed, known), expected, "{typed}");
        }
        assert_eq!(closest(&"x".repeat(1 << 20), known), None);
        assert_eq!(did_you_mean("dryrun", known), "; did you mean dry-run?");
        assert_eq!(did_you_mean("colour", known), "");
    }
}
