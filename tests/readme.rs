//! What the README promises is tested.

use std::fs;
use std::path::{Path, PathBuf};

/// The files that may hold the module of tests with that path.
fn places(module: &str) -> impl Iterator<Item = PathBuf> {
    let path = module.replace("::", "/");
    ["tests", "src"].into_iter().flat_map(move |root| {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(root).join(&path);
        // Tests of a single file stand at its end.
        let within = file.parent().map(|parent| parent.with_extension("rs"));
        [
            Some(file.with_extension("rs")),
            Some(file.join("mod.rs")),
            within,
        ]
        .into_iter()
        .flatten()
    })
}

#[test]
fn every_promise_names_tests_that_there_are() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let rows = readme
        .lines()
        .skip_while(|line| !line.starts_with("| promise"))
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let mut promises = 0;
    for row in rows {
        let tests = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let named: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "no test: {row}");
        for module in named {
            let has_tests =
                |path: PathBuf| fs::read_to_string(path).is_ok_and(|text| text.contains("#[test]"));
            assert!(
                places(module).any(has_tests),
                "{module} has no tests: {row}"
            );
        }
        promises += 1;
    }
    assert!(promises > 10, "{promises}");
}
