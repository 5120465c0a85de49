//! Options checked and compiled, once. No module below this one knows the command line.
//!
//! Each module owns its options type; the functions here only build them.

mod values;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use url::{Url, form_urlencoded};

use crate::cli::{
    AuthenticationArgs, Cli, ConnectionArgs, FilterArgs, ListeningTime, LogFormatArgs, RadioArgs,
    WhichBots,
};
use crate::error::{Error, Result};
use crate::filter::{
    AssistantMode, Assistants, BotCounter, BotOptions, Bots, Extensions, Filters, HostPattern,
    HostSet, Hosts, Paths, assistant_list,
};
use crate::format::date::{LastDate, Strptime};
use crate::format::json::{self, KeyMap};
use crate::format::registry::FormatOptions;
use crate::format::template::Language;
use crate::format::w3c::{self, W3cOptions};
use crate::format::{Field, Fields, Wanted};
use crate::hit::replay::ReplayOptions;
use crate::hit::{AddressOptions, HitOptions, Privacy, QueryFilter, Rewrite};
use crate::import::format_selector::FormatChoice;
use crate::import::{
    FollowOptions, InputOptions, PipeRescue, RadioOptions, Shard, VerifyOptions, WorkOptions,
};
use crate::input::bucket::{BucketOptions, BucketUrl, QueueOptions};
use crate::input::encoding::Encoding;
use crate::input::envelope::EnvelopeChoice;
use crate::ledger::{ShardKey, StateCommand, TargetKey};
use crate::matomo::auth::{self, LocalMatomo, TokenSources};
use crate::matomo::client::{Client, ClientOptions};
use crate::matomo::retry::RetryPolicy;
use crate::matomo::tracking::TrackingOptions;
use crate::matomo::visit_log::VerifyMode;
use crate::privacy::{AddressMask, PrivacyRules, VisitorKey};
use crate::radio::{Audience, Channel, CountryCode, CountryDatabase, ReportOptions};
use crate::recorder::{DeliveryOptions, ReadBackMode};
use crate::report_file::ReportFiles;
use crate::secret::Secret;
use crate::site::SiteOptions;
use crate::target::TargetOptions;
use values::{
    date, different_files, dimensions, field_names, networks, non_empty, number, parameters,
    path_patterns, percent, positive_seconds, reject_empty, report_files, seconds, site_id, size,
    time_zone, variables, wrong,
};

/// Everything that a run needs to know.
#[derive(Debug)]
pub struct Config {
    pub files: Vec<OsString>,
    pub input: InputOptions,
    pub buckets: BucketOptions,
    /// Work on a queue of objects instead of importing logs.
    pub queue: Option<WorkOptions>,
    pub shard: Option<Shard>,
    /// The shard in the ledger.
    pub shard_key: Option<ShardKey>,
    pub format: FormatOptions,
    pub choice: FormatChoice,
    pub envelope: EnvelopeChoice,
    pub hit: HitOptions,
    /// Fields to drop after custom variables are set.
    pub ignored_groups: Vec<String>,
    pub filters: Filters,
    /// `None` counts no bots.
    pub bot_counter: Option<BotCounter>,
    pub replay: Option<ReplayOptions>,
    /// `None` sends plain hits for radio logs, too.
    pub radio: Option<RadioOptions>,
    pub tracking: TrackingOptions,
    pub sites: SiteOptions,
    pub server: TargetOptions,
    pub dry_run: bool,
    pub delivery: DeliveryOptions,
    /// Print the format and its regex instead of importing.
    pub dump_regex: bool,
    /// `--explain`: the number of lines to explain of each log.
    pub explain: Option<usize>,
    pub rejects: Option<PathBuf>,
    /// Append to an existing file of rejects. With a state directory, its lines are never read
    /// again.
    pub keeps_rejects: bool,
    pub reports: ReportFiles,
    /// Report what is in this sandbox's file, without importing anything.
    pub reported_sandbox: Option<PathBuf>,
    /// Verify the logs instead of importing them.
    pub verify: Option<VerifyOptions>,
    /// Follow the logs instead of importing them once.
    pub follow: Option<FollowOptions>,
    /// Where the ledger is kept between runs.
    pub state_dir: Option<PathBuf>,
    pub show_progress: bool,
    pub progress_delay: Duration,
    /// What is odd about the options.
    pub warnings: Vec<String>,
}

impl Config {
    /// Returns a usage error that names the first option with an invalid value.
    pub fn new(cli: Cli) -> Result<Config> {
        different_files([
            ("--rejects", cli.output.rejects.as_deref()),
            ("--output", cli.output.output.as_deref()),
        ])?;
        require_logs(&cli)?;
        let explain = cli.log_format.explain.as_deref();
        let explain = explain
            .map(|lines| number("--explain", lines))
            .transpose()?;
        let shard = shard(&cli)?;
        let delivery = delivery(&cli, shard)?;
        let queue = queue(&cli, delivery.timeout)?;
        let tracking = tracking(&cli)?;
        let hit = hit(&cli, &tracking)?;
        let wanted = wanted_fields(&tracking, &hit.client);
        let idsite = site_id("--idsite", &cli.sites.idsite)?;
        let mut warnings = Vec::new();
        let suffix = cli.connection.request_suffix.as_deref().unwrap_or_default();
        if form_urlencoded::parse(suffix.as_bytes()).any(|(name, _)| name == "token_auth") {
            warnings.push(
                "--request-suffix has a token_auth, but the token is sent in the body: Matomo 5.8 \
                 and later refuse requests with two tokens; remove it"
                    .to_owned(),
            );
        }
        let mut filters = filters(&cli, &mut warnings)?;
        let bot_counter = bot_counter(&cli.filters, &mut filters.bots)?;
        Ok(Config {
            input: input(&cli)?,
            shard,
            shard_key: shard.map(|shard| shard_key(shard, &cli)),
            format: FormatOptions {
                w3c: w3c_options(&cli.log_format, &wanted)?,
                json: KeyMap::new(&cli.log_format.json_map)?,
                wanted,
            },
            choice: format_choice(&cli.log_format)?,
            envelope: envelope(&cli.log_format)?,
            ignored_groups: ignored_groups(&cli.log_format)?,
            filters,
            bot_counter,
            replay: cli.requests.replay_tracking.then(|| ReplayOptions {
                tracker_file: cli.requests.replay_tracking_expected_tracker_file.clone(),
                add_to_date: hit.add_to_date,
            }),
            hit,
            radio: radio(&cli)?,
            tracking,
            sites: SiteOptions {
                idsite: idsite.clone().filter(|_| explain.is_none()),
                assumed: idsite.filter(|_| explain.is_some()),
                fallback: site_id("--idsite-fallback", &cli.sites.idsite_fallback)?,
                add: cli.sites.add_sites_new_hosts,
                max_added: number("--add-sites-max", &cli.sites.add_sites_max)?,
                // The sandbox always has a site 1.
                hostless: (cli.matomo.sandbox.is_some() || explain.is_some())
                    .then(|| "1".to_owned()),
                has_other_workers: delivery.has_other_workers,
                separates_days: delivery.is_concurrent(),
                needs_time_zones: cli.requests.privacy.is_some(),
            },
            server: target(&cli, delivery.timeout, delivery.recorders)?,
            dry_run: cli.matomo.dry_run || explain.is_some(),
            explain,
            delivery,
            dump_regex: cli.log_format.dump_log_regex,
            rejects: cli.output.rejects.clone().filter(|_| explain.is_none()),
            keeps_rejects: requested_state_dir(&cli).is_some(),
            reports: reports(&cli)?,
            reported_sandbox: cli
                .matomo
                .sandbox
                .as_ref()
                .filter(|_| cli.files.is_empty() && !cli.log_format.dump_log_regex)
                .map(PathBuf::from),
            verify: verify(&cli)?,
            follow: follow(&cli)?,
            buckets: buckets(&cli)?,
            queue,
            state_dir: state_dir(&cli)?,
            show_progress: cli.output.show_progress,
            progress_delay: seconds("--show-progress-delay", &cli.output.show_progress_delay)?,
            files: cli.files,
            warnings,
        })
    }
}

/// What is needed to save pipes if an option is wrong. Wrong options count as not given.
pub fn pipe_rescue(cli: &Cli) -> PipeRescue {
    let is_trial = cli.matomo.dry_run || cli.matomo.sandbox.is_some();
    let is_import = !is_trial && !cli.log_format.prints_only();
    let url = cli.matomo.url.as_deref().unwrap_or_default();
    let url = Client::parse_url(url).ok();
    PipeRescue {
        files: match is_import {
            true => cli.files.clone(),
            false => Vec::new(),
        },
        state_dir: requested_state_dir(cli),
        target: url.map(|url| TargetKey::new(&url, cli.sites.idsite.as_deref())),
        input: InputOptions {
            encoding: Encoding::by_name(&cli.log_format.encoding).unwrap_or_default(),
            skip: 0,
            limit: None,
            max_invalid: 100,
            flush_interval: Duration::ZERO,
            pipe_wait: Duration::ZERO,
            spool_max: size("--spool-max", &cli.state.spool_max).unwrap_or(u64::MAX),
        },
    }
}

fn input(cli: &Cli) -> Result<InputOptions> {
    let limit = cli.output.debug_request_limit.as_deref();
    let flush_interval = seconds("--flush-interval", &cli.connection.flush_interval)?;
    Ok(InputOptions {
        encoding: Encoding::by_name(&cli.log_format.encoding)?,
        skip: number("--skip", &cli.filters.skip)?,
        limit: limit
            .map(|limit| number("--debug-request-limit", limit))
            .transpose()?,
        max_invalid: percent("--max-invalid", &cli.output.max_invalid)?,
        flush_interval: flush_interval.max(Duration::from_millis(10)),
        pipe_wait: seconds("--pipe-wait", &cli.connection.pipe_wait)?,
        spool_max: size("--spool-max", &cli.state.spool_max)?,
    })
}

fn buckets(cli: &Cli) -> Result<BucketOptions> {
    let endpoint = cli.buckets.endpoint_url.as_deref();
    if let Some(endpoint) = endpoint {
        let url = Url::parse(endpoint).ok().filter(is_of_server);
        let Some(url) = url else {
            let why = "write it like https://minio.example:9000";
            return Err(wrong("--endpoint-url", endpoint, why));
        };
        refuse_credentials("--endpoint-url", &url)?;
    }
    Ok(BucketOptions {
        endpoint_url: endpoint.map(|endpoint| endpoint.trim_end_matches('/').to_owned()),
    })
}

fn is_of_server(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https") && url.has_host()
}

/// Refuses credentials in a URL, which messages would show.
fn refuse_credentials(option: &str, url: &Url) -> Result<()> {
    match url.username().is_empty() && url.password().is_none() {
        true => Ok(()),
        false => Err(Error::usage(format!(
            "{option} must not have a user name or password: give credentials as the guide says \
             (--guide=options, \"Buckets\")"
        ))),
    }
}

fn shard(cli: &Cli) -> Result<Option<Shard>> {
    let shard = cli.filters.shard.as_deref();
    let shard = shard.map(|text| {
        text.parse()
            .map_err(|why: String| wrong("--shard", text, &why))
    });
    shard.transpose()
}

/// The shard, and the options that decide who is the visitor of a line, in a form that every
/// version writes alike.
fn shard_key(shard: Shard, cli: &Cli) -> ShardKey {
    let (requests, format) = (&cli.requests, &cli.log_format);
    let mut proxies: Vec<String> = requests
        .trusted_proxy
        .iter()
        .map(ToString::to_string)
        .collect();
    proxies.sort();
    let flag = |is_given: bool| is_given.then(String::new);
    let tracker_file = requests.replay_tracking_expected_tracker_file.as_slice();
    let is_replay = flag(requests.replay_tracking);
    let has_rules = flag(requests.privacy.is_some());
    let is_lowercase = flag(requests.force_lowercase_path);
    let options = [
        ("client-ip", &*requests.client_ip),
        ("trusted-proxy", &*proxies),
        ("anonymize-ip", requests.anonymize_ip.as_slice()),
        ("privacy", has_rules.as_slice()),
        ("replay-tracking", is_replay.as_slice()),
        ("replay-tracking-expected-tracker-file", tracker_file),
        (
            "query-string-delimiter",
            std::slice::from_ref(&requests.query_string_delimiter),
        ),
        ("force-lowercase-path", is_lowercase.as_slice()),
        ("encoding", std::slice::from_ref(&format.encoding)),
        ("log-envelope", std::slice::from_ref(&format.log_envelope)),
        ("log-format", format.log_format.as_slice()),
        ("log-format-name", format.log_format_name.as_slice()),
        ("log-format-regex", format.log_format_regex.as_slice()),
        ("json-map", &*format.json_map),
        ("w3c-fields", format.w3c_fields.as_slice()),
        ("w3c-map-field", &*format.w3c_map_field),
        ("w3c-field-regex", &*format.w3c_field_regex),
        ("ignore-groups", &*format.ignore_groups),
    ];
    let given = options.iter().flat_map(|(name, values)| {
        let values = values.iter();
        values.map(move |value| format!("--{name}={value}"))
    });
    ShardKey {
        shard: shard.to_string(),
        options: given.collect::<Vec<_>>().join("\n"),
    }
}

fn format_choice(format: &LogFormatArgs) -> Result<FormatChoice> {
    let has_map = !format.json_map.is_empty();
    if let Some(text) = non_empty("--log-format", &format.log_format)? {
        let choice = match Language::of(&text) {
            Some(_) => FormatChoice::Pasted(text),
            None => FormatChoice::Named(text.trim().to_owned()),
        };
        return match &choice {
            FormatChoice::Named(name) if name == json::MAPPED => Ok(choice),
            _ if has_map => Err(Error::usage(
                "--json-map and --log-format cannot be used together: remove one of them",
            )),
            _ => Ok(choice),
        };
    }
    Ok(match (&format.log_format_regex, &format.log_format_name) {
        (Some(_), _) if has_map => {
            return Err(Error::usage(
                "--json-map and --log-format-regex cannot be used together: remove one of them",
            ));
        }
        (Some(regex), _) => FormatChoice::Regex {
            regex: regex.clone(),
            dates: Strptime::new(&format.log_date_format)?,
            date_format: format.log_date_format.clone(),
        },
        (None, Some(name)) if has_map && name != json::MAPPED => {
            let why = "--json-map describes another format; use --log-format-name=json";
            return Err(wrong("--log-format-name", name, why));
        }
        (None, Some(name)) => FormatChoice::Named(name.clone()),
        (None, None) if has_map => FormatChoice::Named(json::MAPPED.to_owned()),
        (None, None) => FormatChoice::Detect,
    })
}

fn envelope(format: &LogFormatArgs) -> Result<EnvelopeChoice> {
    let name = &format.log_envelope;
    EnvelopeChoice::by_name(name).ok_or_else(|| {
        let names: Vec<&str> = EnvelopeChoice::names().collect();
        let what = format!("unknown envelope; use one of {}", names.join(", "));
        wrong("--log-envelope", name, &what)
    })
}

/// The fields of custom variables, custom dimensions and clients that are not among those that
/// every format knows.
fn wanted_fields(tracking: &TrackingOptions, client: &AddressOptions) -> Wanted {
    let clients = client.fields.iter().map(String::as_str);
    let fields = tracking.logged_fields().chain(clients);
    let unknown = fields.filter(|field| Field::from_name(field).is_none());
    Wanted(unknown.map(str::to_owned).collect())
}

fn w3c_options(format: &LogFormatArgs, wanted: &Wanted) -> Result<W3cOptions> {
    let map = format.w3c_map_field.iter();
    let map = map.map(|text| w3c::parse_map_field(text));
    let regexes = format.w3c_field_regex.iter();
    let regexes = regexes.map(|text| w3c::parse_field_regex(text));
    Ok(W3cOptions {
        fields: format.w3c_fields.clone(),
        map: map.collect::<Result<Vec<_>>>()?.concat(),
        regexes: regexes.collect::<Result<Vec<_>>>()?.concat(),
        time_taken_millisecs: format.w3c_time_taken_millisecs,
        iis_time_taken_secs: format.iis_time_taken_secs,
        wanted: wanted.clone(),
        columns: Default::default(),
    })
}

/// The names in `--ignore-groups`. Whether the format of a log has them is only known when the log
/// is opened.
fn ignored_groups(format: &LogFormatArgs) -> Result<Vec<String>> {
    let names = format.ignore_groups.iter().flat_map(|list| list.split(','));
    let names: Vec<String> = names
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .collect();
    let is_required = |name: &&String| ["ip", "path", "status", "date"].contains(&name.as_str());
    match names.iter().find(is_required) {
        Some(name) => {
            let why = "every hit needs this field; remove it from the list";
            Err(wrong("--ignore-groups", name, why))
        }
        None => Ok(names),
    }
}

fn hit(cli: &Cli, tracking: &TrackingOptions) -> Result<HitOptions> {
    let requests = &cli.requests;
    if requests.query_string_delimiter.is_empty() {
        return Err(Error::usage(
            "--query-string-delimiter is empty: give the text that begins the query string",
        ));
    }
    Ok(HitOptions {
        query_delimiter: requests.query_string_delimiter.clone().into_bytes(),
        lowercase_path: requests.force_lowercase_path,
        add_to_date: number("--add-to-date", &requests.add_to_date)?,
        timezone: time_zone("--log-timezone", &cli.log_format.log_timezone)?,
        forced_host: non_empty("--log-hostname", &cli.sites.log_hostname)?,
        ignored: Fields::default(),
        client: AddressOptions {
            fields: field_names("--client-ip", &requests.client_ip)?,
            proxies: requests.trusted_proxy.iter().copied().collect(),
        },
        rewrite: rewrite(cli, tracking)?.map(Box::new),
        last_date: LastDate::default(),
    })
}

/// What to change in requests before they are sent. `None`: nothing.
fn rewrite(cli: &Cli, tracking: &TrackingOptions) -> Result<Option<Rewrite>> {
    let requests = &cli.requests;
    let dropped = parameters("--drop-query", &requests.drop_query)?;
    let kept = parameters("--keep-query", &requests.keep_query)?;
    let query = match (dropped.is_empty(), kept.is_empty()) {
        (true, true) => None,
        (false, true) => Some(QueryFilter::dropping(&dropped)),
        (true, false) => Some(QueryFilter::keeping(&kept)),
        (false, false) => {
            return Err(Error::usage(
                "--drop-query and --keep-query cannot be used together: remove one of them",
            ));
        }
    };
    let privacy = privacy(cli, tracking)?;
    Ok((query.is_some() || privacy.is_some()).then_some(Rewrite { query, privacy }))
}

/// Fields that do not identify a visitor, or that are sent anyway. A JSON log may have any others.
const HARMLESS: [&str; 10] = [
    "generation_time_micro",
    "generation_time_milli",
    "generation_time_secs",
    "host",
    "length",
    "method",
    "scheme",
    "session_time",
    "status",
    "user_agent",
];

/// What is hidden of visitors. `None`: nothing.
fn privacy(cli: &Cli, tracking: &TrackingOptions) -> Result<Option<Privacy>> {
    let requests = &cli.requests;
    let Some(mask) = tracking.mask else {
        return Ok(None);
    };
    if requests.privacy.is_none() {
        return Ok(Some(Privacy {
            mask,
            visitors: None,
        }));
    }
    let name = "--privacy=cnil";
    if mask < AddressMask::DEFAULT {
        return Err(Error::usage(format!(
            "{name} masks at least 2 bytes of addresses: remove --anonymize-ip=1"
        )));
    }
    if requests.replay_tracking {
        return Err(Error::usage(format!(
            "{name} and --replay-tracking cannot be used together: replayed requests identify \
             visitors; use --anonymize-ip"
        )));
    }
    if let Some(field) = tracking.logged_fields().find(|it| !HARMLESS.contains(it)) {
        return Err(Error::usage(format!(
            "{name} hides the field {field}: remove its custom variable or dimension; allowed are {}",
            HARMLESS.join(", ")
        )));
    }
    let no_random = || Error::stopped("the system provides no random numbers: check /dev/urandom");
    // For this run. A ledger has a key of its own.
    let key = VisitorKey::random().ok_or_else(no_random)?;
    Ok(Some(Privacy {
        mask,
        visitors: Some(key),
    }))
}

/// How much of addresses is removed. `None`: nothing.
fn address_mask(cli: &Cli) -> Result<Option<AddressMask>> {
    let by_rules = cli
        .requests
        .privacy
        .map(|PrivacyRules::Cnil| AddressMask::DEFAULT);
    let Some(text) = &cli.requests.anonymize_ip else {
        return Ok(by_rules);
    };
    let mask = text.trim().parse().ok().and_then(AddressMask::of_bytes);
    let why = "expected 1, 2 or 3, the bytes of an IPv4 address to set to zero";
    mask.ok_or_else(|| wrong("--anonymize-ip", text, why))
        .map(Some)
}

fn filters(cli: &Cli, warnings: &mut Vec<String>) -> Result<Filters> {
    let FilterArgs {
        enable_static,
        enable_bots,
        enable_http_errors,
        enable_http_redirects,
        hostname,
        include_host,
        exclude_host,
        exclude_ip,
        include_path,
        include_path_from,
        exclude_path,
        exclude_path_from,
        bots,
        bot_list,
        ai_assistants,
        bot_ranges: _,
        useragent_exclude,
        exclude_older_than,
        exclude_newer_than,
        shard: _,
        skip: _,
    } = &cli.filters;
    for value in useragent_exclude {
        reject_empty("--useragent-exclude", value)?;
    }
    for value in include_path {
        reject_empty("--include-path", value)?;
    }
    if *bots == Some(WhichBots::Script) && bot_list.is_some() {
        return Err(Error::usage(
            "--bots=script does not read the list of --bot-list: remove one of them",
        ));
    }
    let by_list = *bots == Some(WhichBots::Current) || bot_list.is_some();
    let list = match bot_list {
        Some(file) => Some(values::bot_list(file)?),
        None => (!counts_bots(&cli.filters)).then(assistant_list),
    };
    // A replayed request is sent as it was tracked.
    let assistants = match cli.requests.replay_tracking {
        true => AssistantMode::Off,
        false => *ai_assistants,
    };
    let limit =
        |option, text: &Option<String>| text.as_deref().map(|text| date(option, text)).transpose();
    Ok(Filters {
        extensions: Extensions::new(
            cli.requests.download_extensions.as_deref(),
            &cli.requests.add_download_extensions,
        ),
        hosts: Hosts {
            patterns: hostname.iter().map(|it| HostPattern::new(it)).collect(),
            included: HostSet::new(include_host),
            excluded: HostSet::new(exclude_host),
            empty_is_none: cli.sites.idsite.is_some(),
        },
        paths: Paths {
            excluded: path_patterns("--exclude-path", exclude_path, exclude_path_from, warnings)?,
            included: path_patterns("--include-path", include_path, include_path_from, warnings)?,
        },
        bots: Bots::new(BotOptions {
            by_list,
            list,
            excluded: useragent_exclude,
        })?,
        assistants: Assistants::new(assistants),
        excluded_addresses: networks("--exclude-ip", exclude_ip)?,
        keep_errors: *enable_http_errors || cli.requests.replay_tracking,
        keep_redirects: *enable_http_redirects,
        keep_static: *enable_static,
        keep_bots: *enable_bots,
        oldest: limit("--exclude-older-than", exclude_older_than)?,
        newest: limit("--exclude-newer-than", exclude_newer_than)?,
    })
}

/// Whether the summary has the bots, for which the whole list is needed.
fn counts_bots(filters: &FilterArgs) -> bool {
    filters.enable_bots
        || filters.bots == Some(WhichBots::Current)
        || filters.bot_list.is_some()
        || !filters.bot_ranges.is_empty()
}

fn bot_counter(filters: &FilterArgs, bots: &mut Bots) -> Result<Option<BotCounter>> {
    if !counts_bots(filters) {
        return Ok(None);
    }
    let list = bots.entries();
    let ranges = values::bot_ranges(&filters.bot_ranges, list)?;
    Ok(Some(BotCounter::new(list, ranges)))
}

fn radio(cli: &Cli) -> Result<Option<RadioOptions>> {
    let radio = &cli.radio;
    reject_empty("--listening-category", &radio.listening_category)?;
    let audience = Audience {
        relays: radio.relay.iter().copied().collect(),
        min_seconds: number("--minimum-listening", &radio.minimum_listening)?,
        keep_admin: radio.enable_icecast_admin,
        keep_relay_agents: radio.enable_relays,
    };
    let report = report(radio, cli.output.report.is_empty())?;
    // A replayed log is a log of Matomo's web server, not of a radio server.
    let is_off = radio.listening_time == ListeningTime::Off || cli.requests.replay_tracking;
    Ok((!is_off).then_some(RadioOptions {
        also_detected: radio.listening_time == ListeningTime::Events,
        audience,
        report,
    }))
}

/// `summary_only` is whether there are no report files.
fn report(radio: &RadioArgs, summary_only: bool) -> Result<ReportOptions> {
    let country = radio.report_country.as_deref().map(|code| {
        let country = code.parse::<CountryCode>();
        country.map_err(|why| wrong("--report-country", code, &why))
    });
    let country = country.transpose()?;
    if country.is_some() && radio.geoip_database.is_none() {
        return Err(Error::usage(
            "--report-country needs --geoip-database, the countries of IP addresses",
        ));
    }
    let countries = radio.geoip_database.as_deref();
    Ok(ReportOptions {
        zone: time_zone("--report-timezone", &radio.report_timezone)?,
        min_session: number("--minimum-session", &radio.minimum_session)?,
        channels: Channel::read_all(&radio.channel)?,
        countries: countries.map(CountryDatabase::open).transpose()?,
        country,
        merge: radio.merge_sessions,
        summary_only,
    })
}

fn tracking(cli: &Cli) -> Result<TrackingOptions> {
    let requests = &cli.requests;
    let method = requests.track_http_method.as_deref();
    Ok(TrackingOptions {
        listening_category: cli.radio.listening_category.clone(),
        query_delimiter: requests.query_string_delimiter.clone().into_bytes(),
        strip_query: requests.strip_query_string,
        // A replayed request is sent as it was tracked.
        keep_internal_referrers: requests.keep_internal_referrers || requests.replay_tracking,
        title_delimiter: requests.title_category_delimiter.clone(),
        track_http_method: method.is_some_and(|value| !value.is_empty()),
        mask: address_mask(cli)?,
        reverse_dns: requests.enable_reverse_dns,
        bots: cli.filters.enable_bots,
        queued_tracking: cli.state.queued_tracking,
        replaying: requests.replay_tracking,
        page_variables: variables(
            "--regex-group-to-page-cvar",
            &requests.regex_group_to_page_cvar,
        )?,
        visit_variables: variables(
            "--regex-group-to-visit-cvar",
            &requests.regex_group_to_visit_cvar,
        )?,
        dimensions: dimensions("--dimension", &requests.dimension)?,
    })
}

/// The most front ends: hits wait for each of them.
const MAX_FRONTS: usize = 64;

fn delivery(cli: &Cli, shard: Option<Shard>) -> Result<DeliveryOptions> {
    let connection = &cli.connection;
    let (recorders, auto) = recorders(&connection.recorders)?;
    let fronts = cli.matomo.tracker_url.len();
    if fronts > MAX_FRONTS {
        return Err(Error::usage(format!(
            "--tracker-url is given {fronts} times: give at most {MAX_FRONTS}"
        )));
    }
    let is_bulk = !connection.disable_bulk_tracking;
    let pace = cli.output.debug_force_one_hit_every.as_deref();
    let pace = pace.filter(|_| !is_bulk);
    Ok(DeliveryOptions {
        // Each front end has one of its own.
        recorders: recorders.max(fronts),
        auto,
        has_other_workers: shard.is_some_and(Shard::is_one_of_several),
        max_batch_hits: max_batch_hits(connection)?,
        // A replayed log already has the right order.
        keep_order: connection.keep_order || cli.requests.replay_tracking,
        retry: RetryPolicy {
            attempts: number::<u32>("--retry-max-attempts", &connection.retry_max_attempts)?.max(1),
            delay: seconds("--retry-delay", &connection.retry_delay)?,
        },
        timeout: positive_seconds("--request-timeout", &connection.request_timeout)?,
        pace: pace
            .map(|pace| seconds("--debug-force-one-hit-every-Ns", pace))
            .transpose()?,
        debug_tracker: cli.output.debug_tracker,
        in_doubt: cli.state.in_doubt,
        read_back: match cli.matomo.sandbox {
            // It has no visitor log.
            Some(_) => Some(false),
            None => cli.state.read_back.map(|mode| mode == ReadBackMode::On),
        },
        to_queue: queued_tracking(cli)?,
        queue_wait: seconds("--wait-for-queue", &cli.state.wait_for_queue)?,
        queue_is_empty: cli.state.queue_is_empty,
    })
}

fn queued_tracking(cli: &Cli) -> Result<bool> {
    // What --repair sends is looked up at once.
    let is_on = cli.state.queued_tracking && cli.state.verify.is_none();
    if is_on && cli.matomo.sandbox.is_some() {
        return Err(Error::usage(
            "--queued-tracking and --sandbox cannot be used together: the sandbox has no queue; \
             remove one of them",
        ));
    }
    if is_on && cli.buckets.sqs_queue.is_some() {
        return Err(Error::usage(
            "--queued-tracking and --sqs-queue cannot be used together: if a message comes again, \
             Matomo could not say which hits of its objects are in its queue; remove \
             --queued-tracking",
        ));
    }
    if is_on && !cli.matomo.dry_run && requested_state_dir(cli).is_none() {
        return Err(Error::usage(
            "--queued-tracking needs --state-dir: a later run has to know which hits are in \
             Matomo's queue",
        ));
    }
    if is_on && cli.requests.replay_tracking {
        return Err(Error::usage(
            "--queued-tracking and --replay-tracking cannot be used together: a replayed hit that \
             Matomo does not accept takes others in its queue with it; remove one of them",
        ));
    }
    Ok(is_on)
}

/// The number of recorders, and whether it is only the upper limit of `--recorders=auto`.
fn recorders(text: &str) -> Result<(usize, bool)> {
    const MAX_AUTO: usize = 16;
    const PER_CORE: usize = 4;
    if text.trim() == "auto" {
        let most = thread::available_parallelism().map_or(PER_CORE, |cores| {
            cores.get().saturating_mul(PER_CORE).min(MAX_AUTO)
        });
        return Ok((most, true));
    }
    let expected = "expected a whole number or 'auto'";
    let number = text.trim().parse::<i64>();
    let number = number.map_err(|_| wrong("--recorders", text, expected))?;
    if number < 1 {
        let why = "at least one recorder is needed to send anything";
        return Err(wrong("--recorders", text, why));
    }
    Ok((number.min(1024) as usize, false))
}

/// Maximum number of hits in a request, if the user sets one.
fn max_batch_hits(connection: &ConnectionArgs) -> Result<Option<usize>> {
    if connection.disable_bulk_tracking {
        return Ok(Some(1));
    }
    let size = connection.recorder_max_payload_size.as_deref();
    let size = size
        .map(|text| number::<i64>("--recorder-max-payload-size", text))
        .transpose()?;
    Ok(size.map(|size| size.clamp(1, 1_000_000) as usize))
}

fn target(cli: &Cli, timeout: Duration, recorders: usize) -> Result<TargetOptions> {
    let Cli {
        matomo,
        authentication,
        connection,
        ..
    } = cli;
    let password = authentication.auth_password.clone().unwrap_or_default();
    let client = ClientOptions {
        url: matomo.url.clone().unwrap_or_default(),
        api_url: matomo.api_url.clone(),
        tracker_urls: matomo.tracker_url.clone(),
        tracker_path: matomo.tracker_endpoint_path.clone(),
        basic_auth: authentication
            .auth_user
            .clone()
            .map(|user| (user, Secret::new(password))),
        accept_invalid_certificate: connection.accept_invalid_ssl_certificate,
        ca_certificate: connection.ca_certificate.clone(),
        client_certificate: connection.client_certificate.clone(),
        client_key: connection.client_key.clone(),
        timeout,
        request_suffix: connection.request_suffix.clone(),
        debug_tracker: cli.output.debug_tracker,
        connections: recorders,
    };
    match (&matomo.sandbox, &matomo.url) {
        (Some(_), Some(_)) => Err(Error::usage(
            "--sandbox and --url cannot be used together: remove one of them",
        )),
        // Nothing is sent or written: no token is read, and no server is asked for one.
        _ if cli.log_format.explain.is_some() => Ok(TargetOptions::Sandbox {
            file: None,
            client: ClientOptions {
                api_url: None,
                tracker_urls: Vec::new(),
                ..client
            },
        }),
        (Some(_), None) if !matomo.tracker_url.is_empty() => Err(Error::usage(
            "--sandbox and --tracker-url cannot be used together: remove one of them",
        )),
        (Some(file), None) => Ok(TargetOptions::Sandbox {
            file: (!file.is_empty()).then(|| PathBuf::from(file)),
            client: ClientOptions {
                api_url: None,
                ..client
            },
        }),
        (None, Some(_)) if reads_token_and_log_from_stdin(cli) => Err(Error::usage(
            "--token-auth-file=-: a log is read from standard input already; put the token into a \
             file or into MATOMO_TOKEN_AUTH",
        )),
        (None, Some(_)) => {
            let mut token = Box::new(token_sources(authentication, timeout, matomo.dry_run));
            // Other users cannot see it, unlike one on the command line.
            if cli.origins.of("token-auth").is_some() {
                token.environment = token.token_auth.take();
            }
            Ok(TargetOptions::Matomo { client, token })
        }
        (None, None) if cli.log_format.dump_log_regex => {
            Ok(TargetOptions::Sandbox { file: None, client })
        }
        (None, None) => Err(Error::usage(
            "--url is missing: give the URL of Matomo, such as --url=https://matomo.example, or try \
             the import without a server: --sandbox",
        )),
    }
}

fn reads_token_and_log_from_stdin(cli: &Cli) -> bool {
    cli.authentication.token_auth.is_none()
        && cli.authentication.token_auth_file.as_deref() == Some(Path::new("-"))
        && cli.files.iter().any(|file| file == "-")
}

fn token_sources(from: &AuthenticationArgs, timeout: Duration, dry_run: bool) -> TokenSources {
    TokenSources {
        token_auth: from.token_auth.clone().map(Secret::new),
        token_auth_file: from.token_auth_file.clone(),
        auth_config: from.auth_config.clone(),
        environment: std::env::var(auth::TOKEN_VARIABLE).ok().map(Secret::new),
        login: from.login.clone(),
        password: from.password.clone().map(Secret::new),
        local: LocalMatomo {
            config: from.config.clone(),
            php_binary: PathBuf::from(&from.php_binary),
            testmode: from.enable_testmode,
            dry_run,
            // Set once the URL is parsed.
            host: String::new(),
            timeout,
        },
    }
}

/// The options that work on a state directory instead of importing logs.
///
/// # Errors
///
/// If no state directory is given.
pub fn state_command(cli: &Cli) -> Result<Option<StateCommand>> {
    let state = &cli.state;
    if !state.status && state.forget.is_empty() && !state.forget_unconfirmed {
        return Ok(None);
    }
    let Some(dir) = requested_state_dir(cli) else {
        return Err(Error::usage(
            "--status, --forget and --forget-unconfirmed need --state-dir",
        ));
    };
    Ok(Some(StateCommand {
        dir,
        show: state.status,
        forget: state.forget.clone(),
        forget_unconfirmed: state.forget_unconfirmed,
    }))
}

/// Checks that there are logs, or a format to print, or the file of an earlier sandbox to report.
fn require_logs(cli: &Cli) -> Result<()> {
    if !cli.files.is_empty() || cli.buckets.sqs_queue.is_some() {
        return Ok(());
    }
    let format = &cli.log_format;
    if format.dump_log_regex && cli.output.report.is_empty() {
        let is_given = format.log_format.is_some()
            || format.log_format_name.is_some()
            || format.log_format_regex.is_some()
            || !format.json_map.is_empty();
        return match is_given {
            true => Ok(()),
            false => Err(Error::usage(
                "--dump-log-regex: name a log, or a format with --log-format-name",
            )),
        };
    }
    let sandbox = cli.matomo.sandbox.as_ref().filter(|file| !file.is_empty());
    let is_report = !cli.output.report.is_empty()
        && !cli.log_format.prints_only()
        && !cli.matomo.dry_run
        && cli.state.verify.is_none();
    let Some(sandbox) = sandbox.filter(|_| is_report) else {
        return Err(Error::usage(
            "no log is named: name one, or report an earlier import with --report=FILE and \
             --sandbox=FILE alone",
        ));
    };
    let file = Path::new(sandbox);
    if file.is_file() {
        return Ok(());
    }
    let file = file.display();
    Err(Error::usage(format!(
        "--sandbox={file}: there is no such file: to report an earlier import, name the file that \
         it was kept in; else name a log"
    )))
}

/// The report files of an import. Their names are also checked if nothing is imported.
fn reports(cli: &Cli) -> Result<ReportFiles> {
    let (output, authentication) = (&cli.output, &cli.authentication);
    let sandbox = cli.matomo.sandbox.as_ref().map(Path::new);
    let mut others = vec![
        ("--output", output.output.as_deref()),
        ("--rejects", output.rejects.as_deref()),
        ("--sandbox", sandbox),
        (
            "--token-auth-file",
            authentication.token_auth_file.as_deref(),
        ),
        ("--auth-config", authentication.auth_config.as_deref()),
        ("--bot-list", cli.filters.bot_list.as_deref()),
    ];
    for (option, files) in [
        ("--include-path-from", &cli.filters.include_path_from),
        ("--exclude-path-from", &cli.filters.exclude_path_from),
    ] {
        others.extend(files.iter().map(|file| (option, Some(file.as_path()))));
    }
    for value in &cli.filters.bot_ranges {
        others.push(("--bot-ranges", Some(values::bot_range_file(value).1)));
    }
    let files = report_files(&output.report, &others)?;
    let is_import = !cli.log_format.prints_only() && cli.state.verify.is_none();
    Ok(ReportFiles {
        files: if is_import { files } else { Vec::new() },
        title: non_empty("--report-title", &output.report_title)?,
        zone: time_zone("--report-timezone", &cli.radio.report_timezone)?,
        log_zone: time_zone("--log-timezone", &cli.log_format.log_timezone)?,
    })
}

fn verify(cli: &Cli) -> Result<Option<VerifyOptions>> {
    let repair = cli.state.repair;
    let Some(mode) = cli.state.verify else {
        return match repair {
            true => Err(Error::usage("--repair needs --verify=all")),
            false => Ok(None),
        };
    };
    if cli.matomo.dry_run || cli.matomo.sandbox.is_some() || requested_state_dir(cli).is_none() {
        return Err(Error::usage(
            "--verify needs the --state-dir and the --url of the import",
        ));
    }
    if repair && mode != VerifyMode::All {
        return Err(Error::usage("--repair needs --verify=all"));
    }
    Ok(Some(VerifyOptions { mode, repair }))
}

/// The shortest time for which a message of a queue is hidden from other workers.
const MIN_VISIBILITY: Duration = Duration::from_secs(4);

/// Refuses options that only a run can obey that ends when its logs do.
fn refuse_others(option: &str, cli: &Cli) -> Result<()> {
    let (format, output) = (&cli.log_format, &cli.output);
    let others = [
        ("--sandbox", cli.matomo.sandbox.is_some()),
        ("--dry-run", cli.matomo.dry_run),
        ("--explain", format.explain.is_some()),
        ("--dump-log-regex", format.dump_log_regex),
        ("--verify", cli.state.verify.is_some()),
        ("--skip", cli.filters.skip.trim() != "0"),
        (
            "--debug-request-limit",
            output.debug_request_limit.is_some(),
        ),
        ("--report", !output.report.is_empty()),
        ("--quiet", output.quiet),
    ];
    match others.into_iter().find(|(_, is_given)| *is_given) {
        None => Ok(()),
        Some((other, _)) => Err(Error::usage(format!(
            "{option} and {other} cannot be used together: remove one of them"
        ))),
    }
}

/// `timeout` is `--request-timeout`.
fn queue(cli: &Cli, timeout: Duration) -> Result<Option<WorkOptions>> {
    let Some(typed) = &cli.buckets.sqs_queue else {
        return match cli.buckets.drain {
            true => Err(Error::usage("--drain needs --sqs-queue")),
            false => Ok(None),
        };
    };
    let url = Url::parse(typed).ok().filter(is_of_server);
    let Some(url) = url.filter(|url| url.path().len() > 1) else {
        let why = "write it like https://sqs.eu-central-1.amazonaws.com/123456789012/NAME";
        return Err(wrong("--sqs-queue", typed, why));
    };
    refuse_credentials("--sqs-queue", &url)?;
    refuse_others("--sqs-queue", cli)?;
    if cli.filters.shard.is_some() {
        return Err(Error::usage(
            "--sqs-queue and --shard cannot be used together: each object goes to one worker, which \
             would leave the lines of other shards out; remove --shard",
        ));
    }
    if cli.state.state_dir.is_some() {
        return Err(Error::usage(
            "--sqs-queue needs no --state-dir: the queue remembers the work that is left; remove \
             --state-dir",
        ));
    }
    if cli.follow.follow {
        return Err(Error::usage(
            "--sqs-queue and --follow cannot be used together: remove one of them",
        ));
    }
    if cli.requests.privacy.is_some() {
        return Err(Error::usage(
            "--sqs-queue and --privacy cannot be used together: each worker would give visitors \
             other ids; use --anonymize-ip instead",
        ));
    }
    // A worker sends in the first half of this time, and Matomo may work twice as long as
    // --request-timeout on the last request.
    let visibility = timeout.saturating_mul(4).max(MIN_VISIBILITY);
    Ok(Some(WorkOptions {
        queue: QueueOptions {
            url,
            visibility: Duration::from_secs(visibility.as_secs_f64().ceil() as u64),
        },
        drain: cli.buckets.drain,
    }))
}

fn follow(cli: &Cli) -> Result<Option<FollowOptions>> {
    let poll_interval = positive_seconds("--poll-interval", &cli.follow.poll_interval)?;
    if !cli.follow.follow {
        return Ok(None);
    }
    refuse_others("--follow", cli)?;
    if cli.files.iter().any(|file| file == "-") {
        return Err(Error::usage(
            "--follow reads files, not standard input: name the log itself, or remove --follow",
        ));
    }
    if let Some(name) = bucket_name(cli) {
        return Err(Error::usage(format!(
            "--follow reads files, and {name} names objects in a bucket: import them once, as often \
             as new ones come, or remove --follow"
        )));
    }
    if requested_state_dir(cli).is_none() {
        return Err(Error::usage(
            "--follow needs --state-dir, which remembers what is imported when the run ends",
        ));
    }
    Ok(Some(FollowOptions {
        poll_interval: poll_interval.max(Duration::from_millis(10)),
    }))
}

/// The first name of objects among the logs.
fn bucket_name(cli: &Cli) -> Option<&str> {
    let mut names = cli.files.iter().filter_map(|name| name.to_str());
    names.find(|name| BucketUrl::parse(name).is_some())
}

/// The state directory given by option or by systemd.
fn requested_state_dir(cli: &Cli) -> Option<PathBuf> {
    let by_option = cli.state.state_dir.clone();
    by_option.or_else(|| first_path(&std::env::var_os("STATE_DIRECTORY")?))
}

/// The first of the colon-separated paths in `STATE_DIRECTORY`.
fn first_path(paths: &OsStr) -> Option<PathBuf> {
    let first = paths.as_bytes().split(|byte| *byte == b':').next()?;
    (!first.is_empty()).then(|| OsStr::from_bytes(first).into())
}

/// The state directory to use; none for a dry run or the sandbox.
fn state_dir(cli: &Cli) -> Result<Option<PathBuf>> {
    let is_trial = cli.matomo.dry_run || cli.matomo.sandbox.is_some();
    let Some(dir) = requested_state_dir(cli).filter(|_| !is_trial) else {
        return Ok(None);
    };
    if cli.filters.skip.trim() != "0" {
        return Err(Error::usage(
            "--skip and --state-dir cannot be used together: the state directory knows where to \
             resume; remove --skip",
        ));
    }
    if cli.output.debug_request_limit.is_some() {
        return Err(Error::usage(
            "--debug-request-limit and --state-dir cannot be used together: the rest of the log \
             would never be read; remove one of them",
        ));
    }
    Ok(Some(dir))
}
