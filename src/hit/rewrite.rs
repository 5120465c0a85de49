//! What is sent differs from what is logged: options that change a hit after the filters have seen
//! its request; see guide/requests.md, "Parameters of a query".

use bumpalo::Bump;

use super::host::authority;
use super::query::QueryFilter;
use super::{LoggedRequest, Site};

/// What to change in hits that passed the filters.
#[derive(Clone, Debug)]
pub struct Rewrite {
    /// `--drop-query` or `--keep-query`.
    pub query: QueryFilter,
}

impl Rewrite {
    /// Changes the texts of a request.
    pub(super) fn request<'a>(
        &self,
        request: &mut LoggedRequest<'a>,
        site: &Site,
        arena: &'a Bump,
    ) {
        request.query = self.query.cut(request.query, arena);
        if is_own_page(request, site) {
            request.referrer = self.query.cut_url(request.referrer, arena);
        }
    }
}

/// Whether the referrer is a page of the host that the request is for.
fn is_own_page(request: &LoggedRequest, site: &Site) -> bool {
    let host = request.host.filter(|host| !host.is_empty());
    let main_url = site.main_url.as_deref().map(str::as_bytes);
    let Some(own) = host.or(main_url) else {
        return false;
    };
    // `--log-hostname` may be a URL.
    let own = authority(own).unwrap_or(own);
    authority(request.referrer).is_some_and(|host| host.eq_ignore_ascii_case(own))
}
