//! Options checked and compiled, once; nothing below knows the command line.

mod reading;
mod server;
mod values;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use crate::cli::Cli;
use crate::error::{Error, Result};
use crate::filter::Filters;
use crate::format::registry::FormatOptions;
use crate::hit::HitOptions;
use crate::import::format_selector::FormatChoice;
use crate::import::{InputOptions, RadioOptions};
use crate::input::encoding::Encoding;
use crate::matomo::retry::RetryPolicy;
use crate::matomo::tracking::TrackingOptions;
use crate::recorder::DeliveryOptions;
use crate::replay::ReplayOptions;
use crate::site::SiteOptions;
use crate::target::TargetOptions;
use reading::{choice, filters, hit_options, ignored_groups, radio, w3c_options};
use server::server;
use values::{apart, named, number, recorders, seconds, some_seconds, variables, wanted};

/// A run, as the user wants it.
#[derive(Debug)]
pub struct Config {
    pub files: Vec<OsString>,
    pub input: InputOptions,
    pub format: FormatOptions,
    pub choice: FormatChoice,
    pub hit: HitOptions,
    /// Fields that count as absent once custom variables have been taken from them.
    pub ignored_groups: Vec<String>,
    pub filters: Filters,
    pub replay: Option<ReplayOptions>,
    /// `None`: plain hits, also of radio logs.
    pub radio: Option<RadioOptions>,
    pub tracking: TrackingOptions,
    pub sites: SiteOptions,
    pub server: TargetOptions,
    pub dry_run: bool,
    pub delivery: DeliveryOptions,
    /// Nothing is imported: the format and its regex are printed.
    pub dump_regex: bool,
    pub rejects: Option<PathBuf>,
    /// What earlier runs wrote there stays: a state directory was named, so nobody reads those lines again.
    pub keeps_rejects: bool,
    /// As it was typed, for the way to go on.
    pub command_line: Vec<OsString>,
    /// Where the ledger is kept between runs.
    pub state_dir: Option<PathBuf>,
    pub show_progress: bool,
    pub progress_delay: Duration,
}

impl Config {
    pub fn new(cli: Cli) -> Result<Config> {
        let timeout = some_seconds("--request-timeout", &cli.connection.request_timeout)?;
        apart([
            ("--rejects", cli.output.rejects.as_deref()),
            ("--output", cli.output.output.as_deref()),
        ])?;
        let page_variables = variables(
            "--regex-group-to-page-cvar",
            &cli.sent.regex_group_to_page_cvar,
        )?;
        let visit_variables = variables(
            "--regex-group-to-visit-cvar",
            &cli.sent.regex_group_to_visit_cvar,
        )?;
        let wanted = wanted(page_variables.iter().chain(&visit_variables));
        let auto = cli.connection.recorders.trim() == "auto";
        let recorders = if auto {
            std::thread::available_parallelism()
                .map_or(4, |cores| cores.get().saturating_mul(4).min(16))
        } else {
            recorders(&cli.connection.recorders)?
        };
        let max_batch_hits = match &cli.connection.recorder_max_payload_size {
            _ if cli.connection.disable_bulk_tracking => Some(1),
            Some(text) => Some(
                number::<i64>("--recorder-max-payload-size", text)?.clamp(1, 1_000_000) as usize,
            ),
            None => None,
        };
        let pace = match &cli.output.debug_force_one_hit_every {
            Some(text) if cli.connection.disable_bulk_tracking => {
                Some(seconds("--debug-force-one-hit-every-Ns", text)?)
            }
            _ => None,
        };
        let hit = hit_options(&cli)?;
        let config = Config {
            input: InputOptions {
                encoding: Encoding::by_name(&cli.log_format.encoding)?,
                skip: number("--skip", &cli.imported.skip)?,
                limit: cli
                    .output
                    .debug_request_limit
                    .as_deref()
                    .map(|n| number("--debug-request-limit", n))
                    .transpose()?,
                flush_interval: seconds("--flush-interval", &cli.connection.flush_interval)?
                    .max(Duration::from_millis(10)),
            },
            choice: choice(&cli.log_format)?,
            ignored_groups: ignored_groups(&cli.log_format)?,
            filters: filters(&cli)?,
            replay: cli.sent.replay_tracking.then(|| ReplayOptions {
                tracker_file: cli.sent.replay_tracking_expected_tracker_file.clone(),
                add_to_date: hit.add_to_date,
            }),
            hit,
            radio: radio(&cli)?,
            tracking: TrackingOptions {
                listening_category: cli.radio.listening_category.clone(),
                query_delimiter: cli.sent.query_string_delimiter.clone().into_bytes(),
                strip_query: cli.sent.strip_query_string,
                title_delimiter: cli.sent.title_category_delimiter.clone(),
                track_http_method: cli
                    .sent
                    .track_http_method
                    .as_deref()
                    .is_some_and(|value| !value.is_empty()),
                reverse_dns: cli.sent.enable_reverse_dns,
                bots: cli.imported.enable_bots,
                replaying: cli.sent.replay_tracking,
                page_variables,
                visit_variables,
            },
            format: FormatOptions {
                w3c: w3c_options(&cli.log_format, &wanted)?,
                wanted,
            },
            sites: SiteOptions {
                idsite: named("--idsite", &cli.sites.idsite)?,
                fallback: named("--idsite-fallback", &cli.sites.idsite_fallback)?,
                add: cli.sites.add_sites_new_hosts,
                // The sandbox always has a site 1.
                hostless: cli.matomo.sandbox.is_some().then(|| "1".to_owned()),
            },
            dry_run: cli.matomo.dry_run,
            delivery: DeliveryOptions {
                recorders,
                auto,
                max_batch_hits,
                // What is replayed was in its order once.
                keep_order: cli.connection.keep_order || cli.sent.replay_tracking,
                retry: RetryPolicy {
                    attempts: number::<u32>(
                        "--retry-max-attempts",
                        &cli.connection.retry_max_attempts,
                    )?
                    .max(1),
                    delay: seconds("--retry-delay", &cli.connection.retry_delay)?,
                },
                timeout,
                pace,
                debug_tracker: cli.output.debug_tracker,
                in_doubt: cli.going_on.in_doubt,
            },
            dump_regex: cli.log_format.dump_log_regex,
            rejects: cli.output.rejects.clone(),
            keeps_rejects: named_folder(&cli).is_some(),
            command_line: Vec::new(),
            state_dir: state_dir(&cli)?,
            show_progress: cli.output.show_progress,
            progress_delay: seconds("--show-progress-delay", &cli.output.show_progress_delay)?,
            server: server(&cli, timeout, recorders)?,
            files: cli.files,
        };
        Ok(config)
    }
}

/// The first of the folders that systemd names, with colons between them. `None`: it names none.
fn first_folder(folders: &OsStr) -> Option<PathBuf> {
    let first = folders.as_bytes().split(|byte| *byte == b':').next()?;
    (!first.is_empty()).then(|| OsStr::from_bytes(first).into())
}

/// By option, or by systemd.
fn named_folder(cli: &Cli) -> Option<PathBuf> {
    let by_option = cli.going_on.state_dir.clone();
    by_option.or_else(|| first_folder(&std::env::var_os("STATE_DIRECTORY")?))
}

/// The folder of the ledger. Lines that are passed over by number are no way to go on beside it.
fn state_dir(cli: &Cli) -> Result<Option<PathBuf>> {
    let is_trial = cli.matomo.dry_run || cli.matomo.sandbox.is_some();
    let Some(dir) = named_folder(cli).filter(|_| !is_trial) else {
        return Ok(None);
    };
    if cli.imported.skip.trim() != "0" {
        return Err(Error::usage(
            "--skip does not go with --state-dir, which knows by itself where to go on",
        ));
    }
    if cli.output.debug_request_limit.is_some() {
        return Err(Error::usage(
            "--debug-request-limit does not go with --state-dir: the rest would never be read",
        ));
    }
    Ok(Some(dir))
}
