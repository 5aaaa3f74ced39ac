//! `sources add|list|show|test`: an agent gets its key once, and a sample says what is missing.
//!
//! And `collect`: an agent follows a file through a running server.
//!
//! Not here: TLS and the bus (api/http), and what an agent does in trouble (collectors/agent).

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use super::{ROWS_OFF, Room, lines, sample, sample_path};

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
    // What is not understood shows nothing, and says what may be the matter.
    for args in [&["empty"][..], &["--settings", "prefix", "empty"][..]] {
        room.write("prefix", "log_line_prefix|%t %u@%d\n");
        let ran = test(args);
        assert_eq!(ran.code, 3, "{ran:?}");
        let prefix = if args.len() == 1 {
            "%m [%p] "
        } else {
            "%t %u@%d"
        };
        let hint = format!("--set 'log_line_prefix={prefix}'");
        assert!(ran.err.contains(&hint), "{ran:?}");
        assert!(!ran.out.contains("on   "), "{ran:?}");
    }
    let found = test(&["--json", sample]).json();
    assert_eq!(found["unparsed"], 0);
    assert_eq!(found["first"].as_array().map(Vec::len), Some(10));
    let all = found["audited"].as_array().expect("a list");
    assert!(all.iter().all(|one| one["verdict"] == "on"), "{all:?}");
}

#[test]
fn an_agent_is_refused_what_it_cannot_follow() {
    let room = Room::with_log();
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
    room.write("audit.csv", "");
    let collect = |text: &str| {
        room.write("agent.toml", text);
        room.run(&["collect", "--config", "agent.toml"])
    };
    let source = "dir = \"agent\"\n[[sources]]\ncredentials = \"orders.key\"\n";
    room.run(&["collect", "--config", "absent.toml"])
        .refused(3, "absent.toml");
    collect("dir = 1\n").refused(2, "agent.toml:1: invalid type");
    collect(source).refused(2, "needs either a path or a glob");
    collect(&source.replace("orders.key", "other.key")).refused(2, "other.key");
    let whole = format!("{source}path = \"audit.csv\"\n");
    collect(&whole).refused(2, "name no address");
    let open = fs::Permissions::from_mode(0o644);
    fs::set_permissions(room.path(out), open).expect("a mode");
    collect(&whole).refused(2, "0644");
}

#[test]
fn an_agent_follows_a_file_and_a_source_is_seen_to_live() {
    let room = Room::with_log();
    room.log(&[
        "sources",
        "add",
        "orders",
        "--platform",
        "postgresql",
        "--out",
        "orders.key",
    ])
    .ended(0);
    let served = room.serve(&[("CUSTODY__HTTP__AGENTS__LISTEN", "127.0.0.1:0")], &[]);
    let messages = served.messages();
    let messages = lines(&messages);
    let address = messages.iter().find_map(|line| line["agents"].as_str());
    let address = address.expect("the address of agents");
    let status = room.log(&["status", "--json"]).json();
    let step = status["next"][0].as_str().expect("a step");
    assert!(step.contains("orders never sent anything"), "{step}");
    // Nothing listened for agents when the file was made, so its address is written in now.
    let text = fs::read_to_string(room.path("orders.key")).expect("the file");
    let text = text.replace("address = \"\"", &format!("address = \"{address}\""));
    fs::write(room.path("orders.key"), text).expect("the file");
    room.write(
        "audit.csv",
        fs::read(sample_path(ROWS_OFF)).expect("a sample"),
    );
    room.write(
        "agent.toml",
        "dir = \"agent\"\n[[sources]]\ncredentials = \"orders.key\"\npath = \"audit.csv\"\n",
    );
    let log = fs::File::create(room.path("agent.log")).expect("a file");
    let mut agent = room
        .command(&["collect", "--config", "agent.toml"])
        .stderr(log)
        .spawn()
        .expect("the agent");
    let until = Instant::now() + Duration::from_secs(60);
    let show = || room.log(&["sources", "show", "orders", "--json"]).json();
    while show()["records"] != 179 {
        let said = fs::read_to_string(room.path("agent.log")).expect("messages");
        assert!(Instant::now() < until, "{said}\n{}", served.messages());
    }
    let shown = show();
    let beat = &shown["heartbeat"];
    assert_eq!(beat["facts"]["source"], 1, "{shown}");
    assert_eq!(beat["facts"]["every_ms"], 60_000, "{shown}");
    assert_eq!(shown["silent"], false, "{shown}");
    let entry = beat["index"].as_u64().expect("an entry").to_string();
    let entry = room.log(&["show", &entry, "--json"]).json();
    assert_eq!(entry["kind"], "heartbeat");
    let status = room.log(&["status", "--json"]).json();
    assert_eq!(status["sources"][0]["heartbeat"], *beat);
    assert_eq!(status["next"], serde_json::json!([]), "{status}");
    assert_eq!(shown["gaps"], serde_json::json!([]));
    agent.kill().expect("an end");
    agent.wait().expect("an end");
    assert_eq!(served.stop("TERM"), 0);
    room.verify(&[]).ended(0);
}
