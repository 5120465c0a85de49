//! Opens pages in Chromium. `IMPORT_LOGS_HTML_SAMPLES=FOLDER` keeps what it makes of them.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::html;
use super::samples::samples;

/// Proves that the checks find what they look for.
const CONTROL: &str = "<!DOCTYPE html><title>control</title><img src=\"http://control.invalid/\">\
                       <script>console.log('control')</script>";

/// Added to a page to measure its width, which its content policy does not allow.
const MEASURE: &str =
    "<script>parent.postMessage(document.documentElement.scrollWidth, '*')</script>";

/// What Chromium did with a page.
struct Visit {
    document: String,
    console: Vec<String>,
    requests: Vec<String>,
}

fn chromium(folder: &Path, arguments: &[String]) -> (String, String) {
    let output = Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
        ])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
        ])
        .args([
            "--disable-sync",
            "--hide-scrollbars",
            "--virtual-time-budget=3000",
        ])
        .args([
            "--enable-logging=stderr",
            "--host-resolver-rules=MAP * ~NOTFOUND",
        ])
        .arg(format!(
            "--user-data-dir={}",
            folder.join("profile").display()
        ))
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

fn url(file: &Path) -> String {
    format!("file://{}", file.display())
}

fn visit(folder: &Path, name: &str, page: &str) -> Visit {
    let file = folder.join(format!("{name}.html"));
    let log = folder.join("net.json");
    std::fs::write(&file, page).unwrap();
    let arguments = [
        format!("--log-net-log={}", log.display()),
        "--dump-dom".into(),
        url(&file),
    ];
    let (document, errors) = chromium(folder, &arguments);
    let log = std::fs::read_to_string(log).unwrap();
    let requests = log
        .split("\"url\":\"")
        .skip(1)
        .map(|part| part.split('"').next().unwrap());
    // The browser asks for the time and the like by itself, whatever the page.
    let requests = requests.filter(|url| !url.contains(".google.com/"));
    Visit {
        document,
        console: errors
            .lines()
            .filter(|line| line.contains("CONSOLE"))
            .map(String::from)
            .collect(),
        requests: requests.map(String::from).collect(),
    }
}

/// The width of a page in a window, in pixels. More than the window if a part of it is cut.
fn width(folder: &Path, page: &str, window: u32) -> u32 {
    let policy = "<meta http-equiv=\"Content-Security-Policy\"";
    assert!(page.contains(policy));
    let open = page
        .replace(policy, "<meta name=\"policy\"")
        .replace("</body>", &format!("{MEASURE}</body>"));
    std::fs::write(folder.join("open.html"), open).unwrap();
    let frame = format!(
        "<!DOCTYPE html><p></p><script>onmessage = message => \
         document.querySelector('p').textContent = message.data</script>\
         <iframe src=\"open.html\" style=\"border:0;width:{window}px;height:3000px\"></iframe>"
    );
    let file = folder.join("frame.html");
    std::fs::write(&file, frame).unwrap();
    let (document, _) = chromium(folder, &["--dump-dom".into(), url(&file)]);
    let width = document
        .split("<p>")
        .nth(1)
        .and_then(|rest| rest.split('<').next());
    width.unwrap().parse().unwrap()
}

#[test]
#[ignore = "needs Chromium"]
fn chromium_shows_and_prints_pages_without_errors_and_requests() {
    let temporary = tempfile::tempdir().unwrap();
    let kept = std::env::var_os("IMPORT_LOGS_HTML_SAMPLES").map(PathBuf::from);
    let folder = kept.as_deref().unwrap_or(temporary.path());
    let control = visit(folder, "control", CONTROL);
    assert_eq!(control.console.len(), 1, "{:?}", control.console);
    assert!(
        control
            .requests
            .iter()
            .any(|url| url == "http://control.invalid/")
    );

    for (name, report) in samples() {
        let page = html(&report);
        let visit = visit(folder, name, &page);
        assert!(visit.document.contains("</footer>"), "{name}");
        assert!(visit.console.is_empty(), "{name}: {:?}", visit.console);
        assert!(visit.requests.is_empty(), "{name}: {:?}", visit.requests);
        let tags = |page: &str| page.matches("<section").count() + page.matches("<td").count();
        assert_eq!(tags(&visit.document), tags(&page), "{name}");
        for window in [400, 1280] {
            assert_eq!(width(folder, &page, window), window, "{name}");
        }
    }

    let file = url(&folder.join("month.html"));
    let picture = folder.join("month.png");
    let print = folder.join("month.pdf");
    let arguments = [
        "--window-size=1280,3000".into(),
        format!("--screenshot={}", picture.display()),
        file.clone(),
    ];
    chromium(folder, &arguments);
    chromium(
        folder,
        &[format!("--print-to-pdf={}", print.display()), file],
    );
    assert!(std::fs::read(picture).unwrap().starts_with(b"\x89PNG"));
    assert!(std::fs::read(print).unwrap().starts_with(b"%PDF"));
}
