//! Writes hits as tracking requests, each one JSON object, straight into the batch. See
//! guide/requests.md, "Parameters".

mod dimensions;
mod members;

use std::ops::Range;
use std::rc::Rc;

use crate::format::{Field, whole_number};
use crate::hit::host::authority;
use crate::hit::{ClientAddress, Hit, LoggedRequest};
use crate::hit_id::HitId;
use crate::matomo::json;
use crate::privacy::AddressMask;
use crate::radio::{SessionRequest, SessionRequestKind};

pub use dimensions::Dimension;
pub use members::NO_HOST;
use members::{CustomVariables, IdAndDate, PagePath, origin, push_encoded, truncate};

/// Bytes of a session's event that are repeated unshortened. Nothing that a browser sends exceeds
/// it.
const MAX_EVENT_BYTES: usize = 4 * 1024;
/// Bytes of each text in a longer event.
const SHORTENED_BYTES: usize = 256;
/// Bytes of a usual [`SessionTemplate`].
const TEMPLATE_BYTES: usize = 640;

/// How requests are written. Each field is the option of the same name.
#[derive(Clone, Debug, Default)]
pub struct TrackingOptions {
    pub query_delimiter: Vec<u8>,
    pub strip_query: bool,
    pub keep_internal_referrers: bool,
    pub title_delimiter: String,
    pub track_http_method: bool,
    pub reverse_dns: bool,
    pub bots: bool,
    pub queued_tracking: bool,
    /// With `--replay-tracking`, `rec` is 0 unless the replayed request sets it.
    pub replaying: bool,
    /// Field and name, in the order given.
    pub page_variables: Vec<(String, String)>,
    pub visit_variables: Vec<(String, String)>,
    pub dimensions: Vec<Dimension>,
    /// `--anonymize-ip`: masks addresses in custom variables and dimensions.
    pub mask: Option<AddressMask>,
    /// `--listening-category`
    pub listening_category: String,
}

/// Writes requests. Caches what they have in common with the request before.
#[derive(Debug, Default)]
pub struct Writer {
    options: TrackingOptions,
    /// The members that are the same in every request: `"queuedtracking":0,"dp":1` and so on.
    constant: Vec<u8>,
    prefix: Option<RequestPrefix>,
    /// `cvar` of the last hit and its status. Used only if nothing but the status goes into it.
    status: Vec<u8>,
    status_variable: Vec<u8>,
    id_and_date: IdAndDate,
}

impl TrackingOptions {
    /// The fields of the log that are sent as custom variables or dimensions.
    pub fn logged_fields(&self) -> impl Iterator<Item = &str> {
        let variables = self.page_variables.iter().chain(&self.visit_variables);
        let dimensions = self.dimensions.iter();
        variables
            .map(|(field, _)| &**field)
            .chain(dimensions.filter_map(Dimension::logged_field))
    }

    /// The custom variables that are sent and that no custom dimension repeats: the option and the
    /// field of `--dimension` that replaces it.
    pub fn variables_without_dimension(&self) -> Vec<(&'static str, &str)> {
        let fields = |option, variables| {
            let variables: &[(String, String)] = variables;
            variables.iter().map(move |(field, _)| (option, &**field))
        };
        let method = ("--track-http-method", "http_method");
        let bots = ("--enable-bots", "bot");
        fields("--regex-group-to-page-cvar", &self.page_variables)
            .chain(fields("--regex-group-to-visit-cvar", &self.visit_variables))
            .chain(self.track_http_method.then_some(method))
            .chain(self.bots.then_some(bots))
            .filter(|(_, field)| self.dimensions.iter().all(|it| it.field() != *field))
            .collect()
    }
}

impl Writer {
    pub fn new(options: TrackingOptions) -> Self {
        let constant = format!(
            "\"rec\":{},\"apiv\":1,\"queuedtracking\":{},\"dp\":{}{}",
            u8::from(!options.replaying),
            u8::from(options.queued_tracking),
            u8::from(!options.reverse_dns),
            if options.bots { ",\"bots\":1" } else { "" }
        );
        Self {
            options,
            constant: constant.into_bytes(),
            ..Self::default()
        }
    }

    /// The custom dimensions that are sent.
    pub fn dimensions(&self) -> &[Dimension] {
        &self.options.dimensions
    }

    /// Appends the request of one hit.
    pub fn write(&mut self, hit: &Hit, id: &HitId, out: &mut Vec<u8>) {
        let url = self.begin(hit, out);
        out.extend_from_slice(self.id_and_date.text(id, hit.time));
        self.push_variables(hit.request, out);
        let request = hit.request;
        if request.is_download {
            push_download(url, out);
        }
        if (request.is_error() && !self.options.replaying) || request.is_redirect() {
            self.push_title(hit, out);
        }
        push_generation_time(hit, out);
        push_bytes(out, hit.length);
        if let Some(event) = &hit.event {
            push_member(out, "e_c", event.category);
            push_member(out, "e_a", event.action);
            if let Some(name) = event.name {
                push_member(out, "e_n", name);
            }
        }
        out.push(b'}');
    }

    /// Appends the request of a hit of an AI assistant. Matomo 5.7 and later count it in their
    /// reports of AI assistants, and not as a visit. It has no hit identifier, because no call
    /// shows it.
    pub fn write_assistant(&mut self, hit: &Hit, out: &mut Vec<u8>) {
        let url = self.begin(hit, out);
        out.extend_from_slice(b",\"recMode\":1,\"source\":\"import-logs\"");
        out.extend_from_slice(self.id_and_date.date_text(hit.time));
        if hit.request.is_download {
            push_download(url, out);
        }
        if let Some(status) = whole_number(hit.request.status) {
            out.extend_from_slice(b",\"http_status\":");
            json::push_number(out, status);
        }
        push_generation_time(hit, out);
        push_bytes(out, hit.length);
        out.push(b'}');
    }

    /// Writes the part of a session's requests that does not depend on its duration. The page view
    /// has what the request of a hit has, except generation time and bytes. The events repeat it
    /// without custom variables.
    ///
    /// A session may have hundreds of events. If they would exceed [`MAX_EVENT_BYTES`], all texts
    /// are shortened.
    pub fn session_template(&mut self, hit: &Hit) -> SessionTemplate {
        let template = self.write_template(hit);
        if template.event_size() <= MAX_EVENT_BYTES {
            return template;
        }
        let request = hit.request;
        let request = LoggedRequest {
            host: request.host.map(shorten),
            scheme: request.scheme.map(shorten),
            path: shorten(request.path),
            query: shorten(request.query),
            referrer: shorten(request.referrer),
            user_agent: shorten(request.user_agent),
            ..*request
        };
        let short = Hit {
            request: &request,
            userid: hit.userid.map(shorten),
            site: Rc::clone(&hit.site),
            ..*hit
        };
        self.write_template(&short)
    }

    /// Whether the template of a hit depends on nothing but its site, scheme, host, path, query,
    /// referrer, user agent, status and address.
    pub fn is_usual_template(&self, hit: &Hit) -> bool {
        let options = &self.options;
        hit.userid.is_none()
            && matches!(hit.address, ClientAddress::Ip(_))
            && options.page_variables.is_empty()
            && options.visit_variables.is_empty()
            && options.dimensions.is_empty()
            && !options.track_http_method
    }

    fn write_template(&mut self, hit: &Hit) -> SessionTemplate {
        let mut text = Vec::with_capacity(TEMPLATE_BYTES);
        self.begin(hit, &mut text);
        let common_end = text.len();
        // No quote in a value is left unescaped, so this is the member.
        let member = memchr::memmem::find(&text, b"\"cip\":\"");
        let address = member.filter(|_| !hit.address.is_id()).map(|member| {
            let start = member + b"\"cip\":\"".len();
            start..start + hit.address.shown().len()
        });
        text.extend_from_slice(b",\"new_visit\":1");
        self.push_variables(hit.request, &mut text);
        let view_end = text.len();
        text.extend_from_slice(b",\"ca\":1");
        push_member(&mut text, "e_c", self.options.listening_category.as_bytes());
        push_member(&mut text, "e_n", hit.request.path);
        SessionTemplate {
            text,
            address,
            common_end,
            view_end,
        }
    }

    /// Appends one request of a session. The page view has the `bytes` sent in the whole session.
    pub fn write_session_request(
        &mut self,
        template: &SessionTemplate,
        request: SessionRequest,
        bytes: u64,
        id: &HitId,
        out: &mut Vec<u8>,
    ) {
        match request.kind {
            SessionRequestKind::PageView => {
                template.push_view(out);
                push_bytes(out, bytes);
            }
            SessionRequestKind::Connected => {
                template.push_event(out);
                out.extend_from_slice(b",\"e_a\":\"connected\"");
            }
            SessionRequestKind::Listened(seconds) => {
                template.push_event(out);
                out.extend_from_slice(b",\"e_a\":\"listened\",\"e_v\":");
                json::push_number(out, seconds);
            }
        }
        out.extend_from_slice(self.id_and_date.text(id, request.time));
        out.push(b'}');
    }

    /// Appends an event of a session that was written to this part of `out`, at another time.
    pub fn repeat_session_request(
        &mut self,
        event: Range<usize>,
        time: i64,
        id: &HitId,
        out: &mut Vec<u8>,
    ) {
        let text = self.id_and_date.text(id, time);
        out.extend_from_within(event.start..event.end - 1 - text.len());
        out.extend_from_slice(text);
        out.push(b'}');
    }

    /// Appends what the request of a hit, a page view and an event have in common. Returns the
    /// position of the URL.
    fn begin(&mut self, hit: &Hit, out: &mut Vec<u8>) -> Range<usize> {
        if !self.prefix.as_ref().is_some_and(|prefix| prefix.fits(hit)) {
            self.prefix = None;
        }
        let prefix = self
            .prefix
            .get_or_insert_with(|| RequestPrefix::new(&self.constant, hit));
        let request = hit.request;
        let is_referrer_sent = self.options.keep_internal_referrers
            || !is_page_of(&prefix.authority, request.referrer);
        let url = out.len() + prefix.url_at;
        out.extend_from_slice(&prefix.text);
        self.page_path(request).push(out);
        let url = url..out.len();
        if is_referrer_sent {
            out.extend_from_slice(b"\",\"urlref\":\"");
            json::push_url(out, truncate(request.referrer));
        }
        match &hit.address {
            ClientAddress::Ip(address) => {
                out.extend_from_slice(b"\",\"cip\":\"");
                out.extend_from_slice(address);
            }
            // Without `cip`, Matomo takes the address of this machine.
            ClientAddress::Id(digits) => {
                out.extend_from_slice(b"\",\"cip\":\"0.0.0.0\",\"cid\":\"");
                out.extend_from_slice(digits);
            }
            ClientAddress::Pseudonym { ip, id } => {
                out.extend_from_slice(b"\",\"cip\":\"");
                out.extend_from_slice(ip);
                out.extend_from_slice(b"\",\"cid\":\"");
                out.extend_from_slice(id);
            }
        }
        out.extend_from_slice(b"\",\"ua\":\"");
        json::push_text(out, request.user_agent);
        out.push(b'"');
        if let Some(user) = hit.userid {
            push_member(out, "uid", user);
        }
        for dimension in &self.options.dimensions {
            dimension.push(request, self.options.mask, out);
        }
        url
    }

    fn page_path<'h>(&'h self, request: &LoggedRequest<'h>) -> PagePath<'h> {
        let delimiter = &self.options.query_delimiter;
        PagePath::new(
            request,
            (!self.options.strip_query).then_some(delimiter.as_slice()),
        )
    }

    fn push_variables(&mut self, request: &LoggedRequest, out: &mut Vec<u8>) {
        let options = &self.options;
        if !options.page_variables.is_empty() || options.track_http_method {
            self.push_page_variables(request, out);
        } else {
            if self.status != request.status || self.status_variable.is_empty() {
                self.status = request.status.to_vec();
                let mut text = std::mem::take(&mut self.status_variable);
                text.clear();
                self.push_page_variables(request, &mut text);
                self.status_variable = text;
            }
            out.extend_from_slice(&self.status_variable);
        }

        let mut visit = CustomVariables::new("_cvar", out);
        visit.push_fields(request, &self.options.visit_variables, self.options.mask);
        if self.options.bots {
            let name = if request.is_bot { "Bot" } else { "Not-Bot" };
            visit.push(name, request.user_agent);
        }
        visit.end();
    }

    fn push_page_variables(&self, request: &LoggedRequest, out: &mut Vec<u8>) {
        let mut page = CustomVariables::new("cvar", out);
        page.push_fields(request, &self.options.page_variables, self.options.mask);
        let method = request.record.get(Field::Method);
        if let Some(method) = method.filter(|method| *method != b"-")
            && self.options.track_http_method
        {
            page.push("HTTP-method", method);
        }
        page.push("HTTP-code", request.status);
        page.end();
    }

    /// Appends `404/URL = <URL>/From = <referrer>`, both percent-encoded; see guide/requests.md,
    /// "Action names".
    fn push_title(&self, hit: &Hit, out: &mut Vec<u8>) {
        let request = hit.request;
        let delimiter = self.options.title_delimiter.as_bytes();
        out.extend_from_slice(b",\"action_name\":\"");
        json::push_text(out, request.status);
        json::push_text(out, delimiter);
        out.extend_from_slice(b"URL = ");
        push_encoded(out, &origin(request, &hit.site));
        self.page_path(request).push_encoded(out);
        if !request.referrer.is_empty() {
            json::push_text(out, delimiter);
            out.extend_from_slice(b"From = ");
            push_encoded(out, truncate(request.referrer));
        }
        out.push(b'"');
    }
}

/// The beginning of the requests for one site, scheme and host, up to the path in the URL.
#[derive(Debug)]
struct RequestPrefix {
    /// Index of the site.
    site: u32,
    scheme: Option<Vec<u8>>,
    host: Option<Vec<u8>>,
    text: Vec<u8>,
    /// Position of the URL in `text`.
    url_at: usize,
    /// Host and port of the URL.
    authority: Vec<u8>,
}

impl RequestPrefix {
    fn new(constant: &[u8], hit: &Hit) -> Self {
        let (request, site) = (hit.request, &hit.site);
        let mut text = vec![b'{'];
        text.extend_from_slice(constant);
        text.extend_from_slice(b",\"idsite\":\"");
        json::push_text(&mut text, site.id.as_bytes());
        text.extend_from_slice(b"\",\"url\":\"");
        let url_at = text.len();
        let origin = origin(request, site);
        json::push_url(&mut text, &origin);
        Self {
            authority: authority(&origin).unwrap_or_default().to_vec(),
            site: site.index,
            scheme: request.scheme.map(<[u8]>::to_vec),
            host: request.host.map(<[u8]>::to_vec),
            text,
            url_at,
        }
    }

    fn fits(&self, hit: &Hit) -> bool {
        self.site == hit.site.index
            && self.scheme.as_deref() == hit.request.scheme
            && self.host.as_deref() == hit.request.host
    }
}

/// The requests of a session without dates and hit identifiers.
#[derive(Clone, Debug)]
pub struct SessionTemplate {
    /// What all requests have, then what only the page view has, then what only the events have.
    text: Vec<u8>,
    /// Where the address is. `None` if the log has none.
    address: Option<Range<usize>>,
    common_end: usize,
    view_end: usize,
}

impl SessionTemplate {
    /// Replaces the address, for a session that differs in nothing else but its times. Both have
    /// an address.
    pub fn set_address(&mut self, address: &ClientAddress) {
        let (Some(place), ClientAddress::Ip(address)) = (&mut self.address, address) else {
            return;
        };
        let (start, old_end, length) = (place.start, place.end, self.text.len());
        let end = start + address.len();
        let moved = |at: usize| at - old_end + end;
        if end != old_end {
            // Several times as fast as `splice`.
            self.text.resize(length.max(moved(length)), 0);
            self.text.copy_within(old_end..length, end);
            self.text.truncate(moved(length));
            place.end = end;
            (self.common_end, self.view_end) = (moved(self.common_end), moved(self.view_end));
        }
        self.text[start..end].copy_from_slice(address);
    }

    fn push_view(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.text[..self.view_end]);
    }

    fn push_event(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.text[..self.common_end]);
        out.extend_from_slice(&self.text[self.view_end..]);
    }

    /// Bytes that [`SessionTemplate::push_event`] appends, without the address: the same template
    /// serves another one.
    fn event_size(&self) -> usize {
        let of_address = self.address.as_ref().map_or(0, ExactSizeIterator::len);
        self.text.len() - (self.view_end - self.common_end) - of_address
    }

    /// Frees unused memory.
    pub fn shrink(&mut self) {
        self.text.shrink_to_fit();
    }

    /// Bytes of memory on the heap.
    pub fn size(&self) -> usize {
        self.text.capacity()
    }
}

/// Whether a referrer is a page of the same host, without a query or a fragment that may name a
/// campaign. Matomo counts such a visit as a direct entry, as if it had no referrer.
fn is_page_of(host: &[u8], referrer: &[u8]) -> bool {
    !host.is_empty()
        && authority(referrer).is_some_and(|of_referrer| of_referrer.eq_ignore_ascii_case(host))
        && memchr::memchr2(b'?', b'#', referrer).is_none()
}

/// Truncates a text to [`SHORTENED_BYTES`], or a few less so that it ends with a whole character.
fn shorten(text: &[u8]) -> &[u8] {
    if text.len() <= SHORTENED_BYTES {
        return text;
    }
    let is_continuation = |at: &usize| text[*at] & 0xc0 == 0x80;
    // No character of UTF-8 has more than three continuation bytes.
    let back = (0..3).take_while(|back| is_continuation(&(SHORTENED_BYTES - back)));
    &text[..SHORTENED_BYTES - back.count()]
}

/// Repeats the URL of a request as that of a download.
fn push_download(url: Range<usize>, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"download\":\"");
    out.extend_from_within(url);
    out.push(b'"');
}

fn push_generation_time(hit: &Hit, out: &mut Vec<u8>) {
    if let Some(time) = hit.generation_time {
        out.extend_from_slice(b",\"pf_srv\":");
        json::push_number(out, time as u64);
    }
}

fn push_bytes(out: &mut Vec<u8>, bytes: u64) {
    if bytes > 0 {
        out.extend_from_slice(b",\"bw_bytes\":");
        json::push_number(out, bytes);
    }
}

fn push_member(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":\"");
    json::push_text(out, value);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_the_same_host_without_a_query_is_internal() {
        for (referrer, is_internal) in [
            ("http://radio.example/a", true),
            ("https://radio.example/a/b", true),
            ("https://Radio.Example", true),
            ("http://radio.example/a?pk_campaign=spring", false),
            ("http://radio.example/#mtm_campaign=spring", false),
            ("http://radio.example:8000/a", false),
            ("http://www.radio.example/a", false),
            ("http://user@radio.example/a", false),
            ("http://search.example/radio.example/", false),
            ("ftp://radio.example/a", false),
            ("-", false),
            ("", false),
        ] {
            assert_eq!(
                is_page_of(b"radio.example", referrer.as_bytes()),
                is_internal,
                "{referrer}"
            );
        }
        assert!(!is_page_of(b"", b"http:///a"));
    }
}
