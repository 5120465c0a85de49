//! Where a Matomo may be installed on this machine.
//!
//! A Matomo that is found in a usual place is only named in a message. Nothing of it is run.

use std::fs;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::runner::{Runner, TOKEN_SCRIPT};
use super::{MAX_FILE_BYTES, TOKEN_VARIABLE};
use crate::error::Error;
use crate::report::shell_word;

/// The configuration, relative to Matomo's folder.
const CONFIG: &str = "config/config.ini.php";

/// Matomo's folder has the program in `misc/log-analytics`, as the script is.
const LEVELS_BELOW_MATOMO: usize = 2;

/// Folders that packages and guides install Matomo to.
const USUAL_FOLDERS: [&str; 9] = [
    "/var/www/html",
    "/var/www/matomo",
    "/var/www/html/matomo",
    "/usr/share/matomo",
    "/srv/www/matomo",
    "/srv/matomo",
    "/var/www/html/piwik",
    "/var/www/piwik",
    "/usr/share/piwik",
];

/// Folders with the virtual hosts of Apache and nginx.
const HOST_FOLDERS: [&str; 4] = [
    "/etc/apache2/sites-enabled",
    "/etc/nginx/sites-enabled",
    "/etc/nginx/conf.d",
    "/etc/httpd/conf.d",
];

/// Maximum files to read in a folder of virtual hosts.
const MAX_HOST_FILES: usize = 200;

/// The Matomos to look for.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// The configuration of a Matomo that the program is installed in. It need not exist.
    pub beside: Option<PathBuf>,
    /// Folders that may be a Matomo.
    pub folders: Vec<PathBuf>,
    /// Folders with the virtual hosts of a web server.
    pub host_folders: Vec<PathBuf>,
    /// The host of `--url`.
    pub host: String,
}

impl Places {
    /// The places of this machine.
    pub fn usual(host: &str) -> Self {
        let program = std::env::current_exe().ok();
        let matomo = program.as_deref().map(matomo_of_program);
        Self {
            beside: matomo.map(|matomo| matomo.join(CONFIG)),
            folders: USUAL_FOLDERS.map(PathBuf::from).into(),
            host_folders: HOST_FOLDERS.map(PathBuf::from).into(),
            host: host.to_owned(),
        }
    }

    /// The error for a run without a token, which says what was looked for and what may be used.
    pub fn no_token(&self) -> Error {
        let beside = match &self.beside {
            Some(path) => format!(
                ", and this program is not in a Matomo's folder ({} does not exist)",
                path.display()
            ),
            None => String::new(),
        };
        Error::stopped(format!(
            "no token is given{beside}: use --token-auth-file or {TOKEN_VARIABLE}, or name the \
             configuration of a Matomo on this machine with --config{}",
            self.advice()
        ))
    }

    /// Lines about the Matomos that are found, each with the option that names its configuration,
    /// or about the places that have none. Begins with a line break.
    pub fn advice(&self) -> String {
        let folders = self.all_folders();
        let mut lines = String::new();
        let mut seen = Vec::new();
        for folder in &folders {
            let Some(why_not) = inspect(folder) else {
                continue;
            };
            // Two names of one folder are one Matomo.
            let real = fs::canonicalize(folder).unwrap_or_else(|_| folder.clone());
            if seen.contains(&real) {
                continue;
            }
            seen.push(real);
            let option = format!("--config={}", folder.join(CONFIG).display());
            lines.push_str(&format!(
                "\nfound a Matomo: {}{why_not}",
                shell_word(&option)
            ));
        }
        if lines.is_empty() && !folders.is_empty() {
            let names: Vec<String> = folders.iter().map(|it| it.display().to_string()).collect();
            lines = format!("\nno Matomo was found in {}", names.join(", "));
        }
        lines
    }

    /// The folders of the web server's configuration come first.
    fn all_folders(&self) -> Vec<PathBuf> {
        let mut folders: Vec<PathBuf> = Vec::new();
        let of_host = self.host_folders.iter();
        let of_host = of_host.flat_map(|folder| roots_in(folder, &self.host));
        for folder in of_host.chain(self.folders.iter().cloned()) {
            if !folders.contains(&folder) {
                folders.push(folder);
            }
        }
        folders
    }
}

/// Looks whether a folder is a Matomo. Returns why its configuration cannot be used as it is, which
/// is empty if it can, or `None` if the folder is no Matomo.
fn inspect(folder: &Path) -> Option<String> {
    let (config, script) = (folder.join(CONFIG), folder.join(TOKEN_SCRIPT));
    match fs::metadata(&config) {
        Ok(metadata) if metadata.is_file() => {}
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Some(", which this user may not read: run this program as root".to_owned());
        }
        _ => return None,
    }
    Some(match Runner::of(&config, &script) {
        _ if !script.is_file() => format!(", which has no {TOKEN_SCRIPT}"),
        Ok(_) => String::new(),
        Err(why) => format!(", but {why}"),
    })
}

/// The document roots of the virtual hosts with this name, by the files of a web server.
fn roots_in(folder: &Path, host: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = files.take(MAX_HOST_FILES).map(|file| file.path()).collect();
    files.sort_unstable();
    let texts = files
        .iter()
        .filter(|file| file.is_file())
        .filter_map(|file| {
            let mut text = Vec::new();
            File::open(file)
                .ok()?
                .take(MAX_FILE_BYTES)
                .read_to_end(&mut text)
                .ok()?;
            Some(String::from_utf8_lossy(&text).into_owned())
        });
    texts.flat_map(|text| roots(&text, host)).collect()
}

/// The document roots in a file that names the host.
fn roots(text: &str, host: &str) -> Vec<PathBuf> {
    let directives = text.lines().filter_map(|line| {
        let mut words = line
            .trim()
            .trim_end_matches([';', '{', ' '])
            .split_whitespace();
        Some((words.next()?.to_ascii_lowercase(), words))
    });
    let mut is_named = false;
    let mut roots = Vec::new();
    for (name, mut values) in directives {
        match name.as_str() {
            "servername" | "serveralias" | "server_name" => {
                is_named |= values.any(|value| {
                    let name = value.split(':').next().unwrap_or_default();
                    name.eq_ignore_ascii_case(host)
                });
            }
            "documentroot" | "root" => roots.extend(
                values
                    .next()
                    .map(|value| PathBuf::from(value.trim_matches(['"', '\''])))
                    .filter(|root| root.is_absolute()),
            ),
            _ => {}
        }
    }
    if is_named { roots } else { Vec::new() }
}

/// The folder that has this program as the script is in a Matomo.
fn matomo_of_program(program: &Path) -> PathBuf {
    let folder = program.ancestors().nth(LEVELS_BELOW_MATOMO + 1);
    folder.unwrap_or(Path::new("/")).to_owned()
}

/// The parent of the configuration's folder. Goes by names, because either may be a symbolic link.
pub fn matomo_folder(config: &Path) -> PathBuf {
    let config = std::path::absolute(config).unwrap_or_else(|_| config.to_owned());
    let folder = config.parent().unwrap_or(&config);
    match (folder.file_name(), folder.parent()) {
        (Some(_), Some(parent)) => parent.to_owned(),
        // The folder's name is `..`, or it has none.
        _ => folder.join(".."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matomo(folder: &Path) {
        for file in [CONFIG, TOKEN_SCRIPT] {
            fs::create_dir_all(folder.join(file).parent().unwrap()).unwrap();
            fs::write(folder.join(file), "").unwrap();
        }
    }

    #[test]
    fn matomos_in_the_usual_places_are_named_with_their_option() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        matomo(&at("html"));
        matomo(&at("old"));
        fs::remove_file(at("old").join(TOKEN_SCRIPT)).unwrap();
        fs::create_dir(at("empty")).unwrap();
        std::os::unix::fs::symlink(at("html"), at("again")).unwrap();
        let places = Places {
            folders: ["html", "again", "old", "empty", "none"].map(at).into(),
            ..Places::default()
        };
        let config = |name: &str| format!("--config={}", at(name).join(CONFIG).display());
        let advice = format!(
            "\nfound a Matomo: {}\nfound a Matomo: {}, which has no {TOKEN_SCRIPT}",
            config("html"),
            config("old")
        );
        assert_eq!(places.advice(), advice);
        let error = places.no_token().to_string();
        assert!(
            error.starts_with("no token is given: use --token-auth-file"),
            "{error}"
        );
        assert!(error.ends_with(&advice), "{error}");
    }

    #[test]
    fn places_without_a_matomo_are_listed() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        let places = Places {
            beside: Some(at("config/config.ini.php")),
            folders: ["a", "b"].map(at).into(),
            ..Places::default()
        };
        let error = places.no_token().to_string();
        let [a, b, beside] =
            ["a", "b", "config/config.ini.php"].map(|it| at(it).display().to_string());
        assert!(
            error.contains(&format!("({beside} does not exist)")),
            "{error}"
        );
        assert!(
            error.ends_with(&format!("\nno Matomo was found in {a}, {b}")),
            "{error}"
        );
    }

    #[test]
    fn a_configuration_that_cannot_be_used_says_why() {
        let root = tempfile::tempdir().unwrap();
        matomo(root.path());
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        fs::set_permissions(root.path().join(TOKEN_SCRIPT), open).unwrap();
        let why = inspect(root.path()).unwrap();
        assert!(why.starts_with(", but other users can change "), "{why}");
    }

    #[test]
    fn the_folder_of_the_virtual_host_is_searched() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::create_dir(at("sites")).unwrap();
        let files = [
            (
                "a.conf",
                "<VirtualHost *:80>\n ServerName www.example.com\n DocumentRoot /srv/a\n",
            ),
            (
                "b.conf",
                "<VirtualHost *:443>\n  ServerAlias x.example Stats.Example.com:443\n  DocumentRoot \"/srv/b\"\n",
            ),
            (
                "c",
                "server {\n  server_name y stats.example.com;\n  root /srv/c;\n  root $x;\n}\n",
            ),
            ("d", "# server_name stats.example.com\nroot /srv/d;\n"),
            ("e", "\u{0}server_name"),
        ];
        for (name, text) in files {
            fs::write(at("sites").join(name), text).unwrap();
        }
        let places = Places {
            folders: vec!["/srv/c".into(), "/srv/z".into()],
            host_folders: vec![at("none"), at("sites")],
            host: "stats.example.com".into(),
            ..Places::default()
        };
        let want = ["/srv/b", "/srv/c", "/srv/z"].map(PathBuf::from);
        assert_eq!(places.all_folders(), want);
    }

    #[test]
    fn the_program_is_two_folders_below_matomo() {
        let folder = |program: &str| matomo_of_program(Path::new(program));
        let script = "/srv/matomo/misc/log-analytics/import-logs";
        assert_eq!(folder(script), Path::new("/srv/matomo"));
        assert_eq!(folder("/bin/import-logs"), Path::new("/"));
    }

    #[test]
    fn matomo_is_the_parent_of_its_config_folder() {
        for (config, want) in [
            ("/srv/matomo/config/config.ini.php", "/srv/matomo"),
            (
                "/srv/matomo/a/b/../../config/config.ini.php",
                "/srv/matomo/a/b/../..",
            ),
            (
                "/srv/matomo/config/x/../config.ini.php",
                "/srv/matomo/config/x/../..",
            ),
        ] {
            assert_eq!(matomo_folder(Path::new(config)), Path::new(want));
        }
        let here = std::env::current_dir().unwrap();
        assert_eq!(matomo_folder(Path::new("config/c")), here);
        assert_eq!(matomo_folder(Path::new("c")), here.parent().unwrap());
    }
}
