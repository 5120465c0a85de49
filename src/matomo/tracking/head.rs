//! What all requests for one site and host begin with.

use super::url;
use crate::hit::Hit;
use crate::matomo::json;

/// The beginning of a request, up to the path of its url.
#[derive(Debug)]
pub struct Head {
    site: u32,
    host: Option<Vec<u8>>,
    rooted: bool,
    pub text: Vec<u8>,
    /// Where the url begins in `text`.
    pub url: usize,
}

impl Head {
    /// `constant`: the members that are the same in every request.
    pub fn new(constant: &[u8], hit: &Hit) -> Self {
        let (request, site) = (hit.request, &hit.site);
        let mut text = vec![b'{'];
        text.extend_from_slice(constant);
        text.extend_from_slice(b",\"idsite\":\"");
        json::push_text(&mut text, site.id.as_bytes());
        text.extend_from_slice(b"\",\"url\":\"");
        let url = text.len();
        json::push_url(&mut text, &url::origin(request, site));
        Self {
            site: site.index,
            host: request.host.map(<[u8]>::to_vec),
            rooted: url::is_rooted(request),
            text,
            url,
        }
    }

    /// Whether a hit's request begins like this too.
    pub fn fits(&self, hit: &Hit) -> bool {
        self.site == hit.site.index
            && self.rooted == url::is_rooted(hit.request)
            && self.host.as_deref() == hit.request.host
    }
}
