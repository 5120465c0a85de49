//! Options checked and compiled, once; nothing below knows the command line.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::DateTime;
use chrono_tz::Tz;

use crate::cli::Cli;
pub use crate::cli::InDoubt;
use crate::cli::ListeningTime;
use crate::error::{Error, Result};
use crate::filter::{Bots, Extensions, Filters, Hosts, Paths};
use crate::format::registry::FormatOptions;
use crate::format::strptime::Strptime;
use crate::format::w3c::{self, W3cOptions};
use crate::format::{Field, Fields, Wanted};
use crate::hit::HitOptions;
use crate::input::encoding::Encoding;
use crate::input::pattern::Pattern;
use crate::listening::Audience;
use crate::matomo::auth::{self, LocalMatomo, TokenSources};
use crate::matomo::client::ClientOptions;
use crate::matomo::retry::RetryPolicy;
use crate::matomo::tracking::TrackingOptions;
use crate::replay::ReplayOptions;
use crate::secret::Secret;

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
    pub server: Server,
    pub dry_run: bool,
    pub delivery: DeliveryOptions,
    /// Nothing is imported: the format and its regex are printed.
    pub dump_regex: bool,
    pub rejects: Option<PathBuf>,
    /// As it was typed, for the way to go on.
    pub command_line: Vec<OsString>,
    /// Where the ledger is kept between runs.
    pub state_dir: Option<PathBuf>,
    pub show_progress: bool,
    pub progress_delay: Duration,
}

#[derive(Clone, Debug)]
pub struct InputOptions {
    pub encoding: Encoding,
    /// Lines passed over, counted over all files.
    pub skip: u64,
    /// Each file ends before its own line of this number that fits the format.
    pub limit: Option<u64>,
    /// When a pipe pauses so long, what is there goes out.
    pub flush_interval: Duration,
}

/// Which format a log is to be read with.
#[derive(Debug)]
pub enum FormatChoice {
    Detect,
    Named(String),
    Regex {
        regex: String,
        dates: Strptime,
        date_format: String,
    },
}

/// How radio logs are read.
#[derive(Clone, Debug)]
pub struct RadioOptions {
    /// An Icecast log may be taken for one although nobody said so.
    pub also_detected: bool,
    pub audience: Audience,
}

#[derive(Clone, Debug, Default)]
pub struct SiteOptions {
    pub idsite: Option<String>,
    pub fallback: Option<String>,
    pub add: bool,
    /// The site of hits from logs without hosts, where `idsite` does not name one for all.
    pub hostless: Option<String>,
}

/// Where hits go.
#[derive(Debug)]
pub enum Server {
    Matomo {
        client: ClientOptions,
        token: TokenSources,
    },
    /// The built-in tracker, with the file that keeps its hits (none: memory).
    Sandbox {
        file: Option<PathBuf>,
        client: ClientOptions,
    },
}

#[derive(Clone, Debug)]
pub struct DeliveryOptions {
    pub recorders: usize,
    /// `--recorders=auto`: as many of them send at once as the server likes.
    pub auto: bool,
    /// Most hits in one tracking request, where the user says so.
    pub most_hits: Option<usize>,
    /// Hits go in the log's order, not in the one that costs Matomo least.
    pub keep_order: bool,
    pub retry: RetryPolicy,
    pub timeout: Duration,
    /// Each recorder waits so long between hits.
    pub pace: Option<Duration>,
    pub debug_tracker: bool,
    pub in_doubt: InDoubt,
}

impl Config {
    pub fn new(cli: Cli) -> Result<Config> {
        let timeout = seconds("--request-timeout", &cli.request_timeout)?;
        let page_variables =
            variables("--regex-group-to-page-cvar", &cli.regex_group_to_page_cvar)?;
        let visit_variables = variables(
            "--regex-group-to-visit-cvar",
            &cli.regex_group_to_visit_cvar,
        )?;
        let wanted = wanted(page_variables.iter().chain(&visit_variables));
        let auto = cli.recorders.trim() == "auto";
        let recorders = if auto {
            std::thread::available_parallelism()
                .map_or(4, |cores| cores.get().saturating_mul(4).min(16))
        } else {
            recorders(&cli.recorders)?
        };
        let most_hits = match &cli.recorder_max_payload_size {
            _ if cli.disable_bulk_tracking => Some(1),
            Some(text) => Some(
                number::<i64>("--recorder-max-payload-size", text)?.clamp(1, 1_000_000) as usize,
            ),
            None => None,
        };
        let pace = match &cli.debug_force_one_hit_every {
            Some(text) if cli.disable_bulk_tracking => {
                Some(seconds("--debug-force-one-hit-every-Ns", text)?)
            }
            _ => None,
        };
        let config = Config {
            input: InputOptions {
                encoding: Encoding::by_name(&cli.encoding)?,
                skip: number("--skip", &cli.skip)?,
                limit: cli
                    .debug_request_limit
                    .as_deref()
                    .map(|n| number("--debug-request-limit", n))
                    .transpose()?,
                flush_interval: seconds("--flush-interval", &cli.flush_interval)?
                    .max(Duration::from_millis(10)),
            },
            choice: choice(&cli)?,
            hit: hit_options(&cli)?,
            ignored_groups: ignored_groups(&cli)?,
            filters: filters(&cli)?,
            replay: cli.replay_tracking.then(|| ReplayOptions {
                tracker_file: cli.replay_tracking_expected_tracker_file.clone(),
                add_to_date: cli.add_to_date.trim().parse().unwrap_or(0),
            }),
            radio: radio(&cli)?,
            tracking: TrackingOptions {
                listening_category: cli.listening_category.clone(),
                query_delimiter: cli.query_string_delimiter.clone().into_bytes(),
                strip_query: cli.strip_query_string,
                title_delimiter: cli.title_category_delimiter.clone(),
                track_http_method: cli
                    .track_http_method
                    .as_deref()
                    .is_some_and(|value| !value.is_empty()),
                reverse_dns: cli.enable_reverse_dns,
                bots: cli.enable_bots,
                replaying: cli.replay_tracking,
                page_variables,
                visit_variables,
            },
            format: FormatOptions {
                w3c: w3c_options(&cli, &wanted)?,
                wanted,
            },
            sites: SiteOptions {
                idsite: named("--idsite", &cli.idsite)?,
                fallback: named("--idsite-fallback", &cli.idsite_fallback)?,
                add: cli.add_sites_new_hosts,
                // The sandbox always has a site 1.
                hostless: cli.sandbox.is_some().then(|| "1".to_owned()),
            },
            dry_run: cli.dry_run,
            delivery: DeliveryOptions {
                recorders,
                auto,
                most_hits,
                // What is replayed was in its order once.
                keep_order: cli.keep_order || cli.replay_tracking,
                retry: RetryPolicy {
                    attempts: number::<u32>("--retry-max-attempts", &cli.retry_max_attempts)?
                        .max(1),
                    delay: seconds("--retry-delay", &cli.retry_delay)?,
                },
                timeout,
                pace,
                debug_tracker: cli.debug_tracker,
                in_doubt: cli.in_doubt,
            },
            dump_regex: cli.dump_log_regex,
            rejects: cli.rejects.clone(),
            command_line: Vec::new(),
            state_dir: state_dir(&cli)?,
            show_progress: cli.show_progress,
            progress_delay: seconds("--show-progress-delay", &cli.show_progress_delay)?,
            server: server(&cli, timeout, recorders)?,
            files: cli.files,
        };
        Ok(config)
    }
}

/// What says whose hits they are. It is empty where a script's variable is not set: without it they would go to
/// another site, so nothing goes.
fn named(option: &str, value: &Option<String>) -> Result<Option<String>> {
    match value.as_deref().map(str::trim) {
        Some("") => Err(Error::usage(format!(
            "{option} is empty: give it a value, or leave it out"
        ))),
        _ => Ok(value.clone()),
    }
}

/// A number of recorders.
fn recorders(text: &str) -> Result<usize> {
    let number: i64 = text.trim().parse().map_err(|_| {
        Error::usage(format!(
            "--recorders={text}: neither a whole number nor 'auto'"
        ))
    })?;
    Ok(number.clamp(1, 1024) as usize)
}

fn choice(cli: &Cli) -> Result<FormatChoice> {
    Ok(match (&cli.log_format_regex, &cli.log_format_name) {
        (Some(regex), _) => FormatChoice::Regex {
            regex: regex.clone(),
            dates: Strptime::new(&cli.log_date_format)?,
            date_format: cli.log_date_format.clone(),
        },
        (None, Some(name)) => FormatChoice::Named(name.clone()),
        (None, None) => FormatChoice::Detect,
    })
}

fn hit_options(cli: &Cli) -> Result<HitOptions> {
    if cli.query_string_delimiter.is_empty() {
        return Err(Error::usage(
            "--query-string-delimiter is empty: name the text where the query begins",
        ));
    }
    let timezone = match &cli.log_timezone {
        Some(name) => Some(name.parse::<Tz>().map_err(|_| {
            Error::usage(format!(
                "--log-timezone={name}: there is no such time zone; write it as in Europe/Berlin"
            ))
        })?),
        None => None,
    };
    Ok(HitOptions {
        query_delimiter: cli.query_string_delimiter.clone().into_bytes(),
        lowercase_path: cli.force_lowercase_path,
        add_to_date: number("--add-to-date", &cli.add_to_date)?,
        timezone,
        forced_host: named("--log-hostname", &cli.log_hostname)?,
        ignored: Fields::default(),
    })
}

fn filters(cli: &Cli) -> Result<Filters> {
    let exact = |hosts: &[String]| {
        hosts
            .iter()
            .map(|host| host.clone().into_bytes())
            .collect::<HashSet<_>>()
    };
    Ok(Filters {
        extensions: Extensions::new(
            cli.download_extensions.as_deref(),
            &cli.add_download_extensions,
        ),
        hosts: Hosts {
            patterns: cli.hostname.iter().map(Pattern::new).collect(),
            included: exact(&cli.include_host),
            excluded: exact(&cli.exclude_host),
            empty_is_none: cli.idsite.is_some(),
        },
        paths: Paths {
            excluded: patterns(
                "--exclude-path-from",
                &cli.exclude_path,
                &cli.exclude_path_from,
            )?,
            included: patterns(
                "--include-path-from",
                &cli.include_path,
                &cli.include_path_from,
            )?,
        },
        bots: Bots::new(&cli.useragent_exclude)?,
        keep_errors: cli.enable_http_errors || cli.replay_tracking,
        keep_redirects: cli.enable_http_redirects,
        keep_static: cli.enable_static,
        keep_bots: cli.enable_bots,
        oldest: cli
            .exclude_older_than
            .as_deref()
            .map(|date| moment("--exclude-older-than", date))
            .transpose()?,
        newest: cli
            .exclude_newer_than
            .as_deref()
            .map(|date| moment("--exclude-newer-than", date))
            .transpose()?,
    })
}

fn server(cli: &Cli, timeout: Duration, recorders: usize) -> Result<Server> {
    let client = ClientOptions {
        url: cli.url.clone().unwrap_or_default(),
        api_url: cli.api_url.clone(),
        tracker_path: cli.tracker_endpoint_path.clone(),
        basic_auth: cli.auth_user.clone().map(|user| {
            (
                user,
                Secret::new(cli.auth_password.clone().unwrap_or_default()),
            )
        }),
        accept_invalid_certificate: cli.accept_invalid_ssl_certificate,
        ca_certificate: cli.ca_certificate.clone(),
        client_certificate: cli.client_certificate.clone(),
        client_key: cli.client_key.clone(),
        timeout,
        request_suffix: cli.request_suffix.clone(),
        debug_tracker: cli.debug_tracker,
        connections: recorders,
    };
    match (&cli.sandbox, &cli.url) {
        (Some(_), Some(_)) => Err(Error::usage(
            "--sandbox stands instead of --url: give one of them",
        )),
        (Some(file), None) => Ok(Server::Sandbox {
            file: Some(file)
                .filter(|file| !file.is_empty())
                .map(PathBuf::from),
            client: ClientOptions {
                api_url: None,
                ..client
            },
        }),
        (None, Some(_)) if reads_stdin_twice(cli) => Err(Error::usage(
            "--token-auth-file=-: a log comes from standard input already; put the token into a file, \
             or into MATOMO_TOKEN_AUTH",
        )),
        (None, Some(_)) => Ok(Server::Matomo {
            client,
            token: token_sources(cli),
        }),
        // Nothing is sent, so nobody need say where to.
        (None, None) if cli.dump_log_regex => Ok(Server::Sandbox { file: None, client }),
        (None, None) => Err(Error::usage(
            "--url is missing: give Matomo's address, such as --url=https://matomo.example, \
             or try it without one: --sandbox",
        )),
    }
}

/// As token and as a log.
fn reads_stdin_twice(cli: &Cli) -> bool {
    cli.token_auth.is_none()
        && cli.token_auth_file.as_deref() == Some(Path::new("-"))
        && cli.files.iter().any(|file| file == "-")
}

fn token_sources(cli: &Cli) -> TokenSources {
    TokenSources {
        token_auth: cli.token_auth.clone().map(Secret::new),
        token_auth_file: cli.token_auth_file.clone(),
        auth_config: cli.auth_config.clone(),
        environment: std::env::var(auth::VARIABLE).ok().map(Secret::new),
        login: cli.login.clone(),
        password: cli.password.clone().map(Secret::new),
        local: LocalMatomo {
            config: cli.config.clone(),
            php_binary: PathBuf::from(&cli.php_binary),
            testmode: cli.enable_testmode,
            // Known once the address has been read.
            host: String::new(),
        },
    }
}

fn w3c_options(cli: &Cli, wanted: &Wanted) -> Result<W3cOptions> {
    let mut map = Vec::new();
    for text in &cli.w3c_map_field {
        map.extend(w3c::parse_map_field(text)?);
    }
    let mut regexes = Vec::new();
    for text in &cli.w3c_field_regex {
        regexes.extend(w3c::parse_field_regex(text)?);
    }
    Ok(W3cOptions {
        fields: cli.w3c_fields.clone(),
        map,
        regexes,
        time_taken_millisecs: cli.w3c_time_taken_millisecs,
        iis_time_taken_secs: cli.iis_time_taken_secs,
        wanted: wanted.clone(),
    })
}

fn radio(cli: &Cli) -> Result<Option<RadioOptions>> {
    let audience = Audience {
        relays: cli.relay.clone(),
        minimum: number("--minimum-listening", &cli.minimum_listening)?,
        keep_admin: cli.enable_icecast_admin,
    };
    Ok(match cli.listening_time {
        // A replayed log is Matomo's own.
        _ if cli.replay_tracking => None,
        ListeningTime::Off => None,
        when => Some(RadioOptions {
            also_detected: when == ListeningTime::Events,
            audience,
        }),
    })
}

/// The folder of the ledger. Lines that are passed over by number are no way to go on beside it.
fn state_dir(cli: &Cli) -> Result<Option<PathBuf>> {
    let Some(dir) = cli
        .state_dir
        .clone()
        .filter(|_| !cli.dry_run && cli.sandbox.is_none())
    else {
        return Ok(None);
    };
    if cli.skip.trim() != "0" {
        return Err(Error::usage(
            "--skip does not go with --state-dir, which knows by itself where to go on",
        ));
    }
    if cli.debug_request_limit.is_some() {
        return Err(Error::usage(
            "--debug-request-limit does not go with --state-dir: the rest would never be read",
        ));
    }
    Ok(Some(dir))
}

/// Names of fields to forget; whether a log's format has them shows when the log is opened.
fn ignored_groups(cli: &Cli) -> Result<Vec<String>> {
    let names = cli
        .ignore_groups
        .iter()
        .flat_map(|list| list.split(','))
        .map(str::trim);
    let names: Vec<String> = names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    match names
        .iter()
        .find(|name| ["ip", "path", "status", "date"].contains(&name.as_str()))
    {
        Some(name) => Err(Error::usage(format!(
            "--ignore-groups={name}: no hit can be made without it"
        ))),
        None => Ok(names),
    }
}

/// The names that custom variables need beyond the fields that every format knows.
fn wanted<'v>(variables: impl Iterator<Item = &'v (String, String)>) -> Wanted {
    Wanted(
        variables
            .map(|(field, _)| field.clone())
            .filter(|field| Field::from_name(field).is_none())
            .collect(),
    )
}

/// `field=Name[,field=Name]`, added up over the times an option was given.
fn variables(option: &str, lists: &[String]) -> Result<Vec<(String, String)>> {
    lists
        .iter()
        .flat_map(|list| list.split(','))
        .map(|pair| match pair.split_once('=') {
            Some((field, name)) if !field.is_empty() => Ok((field.to_owned(), name.to_owned())),
            _ => Err(Error::usage(format!(
                "{option}: '{pair}' is not of the form field=Name"
            ))),
        })
        .collect()
}

/// Patterns given as options, then those of files: one a line, blank lines and outer blanks dropped.
fn patterns(option: &str, given: &[String], files: &[PathBuf]) -> Result<Vec<Pattern>> {
    let mut patterns: Vec<Pattern> = given.iter().map(Pattern::new).collect();
    for file in files {
        let text = read_text(option, file)?;
        patterns.extend(
            text.lines()
                .map(str::trim)
                .filter(|line| !line.is_empty())
                .map(Pattern::new),
        );
    }
    Ok(patterns)
}

fn read_text(option: &str, file: &Path) -> Result<String> {
    std::fs::read_to_string(file).map_err(|error| {
        Error::usage(format!(
            "{option}={}: cannot be read: {error}",
            file.display()
        ))
    })
}

/// `YYYY-MM-DD hh:mm:ss +/-hhmm` in seconds since 1970, UTC.
fn moment(option: &str, text: &str) -> Result<i64> {
    DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S %z").map(|date| date.timestamp()).map_err(|_| {
        Error::usage(format!("{option}={text}: not a date of the form 'YYYY-MM-DD hh:mm:ss +hhmm', offset included"))
    })
}

fn number<T: std::str::FromStr>(option: &str, text: &str) -> Result<T> {
    text.trim().parse().map_err(|_| {
        Error::usage(format!(
            "{option}={text}: not a whole number that makes sense here"
        ))
    })
}

/// Seconds, perhaps with a fraction; a year at most, for nobody waits longer.
fn seconds(option: &str, text: &str) -> Result<Duration> {
    let wrong = || Error::usage(format!("{option}={text}: not a number of seconds"));
    let seconds: f64 = text.trim().parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(seconds.min(31_536_000.0)).map_err(|_| wrong())
}
