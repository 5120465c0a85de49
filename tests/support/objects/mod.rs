//! Emulators of object storage. Each is one process for all tests of a run, and ends with it.
//!
//! They are installed when a test first needs them. Where that fails, those tests are skipped.

mod client;
mod emulator;
mod proxy;
mod queue;

use std::io::Write;
use std::sync::LazyLock;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ring::hmac;

use super::matomo::{base64, from_base64};
use emulator::Emulator;

pub use proxy::{Fault, FaultyProxy, Seen, share};
pub use queue::Queue;

/// The account of every Azurite, and its key.
const AZURE_ACCOUNT: &str = "devstoreaccount1";
const AZURE_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// moto checks no signatures, but keeps objects from those who have none.
const S3_SIGNATURE: &str = "AWS4-HMAC-SHA256 \
    Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=none";

/// What need not be escaped in the path of a URL.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    S3,
    Azure,
    Gcs,
}

/// An emulator that runs.
#[derive(Clone, Debug)]
pub struct ObjectServer {
    service: Service,
    /// `HOST:PORT`
    address: String,
}

impl ObjectServer {
    /// S3. `None` where it cannot be installed: the test is skipped.
    pub fn start() -> Option<Self> {
        static S3: Started = LazyLock::new(|| or_say("S3", emulator::moto()));
        Self::of(Service::S3, &S3)
    }

    /// S3 and SQS in a process of their own, so that messages are extended in time.
    pub fn start_with_queues() -> Option<Self> {
        static SQS: Started = LazyLock::new(|| or_say("SQS", emulator::moto()));
        Self::of(Service::S3, &SQS)
    }

    /// Azure Blob Storage. `None` where it cannot be installed.
    pub fn start_azure() -> Option<Self> {
        static AZURE: Started = LazyLock::new(|| or_say("Azure", emulator::azurite()));
        Self::of(Service::Azure, &AZURE)
    }

    /// Google Cloud Storage. `None` where it cannot be installed.
    ///
    /// It ignores `If-Match`, and lists everything on one page.
    pub fn start_gcs() -> Option<Self> {
        static GCS: Started = LazyLock::new(|| or_say("GCS", emulator::fake_gcs()));
        Self::of(Service::Gcs, &GCS)
    }

    fn of(service: Service, started: &Started) -> Option<Self> {
        let address = started.as_ref()?.address.clone();
        Some(Self { service, address })
    }

    /// The value of `--endpoint-url`, without a trailing slash.
    pub fn endpoint(&self) -> String {
        match self.service {
            Service::S3 | Service::Gcs => format!("http://{}", self.address),
            Service::Azure => format!("http://{}/{AZURE_ACCOUNT}", self.address),
        }
    }

    /// The credentials, as environment variables.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let variables: &[(&str, &str)] = match self.service {
            Service::S3 => &[
                ("AWS_ACCESS_KEY_ID", "test"),
                ("AWS_SECRET_ACCESS_KEY", "test"),
                ("AWS_REGION", "us-east-1"),
            ],
            Service::Azure => &[
                ("AZURE_STORAGE_ACCOUNT_NAME", AZURE_ACCOUNT),
                ("AZURE_STORAGE_ACCOUNT_KEY", AZURE_KEY),
            ],
            Service::Gcs => &[("GOOGLE_BEARER_TOKEN", "test")],
        };
        let variables = variables.iter();
        variables
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect()
    }

    /// Creates a bucket, or container. Its name must be new: the other tests use the same server.
    /// It needs three characters at least, lower case letters, digits and `-`.
    pub fn bucket(&self, name: &str) -> Bucket {
        match self.service {
            Service::S3 => self.ask("PUT", format!("/{name}"), &[], b""),
            Service::Azure => {
                let target = format!("/{AZURE_ACCOUNT}/{name}?restype=container");
                self.ask("PUT", target, &[], b"");
            }
            Service::Gcs => {
                let body = format!(r#"{{"name": "{name}"}}"#);
                let target = "/storage/v1/b?project=test".to_owned();
                self.ask("POST", target, &[], body.as_bytes());
            }
        }
        Bucket {
            server: self.clone(),
            name: name.to_owned(),
        }
    }

    /// Sends a request that must succeed.
    fn ask(&self, method: &str, target: String, headers: &[(&str, &str)], body: &[u8]) {
        let mut all: Vec<(String, String)> = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        match self.service {
            Service::S3 => all.push(("authorization".into(), S3_SIGNATURE.into())),
            Service::Azure => sign_for_azure(method, &target, &mut all, body.len()),
            Service::Gcs => {}
        }
        let answer = client::exchange(&self.address, method, &target, &all, body).unwrap();
        assert!(
            answer.status < 300,
            "{method} {target}: {}, {}",
            answer.status,
            String::from_utf8_lossy(&answer.body)
        );
    }
}

type Started = LazyLock<Option<Emulator>>;

/// Says once why tests are skipped, also in runs in which they count as passed.
fn or_say(service: &str, started: Result<Emulator, String>) -> Option<Emulator> {
    started
        .inspect_err(|reason| {
            // The test runner does not hold this back, as it would the output of `eprintln`.
            let _ = writeln!(
                std::io::stderr(),
                "tests with {service} are skipped: {reason}"
            );
        })
        .ok()
}

/// A bucket of S3 or GCS, or a container of Azure.
#[derive(Clone, Debug)]
pub struct Bucket {
    server: ObjectServer,
    name: String,
}

impl Bucket {
    /// `s3://NAME/PREFIX`, `az://NAME/PREFIX` or `gs://NAME/PREFIX`
    pub fn url(&self, prefix: &str) -> String {
        let scheme = match self.server.service {
            Service::S3 => "s3",
            Service::Azure => "az",
            Service::Gcs => "gs",
        };
        format!("{scheme}://{}/{prefix}", self.name)
    }

    /// Creates an object, or replaces it.
    pub fn put(&self, key: &str, content: impl AsRef<[u8]>) {
        let content = content.as_ref();
        match self.server.service {
            Service::S3 => self.server.ask("PUT", self.target(key), &[], content),
            Service::Azure => {
                let kind = [("x-ms-blob-type", "BlockBlob")];
                self.server.ask("PUT", self.target(key), &kind, content);
            }
            Service::Gcs => {
                let target = format!(
                    "/upload/storage/v1/b/{}/o?uploadType=media&name={}",
                    self.name,
                    utf8_percent_encode(key, NON_ALPHANUMERIC)
                );
                self.server.ask("POST", target, &[], content);
            }
        }
    }

    pub fn delete(&self, key: &str) {
        self.server.ask("DELETE", self.target(key), &[], b"");
    }

    /// The path of an object.
    fn target(&self, key: &str) -> String {
        let path = format!("/{}/{}", self.name, utf8_percent_encode(key, IN_PATH));
        match self.server.service {
            Service::S3 | Service::Gcs => path,
            Service::Azure => format!("/{AZURE_ACCOUNT}{path}"),
        }
    }
}

/// Adds the headers of Azure's "Shared Key" authorization. The request has no `Content-Type`, and
/// each name in its query is in lower case.
fn sign_for_azure(method: &str, target: &str, headers: &mut Vec<(String, String)>, length: usize) {
    let date = httpdate::fmt_http_date(std::time::SystemTime::now());
    headers.push(("x-ms-date".into(), date));
    headers.push(("x-ms-version".into(), "2023-11-03".into()));
    headers.sort();
    let length = match length {
        0 => String::new(),
        _ => length.to_string(),
    };
    let headers_as_signed: String = headers
        .iter()
        .map(|(name, value)| format!("{name}:{value}\n"))
        .collect();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut query: Vec<&str> = query.split('&').filter(|pair| !pair.is_empty()).collect();
    query.sort_unstable();
    let query: String = query
        .iter()
        .map(|pair| format!("\n{}", pair.replacen('=', ":", 1)))
        .collect();
    let text = format!(
        "{method}\n\n\n{length}\n\n\n\n\n\n\n\n\n{headers_as_signed}/{AZURE_ACCOUNT}{path}{query}"
    );
    let key = hmac::Key::new(hmac::HMAC_SHA256, &from_base64(AZURE_KEY));
    let signature = base64(hmac::sign(&key, text.as_bytes()).as_ref());
    let value = format!("SharedKey {AZURE_ACCOUNT}:{signature}");
    headers.push(("authorization".into(), value));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    type Start = fn() -> Option<ObjectServer>;

    const ALL: [Start; 3] = [
        ObjectServer::start,
        ObjectServer::start_azure,
        ObjectServer::start_gcs,
    ];

    #[test]
    fn each_server_stores_replaces_and_deletes_objects() {
        for server in ALL.iter().filter_map(|start| start()) {
            let bucket = server.bucket("objects-that-go");
            for content in ["one", "", "two"] {
                bucket.put("a b/ü+%.log", content);
            }
            bucket.delete("a b/ü+%.log");
        }
    }

    #[test]
    fn a_proxy_spoils_what_its_plan_says() {
        let Some(server) = ObjectServer::start() else {
            return;
        };
        let bucket = server.bucket("spoiled");
        assert_eq!(bucket.url("a"), "s3://spoiled/a");
        bucket.put("a.log", "some lines");
        let moment = Duration::from_millis(1);
        let plan = [
            Fault::SLOW_DOWN,
            Fault::Close,
            Fault::HalfHead,
            Fault::Cut,
            Fault::Stall(moment),
            Fault::Late(moment),
        ];
        let proxy = FaultyProxy::start(&server.endpoint(), move |seen| {
            plan.get(seen.attempt - 1).cloned()
        });
        let get = || {
            let address = proxy.endpoint().replace("http://", "");
            let headers = [("authorization", S3_SIGNATURE), ("range", "bytes=5-")];
            let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
            client::exchange(&address, "GET", "/spoiled/a.log", &headers, b"")
        };
        let slow_down = get().unwrap();
        assert_eq!(slow_down.status, 503);
        assert!(String::from_utf8_lossy(&slow_down.body).contains("<Code>SlowDown</Code>"));
        for fault in ["closed", "half of the head", "cut", "stalled"] {
            assert!(get().is_err(), "{fault}");
        }
        for _late_and_faultless in 0..2 {
            let whole = get().unwrap();
            assert_eq!((whole.status, &whole.body[..]), (206, &b"lines"[..]));
        }
        assert_eq!(proxy.count("GET", "/spoiled/"), 7);
        let first = &proxy.seen()[0];
        assert_eq!(first.range.as_deref(), Some("bytes=5-"));
        assert_eq!(first.if_match, None);
    }

    #[test]
    fn the_seed_decides_which_requests_get_a_fault() {
        let seen = |path: usize, attempt| Seen {
            method: "GET".into(),
            path: path.to_string(),
            attempt,
            ..Seen::default()
        };
        let faults = |seed| {
            let plan = share(seed, 30, 2, vec![Fault::Cut, Fault::SLOW_DOWN]);
            (0..1000)
                .map(|path| plan(&seen(path, 1)))
                .collect::<Vec<_>>()
        };
        assert!(faults(1) == faults(1) && faults(1) != faults(2));
        let some = faults(1).iter().flatten().count();
        assert!((200..400).contains(&some), "{some}");
        let plan = share(1, 100, 2, vec![Fault::Cut]);
        assert_eq!(plan(&seen(1, 2)), Some(Fault::Cut));
        assert_eq!(plan(&seen(1, 3)), None);
    }
}
