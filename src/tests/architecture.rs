//! The modules of the crate are layered, as `lib.rs` says.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(rust_files(&path)),
            false if path.extension().is_some_and(|extension| extension == "rs") => {
                files.push(path);
            }
            false => {}
        }
    }
    files
}

/// Removes comments and unit tests, which may use any module.
fn product_code(text: &str) -> String {
    let (code, _) = text
        .split_once("#[cfg(test)]\nmod tests {")
        .unwrap_or((text, ""));
    let comment = Regex::new("//[^\n]*").unwrap();
    comment.replace_all(code, "").into_owned()
}

/// The layer of each module, counted from the top.
fn layers(lib: &str) -> HashMap<String, usize> {
    let module = Regex::new(r"(?m)^(?:pub )?mod (\w+);$").unwrap();
    let groups = product_code(lib);
    let groups = groups.split("\n\n").enumerate();
    groups
        .flat_map(|(layer, group)| {
            let modules = module.captures_iter(group);
            let modules: Vec<String> = modules.map(|found| found[1].to_owned()).collect();
            modules.into_iter().map(move |name| (name, layer))
        })
        .collect()
}

#[test]
fn a_module_imports_only_from_layers_below_its_own() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let layers = layers(&fs::read_to_string(src.join("lib.rs")).unwrap());
    assert!(layers.len() > 15, "{layers:?}");
    let import = Regex::new(r"\bcrate::(\w+)").unwrap();
    let mut wrong = Vec::new();
    for path in rust_files(&src) {
        let inside = path.strip_prefix(&src).unwrap();
        let name = inside.iter().next().unwrap().to_str().unwrap();
        let name = name.trim_end_matches(".rs");
        let is_test = inside
            .iter()
            .any(|part| part == "tests" || part == "tests.rs");
        let Some(layer) = layers.get(name).filter(|_| !is_test) else {
            continue;
        };
        let code = product_code(&fs::read_to_string(&path).unwrap());
        for found in import.captures_iter(&code) {
            let imported = &found[1];
            if imported != name && layers.get(imported).is_some_and(|below| below <= layer) {
                wrong.push(format!("{} imports {imported}", inside.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
