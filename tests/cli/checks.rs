//! `query`, `show`, `proof`, `tiles`, `verify`, `rebuild`, `keys` and `doctor`: what is not there or
//! not right is named, and the untouched twin passes.
//!
//! Not here: every kind of damage (`tests/tamper.rs`, ledger/verify).

use std::fs;
use std::os::unix::fs::PermissionsExt;

use ledger_core::Hash;
use serde_json::Value;

use super::{ROWS_OFF, Room, damage, lines, sample_path};

#[test]
fn what_is_not_found_ends_with_3_and_what_is_no_query_with_2() {
    let room = Room::with_records();
    assert_eq!(room.log(&["query", "actor:nobody-at-all"]).ended(3), "");
    room.log(&["query", "colour:blue"])
        .refused(2, "\"colour\" is no term");
    room.log(&["query", "since:yesterday-ish"])
        .refused(2, "is no time");
    room.log(&["query", "grant"]).refused(2, "actor:grant");
    room.log(&["show", "181"])
        .refused(3, "no entry 181: it has 181");
    room.log(&["proof", "181"]).refused(3, "no entry 181");
    let grants = room.log(&["query", "op:grant"]);
    assert!(!lines(grants.ended(0)).is_empty());
    assert_eq!(
        lines(room.log(&["query", "--limit", "7"]).ended(0)).len(),
        7
    );
    assert_eq!(lines(room.log(&["query"]).ended(0)).len(), 181);
    assert_eq!(room.log(&["show", "180"]).json()["index"], 180);
}

#[test]
fn a_proof_stands_by_itself_and_falls_with_any_change() {
    let room = Room::with_records();
    room.log(&["proof", "60"]).ended(0);
    room.log(&["proof", "60"]).refused(2, "60.tlog-proof");
    // Far from the log: the two files and the trust file alone.
    let far = Room::new();
    for (from, to) in [
        ("60.tlog-proof", "60.tlog-proof"),
        ("60.payload.json", "60.payload.json"),
        ("ledger/trust/main.policy", "trust"),
    ] {
        fs::copy(room.path(from), far.path(to)).expect("a copy");
    }
    let check = || {
        far.run(&[
            "verify",
            "--proof",
            "60.tlog-proof",
            "--trust",
            "trust",
            "--json",
        ])
    };
    let refused = |name: &str, change: &dyn Fn(String) -> String, word: &str| {
        let good = fs::read_to_string(far.path(name)).expect("a file");
        let bad = change(good.clone());
        assert_ne!(bad, good);
        far.write(name, bad);
        let ran = check();
        let said: Value = serde_json::from_str(ran.ended(1)).expect("JSON");
        assert_eq!(said["verified"], false);
        assert!(
            said["what"]
                .as_str()
                .is_some_and(|what| what.contains(word)),
            "{said}"
        );
        far.write(name, good);
        check().ended(0);
    };
    let payload = "60.payload.json";
    let proof = "60.tlog-proof";
    refused(
        payload,
        &|text| text.replacen("\"index\":60", "\"index\":61", 1),
        "of entry 61",
    );
    refused(
        payload,
        &|text| text.replacen("\"entry\":\"01", "\"entry\":\"02", 1),
        "entry is none",
    );
    refused(
        payload,
        &|text| text.replacen("\"facts\"", "\"who\"", 1),
        "twice",
    );
    refused(
        payload,
        &|text| salt_changed(&text),
        "not what entry 60 commits to",
    );
    refused(
        proof,
        &|text| text.replacen("index 60", "index 59", 1),
        "of entry 60",
    );
    refused(proof, &|text| hash_changed(&text), "another root");
    refused(
        proof,
        &|text| text.replacen("\n\u{2014} db", "\n\u{2014} dc", 1),
        "half is missing",
    );
    assert_eq!(check().json()["parts"], 3);
    fs::rename(far.path(payload), far.path("elsewhere")).expect("moved");
    check().refused(3, "60.payload.json");
    let named = ["verify", "--proof", "elsewhere", "--trust", "trust"];
    far.run(&named).refused(2, "INDEX.tlog-proof");
}

fn salt_changed(text: &str) -> String {
    let mut payload: Value = serde_json::from_str(text).expect("JSON");
    payload["parts"][0]["salt"] = "00".repeat(16).into();
    payload.to_string()
}

/// The first sibling hash with other first characters.
fn hash_changed(text: &str) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines[2] = format!("AAAA{}", &lines[2][4..]);
    format!("{}\n", lines.join("\n"))
}

#[test]
fn damage_is_named_with_its_file_and_the_untouched_log_verifies() {
    let room = Room::with_records();
    let log = room.path("ledger/logs/main/2026");
    room.verify(&[]).ended(0);
    let whole = fs::read(log.join("last-note")).expect("a note");
    for (ending, at) in [(".entries", 500), (".payloads.g0", 500), ("last-note", 10)] {
        damage(&log, ending, at);
        let report = room.verify(&["--json"]);
        let report: Value = serde_json::from_str(report.ended(1)).expect("JSON");
        assert_eq!(report["verified"], false);
        let file = report["misdeeds"][0]["file"].as_str().expect("a file");
        assert!(file.ends_with(ending), "{file}");
        assert!(room.verify(&[]).ended(1).contains("refused"));
        damage(&log, ending, at);
        room.verify(&[]).ended(0);
    }
    fs::write(log.join("stray"), b"x").expect("a file");
    assert!(room.verify(&[]).ended(1).contains("stray"));
    fs::remove_file(log.join("stray")).expect("removed");
    assert_eq!(fs::read(log.join("last-note")).expect("a note"), whole);
    room.verify(&[]).ended(0);
}

#[test]
fn a_trust_file_that_is_none_or_half_or_of_another_log_is_refused() {
    let room = Room::with_records();
    let trust = fs::read_to_string(room.path("ledger/trust/main.policy")).expect("a trust file");
    let with = |text: &str| {
        let path = room.write("trust", text).display().to_string();
        room.run(&["verify", "ledger", "--trust", &path])
    };
    with("nonsense\n").refused(2, "nonsense");
    let half: String = (trust.lines())
        .filter(|line| !line.starts_with("witness pq"))
        .map(|line| format!("{line}\n"))
        .collect();
    with(&half).refused(2, "trust");
    let other = Room::with_log();
    let foreign = fs::read_to_string(other.path("ledger/trust/main.policy")).expect("it");
    assert_eq!(with(&foreign).code, 1, "other keys of the same name");
    room.run(&["verify", "ledger", "--trust", "absent"])
        .refused(3, "absent");
    room.run(&["verify", "nowhere", "--trust", "ledger/trust/main.policy"])
        .refused(3, "nowhere");
    with(&trust).ended(0);
    let exported = room
        .log(&["keys", "export", "exported"])
        .ended(0)
        .to_owned();
    assert_eq!(
        fs::read_to_string(room.path("exported")).expect("it"),
        trust
    );
    let print = room.log(&["keys", "export", "--json"]).json()["fingerprint"].clone();
    assert!(exported.contains(print.as_str().expect("a fingerprint")));
}

#[test]
fn a_kept_checkpoint_is_met_and_a_foreign_one_is_not() {
    let room = Room::with_log();
    fs::copy(
        room.path("ledger/logs/main/2026/last-note"),
        room.path("kept"),
    )
    .expect("a copy");
    let pg = super::sample("pg", ROWS_OFF);
    room.log(&["ingest", "--source", &pg]).ended(0);
    let other = Room::with_log();
    fs::copy(
        other.path("ledger/logs/main/2026/last-note"),
        room.path("foreign"),
    )
    .expect("a copy");
    room.write("none", "nonsense");
    room.verify(&["--since", "none"]).refused(2, "signed note");
    room.verify(&["--since", "foreign"])
        .refused(2, "does not hold");
    room.verify(&["--since", "absent"]).refused(3, "absent");
    assert_eq!(
        room.verify(&["--since", "kept", "--json"]).json()["since"],
        1
    );
}

#[test]
fn tiles_are_written_once_and_checked_without_payloads() {
    let room = Room::with_records();
    fs::create_dir(room.path("full")).expect("a folder");
    room.write("full/other", b"x");
    room.log(&["tiles", "full"]).refused(2, "something else");
    let first = room.log(&["tiles", "out", "--json"]).json();
    assert_eq!(first["tiles"], first["written"]);
    assert_eq!(room.log(&["tiles", "out", "--json"]).json()["written"], 0);
    let verify = |out: &str| room.run(&["verify", out, "--trust", "ledger/trust/main.policy"]);
    assert!(verify("out").ended(6).contains("payloads"));
    damage(&room.path("out/tile/0/000.p"), "181", 40);
    assert!(verify("out").ended(1).contains("tile/0/000"));
    damage(&room.path("out/tile/0/000.p"), "181", 40);
    let pg = super::sample("more", super::ROWS_ON);
    room.log(&["ingest", "--source", &pg]).ended(0);
    assert!(room.log(&["tiles", "out", "--json"]).json()["written"].as_u64() > Some(0));
    assert!(verify("out").ended(6).contains("216 entries"));
}

#[test]
fn rebuild_mends_what_is_derived_and_nothing_else() {
    let room = Room::with_records();
    let log = room.path("ledger/logs/main/2026");
    damage(&log.join("hashes"), "0.00000000", 64);
    assert!(room.verify(&[]).ended(1).contains("hashes/0.00000000"));
    assert!(room.log(&["doctor"]).ended(1).contains("WRONG  hashes"));
    room.log(&["rebuild"]).ended(0);
    room.verify(&[]).ended(0);
    assert_eq!(room.log(&["doctor"]).code, 0);
    fs::remove_dir_all(log.join("hashes")).expect("removed");
    room.log(&["rebuild"]).ended(0);
    room.verify(&[]).ended(0);
    damage(&log, ".entries", 500);
    let before = fs::read(log.join("hashes/0.00000000")).expect("hashes");
    assert_eq!(
        room.log(&["rebuild"]).code,
        1,
        "damage of what is true is not mended"
    );
    assert_eq!(
        fs::read(log.join("hashes/0.00000000")).expect("hashes"),
        before
    );
}

#[test]
fn doctor_names_what_is_wrong_and_what_to_do() {
    let room = Room::with_records();
    let set = |name: &str, mode: u32| {
        fs::set_permissions(room.path(name), fs::Permissions::from_mode(mode)).expect("a mode");
    };
    let well = || {
        let ran = room.log(&["doctor"]);
        assert!(!ran.ended(0).contains("WRONG"), "{ran:?}");
        assert!(lines(room.log(&["doctor", "--json"]).ended(0)).len() > 8);
    };
    let wrong = |word: &str| {
        let ran = room.log(&["doctor"]);
        let found = ran
            .ended(1)
            .lines()
            .any(|line| line.starts_with("WRONG") && line.contains(word));
        assert!(found, "{word}: {ran:?}");
    };
    well();
    set("ledger/keys/log.ed25519.key", 0o644);
    wrong("chmod 600");
    set("ledger/keys/log.ed25519.key", 0o600);
    set("ledger", 0o777);
    wrong("chmod go-w");
    set("ledger", 0o700);
    let trust = room.path("ledger/trust/main.policy");
    let good = fs::read(&trust).expect("a trust file");
    fs::remove_file(&trust).expect("removed");
    wrong("main.policy cannot be read");
    let other = Room::with_log();
    fs::copy(other.path("ledger/trust/main.policy"), &trust).expect("a copy");
    wrong("names other keys");
    fs::write(&trust, good).expect("a trust file");
    let note = room.path("ledger/logs/main/2026/last-note");
    let kept = fs::read(&note).expect("a note");
    fs::copy(other.path("ledger/logs/main/2026/last-note"), &note).expect("a copy");
    wrong("half");
    fs::write(&note, kept).expect("a note");
    fs::create_dir_all(room.path("ledger/state")).expect("a folder");
    room.write("ledger/state/clock-stopped", b"1 2\n");
    wrong("--accept-clock");
    fs::remove_file(room.path("ledger/state/clock-stopped")).expect("removed");
    room.log(&["sources", "add", "orders", "--platform", "postgresql"])
        .ended(2);
    let add = ["sources", "add", "orders", "--platform", "postgresql"];
    let out = ["--out", "orders.key"];
    room.log(&[&add[..], &out[..]].concat()).ended(0);
    well();
    let keys = fs::read_dir(room.path("ledger/keys")).expect("keys");
    let mut names = keys.map(|item| item.expect("a key").path());
    let of_source = |path: &std::path::PathBuf| path.to_string_lossy().contains("source");
    let key = names.find(of_source).expect("the source's key");
    fs::rename(&key, room.path("away")).expect("moved");
    wrong("the key of orders");
    fs::rename(room.path("away"), &key).expect("moved");
    well();
}

#[test]
fn a_log_that_was_restored_goes_on_only_when_an_operator_accepts_it() {
    let room = Room::with_records();
    fs::create_dir_all(room.path("ledger/state")).expect("a folder");
    let mark = "ledger/state/log-restored";
    room.write(mark, b"what is this");
    let ingest = |more: &[&str]| {
        let args = ["ingest", "--source", "more=postgresql:more.csv"];
        room.log(&[&args[..], more].concat())
    };
    room.write(
        "more.csv",
        fs::read(sample_path(ROWS_OFF)).expect("a sample"),
    );
    assert_eq!(ingest(&["--accept-restored"]).code, 4);
    let lost = br#"{"published":5000,"size":181,"proof":{"receipt":{"source":1,"epoch":1,
        "acknowledged":900,"held":179,"at":1795000000000000000}}}"#;
    room.write(mark, lost);
    let refused = ingest(&[]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.err.contains("--accept-restored"), "{refused:?}");
    let doctor = room.log(&["doctor"]);
    assert!(doctor.ended(1).contains("--accept-restored"), "{doctor:?}");
    ingest(&["--accept-restored"]).ended(0);
    assert!(!room.path(mark).exists());
    let found = room.log(&["query", "kind:recovery", "--json"]).json();
    assert_eq!(found["facts"]["lost"]["published"], 5000, "{found}");
    room.verify(&[]).ended(0);
    // Nothing is left to accept, and no entry is written for it.
    ingest(&["--accept-restored"]).ended(0);
    let again = room.log(&["query", "kind:recovery", "--json"]);
    assert_eq!(lines(again.ended(0)).len(), 1);
    room.verify(&[]).ended(0);
}

#[test]
fn no_secret_is_ever_printed() {
    let room = Room::with_log();
    let list = room.log(&["keys", "list", "--json"]);
    let keys = lines(list.ended(0));
    assert_eq!(keys.len(), 5);
    assert_eq!(keys.iter().filter(|key| key["vkey"].is_string()).count(), 4);
    let mut printed = list.out.clone();
    for args in [
        vec!["keys", "list"],
        vec!["keys", "export"],
        vec!["doctor"],
        vec!["show", "0"],
    ] {
        printed.push_str(&room.log(&args).out);
    }
    let public: Vec<&str> = keys.iter().filter_map(|key| key["vkey"].as_str()).collect();
    let published = |text: &str| public.iter().any(|vkey| vkey.contains(text));
    let mut windows = 0;
    for item in fs::read_dir(room.path("ledger/keys")).expect("keys") {
        let bytes = fs::read(item.expect("a key").path()).expect("a key");
        for window in bytes.windows(Hash::LEN) {
            let hash = Hash::from_slice(window).expect("32 bytes");
            let base64 = hash.to_base64();
            // Without its end, which depends on what follows.
            let base64 = &base64[..40];
            windows += 1;
            assert!(
                published(base64) || !printed.contains(base64),
                "a secret was printed"
            );
            assert!(!printed.contains(&hash.to_string()), "a secret was printed");
        }
    }
    assert!(windows > 5_000, "the keys were not read");
}

#[test]
fn status_says_that_signed_entries_are_missing() {
    let room = Room::with_records();
    room.log(&["status"]).ended(0);
    let folder = room.path("ledger/logs/main");
    let label = fs::read_dir(&folder).expect("a folder").next();
    let folder = label.expect("a label").expect("an entry").path();
    let segment = folder.join("00000000000000000001.entries");
    let kept = fs::read(&segment).expect("the second segment");
    fs::remove_file(&segment).expect("removed");
    let cut = room.log(&["status"]);
    assert!(cut.ended(1).contains("custody verify"), "{}", cut.ended(1));
    fs::write(&segment, kept).expect("put back");
    room.log(&["status"]).ended(0);
}
