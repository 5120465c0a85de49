//! From names on the command line to sources (SPEC section 2, `FILE...`).

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::pattern::Pattern;
use crate::error::{Error, Result};

/// Where a log comes from. Shown as the user knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Stdin,
    File(PathBuf),
}

impl Source {
    /// Whether there is no second reading of it: standard input, a named pipe, a socket or a device.
    pub fn is_pipe(&self) -> bool {
        match self {
            Source::Stdin => true,
            Source::File(path) => {
                fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
            }
        }
    }

    /// The source of that very name.
    pub fn named(name: &OsStr) -> Self {
        match name == "-" {
            true => Source::Stdin,
            false => Source::File(PathBuf::from(name)),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Stdin => f.write_str("stdin"),
            Source::File(path) => path.display().fmt(f),
        }
    }
}

/// The sources that the names stand for, in the names' order; what is named twice stands there twice. `-` is
/// stdin, a name that exists is taken as it is, and any other is a pattern, whose matches come sorted by bytes.
/// `warn` gets a text for each name that stands for nothing; each makes the exit status 3.
pub fn discover(names: &[OsString], warn: &mut dyn FnMut(String)) -> Vec<Source> {
    let mut sources = Vec::new();
    for name in names {
        if name == "-" {
            sources.push(Source::named(name));
            continue;
        }
        match fs::metadata(name) {
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                if !is_pattern(name.as_bytes()) {
                    let name = name.display();
                    warn(format!("{name}: no such file; check the name"));
                    continue;
                }
                let matches = expand(name, warn);
                if matches.is_empty() {
                    let name = name.display();
                    warn(format!("{name}: no file matches this pattern"));
                }
                sources.extend(matches.into_iter().map(Source::File));
            }
            // What else may be wrong with it, opening it will tell.
            Ok(_) | Err(_) => sources.push(Source::named(name)),
        }
    }
    sources
}

/// Whether two names are those of one plain file.
pub fn is_same_file(one: &Path, other: &Path) -> bool {
    let file = |path: &Path| fs::metadata(path).ok().and_then(identity);
    file(one).is_some_and(|one| file(other) == Some(one))
}

/// What tells plain files apart.
fn identity(metadata: Metadata) -> Option<(u64, u64)> {
    (metadata.is_file()).then(|| (metadata.dev(), metadata.ino()))
}

/// An error: what an option would write to is one of the logs, by whatever name.
pub fn refuse_log(option: &str, path: &Path, logs: &[Source]) -> Result<()> {
    let Some(written) = fs::metadata(path).ok().and_then(identity) else {
        return Ok(());
    };
    let read = |log: &Source| {
        let metadata = match log {
            Source::Stdin => io::stdin()
                .as_fd()
                .try_clone_to_owned()
                .and_then(|stdin| File::from(stdin).metadata()),
            Source::File(path) => fs::metadata(path),
        };
        metadata.ok().and_then(identity)
    };
    match logs.iter().find(|log| read(log) == Some(written)) {
        None => Ok(()),
        Some(log) => Err(Error::usage(format!(
            "{option}={}: this is a log to be read ({log}); name another file",
            path.display()
        ))),
    }
}

fn is_pattern(part: &[u8]) -> bool {
    part.iter().any(|byte| b"*?[".contains(byte))
}

/// Every path that fits the pattern, part by part, so `*` stops at `/`. A folder is no log, unless it is named: one
/// of ours, with the ledger of an import that stopped, may stand among the logs.
fn expand(pattern: &OsStr, warn: &mut dyn FnMut(String)) -> Vec<PathBuf> {
    let pattern = pattern.as_bytes();
    let root = if pattern.starts_with(b"/") { "/" } else { "" };
    let mut paths = vec![PathBuf::from(root)];
    let parts = pattern.split(|byte| *byte == b'/');
    for part in parts.filter(|part| !part.is_empty()) {
        paths = if is_pattern(part) {
            let matcher = Pattern::new(part);
            // A leading dot hides a file from all but a pattern that begins with one.
            let hidden = part.starts_with(b".");
            let fits = |name: &[u8]| (hidden || !name.starts_with(b".")) && matcher.matches(name);
            paths
                .iter()
                .flat_map(|folder| entries(folder, &fits, warn))
                .collect()
        } else {
            let joined = paths
                .into_iter()
                .map(|path| path.join(OsStr::from_bytes(part)));
            joined
                .filter(|path| path.symlink_metadata().is_ok())
                .collect()
        };
    }
    if pattern
        .rsplit(|byte| *byte == b'/')
        .next()
        .is_some_and(is_pattern)
    {
        paths.retain(|path| !path.is_dir());
    }
    // By bytes, not part by part as paths compare.
    paths.sort_by(|a, b| a.as_os_str().cmp(b.as_os_str()));
    paths
}

fn entries(
    folder: &Path,
    fits: &dyn Fn(&[u8]) -> bool,
    warn: &mut dyn FnMut(String),
) -> Vec<PathBuf> {
    let listed = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let mut found = Vec::new();
    let result = fs::read_dir(listed).and_then(|entries| {
        for entry in entries {
            let name = entry?.file_name();
            if fits(name.as_bytes()) {
                found.push(folder.join(name));
            }
        }
        Ok(())
    });
    match result {
        // A plain file where the pattern wants a folder is just no match.
        Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            warn(format!(
                "{}: cannot be searched for logs: {error}",
                listed.display()
            ));
        }
        _ => {}
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with these empty files (and the folders they need).
    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        folder
    }

    /// What these names give, relative to the folder, and the warnings.
    fn found(folder: &tempfile::TempDir, names: &[&str]) -> (Vec<String>, Vec<String>) {
        let base = format!("{}/", folder.path().display());
        let names: Vec<OsString> = names
            .iter()
            .map(|name| {
                if *name == "-" {
                    "-".into()
                } else {
                    format!("{base}{name}").into()
                }
            })
            .collect();
        let mut warnings = Vec::new();
        let sources = discover(&names, &mut |warning| {
            warnings.push(warning.replace(&base, ""))
        });
        let shown = sources
            .iter()
            .map(|source| source.to_string().replace(&base, ""));
        (shown.collect(), warnings)
    }

    fn matches(folder: &tempfile::TempDir, pattern: &str) -> Vec<String> {
        let (sources, warnings) = found(folder, &[pattern]);
        assert_eq!(warnings, Vec::<String>::new());
        sources
    }

    #[test]
    fn matches_come_sorted_and_skip_a_leading_dot() {
        let folder = folder(&["x[1].log", ".hidden.log", "b.log", "a.log", "a.txt"]);
        assert_eq!(matches(&folder, "*.log"), ["a.log", "b.log", "x[1].log"]);
        assert_eq!(matches(&folder, "[!b]*.log"), ["a.log", "x[1].log"]);
        assert_eq!(matches(&folder, "?.log"), ["a.log", "b.log"]);
        assert_eq!(matches(&folder, ".h*"), [".hidden.log"]);
    }

    #[test]
    fn a_star_stops_at_a_slash_and_folders_may_be_patterns() {
        let folder = folder(&[
            "a-b/x.log",
            "a/x.log",
            "a/deep/x.log",
            "b/y.log",
            ".c/x.log",
            "x.log",
        ]);
        assert_eq!(matches(&folder, "*/x.log"), ["a-b/x.log", "a/x.log"]);
        assert_eq!(
            matches(&folder, "*/*.log"),
            ["a-b/x.log", "a/x.log", "b/y.log"]
        );
        assert_eq!(matches(&folder, "[ab]/deep/../*.log"), ["a/deep/../x.log"]);
    }

    #[test]
    fn a_folder_is_no_match_but_may_be_named() {
        let folder = folder(&["a.log", "import-logs-state/current"]);
        assert_eq!(matches(&folder, "*"), ["a.log"]);
        assert_eq!(matches(&folder, "import-logs-state"), ["import-logs-state"]);
    }

    #[test]
    fn a_name_that_exists_is_taken_as_it_is() {
        let folder = folder(&["x[1].log", "x1.log", "*"]);
        assert_eq!(matches(&folder, "x[1].log"), ["x[1].log"]);
        assert_eq!(matches(&folder, "*"), ["*"]);
    }

    #[test]
    fn order_and_repeats_are_the_users() {
        let folder = folder(&["a.log", "b.log"]);
        let (sources, _) = found(&folder, &["b.log", "-", "*.log", "b.log"]);
        assert_eq!(sources, ["b.log", "stdin", "a.log", "b.log", "b.log"]);
    }

    #[test]
    fn what_is_missing_is_warned_of_and_the_rest_stays() {
        let folder = folder(&["a.log"]);
        let (sources, warnings) = found(
            &folder,
            &["none.log", "a.log", "*.gz", "a.log/b", "none/*.log"],
        );
        assert_eq!(sources, ["a.log"]);
        assert_eq!(
            warnings,
            [
                "none.log: no such file; check the name",
                "*.gz: no file matches this pattern",
                "a.log/b: no such file; check the name",
                "none/*.log: no file matches this pattern",
            ]
        );
    }

    #[test]
    fn a_file_name_that_is_no_utf8_is_found() {
        let folder = folder(&[]);
        let name = OsStr::from_bytes(b"caf\xe9.log");
        fs::write(folder.path().join(name), "").unwrap();
        for typed in [&b"caf?.log"[..], b"caf\xe9.*", b"caf\xe9.log"] {
            let typed = folder.path().join(OsStr::from_bytes(typed));
            let sources = discover(&[typed.into()], &mut |warning| panic!("{warning}"));
            assert_eq!(sources, [Source::File(folder.path().join(name))]);
        }
    }
}
