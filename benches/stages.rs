//! The stages of a line on the parser thread: parsing, filters, writing the request. For
//! comparison, counts the line feeds of the same log.

use std::hint::black_box;
use std::rc::Rc;

use bumpalo::Bump;
use criterion::Criterion;
use import_logs::cli::Cli;
use import_logs::config::Config;
use import_logs::format::{Fit, Record, registry};
use import_logs::hit::{Hit, LoggedRequest, Site};
use import_logs::matomo::tracking::Writer;

use crate::log::Log;

/// Formats with a scanner, which most logs have.
const COMMON: [&str; 3] = ["ncsa_extended", "icecast2", "nginx_json"];

/// The same lines as those of `ncsa_extended`.
const PASTED: [(&str, &str); 2] = [
    (
        "pasted combined (Apache)",
        r#"%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i""#,
    ),
    (
        "pasted combined (nginx)",
        concat!(
            r#"$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "#,
            r#""$http_referer" "$http_user_agent""#
        ),
    ),
];

pub fn newlines(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("newlines");
    for name in COMMON {
        let log = Log::of(name);
        let text = log.text();
        group.throughput(log.throughput());
        group.bench_function(name, |bencher| {
            bencher.iter(|| memchr::memchr_iter(b'\n', black_box(&text)).count());
        });
    }
}

pub fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    let built_in = registry::names()
        .into_iter()
        .map(|name| (name, Log::of(name)));
    let pasted = PASTED.map(|(name, template)| (name, Log::pasted("ncsa_extended", template)));
    for (name, log) in built_in.chain(pasted) {
        group.throughput(log.throughput());
        group.bench_function(name, |bencher| {
            let mut arena = Bump::new();
            bencher.iter(|| {
                for line in &log.lines {
                    let mut record = Record::default();
                    let fit = log.format.parse(black_box(line), &arena, &mut record);
                    assert!(fit == Fit::Record);
                    black_box(&record);
                    arena.reset();
                }
            });
        });
    }
}

fn config() -> Config {
    let args = "import-logs --dry-run --url=http://localhost --idsite=1 --enable-http-errors -";
    Config::new(Cli::read(args.split(' ').map(Into::into)).unwrap()).unwrap()
}

/// Calls `then` with all requests of a log, as the filters get them.
fn with_requests(log: &Log, config: &Config, then: impl FnOnce(Vec<LoggedRequest>)) {
    let arena = Bump::new();
    let records: Vec<Record> = log
        .lines
        .iter()
        .map(|line| {
            let mut record = Record::default();
            assert!(log.format.parse(line, &arena, &mut record) == Fit::Record);
            record
        })
        .collect();
    let requests = records
        .iter()
        .map(|record| config.hit.request(log.format.as_ref(), record, &arena));
    then(requests.collect());
}

pub fn filters(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("filters");
    for name in COMMON {
        let log = Log::of(name);
        let (parsing, mut config) = (config(), config());
        group.throughput(log.throughput());
        with_requests(&log, &parsing, |mut requests| {
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    requests
                        .iter_mut()
                        .filter_map(|request| {
                            config.filters.classify(request);
                            config.filters.judge(request).ok()
                        })
                        .count()
                });
            });
        });
    }
}

pub fn requests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("requests");
    for name in COMMON {
        let log = Log::of(name);
        let config = config();
        let mut writer = Writer::new(config.tracking.clone());
        let site = Rc::new(Site::new(0, "1", Some("http://radio.example")));
        group.throughput(log.throughput());
        with_requests(&log, &config, |requests| {
            let hit = |request| {
                let &LoggedRequest { record, format, .. } = request;
                let time = config.hit.time(record, format.dates()).unwrap();
                config.hit.hit(request, time, Rc::clone(&site))
            };
            let hits: Vec<Hit> = requests.iter().map(hit).collect();
            let mut body = Vec::new();
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    body.clear();
                    for hit in &hits {
                        writer.write(hit, b"abcdef", &mut body);
                    }
                    black_box(body.len())
                });
            });
        });
    }
}
