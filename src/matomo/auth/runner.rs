//! Who runs the script of the Matomo on this machine, and whether its files can be trusted.
//!
//! Matomo's files usually belong to the user of the web server. Root runs the script as that user,
//! never as itself: that user decides what the script does.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{getegid, geteuid};

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

/// Folders of code, relative to Matomo's folder.
const CODE_FOLDERS: [&str; 6] = ["", "core", "libs", "misc", "plugins", "vendor"];

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
        let mut code: Vec<PathBuf> = files.flatten().map(Path::to_owned).collect();
        let mut folders = Vec::new();
        if user == 0 {
            code.extend(code_folders(script));
            folders = folders_above(&[config, script]);
        }
        let distrust = |path: &PathBuf, may_be_sticky| distrust(path, user, group, may_be_sticky);
        let why = (code.iter().find_map(|path| distrust(path, false)))
            .or_else(|| folders.iter().find_map(|path| distrust(path, true)));
        why.map_or(Ok(runner), Err)
    }

    /// A command that runs as this user, and that learns nothing about another one.
    pub fn command(self, program: &Path) -> Command {
        let Self::Owner { uid, gid } = self else {
            return Command::new(program);
        };
        // A name without a slash is searched in PATH.
        let program = match program.components().count() {
            1 => program.to_owned(),
            _ => std::path::absolute(program).unwrap_or_else(|_| program.to_owned()),
        };
        let mut command = Command::new(program);
        let passed = std::env::vars_os().filter(|(name, _)| is_passed(name));
        command
            .env_clear()
            .envs(passed)
            // Root's may be closed to that user.
            .current_dir("/")
            .gid(gid)
            // This also drops root's other groups.
            .uid(uid);
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

/// The rest of Matomo's code, which root trusts, too. The script finds it from its own folder.
fn code_folders(script: &Path) -> Vec<PathBuf> {
    let script = fs::canonicalize(script).ok();
    let levels = Path::new(TOKEN_SCRIPT).components().count();
    let matomo = script.and_then(|script| Some(script.ancestors().nth(levels)?.to_owned()));
    let folders = matomo.map(|matomo| CODE_FOLDERS.map(|folder| matomo.join(folder)));
    folders.into_iter().flatten().collect()
}

/// All folders on the way to the files. Who can rename one of them can replace the files.
fn folders_above(files: &[&Path]) -> Vec<PathBuf> {
    let names = files
        .iter()
        .flat_map(|file| [std::path::absolute(file), fs::canonicalize(file)]);
    let names = names.flatten();
    names
        .flat_map(|name| {
            name.ancestors()
                .skip(1)
                .map(Path::to_owned)
                .collect::<Vec<_>>()
        })
        .collect()
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
    use super::*;

    #[test]
    fn the_group_of_a_user_is_found() {
        let users = "root:x:0:0:root:/root:/bin/sh\nbroken\na:x:y:1\nwww-data:x:33:34::/:\n";
        assert_eq!(primary_group(users, 0), Some(0));
        assert_eq!(primary_group(users, 33), Some(34));
        assert_eq!(primary_group(users, 34), None);
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
        assert_eq!(command.get_current_dir(), Some(Path::new("/")));
        assert_eq!(command.get_program(), "php");
    }
}
