//! The harness: runs the real binary in a temporary folder against a server, and checks the
//! result.

pub mod clock;
pub mod fake;
pub mod folder;
pub mod http;
pub mod logs;
pub mod matomo;
pub mod mutate;
pub mod objects;
pub mod program;
pub mod stored;
pub mod summary;
pub mod tls;

pub use clock::until;
pub use folder::Folder;
pub use program::{Ended, Program, Running};
pub use summary::Summary;

/// The token of servers that do not generate their own. No output may contain it.
pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Runs each item in its own thread. The threads mostly wait.
pub fn at_once<T: Send>(all: Vec<T>, run: impl Fn(T) + Sync) {
    std::thread::scope(|scope| {
        let threads: Vec<_> = all
            .into_iter()
            .map(|one| scope.spawn(|| run(one)))
            .collect();
        for thread in threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
}
