//! The README and the guide: the tests that they name exist, their commands parse and run, their
//! links work, and the output that they show is what the program prints.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use import_logs::cli::Cli;

use rustix::process::Signal;

use crate::support::clock::{LONGEST, until};
use crate::support::fake::Options;
use crate::support::folder::{fixture, fixtures};
use crate::support::stored::{count, started};
use crate::support::{Folder, Program, logs};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The README and the chapters of the guide, relative to the project's folder.
fn documents() -> Vec<PathBuf> {
    let chapters = fs::read_dir(root().join("src/guide")).unwrap();
    let mut documents: Vec<PathBuf> = chapters
        .map(|entry| Path::new("src/guide").join(entry.unwrap().file_name()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    documents.push("README.md".into());
    documents
}

/// The texts between backticks in a line.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Whether a name is that of a test, or of a module of tests in a file of its own or inside its
/// parent's file.
fn is_test(name: &str) -> bool {
    let path = name.replace("::", "/");
    let (parent, last) = path.rsplit_once('/').unwrap_or(("main", &path));
    let has_tests = |path: String| {
        let text = fs::read_to_string(root().join(path));
        text.is_ok_and(|text| text.contains("#[test]"))
    };
    let is_inside = |path: String| {
        let Ok(text) = fs::read_to_string(root().join(path)) else {
            return false;
        };
        let mut lines = text.lines().map(str::trim_start).peekable();
        while let Some(line) = lines.next() {
            let is_module = line.starts_with(&format!("mod {last} {{"));
            if is_module && lines.any(|line| line == "#[test]") {
                return true;
            }
            let function = format!("fn {last}(");
            if line == "#[test]" && lines.peek().is_some_and(|next| next.starts_with(&function)) {
                return true;
            }
        }
        false
    };
    ["tests", "src"].into_iter().any(|root| {
        has_tests(format!("{root}/{path}.rs"))
            || has_tests(format!("{root}/{path}/mod.rs"))
            || is_inside(format!("{root}/{parent}.rs"))
            || is_inside(format!("{root}/{parent}/mod.rs"))
    })
}

/// Checks the last column of the table that begins with `header`.
fn assert_names_tests(document: &str, header: &str, min_rows: usize) {
    let text = read(document);
    let rows: Vec<&str> = text
        .lines()
        .skip_while(|line| !line.starts_with(header))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .collect();
    assert!(rows.len() >= min_rows, "{document}: {} rows", rows.len());
    for row in rows {
        let tests = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        assert!(quoted(tests).count() > 0, "{document}: no test: {row}");
        for name in quoted(tests) {
            assert!(is_test(name), "{document}: {name} does not exist: {row}");
        }
    }
}

#[test]
fn every_promise_names_tests_that_exist() {
    assert_names_tests("src/guide/guarantees.md", "| promise |", 20);
}

#[test]
fn every_row_of_the_correctness_table_names_tests_that_exist() {
    assert_names_tests("README.md", "| property |", 10);
}

#[test]
fn names_of_missing_tests_are_noticed() {
    assert!(is_test("readme"));
    assert!(is_test("readme::names_of_missing_tests_are_noticed"));
    for missing in ["no_such_module", "readme::no_such_test", "readme::is_test"] {
        assert!(!is_test(missing), "{missing}");
    }
}

/// The lines of all code blocks. A line that ends in a backslash is joined with the next.
fn code_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let (mut is_code, mut is_continued) = (false, false);
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if is_code {
            let part = line.trim().trim_end_matches('\\');
            match lines.last_mut().filter(|_| is_continued) {
                Some(last) => last.push_str(part),
                None => lines.push(part.to_owned()),
            }
            is_continued = line.ends_with('\\');
        }
    }
    lines
}

/// The command lines of the program in a line of shell, cron or systemd, without its name.
fn commands(line: &str) -> Vec<&str> {
    let mut commands = Vec::new();
    if let Some((_, arguments)) = line.split_once("cargo run --release -- ") {
        commands.push(arguments);
    }
    for (at, name) in line.match_indices("import-logs ") {
        let before = line[..at].rsplit(char::is_whitespace).next().unwrap();
        let is_program = ["", "target/release/"].contains(&before) || before.ends_with("/bin/");
        // `flock` and `cargo install` take the name as an argument.
        if is_program && !line[..at].ends_with("install ") {
            commands.push(&line[at + name.len()..]);
        }
    }
    commands
}

/// Splits arguments as a shell does, up to the end of the command.
fn words(arguments: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quote) = (String::new(), None);
    for (at, char) in arguments.char_indices() {
        match (quote, char) {
            (Some(end), _) if char == end => quote = None,
            (Some(_), _) => word.push(char),
            // The end of a quoted command, as in `sh -c '...'`.
            (None, '\'' | '"') if !arguments[at + 1..].contains(char) => break,
            (None, '\'' | '"') => quote = Some(char),
            (None, '|' | ';' | '>' | '<' | '&') => break,
            (None, ' ') if word.is_empty() => {}
            (None, ' ') => words.push(std::mem::take(&mut word)),
            (None, _) => word.push(char),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[test]
fn every_command_parses() {
    let mut parsed = 0;
    for document in documents() {
        for line in code_lines(&read(&document)) {
            for command in commands(&line) {
                let mut arguments = words(command);
                // Such a file is only there when the command is run.
                arguments.retain(|word| !word.starts_with("--defaults="));
                let with_name = std::iter::once("import-logs".to_owned()).chain(arguments);
                if let Err(error) = Cli::read(with_name.map(OsString::from)) {
                    // Help and version are errors with status 0.
                    assert_eq!(
                        error.exit_code(),
                        0,
                        "{}: {line}: {error}",
                        document.display()
                    );
                }
                parsed += 1;
            }
        }
    }
    assert!(parsed >= 4, "{parsed} commands");
}

#[test]
fn commands_are_found_in_shells_cron_tables_and_units() {
    for (line, expected) in [
        ("import-logs --a='b c' d | sort", vec!["--a=b c", "d"]),
        ("$ cargo run --release -- --a b", vec!["--a", "b"]),
        (
            "1 * * * * flock /x/import-logs sh -c 'cat x | import-logs -'",
            vec!["-"],
        ),
        ("ExecStart=/usr/local/bin/import-logs --a", vec!["--a"]),
    ] {
        let found = commands(line);
        assert_eq!(found.len(), 1, "{line}");
        assert_eq!(words(found[0]), expected, "{line}");
    }
}

/// The anchor that Markdown gives to a heading.
fn anchor(heading: &str) -> String {
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[test]
fn every_link_works() {
    for document in documents() {
        let text = read(&document);
        let targets = text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split_once(')'));
        for (target, _) in targets.filter(|(target, _)| !target.starts_with("http")) {
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let file = match file {
                "" => document.clone(),
                file => document.parent().unwrap().join(file),
            };
            let name = document.display();
            assert!(root().join(&file).exists(), "{name}: {target}");
            let exists = heading.is_empty()
                || read(&file)
                    .lines()
                    .filter(|line| line.starts_with('#'))
                    .any(|line| anchor(line.trim_start_matches('#').trim()) == heading);
            assert!(exists, "{name}: {target}");
        }
    }
}

#[test]
fn every_path_in_the_readme_exists() {
    let readme = read("README.md");
    let roots = ["src/", "tests/", "fixtures/", ".ci/"];
    let paths = readme
        .lines()
        .flat_map(quoted)
        .filter(|text| roots.iter().any(|root| text.starts_with(root)));
    for path in paths {
        // Arguments and placeholders are not part of the path.
        let path = path.split([' ', 'N']).next().unwrap();
        assert!(root().join(path).exists(), "{path}");
    }
}

/// Runs a command line of the documents and checks that it prints the lines shown, in this order.
/// A line `...` replaces any number of lines.
fn assert_prints<'a>(arguments: &str, shown: impl Iterator<Item = &'a str>) {
    let folder = Folder::new();
    let program = words(arguments)
        .into_iter()
        .fold(Program::new(&folder), |program, word| {
            match word.strip_prefix("fixtures/") {
                Some(path) => program.arg(fixtures().join(path)),
                None => program.arg(word),
            }
        });
    let ended = program.run().exits(0);
    let mut printed = ended.out.lines().map(str::trim);
    let mut count = 0;
    for line in shown
        .map(str::trim)
        .filter(|line| !["", "..."].contains(line))
    {
        assert!(
            printed.any(|other| other == line),
            "{arguments}: not printed: {line}\n{ended}"
        );
        count += 1;
    }
    assert!(count >= 5, "{arguments}: {count} lines are shown");
}

#[test]
fn the_first_command_prints_the_output_shown() {
    let readme = read("README.md");
    let (_, rest) = readme.split_once("\n$ cargo run --release -- ").unwrap();
    let (block, _) = rest.split_once("```").unwrap();
    let (arguments, shown) = block.split_once('\n').unwrap();
    assert_prints(arguments, shown.lines());
}

/// If this fails because the output changed on purpose, run `fixtures/terminal/make.py`.
#[test]
fn the_picture_shows_what_the_program_prints() {
    let picture = read("fixtures/terminal/run.svg");
    let texts = picture.split("<text ").skip(1).map(|rest| {
        let (_, text) = rest.split_once('>').unwrap();
        let (text, _) = text.split_once("</text>").unwrap();
        text.replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&amp;", "&")
    });
    let texts: Vec<String> = texts.collect();
    let arguments = texts[0].strip_prefix("$ import-logs ").unwrap();
    assert_prints(arguments, texts[1..].iter().map(String::as_str));
}

/// The commands in the blocks of shell code of a document, without the program's name.
fn shell_commands(document: &Path) -> Vec<String> {
    let text = read(document);
    let blocks = text.split("```sh\n").skip(1);
    let blocks = blocks.filter_map(|rest| rest.split_once("```"));
    let lines = blocks.flat_map(|(block, _)| code_lines(&format!("```\n{block}```\n")));
    let lines: Vec<String> = lines.collect();
    let commands = lines.iter().flat_map(|line| commands(line));
    commands.map(str::to_owned).collect()
}

/// A log that a command of the documents can read.
fn log_for(command: &str) -> String {
    let with_end = |end: &str| {
        let log = fixture("ncsa_extended");
        log.lines()
            .take(200)
            .map(|line| format!("{line}{end}\n"))
            .collect()
    };
    for (words, log) in [
        (
            "--json-map",
            r#"{"client":{"ip":"192.0.2.7"},"ts":"2024-05-14T06:25:24Z","url":"/a","response":{"status":200}}"#,
        ),
        ("(?P<cache>", "192.0.2.7 2024-05-14T06:25:24 /a 200 HIT"),
    ] {
        if command.contains(words) {
            return format!("{log}\n");
        }
    }
    match command {
        _ if command.contains("icecast2") => fixture("icecast2"),
        _ if command.contains("nginx_json") => fixture("nginx_json"),
        _ if command.contains("common_complete") => (0..9)
            .map(|number| logs::hosted("www.example.com", number))
            .collect(),
        // The site follows from the host.
        _ if ["--idsite", "--sandbox", "--explain", "--log-hostname"]
            .iter()
            .all(|option| !command.contains(option)) =>
        {
            fixture("nginx_json")
        }
        _ if command.contains("%D") => with_end(" 1234"),
        _ if command.contains("X-Forwarded-For") => with_end(" \"203.0.113.9\""),
        _ => with_end(""),
    }
}

/// The file of options that the guide shows, with what this machine has.
fn defaults(url: &str) -> String {
    let guide = read("src/guide/options.md");
    let (_, rest) = guide.split_once("```toml\n").unwrap();
    let (text, _) = rest.split_once("```").unwrap();
    for shown in [
        "https://matomo.example",
        "/etc/import-logs/token",
        "quiet = true",
    ] {
        assert!(text.contains(shown), "{text}");
    }
    text.replace("https://matomo.example", url)
        .replace("/etc/import-logs/token", "token")
        .replace("/var/lib/import-logs", "state")
        .replace("quiet = true", "quiet = false")
}

/// Runs a command of the documents in an empty folder that has its logs. A server of the tests
/// takes the place of the address in it.
fn run_command(command: &str) {
    let server = started(Options::fixed(
        &[
            (1, "http://www.example.com"),
            (7, "http://blog.example.com"),
        ],
        &[("www.example.com", 1), ("blog.example.com", 7)],
    ));
    let folder = Folder::new();
    let log = log_for(command);
    let mut program = Program::new(&folder).stdin(&log);
    for word in words(command) {
        let (option, value) = word.split_once('=').unwrap_or((&word, ""));
        program = match option {
            "--url" => program.to(&server),
            "--tracker-url" => program.arg(format!("--tracker-url={}", server.url())),
            // The token is in the environment.
            "--token-auth" | "--token-auth-file" => program,
            "--state-dir" => program.arg("--state-dir=state"),
            "--defaults" => {
                folder.write("options.toml", defaults(&server.url()));
                folder.write("token", server.token().expose());
                let token = server.token().expose();
                program.arg("--defaults=options.toml").secret(token)
            }
            // Standard output is shown otherwise.
            "--quiet" => program,
            _ if option.starts_with('-') || !value.is_empty() => program.arg(&word),
            _ => {
                let name = Path::new(&word).file_name().unwrap();
                folder.write(name.to_str().unwrap().trim_end_matches('*'), &log);
                program.arg(name)
            }
        };
    }
    let ended = match command.contains("--follow") {
        false => program.run(),
        true => {
            let running = program.start();
            until(LONGEST, || count(&server) > 0);
            running.signal(Signal::TERM);
            running.end()
        }
    };
    let ended = ended.exits(0);
    let prints_only = ["--explain", "--dump-log-regex", "--generate", "--guide"];
    if !prints_only.iter().any(|option| command.contains(option)) {
        assert!(ended.summary().get("imported") > 0, "{command}: {ended}");
    }
}

#[test]
fn every_command_of_the_readme_and_the_guide_runs() {
    let mut ran = 0;
    for document in documents() {
        for command in shell_commands(&document) {
            // It needs a file of the user's own.
            let is_script = command.contains("$(");
            // The page shows a token as an example, which the harness takes for a secret.
            let is_page = command.contains("--generate");
            // They need a bucket of the user's own.
            let is_bucket = command.contains("s3://") || command.contains("--sqs-queue");
            if !is_script && !is_page && !is_bucket {
                println!("{}: {command}", document.display());
                run_command(&command);
                ran += 1;
            }
        }
    }
    assert!(ran >= 15, "{ran} commands");
}

/// The command lines of the script that need no change, in the table of the chapter on migrating.
#[test]
fn command_lines_of_the_script_still_work() {
    let chapter = read("src/guide/migrating.md");
    let rows = chapter
        .lines()
        .skip_while(|line| *line != "| with the script | now |")
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let (mut ran, mut parsed) = (0, 0);
    for row in rows {
        let row = row.replace("\\|", "\u{0}");
        let mut cells = row.split(" | ").map(|cell| cell.replace('\u{0}', "|"));
        let (script, now) = (cells.next().unwrap(), cells.next().unwrap());
        for code in quoted(&script) {
            if let Some((_, command)) = code.split_once("import_logs.py ") {
                // What follows is Apache's.
                let command = command.split('"').next().unwrap();
                if now.starts_with("the same")
                    && !command.starts_with("...")
                    && !code.contains("> ")
                {
                    run_command(command);
                    ran += 1;
                }
            } else if code.starts_with("--") {
                let line = format!("import-logs {code} access.log");
                let line = words(&line).into_iter().map(OsString::from);
                assert!(Cli::read(line).is_ok(), "{code}");
                if code.starts_with("--log-format-regex") {
                    run_command(&format!("--sandbox {code} access.log"));
                }
                parsed += 1;
            }
        }
    }
    assert!(ran >= 6 && parsed >= 9, "{ran} ran, {parsed} parsed");
}
