//! Modes, owners and links.

use std::io::Write;
use std::os::unix::fs::{chown, lchown, symlink};
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;

/// A user other than root.
const NOBODY: u32 = 65_534;

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    (folder, path)
}

/// A folder that all users can write to, as /tmp.
fn open_folder() -> (TempDir, PathBuf) {
    let (folder, path) = folder();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o1777)).unwrap();
    (folder, path)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

#[test]
fn a_new_file_is_for_its_owner_and_an_old_one_keeps_its_mode() {
    let (_folder, path) = folder();
    append(&path).unwrap().write_all(b"one ").unwrap();
    assert_eq!(mode(&path), 0o600);
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    append(&path).unwrap().write_all(b"two").unwrap();
    assert_eq!(
        (mode(&path), fs::read(&path).unwrap()),
        (0o640, b"one two".to_vec())
    );
}

#[test]
fn a_link_of_this_user_is_followed() {
    let (folder, link) = open_folder();
    let target = folder.path().join("target");
    symlink(&target, &link).unwrap();
    append(&link).unwrap().write_all(b"x").unwrap();
    append(&link).unwrap().write_all(b"y").unwrap();
    assert_eq!(
        (mode(&target), fs::read(&target).unwrap()),
        (0o600, b"xy".to_vec())
    );
    append(Path::new("/dev/stderr")).unwrap();
}

#[test]
fn what_another_user_planted_is_not_used() {
    let (folder, link) = open_folder();
    let [victim, file] = ["victim", "report"].map(|name| folder.path().join(name));
    fs::write(&victim, "").unwrap();
    fs::write(&file, "").unwrap();
    symlink(&victim, &link).unwrap();
    // Only root may give files away.
    if lchown(&link, Some(NOBODY), None).is_err() {
        return;
    }
    chown(&file, Some(NOBODY), None).unwrap();
    for path in [&link, &file] {
        let error = append(path).unwrap_err().to_string();
        assert!(error.contains("another user has put it"), "{error}");
    }
    // Elsewhere, the owner of the folder decides who may write to it.
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    append(&link).unwrap();
    append(&file).unwrap();
}

#[test]
fn a_file_is_never_created_through_a_link() {
    let (folder, link) = folder();
    let target = folder.path().join("target");
    symlink(&target, &link).unwrap();
    for visibility in [Visibility::Owner, Visibility::Umask] {
        let error = create(&link, visibility).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    }
    assert!(!target.exists());
    assert!(options().create(true).open(&link).is_err());
}

#[test]
fn a_replaced_file_keeps_its_owner_group_and_mode() {
    let (folder, old) = folder();
    let new = folder.path().join("new");
    fs::write(&old, "").unwrap();
    fs::set_permissions(&old, Permissions::from_mode(0o640)).unwrap();
    // Only root may give a file away; others keep what they may.
    let _ = chown(&old, Some(NOBODY), Some(NOBODY));
    create_replacement(&new, &old, Visibility::Umask).unwrap();
    let of = |path| {
        fs::metadata(path)
            .map(|it| (it.uid(), it.gid(), it.mode()))
            .unwrap()
    };
    assert_eq!(of(&new), of(&old));
}

#[test]
fn a_planted_file_and_a_link_decide_nothing() {
    let (folder, old) = open_folder();
    let [new, link, missing] = ["new", "link", "missing"].map(|name| folder.path().join(name));
    fs::write(&old, "").unwrap();
    fs::set_permissions(&old, Permissions::from_mode(0o666)).unwrap();
    symlink(&old, &link).unwrap();
    let mode_of_new = |old: &Path| {
        create_replacement(&new, old, Visibility::Owner).unwrap();
        let mode = mode(&new);
        fs::remove_file(&new).unwrap();
        mode
    };
    assert_eq!(mode_of_new(&old), 0o666);
    assert_eq!(mode_of_new(&link), 0o600);
    assert_eq!(mode_of_new(&missing), 0o600);
    if chown(&old, Some(NOBODY), None).is_ok() {
        assert_eq!(mode_of_new(&old), 0o600);
    }
}

#[test]
fn temporary_files_are_in_the_same_folder_and_have_new_names() {
    let one = temporary_path(Path::new("a/report.csv")).unwrap();
    assert_eq!(one.parent(), Some(Path::new("a")));
    assert_ne!(one, temporary_path(Path::new("a/report.csv")).unwrap());
    let here = temporary_path(Path::new("report.csv")).unwrap();
    assert_eq!(here.parent(), Some(Path::new(".")));
}

#[test]
fn only_a_file_that_others_can_read_causes_a_warning() {
    let (_folder, path) = folder();
    let file = create(&path, Visibility::Owner).unwrap();
    for (mode, warned) in [(0o600, false), (0o640, true), (0o604, true), (0o611, false)] {
        file.set_permissions(Permissions::from_mode(mode)).unwrap();
        assert_eq!(exposure(&file, "x").is_some(), warned, "{mode:o}");
    }
    file.set_permissions(Permissions::from_mode(0o644)).unwrap();
    let warning = exposure(&file, "--token-auth-file=a/token").unwrap();
    assert!(
        warning.starts_with("--token-auth-file=a/token: "),
        "{warning}"
    );
    assert!(warning.ends_with("`chmod 600 a/token`"), "{warning}");
    assert_eq!(exposure(&File::open("/dev/null").unwrap(), "x"), None);
}
