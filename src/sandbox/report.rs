//! What came of an import into the sandbox, in plain words and aligned tables.

use super::figures::{self, SiteReport};
use super::listened::listened;
use super::store::Store;
use super::table::{Table, thousands};
use crate::error::Result;

/// Rows of a ranking.
const TOP: usize = 10;
/// Rows of sites, mount points and the like, which strangers may make up by the thousand.
pub(super) const MOST: usize = 30;

/// The report on all the store holds; it ends with a newline.
///
/// An error: the store cannot be read.
pub fn report(store: &Store) -> Result<String> {
    let parts = store.read(|db| {
        Ok([
            sites(&figures::sites(db)?),
            ranking(
                "Most viewed",
                &["Page views", "Url"],
                figures::urls(db, TOP)?,
            ),
            ranking(
                "Status codes",
                &["Requests", "Status"],
                figures::statuses(db, MOST)?,
            ),
            ranking(
                "Referring hosts",
                &["Requests", "Host"],
                figures::referrers(db, TOP)?,
            ),
            listened(&figures::listening(db)?),
        ])
    })?;
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    Ok(match parts.is_empty() {
        true => "The sandbox holds no hits.\n".into(),
        false => parts.join("\n"),
    })
}

fn sites(all: &[SiteReport]) -> String {
    let mut table = Table::new(
        "Sites",
        &[
            "Visits",
            "Page views",
            "Downloads",
            "Events",
            "Bytes",
            "Site",
            "Name",
        ],
    );
    let mut row = |site: &SiteReport, id: String| {
        let numbers = [
            site.visits,
            site.pages,
            site.downloads,
            site.events,
            site.bytes,
        ];
        table.row(numbers.map(thousands).into_iter().chain([id]), &site.name);
    };
    for site in all.iter().take(MOST) {
        row(site, site.idsite.to_string());
    }
    if let Some(rest) = all.get(MOST..).filter(|rest| !rest.is_empty()) {
        let name = format!("{} more sites", thousands(rest.len() as u64));
        row(&together(rest, name), String::new());
    }
    if all.len() > 1 {
        row(&together(all, "all sites".into()), String::new());
    }
    table.render()
}

/// Sites as one.
fn together(sites: &[SiteReport], name: String) -> SiteReport {
    let sum =
        |figure: fn(&SiteReport) -> u64| sites.iter().map(figure).fold(0, u64::saturating_add);
    SiteReport {
        idsite: 0,
        name,
        visits: sum(|site| site.visits),
        pages: sum(|site| site.pages),
        downloads: sum(|site| site.downloads),
        events: sum(|site| site.events),
        bytes: sum(|site| site.bytes),
    }
}

fn ranking(title: &'static str, heads: &[&str], rows: Vec<(u64, String)>) -> String {
    let mut table = Table::new(title, heads);
    for (count, text) in rows {
        table.row([thousands(count)], &text);
    }
    table.render()
}

#[cfg(test)]
mod tests;
