//! `sources add|list|show|test`: an agent gets its key once, and a sample says what is missing.
//!
//! Not here: TLS and the bus (api/http), and the agent itself.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::{ROWS_OFF, Room, sample, sample_path};

#[test]
fn a_source_is_given_out_once_and_only_where_it_is_safe() {
    let room = Room::with_log();
    let out = "orders.key";
    let add = |name: &str, platform: &str, out: &str| {
        room.log(&["sources", "add", name, "--platform", platform, "--out", out])
    };
    add("orders", "oracle", out).refused(2, "platform oracle is not known");
    add("a b", "postgresql", out).refused(2, "\"a b\" is not legal");
    add("orders", "postgresql", "orders.txt").refused(2, "ends in .key");
    add("orders", "postgresql", "none/orders.key").refused(4, "orders.key");
    assert!(!fs::exists(room.path(out)).expect("a look"));

    room.log(&["ingest", "--source", &sample("read", ROWS_OFF)])
        .ended(0);
    add("read", "postgresql", out).refused(2, "has no key: use another name");

    // Registered above, but the file could not be written and nothing was sent.
    add("orders", "postgresql", out).ended(0);
    add("orders", "postgresql", out).refused(2, "never written over");
    add("orders", "mariadb", "other.key").refused(2, "sends postgresql records");
    let mode = fs::metadata(room.path(out))
        .expect("the file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = fs::read_to_string(room.path(out)).expect("the file");
    for key in [
        "source = ",
        "key = ",
        "authority = ",
        "certificate = ",
        "certificate_key = ",
    ] {
        assert!(text.contains(key), "{key}");
    }
}

#[test]
fn sources_are_listed_and_shown() {
    let room = Room::with_log();
    room.log(&["sources", "list"]).ended(3);
    let out = "orders.key";
    room.log(&[
        "sources",
        "add",
        "orders",
        "--platform",
        "postgresql",
        "--out",
        out,
    ])
    .ended(0);
    room.log(&["sources", "show", "nobody"]).ended(3);
    let line = room.log(&["sources", "list"]);
    assert_eq!(line.ended(0), "1\torders\tpostgresql\t0\t0\tnever\t-\n");
    for name in ["orders", "1"] {
        let shown = room.log(&["sources", "show", name, "--json"]).json();
        assert_eq!(shown["name"], "orders");
        assert_eq!(shown["keyed"], true);
    }
}

#[test]
fn a_sample_says_what_is_missing_and_with_which_statement() {
    let room = Room::new();
    let test = |args: &[&str]| {
        let head = ["sources", "test", "--platform", "postgresql"];
        room.run(&[&head[..], args].concat())
    };
    let sample = sample_path(ROWS_OFF);
    let sample = sample.to_str().expect("a path");
    room.write("empty", "nothing here\n");
    test(&["--settings", "empty", sample]).refused(2, "names no setting");
    test(&["--settings", "absent", sample]).refused(3, "absent");
    test(&["absent"]).refused(3, "absent");

    room.write("off", "log_connections|off\npgaudit.log|write\n");
    let ran = test(&["--settings", "off", sample]);
    let text = ran.ended(1);
    assert!(
        text.contains("ALTER SYSTEM SET log_connections = on"),
        "{text}"
    );
    assert!(
        text.contains("ALTER SYSTEM SET pgaudit.log = 'all'"),
        "{text}"
    );
    let found = test(&["--json", sample]).json();
    assert_eq!(found["unparsed"], 0);
    assert_eq!(found["first"].as_array().map(Vec::len), Some(10));
    let all = found["audited"].as_array().expect("a list");
    assert!(all.iter().all(|one| one["verdict"] == "on"), "{all:?}");
}
