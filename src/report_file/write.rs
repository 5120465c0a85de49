//! Writes a report file: either as a whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{OFlags, fcntl_setfl};

use crate::error::{Error, Result};
use crate::input::discover::{Source, refuse_log};
use crate::private_file::{self, Visibility, directory_of};

/// The format of a report file, which follows from its extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportFormat {
    Csv,
    Json,
    Html,
    /// A line for each session, for collecting societies.
    ListenerLog,
}

impl ReportFormat {
    /// The format of a file, whatever the case of its extension.
    fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "csv" => Some(Self::Csv),
            "json" => Some(Self::Json),
            "html" => Some(Self::Html),
            "txt" => Some(Self::ListenerLog),
            _ => None,
        }
    }
}

/// A file of `--report`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportFile {
    path: PathBuf,
    format: ReportFormat,
}

impl ReportFile {
    /// # Errors
    ///
    /// Returns a usage error if the extension names no format.
    pub fn new(path: &Path) -> Result<Self> {
        let format = ReportFormat::of(path).ok_or_else(|| {
            Error::usage(format!(
                "--report={}: the extension names no format: use .csv, .json, .html or .txt",
                path.display()
            ))
        })?;
        Ok(Self {
            path: path.to_owned(),
            format,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn format(&self) -> ReportFormat {
        self.format
    }

    /// Whether a path names this file, which need not exist yet.
    pub fn is_at(&self, other: &Path) -> bool {
        let place = |path: &Path| {
            let directory = fs::canonicalize(directory_of(path)).ok()?;
            Some(directory.join(path.file_name()?))
        };
        self.path == other || place(&self.path).is_some_and(|path| place(other) == Some(path))
    }

    /// Checks that the file can be written at the end of the import, which may take hours.
    ///
    /// # Errors
    ///
    /// Returns a usage error if it is one of the logs, or cannot be written.
    pub fn check(&self, logs: &[Source]) -> Result<()> {
        refuse_log("--report", &self.path, logs)?;
        let wrong = |why: String| {
            let path = self.path.display();
            Err(Error::usage(format!("--report={path}: {why}")))
        };
        match fs::metadata(&self.path) {
            Ok(metadata) if metadata.is_dir() => wrong("is a directory: name a file in it".into()),
            // Opening a pipe here would take it from its reader.
            Ok(metadata) if !metadata.is_file() => Ok(()),
            _ => match TemporaryFile::create_beside(&self.path, self.visibility()) {
                Ok(_) => Ok(()),
                Err(error) => wrong(format!(
                    "cannot be written: {error}; choose a directory that exists and that you may \
                     write to"
                )),
            },
        }
    }

    /// Replaces the file by what `render` writes. If that fails, an old file stays. Only its owner
    /// may read a new listener log; for other reports, the umask decides. An old file keeps its
    /// mode and, if root replaces it, its owner. A symbolic link is replaced, too. A pipe or a
    /// device is written to.
    ///
    /// # Errors
    ///
    /// Returns an error that names the file.
    pub fn write(&self, render: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
        let is_special = |path: &Path| fs::metadata(path).is_ok_and(|it| !it.is_file());
        let written = match is_special(&self.path) {
            true => self.write_through(render),
            false => self.replace(render),
        };
        written.map_err(|error| {
            let path = self.path.display();
            Error::stopped(format!("--report={path}: cannot be written: {error}"))
        })
    }

    fn replace(&self, render: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        let temporary = TemporaryFile::create_beside(&self.path, self.visibility())?;
        let mut out = BufWriter::new(&temporary.file);
        render(&mut out)?;
        out.flush()?;
        drop(out);
        temporary.file.sync_all()?;
        temporary.rename(&self.path)
    }

    /// Only listener logs hold addresses.
    fn visibility(&self) -> Visibility {
        match self.format {
            ReportFormat::ListenerLog => Visibility::Owner,
            ReportFormat::Csv | ReportFormat::Json | ReportFormat::Html => Visibility::Umask,
        }
    }

    fn write_through(
        &self,
        render: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        let is_pipe = fs::metadata(&self.path)?.file_type().is_fifo();
        let mut options = OpenOptions::new();
        options.write(true);
        if is_pipe {
            // Fails if no program reads from it, instead of waiting for one.
            options.custom_flags(OFlags::NONBLOCK.bits().cast_signed());
        }
        let file = options.open(&self.path)?;
        if is_pipe {
            fcntl_setfl(&file, OFlags::empty())?;
        }
        let mut out = BufWriter::new(file);
        render(&mut out)?;
        out.flush()
    }
}

/// A new file in the directory of a report. Removed when dropped, unless it was renamed.
pub(super) struct TemporaryFile {
    pub path: PathBuf,
    file: File,
    is_renamed: bool,
}

impl TemporaryFile {
    pub fn create_beside(report: &Path, visibility: Visibility) -> io::Result<Self> {
        let path = private_file::temporary_path(report)?;
        let file = private_file::create_replacement(&path, report, visibility)?;
        Ok(Self {
            path,
            file,
            is_renamed: false,
        })
    }

    fn rename(mut self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)?;
        self.is_renamed = true;
        Ok(())
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if !self.is_renamed {
            // The error that led here matters more.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::io::Read;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::thread;

    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use tempfile::TempDir;

    use super::*;
    use crate::error::ErrorKind;

    fn file(path: impl AsRef<Path>) -> ReportFile {
        ReportFile::new(path.as_ref()).unwrap()
    }

    fn names(folder: &TempDir) -> Vec<String> {
        let entries = fs::read_dir(folder.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_format_follows_from_the_extension() {
        for (path, format) in [
            ("a.csv", Some(ReportFormat::Csv)),
            ("a.b.JSON", Some(ReportFormat::Json)),
            ("/x/a.Html", Some(ReportFormat::Html)),
            ("a.txt", Some(ReportFormat::ListenerLog)),
            ("csv", None),
            (".csv", None),
            ("a.xlsx", None),
            ("a.", None),
            ("", None),
            ("/dev/stdout", None),
        ] {
            let found = ReportFile::new(Path::new(path));
            assert_eq!(
                found.as_ref().ok().map(ReportFile::format),
                format,
                "{path}"
            );
            if let Err(error) = found {
                assert_eq!(error.kind(), ErrorKind::Usage);
                assert!(error.to_string().contains(".csv, .json, .html or .txt"));
            }
        }
    }

    #[test]
    fn a_report_is_written_whole_and_an_old_one_keeps_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        for (name, other) in [("r.csv", 0o644), ("r.txt", 0o640)] {
            let path = folder.path().join(name);
            file(&path).check(&[]).unwrap();
            assert!(names(&folder).is_empty(), "the check leaves nothing");
            file(&path).write(|out| out.write_all(b"new")).unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"new");
            fs::set_permissions(&path, Permissions::from_mode(other)).unwrap();
            file(&path).write(|out| out.write_all(b"newer")).unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"newer");
            assert_eq!(mode(&path), other);
            assert_eq!(names(&folder), [name]);
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn only_a_listener_log_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let plain = folder.path().join("plain");
        fs::write(&plain, "").unwrap();
        let names = [
            ("r.txt", 0o600),
            ("r.csv", mode(&plain)),
            ("r.html", mode(&plain)),
        ];
        for (name, want) in names {
            let path = folder.path().join(name);
            file(&path).write(|out| out.write_all(b"new")).unwrap();
            assert_eq!(mode(&path), want, "{name}");
        }
    }

    #[test]
    fn a_new_report_is_never_open_to_more_users_than_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.csv");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let written = file(&path).write(|out| {
            let found = names(&folder);
            let new = found.iter().find(|name| *name != "r.csv").unwrap();
            assert_eq!(mode(&folder.path().join(new)), 0o600);
            out.write_all(b"new")
        });
        written.unwrap();
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn an_old_report_stays_if_the_new_one_fails() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.csv");
        fs::write(&path, "old").unwrap();
        let error = file(&path).write(|out| {
            out.write_all(&[b'x'; 100_000])?;
            Err(io::Error::other("disk full"))
        });
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Stopped);
        let message = error.to_string();
        assert!(
            message.contains("r.csv: cannot be written: disk full"),
            "{message}"
        );
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(&folder), ["r.csv"]);
    }

    #[test]
    fn a_link_is_replaced_and_its_target_stays() {
        let folder = tempfile::tempdir().unwrap();
        let [target, link] = ["target", "r.csv"].map(|name| folder.path().join(name));
        fs::write(&target, "precious").unwrap();
        symlink(&target, &link).unwrap();
        file(&link).write(|out| out.write_all(b"new")).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"precious");
        assert!(fs::symlink_metadata(&link).unwrap().is_file());
    }

    #[test]
    fn a_file_that_cannot_be_written_is_found_early() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("text"), "").unwrap();
        fs::create_dir(folder.path().join("directory.csv")).unwrap();
        // Not even root may create a file in /proc.
        let in_folder = |name: &str| folder.path().join(name);
        for path in [
            PathBuf::from("/proc/r.csv"),
            in_folder("no/such/r.csv"),
            in_folder("text/r.csv"),
            in_folder("directory.csv"),
        ] {
            let error = file(&path).check(&[]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Usage, "{}", path.display());
            let name = path.display().to_string();
            assert!(error.to_string().contains(&name), "{error}");
        }
    }

    #[test]
    fn a_log_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.txt");
        fs::write(&path, "a line").unwrap();
        let logs = [Source::File(path.clone())];
        let error = file(&path).check(&logs).unwrap_err();
        assert!(error.to_string().contains("is the same file"), "{error}");
    }

    #[test]
    fn a_full_device_is_an_error_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("full.csv");
        symlink("/dev/full", &link).unwrap();
        file(&link).check(&[]).unwrap();
        let error = file(&link).write(|out| out.write_all(b"x")).unwrap_err();
        assert!(error.to_string().contains("No space left"), "{error}");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn a_pipe_is_written_to_if_a_program_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe.json");
        let mode = Mode::from_raw_mode(0o600);
        mknodat(CWD, &path, FileType::Fifo, mode, 0).unwrap();
        let pipe = file(&path);
        pipe.check(&[]).unwrap();
        assert!(pipe.write(|out| out.write_all(b"x")).is_err(), "no reader");
        let long = vec![b'x'; 1 << 20];
        let reader = {
            let mut reader = OpenOptions::new()
                .read(true)
                .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
                .open(&path)
                .unwrap();
            fcntl_setfl(&reader, OFlags::empty()).unwrap();
            thread::spawn(move || {
                // A pipe whose writer is still to come is at its end.
                let mut read = Vec::new();
                while read.len() < 1 << 20 {
                    reader.read_to_end(&mut read).unwrap();
                }
                read
            })
        };
        pipe.write(|out| out.write_all(&long)).unwrap();
        assert_eq!(reader.join().unwrap(), long);
        assert!(fs::metadata(&path).unwrap().file_type().is_fifo());
    }

    #[test]
    fn names_of_one_file_are_recognized_before_it_exists() {
        let folder = tempfile::tempdir().unwrap();
        let [one, same, other] = ["r.csv", "./r.csv", "R.csv"].map(|name| {
            let path = folder.path().join(name);
            file(path)
        });
        assert!(one.is_at(same.path()) && !one.is_at(other.path()));
        let missing = folder.path().join("no/such/r.csv");
        assert!(file(&missing).is_at(&missing));
    }
}
