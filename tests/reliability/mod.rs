//! Nothing lost, nothing twice: every line has a number of its own in its path, and whatever happens to the program,
//! the server and the logs, each number must be at the server exactly once in the end.

mod job; // an import that is ended and started again
mod logs; // logs that are written, rotated, packed
mod numbered; // logs whose lines have numbers, and what is stored of them
pub mod random; // the same random numbers each time
mod world; // a server, a folder, and runs in it

mod answers; // what a server may answer
mod changing_logs; // growing, shrinking, cut off
mod crashes; // ended at each named point
mod doubt; // --in-doubt
mod going_on; // stopped, and the way on
mod kills; // killed at random moments
mod ledgers; // the ledger's own troubles
mod model; // everything in any order
mod spools; // what came through a pipe when something else fails
mod undisturbed; // ended by nobody
