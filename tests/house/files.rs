//! Files: each tells one story of a bounded length, opens with what it is for, and silences no
//! lint by hand.
//!
//! Not here: layout within a line (rustfmt) and what the compiler and clippy already deny.

use super::{Text, none, planted, root, tree};

/// Lines of a source file before its tests.
const FILE_LINES_MAX: usize = 500;
/// Lines of a file that is nothing but tests.
const TEST_FILE_LINES_MAX: usize = 1_000;
/// Columns of a line of code before the tests; tests may quote whole records.
const COLUMNS_MAX: usize = 100;
/// Lines of a function from its name to its closing brace, before the tests.
const FUNCTION_LINES_MAX: usize = 70;

/// What a source file may not hold, and what to do instead. Written in halves, as this file is
/// read too.
const NOT_IN_SOURCES: &[(&str, &str)] = &[
    (
        concat!("#[all", "ow("),
        "use #[expect(lint, reason = \"...\")]",
    ),
    (
        concat!("#![all", "ow("),
        "use #[expect(lint, reason = \"...\")]",
    ),
    (
        concat!(", all", "ow("),
        "use cfg_attr with expect and a reason",
    ),
    (
        concat!("#[ign", "ore]"),
        "say what the test needs: #[ignore = \"needs servers\"]",
    ),
    (
        concat!("TO", "DO"),
        "do it, or say in the module doc what is not here",
    ),
    (
        concat!("FIX", "ME"),
        "mend it, or say in the module doc what is not here",
    ),
];

/// Whether the whole file is tests: the package `tests`, a crate's `tests/`, `tests.rs`.
fn is_tests(path: &str) -> bool {
    path.starts_with("tests/")
        || path.contains("/tests/")
        || path.ends_with("/tests.rs")
        || path.ends_with("_tests.rs")
}

/// The lines before the tests of the file.
fn body(source: &Text) -> Vec<&str> {
    source
        .text
        .lines()
        .take_while(|line| *line != "#[cfg(test)]")
        .collect()
}

fn source_faults(source: &Text) -> Vec<String> {
    let path = &source.path;
    let mut faults = Vec::new();
    if !source.text.starts_with("//! ") {
        faults.push(format!(
            "{path}: must open with a module doc (`//!`): what it is for"
        ));
    }
    for (number, line) in (1..).zip(source.text.lines()) {
        for (pattern, instead) in NOT_IN_SOURCES
            .iter()
            .filter(|(held, _)| line.contains(held))
        {
            faults.push(format!("{path}:{number}: {pattern}: {instead}"));
        }
    }
    let body = body(source);
    let lines_max = if is_tests(path) {
        TEST_FILE_LINES_MAX
    } else {
        FILE_LINES_MAX
    };
    if body.len() > lines_max {
        faults.push(format!(
            "{path}: {} lines before its tests, bound {lines_max}",
            body.len()
        ));
    }
    if is_tests(path) {
        return faults;
    }
    for (number, line) in (1..).zip(&body) {
        let columns = line.chars().count();
        if columns > COLUMNS_MAX {
            faults.push(format!(
                "{path}:{number}: {columns} columns, bound {COLUMNS_MAX}"
            ));
        }
    }
    faults.extend(function_faults(path, &body));
    faults
}

/// A function ends at the first closing brace that stands where its first line starts: rustfmt
/// puts it there.
fn function_faults(path: &str, body: &[&str]) -> Vec<String> {
    let mut faults = Vec::new();
    for (start, line) in body.iter().enumerate() {
        let trimmed = line.trim_start();
        let Some(name) = function_name(trimmed) else {
            continue;
        };
        let indent = &line[..line.len() - trimmed.len()];
        let close = format!("{indent}}}");
        let length = body[start..]
            .iter()
            .take_while(|line| **line != close)
            .count()
            + 1;
        let one_line = line.ends_with('}') || line.ends_with(';');
        if !one_line && length > FUNCTION_LINES_MAX && start + length <= body.len() {
            faults.push(format!(
                "{path}:{}: fn {name} has {length} lines, bound {FUNCTION_LINES_MAX}",
                start + 1
            ));
        }
    }
    faults
}

/// The name of the function that starts on this line, if one does.
fn function_name(line: &str) -> Option<&str> {
    let mut words = line.split(' ');
    loop {
        match words.next()? {
            "fn" => return words.next()?.split(['(', '<']).next(),
            "pub" | "pub(crate)" | "pub(super)" | "const" | "async" | "extern" => {}
            _ => return None,
        }
    }
}

#[test]
fn every_source_file_is_in_shape() {
    let texts = tree(&root());
    let sources: Vec<&Text> = texts
        .iter()
        .filter(|text| text.has_extension("rs"))
        .collect();
    assert!(sources.len() > 10, "the sources were not found");
    let faults: Vec<String> = sources
        .iter()
        .flat_map(|source| source_faults(source))
        .collect();
    none(&faults);
}

#[test]
fn a_file_out_of_shape_is_named() {
    let faults = |path: &str, text: &str| source_faults(&Text::new(path, text));
    let good = "//! What it is for.\n\nfn f() {\n    g();\n}\n";
    let twin = faults("a/src/b.rs", good);
    let plant = |text: &str, word: &str| planted(&faults("a/src/b.rs", text), word, &twin);
    plant("fn f() {}\n", "module doc");
    for (pattern, _) in NOT_IN_SOURCES {
        plant(&format!("{good}{pattern}"), pattern);
    }
    plant(
        &format!("{good}{}", "\n".repeat(FILE_LINES_MAX)),
        "lines before its tests",
    );
    plant(&good.replace("g();", &"g();".repeat(30)), "columns");
    let long = good.replace("    g();\n", &"    g();\n".repeat(FUNCTION_LINES_MAX));
    plant(&long, "fn f has 72 lines");
    plant(
        &long.replace("fn f", "pub(crate) async fn f"),
        "fn f has 72 lines",
    );
    let last = good.replace("    g();\n", &"    g();\n".repeat(FUNCTION_LINES_MAX - 2));
    none(&faults("a/src/b.rs", &last));
}

#[test]
fn tests_have_their_own_bounds() {
    let faults = |path: &str, text: &str| source_faults(&Text::new(path, text));
    let body = format!("//! What it is for.\n{}", "\n".repeat(FILE_LINES_MAX));
    let twin = faults("a/src/tests.rs", &body);
    planted(
        &faults("a/src/b.rs", &body),
        "lines before its tests",
        &twin,
    );
    let tested = format!(
        "//! What it is for.\n#[cfg(test)]\n{}",
        "\n".repeat(FILE_LINES_MAX)
    );
    none(&faults("a/src/b.rs", &tested));
    let many = "\n".repeat(TEST_FILE_LINES_MAX);
    planted(
        &faults("tests/b.rs", &format!("{body}{many}")),
        "lines before",
        &twin,
    );
}
