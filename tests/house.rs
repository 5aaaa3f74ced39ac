//! The house test: what the rooms may lean on, what each file looks like, and which words and
//! crates never come in. Every check is a function from data to faults, so that a planted fault
//! can be shown to it: a check that cannot fail is worth nothing.
//!
//! Not here: what the code does. No check reads a function's meaning, and none mends anything.

mod crates;
mod docs;
mod files;
mod manifests;
mod words;

use std::fs;
use std::path::{Path, PathBuf};

/// One text file of the tree: its path from the root, with `/`, and its text.
#[derive(Clone)]
pub(crate) struct Text {
    path: String,
    text: String,
}

impl Text {
    fn new(path: &str, text: &str) -> Text {
        Text {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    fn has_extension(&self, extension: &str) -> bool {
        Path::new(&self.path)
            .extension()
            .is_some_and(|found| found == extension)
    }
}

/// Folders of the root that hold nothing of ours: built, downloaded or made by a run.
const NOT_OURS: &[&str] = &[".git", ".cache", "target", "demo", "custody-demo"];

/// The workspace's root: the nearest folder above whose manifest is a workspace.
pub(crate) fn root() -> PathBuf {
    let here = std::env::current_dir().expect("the current folder");
    let found = here.ancestors().find(|folder| {
        fs::read_to_string(folder.join("Cargo.toml"))
            .is_ok_and(|text| text.starts_with("[workspace]"))
    });
    found
        .expect("a folder above with a workspace manifest")
        .to_owned()
}

/// Every text file of the tree; files that are not UTF-8 are data and are left out.
fn tree(root: &Path) -> Vec<Text> {
    let mut texts = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for item in fs::read_dir(&folder).expect("a folder of the tree") {
            let item = item.expect("an item of the tree");
            let path = item.path();
            let from_root = path.strip_prefix(root).expect("below the root");
            let from_root = from_root.to_string_lossy().replace('\\', "/");
            if NOT_OURS.contains(&from_root.as_str()) || from_root.ends_with("__pycache__") {
                continue;
            }
            let kind = item.file_type().expect("a kind of file");
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file()
                && let Ok(text) = fs::read_to_string(&path)
            {
                texts.push(Text {
                    path: from_root,
                    text,
                });
            }
        }
    }
    texts.sort_by(|left, right| left.path.cmp(&right.path));
    texts
}

/// Fails with every fault on a line of its own.
fn none(faults: &[String]) {
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

/// A planted fault must be named, by a message that holds `word`; the twin must pass.
fn planted(faults: &[String], word: &str, twin: &[String]) {
    assert!(
        faults.iter().any(|fault| fault.contains(word)),
        "the planted fault {word:?} was not found in {faults:?}"
    );
    none(twin);
}

#[test]
fn the_tree_is_read() {
    let texts = tree(&root());
    for path in [
        "Cargo.toml",
        "tests/house.rs",
        ".ci/run",
        "docs/ARCHITECTURE.md",
    ] {
        assert!(
            texts.iter().any(|text| text.path == path),
            "{path} was not read"
        );
    }
    assert!(!texts.iter().any(|text| text.path.starts_with("target/")));
}

#[test]
#[should_panic(expected = "was not found")]
fn a_planted_fault_that_passes_is_noticed() {
    planted(&[], "a fault", &[]);
}
