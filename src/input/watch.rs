//! Wakes the parser when something changes in the folders of the logs that it follows.
//!
//! It only makes things faster: logs are also looked at every `--poll-interval`, since network
//! shares report no changes, and a system may have too many watches.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

/// Folders that are watched at most.
const MAX_FOLDERS: usize = 1000;

/// Watches folders.
pub struct FolderWatch {
    /// `None` if the system cannot watch.
    watcher: Option<RecommendedWatcher>,
    changed: Receiver<()>,
    folders: BTreeSet<PathBuf>,
}

impl FolderWatch {
    /// Returns also why the system cannot watch folders, if it cannot.
    pub fn new() -> (Self, Option<String>) {
        // One message is enough.
        let (sender, changed) = bounded(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.map_or(true, |event| is_change(&event.kind)) {
                let _ = sender.try_send(());
            }
        });
        let (watcher, error) = match watcher {
            Ok(watcher) => (Some(watcher), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let watch = Self {
            watcher,
            changed,
            folders: BTreeSet::new(),
        };
        (watch, error)
    }

    /// Watches these folders and no others. A folder that cannot be watched is tried again with
    /// the next call.
    pub fn set_folders(&mut self, folders: BTreeSet<PathBuf>) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        self.folders.retain(|folder| {
            let is_kept = folders.contains(folder);
            if !is_kept {
                // It may be gone.
                let _ = watcher.unwatch(folder);
            }
            is_kept
        });
        for folder in folders.into_iter().take(MAX_FOLDERS) {
            if !self.folders.contains(&folder)
                && watcher.watch(&folder, RecursiveMode::NonRecursive).is_ok()
            {
                self.folders.insert(folder);
            }
        }
    }

    /// Waits until something changes, or for `time`. Returns whether something did.
    pub fn wait(&self, time: Duration) -> bool {
        match self.watcher.is_some() {
            true => self.changed.recv_timeout(time).is_ok(),
            false => {
                std::thread::sleep(time);
                false
            }
        }
    }
}

/// Whether an event may mean that a log has grown, appeared or moved. Reading a log is an event,
/// too.
fn is_change(kind: &EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) | EventKind::Modify(ModifyKind::Metadata(_)) => false,
        _ => true,
    }
}

/// The folder to watch for a file with this name.
pub fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}
