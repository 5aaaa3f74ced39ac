//! `ingest` and `parse`: every bad input gets one line and loses nothing, every record is taken once.
//!
//! Not here: what a record says (collectors/formats).

use std::fs;
use std::io::Write;
use std::process::Command;

use serde_json::Value;

use super::{ROWS_OFF, ROWS_ON, Room, lines, sample, sample_path, source};

#[test]
fn what_is_no_audit_file_is_refused_and_nothing_is_appended() {
    let room = Room::with_records();
    let before = room.size();
    let pipe = room.path("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .expect("mkfifo")
            .success()
    );
    let good = sample("new", ROWS_ON);
    let ingest = |spec: &str| room.log(&["ingest", "--source", &good, "--source", spec]);
    ingest(&source("x", &room.path("ledger"))).refused(2, "is a folder: name a regular file");
    ingest(&source("x", &pipe)).refused(2, "is a named pipe");
    ingest("x=postgresql:/dev/zero").refused(2, "is a device");
    ingest(&source("x", &room.path("absent.csv"))).refused(3, "absent.csv cannot be read");
    let oracle = sample("x", ROWS_ON).replace("postgresql", "oracle");
    ingest(&oracle).refused(2, "platform oracle is not known");
    ingest(&good).refused(2, "source new is given twice");
    assert_eq!(
        room.size(),
        before,
        "a refusal appends nothing, of other sources neither"
    );
    room.log(&["ingest", "--source", &good]).ended(0);
    assert_eq!(room.size(), before + 35, "34 records and the registration");
}

#[test]
fn a_name_that_is_none_is_refused() {
    let room = Room::with_log();
    let ingest = |name: &str| room.log(&["ingest", "--source", &sample(name, ROWS_ON)]);
    ingest("a b").refused(2, "\"a b\" is not legal");
    ingest(&"n".repeat(65)).refused(2, "is not legal");
    assert_eq!(room.size(), 1);
    ingest(&"n".repeat(64)).ended(0);
}

#[test]
fn another_a_cut_and_a_rewritten_file_are_refused_with_what_differs() {
    let room = Room::with_log();
    let bytes = fs::read(sample_path(ROWS_OFF)).expect("a sample");
    let path = room.write("pg.csv", &bytes);
    let ingest = || room.log(&["ingest", "--source", &source("pg", &path)]);
    ingest().ended(0);
    let before = room.size();
    let refused = |bytes: &[u8], word: &str| {
        fs::write(&path, bytes).expect("a file");
        let ran = ingest();
        ran.refused(2, word);
        ran.refused(2, "take it under a new source name");
        assert_eq!(room.size(), before);
    };
    refused(&bytes[..bytes.len() - 200], "it was cut or replaced");
    let mut other = bytes.clone();
    other[0] ^= 1;
    refused(&other, "begins otherwise");
    let mut rewritten = bytes.clone();
    let last = rewritten.len() - 3;
    rewritten[last] ^= 1;
    refused(&rewritten, "it was rewritten");
    fs::write(&path, &bytes).expect("a file");
    assert!(ingest().ended(0).contains("pg: nothing new"));
    let moved = room.write("pg.csv.1", &bytes);
    let renamed = room.log(&["ingest", "--source", &source("pg", &moved)]);
    assert!(
        renamed.ended(0).contains("nothing new"),
        "the same file by another name"
    );
    assert_eq!(room.size(), before);
}

#[test]
fn a_file_that_grows_is_read_on_and_a_half_line_is_left() {
    let room = Room::with_log();
    let bytes = fs::read(sample_path(ROWS_OFF)).expect("a sample");
    let path = room.write("pg.csv", b"");
    let mut file = fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .expect("a file");
    let ingest = || room.log(&["ingest", "--source", &source("pg", &path), "--json"]);
    let mut records = 0;
    for chunk in bytes.chunks(7_001) {
        file.write_all(chunk).expect("written");
        let ran = ingest();
        let taken = &ran.json()["sources"][0];
        records += taken["records"].as_u64().expect("a count");
        assert_eq!(taken["records_total"], records);
        let left = taken["left_bytes"].as_u64().expect("a count");
        assert_eq!(
            left > 0,
            ran.err.contains("are left for the next run"),
            "{ran:?}"
        );
    }
    assert_eq!(records, 179);
    let again = ingest().json();
    assert_eq!(again["sources"][0]["records"], 0);
    let events = lines(room.log(&["query", "kind:event"]).ended(0));
    let once = Room::with_records();
    let expected = lines(once.log(&["query", "kind:event"]).ended(0));
    assert_eq!(
        raw(&events),
        raw(&expected),
        "in pieces or at once: the same records, each once"
    );
    let numbers: Vec<u64> = events
        .iter()
        .filter_map(|e| e["sequence"].as_u64())
        .collect();
    assert_eq!(numbers, (1..=179).collect::<Vec<_>>());
    room.verify(&[]).ended(0);
}

fn raw(events: &[Value]) -> Vec<&Value> {
    events
        .iter()
        .map(|entry| &entry["event"]["raw_data"])
        .collect()
}

#[test]
fn what_cannot_be_parsed_is_kept_and_ends_with_6() {
    let room = Room::with_log();
    let whole = fs::read(sample_path(ROWS_ON)).expect("a sample");
    for (name, bad) in [
        ("text", b"no record at all\n".as_slice()),
        ("utf8", b"2026-11-23 \xff\xfe,,,\n"),
        ("nul", b"2026-11-23\0,,,\n"),
    ] {
        let path = room.write(name, [whole.as_slice(), bad, whole.as_slice()].concat());
        let parsed = room.run(&[
            "parse",
            "--platform",
            "postgresql",
            &path.display().to_string(),
        ]);
        assert_eq!(lines(parsed.ended(6)).len(), 69, "{name}");
        let ran = room.log(&["ingest", "--source", &source(name, &path), "--json"]);
        let summary: Value = serde_json::from_str(ran.ended(6)).expect("JSON");
        assert_eq!(summary["sources"][0]["records"], 69, "{name}");
        assert_eq!(summary["sources"][0]["unparsed"], 1, "{name}");
    }
    let path = room.write("good", &whole);
    room.run(&[
        "parse",
        "--platform",
        "postgresql",
        &path.display().to_string(),
    ])
    .ended(0);
    room.verify(&[]).ended(0);
}

#[test]
fn a_statement_of_ten_megabytes_is_cut_and_says_so() {
    let room = Room::with_log();
    let text = fs::read_to_string(sample_path(ROWS_ON)).expect("a sample");
    let long = "x".repeat(10 << 20);
    let row = text
        .lines()
        .find(|line| line.contains("CREATE ROLE"))
        .expect("a statement");
    let long_row = row.replacen("CREATE ROLE", &format!("CREATE ROLE {long}"), 1);
    let path = room.write("long.csv", format!("{row}\n{long_row}\n{row}\n"));
    let summary = room.log(&["ingest", "--source", &source("long", &path), "--json"]);
    let summary: Value = serde_json::from_str(&summary.out).expect("JSON");
    assert_eq!(summary["sources"][0]["records"], 3);
    assert_eq!(summary["sources"][0]["truncated"], 1);
    assert_eq!(summary["sources"][0]["left_bytes"], 0);
    let events = lines(room.log(&["query", "kind:event"]).ended(0));
    let flags: Vec<bool> = (events.iter())
        .map(|entry| {
            entry["flags"]
                .as_array()
                .is_some_and(|all| all.contains(&"truncated".into()))
        })
        .collect();
    assert_eq!(flags, [false, true, false]);
    assert!(events[1].to_string().len() < 1 << 20, "it was cut");
    room.verify(&[]).ended(0);
}

#[test]
fn parse_shows_what_ingest_appends_and_appends_nothing() {
    let room = Room::with_records();
    let before = room.size();
    let path = sample_path(ROWS_OFF).display().to_string();
    room.run(&["parse", "--platform", "oracle", &path])
        .refused(2, "oracle");
    room.run(&["parse", "--platform", "postgresql", "--set", "form", &path])
        .refused(2, "KEY=VALUE");
    room.run(&["parse", "--platform", "postgresql", "--set", "x=y", &path])
        .refused(2, "no setting x");
    room.run(&["parse", "--platform", "postgresql", "absent"])
        .refused(3, "absent");
    let parsed = room.run(&[
        "parse",
        "--platform",
        "postgresql",
        "--set",
        "form=csvlog",
        &path,
    ]);
    let parsed = lines(parsed.ended(0));
    let entries = lines(room.log(&["query", "kind:event"]).ended(0));
    assert_eq!(parsed.len(), 179);
    for (event, entry) in parsed.iter().zip(&entries) {
        for field in [
            "class_uid",
            "type_uid",
            "time",
            "message",
            "raw_data",
            "query_info",
        ] {
            assert_eq!(event[field], entry["event"][field], "{field}");
        }
    }
    assert_eq!(room.size(), before);
}

#[test]
fn nothing_that_is_printed_or_stored_holds_a_card_number() {
    let room = Room::with_records();
    let card = ["4111", "1111", "1111", "1111"].concat();
    let sample = fs::read_to_string(sample_path(ROWS_OFF)).expect("a sample");
    assert!(sample.contains(&card), "the twin: the sample holds one");
    let out = room.log(&["query"]);
    assert!(!out.ended(0).contains(&card));
    assert!(out.out.contains("************1111"));
}

/// Records of a source as the log holds them: their numbers, in order.
fn numbers(room: &Room) -> Vec<u64> {
    let query = room.log(&["query", "kind:event"]);
    let number = |entry: &Value| entry["sequence"].as_u64().expect("a number");
    lines(query.ended(0)).iter().map(number).collect()
}

#[test]
fn an_ingest_that_is_killed_beside_a_server_takes_nothing_twice() {
    let room = Room::with_log();
    let text = fs::read_to_string(sample_path(ROWS_OFF)).expect("the sample");
    let big = room.write("big.csv", text.repeat(60));
    let records = 60 * 179;
    let served = room.serve(&[], &[]);
    let spec = source("big", &big);
    let args = [
        "ingest",
        "--config",
        "ledger/custody.toml",
        "--source",
        &spec,
    ];
    for wait in (20..260).step_by(12) {
        let mut running = room.command(&args).spawn().expect("an ingest");
        // The kill meets it somewhere on its way; where does not matter.
        std::thread::sleep(std::time::Duration::from_millis(wait));
        let _ = running.kill();
        running.wait().expect("an end");
    }
    room.log(&["ingest", "--source", &spec]).ended(0);
    assert_eq!(numbers(&room), (1..=records).collect::<Vec<u64>>());
    assert_eq!(served.stop("TERM"), 0);
    room.verify(&[]).ended(0);
}

#[test]
fn two_who_take_one_source_at_once_take_each_record_once() {
    let room = Room::with_log();
    let text = fs::read_to_string(sample_path(ROWS_OFF)).expect("the sample");
    let big = room.write("big.csv", text.repeat(30));
    let served = room.serve(&[], &[]);
    let spec = source("big", &big);
    let args = [
        "ingest",
        "--config",
        "ledger/custody.toml",
        "--source",
        &spec,
    ];
    let mut both = [0, 1].map(|_| room.command(&args).spawn().expect("an ingest"));
    for running in &mut both {
        assert!(running.wait().expect("an end").success());
    }
    assert_eq!(numbers(&room), (1..=30 * 179).collect::<Vec<u64>>());
    assert_eq!(served.stop("TERM"), 0);
}
