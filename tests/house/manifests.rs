//! Manifests: versions stand in the root manifest only, every crate takes the workspace's lints,
//! every crate is a member, and pure rooms ban the impure parts of the standard library by name.
//!
//! Not here: which crates may be named at all (`crates.rs`).

use toml::{Table, Value};

use super::crates::PURE;
use super::{Text, none, planted, root, tree};

/// What a manifest takes from the root and never states itself.
const SHARED: &[&str] = &["version", "edition", "license", "rust-version", "publish"];

/// The source of every package that is not ours, as the lock file writes it.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// What the `clippy.toml` of every pure room bans.
const IMPURE_METHODS: &[&str] = &[
    "std::time::SystemTime::now",
    "std::time::Instant::now",
    "std::thread::spawn",
    "std::env::var",
    "std::net::TcpStream::connect",
];

/// What it bans besides, but in `ledger-verify`, which reads files.
const FILE_METHODS: &[&str] = &["std::fs::File::open", "std::fs::read", "std::fs::write"];

fn parse(text: &Text) -> Table {
    text.text
        .parse()
        .unwrap_or_else(|error| panic!("{}: {error}", text.path))
}

fn is_shared(value: Option<&Value>) -> bool {
    value
        .and_then(|value| value.get("workspace"))
        .and_then(Value::as_bool)
        == Some(true)
}

/// Faults of one crate's manifest.
fn manifest_faults(manifest: &Text) -> Vec<String> {
    let table = parse(manifest);
    let path = &manifest.path;
    let mut faults = Vec::new();
    let package = table.get("package");
    for key in SHARED {
        if !is_shared(package.and_then(|package| package.get(key))) {
            faults.push(format!(
                "{path}: package.{key} must be `{key}.workspace = true`"
            ));
        }
    }
    if !is_shared(table.get("lints")) {
        faults.push(format!("{path}: needs [lints] workspace = true"));
    }
    let mut tables = vec![&table];
    tables.extend(
        table
            .get("target")
            .and_then(Value::as_table)
            .into_iter()
            .flat_map(|targets| targets.values().filter_map(Value::as_table)),
    );
    for table in tables {
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for (name, value) in table
                .get(kind)
                .and_then(Value::as_table)
                .into_iter()
                .flatten()
            {
                let own = ["version", "path", "git", "registry"]
                    .iter()
                    .any(|key| value.get(key).is_some());
                if own || !is_shared(Some(value)) {
                    faults.push(format!("{path}: {name} must be `{name}.workspace = true`"));
                }
            }
        }
    }
    faults
}

/// Faults of the root manifest, given the folders that hold a manifest.
fn root_faults(manifest: &Text, folders: &[String]) -> Vec<String> {
    let table = parse(manifest);
    let workspace = table.get("workspace").expect("a workspace");
    let members: Vec<&str> = workspace["members"]
        .as_array()
        .expect("members")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let mut faults = Vec::new();
    for folder in folders
        .iter()
        .filter(|folder| !members.contains(&folder.as_str()))
    {
        faults.push(format!(
            "{folder} has a Cargo.toml, but is no member of the workspace"
        ));
    }
    for (name, value) in workspace["dependencies"].as_table().expect("dependencies") {
        if value.get("git").is_some() {
            faults.push(format!(
                "{name} comes from a git repository, not from a release"
            ));
        }
    }
    for (lint, level) in [("unsafe_code", "forbid"), ("missing_docs", "warn")] {
        let found = workspace
            .get("lints")
            .and_then(|lints| lints.get("rust")?.get(lint));
        if found.and_then(Value::as_str) != Some(level) {
            faults.push(format!(
                "the workspace's lints must have {lint} = {level:?}"
            ));
        }
    }
    faults
}

/// Faults of the lock file: packages from elsewhere than the public registry of crates.
fn lock_faults(lock: &Text) -> Vec<String> {
    let packages = parse(lock);
    let packages = packages.get("package").and_then(Value::as_array);
    packages
        .into_iter()
        .flatten()
        .filter_map(|package| Some((package.get("name")?, package.get("source")?)))
        .filter(|(_, source)| source.as_str() != Some(REGISTRY))
        .map(|(name, source)| format!("{name} comes from {source}"))
        .collect()
}

/// Faults of a pure room's `clippy.toml`. It hides the root's, so it repeats the root's keys.
fn ban_faults(room: &str, clippy: Option<&Text>, root_clippy: &Text) -> Vec<String> {
    let Some(clippy) = clippy else {
        return vec![format!(
            "{room} is pure and needs a clippy.toml that bans what is not"
        )];
    };
    let table = parse(clippy);
    let bans: Vec<&Value> = ["disallowed-methods", "disallowed-types"]
        .iter()
        .filter_map(|list| table.get(*list)?.as_array())
        .flatten()
        .collect();
    let path = &clippy.path;
    let mut faults = Vec::new();
    for ban in &bans {
        let reason = text_of(ban, "reason");
        if reason.len() < 10 {
            faults.push(format!("{path}: the ban {ban} gives no reason"));
        }
    }
    let files = if room == "ledger-verify" {
        &[]
    } else {
        FILE_METHODS
    };
    for method in IMPURE_METHODS.iter().chain(files) {
        if !bans.iter().any(|ban| covers(text_of(ban, "path"), method)) {
            faults.push(format!("{path}: does not ban {method}"));
        }
    }
    for (key, value) in parse(root_clippy) {
        if table.get(&key) != Some(&value) {
            faults.push(format!(
                "{path}: hides the root's clippy.toml, so repeat {key} = {value}"
            ));
        }
    }
    faults
}

fn text_of<'a>(ban: &'a Value, key: &str) -> &'a str {
    ban.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Whether a ban of this path bans the method: the method itself, or its type.
fn covers(path: &str, method: &str) -> bool {
    method
        .strip_prefix(path)
        .is_some_and(|rest| rest.is_empty() || (!path.is_empty() && rest.starts_with("::")))
}

fn find<'a>(texts: &'a [Text], path: &str) -> Option<&'a Text> {
    texts.iter().find(|text| text.path == path)
}

#[test]
fn versions_and_lints_stand_in_the_root_manifest() {
    let texts = tree(&root());
    let manifests: Vec<&Text> = texts
        .iter()
        .filter(|text| text.path.ends_with("/Cargo.toml"))
        .collect();
    assert!(manifests.len() > 5, "the manifests were not found");
    let folders: Vec<String> = manifests
        .iter()
        .map(|manifest| manifest.path.trim_end_matches("/Cargo.toml").to_owned())
        .collect();
    let mut faults = root_faults(
        find(&texts, "Cargo.toml").expect("a root manifest"),
        &folders,
    );
    faults.extend(
        manifests
            .iter()
            .flat_map(|manifest| manifest_faults(manifest)),
    );
    none(&faults);
}

#[test]
fn a_version_or_lint_of_its_own_is_named() {
    let good = "[package]\nname = \"a\"\nversion.workspace = true\nedition.workspace = true\n\
                license.workspace = true\nrust-version.workspace = true\n\
                publish.workspace = true\n[lints]\nworkspace = true\n[dependencies]\n\
                sha2.workspace = true\nserde = { workspace = true, features = [\"rc\"] }\n";
    let faults = |text: &str| manifest_faults(&Text::new("a/Cargo.toml", text));
    let twin = faults(good);
    for (from, to, word) in [
        ("sha2.workspace = true", "sha2 = \"0.11\"", "sha2 must be"),
        (
            "sha2.workspace = true",
            "sha2 = { path = \"x\" }",
            "sha2 must be",
        ),
        (
            "[dependencies]",
            "[target.'cfg(unix)'.dev-dependencies]\nx = \"1\"\n",
            "x must be",
        ),
        ("[lints]\nworkspace = true\n", "", "needs [lints]"),
        (
            "edition.workspace = true",
            "edition = \"2021\"",
            "package.edition",
        ),
    ] {
        assert!(good.contains(from));
        planted(&faults(&good.replace(from, to)), word, &twin);
    }
}

#[test]
fn a_stray_crate_a_git_source_or_a_lost_lint_is_named() {
    let good = "[workspace]\nmembers = [\"a\"]\n[workspace.dependencies]\nsha2 = \"0.11\"\n\
                [workspace.lints.rust]\nunsafe_code = \"forbid\"\nmissing_docs = \"warn\"\n";
    let faults = |text: &str, folder: &str| {
        root_faults(&Text::new("Cargo.toml", text), &[folder.to_owned()])
    };
    let twin = faults(good, "a");
    planted(&faults(good, "b"), "no member", &twin);
    let git = good.replace("\"0.11\"", "{ git = \"x\" }");
    planted(&faults(&git, "a"), "git repository", &twin);
    planted(
        &faults(&good.replace("forbid", "deny"), "a"),
        "unsafe_code",
        &twin,
    );
}

#[test]
fn a_package_from_elsewhere_is_named() {
    let lock = |source: &str| {
        let text = format!("[[package]]\nname = \"a\"\n{source}\n[[package]]\nname = \"b\"\n");
        lock_faults(&Text::new("Cargo.lock", &text))
    };
    let twin = [lock(""), lock(&format!("source = \"{REGISTRY}\""))].concat();
    planted(
        &lock("source = \"git+https://example.org/a\""),
        "comes from",
        &twin,
    );
    planted(
        &lock("source = \"registry+https://example.org/\""),
        "comes from",
        &twin,
    );
}

#[test]
fn pure_rooms_ban_what_is_not() {
    let texts = tree(&root());
    let root_clippy = find(&texts, "clippy.toml").expect("a clippy.toml in the root");
    let mut faults = Vec::new();
    for room in PURE {
        let folder = room.replacen('-', "/", 1);
        if find(&texts, &format!("{folder}/Cargo.toml")).is_some() {
            let clippy = find(&texts, &format!("{folder}/clippy.toml"));
            faults.extend(ban_faults(room, clippy, root_clippy));
        }
    }
    none(&faults);
}

#[test]
fn a_room_without_its_bans_is_named() {
    let root_clippy = Text::new("clippy.toml", "allow-unwrap-in-tests = true\n");
    let mut good = root_clippy.text.clone();
    good.push_str("disallowed-methods = [\n");
    for method in IMPURE_METHODS.iter().chain(FILE_METHODS) {
        good.push_str(&format!(
            "{{ path = \"{method}\", reason = \"a room without it\" }},\n"
        ));
    }
    good.push_str("]\n");
    let faults = |text: &str| {
        ban_faults(
            "ledger-core",
            Some(&Text::new("ledger/core/clippy.toml", text)),
            &root_clippy,
        )
    };
    let twin = faults(&good);
    planted(
        &ban_faults("ledger-core", None, &root_clippy),
        "needs a clippy.toml",
        &twin,
    );
    let one = good.replace("std::time::Instant::now", "std::time::Instant::elapsed");
    planted(&faults(&one), "does not ban std::time::Instant::now", &twin);
    planted(
        &faults(&good.replace("a room without it", "")),
        "no reason",
        &twin,
    );
    planted(
        &faults(&good.replace("allow-unwrap-in-tests = true\n", "")),
        "repeat",
        &twin,
    );
}
