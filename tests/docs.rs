//! The examples of the pages, run: every fenced block marked `console` in README.md and docs/ is
//! typed into a shell with the built program, in an empty folder for each page, and what it
//! prints is compared with what the page shows.
//!
//! A line `$ command` is run; the lines after it are what it prints on both outputs. `…` stands
//! for any text within a line, and alone on a line for any lines. `[exit 1]` as the last line says
//! how the command ends; unsaid, it ends with 0. `$ cd` holds for the commands after it, and the
//! folder `collectors` is the repository's.
//!
//! Not here: blocks of other kinds (`sh`, `toml`, `text`), which show servers and settings.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::house::root;
use crate::support::custody_bin;

/// The folder of the repository that the examples read audit records of real servers from.
const RECORDS: &str = "collectors";

/// One command of a page, with what the page says that it prints and how it ends.
#[derive(Debug, PartialEq)]
struct Example {
    line: usize,
    command: String,
    output: Vec<String>,
    exit: i32,
}

/// The examples of a page, in order.
fn examples(page: &str) -> Vec<Example> {
    let mut found: Vec<Example> = Vec::new();
    let mut within = false;
    for (line, text) in (1..).zip(page.lines()) {
        if text.starts_with("```") {
            within = text == "```console";
        } else if !within {
        } else if let Some(command) = text.strip_prefix("$ ") {
            let command = command.to_owned();
            found.push(Example {
                line,
                command,
                output: Vec::new(),
                exit: 0,
            });
        } else if let Some(example) = found.last_mut() {
            let exit = text
                .strip_prefix("[exit ")
                .and_then(|rest| rest.strip_suffix(']'));
            match exit.and_then(|code| code.parse().ok()) {
                Some(code) => example.exit = code,
                None => example.output.push(text.to_owned()),
            }
        }
    }
    found
}

/// Whether the printed lines are the shown ones. A shown line `…` takes any number of lines.
fn agree(shown: &[String], printed: &[&str]) -> bool {
    match shown.split_first() {
        None => printed.is_empty(),
        Some((line, rest)) if line == "…" => {
            (0..=printed.len()).any(|taken| agree(rest, &printed[taken..]))
        }
        Some((line, rest)) => printed.split_first().is_some_and(|(first, others)| {
            line_agrees(line, first.trim_end()) && agree(rest, others)
        }),
    }
}

/// Whether a printed line is the shown one, `…` standing for any text.
fn line_agrees(shown: &str, printed: &str) -> bool {
    let mut pieces = shown.split('…');
    let Some(mut rest) = pieces.next().and_then(|start| printed.strip_prefix(start)) else {
        return false;
    };
    let mut last = None;
    for piece in pieces {
        if let Some(before) = last.replace(piece) {
            match rest.split_once(before) {
                Some((_, after)) => rest = after,
                None => return false,
            }
        }
    }
    last.map_or(rest.is_empty(), |end| rest.ends_with(end))
}

/// Runs the examples in `folder` with `program`'s folder first in the path; says what differs.
fn differences(examples: &[Example], folder: &Path, program: &Path) -> Vec<String> {
    let mut path = vec![program.parent().expect("a folder").to_owned()];
    path.extend(std::env::split_paths(
        &std::env::var_os("PATH").unwrap_or_default(),
    ));
    let path = std::env::join_paths(path).expect("a search path");
    let mut differences = Vec::new();
    let mut folder = folder.to_owned();
    for example in examples {
        let output = Command::new("sh")
            .args(["-c", &format!("exec 2>&1\n{}", example.command)])
            .current_dir(&folder)
            .env("PATH", &path)
            .env("NO_COLOR", "1")
            .env("LC_ALL", "C.UTF-8")
            .env_remove("CUSTODY_CONFIG")
            .output()
            .expect("a shell");
        let text = String::from_utf8_lossy(&output.stdout);
        let printed: Vec<&str> = text.lines().collect();
        let exit = output.status.code();
        if let Some(other) = example.command.strip_prefix("cd ") {
            folder.push(other);
        }
        if exit != Some(example.exit) || !agree(&example.output, &printed) {
            let (line, command) = (example.line, &example.command);
            let shown = example.output.join("\n");
            differences.push(format!(
                "line {line}: $ {command}\n  shown, exit {}:\n{shown}\n  printed, exit {exit:?}:\n{text}",
                example.exit
            ));
        }
    }
    differences
}

/// README.md and every page below docs/, with their texts.
fn pages() -> Vec<(String, String)> {
    let root = root();
    let mut pages = vec![root.join("README.md")];
    let mut folders = vec![root.join("docs")];
    while let Some(folder) = folders.pop() {
        for item in fs::read_dir(folder).expect("a folder of pages") {
            let path = item.expect("an item").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    pages.sort();
    pages
        .into_iter()
        .map(|path| {
            let name = path
                .strip_prefix(&root)
                .expect("below the root")
                .display()
                .to_string();
            (name, fs::read_to_string(&path).expect("a page"))
        })
        .collect()
}

#[test]
fn the_pages_show_what_the_program_prints() {
    let program = custody_bin();
    let mut run = 0;
    let mut faults = Vec::new();
    for (name, text) in pages() {
        let examples = examples(&text);
        if examples.is_empty() {
            continue;
        }
        run += examples.len();
        let folder = tempfile::tempdir().expect("a folder");
        let records = folder.path().join(RECORDS);
        std::os::unix::fs::symlink(root().join(RECORDS), records).expect("a link");
        for difference in differences(&examples, folder.path(), &program) {
            faults.push(format!("{name}, {difference}"));
        }
    }
    assert!(run >= 5, "only {run} examples were found");
    assert!(
        faults.is_empty(),
        "{} examples differ:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

#[test]
fn a_page_that_shows_something_else_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let differ = |page: &str| differences(&examples(page), folder.path(), Path::new("/bin/sh"));
    for page in [
        "```console\n$ echo one two\none\n```\n",
        "```console\n$ echo one\none\n[exit 1]\n```\n",
        "```console\n$ echo one; exit 3\none\n```\n",
        "```console\n$ echo one\n```\n",
        "```console\n$ true\none\n```\n",
        "```console\n$ echo one >&2\ntwo\n```\n",
    ] {
        assert_eq!(differ(page).len(), 1, "{page}");
    }
    for page in [
        "```console\n$ echo one two\none …\n```\n",
        "```console\n$ echo one; exit 3\none\n[exit 3]\n```\n",
        "```console\n$ echo one >&2\none\n```\n",
        "```sh\n$ false\n```\n",
        "```console\n$ touch a\n$ ls\na\n```\n",
        "```console\n$ mkdir b\n$ touch b/c\n$ cd b\n$ ls\nc\n```\n",
    ] {
        assert_eq!(differ(page), Vec::<String>::new(), "{page}");
    }
}

#[test]
fn lines_agree_but_for_what_is_left_open() {
    for (shown, printed, expected) in [
        ("a", "b", false),
        ("a", "ab", false),
        ("a…", "ba", false),
        ("…a", "ab", false),
        ("a…b…c", "axbx", false),
        ("a…b…b", "ab", false),
        ("a…a", "a", false),
        ("", "a", false),
        ("a", "a", true),
        ("…", "", true),
        ("a…", "a", true),
        ("a…c", "abc", true),
        ("a…b…c", "axbxc", true),
        ("root …, size …", "root 5f, size 7", true),
    ] {
        assert_eq!(
            line_agrees(shown, printed),
            expected,
            "{shown:?} {printed:?}"
        );
    }
    for (shown, printed, expected) in [
        (vec!["a", "…", "z"], vec!["a", "b"], false),
        (vec!["…", "b", "…"], vec!["a"], false),
        (vec!["a", "…", "z"], vec!["a", "b", "c", "z"], true),
        (vec!["…"], vec![], true),
        (vec!["…", "b"], vec!["b", "a", "b"], true),
    ] {
        let shown: Vec<String> = shown.into_iter().map(str::to_owned).collect();
        assert_eq!(agree(&shown, &printed), expected, "{shown:?} {printed:?}");
    }
}
