//! The options of what becomes of a line: what is sent of it, and what a radio's log tells.

use clap::{Args, ValueEnum};

use crate::radio::Network;

/// What a tracking request says.
#[derive(Debug, Default, Args)]
pub struct RequestArgs {
    /// Send urls without query
    #[arg(long)]
    pub strip_query_string: bool,
    /// Where the query begins
    #[arg(long, value_name = "TEXT", default_value = "?")]
    pub query_string_delimiter: String,
    /// Paths in lower case
    #[arg(long)]
    pub force_lowercase_path: bool,
    /// Extensions that make a download, instead of the built-in ones (comma list)
    #[arg(long, value_name = "LIST")]
    pub download_extensions: Option<String>,
    /// Further extensions that make a download (comma list)
    #[arg(long, value_name = "LIST")]
    pub add_download_extensions: Vec<String>,
    /// Seconds added to every date
    #[arg(long, value_name = "SECONDS", default_value = "0")]
    pub add_to_date: String,
    /// Joins the parts of an error's page title
    #[arg(long, value_name = "TEXT", default_value = "/")]
    pub title_category_delimiter: String,
    /// Anything but an empty value: send the HTTP method as a custom variable
    #[arg(long, value_name = "VALUE")]
    pub track_http_method: Option<String>,
    /// Fields sent as visit custom variables: field=Name[,...]
    #[arg(long, value_name = "MAP")]
    pub regex_group_to_visit_cvar: Vec<String>,
    /// Fields sent as page custom variables: field=Name[,...]
    #[arg(long, value_name = "MAP")]
    pub regex_group_to_page_cvar: Vec<String>,
    /// Have Matomo look up visitors' providers
    #[arg(long)]
    pub enable_reverse_dns: bool,
    /// The log is that of a Matomo: send its tracking requests again
    #[arg(long)]
    pub replay_tracking: bool,
    /// End of the path of a tracking request [default: piwik.php or matomo.php]
    #[arg(long, value_name = "FILE")]
    pub replay_tracking_expected_tracker_file: Option<String>,
}

/// How a line of Icecast or SHOUTcast becomes the time listened.
#[derive(Debug, Default, Args)]
pub struct RadioArgs {
    /// For Icecast and SHOUTcast logs: send the time listened. 'auto' does so for SHOUTcast logs, and with
    /// --log-format-name=icecast2
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub listening_time: ListeningTime,
    /// Event category of the time listened
    #[arg(long, value_name = "TEXT", default_value = "Listening")]
    pub listening_category: String,
    /// Shorter connections are no listeners
    #[arg(long, value_name = "SECONDS", default_value = "0")]
    pub minimum_listening: String,
    /// Address or network of a relay, which is no listener
    #[arg(long, value_name = "ADDRESS")]
    pub relay: Vec<Network>,
    /// Keep requests of the source client, of admin and status pages
    #[arg(long)]
    pub enable_icecast_admin: bool,
}

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
