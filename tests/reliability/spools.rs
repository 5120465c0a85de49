//! Pipes in runs that fail otherwise: their data is saved and blocks no other input, and data that
//! can never be imported is quarantined once.

use std::fs;
use std::time::Duration;

use crate::support::fake::{Fault, Faults, Live, Options, When};
use rustix::process::Signal;

use super::numbered::{assert_each_once, log, stored};
use super::world::{World, assert_adds_up};
use crate::support::clock::LONGEST;
use crate::support::folder::gzip;
use crate::support::stored::options;
use crate::support::{Ended, Program, until};

const LINES: usize = 600;

fn piped(world: &World, input: impl AsRef<[u8]>) -> Ended {
    assert_adds_up(world.program().arg("-").stdin(input).run())
}

/// The quarantined spools. Checks that each is reported.
#[track_caller]
fn quarantined(world: &World, ended: &Ended) -> Vec<Vec<u8>> {
    let names = fs::read_dir(world.state_dir()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: Vec<String> = names.filter(|name| name.contains(".aside-")).collect();
    for name in &names {
        assert!(
            ended.err.contains(&format!("quarantined as state/{name}")),
            "{ended}"
        );
    }
    let all = names
        .iter()
        .map(|name| fs::read(world.state_dir().join(name)));
    all.map(Result::unwrap).collect()
}

/// Asserts that importing `input` prints no message.
#[track_caller]
fn assert_quiet(world: &World, input: &str) {
    assert_eq!(piped(world, input).exits(0).err, "");
}

#[test]
fn a_pipe_is_saved_while_a_pending_batch_cannot_be_settled() {
    let mut busy = vec![None];
    busy.resize(20, Some(Fault::Busy(503, None)));
    let away = Faults {
        api: busy,
        ..Faults::default()
    };
    for (live, faults, args) in [
        (Live::default(), away, "--in-doubt=resend"),
        (Live::Closed, Faults::default(), "--in-doubt=stop"),
    ] {
        let world = World::with(Options { live, ..options() })
            .args("--recorder-max-payload-size=10 --retry-max-attempts=2");
        let content = log(0..LINES, 60);
        let mut dying = world
            .program()
            .env("IMPORT_LOGS_ABORT_AT", "after-intent:4")
            .arg("-")
            .start();
        dying.write(&content[..content.len() / 2]);
        assert!(until(LONGEST, || dying.has_ended()));
        assert_eq!(dying.end().code, None);
        let kept = world.spooled().unwrap();
        world.server.set_faults(faults);
        let program = world.program().args(args).arg("-");
        let ended = assert_adds_up(program.stdin(&content[kept.len()..]).run()).exits(1);
        ended.says(&["are unconfirmed"]);
        let spooled = world.spooled().unwrap();
        match args {
            "--in-doubt=resend" => assert_eq!(spooled, content.as_bytes()),
            // The pipe is imported, together with the half line at the end of the first one.
            _ => assert!(kept.starts_with(&spooled)),
        }
        world.server.set_faults(Faults::default());
        // The batch that cannot be asked about was never sent.
        assert_adds_up(world.program().arg("-").stdin("").run());
        assert_each_once(&world.server, 0..LINES);
        assert_eq!(world.spooled(), None);
    }
}

#[test]
fn a_pipe_is_saved_if_the_run_fails_before_its_first_line() {
    let text = log(0..20_000, 6000);
    assert!(text.len() > 2_000_000, "longer than the read-ahead buffer");
    for (args, code) in [
        ("--login=admin --password=x --retry-max-attempts=2", 1),
        ("--token-auth-file=none", 2),
        ("--rejects=none/x", 2),
    ] {
        let world = World::new(Duration::ZERO);
        world.server.set_faults(Faults {
            maintenance: code == 1,
            ..Faults::default()
        });
        let program = match code {
            // Without a token.
            1 => Program::new(&world.folder)
                .arg(format!("--url={}", world.server.url()))
                .args(&world.args)
                .arg("--state-dir=state"),
            _ => world.program(),
        };
        let ended = assert_adds_up(program.args(args).arg("-").stdin(&text).run());
        ended.exits(code).says(&["all of stdin is saved in "]);
        world.server.set_faults(Faults::default());
        piped(&world, "").exits(0);
        assert_each_once(&world.server, 0..20_000);
        assert_eq!(world.spooled(), None);
    }
}

#[test]
fn binary_data_from_a_pipe_is_quarantined() {
    let world = World::new(Duration::ZERO);
    let binary: Vec<u8> = (0..3_000_000u32)
        .map(|n| (n.wrapping_mul(n) >> 3) as u8)
        .collect();
    let ended = piped(&world, &binary).exits(3);
    assert_eq!(quarantined(&world, &ended), [binary]);
    assert_quiet(&world, &log(0..50, 60));
    assert_each_once(&world.server, 0..50);
}

#[test]
fn binary_data_from_a_killed_run_is_quarantined() {
    let world = World::new(Duration::ZERO);
    let binary = "\x01\x02".repeat(500);
    let mut program = world.program().arg("-").start();
    program.write(&binary);
    assert!(until(LONGEST, || world
        .spooled()
        .is_some_and(|kept| kept.len() == 1000)));
    program.signal(Signal::KILL);
    program.end();
    let ended = piped(&world, log(0..50, 60)).exits(3);
    assert_eq!(quarantined(&world, &ended), [binary.as_bytes()]);
    assert_each_once(&world.server, 0..50);
    assert_quiet(&world, &log(50..60, 60));
    assert_each_once(&world.server, 0..60);
}

#[test]
fn a_pipe_in_an_unknown_format_blocks_no_other_input() {
    let world = World::new(Duration::ZERO);
    let text = "logtail: cannot open\n";
    let ended = piped(&world, text).exits(1);
    ended.says(&["no format fits", "all of stdin is saved in "]);
    let ended = piped(&world, log(0..50, 60))
        .exits(3)
        .says(&["no format fits"]);
    assert_eq!(quarantined(&world, &ended), [text.as_bytes()]);
    assert_each_once(&world.server, 0..50);
    assert_quiet(&world, &log(50..60, 60));
    assert_each_once(&world.server, 0..60);
}

#[test]
fn a_spool_without_a_header_blocks_no_other_input() {
    let world = World::new(Duration::ZERO);
    let named = |name: &str| world.program().args("--log-format-name").arg(name).arg("-");
    let text = log(0..5, 60);
    assert_adds_up(named("w3c_extended").stdin(&text).run()).exits(1);
    let w3c =
        "#Fields: date time c-ip cs-uri-stem sc-status\n2024-05-14 06:25:24 10.0.0.1 /n/9 200\n";
    let ended = assert_adds_up(named("w3c_extended").stdin(w3c).run()).exits(3);
    let ended = ended.says(&["'#Fields: ...' line"]);
    assert_eq!(quarantined(&world, &ended), [text.as_bytes()]);
    assert_each_once(&world.server, [9]);
}

#[test]
fn damaged_compressed_data_is_quarantined_once() {
    let text = log(0..3000, 60);
    let packed = gzip(&text);
    let cut = packed[..packed.len() / 2].to_vec();
    // The lines after the compressed data must not be lost.
    let followed = [packed, log(3000..20_000, 6000).into_bytes()].concat();
    for (content, says) in [(cut, "is truncated"), (followed, "other data follows")] {
        let world = World::new(Duration::ZERO);
        let ended = piped(&world, &content)
            .exits(3)
            .says(&[says])
            .hides("fetch the file");
        assert_eq!(quarantined(&world, &ended), [content]);
        let there = stored(&world.server).len();
        assert!(there > 500, "{ended}");
        assert_quiet(&world, &log(20_000..20_050, 60));
        assert_each_once(&world.server, (0..there).chain(20_000..20_050));
    }
}

#[test]
fn the_readable_part_of_damaged_data_is_sent_before_it_is_quarantined() {
    let world = World::new(Duration::ZERO).args("--retry-max-attempts=1");
    world.server.set_faults(Faults {
        rules: vec![(When::From(1), Fault::Busy(503, None))],
        ..Faults::default()
    });
    let packed = gzip(log(0..300, 60));
    let cut = &packed[..packed.len() - 20];
    piped(&world, cut).exits(1);
    world.server.set_faults(Faults::default());
    let ended = piped(&world, log(1000..1050, 60))
        .exits(3)
        .says(&["is truncated"]);
    assert_eq!(quarantined(&world, &ended), [cut]);
    let there = stored(&world.server).len() - 50;
    assert!(there > 100, "{ended}");
    assert_each_once(&world.server, (0..there).chain(1000..1050));
    assert_quiet(&world, "");
}
