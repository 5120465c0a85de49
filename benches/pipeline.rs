//! The whole program: imports a log into a server that accepts everything and stores nothing, and
//! without a server (`--dry-run`). For comparison, counts the line feeds of the same log.

use std::hint::black_box;
use std::io::Write;
use std::process::{Command, Stdio};

use criterion::{Criterion, SamplingMode, Throughput};
use memchr::memmem;
use serde_json::json;
use tempfile::NamedTempFile;

use crate::http::{Request, Response, Server};
use crate::log::Log;

/// Repetitions of a log, so that the start of the program hardly counts.
const REPETITIONS: usize = 100;

/// Has site 1, and reports every hit as stored.
fn answer(request: &Request) -> Response {
    if !request.path().ends_with("/piwik.php") {
        let site = json!({"idsite": "1", "main_url": "http://radio.example", "timezone": "UTC"});
        return Response::json(200, site);
    }
    let tracked = memmem::find_iter(&request.body, b"{\"rec\":").count();
    Response::json(
        200,
        json!({"status": "success", "tracked": tracked, "invalid": 0}),
    )
}

pub fn pipeline(criterion: &mut Criterion) {
    let server = Server::start(answer);
    for name in ["ncsa_extended", "icecast2", "nginx_json"] {
        let log = Log::of(name);
        let text = log.text().repeat(REPETITIONS);
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(&text).unwrap();
        let mut group = criterion.benchmark_group(format!("pipeline/{name}"));
        group.throughput(Throughput::ElementsAndBytes {
            elements: (log.lines.len() * REPETITIONS) as u64,
            bytes: text.len() as u64,
        });
        group.sampling_mode(SamplingMode::Flat).sample_size(10);
        group.bench_function("newlines", |bencher| {
            bencher.iter(|| memchr::memchr_iter(b'\n', black_box(&text)).count());
        });
        let mut bench = |title: &str, args: &[&str]| {
            group.bench_function(title, |bencher| {
                bencher.iter(|| import(&server, &file, name, args));
            });
        };
        bench("dry-run", &["--dry-run"]);
        bench("1 recorder", &["--recorders=1"]);
        bench("4 recorders", &["--recorders=4"]);
    }
}

fn import(server: &Server, log: &NamedTempFile, format: &str, args: &[&str]) {
    let done = Command::new(env!("CARGO_BIN_EXE_import-logs"))
        .arg(format!("--url={}", server.url()))
        .arg(format!("--log-format-name={format}"))
        .args(["--idsite=1", "--token-auth=x", "--listening-time=off"])
        .args(args)
        .arg(log.path())
        .stdout(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{}: {said}", done.status);
}
