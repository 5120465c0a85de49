//! What a line can be counted as, and why it is dropped.

/// What is counted, in lines of a log. One line is one request in the summary, however many tracking requests it
/// became.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Lines taken from the log by this run; each of them has exactly one end.
    Read,
    /// End: a header line.
    Header,
    /// End: passed over by `--skip`.
    Skipped,
    /// End: not well-formed.
    Invalid,
    /// End: filtered by path, host or date.
    Filtered,
    /// End: dropped, its status was an error.
    HttpErrors,
    /// End: dropped, its status was a redirect.
    HttpRedirects,
    /// End: no site known for it.
    NoSite,
    /// End: its host matched no `--hostname`.
    Hostname,
    /// End: dropped, made by a bot.
    Bots,
    /// End: dropped, a static resource.
    Static,
    /// End: dropped, a download that the user's list of extensions lacks.
    DownloadsNotMatched,
    /// End: acknowledged by Matomo (or, with `--dry-run`, it would have been sent).
    Imported,
    /// End: the server refused it.
    Refused,
    /// End: the server took less than was sent and did not say what it left out.
    Lost,
    /// End: sent without an answer, and not sent again by this run: imported or not, nobody knows. Unless it was the
    /// policy not to, the next run asks.
    InDoubt,
    /// End: not sent when the import stopped; a later run can send it.
    Unsent,
    /// Beside the ends: sent a second time without knowing what became of the first.
    Resent,
    /// Beside the ends: lines that are downloads, also where a later filter dropped them.
    Downloads,
}

/// How many there are; a new one declared in the middle shows in the length of [`Count::ALL`].
pub(super) const COUNTS: usize = Count::Downloads as usize + 1;

impl Count {
    /// All of them, in the order of declaration.
    pub const ALL: [Self; COUNTS] = [
        Self::Read,
        Self::Header,
        Self::Skipped,
        Self::Invalid,
        Self::Filtered,
        Self::HttpErrors,
        Self::HttpRedirects,
        Self::NoSite,
        Self::Hostname,
        Self::Bots,
        Self::Static,
        Self::DownloadsNotMatched,
        Self::Imported,
        Self::Refused,
        Self::Lost,
        Self::InDoubt,
        Self::Unsent,
        Self::Resent,
        Self::Downloads,
    ];

    /// The ends that the summary calls "ignored", in its order and with its words (SPEC section 9).
    pub const IGNORED: [(Self, &'static str); 9] = [
        (Self::HttpErrors, "HTTP errors"),
        (Self::HttpRedirects, "HTTP redirects"),
        (Self::Invalid, "invalid log lines"),
        (Self::Filtered, "filtered log lines"),
        (Self::NoSite, "requests did not match any known site"),
        (Self::Hostname, "requests did not match any --hostname"),
        (Self::Bots, "requests done by bots, search engines..."),
        (
            Self::Static,
            "requests to static resources (css, js, images, ico, ttf...)",
        ),
        (
            Self::DownloadsNotMatched,
            "requests to file downloads did not match any --download-extensions",
        ),
    ];

    /// In a sentence, after a number.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "lines read",
            Self::Header => "header lines",
            Self::Skipped => "skipped",
            Self::Invalid => "invalid",
            Self::Filtered => "filtered",
            Self::HttpErrors => "HTTP errors",
            Self::HttpRedirects => "HTTP redirects",
            Self::NoSite => "of no known site",
            Self::Hostname => "of other hostnames",
            Self::Bots => "by bots",
            Self::Static => "static resources",
            Self::DownloadsNotMatched => "downloads not matched",
            Self::Imported => "imported",
            Self::Refused => "refused by the server",
            Self::Lost => "lost by the server",
            Self::InDoubt => "in doubt",
            Self::Unsent => "not yet sent",
            Self::Resent => "sent again",
            Self::Downloads => "downloads",
        }
    }

    /// Whether a line that was counted here was counted for good.
    pub(super) fn is_end(self) -> bool {
        !matches!(self, Self::Read | Self::Resent | Self::Downloads)
    }
}

/// Why a line was dropped: for the user (`-dd`) more exact than the summary's line it is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Misfit,
    /// Longer than any line may be.
    TooLong,
    Field,
    Date,
    NotTracking,
    PathExcluded,
    PathNotIncluded,
    HostExcluded,
    HostNotIncluded,
    TooOld,
    TooNew,
    SourceClient,
    AdminPage,
    Relay,
    TooShort,
    HttpError,
    HttpRedirect,
    NoSite,
    Hostname,
    Bot,
    Static,
    Download,
}

impl Reason {
    /// The line of the summary.
    pub fn count(self) -> Count {
        match self {
            Self::Misfit | Self::TooLong | Self::Field | Self::Date | Self::NotTracking => {
                Count::Invalid
            }
            Self::PathExcluded
            | Self::PathNotIncluded
            | Self::HostExcluded
            | Self::HostNotIncluded
            | Self::TooOld
            | Self::TooNew
            | Self::SourceClient
            | Self::AdminPage
            | Self::Relay
            | Self::TooShort => Count::Filtered,
            Self::HttpError => Count::HttpErrors,
            Self::HttpRedirect => Count::HttpRedirects,
            Self::NoSite => Count::NoSite,
            Self::Hostname => Count::Hostname,
            Self::Bot => Count::Bots,
            Self::Static => Count::Static,
            Self::Download => Count::DownloadsNotMatched,
        }
    }

    /// For `-dd`, after the line's place; names the option that decided, where there is one.
    pub fn text(self) -> &'static str {
        match self {
            Self::Misfit => "invalid: it does not have the log's format",
            Self::TooLong => "invalid: it is longer than 1 MiB, which no line may be",
            Self::Field => "invalid: a field that is needed is missing or cannot be read",
            Self::Date => "invalid: its date or time zone cannot be read",
            Self::NotTracking => "invalid: it is no tracking request (--replay-tracking)",
            Self::PathExcluded => "filtered: its path matches --exclude-path",
            Self::PathNotIncluded => "filtered: its path matches no --include-path",
            Self::HostExcluded => "filtered: its host is named by --exclude-host",
            Self::HostNotIncluded => "filtered: its host is not named by --include-host",
            Self::TooOld => "filtered: its date is before --exclude-older-than",
            Self::TooNew => "filtered: its date is after --exclude-newer-than",
            Self::SourceClient => {
                "filtered: it is the source client's (kept with --enable-icecast-admin)"
            }
            Self::AdminPage => {
                "filtered: it is an admin or status page (kept with --enable-icecast-admin)"
            }
            Self::Relay => "filtered: its address is named by --relay",
            Self::TooShort => "filtered: it lasted less than --minimum-listening",
            Self::HttpError => "HTTP error (kept with --enable-http-errors)",
            Self::HttpRedirect => "HTTP redirect (kept with --enable-http-redirects)",
            Self::NoSite => "no site is known for it",
            Self::Hostname => "its host matches no --hostname",
            Self::Bot => "done by a bot (kept with --enable-bots)",
            Self::Static => "static resource (kept with --enable-static)",
            Self::Download => "its extension is not in --download-extensions",
        }
    }
}
