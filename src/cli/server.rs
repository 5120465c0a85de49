//! The options of where hits go: Matomo and its sites, who asks, by what connection, and how to go on.

use std::path::PathBuf;

use clap::Args;

use crate::recorder::InDoubt;

/// Which MatomoArgs, or what in its place.
#[derive(Debug, Default, Args)]
pub struct MatomoArgs {
    /// Matomo's address
    #[arg(short, long, value_name = "URL")]
    pub url: Option<String>,
    /// Address for API calls where it differs from --url
    #[arg(long, value_name = "URL")]
    pub api_url: Option<String>,
    /// Path of the tracker, appended to --url
    #[arg(long, value_name = "PATH", default_value = "/piwik.php")]
    pub tracker_endpoint_path: String,
    /// Instead of --url: a small tracker inside this program keeps the hits in memory (or in FILE, an SQLite
    /// database) and reports what they say
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub sandbox: Option<String>,
    /// Everything but the tracking requests
    #[arg(long)]
    pub dry_run: bool,
}

/// Whose hits they are.
#[derive(Debug, Default, Args)]
pub struct SiteArgs {
    /// Site for all hits; otherwise each hit's host decides. An empty ID is refused
    #[arg(long, value_name = "ID")]
    pub idsite: Option<String>,
    /// Site for hits of unknown hosts. An empty ID is refused
    #[arg(long, value_name = "ID")]
    pub idsite_fallback: Option<String>,
    /// Create a site for each unknown host
    #[arg(long)]
    pub add_sites_new_hosts: bool,
    /// Host of every hit. An empty one is refused
    #[arg(long, value_name = "HOST")]
    pub log_hostname: Option<String>,
}

/// Who imports them.
#[derive(Debug, Default, Args)]
pub struct AuthenticationArgs {
    /// API token (others can see it in the process list: prefer --token-auth-file or MATOMO_TOKEN_AUTH)
    #[arg(long, alias = "token_auth", value_name = "TOKEN")]
    pub token_auth: Option<String>,
    /// File whose first line is the API token; '-' is standard input
    #[arg(long, value_name = "FILE")]
    pub token_auth_file: Option<PathBuf>,
    /// INI file with a section [auth]: token_auth, or login and password
    #[arg(long, value_name = "FILE")]
    pub auth_config: Option<PathBuf>,
    /// Matomo user, to get a token with
    #[arg(long, value_name = "USER")]
    pub login: Option<String>,
    /// That user's password
    #[arg(long, value_name = "PASSWORD")]
    pub password: Option<String>,
    /// Configuration of a Matomo on this machine, to get a token from [default: ../../config/config.ini.php beside
    /// this program]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// PHP, for --config
    #[arg(long, value_name = "PROGRAM", default_value = "php")]
    pub php_binary: String,
    /// Matomo's test mode, for --config
    #[arg(long)]
    pub enable_testmode: bool,
    /// User for HTTP basic authentication of every request
    #[arg(long, value_name = "USER")]
    pub auth_user: Option<String>,
    /// Password for HTTP basic authentication
    #[arg(long, value_name = "PASSWORD")]
    pub auth_password: Option<String>,
}

/// How requests are made.
#[derive(Debug, Default, Args)]
pub struct ConnectionArgs {
    /// Do not check the server's certificate
    #[arg(long)]
    pub accept_invalid_ssl_certificate: bool,
    /// PEM file with the certificates of a private authority
    #[arg(long, value_name = "FILE")]
    pub ca_certificate: Option<PathBuf>,
    /// PEM file with a certificate (and, unless --client-key names another file, its key) for servers that ask for one
    #[arg(long, value_name = "FILE")]
    pub client_certificate: Option<PathBuf>,
    /// PEM file with the key of --client-certificate
    #[arg(long, value_name = "FILE")]
    pub client_key: Option<PathBuf>,
    /// Longest wait for an answer to begin, and as long again for the rest of it
    #[arg(long, value_name = "SECONDS", default_value = "300")]
    pub request_timeout: String,
    /// Text appended to the query of every request
    #[arg(long, value_name = "TEXT")]
    pub request_suffix: Option<String>,
    /// Requests sent at once; 'auto': as many as the server serves without getting slower, at most 4 for each core
    /// of this machine, and 16
    #[arg(long, value_name = "N", default_value = "1")]
    pub recorders: String,
    /// Most hits in one tracking request [default: 1000]
    #[arg(long, value_name = "N")]
    pub recorder_max_payload_size: Option<String>,
    /// Send hits in the log's order. Otherwise those of one user agent go together, each visitor's in their order,
    /// which spares Matomo work
    #[arg(long)]
    pub keep_order: bool,
    /// One hit a request
    #[arg(long)]
    pub disable_bulk_tracking: bool,
    /// Attempts for one request
    #[arg(long, value_name = "N", default_value = "3")]
    pub retry_max_attempts: String,
    /// Time before the second attempt; it doubles with each further one
    #[arg(long, value_name = "SECONDS", default_value = "10")]
    pub retry_delay: String,
    /// When standard input pauses: send what is there after so long
    #[arg(long, value_name = "SECONDS", default_value = "2")]
    pub flush_interval: String,
}

/// What is kept between runs.
#[derive(Debug, Default, Args)]
pub struct StateArgs {
    /// Keep what is done in this folder (or $STATE_DIRECTORY), so that the next run goes on where this one stopped
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// What to do with hits that may or may not be at the server, where it cannot be asked for them
    #[arg(long, value_name = "WHAT", default_value = "resend")]
    pub in_doubt: InDoubt,
}
