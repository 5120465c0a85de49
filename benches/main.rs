//! Benchmarks; see README.md in this folder. They only measure: none fails because it is slow.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../tests/support/http.rs"]
mod http;
mod log;
mod pipeline;
mod stages;

use criterion::{criterion_group, criterion_main};

criterion_group!(
    speed,
    stages::newlines,
    stages::parse,
    stages::filters,
    stages::requests,
    pipeline::pipeline
);
criterion_main!(speed);
