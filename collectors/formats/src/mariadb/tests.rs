//! The two samples of server_audit, line by line, and what bad input gets.

use std::collections::BTreeMap;

use ledger_event::{Part, PartsBuf};

use crate::mask::{Dialect, MaskOptions, recheck};
use crate::reading_tests::{Answer, format_of, leaks, read, reasons};
use crate::{Format, RECORD_BYTES_MAX};

const NEW: &[u8] = include_bytes!("../../samples/mariadb1011-server_audit.log");
const OLD: &[u8] = include_bytes!("../../samples/mariadb1011-server_audit.log.1");

/// What the sessions typed that must be nowhere.
const SECRETS: &[&str] = &[
    "4111111111111111",
    "5500 0000 0000 0004",
    "4012888888881881",
    "S3cret-pw!",
    "N3w-pw!",
];

fn format(settings: &[(&str, &str)]) -> Box<dyn Format + Send> {
    format_of("mariadb", settings)
}

fn read_all(input: &[u8]) -> Vec<Answer> {
    read(&mut *format(&[]), input, usize::MAX >> 1)
}

fn all() -> Vec<Answer> {
    [OLD, NEW].into_iter().flat_map(read_all).collect()
}

#[test]
fn every_line_of_the_samples_is_an_event_or_unparsed() {
    let mut unparsed = Vec::new();
    for (sample, lines) in [(OLD, 127), (NEW, 20)] {
        let answers = read_all(sample);
        let native: Vec<&[u8]> = sample.split_inclusive(|b| *b == b'\n').collect();
        assert_eq!((answers.len(), native.len()), (lines, lines));
        for (answer, line) in answers.iter().zip(native) {
            assert_eq!(answer.bytes, line.len());
            let event = answer.event();
            assert_eq!(answer.json.as_bytes(), event.to_json());
            let line = std::str::from_utf8(line).unwrap().trim_end_matches('\n');
            let cut = event.metadata.is_truncated == Some(true);
            let same = event.raw_data.as_deref() == Some(line);
            let untouched = event.unmapped.redacted.is_empty() && (!cut || line.contains("xxx"));
            assert_eq!(same, untouched, "{}", answer.json);
        }
        for reason in reasons(&answers).into_iter().flatten() {
            unparsed.push(reason);
        }
        for step in [1, 7, 4096] {
            assert_eq!(read(&mut *format(&[]), sample, step), answers);
        }
    }
    // The user name with a line end, of the login and of its end: each gives two lines.
    assert_eq!(
        unparsed,
        [
            "not ten fields",
            "object of QUERY is not in quotes",
            "not ten fields",
            "object of QUERY is not in quotes"
        ]
    );
}

#[test]
fn no_secret_is_left_a_planted_marker_is_found_and_the_door_finds_no_more() {
    let answers = all();
    assert_eq!(leaks(&answers, SECRETS), Vec::<String>::new());
    let text = std::str::from_utf8(OLD).unwrap();
    for secret in &SECRETS[..3] {
        assert!(text.contains(secret), "{secret} is in the sample");
    }
    let planted = text.replace("4111111111111111", "pl4nted-marker");
    assert!(!leaks(&read_all(planted.as_bytes()), &["pl4nted-marker"]).is_empty());
    for answer in &answers {
        let mut event = answer.event();
        let again = recheck(&mut event, Dialect::default(), MaskOptions::default());
        assert_eq!(again, 0, "{}", answer.json);
        let mut parts = PartsBuf::default();
        answer.event().write_parts(&mut parts);
        let facts = String::from_utf8_lossy(parts.part(Part::Facts).unwrap()).into_owned();
        for personal in ["\"root", "app_dba", "ghost", "localhost", "127.0.0.1"] {
            assert!(!facts.contains(personal), "{personal} in {facts}");
        }
    }
}

/// The first event of the samples whose line has all of these words.
fn find(words: &[&str]) -> Answer {
    let has = |a: &Answer| {
        let event = a.event();
        let raw = event.raw_data.as_ref().unwrap();
        words.iter().all(|word| raw.contains(word))
    };
    all()
        .into_iter()
        .find(has)
        .unwrap_or_else(|| panic!("no line with {words:?}"))
}

#[test]
fn what_the_classes_say() {
    for (words, class, activity, status, severity) in [
        (&["26,0,CONNECT"][..], 3002, 1, 1, 1),
        (&["26,0,DISCONNECT"], 3002, 2, 1, 1),
        (&["ghost", "FAILED_CONNECT"], 3002, 1, 2, 3),
        (&["READ,cards,payment"], 6005, 1, 0, 1),
        (&["WRITE,cards,payment"], 6005, 5, 0, 1),
        (&["CREATE,cards,payment"], 3004, 1, 0, 1),
        (&["DROP,cards,payment"], 3004, 4, 0, 1),
        (&["CREATE DATABASE"], 3004, 1, 1, 1),
        (&["CREATE USER"], 3001, 1, 1, 1),
        (&["DROP USER"], 3001, 6, 1, 1),
        (&["SET PASSWORD"], 3001, 4, 1, 1),
        (&["GRANT SELECT"], 3005, 1, 1, 1),
        (&["CREATE DEFINER"], 3004, 1, 1, 1),
        (&["INSERT INTO cards.payment"], 6005, 5, 1, 1),
        (&["INSERT INTO payment", "1366"], 6005, 5, 2, 1),
        (&["SELECT count(*)"], 6005, 1, 1, 1),
        (&["DROP TABLE payment"], 3004, 4, 2, 2),
        (&["INTO OUTFILE"], 6005, 1, 1, 3),
        (&["SHOW FULL TABLES"], 6005, 8, 1, 1),
        (&["CALL cards.p()"], 6005, 4, 1, 1),
        (&["server_audit_logging=OFF", "1227"], 6002, 8, 2, 4),
        (&["server_audit_logging=OFF',0"], 6002, 8, 1, 4),
        (&["excl_users"], 6002, 8, 1, 4),
        (&["UNINSTALL PLUGIN"], 6002, 7, 2, 4),
        (&["SET @@SQL_MODE"], 6005, 4, 1, 1),
    ] {
        let answer = find(words);
        let head = answer.event().head();
        let got = (head.class_uid, head.activity, head.status, head.severity);
        assert_eq!(
            got,
            (class, activity, status, severity),
            "{words:?} {}",
            answer.json
        );
    }
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    for answer in all() {
        *counts.entry(answer.event().head().class_uid).or_default() += 1;
    }
    assert_eq!(counts.values().sum::<usize>(), 147);
    assert_eq!(counts.get(&0), Some(&4));
}

#[test]
fn names_times_and_texts() {
    let answer = find(&["O\\'\\'Brien"]);
    let event = answer.event();
    assert_eq!(
        event.statement().query_string.as_deref(),
        Some(
            "INSERT INTO payment(holder,pan,note)\nVALUES ('O''Brien, \"Bob\" \\\\ back','**** **** **** 0004','line1\nline2\ttab æøå ☃')"
        )
    );
    assert_eq!(event.status_code.as_deref(), Some("1366"));
    assert_eq!(event.in_database().name.as_deref(), Some("cards"));
    assert_eq!(event.metadata.original_event_uid.as_deref(), Some("8/12"));
    assert_eq!(event.unmapped.grade.as_deref(), Some("C"));
    assert_eq!(
        event.time,
        Some(1_795_408_974_000),
        "server time read as UTC"
    );
    assert_eq!(
        event.unmapped.flags,
        ["zone-unknown"].map(ledger_event::Text::from)
    );
    let york = read(&mut *format(&[("timezone", "America/New_York")]), OLD, 4096);
    assert_eq!(
        york[0].event().time,
        Some(1_795_408_974_000 + 5 * 3_600_000)
    );
    let user = find(&["CREATE USER"]);
    let event = user.event();
    assert_eq!(event.user.name.as_deref(), Some("app_dba@127.0.0.1"));
    assert_eq!(
        event.statement().query_string.as_deref(),
        Some("CREATE USER app_dba@'127.0.0.1' IDENTIFIED BY *****")
    );
    let grant = find(&["GRANT SELECT"]);
    let event = grant.event();
    assert_eq!(
        event.privileges,
        ["SELECT", "INSERT", "CREATE"].map(ledger_event::Text::from)
    );
    assert_eq!(event.resources[0].name.as_deref(), Some("cards.*"));
    let off = find(&["server_audit_logging=OFF',0"]);
    assert_eq!(
        off.event().unmapped.setting.as_deref(),
        Some("server_audit_logging")
    );
    assert_eq!(off.event().unmapped.setting_value.as_deref(), Some("OFF"));
    let silenced = find(&["excl_users", "root\\'"]);
    assert_eq!(
        silenced.event().unmapped.setting_value,
        None,
        "a name is no fact"
    );
    assert_eq!(
        silenced.event().unmapped.target_names,
        [ledger_event::Text::from("root")]
    );
    let cut = find(&["xxxx"]);
    assert_eq!(cut.event().metadata.is_truncated, Some(true));
    assert!(cut.event().raw_data_hash.value.is_some());
}

/// One good line with this operation and what follows it.
fn line(query: u32, tail: &str) -> String {
    format!("20261123 04:42:54,vm,root,localhost,7,{query},{tail}\n")
}

#[test]
fn lines_behind_a_broken_one_are_believed_only_where_the_server_was() {
    let good = line(10, "QUERY,cards,'SELECT 1',0");
    let broken = "20261123 04:42:54,vm,gh\n";
    for (forged, believed) in [
        (line(10, "READ,cards,payment,"), true),
        (line(0, "CONNECT,,,0"), true),
        (line(9, "QUERY,cards,'DROP TABLE x',0"), false),
        (
            line(11, "QUERY,cards,'SELECT 2',0").replace(",vm,", ",h,"),
            false,
        ),
        (
            line(11, "QUERY,cards,'SELECT 2',0").replace("04:42", "04:41"),
            false,
        ),
    ] {
        let input = format!("{good}{broken}{forged}{good}");
        let answers = read_all(input.as_bytes());
        let parsed: Vec<bool> = answers.iter().map(|a| a.parsed).collect();
        assert_eq!(parsed[..3], [true, false, believed], "{forged}");
        let flagged = |n: usize| {
            let event = answers[n].event();
            event.unmapped.flags.iter().any(|f| *f == "resynchronised")
        };
        assert!(flagged(if believed { 2 } else { 3 }), "{forged}");
        assert!(parsed[3], "the doubt is over");
    }
}

#[test]
fn bad_input_is_kept_and_the_next_line_is_read() {
    let good = line(10, "QUERY,cards,'SELECT 1',0");
    for (input, expected) in [
        (format!("{good}{good}"), vec![None, None]),
        (format!("\u{feff}{good}"), vec![None]),
        (good.replace('\n', "\r\n"), vec![None]),
        (
            format!("garbage\n{good}"),
            vec![Some("a line that is no record"), None],
        ),
        (
            good.trim_end().to_owned(),
            vec![Some("record ends without a line end")],
        ),
        (line(1, "LOOK,a,b,"), vec![Some("operation is not known")]),
        (line(1, "QUERY,a,'\u{0}',0"), vec![None]),
    ] {
        let answers = read_all(input.as_bytes());
        let expected: Vec<_> = expected.into_iter().map(|r| r.map(str::to_owned)).collect();
        assert_eq!(reasons(&answers), expected, "{input}");
        assert_eq!(answers, read(&mut *format(&[]), input.as_bytes(), 1));
    }
}

#[test]
fn cut_statements_leave_no_part_of_a_number_and_no_open_password() {
    for (text, secret) in [
        ("SELECT 4111111111111111 ", "411111"),
        ("ALTER USER a IDENTIFIED BY \\'pl4nted\\' ", "pl4"),
    ] {
        for length in 1000..1024 + text.len() {
            let mut statement = text.repeat(60);
            statement.truncate(length.min(1024));
            let input = line(1, &format!("QUERY,cards,'{statement}',0"));
            let whole = length < 1024 && text.contains("4111");
            let leaked = leaks(&read_all(input.as_bytes()), &[secret]);
            assert!(whole || leaked.is_empty(), "{length} {leaked:?}");
        }
        let input = line(
            1,
            &format!(
                "QUERY,cards,'{}',0",
                text.repeat(3 * RECORD_BYTES_MAX / text.len())
            ),
        );
        let answers = read_all(input.as_bytes());
        assert_eq!(answers.len(), 1);
        assert_eq!(leaks(&answers, &[secret]), Vec::<String>::new());
        assert_eq!(answers, read(&mut *format(&[]), input.as_bytes(), 65_536));
    }
}

/// Every event of the samples, one a line, for `scripts/ocsf_check.py`.
#[test]
#[ignore = "prints events"]
fn print_events() {
    println!();
    let odd = line(1, "QUERY,,'KILL 7',0").replace("root,localhost", ",");
    for answer in [OLD, NEW, odd.as_bytes()].into_iter().flat_map(read_all) {
        println!("{}", answer.json);
    }
}
