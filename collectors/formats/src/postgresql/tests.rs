//! The two csvlog samples, record by record, and what bad input gets.

use std::collections::BTreeMap;

use ledger_event::{Part, PartsBuf};

use crate::mask::{Dialect, MaskOptions, recheck};
use crate::reading_tests::{Answer, format_of, leaks, read, reasons};
use crate::{Format, FormatKeys, RECORD_BYTES_MAX, format_for};

const UTC: &[u8] = include_bytes!("../../samples/pg15-pgaudit17-rows-off-utc.csv");
const YORK: &[u8] = include_bytes!("../../samples/pg15-pgaudit17-edge-rows-on-newyork.csv");

/// What the sessions typed that must be nowhere; `rootpw`, `N3w-pw!` and `S3cret-pw!` were masked
/// by pgaudit or never logged.
const SECRETS: &[&str] = &[
    "4111111111111111",
    "5500 0000 0000 0004",
    "4012888888881881",
    "371449635398431",
    "leak-1",
    "leak-2",
    "leak-3",
    "S3cret-pw!",
    "N3w-pw!",
    "rootpw",
];

fn format(settings: &[(&str, &str)]) -> Box<dyn Format + Send> {
    format_of("postgresql", settings)
}

fn read_all(input: &[u8]) -> Vec<Answer> {
    read(&mut *format(&[]), input, usize::MAX >> 1)
}

#[test]
fn every_row_of_the_samples_is_one_event() {
    for (sample, rows) in [(UTC, 179), (YORK, 34)] {
        let answers = read_all(sample);
        assert_eq!(answers.len(), rows);
        assert!(answers.iter().all(|answer| answer.parsed));
        let mut rest = sample;
        for answer in &answers {
            let (record, after) = rest.split_at(answer.bytes);
            let event = answer.event();
            assert_eq!(
                answer.json.as_bytes(),
                event.to_json(),
                "one serialised form"
            );
            let record = std::str::from_utf8(record.strip_suffix(b"\n").unwrap()).unwrap();
            let raw = event.raw_data.as_ref().unwrap();
            if event.unmapped.redacted.is_empty() {
                assert_eq!(raw.as_str(), record, "nothing masked: the same bytes");
                assert_eq!(event.raw_data_hash, ledger_event::Fingerprint::default());
            } else {
                assert_ne!(raw.as_str(), record);
                assert!(event.raw_data_hash.value.is_some());
            }
            assert_eq!(event.raw_data_size, Some(record.len() as u64));
            rest = after;
        }
        assert!(rest.is_empty());
    }
}

#[test]
fn no_secret_of_the_samples_is_left_and_a_planted_marker_is_found() {
    for sample in [UTC, YORK] {
        let answers = read_all(sample);
        assert_eq!(leaks(&answers, SECRETS), Vec::<String>::new());
        assert!(
            !leaks(&answers, &["public.payment"]).is_empty(),
            "the search finds what is there"
        );
        // The same search over the same rows finds a secret that is none.
        let text = std::str::from_utf8(sample).unwrap();
        let planted = text.replace("4111111111111111", "pl4nted-marker");
        assert!(!leaks(&read_all(planted.as_bytes()), &["pl4nted-marker"]).is_empty());
        // The door finds nothing more to mask.
        for answer in &answers {
            let mut event = answer.event();
            assert_eq!(
                recheck(&mut event, Dialect::PostgreSql, MaskOptions::default()),
                0
            );
            assert_eq!(event.to_json(), answer.json.as_bytes());
        }
    }
    let all = [UTC, YORK]
        .map(|s| std::str::from_utf8(s).unwrap())
        .concat();
    for secret in [
        "4111111111111111",
        "5500 0000 0000 0004",
        "4012888888881881",
        "leak-2",
        "leak-3",
    ] {
        assert!(
            all.contains(secret),
            "{secret} is in the samples, so its absence means something"
        );
    }
}

#[test]
fn personal_data_is_in_no_fact() {
    for answer in [UTC, YORK].into_iter().flat_map(read_all) {
        let mut parts = PartsBuf::default();
        answer.event().write_parts(&mut parts);
        let facts = String::from_utf8_lossy(parts.part(Part::Facts).unwrap()).into_owned();
        for personal in [
            "dba_root",
            "app_dba",
            "ghost",
            "127.0.0.1",
            "psql\"",
            "SELECT pan",
        ] {
            assert!(!facts.contains(personal), "{personal} in {facts}");
        }
    }
}

#[test]
fn windows_of_any_size_give_the_same() {
    for sample in [UTC, YORK] {
        let whole = read_all(sample);
        for step in [1, 7, 4096] {
            let sample = if step == 1 { &sample[..6000] } else { sample };
            let cut = sample.len() != UTC.len() && sample.len() != YORK.len();
            let got = read(&mut *format(&[]), sample, step);
            let same = if cut { got.len() - 1 } else { got.len() };
            assert_eq!(got[..same], whole[..same]);
        }
    }
}

#[test]
fn records_map_to_their_classes() {
    let mut counts: BTreeMap<(u32, u16), usize> = BTreeMap::new();
    for answer in [UTC, YORK].into_iter().flat_map(read_all) {
        let head = answer.event().head();
        *counts.entry((head.class_uid, head.activity)).or_default() += 1;
    }
    for (kind, count) in &counts {
        println!("{kind:?}: {count}");
    }
    assert_eq!(counts.values().sum::<usize>(), 213);
    assert!(!counts.contains_key(&(0, 0)));
}

/// The first event of the samples whose record has all of these words.
fn find(words: &[&str]) -> Answer {
    [YORK, UTC]
        .into_iter()
        .flat_map(read_all)
        .find(|a| {
            let event = a.event();
            words
                .iter()
                .all(|word| event.raw_data.as_ref().unwrap().contains(word))
        })
        .unwrap_or_else(|| panic!("no record with {words:?}"))
}

#[test]
fn what_the_classes_say() {
    for (words, class, activity, status, severity) in [
        (&["CREATE ROLE app_dba LOGIN"][..], 3001, 1, 0, 1),
        (&["ALTER ROLE app_dba PASSWORD"], 3001, 4, 0, 1),
        (&["ERROR,42710"], 3001, 1, 2, 2),
        (&["DROP ROLE app_dba"], 3001, 6, 0, 1),
        (&["GRANT SELECT, INSERT"], 3005, 1, 0, 1),
        (&["CREATE DATABASE cards"], 3004, 1, 0, 1),
        (&["DDL,CREATE TABLE,TABLE,public.payment"], 3004, 1, 1, 1),
        (&["DDL,DROP TABLE,INDEX"], 3004, 4, 0, 1),
        (&["ERROR,42501,\"must be owner"], 3004, 4, 2, 2),
        (&["ALTER SYSTEM SET work_mem"], 3004, 3, 0, 1),
        (&["ALTER SYSTEM SET pgaudit.log"], 6002, 8, 1, 4),
        (&["SET pgaudit.log_rows=off"], 6002, 8, 0, 4),
        (&["RESET pgaudit.log"], 6002, 8, 0, 4),
        (&["ERROR,42501,\"permission denied to set"], 6002, 8, 2, 4),
        (
            &["parameter \"\"pgaudit.log\"\" changed to \"\"none\"\""],
            6002,
            8,
            0,
            4,
        ),
        (&["parameter \"\"work_mem\"\" changed"], 6002, 8, 0, 1),
        (&["received SIGHUP"], 6002, 8, 0, 2),
        (&["CREATE EXTENSION pgaudit"], 6002, 6, 0, 3),
        (&["starting PostgreSQL 15.18"], 6002, 3, 0, 2),
        (&["listening on IPv4"], 6002, 99, 0, 1),
        (&["connection received"], 3002, 99, 0, 1),
        (&["connection authenticated"], 3002, 99, 1, 1),
        (&["connection authorized"], 3002, 1, 1, 1),
        (&["disconnection: session time"], 3002, 2, 1, 1),
        (&["FATAL,28P01", "\"app_dba\""], 3002, 1, 2, 3),
        (&["WRITE,INSERT,TABLE"], 6005, 5, 1, 1),
        (&["COPY payment(holder,pan) FROM STDIN"], 6005, 5, 0, 1),
        (&["READ,COPY"], 6005, 1, 1, 1),
        (&["WRITE,DELETE"], 6005, 2, 0, 1),
        (&["ERROR,22012"], 6005, 1, 2, 2),
        (&["MISC,BEGIN"], 6005, 4, 1, 1),
        (&["FUNCTION,DO"], 6005, 4, 1, 1),
    ] {
        let answer = find(words);
        let event = answer.event();
        let head = event.head();
        let got = (head.class_uid, head.activity, head.status, head.severity);
        assert_eq!(
            got,
            (class, activity, status, severity),
            "{words:?} {}",
            answer.json
        );
    }
}

#[test]
fn names_times_and_texts() {
    let insert = find(&["VALUES('****", "WRITE,INSERT"]);
    let event = insert.event();
    assert_eq!(
        event.statement().query_string.as_deref(),
        Some("INSERT INTO payment(pan) VALUES('************1111')")
    );
    assert_eq!(event.on_table().name.as_deref(), Some("public.payment"));
    assert_eq!(event.in_database().name.as_deref(), Some("cards"));
    assert_eq!(event.who().user.name.as_deref(), Some("dba_root"));
    assert_eq!(event.client().ip.as_deref(), Some("127.0.0.1"));
    assert_eq!(event.client().port, Some(48224));
    assert_eq!(event.time, Some(1_795_426_926_567));
    assert_eq!(event.unmapped.zone.as_deref(), Some("EST read as UTC-5"));
    assert_eq!(
        event.metadata.original_event_uid.as_deref(),
        Some("6b040a6e.26b9/6")
    );
    assert_eq!(event.unmapped.rows, Some(1));
    let kinds: Vec<_> = event
        .unmapped
        .redacted
        .iter()
        .map(|r| {
            (
                r.path.as_deref().unwrap(),
                r.kind.as_deref().unwrap(),
                r.count,
            )
        })
        .collect();
    assert_eq!(kinds, [("query_info.query_string", "pan", Some(1))]);
    let parameters = find(&["Param, User"]);
    let event = parameters.event();
    assert_eq!(
        event.unmapped.parameters.as_deref(),
        Some("\"Param, User\",************1881,\"q\"\"uote\nnl\"")
    );
    let detail = find(&["already exists.\""]);
    assert_eq!(
        detail.event().unmapped.detail.as_deref(),
        Some("Key (pan)=(************1111) already exists.")
    );
    let grant = find(&["GRANT SELECT, INSERT"]);
    let event = grant.event();
    assert_eq!(
        event.privileges,
        ["SELECT", "INSERT"].map(ledger_event::Text::from)
    );
    assert_eq!(event.user.name.as_deref(), Some("app_dba"));
    assert_eq!(event.resources[0].name.as_deref(), Some("public.payment"));
    let forged = find(&["FATAL,28P01", "ghost\n2026-01-01"]);
    assert!(
        forged
            .event()
            .user
            .name
            .unwrap()
            .starts_with("ghost\n2026-01-01 00:00:00.000 UTC [1]")
    );
    let nested = find(&["DO $$ BEGIN EXECUTE 'ALTER ROLE"]);
    assert_eq!(
        nested.event().statement().query_string.as_deref(),
        Some("DO $$ BEGIN EXECUTE 'ALTER ROLE r1 PASSWORD ''***'''; END $$")
    );
    let york = read(
        &mut *format(&[("timezone", "America/New_York")]),
        YORK,
        4096,
    );
    assert_eq!(york[6].event().time, Some(1_795_426_926_567));
    assert_eq!(
        york[6].event().unmapped.flags,
        [ledger_event::Text::from("zone-configured")]
    );
    assert_eq!(york[18].event().unmapped.flags.len(), 1);
}

/// One good record, with this in the place of its message.
fn row(message: &str) -> String {
    format!(
        "2026-11-23 09:42:03.638 UTC,\"dba\",\"cards\",9859,\"127.0.0.1:48042\",6b040a6b.2683,4,\"SELECT\",2026-11-23 09:42:03 UTC,3/20,0,LOG,00000,\"{}\",,,,,,,,,\"psql\",\"client backend\",,7\n",
        message.replace('"', "\"\"")
    )
}

#[test]
fn bad_input_is_kept_and_the_next_record_is_found() {
    let good = row("AUDIT: SESSION,1,1,READ,SELECT,,,select 1,<none>");
    let line = "a line that is no record";
    let quote = "a quote in a field that does not end there";
    let open = "record ends without a line end";
    for (input, expected) in [
        (format!("{good}{good}"), vec![None, None]),
        (format!("\u{feff}{good}"), vec![None]),
        (good.replace('\n', "\r\n"), vec![None]),
        (format!("\n\r\n{good}"), vec![None]),
        (format!("garbage\n{good}"), vec![Some(line), None]),
        (
            format!("mid, of \"a\nrecord\"\n{good}"),
            vec![Some(line), Some(line), None],
        ),
        // Half a record, then the next: inside quotes, and outside.
        (format!("{}\n{good}", &good[..180]), vec![Some(quote), None]),
        (
            format!("{}\n{good}", &good[..good.find(",9859").unwrap() + 3]),
            vec![Some("not 23, 24 or 26 columns"), None],
        ),
        (good.trim_end().to_owned(), vec![Some(open)]),
        (good[..180].to_owned(), vec![Some(open)]),
        (
            good.replace("9859", "98a9"),
            vec![Some("process id is no number")],
        ),
        (
            good.replace("6b040a6b.2683", "x"),
            vec![Some("session id is not two hexadecimal numbers")],
        ),
        (
            good.replace(",00000,", ",0,"),
            vec![Some("SQLSTATE is not five characters")],
        ),
        (
            good.replace("2026-11-23 09:42:03.638", "2026-13-23 09:42:03.638"),
            vec![Some("log time is no time")],
        ),
        (
            good.replace("READ,SELECT,,,", "READ,"),
            vec![Some("AUDIT text has not nine or ten fields")],
        ),
        // A statement that holds a line like a record is one record.
        (
            row(&format!(
                "AUDIT: SESSION,1,1,READ,SELECT,,,\"select '\n{}'\",<none>",
                good.trim_end().replace('"', "\"\"")
            )),
            vec![None],
        ),
        (row("\0 NUL is data"), vec![None]),
    ] {
        let answers = read_all(input.as_bytes());
        let expected: Vec<_> = expected.into_iter().map(|r| r.map(str::to_owned)).collect();
        assert_eq!(reasons(&answers), expected, "{input}");
        assert_eq!(
            answers,
            read(&mut *format(&[]), input.as_bytes(), 1),
            "byte by byte"
        );
        for answer in answers.iter().filter(|answer| !answer.parsed) {
            let event = answer.event();
            assert_eq!((event.class_uid, event.status_id), (Some(0), Some(2)));
            assert!(event.raw_data_hash.value.is_some() && event.head().unparsed);
        }
    }
}

/// Each statement that can silence the audit is 6002 with a grave severity; its harmless twin is
/// none.
#[test]
fn the_audit_switched_off_in_all_its_forms() {
    let mut wrong = Vec::new();
    for (class, command, statement, off) in [
        ("MISC_SET", "SET", "SET pgaudit.log = 'none'", true),
        ("MISC_SET", "SET", "SET LOCAL pgaudit.log TO none", true),
        (
            "MISC_SET",
            "SET",
            "set session \"pgaudit.log\" = none",
            true,
        ),
        ("MISC_SET", "SET", "SET work_mem = '8MB'", false),
        ("MISC_SET", "RESET", "RESET pgaudit.log", true),
        ("MISC_SET", "RESET", "RESET ALL", false),
        ("MISC_SET", "RESET", "RESET work_mem", false),
        ("MISC", "DISCARD ALL", "DISCARD ALL", false),
        ("MISC", "DISCARD PLANS", "DISCARD PLANS", false),
        (
            "DDL",
            "ALTER SYSTEM",
            "ALTER SYSTEM SET pgaudit.log = 'none'",
            true,
        ),
        ("DDL", "ALTER SYSTEM", "ALTER SYSTEM RESET ALL", true),
        (
            "DDL",
            "ALTER SYSTEM",
            "ALTER SYSTEM SET shared_preload_libraries = ''",
            true,
        ),
        (
            "DDL",
            "ALTER SYSTEM",
            "ALTER SYSTEM SET log_destination = 'stderr'",
            true,
        ),
        (
            "DDL",
            "ALTER SYSTEM",
            "ALTER SYSTEM SET work_mem = '8MB'",
            false,
        ),
        (
            "ROLE",
            "ALTER ROLE",
            "ALTER ROLE a SET pgaudit.log = 'none'",
            true,
        ),
        (
            "ROLE",
            "ALTER ROLE",
            "ALTER ROLE a IN DATABASE d RESET pgaudit.log",
            true,
        ),
        ("ROLE", "ALTER ROLE", "ALTER ROLE a RESET ALL", true),
        ("ROLE", "ALTER ROLE", "ALTER ROLE a NOLOGIN", false),
        (
            "DDL",
            "ALTER DATABASE",
            "ALTER DATABASE d SET pgaudit.log = 'none'",
            true,
        ),
        (
            "DDL",
            "ALTER DATABASE",
            "ALTER DATABASE d SET work_mem = '8MB'",
            false,
        ),
        (
            "READ",
            "SELECT",
            "SELECT set_config('pgaudit.log', 'none', false)",
            true,
        ),
        (
            "READ",
            "SELECT",
            "SELECT set_config('work_mem', '8MB', false)",
            false,
        ),
        (
            "FUNCTION",
            "DO",
            "DO $$ BEGIN SET pgaudit.log = 'none'; END $$",
            true,
        ),
        (
            "FUNCTION",
            "DO",
            "DO $$ BEGIN PERFORM set_config('pgaudit.log', 'none', false); END $$",
            true,
        ),
        (
            "FUNCTION",
            "DO",
            "DO $$ BEGIN RAISE NOTICE 'x'; END $$",
            false,
        ),
        (
            "DDL",
            "DROP EXTENSION",
            "DROP EXTENSION IF EXISTS pgaudit",
            true,
        ),
        ("DDL", "DROP EXTENSION", "DROP EXTENSION pgcrypto", false),
    ] {
        let text = statement.replace('"', "\"\"");
        let record = row(&format!(
            "AUDIT: SESSION,1,1,{class},{command},,,\"{text}\",<none>"
        ));
        let answers = read_all(record.as_bytes());
        let event = answers[0].event();
        let grave = event.class_uid == Some(6002) && event.severity_id >= Some(3);
        if grave != off {
            wrong.push(format!(
                "{statement}: {:?}, severity {:?}",
                event.type_uid, event.severity_id
            ));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// The numbers that are missing between two events of one session, as a rule over the log finds
/// them.
fn holes(answers: &[Answer]) -> i64 {
    let mut last = BTreeMap::new();
    let missing = answers.iter().map(|answer| {
        let event = answer.event();
        let session = event.metadata.correlation_uid.unwrap().to_string();
        let line = event.unmapped.line.unwrap();
        last.insert(session, line)
            .map_or(0, |before| line - before - 1)
    });
    missing.sum()
}

#[test]
fn a_lost_line_leaves_a_hole_and_no_sample_has_one() {
    for sample in [UTC, YORK] {
        let answers = read_all(sample);
        assert_eq!(holes(&answers), 0);
        let session =
            |answer: &Answer| answer.event().metadata.correlation_uid.unwrap().to_string();
        let inner = answers.windows(3).position(|three| match three {
            [a, b, c] => session(a) == session(b) && session(b) == session(c),
            _ => false,
        });
        let at = inner.unwrap() + 1;
        let before: usize = answers[..at].iter().map(|answer| answer.bytes).sum();
        let lost = [&sample[..before], &sample[before + answers[at].bytes..]].concat();
        assert_eq!(holes(&read_all(&lost)), 1);
    }
}

#[test]
fn unparsed_bytes_are_masked_too() {
    let answers = read_all(b"garbage 4111111111111111 password='hunter2'\n\xff\xfe bytes\n");
    assert_eq!(
        leaks(&answers, &["4111111111111111", "hunter2"]),
        Vec::<String>::new()
    );
    assert_eq!(
        answers[0].event().raw_data.as_deref(),
        Some("garbage ************1111 password='***'")
    );
    assert_eq!(
        answers[1].event().raw_data.as_deref(),
        Some("\\xff\\xfe bytes")
    );
}

#[test]
fn a_record_of_any_size_is_read_in_bounded_windows_and_cut() {
    let audit = |statement: &str| {
        row(&format!(
            "AUDIT: SESSION,1,1,READ,SELECT,,,\"{statement}\",<none>"
        ))
    };
    let next = audit("select 2");
    for size in [
        1_000,
        RECORD_BYTES_MAX - 2_000,
        RECORD_BYTES_MAX,
        RECORD_BYTES_MAX + 900,
        3 * RECORD_BYTES_MAX,
        10_000_000,
    ] {
        let long = audit(&format!(
            "select '{}', 4111111111111111",
            "x\n".repeat(size / 2)
        ));
        let input = format!("{long}{next}");
        let answers = read_all(input.as_bytes());
        assert_eq!(answers.len(), 2, "{size}");
        assert_eq!(answers, read(&mut *format(&[]), input.as_bytes(), 65_536));
        let event = answers[0].event();
        let cut = long.len() > RECORD_BYTES_MAX + 1 || size > 100_000;
        assert_eq!(event.metadata.is_truncated, cut.then_some(true), "{size}");
        if cut {
            assert_eq!(event.metadata.untruncated_size, Some(long.len() as u64 - 1));
            assert!(event.raw_data_hash.value.is_some());
        }
        assert_eq!(
            (event.class_uid, event.activity_id),
            (Some(6005), Some(1)),
            "{size}"
        );
        assert_eq!(leaks(&answers, &["4111111111111111"]), Vec::<String>::new());
    }
    // A cut inside a number leaves nothing of it, and one inside a password's literal either.
    for (text, secret) in [
        ("4111111111111111 ", "411111"),
        ("alter role r password 'pl4nted' ", "pl4"),
    ] {
        let long = audit(&text.repeat(2 * RECORD_BYTES_MAX / text.len()));
        for shift in 0..text.len() {
            let shifted = long.replacen("dba", &"d".repeat(shift + 1), 1);
            assert_eq!(
                leaks(&read_all(shifted.as_bytes()), &[secret]),
                Vec::<String>::new()
            );
        }
    }
    // Bytes without a line end or a closing quote.
    for garbage in ["x".repeat(500_000), good_start() + &"y".repeat(500_000)] {
        let input = format!("{garbage}\n{next}");
        let answers = read_all(input.as_bytes());
        assert_eq!(
            answers.iter().map(|a| a.parsed).collect::<Vec<_>>(),
            [false, true]
        );
        assert_eq!(answers, read(&mut *format(&[]), input.as_bytes(), 65_536));
    }
}

fn good_start() -> String {
    row("m").split("\"m\"").next().unwrap().to_owned() + "\""
}

#[test]
fn settings_are_checked() {
    let keys = FormatKeys {
        digest_key: [0; 32],
    };
    for (platform, settings, message) in [
        (
            "oracel",
            &[][..],
            "platform oracel is not known: this version reads postgresql, mariadb",
        ),
        (
            "postgresql",
            &[("zone", "x")],
            "platform postgresql has no setting zone: it has form=csvlog|jsonlog|stderr|pgauditlogtofile, log_line_prefix=<the server's setting>, timezone=<IANA name>, keep_first6=true|false",
        ),
        (
            "postgresql",
            &[("form", "xml")],
            "setting form cannot be xml: give csvlog, jsonlog, stderr or pgauditlogtofile",
        ),
        (
            "postgresql",
            &[("timezone", "Mars")],
            "setting timezone cannot be Mars: give a name like America/New_York",
        ),
        (
            "postgresql",
            &[("keep_first6", "1")],
            "setting keep_first6 cannot be 1: give true or false",
        ),
    ] {
        let settings: Vec<_> = settings
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        let error = format_for(platform, &settings, &keys).err().unwrap();
        assert_eq!(error.to_string(), message);
    }
    let six = read(
        &mut *format(&[("form", "csvlog"), ("keep_first6", "true")]),
        YORK,
        4096,
    );
    assert!(six[6].json.contains("411111******1111"));
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_to_their_end(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400),
        at in 0..300_usize,
        step in 1..400_usize,
    ) {
        // Random bytes planted into real records: everything is accounted for, whatever the
        // windows.
        let mut input = UTC[..20_000].to_vec();
        input.splice(at..at + 10, bytes);
        let answers = read(&mut *format(&[]), &input, step);
        assert_eq!(answers, read_all(&input));
        assert_eq!(answers.iter().map(|a| a.bytes).sum::<usize>(), input.len());
        assert!(answers.iter().filter(|a| a.parsed).count() > 50, "the rest is read again");
    }
}

/// Every event of the samples, one a line, for `scripts/ocsf_check.py`:
/// `cargo test --release -p collectors-formats -- --ignored --nocapture print_events | grep '^{'`.
#[test]
#[ignore = "prints events"]
fn print_events() {
    println!();
    let odd = "garbage\n".to_owned()
        + &row("canceling autovacuum task").replace("\"dba\",\"cards\"", ",");
    for answer in [UTC, YORK, odd.as_bytes()].into_iter().flat_map(read_all) {
        println!("{}", answer.json);
    }
}
