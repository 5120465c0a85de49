//! Every option as typed: names, defaults and help. What the values mean is `config`'s affair.

pub mod abbreviation;

use std::ffi::OsString;
use std::path::PathBuf;

use crate::listening::Network;

use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, ValueEnum};

/// Whether a radio log's lines become the time listened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ListeningTime {
    /// Where it is certain that the log is a radio server's
    #[default]
    Auto,
    /// Also for logs that only look like Icecast's
    Events,
    /// Plain hits, as the Python script sends them
    Off,
}

/// What becomes of hits in doubt that Matomo cannot be asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum InDoubt {
    /// Send them again: none is lost, some may be there twice
    #[default]
    Resend,
    /// Leave them: none is there twice, some may be lost
    Skip,
    /// Stop the import
    Stop,
}

/// Imports web-server and Icecast access logs into Matomo.
#[derive(Debug, Default, Parser)]
#[command(
    name = "import-logs",
    version,
    max_term_width = 100,
    args_override_self = true,
    after_help = "Exit status: 0 all well; 1 the import stopped; 2 wrong use; 3 it finished, but hits were refused or \
                  lost by the server, or a log was missing, unreadable or cut off; 130, 143 stopped by a signal."
)]
pub struct Cli {
    /// Log files, '-' for standard input, or patterns (*, ?, [..]); .gz, .bz2, .zst and .xz are unpacked
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<OsString>,

    // ---- Matomo
    /// Matomo's address
    #[arg(
        short,
        long,
        value_name = "URL",
        help_heading = "Matomo",
        allow_hyphen_values = true
    )]
    pub url: Option<String>,
    /// Address for API calls where it differs from --url
    #[arg(
        long,
        value_name = "URL",
        help_heading = "Matomo",
        allow_hyphen_values = true
    )]
    pub api_url: Option<String>,
    /// Path of the tracker, appended to --url
    #[arg(
        long,
        value_name = "PATH",
        default_value = "/piwik.php",
        help_heading = "Matomo",
        allow_hyphen_values = true
    )]
    pub tracker_endpoint_path: String,
    /// Instead of --url: a small tracker inside this program keeps the hits in memory (or in FILE, an SQLite
    /// database) and reports what they say
    #[arg(
        long,
        value_name = "FILE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        help_heading = "Matomo"
    )]
    pub sandbox: Option<String>,
    /// Everything but the tracking requests
    #[arg(long, help_heading = "Matomo")]
    pub dry_run: bool,

    // ---- Sites
    /// Site for all hits; otherwise each hit's host decides. An empty ID is refused
    #[arg(
        long,
        value_name = "ID",
        help_heading = "Sites",
        allow_hyphen_values = true
    )]
    pub idsite: Option<String>,
    /// Site for hits of unknown hosts. An empty ID is refused
    #[arg(
        long,
        value_name = "ID",
        help_heading = "Sites",
        allow_hyphen_values = true
    )]
    pub idsite_fallback: Option<String>,
    /// Create a site for each unknown host
    #[arg(long, help_heading = "Sites")]
    pub add_sites_new_hosts: bool,
    /// Host of every hit. An empty one is refused
    #[arg(
        long,
        value_name = "HOST",
        help_heading = "Sites",
        allow_hyphen_values = true
    )]
    pub log_hostname: Option<String>,

    // ---- Authentication
    /// API token (others can see it in the process list: prefer --token-auth-file or MATOMO_TOKEN_AUTH)
    #[arg(
        long,
        alias = "token_auth",
        value_name = "TOKEN",
        help_heading = "Authentication",
        allow_hyphen_values = true
    )]
    pub token_auth: Option<String>,
    /// File whose first line is the API token; '-' is standard input
    #[arg(
        long,
        value_name = "FILE",
        help_heading = "Authentication",
        allow_hyphen_values = true
    )]
    pub token_auth_file: Option<PathBuf>,
    /// INI file with a section [auth]: token_auth, or login and password
    #[arg(
        long,
        value_name = "FILE",
        help_heading = "Authentication",
        allow_hyphen_values = true
    )]
    pub auth_config: Option<PathBuf>,
    /// Matomo user, to get a token with
    #[arg(
        long,
        value_name = "USER",
        help_heading = "Authentication",
        allow_hyphen_values = true
    )]
    pub login: Option<String>,
    /// That user's password
    #[arg(
        long,
        value_name = "PASSWORD",
        help_heading = "Authentication",
        allow_hyphen_values = true
    )]
    pub password: Option<String>,
    /// Configuration of a Matomo on this machine, to get a token from [default: ../../config/config.ini.php beside
    /// this program]
    #[arg(
        long,
        value_name = "FILE",
        help_heading = "Authentication",
        allow_hyphen_values = true
    )]
    pub config: Option<PathBuf>,
    /// PHP, for --config
    #[arg(
        long,
        value_name = "PROGRAM",
        default_value = "php",
        help_heading = "Authentication",
        allow_hyphen_values = true
    )]
    pub php_binary: String,
    /// Matomo's test mode, for --config
    #[arg(long, help_heading = "Authentication")]
    pub enable_testmode: bool,
    /// User for HTTP basic authentication of every request
    #[arg(
        long,
        value_name = "USER",
        help_heading = "Authentication",
        allow_hyphen_values = true
    )]
    pub auth_user: Option<String>,
    /// Password for HTTP basic authentication
    #[arg(
        long,
        value_name = "PASSWORD",
        help_heading = "Authentication",
        allow_hyphen_values = true
    )]
    pub auth_password: Option<String>,

    // ---- Connection
    /// Do not check the server's certificate
    #[arg(long, help_heading = "Connection")]
    pub accept_invalid_ssl_certificate: bool,
    /// PEM file with the certificates of a private authority
    #[arg(
        long,
        value_name = "FILE",
        help_heading = "Connection",
        allow_hyphen_values = true
    )]
    pub ca_certificate: Option<PathBuf>,
    /// PEM file with a certificate (and, unless --client-key names another file, its key) for servers that ask for one
    #[arg(
        long,
        value_name = "FILE",
        help_heading = "Connection",
        allow_hyphen_values = true
    )]
    pub client_certificate: Option<PathBuf>,
    /// PEM file with the key of --client-certificate
    #[arg(
        long,
        value_name = "FILE",
        help_heading = "Connection",
        allow_hyphen_values = true
    )]
    pub client_key: Option<PathBuf>,
    /// Longest time for one HTTP request
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "300",
        help_heading = "Connection",
        allow_hyphen_values = true
    )]
    pub request_timeout: String,
    /// Text appended to the query of every request
    #[arg(
        long,
        value_name = "TEXT",
        help_heading = "Connection",
        allow_hyphen_values = true
    )]
    pub request_suffix: Option<String>,
    /// Requests sent at once; 'auto': as many as the server serves without getting slower, at most 4 for each core
    /// of this machine, and 16
    #[arg(
        long,
        value_name = "N",
        default_value = "1",
        help_heading = "Connection",
        allow_hyphen_values = true
    )]
    pub recorders: String,
    /// Most hits in one tracking request [default: 200 to 1000, as suits the server]
    #[arg(
        long,
        value_name = "N",
        help_heading = "Connection",
        allow_hyphen_values = true
    )]
    pub recorder_max_payload_size: Option<String>,
    /// Send hits in the log's order. Otherwise those of one user agent go together, each visitor's in their order,
    /// which spares Matomo work
    #[arg(long, help_heading = "Connection")]
    pub keep_order: bool,
    /// One hit a request
    #[arg(long, help_heading = "Connection")]
    pub disable_bulk_tracking: bool,
    /// Attempts for one request
    #[arg(
        long,
        value_name = "N",
        default_value = "3",
        help_heading = "Connection",
        allow_hyphen_values = true
    )]
    pub retry_max_attempts: String,
    /// Time before the second attempt; it doubles with each further one
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "10",
        help_heading = "Connection",
        allow_hyphen_values = true
    )]
    pub retry_delay: String,
    /// When standard input pauses: send what is there after so long
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "2",
        help_heading = "Connection",
        allow_hyphen_values = true
    )]
    pub flush_interval: String,

    /// Keep what is done in this folder (or $STATE_DIRECTORY), so that the next run goes on where this one stopped
    #[arg(
        long,
        value_name = "DIR",
        help_heading = "Going on",
        allow_hyphen_values = true
    )]
    pub state_dir: Option<PathBuf>,
    /// What to do with hits that may or may not be at the server, where it cannot be asked for them
    #[arg(
        long,
        value_name = "WHAT",
        value_enum,
        default_value = "resend",
        help_heading = "Going on",
        allow_hyphen_values = true
    )]
    pub in_doubt: InDoubt,

    // ---- Format
    /// Format of the log [default: found out]
    #[arg(
        long,
        value_name = "NAME",
        help_heading = "Log format",
        allow_hyphen_values = true
    )]
    pub log_format_name: Option<String>,
    /// Regular expression in Python's syntax with named groups; wins over --log-format-name
    #[arg(
        long,
        value_name = "REGEX",
        help_heading = "Log format",
        allow_hyphen_values = true
    )]
    pub log_format_regex: Option<String>,
    /// How the group 'date' of --log-format-regex is written (strptime)
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "%d/%b/%Y:%H:%M:%S",
        help_heading = "Log format",
        allow_hyphen_values = true
    )]
    pub log_date_format: String,
    /// Time zone of dates that carry none, such as Europe/Berlin [default: UTC]
    #[arg(
        long,
        value_name = "ZONE",
        help_heading = "Log format",
        allow_hyphen_values = true
    )]
    pub log_timezone: Option<String>,
    /// Encoding of the logs
    #[arg(
        long,
        value_name = "NAME",
        default_value = "utf8",
        help_heading = "Log format",
        allow_hyphen_values = true
    )]
    pub encoding: String,
    /// The '#Fields: ...' line of a W3C log that has none
    #[arg(
        long,
        value_name = "LINE",
        help_heading = "Log format",
        allow_hyphen_values = true
    )]
    pub w3c_fields: Option<String>,
    /// Renames W3C fields: custom=standard[,...]
    #[arg(long, value_name = "MAP", action = ArgAction::Append, help_heading = "Log format", allow_hyphen_values = true)]
    pub w3c_map_field: Vec<String>,
    /// Regex with a named group for W3C fields that are not known: field=regex[,...]
    #[arg(long, value_name = "MAP", action = ArgAction::Append, help_heading = "Log format", allow_hyphen_values = true)]
    pub w3c_field_regex: Vec<String>,
    /// W3C 'time-taken' is in milliseconds
    #[arg(long, help_heading = "Log format")]
    pub w3c_time_taken_millisecs: bool,
    /// IIS 'time-taken' is in seconds
    #[arg(long, hide = true)]
    pub iis_time_taken_secs: bool,
    /// Fields to forget, once custom variables have been taken from them
    #[arg(long, value_name = "FIELDS", action = ArgAction::Append, help_heading = "Log format", allow_hyphen_values = true)]
    pub ignore_groups: Vec<String>,
    /// Print the format's name and regex, import nothing
    #[arg(long, help_heading = "Log format")]
    pub dump_log_regex: bool,

    // ---- Filters
    /// Keep requests of static files
    #[arg(long, help_heading = "What is imported")]
    pub enable_static: bool,
    /// Keep requests of bots
    #[arg(long, help_heading = "What is imported")]
    pub enable_bots: bool,
    /// Keep requests with status 4xx and 5xx
    #[arg(long, help_heading = "What is imported")]
    pub enable_http_errors: bool,
    /// Keep requests with status 3xx (304 is always kept)
    #[arg(long, help_heading = "What is imported")]
    pub enable_http_redirects: bool,
    /// Only hosts that match a pattern
    #[arg(long, value_name = "PATTERN", action = ArgAction::Append, help_heading = "What is imported", allow_hyphen_values = true)]
    pub hostname: Vec<String>,
    /// Only these hosts
    #[arg(long, value_name = "HOST", action = ArgAction::Append, help_heading = "What is imported", allow_hyphen_values = true)]
    pub include_host: Vec<String>,
    /// Not these hosts
    #[arg(long, value_name = "HOST", action = ArgAction::Append, help_heading = "What is imported", allow_hyphen_values = true)]
    pub exclude_host: Vec<String>,
    /// Only paths that match a pattern
    #[arg(long, value_name = "PATTERN", action = ArgAction::Append, help_heading = "What is imported", allow_hyphen_values = true)]
    pub include_path: Vec<String>,
    /// The same, one pattern a line of a file
    #[arg(long, value_name = "FILE", action = ArgAction::Append, help_heading = "What is imported", allow_hyphen_values = true)]
    pub include_path_from: Vec<PathBuf>,
    /// Not the paths that match a pattern
    #[arg(long, value_name = "PATTERN", action = ArgAction::Append, help_heading = "What is imported", allow_hyphen_values = true)]
    pub exclude_path: Vec<String>,
    /// The same, one pattern a line of a file
    #[arg(long, value_name = "FILE", action = ArgAction::Append, help_heading = "What is imported", allow_hyphen_values = true)]
    pub exclude_path_from: Vec<PathBuf>,
    /// A text in the user agent that marks a bot (case is ignored)
    #[arg(long, value_name = "TEXT", action = ArgAction::Append, help_heading = "What is imported", allow_hyphen_values = true)]
    pub useragent_exclude: Vec<String>,
    /// Only hits at this time or later: YYYY-MM-DD hh:mm:ss +hhmm
    #[arg(
        long,
        value_name = "DATE",
        help_heading = "What is imported",
        allow_hyphen_values = true
    )]
    pub exclude_older_than: Option<String>,
    /// Only hits at this time or earlier: YYYY-MM-DD hh:mm:ss +hhmm
    #[arg(
        long,
        value_name = "DATE",
        help_heading = "What is imported",
        allow_hyphen_values = true
    )]
    pub exclude_newer_than: Option<String>,
    /// Pass over the first N lines, counted over all files
    #[arg(
        long,
        value_name = "N",
        default_value = "0",
        help_heading = "What is imported",
        allow_hyphen_values = true
    )]
    pub skip: String,

    // ---- Hits
    /// Send urls without query
    #[arg(long, help_heading = "What is sent")]
    pub strip_query_string: bool,
    /// Where the query begins
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "?",
        help_heading = "What is sent",
        allow_hyphen_values = true
    )]
    pub query_string_delimiter: String,
    /// Paths in lower case
    #[arg(long, help_heading = "What is sent")]
    pub force_lowercase_path: bool,
    /// Extensions that make a download, instead of the built-in ones (comma list)
    #[arg(
        long,
        value_name = "LIST",
        help_heading = "What is sent",
        allow_hyphen_values = true
    )]
    pub download_extensions: Option<String>,
    /// Further extensions that make a download (comma list)
    #[arg(long, value_name = "LIST", action = ArgAction::Append, help_heading = "What is sent", allow_hyphen_values = true)]
    pub add_download_extensions: Vec<String>,
    /// Seconds added to every date
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "0",
        help_heading = "What is sent",
        allow_hyphen_values = true
    )]
    pub add_to_date: String,
    /// Joins the parts of an error's page title
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "/",
        help_heading = "What is sent",
        allow_hyphen_values = true
    )]
    pub title_category_delimiter: String,
    /// Anything but an empty value: send the HTTP method as a custom variable
    #[arg(
        long,
        value_name = "VALUE",
        help_heading = "What is sent",
        allow_hyphen_values = true
    )]
    pub track_http_method: Option<String>,
    /// Fields sent as visit custom variables: field=Name[,...]
    #[arg(long, value_name = "MAP", action = ArgAction::Append, help_heading = "What is sent", allow_hyphen_values = true)]
    pub regex_group_to_visit_cvar: Vec<String>,
    /// Fields sent as page custom variables: field=Name[,...]
    #[arg(long, value_name = "MAP", action = ArgAction::Append, help_heading = "What is sent", allow_hyphen_values = true)]
    pub regex_group_to_page_cvar: Vec<String>,
    /// Have Matomo look up visitors' providers
    #[arg(long, help_heading = "What is sent")]
    pub enable_reverse_dns: bool,
    /// The log is that of a Matomo: send its tracking requests again
    #[arg(long, help_heading = "What is sent")]
    pub replay_tracking: bool,
    /// End of the path of a tracking request [default: piwik.php or matomo.php]
    #[arg(
        long,
        value_name = "FILE",
        help_heading = "What is sent",
        allow_hyphen_values = true
    )]
    pub replay_tracking_expected_tracker_file: Option<String>,

    // ---- Radio
    /// For Icecast and SHOUTcast logs: send the time listened. 'auto' does so for SHOUTcast logs, and with
    /// --log-format-name=icecast2
    #[arg(
        long,
        value_name = "WHEN",
        value_enum,
        default_value = "auto",
        help_heading = "Radio",
        allow_hyphen_values = true
    )]
    pub listening_time: ListeningTime,
    /// Event category of the time listened
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "Listening",
        help_heading = "Radio",
        allow_hyphen_values = true
    )]
    pub listening_category: String,
    /// Shorter connections are no listeners
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "0",
        help_heading = "Radio",
        allow_hyphen_values = true
    )]
    pub minimum_listening: String,
    /// Address or network of a relay, which is no listener
    #[arg(long, value_name = "ADDRESS", action = ArgAction::Append, help_heading = "Radio", allow_hyphen_values = true)]
    pub relay: Vec<Network>,
    /// Keep requests of the source client, of admin and status pages
    #[arg(long, help_heading = "Radio")]
    pub enable_icecast_admin: bool,

    // ---- Output
    /// Report progress (by itself where standard error is a terminal)
    #[arg(long, help_heading = "Output")]
    pub show_progress: bool,
    /// Time between progress reports
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "1",
        help_heading = "Output",
        allow_hyphen_values = true
    )]
    pub show_progress_delay: String,
    /// Print nothing unless the exit status is other than 0
    #[arg(short, long, help_heading = "Output")]
    pub quiet: bool,
    /// Append all output to this file
    #[arg(
        long,
        value_name = "FILE",
        help_heading = "Output",
        allow_hyphen_values = true
    )]
    pub output: Option<PathBuf>,
    /// Write each invalid or refused line to this file, with its reason, to be mended and imported again
    #[arg(
        long,
        value_name = "FILE",
        help_heading = "Output",
        allow_hyphen_values = true
    )]
    pub rejects: Option<PathBuf>,
    /// Say what is done; twice: name every invalid or filtered line
    #[arg(short, long, action = ArgAction::Count, help_heading = "Output")]
    pub debug: u8,
    /// Have the tracker say what it does, and print each answer
    #[arg(long, help_heading = "Output")]
    pub debug_tracker: bool,
    /// End each file before its Nth line that fits the format
    #[arg(
        long,
        value_name = "N",
        help_heading = "Output",
        allow_hyphen_values = true
    )]
    pub debug_request_limit: Option<String>,
    /// With --disable-bulk-tracking: each recorder waits so long between hits
    #[arg(
        long = "debug-force-one-hit-every-Ns",
        value_name = "SECONDS",
        help_heading = "Output",
        allow_hyphen_values = true
    )]
    pub debug_force_one_hit_every: Option<String>,
}

impl Cli {
    /// Reads a command line, the program's name first. The error knows how to print itself and its exit status.
    pub fn read(args: impl Iterator<Item = OsString>) -> Result<Cli, clap::Error> {
        let mut command = Cli::command();
        command.build();
        let args = abbreviation::expand(&command, args);
        Cli::from_arg_matches(&command.try_get_matches_from(args)?)
    }

    /// A command line with the names of its options in full.
    pub fn written_out(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
        let mut command = Cli::command();
        command.build();
        abbreviation::expand(&command, args)
    }
}
