//! Runs the program: writes to its stdin, sends signals, waits for its end, and always checks that
//! its output contains no secrets.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::support::fake::FakeMatomo;
use rustix::pipe::fcntl_setpipe_size;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::clock::{LONGEST, until};
use super::{Folder, Summary, TOKEN};

/// The program before it starts. Its environment has no token and no proxy.
pub struct Program {
    command: Command,
    input: Option<Vec<u8>>,
    secrets: Vec<String>,
    limit: Duration,
    /// The width of the terminal that stderr is.
    columns: Option<u16>,
}

impl Program {
    pub fn new(folder: &Folder) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_import-logs"));
        command.current_dir(folder.path()).env("NO_COLOR", "1");
        for proxy in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
            command.env_remove(proxy).env_remove(proxy.to_uppercase());
        }
        command.env_remove("MATOMO_TOKEN_AUTH");
        Self {
            command,
            input: None,
            secrets: vec![TOKEN.to_owned()],
            limit: LONGEST,
            columns: None,
        }
    }

    /// Makes stderr a terminal of so many columns. Its lines end with `\r\n`.
    pub fn on_terminal(mut self, columns: u16) -> Self {
        self.columns = Some(columns);
        self.env("TERM", "xterm")
    }

    /// Runs shell commands first, for example to set limits or redirect its input.
    pub fn through(mut self, shell: &str) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{shell}; exec \"$@\""), "sh"]);
        command.arg(self.command.get_program());
        command.args(self.command.get_args());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if let Some(folder) = self.command.get_current_dir() {
            command.current_dir(folder);
        }
        self.command = command;
        self
    }

    /// Imports into this server, with the super user's token in the environment.
    pub fn to(self, server: &FakeMatomo) -> Self {
        let token = server.token().expose();
        self.arg(format!("--url={}", server.url()))
            .env("MATOMO_TOKEN_AUTH", token)
            .secret(token)
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Arguments as typed, separated by blanks.
    pub fn args(mut self, typed: &str) -> Self {
        self.command.args(typed.split_whitespace());
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// A text that no output may contain.
    pub fn secret(mut self, secret: &str) -> Self {
        self.secrets.push(secret.to_owned());
        self
    }

    pub fn stdin(mut self, input: impl AsRef<[u8]>) -> Self {
        self.input = Some(input.as_ref().to_owned());
        self
    }

    /// How long the program may run.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs the program. The test fails if it does not end in time.
    pub fn run(mut self) -> Ended {
        let input = self.input.take();
        let mut running = self.start();
        let feeder = running.input.take().map(|mut stdin| {
            // The program may end before it has read everything.
            std::thread::spawn(move || stdin.write_all(&input.unwrap_or_default()))
        });
        let ended = running.end();
        feeder.map(JoinHandle::join);
        ended
    }

    /// Starts the program, with a pipe for stdin that is open until [`Running::close`].
    pub fn start(mut self) -> Running {
        self.command.stdin(Stdio::piped());
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let terminal = self.columns.map(|columns| {
            let (terminal, end) = open_terminal(columns);
            self.command.stderr(end);
            terminal
        });
        let mut child = self.command.spawn().unwrap();
        let err = match terminal {
            // It ends when the program does: the other end is open in no other process.
            Some(terminal) => Heard::listen(terminal),
            None => Heard::listen(child.stderr.take().unwrap()),
        };
        Running {
            input: child.stdin.take(),
            out: Heard::listen(child.stdout.take().unwrap()),
            err,
            child,
            secrets: self.secrets,
            limit: self.limit,
        }
    }

    /// Runs the program with a closed stdout.
    pub fn run_unheard(mut self) -> Ended {
        self.command.stdin(Stdio::null());
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap();
        drop(child.stdout.take());
        Running {
            input: None,
            out: Heard::listen(std::io::empty()),
            err: Heard::listen(child.stderr.take().unwrap()),
            child,
            secrets: self.secrets,
            limit: self.limit,
        }
        .end()
    }
}

/// Opens a terminal. Returns the end that a user sees and that of the program.
fn open_terminal(columns: u16) -> (fs::File, fs::File) {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let size = Winsize {
        ws_row: 24,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&terminal, size).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let mut options = fs::File::options();
    let end = options.read(true).write(true).open(name.to_str().unwrap());
    (fs::File::from(terminal), end.unwrap())
}

/// The program while it runs; killed when dropped.
pub struct Running {
    child: Child,
    input: Option<ChildStdin>,
    out: Heard,
    err: Heard,
    secrets: Vec<String>,
    limit: Duration,
}

impl Running {
    pub fn write(&mut self, text: &str) {
        let input = self.input.as_mut().unwrap();
        input.write_all(text.as_bytes()).unwrap();
        input.flush().unwrap();
    }

    /// Writes the input to stdin and closes it. The pipe holds a single page, and the program may
    /// end before it has read everything.
    pub fn feed(&mut self, input: Vec<u8>) {
        if let Some(mut stdin) = self.input.take() {
            fcntl_setpipe_size(&stdin, 4096).unwrap();
            std::thread::spawn(move || stdin.write_all(&input));
        }
    }

    /// Closes stdin.
    pub fn close(&mut self) {
        self.input = None;
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// The peak memory so far, in bytes. Returns `None` after the end.
    pub fn peak_memory(&self) -> Option<u64> {
        let status = fs::read_to_string(
            Path::new("/proc")
                .join(self.child.id().to_string())
                .join("status"),
        )
        .ok()?;
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kib: u64 = peak.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024)
    }

    /// The number of files that are open. Returns `None` after the end.
    pub fn open_files(&self) -> Option<usize> {
        let folder = Path::new("/proc").join(self.child.id().to_string());
        Some(fs::read_dir(folder.join("fd")).ok()?.count())
    }

    /// The CPU time so far, in hundredths of a second. Returns `None` after the end.
    pub fn cpu_ticks(&self) -> Option<u64> {
        let folder = Path::new("/proc").join(self.child.id().to_string());
        let stat = fs::read_to_string(folder.join("stat")).ok()?;
        let (_, fields) = stat.rsplit_once(')')?;
        let fields = fields.split_whitespace().skip(11).take(2);
        fields.map(|ticks| ticks.parse::<u64>().ok()).sum()
    }

    /// Whether stderr contains the text so far.
    pub fn has_said(&self, text: &str) -> bool {
        self.err.so_far().contains(text)
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Closes stdin and waits for the end.
    pub fn end(mut self) -> Ended {
        self.close();
        let mut status: Option<ExitStatus> = None;
        let in_time = until(self.limit, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        if !in_time {
            let (out, err) = (self.out.so_far(), self.err.so_far());
            panic!(
                "still running after {:?}\n--- stdout\n{out}\n--- stderr\n{err}",
                self.limit
            );
        }
        let ended = Ended {
            code: status.and_then(|status| status.code()),
            out: self.out.all(),
            err: self.err.all(),
        };
        for secret in &self.secrets {
            assert!(
                !ended.out.contains(secret.as_str()),
                "a secret on stdout: {ended}"
            );
            assert!(
                !ended.err.contains(secret.as_str()),
                "a secret on stderr: {ended}"
            );
        }
        ended
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail if the program has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An output stream, read as it is written.
struct Heard {
    text: Arc<Mutex<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
}

impl Heard {
    fn listen(mut from: impl Read + Send + 'static) -> Self {
        let text = Arc::<Mutex<Vec<u8>>>::default();
        let heard = Arc::clone(&text);
        let thread = std::thread::spawn(move || {
            let mut some = [0; 4096];
            while let Ok(read @ 1..) = from.read(&mut some) {
                heard.lock().unwrap().extend_from_slice(&some[..read]);
            }
        });
        Self {
            text,
            thread: Some(thread),
        }
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().unwrap()).into_owned()
    }

    fn all(&mut self) -> String {
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
        self.so_far()
    }
}

/// The result of a run.
#[derive(Debug)]
pub struct Ended {
    /// `None` if a signal killed the program.
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ended {
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "exit status of: {self}");
        self
    }

    /// Checks that stderr contains all of these texts.
    #[track_caller]
    pub fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.err.contains(text), "{text:?} is not on stderr: {self}");
        }
        self
    }

    #[track_caller]
    pub fn prints(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.out.contains(text), "{text:?} is not printed: {self}");
        }
        self
    }

    /// Checks that no output contains the text.
    #[track_caller]
    pub fn hides(self, text: &str) -> Self {
        assert!(!self.out.contains(text), "{text:?} on stdout: {self}");
        assert!(!self.err.contains(text), "{text:?} on stderr: {self}");
        self
    }

    pub fn summary(&self) -> Summary {
        Summary::of(&self.out)
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { code, out, err } = self;
        write!(f, "exit {code:?}\n--- stdout\n{out}\n--- stderr\n{err}")
    }
}
