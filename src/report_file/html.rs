//! A report as one HTML page, which can be mailed and printed.
//!
//! The page has no script and loads nothing. All text from logs goes through [`markup::text`].

mod bots;
mod charts;
mod groups;
mod listening;
mod markup;
mod method;
mod timeline;
mod web;

#[cfg(test)]
mod tests;

use std::io;

use super::RunReport;
use crate::radio::ReportZone;
use markup::{dates, text};

const STYLE: &str = include_str!("html/style.css");

/// Writes the page.
///
/// # Errors
///
/// `out` cannot be written.
pub fn write(report: &RunReport, out: &mut dyn io::Write) -> io::Result<()> {
    out.write_all(html(report).as_bytes())
}

/// The whole page.
fn html(report: &RunReport) -> String {
    let kind = match (&report.listening, &report.web) {
        (Some(_), _) => "Listening report",
        (None, Some(_)) => "Access report",
        (None, None) => "Import report",
    };
    let station = report
        .title
        .as_deref()
        .filter(|title| !title.trim().is_empty());
    let period = period(report);
    // What a browser shows on the tab, and a file manager as the title of a PDF.
    let title = match station {
        Some(station) => format!("{}: {}", text(station), kind.to_lowercase()),
        None => kind.to_owned(),
    };
    let heading = match station {
        Some(station) => format!("<p class=\"kind\">{kind}</p>\n<h1>{}</h1>", text(station)),
        None => format!("<h1>{kind}</h1>"),
    };
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         {}<header>\n{heading}\n{period}</header>\n<main>\n",
        charts::PATTERNS,
    );
    if let Some(figures) = &report.listening {
        page += &listening::sections(figures);
    }
    page += &method::counters(&report.run);
    if let Some(web) = &report.web {
        page += &web::sections(web);
    }
    if let Some(bots) = &report.bots {
        page += &bots::section_of(bots);
    }
    page += "</main>\n";
    page += &method::foot(report);
    page += "</body>\n</html>\n";
    page
}

/// The days of the report, and what decides which day a time is on.
fn period(report: &RunReport) -> String {
    let web_days = || {
        let days = &report.web.as_ref()?.days;
        Some((days.first()?.0, days.last()?.0))
    };
    let listening = report.listening.as_ref();
    let days = listening.and_then(listening::days).or_else(web_days);
    let mut parts = Vec::new();
    if let Some((first, last)) = days {
        parts.push(format!("<b>{}</b>", dates(first, last)));
    }
    if listening.is_some() || days.is_some() {
        parts.push(zone(report.zone));
    }
    if let Some(country) = listening.and_then(|figures| figures.country.as_ref()) {
        parts.push(format!("Listeners in {} only", text(country)));
    }
    if parts.is_empty() {
        return String::new();
    }
    format!("<p class=\"period\">{}</p>\n", parts.join(" · "))
}

fn zone(zone: ReportZone) -> String {
    let name = text(&zone.to_string());
    match zone {
        ReportZone::Named(_) => format!("Time zone {name}"),
        ReportZone::OfLog(_) => format!("Time zone {name}, as in the logs"),
        ReportZone::Utc => "Times in UTC".into(),
    }
}
