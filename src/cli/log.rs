//! The options of what is read: how a log is written, and which of its lines are imported.

use std::path::PathBuf;

use clap::Args;

/// How a line is written.
#[derive(Debug, Default, Args)]
pub struct LogFormatArgs {
    /// Format of the log [default: found out]
    #[arg(long, value_name = "NAME")]
    pub log_format_name: Option<String>,
    /// Regular expression in Python's syntax with named groups; wins over --log-format-name
    #[arg(long, value_name = "REGEX")]
    pub log_format_regex: Option<String>,
    /// How the group 'date' of --log-format-regex is written (strptime)
    #[arg(long, value_name = "FORMAT", default_value = "%d/%b/%Y:%H:%M:%S")]
    pub log_date_format: String,
    /// Time zone of dates that carry none, such as Europe/Berlin [default: UTC]
    #[arg(long, value_name = "ZONE")]
    pub log_timezone: Option<String>,
    /// Encoding of the logs
    #[arg(long, value_name = "NAME", default_value = "utf8")]
    pub encoding: String,
    /// The '#Fields: ...' line of a W3C log that has none
    #[arg(long, value_name = "LINE")]
    pub w3c_fields: Option<String>,
    /// Renames W3C fields: custom=standard[,...]
    #[arg(long, value_name = "MAP")]
    pub w3c_map_field: Vec<String>,
    /// Regex with a named group for W3C fields that are not known: field=regex[,...]
    #[arg(long, value_name = "MAP")]
    pub w3c_field_regex: Vec<String>,
    /// W3C 'time-taken' is in milliseconds
    #[arg(long)]
    pub w3c_time_taken_millisecs: bool,
    /// IIS 'time-taken' is in seconds
    #[arg(long, hide = true)]
    pub iis_time_taken_secs: bool,
    /// Fields to forget, once custom variables have been taken from them
    #[arg(long, value_name = "FIELDS")]
    pub ignore_groups: Vec<String>,
    /// Print the format's name and regex, import nothing
    #[arg(long)]
    pub dump_log_regex: bool,
}

/// Which lines are kept.
#[derive(Debug, Default, Args)]
pub struct FilterArgs {
    /// Keep requests of static files
    #[arg(long)]
    pub enable_static: bool,
    /// Keep requests of bots
    #[arg(long)]
    pub enable_bots: bool,
    /// Keep requests with status 4xx and 5xx
    #[arg(long)]
    pub enable_http_errors: bool,
    /// Keep requests with status 3xx (304 is always kept)
    #[arg(long)]
    pub enable_http_redirects: bool,
    /// Only hosts that match a pattern
    #[arg(long, value_name = "PATTERN")]
    pub hostname: Vec<String>,
    /// Only these hosts
    #[arg(long, value_name = "HOST")]
    pub include_host: Vec<String>,
    /// Not these hosts
    #[arg(long, value_name = "HOST")]
    pub exclude_host: Vec<String>,
    /// Only paths that match a pattern
    #[arg(long, value_name = "PATTERN")]
    pub include_path: Vec<String>,
    /// The same, one pattern a line of a file
    #[arg(long, value_name = "FILE")]
    pub include_path_from: Vec<PathBuf>,
    /// Not the paths that match a pattern
    #[arg(long, value_name = "PATTERN")]
    pub exclude_path: Vec<String>,
    /// The same, one pattern a line of a file
    #[arg(long, value_name = "FILE")]
    pub exclude_path_from: Vec<PathBuf>,
    /// A text in the user agent that marks a bot (case is ignored)
    #[arg(long, value_name = "TEXT")]
    pub useragent_exclude: Vec<String>,
    /// Only hits at this time or later: YYYY-MM-DD hh:mm:ss +hhmm
    #[arg(long, value_name = "DATE")]
    pub exclude_older_than: Option<String>,
    /// Only hits at this time or earlier: YYYY-MM-DD hh:mm:ss +hhmm
    #[arg(long, value_name = "DATE")]
    pub exclude_newer_than: Option<String>,
    /// Pass over the first N lines, counted over all files
    #[arg(long, value_name = "N", default_value = "0")]
    pub skip: String,
}
