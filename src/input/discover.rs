//! Turns names on the command line into sources (guide/options.md, "Log files").

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::bucket::{BucketUrl, Object};
use super::pattern::Pattern;
use crate::error::{Error, Result};

/// Where a log comes from. Displays as the user named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Stdin,
    File(PathBuf),
    Object(Object),
}

impl Source {
    /// Whether it can be read only once: standard input, a named pipe, a socket or a device.
    pub fn is_pipe(&self) -> bool {
        match self {
            Source::Stdin => true,
            Source::File(path) => {
                fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
            }
            Source::Object(_) => false,
        }
    }

    /// The source with this name, which is not a pattern.
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
            Source::Object(object) => object.fmt(f),
        }
    }
}

/// What [`discover_all`] leaves to others.
pub struct Discovery<'d> {
    /// Puts the matches of each pattern in order.
    pub sort: &'d mut dyn FnMut(&mut [PathBuf]),
    /// Lists the objects with a name.
    pub list: &'d mut dyn FnMut(&BucketUrl) -> Result<Vec<Object>>,
    /// Called for each name without a log; such a warning makes the exit status 3.
    pub warn: &'d mut dyn FnMut(String),
}

/// Like [`discover_all`], but names of objects are left out, and the matches of a pattern are
/// sorted by bytes.
pub fn discover(names: &[OsString], warn: &mut dyn FnMut(String)) -> Vec<Source> {
    discover_all(
        names,
        Discovery {
            sort: &mut |_| {},
            list: &mut |_| Ok(Vec::new()),
            warn,
        },
    )
}

/// The sources for names on the command line, in order and with repetitions. `-` is stdin, a name
/// that exists is a file, `s3://BUCKET/PREFIX` names objects, and any other name is a pattern.
/// A directory is one only as `file://DIRECTORY`, which is all files in it.
pub fn discover_all(names: &[OsString], discovery: Discovery) -> Vec<Source> {
    let Discovery { sort, list, warn } = discovery;
    let mut sources = Vec::new();
    for typed in names {
        if typed == "-" {
            sources.push(Source::Stdin);
            continue;
        }
        if let Some(url) = typed.to_str().and_then(BucketUrl::parse) {
            match list(&url) {
                Ok(objects) => sources.extend(objects.into_iter().map(Source::Object)),
                Err(error) => warn(error.to_string()),
            }
            continue;
        }
        let path = typed.as_bytes().strip_prefix(b"file://");
        let name = path.map_or(typed.as_os_str(), OsStr::from_bytes);
        match fs::metadata(name) {
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                if !is_pattern(name.as_bytes()) {
                    let name = name.display();
                    warn(format!("{name}: no such file; check the name"));
                    continue;
                }
                let mut matches = expand(name, warn);
                if matches.is_empty() {
                    let name = name.display();
                    warn(format!("{name}: no file matches this pattern"));
                }
                sort(&mut matches);
                sources.extend(matches.into_iter().map(Source::File));
            }
            Ok(metadata) if path.is_some() && metadata.is_dir() => {
                let mut files = Vec::new();
                add_files_below(Path::new(name), &mut files, warn);
                if files.is_empty() {
                    warn(format!("{}: no file is in this directory", name.display()));
                }
                files.sort_by(|a, b| a.as_os_str().cmp(b.as_os_str()));
                sort(&mut files);
                sources.extend(files.into_iter().map(Source::File));
            }
            // Opening it reports other errors.
            Ok(_) | Err(_) => sources.push(Source::named(name)),
        }
    }
    sources
}

/// Adds the files in a directory and in those below it, except hidden ones.
fn add_files_below(dir: &Path, files: &mut Vec<PathBuf>, warn: &mut dyn FnMut(String)) {
    for path in entries(dir, &|name| !name.starts_with(b"."), warn) {
        // A link may lead to a directory above.
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => add_files_below(&path, files, warn),
            Ok(metadata) if metadata.is_file() => files.push(path),
            _ => {}
        }
    }
}

/// Keeps only the first source of each regular file, whatever its names. Returns a message if there
/// are others.
pub fn drop_repetitions(sources: &mut Vec<Source>) -> Option<String> {
    let mut seen: HashMap<(u64, u64), String> = HashMap::new();
    let mut objects: HashSet<String> = HashSet::new();
    let mut message = None;
    let mut dropped = 0;
    sources.retain(|source| {
        let path = match source {
            Source::Stdin => return true,
            Source::File(path) => path,
            Source::Object(object) => {
                let name = object.name();
                let is_new = objects.insert(name.to_owned());
                if !is_new {
                    dropped += 1;
                    message.get_or_insert_with(|| {
                        format!("{name}: named more than once; it is read once")
                    });
                }
                return is_new;
            }
        };
        let Some(identity) = fs::metadata(path).ok().and_then(identity) else {
            return true;
        };
        let name = source.to_string();
        let first = match seen.entry(identity) {
            Entry::Vacant(entry) => {
                entry.insert(name);
                return true;
            }
            Entry::Occupied(entry) => entry.into_mut(),
        };
        dropped += 1;
        message.get_or_insert_with(|| match *first == name {
            true => format!("{name}: named more than once; it is read once"),
            false => format!("{name}: this is the same file as {first}; it is read once"),
        });
        false
    });
    let message = message?;
    Some(match dropped {
        1 => message,
        _ => format!("{message}; in all, {dropped} names are repetitions"),
    })
}

/// Whether two paths name the same regular file.
pub fn is_same_file(one: &Path, other: &Path) -> bool {
    let file = |path: &Path| fs::metadata(path).ok().and_then(identity);
    file(one).is_some_and(|one| file(other) == Some(one))
}

/// Device and inode of a regular file.
fn identity(metadata: Metadata) -> Option<(u64, u64)> {
    (metadata.is_file()).then(|| (metadata.dev(), metadata.ino()))
}

/// Fails if an option would write to one of the logs, under any name.
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
            Source::Object(_) => return None,
        };
        metadata.ok().and_then(identity)
    };
    match logs.iter().find(|log| read(log) == Some(written)) {
        None => Ok(()),
        Some(log) => Err(Error::usage(format!(
            "{option}={}: the log {log} is the same file; choose another file",
            path.display()
        ))),
    }
}

fn is_pattern(part: &[u8]) -> bool {
    part.iter().any(|byte| b"*?[".contains(byte))
}

/// All paths that match a pattern. It is matched component by component, so `*` stops at `/`.
/// Directories never match, since a state directory may be among the logs.
fn expand(pattern: &OsStr, warn: &mut dyn FnMut(String)) -> Vec<PathBuf> {
    let pattern = pattern.as_bytes();
    let root = if pattern.starts_with(b"/") { "/" } else { "" };
    let mut paths = vec![PathBuf::from(root)];
    let parts = pattern.split(|byte| *byte == b'/');
    for part in parts.filter(|part| !part.is_empty()) {
        paths = if is_pattern(part) {
            let matcher = Pattern::new(part);
            // Only a pattern with a leading dot matches hidden files.
            let hidden = part.starts_with(b".");
            let fits = |name: &[u8]| (hidden || !name.starts_with(b".")) && matcher.matches(name);
            paths
                .iter()
                .flat_map(|dir| entries(dir, &fits, warn))
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
    // By bytes; paths compare component by component.
    paths.sort_by(|a, b| a.as_os_str().cmp(b.as_os_str()));
    paths
}

fn entries(dir: &Path, fits: &dyn Fn(&[u8]) -> bool, warn: &mut dyn FnMut(String)) -> Vec<PathBuf> {
    let listed = if dir.as_os_str().is_empty() {
        Path::new(".")
    } else {
        dir
    };
    let mut found = Vec::new();
    let result = fs::read_dir(listed).and_then(|entries| {
        for entry in entries {
            let name = entry?.file_name();
            if fits(name.as_bytes()) {
                found.push(dir.join(name));
            }
        }
        Ok(())
    });
    match result {
        // A file in place of a directory is not a match.
        Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            warn(format!("{}: cannot be listed: {error}", listed.display()));
        }
        _ => {}
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with these empty files.
    fn dir(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        dir
    }

    /// The sources for these names, relative to the directory, and the warnings.
    fn found(dir: &tempfile::TempDir, names: &[&str]) -> (Vec<String>, Vec<String>) {
        let base = format!("{}/", dir.path().display());
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

    fn matches(dir: &tempfile::TempDir, pattern: &str) -> Vec<String> {
        let (sources, warnings) = found(dir, &[pattern]);
        assert_eq!(warnings, Vec::<String>::new());
        sources
    }

    #[test]
    fn matches_come_sorted_and_skip_a_leading_dot() {
        let dir = dir(&["x[1].log", ".hidden.log", "b.log", "a.log", "a.txt"]);
        assert_eq!(matches(&dir, "*.log"), ["a.log", "b.log", "x[1].log"]);
        assert_eq!(matches(&dir, "[!b]*.log"), ["a.log", "x[1].log"]);
        assert_eq!(matches(&dir, "?.log"), ["a.log", "b.log"]);
        assert_eq!(matches(&dir, ".h*"), [".hidden.log"]);
    }

    #[test]
    fn a_star_stops_at_a_slash_and_directories_may_be_patterns() {
        let dir = dir(&[
            "a-b/x.log",
            "a/x.log",
            "a/deep/x.log",
            "b/y.log",
            ".c/x.log",
            "x.log",
        ]);
        assert_eq!(matches(&dir, "*/x.log"), ["a-b/x.log", "a/x.log"]);
        assert_eq!(
            matches(&dir, "*/*.log"),
            ["a-b/x.log", "a/x.log", "b/y.log"]
        );
        assert_eq!(matches(&dir, "[ab]/deep/../*.log"), ["a/deep/../x.log"]);
    }

    #[test]
    fn a_directory_never_matches_but_may_be_named() {
        let dir = dir(&["a.log", "import-logs-state/current"]);
        assert_eq!(matches(&dir, "*"), ["a.log"]);
        assert_eq!(matches(&dir, "import-logs-state"), ["import-logs-state"]);
    }

    #[test]
    fn a_name_that_exists_is_taken_as_it_is() {
        let dir = dir(&["x[1].log", "x1.log", "*"]);
        assert_eq!(matches(&dir, "x[1].log"), ["x[1].log"]);
        assert_eq!(matches(&dir, "*"), ["*"]);
    }

    #[test]
    fn order_and_repetitions_stay() {
        let dir = dir(&["a.log", "b.log"]);
        let (sources, _) = found(&dir, &["b.log", "-", "*.log", "b.log"]);
        assert_eq!(sources, ["b.log", "stdin", "a.log", "b.log", "b.log"]);
    }

    #[test]
    fn a_pattern_has_its_own_order() {
        let dir = dir(&["a.log", "b.log", "c.log"]);
        let names = ["b.log", "*.log"].map(|name| dir.path().join(name).into_os_string());
        let reverse = &mut |matches: &mut [PathBuf]| matches.reverse();
        let discovery = Discovery {
            sort: reverse,
            list: &mut |_| Ok(Vec::new()),
            warn: &mut |warning| panic!("{warning}"),
        };
        let sources = discover_all(&names, discovery);
        let want = ["b.log", "c.log", "b.log", "a.log"];
        assert_eq!(
            sources,
            want.map(|name| Source::File(dir.path().join(name)))
        );
    }

    #[test]
    fn a_file_is_read_once_whatever_its_names() {
        let dir = dir(&["a.log", "b.log", "c.log"]);
        fs::hard_link(dir.path().join("b.log"), dir.path().join("link.log")).unwrap();
        let file = |name: &str| Source::File(dir.path().join(name));
        let dropped = |names: &[&str]| {
            let mut sources: Vec<Source> = names.iter().map(|name| file(name)).collect();
            let message = drop_repetitions(&mut sources);
            let base = format!("{}/", dir.path().display());
            (sources, message.map(|message| message.replace(&base, "")))
        };
        let (sources, message) = dropped(&["b.log", "a.log", "c.log", "none.log", "none.log"]);
        assert_eq!((sources.len(), message), (5, None));
        let (sources, message) = dropped(&["b.log", "a.log", "b.log"]);
        assert_eq!(sources, [file("b.log"), file("a.log")]);
        assert_eq!(
            message.unwrap(),
            "b.log: named more than once; it is read once"
        );
        let (sources, message) = dropped(&["b.log", "link.log", "b.log"]);
        assert_eq!(sources, [file("b.log")]);
        assert_eq!(
            message.unwrap(),
            "link.log: this is the same file as b.log; it is read once; in all, 2 names are \
             repetitions"
        );
    }

    #[test]
    fn missing_files_cause_warnings_and_the_rest_stays() {
        let dir = dir(&["a.log"]);
        let (sources, warnings) = found(
            &dir,
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
    fn a_directory_is_read_only_as_a_url() {
        let dir = dir(&["logs/b.log", "logs/a/c.log", "logs/.hidden", "logs/a.log"]);
        let base = dir.path().display();
        let names = [
            format!("file://{base}/logs"),
            format!("file://{base}/logs/*.log"),
        ];
        let names = names.map(OsString::from);
        let sources = discover(&names, &mut |warning| panic!("{warning}"));
        let expected = ["a.log", "a/c.log", "b.log", "a.log", "b.log"];
        let expected = expected.map(|name| Source::File(dir.path().join("logs").join(name)));
        assert_eq!(sources, expected);
        let plain = discover(&[format!("{base}/logs").into()], &mut |_| {});
        assert_eq!(plain, [Source::File(dir.path().join("logs"))]);
    }

    #[test]
    fn names_of_objects_are_listed_in_their_place() {
        let dir = dir(&["a.log"]);
        let log = dir.path().join("a.log");
        let names = [
            OsString::from("s3://logs/2024"),
            log.clone().into(),
            OsString::from("gs://none/"),
        ];
        let (mut listed, mut warnings) = (Vec::new(), Vec::new());
        let discovery = Discovery {
            sort: &mut |_| {},
            list: &mut |url| {
                listed.push(url.to_string());
                Err(Error::stopped("cannot be listed"))
            },
            warn: &mut |warning| warnings.push(warning),
        };
        assert_eq!(discover_all(&names, discovery), [Source::File(log)]);
        assert_eq!(listed, ["s3://logs/2024", "gs://none/"]);
        assert_eq!(warnings, ["cannot be listed", "cannot be listed"]);
    }

    #[test]
    fn a_file_name_that_is_not_utf8_is_found() {
        let dir = dir(&[]);
        let name = OsStr::from_bytes(b"caf\xe9.log");
        fs::write(dir.path().join(name), "").unwrap();
        for typed in [&b"caf?.log"[..], b"caf\xe9.*", b"caf\xe9.log"] {
            let typed = dir.path().join(OsStr::from_bytes(typed));
            let sources = discover(&[typed.into()], &mut |warning| panic!("{warning}"));
            assert_eq!(sources, [Source::File(dir.path().join(name))]);
        }
    }
}
