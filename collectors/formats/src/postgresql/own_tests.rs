//! Numbers that the server itself makes: left alone in their own place, masked anywhere else.

use ledger_event::Event;

use crate::mask::{Dialect, MaskOptions, recheck};
use crate::reading_tests::{Answer, format_of, read, reasons};

/// Numbers of 64 bits that look like card numbers, as one hash in ten of their lengths does.
const LIKE_CARDS: &[&str] = &[
    "4111111111111111",
    "-4111111111111111",
    "378282246310005",
    "5800417817752000200",
    "6011000990139424",
];

const CARD: &str = "4111111111111111";

fn csv(app: &str, query_id: &str) -> String {
    format!(
        "2026-11-23 09:42:03.638 UTC,\"dba\",\"cards\",9859,\"127.0.0.1:48042\",6b040a6b.2683,4,\
         \"SELECT\",2026-11-23 09:42:03 UTC,3/20,0,LOG,00000,\
         \"AUDIT: SESSION,4,1,READ,SELECT,,,select 1,<none>\",,,,,,,,,\"{app}\",\
         \"client backend\",,{query_id}\n"
    )
}

fn json(app: &str, last: &str) -> String {
    format!(
        "{{\"timestamp\":\"2026-11-23 09:42:03.638 UTC\",\"user\":\"dba\",\"dbname\":\"cards\",\
         \"pid\":9859,\"remote_host\":\"127.0.0.1\",\"session_id\":\"6b040a6b.2683\",\
         \"line_num\":4,\"error_severity\":\"LOG\",\
         \"message\":\"AUDIT: SESSION,4,1,READ,SELECT,,,select 1,<none>\",\
         \"application_name\":\"{app}\",{last}}}\n"
    )
}

/// The one answer, which the door leaves as it is.
fn one(platform: &str, input: &str) -> Answer {
    let answers = read(
        &mut *format_of(platform, &[]),
        input.as_bytes(),
        usize::MAX >> 1,
    );
    let [answer] = &*answers else {
        panic!("{input} gives {answers:?}");
    };
    let mut event = answer.event();
    let again = recheck(&mut event, Dialect::PostgreSql, MaskOptions::default());
    assert_eq!(again, 0, "the door masks in {}", answer.json);
    assert_eq!(answer.json.as_bytes(), event.to_json());
    answer.clone()
}

#[test]
fn a_query_id_is_left_alone_and_the_same_digits_elsewhere_are_not() {
    for id in LIKE_CARDS {
        for (form, record) in [
            ("csvlog", csv("psql", id)),
            ("jsonlog", json("psql", &format!("\"query_id\":{id}"))),
        ] {
            let answer = one("postgresql", &record);
            let event = answer.event();
            assert_eq!(event.metadata.log_format.as_deref(), Some(form));
            assert!(!event.head().masked, "{}", answer.json);
            assert_eq!(event.raw_data.as_deref(), Some(record.trim_end()));
            assert_eq!(event.query_info.uid.as_deref(), Some(*id));
        }
        // The twin: a user wrote them.
        let digits = id.trim_start_matches('-');
        let app = format!("x {digits}");
        for record in [
            csv(&app, id),
            csv("psql", id).replace("select 1", &format!("select {digits}")),
            json(&app, &format!("\"query_id\":{id}")),
            csv(&app, "7"),
            json(&app, "\"query_id\":7"),
        ] {
            let answer = one("postgresql", &record);
            assert!(answer.event().head().masked, "{}", answer.json);
            let left = answer.json.matches(digits).count();
            let own = 2 * usize::from(!record.contains("d\":7}") && !record.contains(",7\n"));
            assert_eq!(left, own, "only its own place keeps it: {}", answer.json);
        }
    }
}

#[test]
fn a_record_whose_columns_masking_broke_keeps_no_number() {
    for id in LIKE_CARDS {
        let record = csv("psql", id).replace("select 1", "identified by 'x");
        let answer = one("postgresql", &record);
        let raw = answer.event().raw_data.unwrap().into_owned();
        assert!(raw.ends_with("***"), "{raw}");
    }
}

#[test]
fn what_is_no_number_of_the_servers_is_text() {
    let no_number = Some("query id is no number".to_owned());
    for (record, reason) in [
        (csv("psql", "41111111111111110000000"), no_number.clone()),
        (csv("psql", "9223372036854775808"), no_number.clone()),
        (csv("psql", "4111 1111 1111 1111"), no_number.clone()),
        (csv("psql", &format!("\"{CARD}\"")), None),
        (json("psql", &format!("\"query_id\":\"{CARD}\"")), None),
        (json("psql", &format!("\"query_id\":{CARD}.0")), no_number),
        (json("psql", &format!("\"queryid\":{CARD}")), None),
        (
            json("psql", &format!("\"query_id\":7,\"query_id\":{CARD}")),
            Some("a field twice".to_owned()),
        ),
        (
            // Without the columns of version 14, the last one is text.
            csv("psql", "").replace("\"client backend\",,", CARD),
            None,
        ),
        (
            csv("psql", CARD).replace("LOG,", "log,"),
            Some("severity is no word".to_owned()),
        ),
    ] {
        let answer = one("postgresql", &record);
        assert_eq!(reasons(std::slice::from_ref(&answer)), [reason], "{record}");
        assert!(!answer.json.contains(CARD), "{}", answer.json);
        assert!(
            !answer.json.contains("4111 1111 1111 1111"),
            "{}",
            answer.json
        );
    }
}

#[test]
fn other_numbers_of_a_record_are_too_short_for_a_card() {
    let good = csv("psql", "7");
    assert!(one("postgresql", &good).parsed);
    for (column, with) in [
        (",9859,", format!(",{CARD},")),
        (",4,\"SELECT\"", format!(",{CARD},\"SELECT\"")),
        (",3/20,", format!(",3/{CARD},")),
        (",3/20,0,", format!(",3/20,{CARD},")),
        (",,7\n", format!(",{CARD},7\n")),
        ("AUDIT: SESSION,4,", format!("AUDIT: SESSION,{CARD},")),
    ] {
        let record = good.replacen(column, &with, 1);
        assert_ne!(record, good);
        let answer = one("postgresql", &record);
        assert!(
            !answer.parsed && !answer.json.contains(CARD),
            "{}",
            answer.json
        );
    }
    let line = |connection: &str, query: &str| {
        format!(
            "20261123 04:42:54,vm,root,localhost,{connection},{query},QUERY,cards,'SELECT 1',0\n"
        )
    };
    assert!(one("mariadb", &line("7", "999999999999")).parsed);
    for record in [line(CARD, "10"), line("7", CARD)] {
        let answer = one("mariadb", &record);
        assert!(
            !answer.parsed && !answer.json.contains(CARD),
            "{}",
            answer.json
        );
    }
}

#[test]
fn an_address_with_escaped_slashes_is_masked() {
    let record = json("psql", "\"query_id\":7");
    let with = record.replace("select 1", "postgres:\\/\\/u:geheim@h\\/d");
    assert_ne!(record, with);
    assert!(!one("postgresql", &with).json.contains("geheim"));
    let with = record.replace("select 1", "postgres:\\/\\/u:7@h");
    assert!(one("postgresql", &with).event().head().masked);
}

#[test]
fn what_stands_behind_short_escapes_of_json_is_seen() {
    let record = json("psql", "\"query_id\":7");
    for (said, secret) in [
        // A tab parts no number, and is no escape of the statement's.
        (
            r"U&'\\0034\\0031\\0031\\0031\t\\0031\\0031\\0031\\0031 1111 1111'",
            r"\t\\0031",
        ),
        (r"'\u00024111 1111 1111 1111'", "4111 1111 1111 1111"),
        (r"'\u0002378282246310005'", "378282246310005"),
        (r"'\ud83d\ude004111111111111111'", CARD),
        (r"'\\ud83d\\ude004111111111111111'", CARD),
        (r"postgres:/\/u:geheim@h/d", "geheim"),
    ] {
        for field in ["select 1", "\"psql\",", "client_note"] {
            let record = match field {
                "client_note" => {
                    record.replace("\"query_id\"", &format!("\"note\":\"{said}\",\"query_id\""))
                }
                "select 1" => record.replace(field, said),
                _ => record.replace(field, &format!("\"{said}\",")),
            };
            let answer = one("postgresql", &record);
            assert!(answer.parsed, "{record}");
            assert!(!answer.json.contains(secret), "{}", answer.json);
            assert!(answer.event().head().masked);
            // The door sees it too where the agent did not.
            let mut event = Event {
                raw_data: Some(record.trim_end().into()),
                ..Event::default()
            };
            assert!(recheck(&mut event, Dialect::PostgreSql, MaskOptions::default()) > 0);
            let left = String::from_utf8(event.to_json()).unwrap();
            assert!(!left.contains(secret), "{left}");
        }
        // The twin: the same escapes around what is no secret.
        let plain = said
            .replace("4111", "1114")
            .replace("0034", "0039")
            .replace("37828", "17828");
        let plain = plain.replace(":geheim@", "/");
        let record = record.replace("select 1", &plain);
        let answer = one("postgresql", &record);
        assert!(!answer.event().head().masked, "{}", answer.json);
        assert_eq!(answer.event().raw_data.as_deref(), Some(record.trim_end()));
    }
}

#[test]
fn the_door_believes_no_label() {
    let check = |form: &'static str, raw: &str, uid: Option<&'static str>, kept: bool| {
        let mut event = Event::default();
        event.metadata.product.name = Some("PostgreSQL".into());
        event.metadata.log_format = Some(form.into());
        event.query_info.uid = uid.map(Into::into);
        event.raw_data = Some(raw.to_owned().into());
        let masked = recheck(&mut event, Dialect::PostgreSql, MaskOptions::default());
        let left = String::from_utf8(event.to_json()).unwrap();
        assert_eq!((masked == 0, left.contains(CARD)), (kept, kept), "{left}");
        let again = recheck(&mut event, Dialect::PostgreSql, MaskOptions::default());
        assert_eq!(again, 0, "{left}");
    };
    let commas = format!("{}{CARD}", ",".repeat(25));
    let object = format!("{{\"a\":1,\"query_id\":{CARD}}}");
    for uid in [None, Some(CARD), Some("7")] {
        check("csvlog", &commas, uid, false);
        check("jsonlog", &object, uid, false);
        check("stderr", &format!("qid={CARD}"), uid, false);
        let (csv, json) = (
            csv("psql", CARD),
            json("psql", &format!("\"query_id\":{CARD}")),
        );
        // The twin: a whole record, and an identifier that says the same.
        check("csvlog", csv.trim_end(), uid, uid != Some("7"));
        check("jsonlog", json.trim_end(), uid, uid != Some("7"));
    }
    check("stderr", "qid=7", Some(CARD), false);
}

#[test]
fn an_identifier_in_a_prefix_is_text() {
    let line = |id: &str| {
        format!(
            "2026-11-23 09:42:03.638 UTC [9859] app=x qid={id} LOG:  \
             AUDIT: SESSION,1,1,READ,SELECT,,,a qid=0 LOG:  ,<none>\n"
        )
    };
    let settings = [
        ("form", "stderr"),
        ("log_line_prefix", "%m [%p] app=%a qid=%Q "),
    ];
    for (id, kept) in [
        (CARD, false),
        ("411111111111", true),
        ("-5800417817752000201", true),
    ] {
        let answers = read(
            &mut *format_of("postgresql", &settings),
            line(id).as_bytes(),
            1 << 20,
        );
        let [answer] = &*answers else {
            panic!("{answers:?}")
        };
        assert!(answer.parsed, "{}", answer.json);
        assert_eq!(answer.json.contains(id), kept, "{}", answer.json);
        let said = answer.json.contains(&format!("\"uid\":\"{id}\""));
        assert_eq!(said, kept, "{}", answer.json);
        let again = recheck(
            &mut answer.event(),
            Dialect::PostgreSql,
            MaskOptions::default(),
        );
        assert_eq!(again, 0);
    }
}

#[test]
fn a_number_with_zeros_before_it_is_not_the_servers() {
    for (id, good) in [
        ("0", true),
        ("-7", true),
        ("007", false),
        ("-0", false),
        ("-07", false),
        ("+7", false),
    ] {
        let answer = one("postgresql", &csv("psql", id));
        assert_eq!(answer.parsed, good, "{}", answer.json);
    }
}
