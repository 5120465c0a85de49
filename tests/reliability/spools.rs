//! What came through a pipe when something else fails: it is kept, it keeps nothing else from being imported, and what
//! can never be read is set aside once.

use std::fs;
use std::time::Duration;

use crate::support::fake::{Fault, Faults, Live, Options, When};
use rustix::process::Signal;

use super::numbered::{assert_each_once, log, stored};
use super::world::{World, adding_up};
use crate::support::clock::LONGEST;
use crate::support::folder::gzip;
use crate::support::stored::options;
use crate::support::{Ended, Program, until};

const LINES: usize = 600;

fn piped(world: &World, input: impl AsRef<[u8]>) -> Ended {
    adding_up(world.program().arg("-").stdin(input).run())
}

/// The files that were set aside; each was told of.
#[track_caller]
fn aside(world: &World, ended: &Ended) -> Vec<Vec<u8>> {
    let names = fs::read_dir(world.state_dir()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: Vec<String> = names.filter(|name| name.contains(".aside-")).collect();
    for name in &names {
        assert!(
            ended.err.contains(&format!("kept aside as state/{name}")),
            "{ended}"
        );
    }
    let all = names
        .iter()
        .map(|name| fs::read(world.state_dir().join(name)));
    all.map(Result::unwrap).collect()
}

/// Nothing is said any more.
#[track_caller]
fn assert_quiet(world: &World, input: &str) {
    assert_eq!(piped(world, input).exits(0).err, "");
}

/// A doubt that an earlier run left cannot be settled now.
#[test]
fn what_is_piped_while_a_doubt_cannot_be_settled_is_kept() {
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
        world.sandbox.set_faults(faults);
        let program = world.program().args(args).arg("-");
        let ended = adding_up(program.stdin(&content[kept.len()..]).run()).exits(1);
        ended.says(&["are in doubt", "stdin is kept whole in "]);
        assert_eq!(world.spooled().unwrap(), content.as_bytes());
        world.sandbox.set_faults(Faults::default());
        // What nobody can ask about was not sent: the run was aborted before.
        adding_up(world.program().arg("-").stdin("").run());
        assert_each_once(&world.sandbox, 0..LINES);
        assert_eq!(world.spooled(), None);
    }
}

#[test]
fn what_is_piped_is_kept_when_the_run_fails_before_its_first_line() {
    let text = log(0..20_000, 6000);
    assert!(text.len() > 2_000_000, "more than is read ahead");
    for (args, code) in [
        ("--login=admin --password=x --retry-max-attempts=2", 1),
        ("--token-auth-file=none", 2),
        ("--rejects=none/x", 2),
    ] {
        let world = World::new(Duration::ZERO);
        world.sandbox.set_faults(Faults {
            maintenance: code == 1,
            ..Faults::default()
        });
        let program = match code {
            // Nobody has a token for it.
            1 => Program::new(&world.folder)
                .arg(format!("--url={}", world.sandbox.url()))
                .args(&world.args)
                .arg("--state-dir=state"),
            _ => world.program(),
        };
        let ended = adding_up(program.args(args).arg("-").stdin(&text).run());
        ended.exits(code).says(&["stdin is kept whole in "]);
        world.sandbox.set_faults(Faults::default());
        piped(&world, "").exits(0);
        assert_each_once(&world.sandbox, 0..20_000);
        assert_eq!(world.spooled(), None);
    }
}

#[test]
fn a_pipe_of_no_log_is_set_aside_and_swallows_nothing() {
    let world = World::new(Duration::ZERO);
    let binary: Vec<u8> = (0..3_000_000u32)
        .map(|n| (n.wrapping_mul(n) >> 3) as u8)
        .collect();
    let ended = piped(&world, &binary).exits(3);
    assert_eq!(aside(&world, &ended), [binary]);
    assert_quiet(&world, &log(0..50, 60));
    assert_each_once(&world.sandbox, 0..50);
}

#[test]
fn a_pipe_of_no_log_that_was_killed_swallows_nothing() {
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
    assert_eq!(aside(&world, &ended), [binary.as_bytes()]);
    assert_each_once(&world.sandbox, 0..50);
    assert_quiet(&world, &log(50..60, 60));
    assert_each_once(&world.sandbox, 0..60);
}

#[test]
fn a_pipe_that_no_format_fits_keeps_nothing_else_from_being_imported() {
    let world = World::new(Duration::ZERO);
    let text = "logtail: cannot open\n";
    let ended = piped(&world, text).exits(1);
    ended.says(&["no format fits", "stdin is kept whole in "]);
    let ended = piped(&world, log(0..50, 60))
        .exits(3)
        .says(&["no format fits"]);
    assert_eq!(aside(&world, &ended), [text.as_bytes()]);
    assert_each_once(&world.sandbox, 0..50);
    assert_quiet(&world, &log(50..60, 60));
    assert_each_once(&world.sandbox, 0..60);
}

#[test]
fn a_spool_without_its_header_keeps_nothing_else_from_being_imported() {
    let world = World::new(Duration::ZERO);
    let named = |name: &str| world.program().args("--log-format-name").arg(name).arg("-");
    let text = log(0..5, 60);
    adding_up(named("w3c_extended").stdin(&text).run()).exits(1);
    let w3c =
        "#Fields: date time c-ip cs-uri-stem sc-status\n2024-05-14 06:25:24 10.0.0.1 /n/9 200\n";
    let ended = adding_up(named("w3c_extended").stdin(w3c).run()).exits(3);
    let ended = ended.says(&["'#Fields: ...' line"]);
    assert_eq!(aside(&world, &ended), [text.as_bytes()]);
    assert_each_once(&world.sandbox, [9]);
}

#[test]
fn a_pipe_whose_packing_is_damaged_is_set_aside_once() {
    let text = log(0..3000, 60);
    let packed = gzip(&text);
    let cut = packed[..packed.len() / 2].to_vec();
    // What follows the packed data would be lost, were only what can be unpacked kept.
    let followed = [packed, log(3000..20_000, 6000).into_bytes()].concat();
    for (content, says) in [(cut, "is truncated"), (followed, "other data follows")] {
        let world = World::new(Duration::ZERO);
        let ended = piped(&world, &content)
            .exits(3)
            .says(&[says])
            .hides("fetch the file");
        assert_eq!(aside(&world, &ended), [content]);
        let there = stored(&world.sandbox).len();
        assert!(there > 500, "{ended}");
        assert_quiet(&world, &log(20_000..20_050, 60));
        assert_each_once(&world.sandbox, (0..there).chain(20_000..20_050));
    }
}

#[test]
fn what_can_be_read_of_a_damaged_pipe_is_sent_before_it_is_set_aside() {
    let world = World::new(Duration::ZERO).args("--retry-max-attempts=1");
    world.sandbox.set_faults(Faults {
        rules: vec![(When::From(1), Fault::Busy(503, None))],
        ..Faults::default()
    });
    let packed = gzip(log(0..300, 60));
    let cut = &packed[..packed.len() - 20];
    piped(&world, cut).exits(1);
    world.sandbox.set_faults(Faults::default());
    let ended = piped(&world, log(1000..1050, 60))
        .exits(3)
        .says(&["is truncated"]);
    assert_eq!(aside(&world, &ended), [cut]);
    let there = stored(&world.sandbox).len() - 50;
    assert!(there > 100, "{ended}");
    assert_each_once(&world.sandbox, (0..there).chain(1000..1050));
    assert_quiet(&world, "");
}
