//! Action IDs. A transaction inserts each URL that it does not see, so concurrent transactions may
//! give a new URL several IDs. `actionUrl==` finds only one of them.

use std::collections::HashMap;

/// The IDs of a transaction's URLs.
pub(super) type UrlIds = HashMap<String, u64>;

/// The table of actions, and the action of each hit.
#[derive(Default)]
pub(super) struct Actions {
    /// The lowest ID of each committed URL. Later transactions use it.
    ids: UrlIds,
    /// The action ID of each stored hit, by row.
    of_hits: HashMap<i64, u64>,
    last_id: u64,
    last_row: i64,
}

impl Actions {
    /// Begins a transaction. It sees only what is committed now.
    pub fn begin<'u>(&mut self, urls: impl IntoIterator<Item = &'u str>) -> UrlIds {
        let mut ids = UrlIds::new();
        for url in urls {
            let known = self.ids.get(url).copied();
            ids.entry(url.to_owned()).or_insert_with(|| {
                known.unwrap_or_else(|| {
                    self.last_id += 1;
                    self.last_id
                })
            });
        }
        ids
    }

    /// The last row that was committed.
    pub fn last_row(&self) -> i64 {
        self.last_row
    }

    /// Commits a transaction with these IDs that stored these rows (in order) and URLs.
    pub fn commit(&mut self, ids: &UrlIds, rows: impl IntoIterator<Item = (i64, String)>) {
        for (row, url) in rows {
            self.last_row = row;
            if let Some(id) = ids.get(&url) {
                self.of_hits.insert(row, *id);
                let lowest = self.ids.entry(url).or_insert(*id);
                *lowest = (*lowest).min(*id);
            }
        }
    }

    /// Whether `actionUrl==` with this URL finds this hit of it.
    pub fn is_found(&self, row: i64, url: &str) -> bool {
        self.of_hits.get(&row) == self.ids.get(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[(i64, &str)]) -> Vec<(i64, String)> {
        rows.iter()
            .map(|(row, url)| (*row, (*url).to_owned()))
            .collect()
    }

    #[test]
    fn concurrent_transactions_give_a_url_two_ids() {
        let mut actions = Actions::default();
        let first = actions.begin(["a", "b", "a"]);
        let second = actions.begin(["b", "c"]);
        actions.commit(&second, rows(&[(1, "b"), (2, "c")]));
        assert!(actions.is_found(1, "b"));
        actions.commit(&first, rows(&[(3, "a"), (4, "b")]));
        // The lower ID counts, whichever was committed first.
        assert!(!actions.is_found(1, "b") && actions.is_found(4, "b"));
        assert!(actions.is_found(2, "c") && actions.is_found(3, "a"));
    }

    #[test]
    fn a_committed_url_keeps_its_id() {
        let mut actions = Actions::default();
        let first = actions.begin(["a"]);
        actions.commit(&first, rows(&[(1, "a")]));
        let second = actions.begin(["a"]);
        actions.commit(&second, rows(&[(2, "a")]));
        assert!(actions.is_found(1, "a") && actions.is_found(2, "a"));
    }

    #[test]
    fn a_transaction_that_is_rolled_back_leaves_no_id() {
        let mut actions = Actions::default();
        actions.begin(["a"]);
        let second = actions.begin(["a"]);
        actions.commit(&second, rows(&[(1, "a")]));
        assert!(actions.is_found(1, "a"));
    }
}
