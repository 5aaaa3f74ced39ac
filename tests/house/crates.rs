//! Crates: who leans on whom (floors), which heavy crates live in which one room, what pure rooms
//! may not have, which crates never come in, and under which licences the others may.
//!
//! Not here: advisories, which need a database from the network (`deny.toml` is for that).

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use super::{none, planted, root};

/// The floors of the house: a room leans only on rooms of lower floors.
const FLOORS: &[(&str, u8)] = &[
    ("ledger-core", 1),
    ("ledger-event", 2),
    ("keys-public", 2),
    ("policies-engine", 3),
    ("collectors-formats", 3),
    ("keys-secret", 3),
    ("ledger-verify", 4),
    ("ledger-log", 5),
    ("ledger-index", 6),
    ("collectors-bus", 6),
    ("policies-judge", 6),
    ("policies-report", 6),
    ("collectors-agent", 7),
    ("collectors-probe", 7),
    ("policies-evidence", 7),
    ("api-forward", 7),
    ("api-witness", 7),
    ("api-http", 8),
    ("api-cli", 9),
    ("tests", 10),
];

/// Rooms without clock, randomness, sockets and async; `ledger-verify` may read files.
pub(super) const PURE: &[&str] = &[
    "ledger-core",
    "ledger-event",
    "keys-public",
    "policies-engine",
    "collectors-formats",
    "ledger-verify",
];

/// What a pure room may not name in its manifest: clocks, randomness, sockets, async, system calls.
const NOT_PURE: &[&str] = &[
    "actix-web",
    "async-trait",
    "chrono",
    "crossbeam-channel",
    "futures",
    "futures-util",
    "getrandom",
    "hyper",
    "libc",
    "mio",
    "nix",
    "rand",
    "rand_core",
    "rayon",
    "reqwest",
    "rustix",
    "rustls",
    "signal-hook",
    "socket2",
    "tokio",
    "tokio-util",
    "tracing-subscriber",
    "ureq",
    "uuid",
];

/// Crates (a final `*` stands for any ending), the rooms they may live in, and why. The tests'
/// own dev-dependencies are free.
const ONE_ROOM: &[(&str, &[&str], &str)] = &[
    (
        "rdkafka*",
        &["collectors-bus"],
        "minutes to compile, one broker client",
    ),
    ("vaultrs", &["keys-secret"], "secrets stay with the keys"),
    (
        "pqcrypto*",
        &["keys-secret"],
        "unmaintained: behind Signer only",
    ),
    ("sled", &["ledger-index"], "holds only what can be rebuilt"),
    ("actix*", &["api-http"], "the web server has one room"),
    (
        "krilla*",
        &["policies-report"],
        "one PDF engine in one room",
    ),
    ("typst*", &["policies-report"], "one PDF engine in one room"),
    (
        "tokio-postgres",
        &["collectors-probe"],
        "database clients log in from the probe only",
    ),
    (
        "mysql_async",
        &["collectors-probe"],
        "database clients log in from the probe only",
    ),
    (
        "sqlx*",
        &["collectors-probe"],
        "database clients log in from the probe only",
    ),
    (
        "tiberius",
        &["collectors-probe"],
        "database clients log in from the probe only",
    ),
    (
        "mongodb",
        &["collectors-probe"],
        "database clients log in from the probe only",
    ),
    (
        "redis",
        &["collectors-probe"],
        "database clients log in from the probe only",
    ),
    (
        "scylla",
        &["collectors-probe"],
        "database clients log in from the probe only",
    ),
    (
        "aws-lc-rs",
        &["ledger-log", "api-cli"],
        "the publisher's second opinion",
    ),
    (
        "tokio",
        &[
            "api-cli",
            "api-http",
            "api-forward",
            "api-witness",
            "collectors-bus",
            "collectors-agent",
            "collectors-probe",
            "keys-secret",
        ],
        "async stays at the edges",
    ),
];

/// Crates that never come in, unless below one of the named parents, and why.
const BANNED: &[(&str, &[&str], &str)] = &[
    ("openssl", &[], "one TLS: rustls with aws-lc-rs"),
    (
        "openssl-sys",
        &["rdkafka-sys"],
        "one TLS: rustls with aws-lc-rs; librdkafka brings its own",
    ),
    ("native-tls", &[], "one TLS: rustls with aws-lc-rs"),
    ("ring", &[], "one provider of TLS algorithms: aws-lc-rs"),
    ("rustls-pemfile", &[], "unmaintained"),
    (
        "paste",
        &["pqcrypto-mldsa"],
        "unmaintained; a macro of pqcrypto-mldsa needs it to build",
    ),
    ("instant", &[], "unmaintained"),
    ("bincode", &[], "unmaintained"),
    ("backoff", &[], "unmaintained"),
    ("proc-macro-error", &[], "unmaintained"),
    ("serde_yaml", &[], "deprecated"),
    ("rsa", &[], "timing leak without a patch"),
    ("actix-governor", &[], "GPL-3.0-or-later"),
];

/// Referees and parsers that only tests may use: never below a shipped crate.
const DEV_ONLY: &[&str] = &[
    "sqlparser",
    "cel",
    "ct-merkle",
    "tlog_tiles",
    "signed_note",
    "proptest",
];

/// Licences that our own, Apache-2.0, can be shipped with.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// One direct dependency as a manifest of ours states it.
#[derive(Clone)]
struct Lean {
    from: String,
    to: String,
    dev: bool,
}

impl Lean {
    fn new(from: &str, to: &str) -> Lean {
        Lean {
            from: from.to_owned(),
            to: to.to_owned(),
            dev: false,
        }
    }
}

/// What is compiled: for each crate its licence and the crates that brought it in.
#[derive(Clone, Default)]
struct Graph {
    licences: BTreeMap<String, String>,
    parents: BTreeMap<String, BTreeSet<String>>,
}

fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(arguments)
        .current_dir(root())
        .output()
        .expect("cargo");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "cargo {}: {stderr}",
        arguments.join(" ")
    );
    String::from_utf8(output.stdout).expect("cargo writes UTF-8")
}

/// The workspace's crates with the folders of their manifests, and their direct dependencies.
fn workspace() -> (Vec<(String, String)>, Vec<Lean>) {
    let text = cargo(&["metadata", "--no-deps", "--format-version", "1", "--locked"]);
    let metadata: Value = serde_json::from_str(&text).expect("cargo writes JSON");
    let base = metadata["workspace_root"]
        .as_str()
        .expect("workspace_root")
        .to_owned();
    let (mut crates, mut leans) = (Vec::new(), Vec::new());
    for package in metadata["packages"].as_array().expect("packages") {
        let name = package["name"].as_str().expect("name");
        let manifest = package["manifest_path"].as_str().expect("manifest_path");
        let folder = manifest
            .trim_start_matches(&base)
            .trim_end_matches("Cargo.toml");
        crates.push((name.to_owned(), folder.trim_matches('/').to_owned()));
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            leans.push(Lean {
                from: name.to_owned(),
                to: dependency["name"].as_str().expect("name").to_owned(),
                dev: dependency["kind"].as_str() == Some("dev"),
            });
        }
    }
    (crates, leans)
}

/// The paths of the rooms that exist, such as `ledger/core`.
pub(super) fn rooms() -> Vec<String> {
    workspace()
        .0
        .into_iter()
        .map(|(_, folder)| folder)
        .collect()
}

/// What cargo compiles for this platform. `cargo tree` knows which features are on;
/// `cargo metadata` also lists crates that no feature asks for.
fn graph(edges: &str) -> Graph {
    let format = "{p}\t{l}";
    Graph::parse(&cargo(&[
        "tree",
        "--workspace",
        "--locked",
        "--prefix",
        "depth",
        "-e",
        edges,
        "--format",
        format,
    ]))
}

impl Graph {
    /// Reads lines such as `2serde v1.0.229\tMIT OR Apache-2.0`, the number being the depth.
    fn parse(tree: &str) -> Graph {
        let mut graph = Graph::default();
        let mut above: Vec<String> = Vec::new();
        for line in tree
            .lines()
            .filter(|line| line.starts_with(|c: char| c.is_ascii_digit()))
        {
            let named = line.trim_start_matches(|c: char| c.is_ascii_digit());
            let depth = line[..line.len() - named.len()].parse().expect("a depth");
            let (package, licence) = named.split_once('\t').expect("a tab before the licence");
            let name = package.split(' ').next().unwrap_or_default().to_owned();
            above.truncate(depth);
            if let Some(parent) = above.last() {
                graph
                    .parents
                    .entry(name.clone())
                    .or_default()
                    .insert(parent.clone());
            }
            let licence = licence.trim_end_matches(" (*)").to_owned();
            graph.licences.entry(name.clone()).or_insert(licence);
            above.push(name);
        }
        graph
    }
}

fn floor_faults(crates: &[(String, String)], leans: &[Lean]) -> Vec<String> {
    let floors: BTreeMap<&str, u8> = FLOORS.iter().copied().collect();
    let mut faults = Vec::new();
    for (name, folder) in crates {
        if !floors.contains_key(name.as_str()) {
            faults.push(format!("{name} has no floor in tests/house/crates.rs"));
        }
        if folder.replace('/', "-") != *name {
            faults.push(format!("{name} is not named after its folder {folder}"));
        }
    }
    for lean in leans {
        let (Some(from), Some(to)) = (floors.get(lean.from.as_str()), floors.get(lean.to.as_str()))
        else {
            continue;
        };
        if to >= from {
            faults.push(format!(
                "{} (floor {from}) leans on {} (floor {to}): a room leans only on lower ones",
                lean.from, lean.to
            ));
        }
    }
    faults
}

fn heavy_faults(leans: &[Lean]) -> Vec<String> {
    let mut faults = Vec::new();
    for lean in leans
        .iter()
        .filter(|lean| !(lean.dev && lean.from == "tests"))
    {
        for (pattern, rooms, why) in ONE_ROOM {
            let same = match pattern.strip_suffix('*') {
                Some(start) => lean.to.starts_with(start),
                None => lean.to == *pattern,
            };
            if same && !rooms.contains(&lean.from.as_str()) {
                let rooms = rooms.join(", ");
                faults.push(format!(
                    "{} has {}, kept to {rooms}: {why}",
                    lean.from, lean.to
                ));
            }
        }
    }
    faults
}

fn purity_faults(leans: &[Lean]) -> Vec<String> {
    leans
        .iter()
        .filter(|lean| !lean.dev && PURE.contains(&lean.from.as_str()))
        .filter(|lean| NOT_PURE.contains(&lean.to.as_str()))
        .map(|lean| format!("{} is pure and may not have {}", lean.from, lean.to))
        .collect()
}

fn ban_faults(all: &Graph, shipped: &Graph) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, under, why) in BANNED {
        let parents = all.parents.get(*name).into_iter().flatten();
        for parent in parents.filter(|parent| !under.contains(&parent.as_str())) {
            faults.push(format!(
                "{name} is banned ({why}), but {parent} brings it in"
            ));
        }
    }
    for name in DEV_ONLY {
        for parent in shipped.parents.get(*name).into_iter().flatten() {
            faults.push(format!("{name} is for tests only, but {parent} ships it"));
        }
    }
    faults
}

fn licence_faults(graph: &Graph) -> Vec<String> {
    graph
        .licences
        .iter()
        .filter(|(_, licence)| !may_ship(licence))
        .map(|(name, licence)| format!("{name} is under {licence:?}, which is not in the list"))
        .collect()
}

/// Faults of `deny.toml`, which says the same to those who run cargo-deny.
fn deny_faults(deny: &str) -> Vec<String> {
    let table: toml::Table = deny.parse().expect("deny.toml is TOML");
    let texts = |path: [&str; 2], key: Option<&str>| -> BTreeSet<String> {
        let list = table
            .get(path[0])
            .and_then(|section| section.get(path[1])?.as_array());
        let items = list.into_iter().flatten();
        let values = items.filter_map(|item| key.map_or(Some(item), |key| item.get(key)));
        values
            .filter_map(|value| value.as_str().map(str::to_owned))
            .collect()
    };
    let allowed = texts(["licenses", "allow"], None);
    let banned = texts(["bans", "deny"], Some("crate"));
    let ours: BTreeSet<String> = LICENCES.iter().map(|&name| name.to_owned()).collect();
    let differ = ours.symmetric_difference(&allowed);
    let mut faults: Vec<String> = differ
        .map(|name| format!("the licence {name} stands in one of deny.toml and LICENCES only"))
        .collect();
    for (name, ..) in BANNED.iter().filter(|(name, ..)| !banned.contains(*name)) {
        faults.push(format!("{name} is banned here, but not in deny.toml"));
    }
    faults
}

/// Whether an SPDX expression can be met by licences of the list: OR of ANDs, with brackets.
/// The old form `MIT/Apache-2.0` is an OR.
fn may_ship(expression: &str) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let mut words: Vec<&str> = spaced.split_whitespace().rev().collect();
    let met = any_of(&mut words);
    met && words.is_empty()
}

fn any_of(words: &mut Vec<&str>) -> bool {
    let mut met = all_of(words);
    while words.last() == Some(&"OR") {
        words.pop();
        met |= all_of(words);
    }
    met
}

fn all_of(words: &mut Vec<&str>) -> bool {
    let mut met = one_of(words);
    while words.last() == Some(&"AND") {
        words.pop();
        met &= one_of(words);
    }
    met
}

fn one_of(words: &mut Vec<&str>) -> bool {
    match words.pop() {
        Some("(") => {
            let met = any_of(words);
            words.pop() == Some(")") && met
        }
        Some(name) if words.last() == Some(&"WITH") => {
            words.pop();
            let exception = words.pop().unwrap_or_default();
            LICENCES.contains(&format!("{name} WITH {exception}").as_str())
        }
        Some(name) => LICENCES.contains(&name),
        None => false,
    }
}

#[test]
fn rooms_lean_only_on_lower_floors() {
    let (crates, leans) = workspace();
    assert!(
        crates.len() > 5 && leans.len() > 20,
        "cargo metadata was not understood"
    );
    none(&floor_faults(&crates, &leans));
}

#[test]
fn a_room_that_leans_upwards_is_named() {
    let crates = [("ledger-core".to_owned(), "ledger/core".to_owned())];
    let down = [Lean::new("ledger-log", "ledger-core")];
    let twin = floor_faults(&crates, &down);
    planted(
        &floor_faults(&crates, &[Lean::new("ledger-core", "ledger-log")]),
        "leans on",
        &twin,
    );
    planted(
        &floor_faults(&crates, &[Lean::new("ledger-log", "ledger-log")]),
        "leans on",
        &twin,
    );
    let misnamed = [("ledger-core".to_owned(), "ledger/kernel".to_owned())];
    planted(&floor_faults(&misnamed, &down), "not named after", &twin);
    let unknown = [("cellar".to_owned(), "cellar".to_owned())];
    planted(&floor_faults(&unknown, &down), "has no floor", &twin);
}

#[test]
fn heavy_crates_live_in_their_one_room() {
    none(&heavy_faults(&workspace().1));
}

#[test]
fn a_heavy_crate_in_another_room_is_named() {
    let twin = heavy_faults(&[Lean::new("keys-secret", "pqcrypto-mldsa")]);
    for (from, to) in [
        ("keys-public", "pqcrypto-mldsa"),
        ("ledger-log", "sled"),
        ("ledger-verify", "aws-lc-rs"),
        ("ledger-log", "tokio"),
        ("api-cli", "actix-web"),
    ] {
        planted(&heavy_faults(&[Lean::new(from, to)]), to, &twin);
    }
    let of_tests = Lean {
        dev: true,
        ..Lean::new("tests", "rdkafka")
    };
    none(&heavy_faults(&[of_tests]));
}

#[test]
fn pure_rooms_have_no_impure_crates() {
    none(&purity_faults(&workspace().1));
}

#[test]
fn an_impure_crate_in_a_pure_room_is_named() {
    let twin = purity_faults(&[
        Lean::new("ledger-core", "sha2"),
        Lean::new("keys-secret", "getrandom"),
        Lean {
            dev: true,
            ..Lean::new("keys-public", "getrandom")
        },
    ]);
    planted(
        &purity_faults(&[Lean::new("ledger-core", "getrandom")]),
        "is pure",
        &twin,
    );
    planted(
        &purity_faults(&[Lean::new("ledger-verify", "reqwest")]),
        "is pure",
        &twin,
    );
}

#[test]
fn no_banned_crate_comes_in() {
    let all = graph("normal,build,dev");
    assert!(all.licences.len() > 100, "cargo tree was not understood");
    none(&ban_faults(&all, &graph("normal,build")));
    none(&licence_faults(&all));
}

#[test]
fn a_banned_crate_is_named() {
    let clean = "0api-cli v0.1.0\tApache-2.0\n1serde v1.0.0\tMIT OR Apache-2.0\n";
    let allowed = "0keys-secret v0.1.0\tApache-2.0\n1pqcrypto-mldsa v0.1.2\tMIT\n2paste v1\tMIT\n";
    let ring = "0api-cli v0.1.0\tApache-2.0\n1webpki v1\tISC\n2ring v0.17\tISC (*)\n";
    let referee = "0api-cli v0.1.0\tApache-2.0\n1ct-merkle v0.3\tMIT\n";
    let (clean, ring) = (Graph::parse(clean), Graph::parse(ring));
    let twin = [
        ban_faults(&clean, &clean),
        ban_faults(&Graph::parse(allowed), &clean),
    ]
    .concat();
    planted(&ban_faults(&ring, &ring), "webpki brings it in", &twin);
    let twin = ban_faults(&Graph::parse(referee), &clean);
    planted(
        &ban_faults(&clean, &Graph::parse(referee)),
        "for tests only",
        &twin,
    );
}

#[test]
fn licences_are_judged_as_expressions() {
    for (expression, expected) in [
        ("GPL-3.0-or-later", false),
        ("MIT AND GPL-3.0-only", false),
        ("(MIT OR Apache-2.0) AND AGPL-3.0", false),
        ("Apache-2.0 WITH other-exception", false),
        ("", false),
        ("MIT MIT", false),
        ("(MIT", false),
        ("MIT", true),
        ("GPL-3.0-only OR MIT", true),
        ("MIT/Apache-2.0", true),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("ISC AND (Apache-2.0 OR ISC OR MIT)", true),
    ] {
        assert_eq!(may_ship(expression), expected, "{expression:?}");
    }
    let graph = |licence: &str| Graph::parse(&format!("0thing v1\t{licence}\n"));
    planted(
        &licence_faults(&graph("SSPL-1.0")),
        "thing is under",
        &licence_faults(&graph("MIT")),
    );
}

#[test]
fn cargo_deny_is_told_the_same() {
    let deny = std::fs::read_to_string(root().join("deny.toml")).expect("deny.toml");
    let twin = deny_faults(&deny);
    planted(
        &deny_faults(&deny.replace("\"ISC\",", "")),
        "licence ISC",
        &twin,
    );
    planted(
        &deny_faults(&deny.replace("\"ISC\",", "\"ISC\", \"X\",")),
        "licence X",
        &twin,
    );
    planted(
        &deny_faults(&deny.replace("\"ring\"", "\"rung\"")),
        "ring is banned",
        &twin,
    );
}
