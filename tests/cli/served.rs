//! The server, and that every command answers the same with it and without it.
//!
//! Not here: routes and their bounds (api/http).

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::Path;

use serde_json::Value;

use super::{ROWS_OFF, ROWS_ON, Ran, Room, lines, sample};

/// Every file below a folder with its bytes.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for item in fs::read_dir(next).expect("a folder") {
            let path = item.expect("an item").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path
                    .strip_prefix(folder)
                    .expect("below")
                    .display()
                    .to_string();
                found.insert(name, fs::read(&path).expect("bytes"));
            }
        }
    }
    found
}

/// What every command that reads says, and the files that it wrote.
fn answers(room: &Room, folder: &str) -> Vec<(String, String)> {
    fs::create_dir(room.path(folder)).expect("a folder");
    let tiles = format!("{folder}/tiles");
    let mut all = Vec::new();
    for args in [
        vec!["query"],
        vec!["query", "op:grant"],
        vec!["query", "kind:event", "--limit", "3"],
        vec!["query", "actor:nobody-at-all"],
        vec!["query", "colour:blue"],
        vec!["show", "50"],
        vec!["show", "0"],
        vec!["show", "999999"],
        vec!["tail", "--from", "100", "--limit", "20"],
        vec!["tail", "kind:source", "--from", "0", "--limit", "1"],
        vec!["proof", "60", "--out", folder],
        vec!["proof", "999999", "--out", folder],
        vec!["tiles", &tiles],
        vec!["keys", "list"],
        vec!["keys", "export"],
        vec!["config", "show"],
    ] {
        let Ran { code, out, err } = room.log(&args);
        let said = format!("{code}\n{out}\n{err}").replace(folder, "FOLDER");
        all.push((args.join(" ").replace(folder, "FOLDER"), said));
    }
    let mut status = room.log(&["status", "--json"]).json();
    for of_the_process in ["served", "open_ms", "checkpoint_age_ms", "arrays_durable"] {
        status
            .as_object_mut()
            .expect("an object")
            .remove(of_the_process);
    }
    all.push(("status".to_owned(), status.to_string()));
    for (name, bytes) in files(&room.path(folder)) {
        all.push((name, String::from_utf8_lossy(&bytes).into_owned()));
    }
    all
}

#[test]
fn every_command_answers_the_same_with_the_server_up_and_down() {
    let room = Room::with_records();
    let down = answers(&room, "folder-while-down");
    let served = room.serve(&[], &[]);
    let up = answers(&room, "folder-while-up");
    assert!(down.len() > 20, "files were compared too");
    for (without, with) in down.iter().zip(&up) {
        assert_eq!(without, with);
    }
    assert_eq!(down.len(), up.len());
    assert_eq!(served.stop("TERM"), 0);
    let again = answers(&room, "folder-once-more");
    assert_eq!(down, again, "nor does a stop change anything");
}

#[test]
fn ingest_takes_the_same_with_the_server_up_and_down() {
    let taken = |room: &Room| {
        let mut all = Vec::new();
        for (name, file) in [("pg", ROWS_OFF), ("branch", ROWS_ON), ("pg", ROWS_OFF)] {
            let ran = room.log(&["ingest", "--source", &sample(name, file), "--json"]);
            let mut summary = ran.json();
            summary
                .as_object_mut()
                .expect("an object")
                .remove("seconds");
            all.push(summary);
        }
        room.log(&["ingest", "--source", &sample("pg", ROWS_ON)])
            .refused(2, "source pg");
        room.log(&["ingest", "--source", &sample("a b", ROWS_ON)])
            .refused(2, "is not legal");
        let events = lines(room.log(&["query"]).ended(0));
        let said: Vec<Value> = (events.iter())
            .map(|entry| {
                let raw = &entry["event"]["raw_data"];
                serde_json::json!([entry["index"], entry["kind"], entry["sequence"], raw])
            })
            .collect();
        (all, said)
    };
    let down = Room::with_log();
    let up = Room::with_log();
    let served = up.serve(&[("CUSTODY__LOG__CHECKPOINT_EVERY_MS", "20")], &[]);
    assert_eq!(taken(&down), taken(&up));
    assert_eq!(served.stop("INT"), 0);
    down.verify(&[]).ended(0);
    up.verify(&[]).ended(0);
}

#[test]
fn a_stop_publishes_finishes_the_segment_and_takes_the_socket_away() {
    let room = Room::with_log();
    // A checkpoint once an hour: what is published at the end was published by the stop.
    let served = room.serve(&[("CUSTODY__LOG__CHECKPOINT_EVERY_MS", "3600000")], &[]);
    let socket = room.path("ledger/custody.sock");
    assert!(socket.exists());
    let mut ingest = room.command(&[
        "ingest",
        "--source",
        &sample("pg", ROWS_ON),
        "--config",
        "ledger/custody.toml",
    ]);
    let mut waiting = ingest
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("an ingest");
    // It waits for a checkpoint that will not come before the stop; its entries show in the log.
    let shown = room.log(&["tail", "kind:event", "--from", "0", "--limit", "34"]);
    assert_eq!(lines(shown.ended(0)).len(), 34);
    assert_eq!(served.stop("TERM"), 0);
    waiting.wait().expect("an end");
    assert!(!socket.exists());
    let report = room.verify(&["--json"]).json();
    assert_eq!(report["entries"], 36);
    assert_eq!(report["not_yet_signed"], 0);
    let not_checked = report["not_checked"].to_string();
    assert!(
        !not_checked.contains("stop") && !not_checked.contains("writing"),
        "{not_checked}"
    );
    assert_eq!(room.log(&["doctor"]).code, 0);
}

#[test]
fn a_second_server_a_port_in_use_and_a_held_log_are_refused() {
    let room = Room::with_log();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    room.log(&["serve", "--listen", &address])
        .refused(5, &format!("{address} is in use"));
    room.log(&["serve", "--listen", "7480"]).refused(2, "7480");
    let served = room.serve(&[], &["--listen", "127.0.0.1:0"]);
    room.log(&["serve"]).refused(5, "held by another process");
    room.log(&["rebuild"]).refused(5, "held by another process");
    assert_eq!(served.stop("TERM"), 0);
    room.log(&["rebuild"]).ended(0);
}

#[test]
fn no_port_is_opened_unless_it_is_set() {
    let room = Room::with_log();
    let without = room.serve(&[], &[]);
    assert_eq!(listening(without.pid()), 0);
    assert_eq!(without.stop("TERM"), 0);
    let with = room.serve(&[("CUSTODY__HTTP__LISTEN", "127.0.0.1:0")], &[]);
    assert_eq!(listening(with.pid()), 1, "the twin");
    assert_eq!(with.stop("TERM"), 0);
}

/// How many TCP sockets of a process listen.
fn listening(pid: u32) -> usize {
    let sockets: Vec<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("its files")
        .filter_map(|item| fs::read_link(item.ok()?.path()).ok())
        .filter_map(|link| {
            let link = link.display().to_string();
            Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
        })
        .collect();
    let tables = ["tcp", "tcp6"].map(|name| fs::read_to_string(format!("/proc/{pid}/net/{name}")));
    let rows = tables.into_iter().flatten().collect::<Vec<_>>().join("\n");
    let listens = |row: &&str| {
        let fields: Vec<&str> = row.split_whitespace().collect();
        fields.get(3) == Some(&"0A")
            && fields
                .get(9)
                .is_some_and(|inode| sockets.iter().any(|socket| socket == inode))
    };
    rows.lines().filter(listens).count()
}

#[test]
fn a_published_log_is_verified_from_its_url() {
    let room = Room::with_records();
    let served = room.serve(
        &[
            ("CUSTODY__HTTP__PUBLISH", "true"),
            ("CUSTODY__HTTP__ENTRIES_PUBLIC", "true"),
        ],
        &["--listen", "127.0.0.1:0"],
    );
    let started = lines(&served.messages()).remove(0);
    let address = started["address"].as_str().expect("an address").to_owned();
    let url = format!("http://{address}/log/main/2026");
    let trust = ["--trust", "ledger/trust/main.policy"];
    room.run(&[&["verify", "ftp://x/log"], trust.as_slice()].concat())
        .refused(2, "ftp");
    room.run(&[&["verify", &url, "--json"], trust.as_slice()].concat())
        .ended(6);
    assert_eq!(served.stop("TERM"), 0);
    room.run(&[&["verify", &url], trust.as_slice()].concat())
        .refused(5, "cannot");
}
