//! Hits that Matomo acknowledges and leaves out, and what they have in common.

use std::fmt::Write;
use std::net::IpAddr;

use super::packed::SentRequest;
use crate::recorder::context::Context;
use crate::recorder::witness::SentHit;

/// Lines that are named in a message.
const MAX_NAMED_LINES: usize = 10;

/// The first two bytes of an IPv4 address, the first three groups of an IPv6 address.
pub fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let [first, second, ..] = address.octets();
            [first, second, 0, 0].into()
        }
        IpAddr::V6(address) => {
            let [first, second, third, ..] = address.segments();
            [first, second, third, 0, 0, 0, 0, 0].into()
        }
    }
}

/// The first lines of a list, and how many more there are.
#[derive(Default)]
pub struct NamedLines {
    lines: Vec<(u32, u64)>,
    more: u64,
}

impl NamedLines {
    pub fn add(&mut self, request: &SentRequest) {
        match self.lines.len() < MAX_NAMED_LINES {
            true => self.lines.push((request.file, request.line)),
            false => self.more += 1,
        }
    }

    pub fn text(&self, context: &Context) -> String {
        let mut text = String::new();
        for (file, line) in &self.lines {
            let file = context.account.file(*file as usize);
            let name = file.map_or_else(String::new, |file| file.name().to_owned());
            let separator = if text.is_empty() { "" } else { ", " };
            // Writing to a String cannot fail.
            let _ = write!(text, "{separator}{name}:{line}");
        }
        if self.more > 0 {
            let _ = write!(text, " and {} more", self.more);
        }
        text
    }
}

/// Hits that Matomo leaves out, and what they have in common.
#[derive(Default)]
pub struct LeftOut {
    lines: NamedLines,
    count: u64,
    /// What each kind of value is, as long as all hits have the same.
    common: Option<[(&'static str, Option<String>); 5]>,
}

impl LeftOut {
    pub fn add(&mut self, request: &SentRequest, hit: &SentHit) {
        self.count += 1;
        self.lines.add(request);
        let bits = if hit.cip.is_ipv4() { 16 } else { 48 };
        let network = format!("{}/{bits}", network(hit.cip));
        let day = hit.cdt.get(..10).unwrap_or_default();
        let values = [
            ("site", hit.idsite.clone()),
            ("day", day.to_owned()),
            ("network", network),
            ("address", hit.cip.to_string()),
            ("user agent", hit.ua.clone()),
        ];
        let common = self
            .common
            .get_or_insert_with(|| values.clone().map(|(kind, value)| (kind, Some(value))));
        for ((_, known), (_, value)) in common.iter_mut().zip(values) {
            if known.as_ref() != Some(&value) {
                *known = None;
            }
        }
    }

    pub fn report(&self, context: &Context) {
        if self.count == 0 {
            return;
        }
        let common: Vec<String> = self
            .common
            .iter()
            .flatten()
            .filter_map(|(kind, value)| Some(format!("{kind} {}", value.as_ref()?)))
            .collect();
        let common = match common.is_empty() {
            true => "nothing".to_owned(),
            false => common.join(", "),
        };
        context.console.warn(format!(
            "Matomo leaves out {} hits: it acknowledges them and does not have them, although some \
             were sent again; its settings may exclude them. They have in common: {common}. \
             Lines: {}",
            self.count,
            self.lines.text(context)
        ));
    }
}
