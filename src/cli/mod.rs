//! Options as typed: names, defaults and help text, in the groups of `--help`. [`Config`] checks
//! and compiles the values.
//!
//! Values are strings where the Python script accepts more than clap's parsers do (blanks around a
//! number, say), so that `config` can name the option in its own error messages.
//!
//! [`Config`]: crate::config::Config

pub mod abbreviation;
mod defaults;
mod examples;
pub mod manual;
mod mistake;
pub mod origin;
mod read;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, ValueEnum};

use self::manual::Generate;
use self::origin::Origins;
use crate::filter::AssistantMode;
use crate::matomo::visit_log::VerifyMode;
use crate::network::Network;
use crate::privacy::PrivacyRules;
use crate::recorder::{InDoubt, ReadBackMode};

/// Import web server and Icecast access logs into Matomo.
#[derive(Debug, Default, Parser)]
#[command(
    name = "import-logs",
    version,
    max_term_width = 100,
    args_override_self = true,
    after_help = examples::after_help()
)]
pub struct Cli {
    /// Log files, '-' for standard input, quoted glob patterns (*, ?, [..]), or objects in a bucket
    /// (s3://BUCKET/PREFIX, gs://, az://)
    ///
    /// Files compressed with gzip, bzip2, zstd or xz are decompressed. Without a log, --report with
    /// --sandbox=FILE reports what earlier imports left in FILE.
    #[arg(
        value_name = "FILE",
        required_unless_present_any = [
            "status",
            "forget",
            "forget_unconfirmed",
            "dump_log_regex",
            "report",
            "show_options",
            "generate",
            "guide",
            "sqs_queue"
        ],
        conflicts_with_all = ["status", "forget", "forget_unconfirmed", "generate", "guide"]
    )]
    pub files: Vec<OsString>,
    #[command(flatten, next_help_heading = "Matomo")]
    pub matomo: MatomoArgs,
    #[command(flatten, next_help_heading = "Sites")]
    pub sites: SiteArgs,
    #[command(flatten, next_help_heading = "Authentication")]
    pub authentication: AuthenticationArgs,
    #[command(flatten, next_help_heading = "Connection")]
    pub connection: ConnectionArgs,
    #[command(flatten, next_help_heading = "Resuming")]
    pub state: StateArgs,
    #[command(flatten, next_help_heading = "Following")]
    pub follow: FollowArgs,
    #[command(flatten, next_help_heading = "Buckets")]
    pub buckets: BucketArgs,
    #[command(flatten, next_help_heading = "Log format")]
    pub log_format: LogFormatArgs,
    #[command(flatten, next_help_heading = "Filters")]
    pub filters: FilterArgs,
    #[command(flatten, next_help_heading = "Tracking requests")]
    pub requests: RequestArgs,
    #[command(flatten, next_help_heading = "Radio")]
    pub radio: RadioArgs,
    #[command(flatten, next_help_heading = "Output")]
    pub output: OutputArgs,
    #[command(flatten, next_help_heading = "Defaults")]
    pub defaults: DefaultsArgs,
    #[command(flatten, next_help_heading = "Help")]
    pub help: HelpArgs,
    /// Where the options above are given.
    #[arg(skip)]
    pub origins: Origins,
}

/// The server that receives the hits.
#[derive(Debug, Default, Args)]
pub struct MatomoArgs {
    /// URL of Matomo
    #[arg(short, long, value_name = "URL")]
    pub url: Option<String>,
    /// URL for API calls, if it differs from --url
    #[arg(long, value_name = "URL")]
    pub api_url: Option<String>,
    /// URL of a front end of Matomo that gets hits, if it differs from --url; may be given several
    /// times
    #[arg(long, value_name = "URL", action = ArgAction::Append)]
    pub tracker_url: Vec<String>,
    /// Path of the tracker, appended to --url or --tracker-url
    #[arg(long, value_name = "PATH", default_value = "/piwik.php")]
    pub tracker_endpoint_path: String,
    /// Send hits to a built-in tracker instead of --url and print a report
    ///
    /// Hits are stored in FILE, an SQLite database, or in memory if FILE is not given.
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub sandbox: Option<String>,
    /// Read the logs and count the hits, but send none
    #[arg(long)]
    pub dry_run: bool,
}

/// The sites that hits belong to.
#[derive(Debug, Default, Args)]
pub struct SiteArgs {
    /// Site ID of all hits [default: looked up by the host of each hit]
    #[arg(long, value_name = "ID")]
    pub idsite: Option<String>,
    /// Site ID of hits whose host matches no site
    #[arg(long, value_name = "ID")]
    pub idsite_fallback: Option<String>,
    /// Create a site for each host that matches none
    #[arg(long)]
    pub add_sites_new_hosts: bool,
    /// Maximum number of sites that --add-sites-new-hosts creates in a run
    #[arg(long, value_name = "N", default_value = "100")]
    pub add_sites_max: String,
    /// Host of all hits, overriding the log
    #[arg(long, value_name = "HOST")]
    pub log_hostname: Option<String>,
}

/// Tokens and passwords.
#[derive(Debug, Default, Args)]
pub struct AuthenticationArgs {
    /// API token
    ///
    /// Other users of this machine can see it in the process list: prefer --token-auth-file or the
    /// environment variable MATOMO_TOKEN_AUTH.
    #[arg(long, alias = "token_auth", value_name = "TOKEN")]
    pub token_auth: Option<String>,
    /// Read the API token from the first line of FILE; '-' is standard input
    #[arg(long, value_name = "FILE")]
    pub token_auth_file: Option<PathBuf>,
    /// Read token_auth, or login and password, from the `[auth]` section of an INI file
    #[arg(long, value_name = "FILE")]
    pub auth_config: Option<PathBuf>,
    /// Matomo user to create a temporary token for
    #[arg(long, value_name = "USER")]
    pub login: Option<String>,
    /// Password of --login
    #[arg(long, value_name = "PASSWORD")]
    pub password: Option<String>,
    /// Get a token from the Matomo installation that this configuration file belongs to [default:
    /// ../../config/config.ini.php, relative to this program]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// PHP interpreter for --config
    #[arg(long, value_name = "PROGRAM", default_value = "php")]
    pub php_binary: String,
    /// Use Matomo's test mode with --config
    #[arg(long)]
    pub enable_testmode: bool,
    /// User name for HTTP basic authentication
    #[arg(long, value_name = "USER")]
    pub auth_user: Option<String>,
    /// Password for HTTP basic authentication
    #[arg(long, value_name = "PASSWORD")]
    pub auth_password: Option<String>,
}

/// How requests are made and retried.
#[derive(Debug, Default, Args)]
pub struct ConnectionArgs {
    /// Do not verify the server's TLS certificate
    #[arg(long)]
    pub accept_invalid_ssl_certificate: bool,
    /// Trust the certificate authorities in a PEM file
    #[arg(long, value_name = "FILE")]
    pub ca_certificate: Option<PathBuf>,
    /// Client certificate in PEM format; the file may also hold the key
    #[arg(long, value_name = "FILE")]
    pub client_certificate: Option<PathBuf>,
    /// Key of --client-certificate in PEM format
    #[arg(long, value_name = "FILE")]
    pub client_key: Option<PathBuf>,
    /// Seconds to wait for a response to begin, and again for it to end
    #[arg(long, value_name = "SECONDS", default_value = "300")]
    pub request_timeout: String,
    /// Append TEXT to the query string of every request
    #[arg(long, value_name = "TEXT")]
    pub request_suffix: Option<String>,
    /// Number of recorder threads, or 'auto'
    ///
    /// With 'auto', the number of concurrent requests adapts to the server: at most 4 per core of
    /// this machine, and 16.
    #[arg(long, value_name = "N", default_value = "1")]
    pub recorders: String,
    /// Maximum number of hits in one request [default: 1000, fewer for a slow server]
    #[arg(long, value_name = "N")]
    pub recorder_max_payload_size: Option<String>,
    /// Send hits in the order of the log
    ///
    /// By default, hits are grouped by user agent, which costs Matomo less. The hits of one visitor
    /// are always sent in order.
    #[arg(long)]
    pub keep_order: bool,
    /// Send one hit per request
    #[arg(long)]
    pub disable_bulk_tracking: bool,
    /// Attempts per request
    #[arg(long, value_name = "N", default_value = "3")]
    pub retry_max_attempts: String,
    /// Seconds before the first retry; doubled for each further one
    #[arg(long, value_name = "SECONDS", default_value = "10")]
    pub retry_delay: String,
    /// Send the hits of a pipe or of followed logs at most SECONDS after they were read
    #[arg(long, value_name = "SECONDS", default_value = "2")]
    pub flush_interval: String,
    /// Seconds to wait for a program that opens a named pipe for writing
    #[arg(long, value_name = "SECONDS", default_value = "30")]
    pub pipe_wait: String,
}

/// What is kept between runs.
#[derive(Debug, Default, Args)]
pub struct StateArgs {
    /// Remember in DIR what has been imported, and resume from there
    ///
    /// The environment variable STATE_DIRECTORY, which systemd sets, has the same effect.
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// What to do with hits whose request failed without a clear response, if Matomo cannot be
    /// asked whether it has them
    #[arg(long, value_name = "POLICY", default_value = "resend")]
    pub in_doubt: InDoubt,
    /// Print what --state-dir knows: logs and how far they are imported, pending hits, and
    /// unconfirmed lines
    #[arg(long)]
    pub status: bool,
    /// Forget LOG, so that an import reads it from its beginning; may be given several times
    #[arg(long, value_name = "LOG", action = ArgAction::Append)]
    pub forget: Vec<PathBuf>,
    /// Clear the list of unconfirmed lines
    #[arg(long)]
    pub forget_unconfirmed: bool,
    /// Ask Matomo whether it has the hits of the logs that are already imported, instead of
    /// importing
    #[arg(long, value_name = "HITS", num_args = 0..=1, require_equals = true, default_missing_value = "sample")]
    pub verify: Option<VerifyMode>,
    /// Send the hits that --verify=all finds missing
    #[arg(long)]
    pub repair: bool,
    /// Ask Matomo whether it has the hits that it acknowledged [default: on with several recorders]
    #[arg(long, value_name = "WHEN")]
    pub read_back: Option<ReadBackMode>,
    /// Send hits to Matomo's own queue, which its plugin QueuedTracking processes
    ///
    /// The lines are done when Matomo shows their hits, in this run or a later one.
    #[arg(long)]
    pub queued_tracking: bool,
    /// Wait up to SECONDS at the end until Matomo has processed its queue
    #[arg(long, value_name = "SECONDS", default_value = "0")]
    pub wait_for_queue: String,
    /// Send hits again that earlier runs sent to Matomo's queue and that Matomo does not show
    ///
    /// Only when that queue is empty, or they are counted twice.
    #[arg(long)]
    pub queue_is_empty: bool,
    /// Maximum size of the copy of a pipe in --state-dir; K, M, G and T are units
    #[arg(long, value_name = "SIZE", default_value = "16G")]
    pub spool_max: String,
}

/// Whether the run waits for more lines.
#[derive(Debug, Default, Args)]
pub struct FollowArgs {
    /// Import what is added to the logs, until a signal ends the run
    #[arg(long, conflicts_with_all = ["status", "forget", "forget_unconfirmed", "generate", "guide"])]
    pub follow: bool,
    /// Seconds between two looks at the logs where the system does not report changes
    #[arg(long, value_name = "SECONDS", default_value = "1")]
    pub poll_interval: String,
}

/// Where the objects of `s3://BUCKET/PREFIX` are.
#[derive(Debug, Default, Args)]
pub struct BucketArgs {
    /// Server of the buckets, if it is not that of Amazon, Google or Azure: MinIO, R2, Garage
    #[arg(long, value_name = "URL")]
    pub endpoint_url: Option<String>,
    /// Import the objects that S3 announces in this queue of SQS, until a signal; any number of
    /// workers share it
    #[arg(long, value_name = "URL", conflicts_with_all = ["files", "status", "forget", "forget_unconfirmed", "generate", "guide"])]
    pub sqs_queue: Option<String>,
    /// End when the queue is empty
    #[arg(long)]
    pub drain: bool,
}

/// How a line is written.
#[derive(Debug, Default, Args)]
pub struct LogFormatArgs {
    /// Read lines as the server writes them: its LogFormat (Apache) or log_format (nginx), or the
    /// name of a format
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["log_format_name", "log_format_regex"])]
    pub log_format: Option<String>,
    /// Format of the logs [default: detected]
    #[arg(long, value_name = "NAME")]
    pub log_format_name: Option<String>,
    /// Read lines with a regular expression in Python syntax with named groups; overrides
    /// --log-format-name
    #[arg(long, value_name = "REGEX")]
    pub log_format_regex: Option<String>,
    /// Keys of the fields in a JSON log: field=key,... or field=key|key; dots reach nested keys
    ///
    /// Implies --log-format-name=json.
    #[arg(long, value_name = "MAP")]
    pub json_map: Vec<String>,
    /// Format of the group 'date' of --log-format-regex, as for strptime
    #[arg(long, value_name = "FORMAT", default_value = "%d/%b/%Y:%H:%M:%S")]
    pub log_date_format: String,
    /// What is around each line of the logs: docker, cri, syslog, journald, compose, timestamps or
    /// none; 'auto' looks at the first lines of each log
    #[arg(long, value_name = "NAME", default_value = "auto")]
    pub log_envelope: String,
    /// Time zone of dates without an offset, such as Europe/Berlin [default: UTC]
    #[arg(long, value_name = "ZONE")]
    pub log_timezone: Option<String>,
    /// Character encoding of the logs
    #[arg(long, value_name = "NAME", default_value = "utf8")]
    pub encoding: String,
    /// The '#Fields: ...' line of a W3C log that lacks one
    #[arg(long, value_name = "LINE")]
    pub w3c_fields: Option<String>,
    /// Rename W3C fields: custom=standard[,...]
    #[arg(long, value_name = "MAP")]
    pub w3c_map_field: Vec<String>,
    /// Regular expressions with a named group for unknown W3C fields: field=regex[,...]
    #[arg(long, value_name = "MAP")]
    pub w3c_field_regex: Vec<String>,
    /// The W3C field 'time-taken' is in milliseconds
    #[arg(long)]
    pub w3c_time_taken_millisecs: bool,
    /// The IIS field 'time-taken' is in seconds
    #[arg(long, hide = true)]
    pub iis_time_taken_secs: bool,
    /// Fields to drop after custom variables are set
    #[arg(long, value_name = "FIELDS")]
    pub ignore_groups: Vec<String>,
    /// Print the name and the regular expression of the format and exit
    #[arg(long)]
    pub dump_log_regex: bool,
    /// Show how the first LINES of each log are read (default 5), and import nothing
    #[arg(long, value_name = "LINES", num_args = 0..=1, require_equals = true, default_missing_value = "5")]
    pub explain: Option<String>,
}

impl LogFormatArgs {
    /// Whether the run prints how logs are read, and imports nothing.
    pub fn prints_only(&self) -> bool {
        self.dump_log_regex || self.explain.is_some()
    }
}

/// Which lines are imported.
#[derive(Debug, Default, Args)]
pub struct FilterArgs {
    /// Import requests for static files
    #[arg(long)]
    pub enable_static: bool,
    /// Import requests made by bots
    #[arg(long)]
    pub enable_bots: bool,
    /// Import requests with status 4xx and 5xx
    #[arg(long)]
    pub enable_http_errors: bool,
    /// Import requests with status 3xx (304 is always imported)
    #[arg(long)]
    pub enable_http_redirects: bool,
    /// Import only hosts that match a pattern
    #[arg(long, value_name = "PATTERN")]
    pub hostname: Vec<String>,
    /// Import only this host
    #[arg(long, value_name = "HOST")]
    pub include_host: Vec<String>,
    /// Skip this host
    #[arg(long, value_name = "HOST")]
    pub exclude_host: Vec<String>,
    /// Skip visitors with this IP address, in this network, or in one of those in a file
    #[arg(long, value_name = "ADDRESS|NETWORK|FILE")]
    pub exclude_ip: Vec<String>,
    /// Import only paths that match a pattern
    #[arg(long, value_name = "PATTERN")]
    pub include_path: Vec<String>,
    /// Read patterns for --include-path from a file, one per line
    #[arg(long, value_name = "FILE")]
    pub include_path_from: Vec<PathBuf>,
    /// Skip paths that match a pattern
    #[arg(long, value_name = "PATTERN")]
    pub exclude_path: Vec<String>,
    /// Read patterns for --exclude-path from a file, one per line
    #[arg(long, value_name = "FILE")]
    pub exclude_path_from: Vec<PathBuf>,
    /// What counts as a bot [default: script]
    #[arg(long, value_name = "WHICH")]
    pub bots: Option<WhichBots>,
    /// Read the list of bots from a file, in place of the built-in one; implies --bots=current
    #[arg(long, value_name = "FILE")]
    pub bot_list: Option<PathBuf>,
    /// Send hits of AI assistants to Matomo's reports of them
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub ai_assistants: AssistantMode,
    /// Read the addresses of a bot from the JSON file that its operator publishes, and count its
    /// hits from other addresses as forged
    #[arg(long, value_name = "[NAME=]FILE")]
    pub bot_ranges: Vec<String>,
    /// Treat user agents that contain TEXT as bots (case-insensitive)
    #[arg(long, value_name = "TEXT")]
    pub useragent_exclude: Vec<String>,
    /// Skip hits before this time: YYYY-MM-DD hh:mm:ss +hhmm
    #[arg(long, value_name = "DATE")]
    pub exclude_older_than: Option<String>,
    /// Skip hits after this time: YYYY-MM-DD hh:mm:ss +hhmm
    #[arg(long, value_name = "DATE")]
    pub exclude_newer_than: Option<String>,
    /// Import only the hits of this worker's visitors: worker I of N, such as 1/4
    #[arg(long, value_name = "I/N")]
    pub shard: Option<String>,
    /// Skip the first N lines, counted over all files
    #[arg(long, value_name = "N", default_value = "0")]
    pub skip: String,
}

/// What counts as a bot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WhichBots {
    /// User agents with one of the texts of the Python script
    Script,
    /// User agents in a list of current bots, such as those of AI companies
    Current,
}

/// What tracking requests contain.
#[derive(Debug, Default, Args)]
pub struct RequestArgs {
    /// Send URLs without their query string
    #[arg(long)]
    pub strip_query_string: bool,
    /// Remove these query parameters from URLs, such as utm_*,fbclid
    #[arg(long, value_name = "PARAM")]
    pub drop_query: Vec<String>,
    /// Send only these query parameters
    #[arg(long, value_name = "PARAM")]
    pub keep_query: Vec<String>,
    /// Also send referrers that are pages of the same host without a query string
    #[arg(long)]
    pub keep_internal_referrers: bool,
    /// Text that begins the query string of a path
    #[arg(long, value_name = "TEXT", default_value = "?")]
    pub query_string_delimiter: String,
    /// Convert paths to lower case
    #[arg(long)]
    pub force_lowercase_path: bool,
    /// Comma-separated file extensions of downloads, replacing the built-in list
    #[arg(long, value_name = "LIST")]
    pub download_extensions: Option<String>,
    /// Comma-separated file extensions of downloads, in addition to the list
    #[arg(long, value_name = "LIST")]
    pub add_download_extensions: Vec<String>,
    /// Comma-separated fields that may have the client's address, the preferred one first
    #[arg(long, value_name = "FIELDS")]
    pub client_ip: Vec<String>,
    /// IP address or network of a proxy; the client is the last address of a list that is not one
    #[arg(long, value_name = "ADDRESS")]
    pub trusted_proxy: Vec<Network>,
    /// Set the last BYTES of IPv4 addresses to zero (1 to 3, default 2), and the end of IPv6
    /// addresses
    ///
    /// No whole address of a visitor is sent, written or printed, except in the spool of a pipe.
    #[arg(long, value_name = "BYTES", num_args = 0..=1, require_equals = true, default_missing_value = "2")]
    pub anonymize_ip: Option<String>,
    /// Send only what these privacy rules allow
    #[arg(long, value_name = "RULES")]
    pub privacy: Option<PrivacyRules>,
    /// Seconds to add to every date
    #[arg(long, value_name = "SECONDS", default_value = "0")]
    pub add_to_date: String,
    /// Separator in the page titles of errors
    #[arg(long, value_name = "TEXT", default_value = "/")]
    pub title_category_delimiter: String,
    /// Send the HTTP method as a page custom variable, if VALUE is not empty
    #[arg(long, value_name = "VALUE")]
    pub track_http_method: Option<String>,
    /// Send fields as visit custom variables: field=Name[,...]
    #[arg(long, value_name = "MAP")]
    pub regex_group_to_visit_cvar: Vec<String>,
    /// Send fields as page custom variables: field=Name[,...]
    #[arg(long, value_name = "MAP")]
    pub regex_group_to_page_cvar: Vec<String>,
    /// Send fields as custom dimensions: ID=FIELD[,...]
    #[arg(long, value_name = "MAP")]
    pub dimension: Vec<String>,
    /// Let Matomo look up the providers of visitors
    #[arg(long)]
    pub enable_reverse_dns: bool,
    /// Send the tracking requests in a log of Matomo's own web server again
    #[arg(long)]
    pub replay_tracking: bool,
    /// End of the path of tracking requests in that log [default: piwik.php or matomo.php]
    #[arg(long, value_name = "FILE")]
    pub replay_tracking_expected_tracker_file: Option<String>,
}

/// How the lines of Icecast and SHOUTcast become listening sessions.
#[derive(Debug, Default, Args)]
pub struct RadioArgs {
    /// When to send listening time for Icecast and SHOUTcast logs
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub listening_time: ListeningTime,
    /// Event category of listening time
    #[arg(long, value_name = "TEXT", default_value = "Listening")]
    pub listening_category: String,
    /// Skip listening sessions shorter than SECONDS
    #[arg(long, value_name = "SECONDS", default_value = "0")]
    pub minimum_listening: String,
    /// IP address or network of a relay, whose sessions are not listeners
    #[arg(long, value_name = "ADDRESS")]
    pub relay: Vec<Network>,
    /// Count relays whose user agent is a streaming server's as listeners
    #[arg(long)]
    pub enable_relays: bool,
    /// Import requests other than those of listeners: source clients, pages, playlists, HEAD
    #[arg(long)]
    pub enable_icecast_admin: bool,
    /// Time zone of the listening report, such as Europe/Berlin [default: that of the log, or UTC]
    #[arg(long, value_name = "ZONE")]
    pub report_timezone: Option<String>,
    /// Also count sessions of at least SECONDS separately in the listening report; all are imported
    #[arg(long, value_name = "SECONDS", default_value = "60")]
    pub minimum_session: String,
    /// Add up mount points in the listening report: NAME=MOUNT[,MOUNT...]; patterns are allowed
    #[arg(long, value_name = "NAME=MOUNT")]
    pub channel: Vec<String>,
    /// Show the countries of listeners, from a database such as GeoLite2-Country.mmdb
    #[arg(long, value_name = "FILE")]
    pub geoip_database: Option<PathBuf>,
    /// Show only listeners in this country in the listening report, such as US; needs
    /// --geoip-database
    #[arg(long, value_name = "CODE")]
    pub report_country: Option<String>,
    /// Count overlapping sessions of a listener at a mount point as one in the listening report
    #[arg(long)]
    pub merge_sessions: bool,
}

/// When the lines of a radio log become listening sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ListeningTime {
    /// For SHOUTcast logs, and with --log-format-name=icecast2
    #[default]
    Auto,
    /// For logs detected as Icecast logs, too
    Events,
    /// Never; send plain hits as the Python script does
    Off,
}

/// What is printed and written on this machine.
#[derive(Debug, Default, Args)]
pub struct OutputArgs {
    /// Report progress on standard error [default: if it is a terminal]
    #[arg(long)]
    pub show_progress: bool,
    /// Seconds between progress reports
    #[arg(long, value_name = "SECONDS", default_value = "1")]
    pub show_progress_delay: String,
    /// Print nothing unless the exit status is non-zero
    #[arg(short, long)]
    pub quiet: bool,
    /// Append all output to FILE
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Write invalid and refused lines to FILE, with the reason, to be corrected and imported again
    #[arg(long, value_name = "FILE")]
    pub rejects: Option<PathBuf>,
    /// Write a report to FILE: figures (.csv, .json), a page (.html) or a listener log (.txt); may
    /// be given several times
    #[arg(long, value_name = "FILE", action = ArgAction::Append)]
    pub report: Vec<PathBuf>,
    /// Title of the reports, such as the name of the station
    #[arg(long, value_name = "TEXT")]
    pub report_title: Option<String>,
    /// Exit with status 3 if at least PERCENT of a log's lines are invalid; 100 is off
    #[arg(long, value_name = "PERCENT", default_value = "10")]
    pub max_invalid: String,
    /// Print what the program does; twice: also each invalid or filtered line
    #[arg(short, long, action = ArgAction::Count)]
    pub debug: u8,
    /// Turn on the tracker's debug mode and print its responses
    #[arg(long)]
    pub debug_tracker: bool,
    /// Stop reading each file before its Nth line that matches the format
    #[arg(long, value_name = "N")]
    pub debug_request_limit: Option<String>,
    /// With --disable-bulk-tracking, wait SECONDS between the hits of each recorder
    #[arg(long = "debug-force-one-hit-every-Ns", value_name = "SECONDS")]
    pub debug_force_one_hit_every: Option<String>,
}

/// Options from other places than the command line.
#[derive(Debug, Default, Args)]
pub struct DefaultsArgs {
    /// Read options from FILE, in TOML, unless they are given here or in IMPORT_LOGS_... variables
    #[arg(long, value_name = "FILE")]
    pub defaults: Option<PathBuf>,
    /// Print all options that are set and where each comes from, and exit
    #[arg(long)]
    pub show_options: bool,
}

/// What is printed about the program itself.
#[derive(Debug, Default, Args)]
pub struct HelpArgs {
    /// Show the guide, or one of its chapters: options, formats, requests, listening, guarantees,
    /// faster, big, migrating or troubleshooting
    #[arg(long, value_name = "CHAPTER", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub guide: Option<String>,
    /// Print the man page, completions for a shell, or the options as Markdown
    #[arg(long, value_name = "WHAT")]
    pub generate: Option<Generate>,
}
