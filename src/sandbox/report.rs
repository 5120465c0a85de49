//! What came of an import into the sandbox, in plain words and aligned tables.

use super::figures::{self, MountFigures, SiteFigures};
use super::store::Store;
use super::table::{Table, clock, hours, thousands};
use crate::error::Result;

/// Rows of a ranking.
const TOP: usize = 10;
/// Rows of sites, mount points and the like, which strangers may make up by the thousand.
const MOST: usize = 30;

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
            listening(&figures::mounts(db)?),
        ])
    })?;
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    Ok(match parts.is_empty() {
        true => "The sandbox holds no hits.\n".into(),
        false => parts.join("\n"),
    })
}

fn sites(all: &[SiteFigures]) -> String {
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
    let mut row = |site: &SiteFigures, id: String| {
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
fn together(sites: &[SiteFigures], name: String) -> SiteFigures {
    let sum =
        |figure: fn(&SiteFigures) -> u64| sites.iter().map(figure).fold(0, u64::saturating_add);
    SiteFigures {
        idsite: 0,
        name,
        visits: sum(|site| site.visits),
        pages: sum(|site| site.pages),
        downloads: sum(|site| site.downloads),
        events: sum(|site| site.events),
        bytes: sum(|site| site.bytes),
    }
}

fn ranking(
    title: &'static str,
    heads: &'static [&'static str],
    rows: Vec<(u64, String)>,
) -> String {
    let mut table = Table::new(title, heads);
    for (count, text) in rows {
        table.row([thousands(count)], &text);
    }
    table.render()
}

/// `all` begins with the figures of all mount points together.
fn listening(all: &[MountFigures]) -> String {
    let mut table = Table::new(
        "Listening",
        &[
            "Connections",
            "Hours",
            "Average",
            "Median",
            "Most at once",
            "Listeners",
            "Mount point",
        ],
    );
    let Some((total, each)) = all.split_first() else {
        return String::new();
    };
    let mut row = |figures: &MountFigures, name: &str| {
        let numbers = [
            thousands(figures.connections),
            hours(figures.seconds),
            clock(figures.average),
            clock(figures.median),
            thousands(figures.most_at_once),
            thousands(figures.listeners),
        ];
        table.row(numbers, name);
    };
    for figures in each.iter().take(MOST) {
        row(figures, figures.mount.as_deref().unwrap_or_default());
    }
    if each.len() > 1 {
        row(
            total,
            &format!("all {} mount points", thousands(each.len() as u64)),
        );
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::options::Sites;
    use crate::sandbox::stored::Stored;
    use chrono::DateTime;
    use serde_json::{Value, json};

    /// A store with these hits: site, epoch seconds, last byte of the address, the rest.
    fn store(hits: &[(i64, i64, u8, Value)]) -> Store {
        let store = Store::open(None, &Sites::EveryHost).unwrap();
        store.add_site(Some(2), "radio.example", &[]).unwrap();
        let rows: Vec<_> = hits
            .iter()
            .map(|(site, epoch, address, hit)| {
                let date = DateTime::from_timestamp(*epoch, 0).unwrap();
                Box::new(Stored::new(
                    hit.as_object().unwrap(),
                    *site,
                    date,
                    [10, 0, 0, *address].into(),
                ))
            })
            .collect();
        store.record(&rows).unwrap();
        store
    }

    const NOON: i64 = 1_789_905_600;

    #[test]
    fn an_empty_store_says_so() {
        assert_eq!(report(&store(&[])).unwrap(), "The sandbox holds no hits.\n");
    }

    #[test]
    fn hits_are_counted_by_site_url_status_and_referrer() {
        let status = json!({"1": ["HTTP-code", "200"]}).to_string();
        let page = json!({"url": "http://example.org/", "cvar": status, "bw_bytes": 1500, "urlref": "https://news.example/x"});
        let store = store(&[
            (1, NOON, 1, page.clone()),
            (1, NOON + 1800, 1, page.clone()),
            (1, NOON + 3601, 1, page.clone()),
            (
                1,
                NOON,
                2,
                json!({"url": "http://example.org/a.zip", "download": "http://example.org/a.zip"}),
            ),
            (
                2,
                NOON,
                1,
                json!({"url": "http://radio.example/", "urlref": "-"}),
            ),
        ]);
        assert_eq!(
            report(&store).unwrap(),
            "\
Sites
-----
  Visits  Page views  Downloads  Events  Bytes  Site  Name
       3           3          1       0  4,500     1  Sandbox
       1           1          0       0      0     2  radio.example
       4           4          1       0  4,500        all sites

Most viewed
-----------
  Page views  Url
           3  http://example.org/
           1  http://radio.example/

Status codes
------------
  Requests  Status
         3  200

Referring hosts
---------------
  Requests  Host
         3  news.example
"
        );
    }

    #[test]
    fn a_new_visit_and_midnight_end_a_visit() {
        let midnight = NOON + 12 * 3600;
        let store = store(&[
            (1, NOON, 1, json!({})),
            (1, NOON + 60, 1, json!({"new_visit": 1})),
            (1, midnight - 60, 1, json!({})),
            (1, midnight + 60, 1, json!({})),
        ]);
        let visits = |db: &rusqlite::Connection| {
            db.query_row("SELECT count(*) FROM visits", [], |row| row.get(0))
        };
        assert_eq!(store.read::<i64>(visits).unwrap(), 4);
    }

    #[test]
    fn events_of_listened_seconds_go_before_noted_connections() {
        let heard = |seconds: u64| json!({"e_c": "Listening", "e_a": "listened", "e_n": "/live", "e_v": seconds});
        let store = store(&[
            (1, NOON + 1807, 1, heard(1807)),
            (1, NOON + 256, 2, heard(256)),
            (1, NOON + 12_000, 3, heard(12_000)),
            (1, NOON + 17, 4, heard(17)),
            (1, NOON + 5400, 5, heard(5400)),
            (
                1,
                NOON,
                5,
                json!({"e_c": "Listening", "e_a": "connected", "e_n": "/live"}),
            ),
        ]);
        store.add_connection("/other", NOON, 60, 1).unwrap();
        let text = report(&store).unwrap();
        let listening = text.split("Listening\n").nth(1).unwrap();
        assert_eq!(
            listening,
            "\
---------
  Connections  Hours  Average   Median  Most at once  Listeners  Mount point
            5   5.41  1:04:56  0:30:07             5          5  /live
"
        );
    }

    #[test]
    fn bytes_beyond_any_disk_do_no_harm() {
        let large = json!({"bw_bytes": i64::MAX});
        let store = store(&[(1, NOON, 1, large.clone()), (1, NOON, 1, large)]);
        assert!(
            report(&store)
                .unwrap()
                .contains("18,446,744,073,709,551,615")
        );
    }
}
