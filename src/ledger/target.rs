//! The target: which Matomo, and which site of it, the hits go to.

use url::Url;

use super::checksum::Checksum;

/// What may stand at the end of a Matomo's address.
const SCRIPTS: [&str; 3] = ["/index.php", "/matomo.php", "/piwik.php"];

/// Where hits go: what is done for one target is not done for another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetKey {
    /// As the user is told of it, too.
    pub(super) text: String,
}

impl TargetKey {
    /// Matomo's address and the value of `--idsite`. Ways to write the same Matomo are one target: with credentials or
    /// without, by http or https (the ports that belong to them), with the name of its script or without.
    pub fn new(url: &Url, idsite: Option<&str>) -> Self {
        let host = url.host_str().unwrap_or_default();
        let port = url
            .port()
            .map_or_else(String::new, |port| format!(":{port}"));
        let path = url.path().trim_end_matches('/');
        let path = SCRIPTS
            .iter()
            .find_map(|script| path.strip_suffix(script))
            .unwrap_or(path);
        let idsite = idsite.map_or_else(String::new, |idsite| match idsite.parse::<u64>() {
            Ok(number) => format!(" idsite={number}"),
            Err(_) => format!(" idsite={idsite}"),
        });
        Self {
            text: format!("{host}{port}{path}{idsite}"),
        }
    }

    pub(super) fn key(&self) -> Checksum {
        Checksum::of(self.text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_matomo_and_a_site_in_whatever_way_they_are_written() {
        let key = |url: &str, idsite| TargetKey::new(&url.parse().unwrap(), idsite).text;
        let one = "a.example/m idsite=3";
        for (url, idsite) in [
            ("https://a.example/m/", "3"),
            ("http://A.example:80/m", "03"),
            ("https://me:secret@a.example/m/index.php", "3"),
            ("https://a.example/m/matomo.php", "3"),
        ] {
            assert_eq!(key(url, Some(idsite)), one, "{url} {idsite}");
        }
        let others = [
            key("https://a.example:444/m", Some("3")),
            key("https://a.example/m/my-index.php", Some("3")),
            key("https://a.example/m", Some("4")),
            key("https://a.example/m", None),
            key("https://b.example/m", Some("3")),
        ];
        assert!(others.iter().all(|other| other != one), "{others:?}");
    }
}
