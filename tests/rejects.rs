//! `--rejects`: what was not imported because it could not be read, or was refused, is kept to be mended.

use import_logs::sandbox::{Fault, Faults, Options, Sandbox};

use crate::support::mutate::{changed, formats, lines};
use crate::support::stored::{assert_each_once, options, sandbox, started};
use crate::support::{Ended, Folder, Program, logs};

fn import(folder: &Folder, sandbox: &Sandbox, args: &str) -> Ended {
    Program::new(folder)
        .to(sandbox)
        .args("--idsite=1 --listening-time=off")
        .args(args)
        .run()
}

#[test]
fn mended_they_are_imported() {
    let (sandbox, folder) = (sandbox(), Folder::new());
    let broken = logs::line(3, 25).replace(" 200 ", " ok ");
    let log = logs::log(3) + &broken + &logs::page("/style.css", 4, 25) + &logs::line(4, 25);
    folder.write("access.log", log);
    let args = "--log-format-name=ncsa_extended --rejects=rejects.log access.log";
    assert_eq!(
        import(&folder, &sandbox, args)
            .exits(0)
            .summary()
            .get("invalid"),
        1
    );
    let rejects = folder.read("rejects.log");
    let (reason, line) = rejects.split_once('\n').unwrap();
    assert!(reason.starts_with("# access.log:4: invalid"), "{rejects}");
    assert_eq!(line, broken, "a static file is no reject");
    folder.write("mended.log", rejects.replace(" ok ", " 200 "));
    import(&folder, &sandbox, "mended.log").exits(0);
    assert_each_once(&sandbox, 5);
}

#[test]
fn refused_lines_are_there_as_they_were() {
    let folder = Folder::with_log(logs::log(10));
    let sandbox = started(Options {
        faults: Faults {
            script: vec![Some(Fault::Invalid(vec![2, 5]))],
            ..Faults::default()
        },
        ..options()
    });
    import(&folder, &sandbox, "--rejects=rejects.log access.log").exits(3);
    import(&folder, &sandbox, "rejects.log").exits(0);
    assert_each_once(&sandbox, 10);
}

#[test]
fn imported_unmended_they_give_the_same_rejects() {
    for (seed, format) in formats().into_iter().enumerate() {
        let seeds: Vec<u64> = (0..90).map(|line| (seed * 1000 + line) as u64).collect();
        let folder = Folder::with_log(changed(&lines(&format), &seeds));
        let sandbox = sandbox();
        let args = format!("--log-format-name={format}");
        import(
            &folder,
            &sandbox,
            &format!("{args} --rejects=one.log access.log"),
        );
        import(
            &folder,
            &sandbox,
            &format!("{args} --rejects=two.log one.log"),
        );
        // The places are others: they name the file that was read.
        let lines = |name: &str| -> Vec<Vec<u8>> {
            let text = std::fs::read(folder.file(name)).unwrap();
            let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec);
            lines.filter(|line| !line.starts_with(b"# ")).collect()
        };
        let (one, two) = (lines("one.log"), lines("two.log"));
        assert!(one.len() > 3, "{format} has no rejects");
        assert_eq!(one, two, "{format}");
    }
}

#[test]
fn a_file_that_cannot_be_written_is_wrong_use() {
    let (sandbox, folder) = (sandbox(), Folder::with_log(logs::log(10)));
    let ended = import(&folder, &sandbox, "--rejects=none/rejects.log access.log");
    ended.exits(2).says(&["--rejects=none/rejects.log"]);
    assert!(sandbox.log().tracker.is_empty());
}
