//! Opens and creates files that hold addresses or secrets.
//!
//! What is created is for its owner only, unless its content may be public. A name in a folder that
//! all users can write to may have been taken by another user, with a link or with a file that this
//! user can read: such a file is never used.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

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
        Ok(found) => {
            if is_planted(path, &found) {
                return Err(io::Error::other(format!(
                    "another user has put it into a folder that all users can write to (uid {})",
                    found.uid()
                )));
            }
            match existing.open(path) {
                // A link to a file that does not exist yet.
                Err(error) if error.kind() == ErrorKind::NotFound && found.is_symlink() => {
                    existing.create(true).mode(0o600).open(path)
                }
                opened => opened,
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            options().append(true).create_new(true).open(path)
        }
        Err(error) => Err(error),
    }
}

/// Gives a new file the mode, the group and, as root, the owner of the file that it will replace. A
/// link decides nothing, and neither does a file that another user put into a folder that all users
/// can write to.
///
/// # Errors
///
/// The mode cannot be set.
pub fn keep_owner_and_mode(new: &File, old: &Path) -> io::Result<()> {
    let Ok(found) = fs::symlink_metadata(old) else {
        return Ok(());
    };
    if !found.is_file() || is_planted(old, &found) {
        return Ok(());
    }
    let own = new.metadata()?;
    if found.uid() != own.uid() {
        // Only root may.
        let _ = fchown(new, Some(found.uid()), None);
    }
    let has_group = found.gid() == own.gid() || fchown(new, None, Some(found.gid())).is_ok();
    let mode = found.permissions().mode() & if has_group { 0o777 } else { 0o707 };
    new.set_permissions(Permissions::from_mode(mode))
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

/// The directory that a file is in.
pub fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests;
