//! A run: sets up what it needs, imports the logs, and reports the result.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::fast::FixedState;

use crate::config::Config;
use crate::error::{Error, ErrorKind, Exit, Result};
use crate::filter::BotFigures;
use crate::hit_id::HitIdGenerator;
use crate::import::dump;
use crate::import::format_selector::FormatSelector;
use crate::import::template_memo::TemplateMemo;
use crate::import::{
    ImportEnd, Importer, ImporterParts, LastWords, LedgerHandle, LineProcessor, OldestFirst,
    PipeRescue, Present, Radio, RequestWriter, WorkOptions,
};
use crate::input::bucket::{BucketOptions, Buckets, ObjectQueue};
use crate::input::discover::{Discovery, Source, discover, discover_all, drop_repetitions};
use crate::matomo::api::Api;
use crate::matomo::tracking::{TrackingOptions, Writer};
use crate::privacy::VisitorKey;
use crate::radio::{self, ListeningFigures, ListeningStats, SessionSink};
use crate::recorder::{Context, Pool, Queue, ServerState};
use crate::report::progress::{Progress, ProgressMode, ProgressSource};
use crate::report::rejects::Rejects;
use crate::report::summary::SummaryInput;
use crate::report::{Account, Console, Count, clean_to};
use crate::report_file::{ListenerLogs, ReportFiles, ReportInput, WebCounter};
use crate::sandbox;
use crate::shutdown::Shutdown;
use crate::site::Sites;
use crate::sync::Mutex;
use crate::systemd::ServiceManager;
use crate::target::{ConnectedTarget, Target};

/// How long requests under way may take to finish after a shutdown is requested.
const GRACE_PERIOD: Duration = Duration::from_secs(30);

/// Logs of this size take Matomo a quarter of an hour or more.
const LARGE_LOG_BYTES: u64 = 64 << 20;

/// Reasons for refused hits that are printed, and bytes of a text in them.
const MAX_FAILURES: usize = 5;
const MAX_FAILURE_BYTES: usize = 200;

/// Runs an import, prints its messages and its summary, and returns the exit status.
/// `rescue` saves the pipes if the run fails before its ledger is open.
pub fn run(config: Config, rescue: &PipeRescue, console: &Console, shutdown: &Shutdown) -> Exit {
    let follows = config.follow.is_some() || config.queue.is_some();
    let outcome = import(config, rescue, console, shutdown);
    let (reported, outcome) = match outcome {
        Ok(reported) => (reported, Ok(())),
        Err(error) => (None, Err(error)),
    };
    // An error of a recorder comes first: it caused the others.
    let error = shutdown.take_error().or(outcome.err());
    if let Some(error) = &error {
        report_error(error, console, shutdown);
    }
    let error = reported.or(error);
    let signal = shutdown.signal();
    if follows && signal.is_some() {
        return Exit::of_following(error.as_ref(), console.is_incomplete());
    }
    Exit::of_run(error.as_ref(), signal, console.is_incomplete())
}

/// Prints an error, unless a signal caused it.
fn report_error(error: &Error, console: &Console, shutdown: &Shutdown) {
    if error.kind() != ErrorKind::Interrupted || shutdown.signal().is_none() {
        console.error(error.to_string());
    }
}

/// Returns the error that stopped the import if it is printed already.
fn import(
    config: Config,
    rescue: &PipeRescue,
    console: &Console,
    shutdown: &Shutdown,
) -> Result<Option<Error>> {
    if config.dump_regex {
        let selector = FormatSelector::new(config.choice, config.format)?;
        let selector = selector.with_envelope(config.envelope);
        let found = || {
            let sort = &mut |_: &mut [PathBuf]| {};
            list_sources(&config.files, sort, config.buckets, console, shutdown)
        };
        let has_logs = !config.files.is_empty();
        dump::print(&selector, has_logs, found, &config.input, console, shutdown)?;
        console.require_output();
        return Ok(None);
    }
    if let Some(file) = config.reported_sandbox {
        let options = config.radio.map(|radio| radio.report);
        let options = options.unwrap_or_default();
        let reported = config.reports.report_sandbox(&file, &options, console);
        return reported.map(|()| None);
    }
    let explain = config.explain;
    let (verify, follow) = (config.verify, config.follow);
    let names = match follow {
        Some(_) => config.files.clone(),
        None => Vec::new(),
    };
    let mut run = setup(config, rescue, console, shutdown)?;
    if let Some(lines) = explain {
        run.importer.explain(&run.sources, lines)?;
        console.require_output();
        return Ok(None);
    }
    let outcome = match (verify, follow, &mut run.work) {
        (Some(options), ..) => run.importer.verify(&run.sources, options),
        (_, Some(options), _) => run.importer.follow(&names, options),
        (.., Some(work)) => run
            .importer
            .work(&work.queue, &mut work.buckets, work.drain),
        (None, None, None) => run.importer.run(&run.sources),
    };
    run.finish(outcome, console, shutdown)
}

/// A run that is ready for its first line.
struct Run {
    started: Instant,
    dry_run: bool,
    replaying: bool,
    verifying: bool,
    reports: ReportFiles,
    /// `None` if no report file is one.
    listener_logs: Option<Arc<Mutex<ListenerLogs>>>,
    sources: Vec<Source>,
    target: ConnectedTarget,
    account: Arc<Account>,
    importer: Importer,
    /// `None` unless objects come from a queue.
    work: Option<Work>,
    recorders: Pool,
    progress: Progress,
}

/// A queue of objects, and their buckets.
struct Work {
    queue: ObjectQueue,
    buckets: Buckets,
    drain: bool,
}

/// What a run needs besides its ledger. If it fails, the ledger saves the pipes.
struct Prepared {
    target: ConnectedTarget,
    sites: Sites,
    rejects: Option<Arc<Rejects>>,
    recorders: Pool,
    queue: Queue,
    stats: ListeningStats,
    listener_logs: Option<Arc<Mutex<ListenerLogs>>>,
}

/// Opens the ledger, connects to the server, and starts the recorders.
fn setup(
    mut config: Config,
    rescue: &PipeRescue,
    console: &Console,
    shutdown: &Shutdown,
) -> Result<Run> {
    let started = Instant::now();
    config
        .warnings
        .into_iter()
        .for_each(|warning| console.warn(warning));
    let selector = FormatSelector::new(config.choice, config.format);
    let target = Target::new(config.server, console);
    let save_pipes = |_: &Error| rescue.save(console, shutdown);
    let selector = selector.inspect_err(save_pipes)?;
    let selector = selector.with_envelope(config.envelope);
    let target = target.inspect_err(save_pipes)?;
    let runs_on = config.follow.is_some() || config.queue.is_some();
    let work = match config.queue {
        None => None,
        Some(WorkOptions { queue, drain }) => {
            let mut buckets = Buckets::new(config.buckets.clone());
            let queue = buckets.queue(queue)?;
            Some(Work {
                queue,
                buckets,
                drain,
            })
        }
    };
    let lease = work.as_ref().map(|work| work.queue.lease().clone());
    let sources = match config.follow {
        // What the names lead to changes.
        Some(_) => discover(&config.files, &mut |_| {}),
        None => {
            let mut oldest_first = OldestFirst::new(&selector, &config.input.encoding);
            let sort = &mut |paths: &mut [PathBuf]| oldest_first.sort(paths);
            list_sources(&config.files, sort, config.buckets, console, shutdown)
        }
    };
    let service = match config.follow {
        Some(_) => ServiceManager::from_environment(),
        None => ServiceManager::default(),
    };
    let ledger = match config.dry_run || target.is_sandbox() {
        true => None,
        false => {
            let (url, idsite) = (target.url(), config.sites.idsite.as_deref());
            let opened = match work {
                Some(_) => Ok(LedgerHandle::of_queue(url, idsite, &config.delivery)),
                None => LedgerHandle::open(
                    url,
                    config.state_dir,
                    idsite,
                    config.shard_key.as_ref(),
                    &config.delivery,
                    console,
                ),
            };
            Some(opened.inspect_err(|_| rescue.warn_of_loss(console))?)
        }
    };
    let log_zone = config.hit.timezone;
    let has_open_batches = ledger
        .as_ref()
        .is_some_and(|handle| !handle.pending.is_empty());
    let account = Arc::new(Account::new());
    let replaying = config.replay.is_some();
    let prepare = || {
        config.reports.check(&sources)?;
        let listener_logs = config.reports.listener_logs()?;
        let listener_logs = listener_logs.map(|logs| Arc::new(Mutex::new(logs)));
        let sink = listener_logs.clone();
        let stats = match runs_on {
            true => ListeningStats::off(),
            false => ListeningStats::new(sink.map(|sink| sink as Arc<dyn SessionSink>)),
        };
        let target = target.connect(config.delivery.retry, console, shutdown, &service)?;
        let mut sites = config.sites;
        if config.dry_run && target.token.is_none() {
            sites.assume_idsite();
            console.note("this dry run has no token, so it checks nothing with Matomo");
        }
        let sites = Sites::new(sites, replaying, config.dry_run, &target.api)?;
        if target.token.is_some() && target.sandbox.is_none() {
            let (api, noted) = (target.api.clone(), console.clone());
            config.filters.assistants.ask_with(move || {
                let version = api.features().version;
                if version.is_none() {
                    noted.note(
                        "cannot read Matomo's version, so hits of AI assistants are imported like other \
                         hits; set --ai-assistants=on or off",
                    );
                }
                version
            });
            warn_of_lost_variables(&config.tracking, &target, console);
        }
        let open_rejects = |path: &Path| {
            let encoding = &config.input.encoding;
            Rejects::open(path, encoding, &sources, config.keeps_rejects)
        };
        let rejects = config.rejects.as_deref().map(open_rejects).transpose()?;
        let rejects = rejects.map(Arc::new);
        let (recorders, queue) = match config.dry_run {
            true => Pool::for_dry_run(&account, &stats.sessions, console),
            false => {
                let mut options = config.delivery;
                let asks = options.is_concurrent() || has_open_batches || options.to_queue;
                options.read_back.get_or_insert(asks);
                if options.to_queue && target.api.features().queued_tracking == Some(false) {
                    return Err(Error::stopped(
                        "--queued-tracking: Matomo's plugin QueuedTracking is not active; activate \
                         it, or remove --queued-tracking",
                    ));
                }
                let context = Arc::new(Context {
                    client: target.client.clone(),
                    api: target.api.clone(),
                    visits: target.visits.clone(),
                    token: target.token.clone(),
                    account: Arc::clone(&account),
                    console: console.clone(),
                    stop: shutdown.clone(),
                    options,
                    ledger: ledger.as_ref().map(|handle| Arc::clone(&handle.ledger)),
                    rejects: rejects.clone(),
                    sessions: Arc::clone(&stats.sessions),
                    server: ServerState::new(target.client.fronts()),
                    lease,
                });
                Pool::start(&context, &service)?
            }
        };
        Ok(Prepared {
            target,
            sites,
            rejects,
            recorders,
            queue,
            stats,
            listener_logs,
        })
    };
    let prepared = prepare().inspect_err(|_: &Error| {
        if let Some(ledger) = &ledger {
            ledger.save_pipes(&sources, &config.input, shutdown, console);
            ledger.warn_of_lost_pipes(&sources, console);
        }
    });
    let Prepared {
        target,
        sites,
        rejects,
        recorders,
        queue,
        stats,
        listener_logs,
    } = prepared?;
    // Without a ledger, no later run looks for these ids.
    let salt = ledger
        .as_ref()
        .map_or([0; 16], |handle| handle.ledger.salt());
    let mut hit = config.hit;
    // A later run makes the same ids of a day, as it looks for hits by them.
    if let Some(handle) = &ledger {
        hit.set_visitor_key(VisitorKey::of_secret(&handle.ledger.salt()));
    }
    let is_first_import = ledger
        .as_ref()
        .is_none_or(|handle| handle.ledger.is_empty());
    let style = ProgressMode::choose(config.show_progress, config.progress_delay, console);
    let total = match runs_on {
        true => None,
        false => total_size(&sources),
    };
    let is_sent = !config.dry_run && target.sandbox.is_none();
    if is_sent && total.is_some_and(|bytes| bytes >= LARGE_LOG_BYTES) && is_first_import {
        console.hint(
            "this log is large, and an import takes as long as Matomo takes to store it; \
             --recorders=auto and the plugin DeviceDetectorCache make that faster (--guide=faster)",
        );
    }
    let watched = ProgressSource {
        account: Arc::clone(&account),
        total,
        shutdown: shutdown.clone(),
        grace_period: GRACE_PERIOD,
    };
    let last_words = LastWords::new(ledger.as_ref(), &sources, &config.input, &account, console);
    shutdown.on_second_signal(move || last_words.say());
    let progress = Progress::start(console, style, watched);
    let processor = LineProcessor {
        skip: config.input.skip,
        shard: config.shard,
        limit: config.input.limit,
        hit,
        ignored_groups: config.ignored_groups,
        missing_fields: HashSet::new(),
        filters: config.filters,
        bot_counter: config.bot_counter,
        replay: config.replay,
        radio: config.radio.map(|options| Radio {
            options,
            log_zone,
            stats,
            last_zone: Vec::new(),
        }),
        web: config.reports.show_web().then(WebCounter::default),
        sites,
        api: target.api.clone(),
        visits: target.visits.clone(),
        requests: RequestWriter::new(Writer::new(config.tracking), HitIdGenerator::new(salt)),
        templates: TemplateMemo::default(),
        queue,
        rejects,
        sandbox: target
            .sandbox
            .as_ref()
            .map(|sandbox| sandbox.store().clone()),
        hasher: FixedState::default(),
        present: Present::new(target.client.clock().clone()),
        console: console.clone(),
    };
    Ok(Run {
        started,
        dry_run: config.dry_run,
        replaying,
        verifying: config.verify.is_some(),
        reports: config.reports,
        listener_logs,
        importer: Importer::new(ImporterParts {
            input: config.input,
            selector,
            processor,
            ledger,
            account: Arc::clone(&account),
            console: console.clone(),
            shutdown: shutdown.clone(),
            service,
            follows: config.follow.is_some(),
        }),
        sources,
        work,
        target,
        account,
        recorders,
        progress,
    })
}

/// The logs with these names. `sort` puts the files of a pattern in order.
fn list_sources(
    names: &[OsString],
    sort: &mut dyn FnMut(&mut [PathBuf]),
    buckets: BucketOptions,
    console: &Console,
    shutdown: &Shutdown,
) -> Vec<Source> {
    let mut buckets = Buckets::new(buckets);
    let discovery = Discovery {
        sort,
        list: &mut |url| {
            let objects = buckets.list(url, &|| shutdown.requested())?;
            if objects.is_empty() && !shutdown.requested() {
                return Err(Error::stopped(format!(
                    "{url}: no object with content has a key like this; check the prefix"
                )));
            }
            Ok(objects)
        },
        warn: &mut |warning| console.warn_incomplete(warning),
    };
    let mut sources = discover_all(names, discovery);
    if let Some(repetitions) = drop_repetitions(&mut sources) {
        console.note(repetitions);
    }
    sources
}

impl Run {
    /// Waits for the recorders, prints the summary, and closes the ledger. `outcome` is that of
    /// the importer. Returns the error that stopped the import, which is printed before the
    /// summary.
    ///
    /// # Errors
    ///
    /// Returns the first error of finishing, if no other stopped the import.
    fn finish(
        self,
        outcome: Result<()>,
        console: &Console,
        shutdown: &Shutdown,
    ) -> Result<Option<Error>> {
        let account = &self.account;
        let target = &self.target;
        // This drops the queue, which ends the recorders.
        let ImportEnd {
            sites,
            radio,
            web,
            bots,
            ledger,
            input,
        } = self.importer.finish();
        let read_back = self.recorders.read_back();
        let all_ended = self.recorders.join(shutdown, GRACE_PERIOD);
        drop(self.progress);
        console.end_repeated();
        let outcome = shutdown.take_error().map_or(outcome, Err);
        if let Err(error) = &outcome {
            report_error(error, console, shutdown);
        }
        let (sites, elapsed) = (sites.summary(), self.started.elapsed());
        let summary = SummaryInput {
            account,
            sites: &sites,
            elapsed,
            url: target.sandbox.is_none().then_some(target.url.as_str()),
            dry_run: self.dry_run,
            read_back: read_back(),
            in_queue: ledger
                .as_ref()
                .map_or(0, |handle| handle.ledger.hits_in_queue()),
            replaying: self.replaying,
        };
        // An import that failed before its first line has nothing to sum up, nor has one whose
        // logs are all missing.
        let is_import = outcome.is_ok() && !self.verifying;
        let is_missing = |source: &Source| match source {
            Source::File(path) => !path.exists(),
            Source::Stdin | Source::Object(_) => false,
        };
        let has_log = !self.sources.iter().all(is_missing);
        if let Some(warning) = target.client.clock().warning() {
            console.warn(warning);
        }
        let listening = listening(radio, account).unwrap_or_else(|error| {
            console.warn_incomplete(error.to_string());
            None
        });
        if is_import && has_log || account.total(Count::Read) > 0 {
            let listening = listening.as_ref();
            let unsent = account.total(Count::Unsent);
            let listening = listening.map(|figures| radio::summary(figures, unsent));
            let bots = bots.as_ref().map(BotFigures::text);
            let parts = [listening, bots].map(Option::unwrap_or_default);
            console.print(summary.text() + &parts.concat());
        }
        let closed = ledger.map_or(Ok(()), |ledger| {
            let interrupted = outcome.is_err() || shutdown.requested();
            ledger.close(
                interrupted,
                &self.sources,
                &input,
                account,
                target.client.tracked(),
                console,
            )
        });
        let may_ask = target.token.is_some() && target.sandbox.is_none() && outcome.is_ok();
        if account.total(Count::Refused) > 0 && may_ask && !shutdown.requested() {
            explain_refusals(&target.api, console);
        }
        let reported = match &target.sandbox {
            Some(sandbox) => sandbox::report(sandbox.store()).map(|report| console.print(report)),
            None => Ok(()),
        };
        let report = ReportInput {
            account,
            sites: sites.imported_to,
            requests: target.client.tracked(),
            elapsed,
            dry_run: self.dry_run,
            from_sandbox: false,
            listening,
            web,
            bots,
        };
        if is_import || account.total(Count::Read) > 0 {
            let logs = self
                .listener_logs
                .map(|logs| std::mem::take(&mut *logs.lock()));
            self.reports
                .write(report, logs.unwrap_or_default(), console);
        }
        let closed = closed.and(reported);
        if account.is_incomplete() {
            console.mark_incomplete();
        }
        let accounted = match all_ended {
            true => check_account(account, outcome.is_ok() && !shutdown.requested()),
            false => {
                console.warn_incomplete(format!(
                    "requests under way did not end within {} s: {} lines are missing from the \
                     summary; the next run looks up which of them Matomo has, and sends the others",
                    GRACE_PERIOD.as_secs(),
                    account.lines_under_way()
                ));
                Ok(())
            }
        };
        match (outcome, accounted) {
            (Err(error), accounted) => {
                if let Err(imbalance) = accounted {
                    console.error(imbalance.to_string());
                }
                Ok(Some(error))
            }
            (Ok(()), accounted) => accounted.and(closed).map(|()| None),
        }
    }
}

/// Warns if custom variables are sent to a server that ignores them.
fn warn_of_lost_variables(tracking: &TrackingOptions, target: &ConnectedTarget, console: &Console) {
    let variables = tracking.variables_without_dimension();
    if variables.is_empty() || target.api.features().custom_variables != Some(false) {
        return;
    }
    let mut options: Vec<&str> = variables.iter().map(|(option, _)| *option).collect();
    options.dedup();
    let mut dimensions = Vec::new();
    for (_, field) in &variables {
        let dimension = format!("--dimension=ID={field}");
        if !dimensions.contains(&dimension) {
            dimensions.push(dimension);
        }
    }
    console.warn(format!(
        "Matomo at {} has no plugin CustomVariables, so it drops the custom variables of {}; create \
         custom dimensions there, and send {} instead",
        target.url,
        options.join(", "),
        dimensions.join(" "),
    ));
}

/// Prints what Matomo says about hits that it refused, if the token may see that.
fn explain_refusals(api: &Api, console: &Console) {
    let mut failures = api.tracking_failures().unwrap_or_default();
    failures.sort_unstable();
    failures.dedup();
    for failure in failures.iter().take(MAX_FAILURES) {
        let text = |text: &str| clean_to(text.trim().as_bytes(), MAX_FAILURE_BYTES).into_owned();
        console.note(format!(
            "Matomo refused hits of site {} in the last two days: {} {}",
            text(&failure.site),
            text(&failure.problem),
            text(&failure.solution),
        ));
    }
}

/// The listening figures. `None` if the logs have no listeners, or nothing was imported.
fn listening(radio: Option<Radio>, account: &Account) -> Result<Option<ListeningFigures>> {
    let Some(radio) = radio.filter(|_| account.total(Count::Imported) > 0) else {
        return Ok(None);
    };
    let figures = radio.stats.figures(&radio.options.report, radio.log_zone)?;
    Ok(Some(figures).filter(|figures| !figures.is_empty()))
}

/// Checks that every line was counted once, and that none is unsent if the import `finished`.
fn check_account(account: &Account, finished: bool) -> Result<()> {
    if let Err(imbalance) = account.balance() {
        return Err(Error::stopped(format!(
            "the account does not add up; this is a bug in import-logs: {imbalance}"
        )));
    }
    if finished && account.total(Count::Unsent) > 0 {
        return Err(Error::stopped(
            "lines were not sent, without an error; this is a bug in import-logs",
        ));
    }
    Ok(())
}

/// Compressed bytes of all logs that can be read. `None` if one of them is a pipe.
fn total_size(sources: &[Source]) -> Option<u64> {
    sources
        .iter()
        .map(|source| match source {
            Source::File(path) if !source.is_pipe() => {
                let file = std::fs::metadata(path).ok();
                let file = file.filter(|metadata| metadata.is_file());
                Some(file.map_or(0, |metadata| metadata.len()))
            }
            Source::Object(object) => Some(object.meta().size),
            _ => None,
        })
        .sum()
}
