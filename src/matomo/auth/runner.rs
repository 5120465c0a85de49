//! Who runs the script of the Matomo on this machine, and whether its files can be trusted.
//!
//! Matomo's files usually belong to the user of the web server. Root runs the script as that user,
//! never as itself: that user decides what the script does.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{getegid, geteuid};

use crate::systemd;

/// The script that creates a token, relative to Matomo's folder.
pub const TOKEN_SCRIPT: &str = "misc/cron/updatetoken.php";

/// Variables that the script gets if it runs as another user, besides [`MATOMO_VARIABLES`]. Others
/// may be root's secrets.
const PASSED_VARIABLES: [&str; 7] = [
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "PHPRC",
    "PHP_INI_SCAN_DIR",
];

/// The beginning of the names of Matomo's own variables. Its plugin EnvironmentVariables reads its
/// configuration from them.
const MATOMO_VARIABLES: &str = "MATOMO_";

/// The most files to check in a Matomo's folder. One has about 15,000.
const MAX_FILES: usize = 200_000;

/// As many links as Linux follows on the way to a file.
const MAX_LINKS: usize = 40;

/// The list of users, with the group of each.
const USERS: &str = "/etc/passwd";

/// The user that a script runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runner {
    /// The user of this program.
    Own,
    /// The owner of the configuration, if this program is root's.
    Owner { uid: u32, gid: u32 },
}

impl Runner {
    /// Chooses the user for a Matomo's script.
    ///
    /// # Errors
    ///
    /// Says why the script must not be run, and what to do.
    pub fn of(config: &Path, script: &Path) -> Result<Self, String> {
        let metadata = fs::metadata(config);
        let metadata = metadata.map_err(|error| format!("{}: {error}", config.display()))?;
        let (user, group) = (geteuid().as_raw(), getegid().as_raw());
        let runner = match metadata.uid() {
            uid if user == 0 && uid != 0 => {
                let users = fs::read_to_string(USERS).unwrap_or_default();
                let gid = primary_group(&users, uid).ok_or_else(|| {
                    format!(
                        "{} belongs to a user that {USERS} does not list (uid {uid}); run this \
                         program as that user",
                        config.display()
                    )
                })?;
                Self::Owner { uid, gid }
            }
            _ => Self::Own,
        };
        let (user, group) = match runner {
            Self::Own => (user, group),
            Self::Owner { uid, gid } => (uid, gid),
        };
        let files = [config, script].into_iter();
        let files = files.flat_map(|file| [file.parent(), Some(file)]);
        let mut files = files.flatten();
        let mut why = files.find_map(|path| distrust(path, user, group, false));
        if user == 0 {
            why = why
                .or_else(|| distrust_way(config, group))
                .or_else(|| distrust_way(script, group))
                .or_else(|| distrust_matomo(script, group));
        }
        why.map_or(Ok(runner), Err)
    }

    /// A command that runs as this user, and that learns nothing about another one.
    pub fn command(self, program: &Path) -> Command {
        // A name without a slash is searched in PATH.
        let program = match program.components().count() {
            1 => program.to_owned(),
            _ => std::path::absolute(program).unwrap_or_else(|_| program.to_owned()),
        };
        let mut command = Command::new(program);
        // PHP can read code and settings from the folder it is started in, which may be another
        // user's, or closed to the owner.
        command.current_dir("/");
        for name in systemd::VARIABLES {
            command.env_remove(name);
        }
        if let Self::Owner { uid, gid } = self {
            let passed = std::env::vars_os().filter(|(name, _)| is_passed(name));
            // `uid` also drops root's other groups.
            command.env_clear().envs(passed).gid(gid).uid(uid);
        }
        command
    }

    /// For messages: `as uid 33: `, or nothing.
    pub fn label(self) -> String {
        match self {
            Self::Own => String::new(),
            Self::Owner { uid, .. } => format!("as uid {uid}: "),
        }
    }
}

fn is_passed(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    let is_listed = PASSED_VARIABLES.iter().any(|it| it.as_bytes() == name);
    is_listed || name.starts_with(MATOMO_VARIABLES.as_bytes())
}

/// Why root must not run the code of a Matomo, or `None`. All in its folder is checked: PHP runs
/// plugins, and also what the web server has cached in `tmp`.
fn distrust_matomo(script: &Path, group: u32) -> Option<String> {
    // The script finds the folder from its own.
    let script = fs::canonicalize(script).ok()?;
    let matomo = script
        .ancestors()
        .nth(Path::new(TOKEN_SCRIPT).components().count())?;
    let mut left = vec![matomo.to_owned()];
    let mut folders = BTreeSet::new();
    for _ in 0..MAX_FILES {
        let mut path = left.pop()?;
        if path.is_symlink() {
            if let Some(why) = distrust_way(&path, group) {
                return Some(why);
            }
            let Ok(target) = fs::canonicalize(&path) else {
                continue;
            };
            path = target;
        }
        if let Some(why) = distrust(&path, 0, group, false) {
            return Some(why);
        }
        // Links may lead back.
        if path.is_dir() && folders.insert(path.clone()) {
            let entries = fs::read_dir(&path).into_iter().flatten().flatten();
            left.extend(entries.map(|entry| entry.path()));
        }
    }
    Some(format!(
        "{} has more than {MAX_FILES} files, too many to check that all are root's; run this \
         program as the user of the web server",
        matomo.display()
    ))
}

/// Why root must not trust the name of a file, or `None`: another user can rename a folder on the
/// way to it, or change a link.
fn distrust_way(file: &Path, group: u32) -> Option<String> {
    let folders = folders_on_the_way(file);
    folders
        .iter()
        .find_map(|folder| distrust(folder, 0, group, true))
}

/// The folders that the system looks into to find a file, also those of links that lead to links.
fn folders_on_the_way(file: &Path) -> BTreeSet<PathBuf> {
    let names = |path: &Path| -> Vec<OsString> {
        let parts = path.components().rev();
        parts.map(|part| part.as_os_str().to_owned()).collect()
    };
    let mut left = names(&std::path::absolute(file).unwrap_or_else(|_| file.to_owned()));
    let mut folders = BTreeSet::new();
    let mut links = 0;
    let mut folder = PathBuf::new();
    while let Some(name) = left.pop() {
        if name == ".." {
            folder.pop();
            continue;
        }
        // The name `/` is in no folder, and replaces the path.
        if name != "/" {
            folders.insert(folder.clone());
        }
        let path = folder.join(name);
        match fs::read_link(&path) {
            Ok(target) if links < MAX_LINKS => {
                links += 1;
                left.extend(names(&target));
            }
            _ => folder = path,
        }
    }
    folders
}

/// Why a file or folder must not be used by this user: another user owns it or may change it. In a
/// sticky folder, others can change only their own files. Returns `None` if there is no reason.
fn distrust(path: &Path, user: u32, group: u32, may_be_sticky: bool) -> Option<String> {
    let metadata = path.metadata().ok()?;
    let (name, mode) = (path.display(), metadata.mode());
    let is_sticky = may_be_sticky && mode & 0o1000 != 0;
    let is_shared = mode & 0o020 != 0 && metadata.gid() != group;
    match metadata.uid() {
        owner if owner != user && owner != 0 => Some(format!(
            "{name} belongs to another user (uid {owner}); run this program as that user"
        )),
        _ if !is_sticky && (is_shared || mode & 0o002 != 0) => Some(format!(
            "other users can change {name}; take that right away with `chmod go-w`"
        )),
        _ => None,
    }
}

/// The group of a user, by `name:password:uid:gid:...`.
fn primary_group(users: &str, uid: u32) -> Option<u32> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':').skip(2);
        let listed: u32 = fields.next()?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        (listed == uid).then_some(gid)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_group_of_a_user_is_found() {
        let users = "root:x:0:0:root:/root:/bin/sh\nbroken\na:x:y:1\nwww-data:x:33:34::/:\n";
        assert_eq!(primary_group(users, 0), Some(0));
        assert_eq!(primary_group(users, 33), Some(34));
        assert_eq!(primary_group(users, 34), None);
    }

    #[test]
    fn all_folders_of_a_chain_of_links_are_on_the_way() {
        let root = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(root.path()).unwrap();
        for name in ["a", "b", "c/d"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        symlink("../b/two", root.join("a/one")).unwrap();
        symlink(root.join("c/d"), root.join("b/two")).unwrap();
        let mut want: BTreeSet<PathBuf> = root.ancestors().map(Path::to_owned).collect();
        want.extend(["a", "b", "c", "c/d"].map(|name| root.join(name)));
        assert_eq!(folders_on_the_way(&root.join("a/one/file")), want);
        symlink("loop", root.join("loop")).unwrap();
        assert!(folders_on_the_way(&root.join("loop")).contains(&root));
    }

    #[test]
    fn the_owner_gets_no_secrets_from_the_environment() {
        let command = Runner::Owner { uid: 33, gid: 33 }.command(Path::new("php"));
        assert!(command.get_envs().count() > 0);
        assert!(command.get_envs().all(|(name, _)| is_passed(name)));
        assert!(is_passed(OsStr::new("MATOMO_DATABASE_HOST")));
        for name in ["AWS_SECRET_ACCESS_KEY", "HOME", "PATHS", "NO_MATOMO_"] {
            assert!(!is_passed(OsStr::new(name)), "{name}");
        }
        assert_eq!(command.get_program(), "php");
    }

    #[test]
    fn nothing_of_the_current_folder_is_run() {
        for runner in [Runner::Own, Runner::Owner { uid: 33, gid: 33 }] {
            let command = runner.command(Path::new("bin/php"));
            assert_eq!(command.get_current_dir(), Some(Path::new("/")));
            let here = std::env::current_dir().unwrap();
            assert_eq!(Path::new(command.get_program()), here.join("bin/php"));
        }
    }
}
