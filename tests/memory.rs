//! Memory use does not grow with the log, even if the server is slow.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::http::{Request, Response, Server};
use crate::support::matomo::Matomo;
use crate::support::{Folder, Program, TOKEN, logs};

/// The most by which the peaks of a short and a long log may differ, in bytes. It includes the
/// requests that are not confirmed yet.
const MOST: u64 = 12 << 20;

/// The lines of the long log. The environment variable sets another number, such as 2,000,000.
const LINES: usize = 300_000;
const VARIABLE: &str = "IMPORT_LOGS_TEST_LINES";

/// A slow server that counts hits without keeping them.
fn slow_server(taken: Arc<AtomicUsize>) -> Server {
    let matomo = Matomo::new(&Value::Null);
    Server::start(move |request: &Request| {
        if !request.body.starts_with(b"{") {
            return matomo.answer(request);
        }
        std::thread::sleep(Duration::from_millis(5));
        let hits = request
            .body
            .windows(6)
            .filter(|bytes| *bytes == b"\"rec\":")
            .count();
        taken.fetch_add(hits, Ordering::Relaxed);
        Response::json(
            200,
            json!({"status": "success", "tracked": hits, "invalid": 0}),
        )
    })
}

/// The peak memory of an import of that many lines, in bytes.
fn peak(lines: usize, args: &str) -> u64 {
    let folder = Folder::new();
    let mut log = BufWriter::new(File::create(folder.file("access.log")).unwrap());
    for number in 0..lines {
        log.write_all(logs::line(number, 20_000).as_bytes())
            .unwrap();
    }
    drop(log.into_inner().unwrap());
    let taken = Arc::<AtomicUsize>::default();
    let server = slow_server(Arc::clone(&taken));
    let mut program = Program::new(&folder)
        .arg(format!("--url={}", server.url()))
        .env("MATOMO_TOKEN_AUTH", TOKEN)
        .args("--idsite=1 access.log")
        .args(args)
        .limit(Duration::from_secs(1200))
        .start();
    let mut peak = 0;
    while !program.has_ended() {
        peak = program.peak_memory().unwrap_or(0).max(peak);
        std::thread::sleep(Duration::from_millis(2));
    }
    let ended = program.end().exits(0);
    assert_eq!(ended.summary().get("imported"), lines as u64);
    assert_eq!(taken.load(Ordering::Relaxed), lines);
    peak
}

#[test]
fn memory_does_not_grow_with_the_log() {
    let lines = std::env::var(VARIABLE).map_or(LINES, |lines| lines.parse().unwrap());
    let args = "--recorders=4 --recorder-max-payload-size=1000";
    let (few, many) = (peak(10, args), peak(lines, args));
    assert!(few > 1 << 20, "{few} bytes for 10 lines: not measured");
    assert!(
        many.saturating_sub(few) < MOST,
        "{few} bytes for 10 lines, {many} for {lines}"
    );
}
