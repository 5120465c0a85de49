//! Sorts the files that a pattern finds by the time of their first lines, so that visits are sent
//! in order (guide/options.md, "Log files").

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bumpalo::Bump;

use super::format_selector::FormatSelector;
use crate::format::{Fit, Format, Record};
use crate::input::encoding::Encoding;
use crate::input::head::Head;

/// Sorts files, oldest first.
pub struct OldestFirst<'a> {
    selector: &'a FormatSelector,
    encoding: &'a Encoding,
    /// The format that the user names, or those of the files so far. The next file has most likely
    /// one of them.
    formats: Vec<Box<dyn Format>>,
    /// The number of files whose format was detected, which takes a few milliseconds.
    detections: usize,
    arena: Bump,
}

/// Patterns rarely find files of more formats. Other files, such as thousands of error logs, are
/// sorted by modification time.
const MAX_DETECTIONS: usize = 16;

/// Seconds since 1970 and nanoseconds. Files whose time is not known come last.
type FileTime = (i64, i64);

impl<'a> OldestFirst<'a> {
    pub fn new(selector: &'a FormatSelector, encoding: &'a Encoding) -> Self {
        Self {
            selector,
            encoding,
            formats: Vec::from_iter(selector.given().ok().flatten()),
            detections: 0,
            arena: Bump::new(),
        }
    }

    /// Sorts by the first date in each file, without one by modification time. Files of the same
    /// time keep their order.
    pub fn sort(&mut self, paths: &mut [PathBuf]) {
        if paths.len() > 1 {
            paths.sort_by_cached_key(|path| self.time(path));
        }
    }

    fn time(&mut self, path: &Path) -> FileTime {
        let Ok(metadata) = fs::metadata(path) else {
            return (i64::MAX, 0);
        };
        // Opening a named pipe may wait, and what is read of it is gone.
        let date = match metadata.is_file() {
            true => self.first_date(path),
            false => None,
        };
        date.map_or((metadata.mtime(), metadata.mtime_nsec()), |date| (date, 0))
    }

    /// The first date in a file, in seconds since 1970.
    fn first_date(&mut self, path: &Path) -> Option<i64> {
        let head = Head::read(path, self.encoding).ok()?;
        let head = self.selector.unwrap_head(head.lines().collect());
        let mut known = self.formats.iter_mut();
        let date = known.find_map(|format| first_date(format.as_mut(), &head, &mut self.arena));
        if date.is_some() || self.selector.is_named() || self.detections >= MAX_DETECTIONS {
            return date;
        }
        head.first()?;
        self.detections += 1;
        let mut format = self.selector.detect_in(&head)?;
        let date = first_date(format.as_mut(), &head, &mut self.arena)?;
        self.formats.push(format);
        Some(date)
    }
}

fn first_date(format: &mut dyn Format, head: &[Vec<u8>], arena: &mut Bump) -> Option<i64> {
    head.iter().find_map(|line| {
        if line.starts_with(b"#") {
            // Without columns, no line fits.
            let _ = format.header(line);
        }
        let mut record = Record::default();
        let is_record = format.parse(line, arena, &mut record) == Fit::Record;
        let moment = is_record.then(|| format.dates().read(&record)).flatten();
        arena.reset();
        moment.map(|moment| moment.local - i64::from(moment.offset.unwrap_or(0)))
    })
}

#[cfg(test)]
mod tests {
    use std::fs::FileTimes;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::format::registry::FormatOptions;
    use crate::import::format_selector::FormatChoice;

    const NCSA: &str =
        "192.0.2.4 - - [DAY/May/2024:06:25:24 +0200] \"GET / HTTP/1.1\" 200 5 \"-\" \"x\"\n";
    const W3C: &str = "#Fields: date time c-ip cs-uri-stem sc-status\n\
                       2024-05-DAY 06:25:24 192.0.2.4 / 200\n";

    /// The order of files with these names and contents, each modified an hour before the last.
    fn sorted(choice: FormatChoice, files: &[(&str, &str)]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let mut paths: Vec<PathBuf> = Vec::new();
        for (hours, (name, content)) in (1..).zip(files) {
            let path = dir.path().join(name);
            fs::write(&path, content).unwrap();
            let modified = SystemTime::now() - Duration::from_secs(3600 * hours);
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.set_times(FileTimes::new().set_modified(modified))
                .unwrap();
            paths.push(path);
        }
        paths.sort();
        let selector = FormatSelector::new(choice, FormatOptions::default()).unwrap();
        OldestFirst::new(&selector, &Encoding::default()).sort(&mut paths);
        let names = paths.iter().filter_map(|path| path.file_name()?.to_str());
        names.map(str::to_owned).collect()
    }

    #[test]
    fn the_first_date_decides_whatever_the_format() {
        let files = [
            ("log", &NCSA.replace("DAY", "14") as &str),
            ("log.1", &W3C.replace("DAY", "13")),
            ("log.10", &NCSA.replace("DAY", "04")),
            ("log.2", &format!("junk\n\n{}", NCSA.replace("DAY", "12"))),
        ];
        let want = ["log.10", "log.2", "log.1", "log"];
        assert_eq!(sorted(FormatChoice::Detect, &files), want);
        let files = [files[0], files[2], files[3]];
        let named = FormatChoice::Named("common".to_owned());
        assert_eq!(sorted(named, &files), ["log.10", "log.2", "log"]);
    }

    #[test]
    fn the_date_in_the_envelope_does_not_count() {
        let wrap = |days: &str| {
            let [line, rest] = [0, 30].map(|from| {
                let line = NCSA.replace("DAY", days);
                line[from..].to_owned()
            });
            let date = "2024-05-14T06:25:24Z stderr";
            format!("{date} P {}\n{date} F {rest}", &line[..30])
        };
        let files = [
            ("log", &wrap("14") as &str),
            ("log.1", &wrap("12")),
            ("log.2", &wrap("13")),
        ];
        let want = ["log.1", "log.2", "log"];
        assert_eq!(sorted(FormatChoice::Detect, &files), want);
        let named = FormatChoice::Named("ncsa_extended".to_owned());
        assert_eq!(sorted(named, &files), want);
    }

    #[test]
    fn without_a_date_the_modification_time_decides_and_then_the_name() {
        let files = [("a", "junk\n"), ("b", ""), ("c", "\0\0")];
        assert_eq!(sorted(FormatChoice::Detect, &files), ["c", "b", "a"]);
        let today = NCSA.replace("DAY", "14");
        let files = [("b", &today as &str), ("a", &today), ("c", "junk\n")];
        assert_eq!(sorted(FormatChoice::Detect, &files), ["a", "b", "c"]);
    }

    #[test]
    fn a_named_pipe_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
        let log = dir.path().join("log");
        fs::write(&log, NCSA.replace("DAY", "14")).unwrap();
        let selector = FormatSelector::new(FormatChoice::Detect, FormatOptions::default()).unwrap();
        let mut paths = vec![pipe.clone(), log.clone(), dir.path().join("none")];
        OldestFirst::new(&selector, &Encoding::default()).sort(&mut paths);
        assert_eq!(paths, [log, pipe, dir.path().join("none")]);
    }
}
