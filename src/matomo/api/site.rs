//! A site, and how the API tells it.

use serde::Deserialize;

use super::reply::Text;

/// A site of Matomo's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// A number, as text.
    pub id: String,
    pub name: String,
    /// As configured there: scheme, host, perhaps a path.
    pub main_url: String,
}

/// A site as the API tells it; more keys are passed over.
#[derive(Deserialize)]
pub(super) struct RawSite {
    idsite: Text,
    name: Option<String>,
    main_url: String,
}

impl From<RawSite> for Site {
    fn from(raw: RawSite) -> Self {
        Self {
            id: raw.idsite.0,
            name: raw.name.unwrap_or_default(),
            main_url: raw.main_url,
        }
    }
}
