//! Turns the lines of streaming servers (Icecast, SHOUTcast) into listening sessions, and measures
//! listening.
//!
//! Icecast writes a line when a listener leaves. [`ListenerLine`] reads it back into a
//! [`Session`], which becomes several requests for Matomo. SHOUTcast writes a
//! line for each title, and [`Stitcher`] joins the titles of a listener to one session.
//! [`Audience`] decides who counts as a listener, and [`mount_point`] names the stream.
//! [`StreamSample`] tells a log of Icecast from a web log that looks like one.
//!
//! [`SessionLog`] takes the sessions that were imported, and [`ListeningStats`] measures them for
//! the groups and periods of [`ListeningFigures`], which the summary and report files show.

mod audience;
mod calendar;
mod channel;
mod country;
mod figures;
mod measure;
mod mount;
mod options;
mod player;
mod sample;
mod session;
mod session_store;
mod sorted_runs;
mod stats;
mod stitch;
mod summary;

pub use audience::{Audience, ClientRequest, ClientRole, stable_hash};
pub use calendar::{LogClock, Month, Period, ReportZone};
pub use channel::Channel;
pub use country::{CountryCode, CountryDatabase};
#[cfg(test)]
pub use figures::RelayFigures;
pub use figures::{GroupFigures, GroupKind, LENGTHS, ListeningFigures, Measures};
pub use mount::{StreamServer, mount_point};
pub use options::ReportOptions;
pub use sample::{SampleLine, StreamSample};
pub use session::{ListenerLine, Session, SessionRequest, SessionRequestKind};
pub use session_store::SessionTraits;
pub use stats::{
    Listener, ListenerRequest, ListeningStats, LoggedSession, ReportedSession, SessionLog,
    SessionSink,
};
pub use stitch::{Continuation, MemoryUse, Stitched, Stitcher};
pub use summary::text as summary;
