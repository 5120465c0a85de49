//! The sites of the store: found by id or host, created when asked for.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::options::Sites;
use super::store::Store;

/// A site as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Site {
    pub idsite: i64,
    pub name: String,
    pub main_url: String,
}

impl Site {
    fn of(row: &Row) -> rusqlite::Result<Self> {
        Ok(Self {
            idsite: row.get(0)?,
            name: row.get(1)?,
            main_url: row.get(2)?,
        })
    }
}

impl Store {
    pub(super) fn site(&self, idsite: i64) -> rusqlite::Result<Option<Site>> {
        self.with(|db| {
            db.prepare_cached("SELECT idsite, name, main_url FROM sites WHERE idsite = ?")?
                .query_row([idsite], Site::of)
                .optional()
        })
    }

    pub(super) fn sites(&self) -> rusqlite::Result<Vec<Site>> {
        self.with(|db| {
            let mut all =
                db.prepare_cached("SELECT idsite, name, main_url FROM sites ORDER BY idsite")?;
            all.query_map([], Site::of)?.collect()
        })
    }

    /// The site that has this host among its urls.
    pub(super) fn site_of_host(&self, host: &str) -> rusqlite::Result<Option<i64>> {
        self.with(|db| {
            db.prepare_cached("SELECT idsite FROM hosts WHERE host = ?")?
                .query_row([host], |row| row.get(0))
                .optional()
        })
    }

    /// Creates a site under the next free id, or the one given.
    pub(super) fn add_site(
        &self,
        idsite: Option<i64>,
        name: &str,
        urls: &[String],
    ) -> rusqlite::Result<i64> {
        self.with(|db| {
            let transaction = db.transaction()?;
            let main_url = urls.first().map_or("http://example.org", String::as_str);
            transaction.execute(
                "INSERT INTO sites (idsite, name, main_url) VALUES (?, ?, ?)",
                params![idsite, name, main_url],
            )?;
            let idsite = transaction.last_insert_rowid();
            for host in urls.iter().map(|url| host(url)) {
                add_host(&transaction, &host, idsite)?;
            }
            transaction.commit()?;
            Ok(idsite)
        })
    }
}

/// Makes the sites there are at the start; what is there already stays.
pub(super) fn fill(db: &Connection, sites: &Sites) -> rusqlite::Result<()> {
    let add = |idsite: u64, name: &str, main_url: &str| {
        db.execute(
            "INSERT OR IGNORE INTO sites (idsite, name, main_url) VALUES (?, ?, ?)",
            params![i64::try_from(idsite).unwrap_or(i64::MAX), name, main_url],
        )
    };
    match sites {
        Sites::EveryHost => {
            add(1, "Sandbox", "http://example.org")?;
        }
        Sites::Fixed { sites, hosts } => {
            for (idsite, main_url) in sites {
                add(*idsite, &format!("Site {idsite}"), main_url)?;
            }
            for (host, idsite) in hosts {
                add_host(db, host, i64::try_from(*idsite).unwrap_or(i64::MAX))?;
            }
        }
    }
    Ok(())
}

fn add_host(db: &Connection, host: &str, idsite: i64) -> rusqlite::Result<usize> {
    db.execute(
        "INSERT OR IGNORE INTO hosts (host, idsite) VALUES (?, ?)",
        params![host, idsite],
    )
}

/// The host of an address with or without scheme, in lower case, its port kept.
pub(super) fn host(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    host.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_found_with_and_without_scheme() {
        for url in ["http://A.example:80/x", "a.example:80", "a.example:80?x"] {
            assert_eq!(host(url), "a.example:80");
        }
    }

    #[test]
    fn new_sites_get_the_next_id_and_their_hosts() {
        let store = Store::open(None, &Sites::EveryHost).unwrap();
        let urls = ["http://b.example".to_owned()];
        assert_eq!(store.add_site(None, "b", &urls).unwrap(), 2);
        assert_eq!(store.add_site(Some(9), "c", &[]).unwrap(), 9);
        assert_eq!(store.site_of_host("b.example").unwrap(), Some(2));
        assert_eq!(store.add_site(None, "d", &[]).unwrap(), 10);
        assert_eq!(store.sites().unwrap().len(), 4);
    }
}
