//! Listening time: what a radio server's log says about its listeners (for icecast2 and shoutcast).
//!
//! The server writes a line when a listener leaves. [`connection`] reads such a line back into the time that was
//! listened and the requests that tell Matomo of it, [`audience`] says who is no listener, [`titles`] puts the
//! pieces together into which SHOUTcast cuts a connection, and [`tally`] makes the summary's figures.
//! [`variants`] undoes what servers in the wild do to fields and addresses.

pub mod audience;
pub mod connection;
mod days;
mod distinct;
pub mod figures;
mod lengths;
mod mounts;
mod peaks;
mod spread;
pub mod tally;
pub mod titles;
pub mod variants;

pub use audience::{Audience, ClientRole, Network};
pub use connection::{ListenerLine, Session, SessionRequest, SessionRequestKind};
pub use figures::{ListeningReport, MountReport, Peak};
pub use tally::ListeningStats;
pub use titles::{Continuation, MemoryUse, Stitched, Stitcher};
