//! What the listening report shows.

use chrono_tz::Tz;

use super::channel::Channel;
use super::country::{CountryCode, CountryDatabase};

/// The options of the listening report. None of them affects what is imported.
#[derive(Clone, Debug)]
pub struct ReportOptions {
    /// `--report-timezone`. `None`: that of the log, or UTC.
    pub zone: Option<Tz>,
    /// `--minimum-session`, in seconds. Sessions of at least this length are counted apart.
    pub min_session: u64,
    /// `--channel`, in the order given.
    pub channels: Vec<Channel>,
    /// `--geoip-database`
    pub countries: Option<CountryDatabase>,
    /// `--report-country`: leaves out listeners elsewhere. Never without a database.
    pub country: Option<CountryCode>,
    /// `--merge-sessions`: sessions of one listener at one mount point that overlap are one.
    pub merge: bool,
    /// Measure only what the summary shows, not hours, countries and players. Takes half the time.
    pub summary_only: bool,
}

impl Default for ReportOptions {
    fn default() -> Self {
        Self {
            zone: None,
            min_session: 60,
            channels: Vec::new(),
            countries: None,
            country: None,
            merge: false,
            summary_only: false,
        }
    }
}
