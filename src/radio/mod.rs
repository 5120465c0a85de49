//! Turns the lines of streaming servers (Icecast, SHOUTcast) into listening sessions.
//!
//! Icecast writes a line when a listener leaves. [`ListenerLine`] reads it back into a
//! [`Session`](session::Session), which becomes several requests for Matomo. SHOUTcast writes a
//! line for each title, and [`Stitcher`] joins the titles of a listener to one session.
//! [`Audience`] decides who counts as a listener, and [`mount_point`] names the stream.
//! [`StreamSample`] tells a log of Icecast from a web log that looks like one. [`ListeningStats`]
//! collects the figures of the summary.

mod audience;
#[allow(dead_code)]
mod calendar;
mod channel;
mod country;
mod distribution;
#[allow(dead_code)]
mod figures;
mod mount;
mod options;
mod peak;
mod report;
mod sample;
mod session;
mod stats;
mod stitch;

pub use audience::{Audience, ClientRequest, ClientRole, stable_hash};
#[allow(unused_imports)]
pub use calendar::{Month, Period, ReportZone};
pub use channel::Channel;
pub use country::{CountryCode, CountryDatabase};
#[allow(unused_imports)]
pub use figures::{GroupFigures, GroupKind, LENGTHS, ListeningFigures, Measures, RelayFigures};
pub use mount::{StreamServer, mount_point};
pub use options::ReportOptions;
pub use sample::{SampleLine, StreamSample};
pub use session::{ListenerLine, SessionRequest, SessionRequestKind};
pub use stats::ListeningStats;
pub use stitch::{Continuation, MemoryUse, Stitched, Stitcher};
