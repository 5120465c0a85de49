//! A run: everything is put together, the logs are read, and what came of it is told.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use foldhash::fast::FixedState;

use crate::choice::Chooser;
use crate::config::{Config, DeliveryOptions};
use crate::connected::Connected;
use crate::dump;
use crate::error::{Error, Kind, Result};
use crate::input::discover::{Source, discover};
use crate::ledger::{Ledger, Target, spool};
use crate::listening::Tally;
use crate::mark::Marker;
use crate::matomo::tracking::Writer;
use crate::parser::pipe;
use crate::parser::{Books, Kept, Parser, Radio, Remains, Requests};
use crate::recorder::{Pool, Shared};
use crate::rejects::Rejects;
use crate::report::progress::{Progress, Style, Watched};
use crate::report::summary::SummaryInput;
use crate::report::{Account, Console, Count, Exit};
use crate::resume;
use crate::sandbox::{self};
use crate::site::Sites;
use crate::stop::Stop;

/// How long batches under way may take to finish after a signal.
const GRACE: Duration = Duration::from_secs(30);

/// Runs an import and says what came of it. What the user is to know is printed on the console.
pub fn run(config: Config, console: &Console, stop: &Stop) -> Exit {
    let outcome = import(config, console, stop);
    // The first error is the one that the others follow from.
    let error = stop.take_error().or(outcome.err());
    let told = |error: &&Error| error.kind() == Kind::Interrupted && stop.signal().is_some();
    if let Some(error) = error.as_ref().filter(|error| !told(error)) {
        console.error(error.to_string());
    }
    Exit::of_run(error.as_ref(), stop.signal(), console.is_incomplete())
}

fn import(config: Config, console: &Console, stop: &Stop) -> Result<()> {
    let begun = Instant::now();
    let chooser = Chooser::new(config.choice, config.format)?;
    if config.dump_regex {
        return dump::print(&chooser, &config.files, &config.input, console, stop);
    }
    let server = Connected::new(config.server, config.delivery.retry, console, stop)?;
    let replaying = config.replay.is_some();
    let idsite = config.sites.idsite.clone();
    let sources = discover(&config.files, &mut |warning| {
        console.warn_incomplete(warning)
    });
    let account = Arc::new(Account::new());
    let bytes = Arc::new(AtomicU64::new(0));
    let books = match &server.sandbox {
        None if !config.dry_run => Some(open_books(
            &server,
            config.state_dir,
            idsite.as_deref(),
            &config.delivery,
            console,
        )?),
        _ => None,
    };
    let sites = Sites::new(config.sites, replaying, config.dry_run, &server.api);
    let kept = books.as_ref().and_then(|books| books.kept.as_ref());
    if let (Err(_), Some(kept), None) = (&sites, kept, stop.signal()) {
        pipe::keep(&sources, kept, stop, console);
    }
    let sites = sites?;
    let rejects = config
        .rejects
        .as_deref()
        .map(|path| Rejects::open(path, &config.input.encoding, &sources, kept.is_some()))
        .transpose()?
        .map(Arc::new);
    let ledger = books.as_ref().map(|books| Arc::clone(&books.ledger));
    let marker = Marker::new(match &ledger {
        Some(ledger) => ledger.salt(),
        // Nobody will ask for these hits again.
        None => [0; 16],
    });
    let shared = Arc::new(Shared {
        client: server.client.clone(),
        api: server.api.clone(),
        token: server.token.clone(),
        account: Arc::clone(&account),
        console: console.clone(),
        stop: stop.clone(),
        options: config.delivery,
        ledger: ledger.clone(),
        rejects: rejects.clone(),
        learnt: Default::default(),
    });
    let (pool, outbox) = match config.dry_run {
        true => Pool::none(&account, console),
        false => Pool::start(&shared)?,
    };
    let style = Style::choose(config.show_progress, config.progress_delay, console);
    let watched = Watched {
        account: Arc::clone(&account),
        bytes: Arc::clone(&bytes),
        total: total_size(&sources),
    };
    let progress = Progress::start(console, style, watched);
    let mut parser = Parser {
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
            tally: Tally::default(),
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
    let Remains {
        sites,
        radio,
        books,
    } = parser.end();
    let all_ended = pool.join(stop, GRACE);
    drop(progress);
    let summary = SummaryInput {
        account: &account,
        sites: &sites.summary(),
        elapsed: begun.elapsed(),
        url: server.sandbox.is_none().then_some(server.url.as_str()),
        dry_run: config.dry_run,
        replaying,
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
        close_books(
            books,
            &sources,
            &account,
            &config.command_line,
            parsed.is_err() || stop.requested(),
            console,
        )
    });
    let reported = match &server.sandbox {
        Some(sandbox) => {
            sandbox::report(sandbox.store()).map(|report| console.print(format!("\n{report}")))
        }
        None => Ok(()),
    };
    let closed = closed.and(reported);
    if account.is_incomplete() {
        console.mark_incomplete();
    }
    let accounted = if all_ended {
        check_account(&account, parsed.is_ok() && !stop.requested())
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

/// The ledger: in the state directory, or in memory until a stopped import writes it down.
fn open_books(
    server: &Connected,
    state_dir: Option<PathBuf>,
    idsite: Option<&str>,
    delivery: &DeliveryOptions,
    console: &Console,
) -> Result<Books> {
    let target = Target::new(server.client.url(), idsite);
    let (ledger, pending, kept) = match state_dir {
        Some(dir) => {
            let opened = Ledger::open(&dir, &target)?;
            opened
                .warnings
                .into_iter()
                .for_each(|warning| console.warn_incomplete(warning));
            (opened.ledger, opened.in_doubt, Some(Kept { dir, target }))
        }
        None => (Ledger::in_memory(&target)?, Vec::new(), None),
    };
    Ok(Books {
        ledger: Arc::new(ledger),
        kept,
        pending,
        in_doubt: delivery.in_doubt,
        timeout: delivery.timeout,
        spools: Vec::new(),
    })
}

/// Writes down what is done. A stopped import without a state directory gets one now, so that the next run can go on.
fn close_books(
    books: Books,
    sources: &[Source],
    account: &Account,
    command_line: &[OsString],
    stopped: bool,
    console: &Console,
) -> Result<()> {
    let Books {
        ledger,
        kept,
        spools,
        pending,
        ..
    } = books;
    if kept.is_some() {
        for (path, log, end) in spools {
            if ledger.position(log) >= end {
                spool::remove(&path)?;
            }
        }
        for batch in pending.iter().filter(|batch| batch.there.is_none()) {
            let logs: Vec<String> = batch
                .lines
                .iter()
                .map(|(_, path, _)| path.display().to_string())
                .collect();
            console.warn_incomplete(format!(
                "{} hits of {} are still in doubt since an interrupted run: import that log again with this --state-dir",
                batch.hits,
                logs.join(", ")
            ));
        }
        return ledger.close();
    }
    if stopped {
        resume::leave_ledger(&ledger, sources, account, command_line, console);
    }
    Ok(())
}
