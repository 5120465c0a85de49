//! A run: everything is put together, the logs are read, and what came of it is told.

mod setup;

use std::collections::HashSet;
use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use foldhash::fast::FixedState;

use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::hit_id::HitIdGenerator;
use crate::import::dump;
use crate::import::format_selector::FormatSelector;
use crate::import::ledger_handle;
use crate::import::pipe;
use crate::import::resume;
use crate::import::{Importer, Radio, Remains, Requests};
use crate::input::discover::{Source, discover};
use crate::input::lines::LineOptions;
use crate::matomo::tracking::Writer;
use crate::radio::ListeningStats;
use crate::report::progress::{Progress, ProgressMode, ProgressSource};
use crate::report::summary::SummaryInput;
use crate::report::{Account, Console, Count, Exit};
use crate::sandbox::{self};
use crate::shutdown::Shutdown;
use crate::target::{Connected, Destination};
use setup::{Prepare, Prepared};

/// How long batches under way may take to finish after a signal.
const GRACE: Duration = Duration::from_secs(30);

/// Runs an import and says what came of it. What the user is to know is printed on the console.
pub fn run(config: Config, console: &Console, stop: &Shutdown) -> Exit {
    let outcome = import(config, console, stop);
    // The first error is the one that the others follow from.
    let error = stop.take_error().or(outcome.err());
    let told = |error: &&Error| error.kind() == Kind::Interrupted && stop.signal().is_some();
    if let Some(error) = error.as_ref().filter(|error| !told(error)) {
        console.error(error.to_string());
    }
    Exit::of_run(error.as_ref(), stop.signal(), console.is_incomplete())
}

fn import(config: Config, console: &Console, stop: &Shutdown) -> Result<()> {
    let begun = Instant::now();
    let chooser = FormatSelector::new(config.choice, config.format)?;
    if config.dump_regex {
        return dump::print(&chooser, &config.files, &config.input, console, stop);
    }
    let destination = Destination::new(config.server, console)?;
    let sources = discover(&config.files, &mut |warning| {
        console.warn_incomplete(warning)
    });
    let books = match config.dry_run || destination.is_sandbox() {
        true => None,
        false => Some(ledger_handle::open(
            destination.client.url(),
            config.state_dir,
            config.sites.idsite.as_deref(),
            &config.delivery,
            console,
        )?),
    };
    let account = Arc::new(Account::new());
    let replaying = config.replay.is_some();
    let prepare = Prepare {
        destination,
        delivery: config.delivery,
        sites: config.sites,
        rejects: config.rejects.as_deref(),
        going_on: config.keeps_rejects,
        encoding: &config.input.encoding,
        replaying,
        dry_run: config.dry_run,
    };
    let ledger = books.as_ref().map(|books| &books.ledger);
    let prepared = prepare.run(&sources, ledger, &account, console, stop);
    // Nobody reads the pipes then.
    if let (Err(_), Some(books)) = (&prepared, &books) {
        match &books.kept {
            Some(kept) => {
                let options = LineOptions {
                    encoding: config.input.encoding.clone(),
                    ..LineOptions::default()
                };
                pipe::keep(&sources, kept, &options, stop, console);
            }
            None => resume::tell_of_pipes(&sources, console),
        }
    }
    let Prepared {
        server,
        sites,
        rejects,
        pool,
        outbox,
    } = prepared?;
    let marker = HitIdGenerator::new(match &books {
        Some(books) => books.ledger.salt(),
        // Nobody will ask for these hits again.
        None => [0; 16],
    });
    let bytes = Arc::new(AtomicU64::new(0));
    let style = ProgressMode::choose(config.show_progress, config.progress_delay, console);
    let watched = ProgressSource {
        account: Arc::clone(&account),
        bytes: Arc::clone(&bytes),
        total: total_size(&sources),
    };
    let progress = Progress::start(console, style, watched);
    let mut parser = Importer {
        skip: config.input.skip,
        input: config.input,
        chooser,
        hit: config.hit,
        ignored_groups: config.ignored_groups,
        lacking_groups: HashSet::new(),
        filters: config.filters,
        replay: config.replay,
        radio: config.radio.map(|radio| Radio {
            also_detected: radio.also_detected,
            audience: radio.audience,
            tally: ListeningStats::default(),
        }),
        requests: Requests {
            writer: Writer::new(config.tracking),
            marker,
            present: HashSet::new(),
            sealed: HashSet::new(),
        },
        sites,
        api: server.api.clone(),
        outbox,
        account: Arc::clone(&account),
        bytes,
        console: console.clone(),
        stop: stop.clone(),
        hasher: FixedState::default(),
        sandbox: server
            .sandbox
            .as_ref()
            .map(|sandbox| sandbox.store().clone()),
        rejects,
        books,
    };
    let parsed = parser.run(&sources);
    // Dropping the outbox ends the recorders.
    let remains = parser.end();
    let all_ended = pool.join(stop, GRACE);
    drop(progress);
    let over = Over {
        begun,
        dry_run: config.dry_run,
        replaying,
        command_line: &config.command_line,
        sources: &sources,
        server: &server,
        account: &account,
        all_ended,
    };
    over.conclude(parsed, remains, console, stop)
}

/// A run whose recorders have ended.
struct Over<'r> {
    begun: Instant,
    dry_run: bool,
    replaying: bool,
    command_line: &'r [OsString],
    sources: &'r [Source],
    server: &'r Connected,
    account: &'r Account,
    /// No request is under way.
    all_ended: bool,
}

impl Over<'_> {
    /// Sums up, writes down what is done, and says whether all of it adds up.
    fn conclude(
        self,
        parsed: Result<()>,
        remains: Remains,
        console: &Console,
        stop: &Shutdown,
    ) -> Result<()> {
        let Self {
            server, account, ..
        } = self;
        let Remains {
            sites,
            radio,
            books,
        } = remains;
        let summary = SummaryInput {
            account,
            sites: &sites.summary(),
            elapsed: self.begun.elapsed(),
            url: server.sandbox.is_none().then_some(server.url.as_str()),
            dry_run: self.dry_run,
            replaying: self.replaying,
        };
        // Where the import stopped before its first line there is nothing to sum up.
        if parsed.is_ok() || account.total(Count::Read) > 0 {
            let mut listening =
                radio.map_or_else(String::new, |mut radio| radio.tally.figures().text());
            let unsent = account.total(Count::Unsent);
            if unsent > 0 && !listening.is_empty() {
                listening += &format!(
                    "\n    Of the lines that were read, {unsent} are not yet sent: the run that sends them tells their listeners again.\n"
                );
            }
            console.print(format!("{}{listening}", summary.text()));
        }
        let closed = books.map_or(Ok(()), |books| {
            ledger_handle::close(
                books,
                self.sources,
                account,
                self.command_line,
                parsed.is_err() || stop.requested(),
                console,
            )
        });
        let reported = match &server.sandbox {
            Some(sandbox) => sandbox::report(sandbox.store()).map(|report| console.print(report)),
            None => Ok(()),
        };
        let closed = closed.and(reported);
        if account.is_incomplete() {
            console.mark_incomplete();
        }
        let accounted = if self.all_ended {
            check_account(account, parsed.is_ok() && !stop.requested())
        } else {
            console.warn_incomplete(format!(
            "requests under way did not end within {} s: {} lines are in no line of the summary; the next run asks \
             Matomo for those that were sent, and sends the others",
            GRACE.as_secs(),
            account.under_way()
        ));
            Ok(())
        };
        match (parsed, accounted) {
            (Err(error), Err(imbalance)) => {
                console.error(imbalance.to_string());
                Err(error)
            }
            (parsed, accounted) => parsed.and(accounted).and(closed),
        }
    }
}

/// Every line that was read has one end; and where nothing stopped the import, none is left unsent.
fn check_account(account: &Account, finished: bool) -> Result<()> {
    if let Err(imbalance) = account.balance() {
        return Err(Error::stopped(format!(
            "the account does not add up, this is a mistake in import-logs: {imbalance}"
        )));
    }
    if finished && account.total(Count::Unsent) > 0 {
        return Err(Error::stopped(
            "lines were read and not sent, and nobody said why: this is a mistake in import-logs",
        ));
    }
    Ok(())
}

/// Bytes of all logs, packed as they are. `None`: one of them is no plain file, and nobody knows how long it is.
fn total_size(sources: &[Source]) -> Option<u64> {
    sources
        .iter()
        .map(|source| match source {
            Source::Stdin => None,
            Source::File(path) => std::fs::metadata(path)
                .ok()
                .filter(|metadata| metadata.is_file())
                .map(|metadata| metadata.len()),
        })
        .sum()
}
