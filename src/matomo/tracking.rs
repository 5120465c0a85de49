//! A hit as a tracking request: one JSON object, written straight into the batch (SPEC section 6).

mod head;
mod prepared;
mod stamp;
mod url;
mod variables;

pub use url::NO_HOST;

use crate::hit_id::HitId;
use std::ops::Range;
use std::rc::Rc;

use crate::format::Field;
use crate::hit::{Hit, LoggedRequest};
use crate::matomo::json;
use crate::radio::{SessionRequest, SessionRequestKind};

use head::Head;
pub use prepared::SessionTemplate;
use prepared::{LONGEST_EVENT, PREPARED, shorten};
use stamp::Stamp;
use url::{Page, cut};
use variables::Variables;

/// What goes into every request; from the options of the same names.
#[derive(Clone, Debug, Default)]
pub struct TrackingOptions {
    pub query_delimiter: Vec<u8>,
    pub strip_query: bool,
    pub title_delimiter: String,
    pub track_http_method: bool,
    pub reverse_dns: bool,
    pub bots: bool,
    /// `rec` is 0 unless the log's own request says otherwise.
    pub replaying: bool,
    /// Field and name, in the order given.
    pub page_variables: Vec<(String, String)>,
    pub visit_variables: Vec<(String, String)>,
    /// `--listening-category`
    pub listening_category: String,
}

/// Writes requests. What many of them have in common is made once and kept.
#[derive(Debug, Default)]
pub struct Writer {
    options: TrackingOptions,
    /// `"queuedtracking":0,"dp":1` and what else is the same in every request.
    constant: Vec<u8>,
    /// Of the hit before.
    head: Option<Head>,
    /// The page variables of the hit before, where they are its status alone, and that status.
    status: Vec<u8>,
    status_variable: Vec<u8>,
    stamp: Stamp,
}

impl Writer {
    pub fn new(options: TrackingOptions) -> Self {
        let mut constant = Vec::new();
        constant.extend_from_slice(if options.replaying {
            b"\"rec\":0"
        } else {
            b"\"rec\":1"
        });
        constant.extend_from_slice(b",\"apiv\":1,\"queuedtracking\":0");
        constant.extend_from_slice(if options.reverse_dns {
            b",\"dp\":0"
        } else {
            b",\"dp\":1"
        });
        if options.bots {
            constant.extend_from_slice(b",\"bots\":1");
        }
        Self {
            options,
            constant,
            ..Self::default()
        }
    }

    /// Appends the request of one hit. `pv_id` is the hit's mark, by which Matomo can be asked for it.
    pub fn write(&mut self, hit: &Hit, pv_id: &HitId, out: &mut Vec<u8>) {
        let url = self.begin(hit, out);
        out.extend_from_slice(self.stamp.of(pv_id, hit.time));
        self.push_variables(hit.request, out);
        let request = hit.request;
        if request.is_download {
            out.extend_from_slice(b",\"download\":\"");
            out.extend_from_within(url);
            out.push(b'"');
        }
        if (request.is_error() && !self.options.replaying) || request.is_redirect() {
            self.push_title(hit, out);
        }
        if let Some(time) = hit.generation_time {
            out.extend_from_slice(b",\"pf_srv\":");
            json::push_number(out, time as u64);
        }
        if hit.length > 0 {
            out.extend_from_slice(b",\"bw_bytes\":");
            json::push_number(out, hit.length);
        }
        if let Some(event) = &hit.event {
            push_member(out, "e_c", event.category);
            push_member(out, "e_a", event.action);
            if let Some(name) = event.name {
                push_member(out, "e_n", name);
            }
        }
        out.push(b'}');
    }

    /// What the requests of a connection have that does not depend on how long it lasted. The page view has all that
    /// a hit's has but a generation time (a stream has none) and the bytes; the events repeat it without variables.
    ///
    /// There may be hundreds of events: those of a line whose texts are longer than anything a browser sends repeat only
    /// the beginnings of these.
    pub fn prepare(&mut self, hit: &Hit) -> SessionTemplate {
        let prepared = self.prepare_whole(hit);
        if prepared.event_size() <= LONGEST_EVENT {
            return prepared;
        }
        let request = hit.request;
        let request = LoggedRequest {
            host: request.host.map(shorten),
            ip: shorten(request.ip),
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
        self.prepare_whole(&short)
    }

    fn prepare_whole(&mut self, hit: &Hit) -> SessionTemplate {
        let mut text = Vec::with_capacity(PREPARED);
        self.begin(hit, &mut text);
        let common = text.len();
        text.extend_from_slice(b",\"new_visit\":1");
        self.push_variables(hit.request, &mut text);
        let view = text.len();
        text.extend_from_slice(b",\"ca\":1");
        push_member(&mut text, "e_c", self.options.listening_category.as_bytes());
        push_member(&mut text, "e_n", hit.request.path);
        SessionTemplate { text, common, view }
    }

    /// Appends one request of a connection. `bytes`: what was sent in all, for the page view.
    pub fn write_beat(
        &mut self,
        prepared: &SessionTemplate,
        beat: SessionRequest,
        bytes: u64,
        pv_id: &HitId,
        out: &mut Vec<u8>,
    ) {
        match beat.kind {
            SessionRequestKind::PageView => {
                prepared.push_view(out);
                if bytes > 0 {
                    out.extend_from_slice(b",\"bw_bytes\":");
                    json::push_number(out, bytes);
                }
            }
            SessionRequestKind::Connected => {
                prepared.push_event(out);
                out.extend_from_slice(b",\"e_a\":\"connected\"");
            }
            SessionRequestKind::Listened(seconds) => {
                prepared.push_event(out);
                out.extend_from_slice(b",\"e_a\":\"listened\",\"e_v\":");
                json::push_number(out, seconds);
            }
        }
        out.extend_from_slice(self.stamp.of(pv_id, beat.time));
        out.push(b'}');
    }

    /// What every request of a hit has: the page view as well as the events that repeat it. Gives where in `out` the
    /// url stands.
    fn begin(&mut self, hit: &Hit, out: &mut Vec<u8>) -> Range<usize> {
        if !self.head.as_ref().is_some_and(|head| head.fits(hit)) {
            self.head = None;
        }
        let head = self
            .head
            .get_or_insert_with(|| Head::new(&self.constant, hit));
        let request = hit.request;
        let url = out.len() + head.url;
        out.extend_from_slice(&head.text);
        self.page(request).push(out);
        let url = url..out.len();
        out.extend_from_slice(b"\",\"urlref\":\"");
        json::push_url(out, cut(request.referrer));
        match &request.cid {
            Some(cid) => {
                out.extend_from_slice(b"\",\"cid\":\"");
                out.extend_from_slice(cid);
            }
            None => {
                out.extend_from_slice(b"\",\"cip\":\"");
                json::push_text(out, request.ip);
            }
        }
        out.extend_from_slice(b"\",\"ua\":\"");
        json::push_text(out, request.user_agent);
        out.push(b'"');
        if let Some(user) = hit.userid {
            push_member(out, "uid", user);
        }
        url
    }

    fn page<'h>(&'h self, request: &LoggedRequest<'h>) -> Page<'h> {
        let delimiter = &self.options.query_delimiter;
        Page::of(
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

        let mut visit = Variables::new("_cvar", out);
        visit.push_fields(request, &self.options.visit_variables);
        if self.options.bots {
            let name = if request.is_bot { "Bot" } else { "Not-Bot" };
            visit.push(name, request.user_agent);
        }
        visit.end();
    }

    fn push_page_variables(&self, request: &LoggedRequest, out: &mut Vec<u8>) {
        let mut page = Variables::new("cvar", out);
        page.push_fields(request, &self.options.page_variables);
        if self.options.track_http_method
            && let Some(method) = request
                .record
                .get(Field::Method)
                .filter(|method| *method != b"-")
        {
            page.push("HTTP-method", method);
        }
        page.push("HTTP-code", request.status);
        page.end();
    }

    /// `404/URL = <url, percent-encoded>/From = <referrer, percent-encoded>`
    fn push_title(&self, hit: &Hit, out: &mut Vec<u8>) {
        let request = hit.request;
        let delimiter = self.options.title_delimiter.as_bytes();
        out.extend_from_slice(b",\"action_name\":\"");
        json::push_text(out, request.status);
        json::push_text(out, delimiter);
        out.extend_from_slice(b"URL = ");
        url::push_encoded(out, &url::origin(request, &hit.site));
        self.page(request).push_encoded(out);
        if !request.referrer.is_empty() {
            json::push_text(out, delimiter);
            out.extend_from_slice(b"From = ");
            url::push_encoded(out, cut(request.referrer));
        }
        out.push(b'"');
    }
}

fn push_member(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":\"");
    json::push_text(out, value);
    out.push(b'"');
}
