//! The summary at the end of a run (guide/options.md, "Summary").
//!
//! Scripts parse it. The words and the order of its first three parts never change, and numbers are
//! plain integers. Additions come after them, or only if they are not zero.

use std::fmt::Write;
use std::time::Duration;

use super::clean::clean;
use super::counters::{Account, Count, FileAccount, sum};
use super::progress::per_second;
use super::redact;

/// Maximum hosts or logs in a list: enough for a real server, and a limit for clients that invent
/// host names.
const MAX_LISTED: usize = 1000;

/// The contents of the summary.
pub struct SummaryInput<'a> {
    pub account: &'a Account,
    pub sites: &'a SiteSummary,
    /// From the start of the program to the last response.
    pub elapsed: Duration,
    /// `--url`, printed without credentials and query. `None` for the sandbox.
    pub url: Option<&'a str>,
    pub dry_run: bool,
    pub read_back: Option<ReadBackSummary>,
    /// Hits in Matomo's own queue that are not confirmed.
    pub in_queue: u64,
    /// With `--replay-tracking`, sites are identified by ID, not by host.
    pub replaying: bool,
}

/// What Matomo said about hits that it had acknowledged.
#[derive(Clone, Copy, Debug)]
pub struct ReadBackSummary {
    /// Requests that were confirmed.
    pub batches: u64,
    pub questions: u64,
    /// Hits that were missing and are there since they were sent again.
    pub sent_again: u64,
    pub left_out: u64,
    /// Hits that the visitor log may hide.
    pub unknown: u64,
}

/// The sites of a run.
#[derive(Clone, Debug, Default)]
pub struct SiteSummary {
    /// Distinct sites that requests were imported to.
    pub imported_to: usize,
    /// Sites among them that this run did not create.
    pub existed: usize,
    /// Host and ID of each site that it created.
    pub created: Vec<(String, String)>,
    /// Hosts, or `unrecognized site ID N` when replaying, that matched no site. Incomplete if there
    /// are too many. Neither cleaned nor sorted.
    pub unmatched: Vec<String>,
    /// Number of distinct hosts or IDs that matched no site.
    pub unmatched_total: usize,
}

impl SummaryInput<'_> {
    /// The whole text, with a final newline. More parts can follow, each under a [`heading`].
    pub fn text(&self) -> String {
        // Each part begins with an empty line.
        let mut text = String::new();
        self.requests(&mut text);
        self.sites(&mut text);
        self.performance(&mut text);
        self.files(&mut text);
        self.read_back(&mut text);
        if self.in_queue > 0 {
            text.push_str(&heading("Queue summary"));
            let words = "hits in Matomo's queue, not confirmed yet";
            line(&mut text, 1, self.in_queue, words);
        }
        self.what_next(&mut text);
        text.split_off(1)
    }

    fn requests(&self, text: &mut String) {
        let total = |count| self.account.total(count);
        text.push_str(&heading("Logs import summary"));
        let certain = [
            (Count::Imported, "requests imported successfully"),
            (Count::Downloads, "requests were downloads"),
        ];
        let others = [
            (Count::Refused, "requests refused by the server"),
            (Count::Lost, "requests lost by the server"),
            (
                Count::Resent,
                "requests in doubt: sent again, perhaps imported twice",
            ),
            (
                Count::InDoubt,
                "requests in doubt: not sent again, perhaps not imported",
            ),
            (Count::Unsent, "requests not yet sent"),
            (
                Count::NoAddress,
                "lines without an address: their visitors have an id instead",
            ),
            (
                Count::OtherShards,
                "lines of other shards, left to other workers",
            ),
            (
                Count::Assistants,
                "requests of AI assistants, which Matomo counts in separate reports and never shows singly",
            ),
        ];
        let others = others.into_iter().filter(|(count, _)| total(*count) > 0);
        for (count, words) in certain.into_iter().chain(others) {
            line(text, 1, total(count), words);
        }
        let files = self.account.files();
        let ignored = sum(files.iter().map(|file| file.ignored()));
        line(text, 1, ignored, "requests ignored:");
        for (count, words) in Count::IGNORED {
            line(text, 2, total(count), words);
        }
    }

    fn sites(&self, text: &mut String) {
        let sites = self.sites;
        let imported = self.account.total(Count::Imported);
        let to_sites = format!("requests imported to {} sites", sites.imported_to);
        text.push_str(&heading("Website import summary"));
        line(text, 1, imported, &to_sites);
        line(text, 2, sites.existed, "sites already existed");
        line(text, 2, sites.created.len(), "sites were created:");
        let created: Vec<String> = sites
            .created
            .iter()
            .map(|(host, id)| format!("{} (ID: {id})", clean(host.as_bytes())))
            .collect();
        list(text, 3, &created, created.len());
        let unmatched = "distinct hostnames did not match any existing site:";
        line(text, 1, sites.unmatched_total, unmatched);
        let mut unmatched: Vec<_> = sites
            .unmatched
            .iter()
            .map(|host| clean(host.as_bytes()))
            .collect();
        unmatched.sort_unstable();
        list(text, 2, &unmatched, sites.unmatched_total);
        if sites.unmatched_total > 0 {
            text.push_str(if self.replaying { REPLAY_TIPS } else { TIPS });
        }
    }

    fn performance(&self, text: &mut String) {
        let rate = per_second(self.account.total(Count::Imported), self.elapsed);
        text.push_str(&heading("Performance summary"));
        let seconds = self.elapsed.as_secs_f64().round();
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(text, "    Total time: {seconds} seconds");
        let _ = writeln!(
            text,
            "    Requests imported per second: {rate} requests per second"
        );
    }

    /// A line for each log file, if there are several.
    fn files(&self, text: &mut String) {
        let files = self.account.files();
        if files.len() < 2 {
            return;
        }
        text.push_str(&heading("Log files"));
        let (listed, others) = files.split_at(files.len().min(MAX_LISTED));
        for file in listed {
            let _ = writeln!(text, "    {}", file_line(file));
        }
        if !others.is_empty() {
            let total = |count: fn(&FileAccount) -> u64| sum(others.iter().map(|file| count(file)));
            let _ = writeln!(
                text,
                "    {} other logs: {} lines, {} imported, {} ignored",
                others.len(),
                total(|file| file.get(Count::Read)),
                total(|file| file.get(Count::Imported)),
                total(FileAccount::ignored),
            );
        }
    }

    fn read_back(&self, text: &mut String) {
        let Some(read_back) = &self.read_back else {
            return;
        };
        text.push_str(&heading("Read-back summary"));
        let batches = format!(
            "requests to Matomo confirmed with {} questions",
            read_back.questions
        );
        line(text, 1, read_back.batches, &batches);
        for (count, words) in [
            (
                read_back.sent_again,
                "hits had been lost by Matomo, and were sent again",
            ),
            (read_back.left_out, "hits left out by Matomo"),
            (
                read_back.unknown,
                "hits that Matomo may have, but does not show",
            ),
        ] {
            if count > 0 {
                line(text, 1, count, words);
            }
        }
    }

    fn what_next(&self, text: &mut String) {
        if self.dry_run {
            text.push_str("\nThis was a dry run: nothing was sent to Matomo.\n");
        } else if let Some(url) = self.url.filter(|_| self.account.total(Count::Imported) > 0) {
            text.push_str(&heading("Processing the imported data"));
            let _ = writeln!(
                text,
                "    Reports show the imported requests after Matomo has processed them. If neither a cron job\n    \
                 nor a visit to the reports does that, run this in Matomo's directory:\n\n        \
                 ./console core:archive --url={}",
                shell_word(&public_url(url))
            );
        }
    }
}

const TIPS: &str = "
    TIP: if a site has another address in Matomo, add the hostname to that site's alias URLs
         (Administration, Measurables, Manage).
    TIP: use --add-sites-new-hosts to create a site for each new hostname.
    TIP: use --idsite-fallback=ID to import requests for unknown hostnames to one site.
    TIP: use --idsite=ID to import all requests to one site, regardless of the hostname.
    TIP: to import a log again for one hostname only, use --hostname=HOST; otherwise the other
         requests are counted twice.
";

const REPLAY_TIPS: &str = "
    TIP: the log contains sites that this Matomo does not have, or that the token may not see.
         Use --idsite=ID to import all requests to one site.
";

/// An underlined heading between empty lines.
pub fn heading(title: &str) -> String {
    format!("\n{title}\n{}\n\n", "-".repeat(title.chars().count()))
}

fn line(text: &mut String, depth: usize, number: impl std::fmt::Display, words: &str) {
    let _ = writeln!(text, "{:indent$}{number} {words}", "", indent = depth * 4);
}

/// `total` includes names that the caller did not keep.
fn list(text: &mut String, depth: usize, names: &[impl std::fmt::Display], total: usize) {
    let shown = names.len().min(MAX_LISTED);
    for name in &names[..shown] {
        let _ = writeln!(text, "{:indent$}{name}", "", indent = depth * 4);
    }
    if total > shown {
        let _ = writeln!(
            text,
            "{:indent$}... and {} more",
            "",
            total - shown,
            indent = depth * 4
        );
    }
}

/// One file and its outcomes; zeros are left out, except for the two that matter most.
fn file_line(file: &FileAccount) -> String {
    if !file.is_begun() {
        return format!("{}: not read", clean(file.name().as_bytes()));
    }
    let mut text = format!(
        "{}: {} lines, {} imported, {} ignored",
        clean(file.name().as_bytes()),
        file.get(Count::Read),
        file.get(Count::Imported),
        file.ignored()
    );
    for count in [
        Count::Header,
        Count::Skipped,
        Count::OtherShards,
        Count::Refused,
        Count::Lost,
        Count::InDoubt,
        Count::Unsent,
    ] {
        if file.get(count) > 0 {
            let _ = write!(text, ", {} {}", file.get(count), count.name());
        }
    }
    text
}

/// The URL without user, password, query and fragment.
fn public_url(url: &str) -> String {
    let with_scheme = if url.contains("://") {
        url.to_owned()
    } else {
        format!("http://{url}")
    };
    let Ok(url) = url::Url::parse(&with_scheme) else {
        return "http://your-matomo.example/".into();
    };
    clean(redact::url(&url).as_bytes()).into_owned()
}

/// Quotes a text as one word of a shell command.
pub fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:@%+,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests;
