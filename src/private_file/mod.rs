//! Opens and creates files that hold addresses or secrets.
//!
//! What is created is for its owner only, unless its content may be public. A name in a folder that
//! all users can write to may have been taken by another user, with a link or with a file that this
//! user can read: such a file is never used.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom, SystemRandom};
use rustix::fs::OFlags;
use rustix::process::geteuid;

/// Who may read a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    Owner,
    /// Whom the umask does not exclude.
    Umask,
}

/// Options to open a file for writing, without following a link. If it is created, only its owner
/// may read it.
pub fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options
        .write(true)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    options
}

/// Creates a file for writing.
///
/// # Errors
///
/// There is something with that name, even a link to nothing.
pub fn create(path: &Path, visibility: Visibility) -> io::Result<File> {
    let mode = match visibility {
        Visibility::Owner => 0o600,
        Visibility::Umask => 0o666,
    };
    options().create_new(true).mode(mode).open(path)
}

/// Opens a file to append to. A new one is for its owner only, an existing one keeps its mode. A
/// link of this user's is followed, also to a pipe or a device.
///
/// # Errors
///
/// The file cannot be opened, or another user has taken its name.
pub fn append(path: &Path) -> io::Result<File> {
    let mut existing = OpenOptions::new();
    existing.append(true);
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => {
            refuse_planted(path)?;
            match existing.open(path) {
                // A link to a file that does not exist yet.
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    existing.create(true).mode(0o600).open(path)
                }
                opened => opened,
            }
        }
        Ok(_) => {
            refuse_planted(path)?;
            // It may have been replaced by a link since then.
            existing.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
            existing.open(path)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            options().append(true).create_new(true).open(path)
        }
        Err(error) => Err(error),
    }
}

/// Checks that another user has not taken this name, which need not exist.
///
/// # Errors
///
/// Says who has.
pub fn refuse_planted(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if is_planted(path, &found) => Err(io::Error::other(format!(
            "another user has put it into a folder that all users can write to (uid {})",
            found.uid()
        ))),
        _ => Ok(()),
    }
}

/// Creates a file that will replace another one: with the mode and the group of that one and, if
/// this is root, with its owner. If there is no old one, `visibility` decides, and also if it is a
/// link, or a file that another user put into a folder that all users can write to.
///
/// # Errors
///
/// The file cannot be created, or its mode not be set.
pub fn create_replacement(new: &Path, old: &Path, visibility: Visibility) -> io::Result<File> {
    let found = fs::symlink_metadata(old).ok();
    let Some(found) = found.filter(|found| found.is_file() && !is_planted(old, found)) else {
        return create(new, visibility);
    };
    // The old one's readers may be fewer than the umask allows.
    let file = create(new, Visibility::Owner)?;
    let adopt = || {
        let own = file.metadata()?;
        if found.uid() != own.uid() {
            // Only root may.
            let _ = fchown(&file, Some(found.uid()), None);
        }
        let has_group = found.gid() == own.gid() || fchown(&file, None, Some(found.gid())).is_ok();
        let mode = found.permissions().mode() & if has_group { 0o777 } else { 0o707 };
        file.set_permissions(Permissions::from_mode(mode))
    };
    let adopted = adopt().inspect_err(|_| {
        // That error matters more.
        let _ = fs::remove_file(new);
    });
    adopted.map(|()| file)
}

/// A name for a temporary file beside another one. No other user can foresee it.
///
/// # Errors
///
/// The system provides no random numbers.
pub fn temporary_path(beside: &Path) -> io::Result<PathBuf> {
    let mut random = [0; 16];
    let no_random = |_| io::Error::other("the system provides no random numbers");
    SystemRandom::new().fill(&mut random).map_err(no_random)?;
    let name = format!(".import-logs-{:032x}.tmp", u128::from_ne_bytes(random));
    Ok(directory_of(beside).join(name))
}

/// The directory that a file is in.
pub fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// A warning if the file can be read by its group or others. `name` is the option with the file.
/// The pipe of `<(...)` is no file.
pub fn exposure(file: &File, name: &str) -> Option<String> {
    let metadata = file.metadata().ok()?;
    (metadata.is_file() && metadata.mode() & 0o044 != 0).then(|| {
        let path = name.split_once('=').map_or(name, |(_, path)| path);
        format!("{name}: other users can read this file; protect it with `chmod 600 {path}`")
    })
}

/// Whether another user, not root, made this entry of a folder that all users can write to. The
/// owner of the folder may have.
fn is_planted(path: &Path, found: &Metadata) -> bool {
    let is_foreign = ![geteuid().as_raw(), 0].contains(&found.uid());
    is_foreign
        && fs::metadata(directory_of(path))
            .is_ok_and(|folder| folder.mode() & 0o002 != 0 && folder.uid() != found.uid())
}

#[cfg(test)]
mod tests;
