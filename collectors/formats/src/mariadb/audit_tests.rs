//! What an auditor of MariaDB leans on: the grade, ways to silence the audit, numbers that are
//! missing. Each refusal has a twin.

use crate::reading_tests::{Answer, format_of, read};
use crate::{FormatKeys, format_for};

const NEW: &[u8] = include_bytes!("../../samples/mariadb1011-server_audit.log");
const OLD: &[u8] = include_bytes!("../../samples/mariadb1011-server_audit.log.1");

fn read_all(input: &[u8]) -> Vec<Answer> {
    read(&mut *format_of("mariadb", &[]), input, usize::MAX >> 1)
}

fn query(statement: &str) -> String {
    let statement = statement.replace('\'', "\\'");
    format!("20261123 04:42:54,vm,root,localhost,7,10,QUERY,cards,'{statement}',0\n")
}

#[test]
fn every_event_has_the_lowest_grade() {
    for answer in [OLD, NEW].into_iter().flat_map(read_all) {
        let event = answer.event();
        assert_eq!(
            event.unmapped.grade.as_deref(),
            Some("C"),
            "{}",
            answer.json
        );
    }
}

#[test]
fn the_audit_switched_off_in_all_its_forms() {
    let mut wrong = Vec::new();
    for (statement, off) in [
        ("SET GLOBAL server_audit_logging = OFF", true),
        ("set @@global.server_audit_logging := 0", true),
        (
            "SET GLOBAL max_connections = 9, GLOBAL server_audit_logging = OFF",
            true,
        ),
        ("/* c */ SET GLOBAL `server_audit_logging` = OFF", true),
        ("/*! SET GLOBAL server_audit_logging = OFF */", true),
        ("SET GLOBAL server_audit_events = 'CONNECT'", true),
        ("SET GLOBAL server_audit_excl_users = 'root'", true),
        ("SET GLOBAL server_audit_incl_users = 'nobody'", true),
        ("SET GLOBAL server_audit_file_path = '/dev/null'", true),
        ("SET GLOBAL server_audit_output_type = 'syslog'", true),
        ("SET GLOBAL server_audit_query_log_limit = 1", true),
        ("SET GLOBAL max_connections = 9", false),
        ("SET @server = 'audit'", false),
        ("UNINSTALL PLUGIN server_audit", true),
        ("UNINSTALL SONAME 'server_audit'", true),
        ("UNINSTALL PLUGIN example", false),
        (
            "EXECUTE IMMEDIATE 'SET GLOBAL server_audit_logging = OFF'",
            true,
        ),
        (
            "PREPARE s FROM 'SET GLOBAL server_audit_logging = OFF'",
            true,
        ),
        (
            "BEGIN NOT ATOMIC SET GLOBAL server_audit_logging = OFF; END",
            true,
        ),
        ("EXECUTE IMMEDIATE 'SELECT 1'", false),
        ("SHOW VARIABLES LIKE 'server_audit_logging'", false),
        ("SELECT 'server_audit_logging'", false),
        ("SET sql_log_bin = 0", true),
        ("SET GLOBAL general_log = OFF", true),
    ] {
        let answers = read_all(query(statement).as_bytes());
        let event = answers[0].event();
        let grave = event.class_uid == Some(6002) && event.severity_id >= Some(3);
        if grave != off {
            wrong.push(format!(
                "{statement}: {:?} {:?}",
                event.type_uid, event.severity_id
            ));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// The server numbers its queries: what is lost between two lines leaves a hole, which an event
/// shows as a fact.
#[test]
fn a_lost_line_leaves_a_hole_in_the_numbers() {
    let line = |number: u32| query("SELECT 1").replace(",10,", &format!(",{number},"));
    let numbers = |text: String| -> Vec<i64> {
        let number = |answer: &Answer| {
            let event = answer.event();
            let uid = event.metadata.original_event_uid.unwrap().to_string();
            uid.split_once('/').unwrap().1.parse::<i64>().unwrap()
        };
        read_all(text.as_bytes()).iter().map(number).collect()
    };
    let holes = |numbers: Vec<i64>| numbers.windows(2).filter(|w| w[1] - w[0] > 1).count();
    assert_eq!(holes(numbers([line(1), line(2), line(3)].concat())), 0);
    assert_eq!(holes(numbers([line(1), line(3)].concat())), 1);
}

#[test]
fn settings_are_refused_or_taken() {
    let keys = FormatKeys {
        digest_key: [0; 32],
    };
    for (name, bad, good) in [
        ("form", "csvlog", "server_audit"),
        ("timezone", "Mars", "America/New_York"),
        ("query_log_limit", "1k", "65536"),
        ("keep_first6", "1", "false"),
    ] {
        let made = |value: &str| {
            let settings = [(name.to_owned(), value.to_owned())];
            format_for("mariadb", &settings, &keys).map(drop)
        };
        let refused = made(bad).unwrap_err().to_string();
        assert!(
            refused.starts_with(&format!("setting {name} cannot be {bad}")),
            "{refused}"
        );
        assert!(made(good).is_ok(), "{name}");
    }
    let unknown = [("zone".to_owned(), "x".to_owned())];
    let refused = format_for("mariadb", &unknown, &keys)
        .map(drop)
        .unwrap_err();
    assert!(
        refused.to_string().contains("has no setting zone"),
        "{refused}"
    );
}

#[test]
fn a_byte_that_is_not_utf_8_keeps_its_backslash() {
    let line = |statement: &[u8]| {
        let head = b"20261123 04:42:54,vm,root,localhost,7,10,QUERY,cards,'";
        [head, statement, b"',0\n"].concat()
    };
    for (statement, expected) in [
        (
            &b"SELECT \xe94111111111111111"[..],
            r"SELECT \xe9************1111",
        ),
        (&b"SELECT \xe9411111111111"[..], r"SELECT \xe9411111111111"),
        // The twin: what a user typed, which the server writes with two.
        (
            &br"SELECT \\xe9411111111111"[..],
            r"SELECT \xe9411111111111",
        ),
        (&br"SELECT \'x\'"[..], "SELECT 'x'"),
    ] {
        let answers = read_all(&line(statement));
        let event = answers[0].event();
        let text = event.query_info.query_string.as_deref();
        assert_eq!(text, Some(expected), "{}", answers[0].json);
        assert!(!answers[0].json.contains("4111111111111111"));
        assert_eq!(event.head().masked, expected.contains('*'));
    }
}
