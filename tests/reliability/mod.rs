//! No line is lost and none is doubled (guide/guarantees.md, "The promise").
//!
//! The path of each line contains its number. Whatever happens to the program, the server and the
//! logs, each number must be stored exactly once in the end.

pub mod job; // an import that is interrupted and restarted
mod logs; // logs that are written, rotated and compressed
pub mod numbered; // numbered lines, and which of them are stored
pub mod random; // reproducible random numbers
pub mod world; // a server, a folder, and runs in it

mod answers; // responses of the server
mod changing_logs; // logs that grow, shrink and move
mod crashes; // aborted at each failpoint
mod envelopes; // lines in parts
mod in_doubt; // --in-doubt
mod kills; // killed at random moments
mod ledgers; // damaged, locked and full state directories
mod model; // everything in random order
mod pipes; // pipes that are cut off or limited
mod resuming; // stopped and resumed
mod settling; // pending batches of a killed run
mod shared_batches; // lines of several logs in one batch
mod spools; // pipes in runs that fail otherwise
mod status; // --status and --forget
mod undisturbed; // complete runs
