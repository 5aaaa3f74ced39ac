//! What an auditor of PostgreSQL leans on: the grade of each form, columns of every version, several
//! rows of one statement, rows on and off, ways to silence the audit. Each refusal has a twin.

use crate::reading_tests::{Answer, format_of, read, reasons};

const CSV: &[u8] = include_bytes!("../../samples/pg15-pgaudit17-rows-off-utc.csv");
const YORK: &[u8] = include_bytes!("../../samples/pg15-pgaudit17-edge-rows-on-newyork.csv");
const JSON: &[u8] = include_bytes!("../../samples/pg15-pgaudit17-rows-off-utc.json");
const LOG: &[u8] = include_bytes!("../../samples/pg15-pgaudit17-rows-off-utc.log");
const FILE: &[u8] = include_bytes!("../../samples/pgauditlogtofile.csv");

fn read_all(input: &[u8], settings: &[(&str, &str)]) -> Vec<Answer> {
    read(
        &mut *format_of("postgresql", settings),
        input,
        usize::MAX >> 1,
    )
}

/// A record of csvlog with this message.
fn row(message: &str) -> String {
    format!(
        "2026-11-23 09:42:03.638 UTC,\"dba\",\"cards\",9859,\"127.0.0.1:48042\",6b040a6b.2683,4,\
         \"SELECT\",2026-11-23 09:42:03 UTC,3/20,0,LOG,00000,\"{}\",,,,,,,,,\"psql\",\
         \"client backend\",,7\n",
        message.replace('"', "\"\"")
    )
}

#[test]
fn every_event_says_the_grade_of_its_form() {
    let prefix = "%m [%p] %q[user=%u,db=%d,app=%a,host=%h,sess=%c,line=%l,vxid=%v,xid=%x,qid=%Q] ";
    for (sample, grade) in [
        (CSV, "A"),
        (YORK, "A"),
        (JSON, "A"),
        (FILE, "A"),
        (LOG, "C"),
    ] {
        let answers = read_all(sample, &[("log_line_prefix", prefix)]);
        assert!(answers.len() > 4);
        for answer in answers.iter().filter(|answer| answer.parsed) {
            let event = answer.event();
            assert_eq!(
                event.unmapped.grade.as_deref(),
                Some(grade),
                "{}",
                answer.json
            );
        }
    }
}

/// 23 columns up to version 12, 24 in 13, 26 since 14; the first 23 say the same in each.
#[test]
fn columns_of_every_version() {
    let newest = row("AUDIT: SESSION,1,1,READ,SELECT,,,select 1,<none>");
    let cut = |columns: usize| {
        let ends = [",\"client backend\"", ",", ",7"];
        let gone = ends.get(columns - 23..).unwrap_or(&[]).concat();
        newest
            .trim_end()
            .strip_suffix(gone.as_str())
            .unwrap()
            .to_owned()
            + "\n"
    };
    for columns in [23, 24, 26] {
        let answers = read_all(cut(columns).as_bytes(), &[("form", "csvlog")]);
        assert_eq!(reasons(&answers), [None], "{columns}");
        let event = answers[0].event();
        assert_eq!((event.class_uid, event.activity_id), (Some(6005), Some(1)));
        assert_eq!(event.statement().query_string.as_deref(), Some("select 1"));
        assert_eq!(event.who().user.name.as_deref(), Some("dba"));
    }
    let answers = read_all(cut(25).as_bytes(), &[("form", "csvlog")]);
    assert_eq!(
        reasons(&answers),
        [Some("not 23, 24 or 26 columns".to_owned())]
    );
}

/// Each native row is an event of its own; the session and the ids of the statement link them.
#[test]
fn several_rows_of_one_statement() {
    let words = ["AUDIT: SESSION,1,1,DDL,DROP TABLE,", ",DROP TABLE payment,"];
    let statement: Vec<Answer> = (read_all(CSV, &[]).into_iter())
        .filter(|answer| {
            let raw = answer.event().raw_data.unwrap();
            words.iter().all(|word| raw.contains(word))
        })
        .collect();
    assert_eq!(
        statement.len(),
        5,
        "table, sequence, default, constraint, index"
    );
    let first = statement[0].event();
    let mut named = Vec::new();
    let mut lines = Vec::new();
    for row in &statement {
        let event = row.event();
        assert_eq!((event.class_uid, event.activity_id), (Some(3004), Some(4)));
        assert_eq!(
            event.metadata.correlation_uid,
            first.metadata.correlation_uid
        );
        assert_eq!(
            event.statement().query_string,
            first.statement().query_string
        );
        named.push(event.entity.name.unwrap().to_string());
        lines.push(event.metadata.original_event_uid.unwrap().to_string());
    }
    named.dedup();
    lines.dedup();
    assert_eq!(
        (named.len(), lines.len()),
        (statement.len(), statement.len())
    );
    // The twin: one row for a statement that names one object.
    let one = row("AUDIT: SESSION,7,1,DDL,DROP VIEW,VIEW,public.v,drop view v,<none>");
    assert_eq!(read_all(one.as_bytes(), &[]).len(), 1);
}

/// A setting of the session, so both alternate in one file: with the count a record proves success,
/// without it only an attempt.
#[test]
fn rows_on_and_off_in_one_file() {
    let message = "AUDIT: SESSION,1,1,READ,SELECT,TABLE,public.t,select 1,<none>";
    let (off, on) = (row(message), row(&format!("{message},3")));
    let answers = read_all([off.clone(), on, off].concat().as_bytes(), &[]);
    let seen: Vec<_> = (answers.iter())
        .map(|answer| {
            let event = answer.event();
            (event.status_id, event.unmapped.rows)
        })
        .collect();
    assert_eq!(seen, [(Some(0), None), (Some(1), Some(3)), (Some(0), None)]);
    for (parameters, shown) in [("<none>", None), ("<not logged>", Some("<not logged>"))] {
        let record = row(&message.replace("<none>", parameters));
        let answers = read_all(record.as_bytes(), &[]);
        let event = answers[0].event();
        assert_eq!(event.unmapped.parameters.as_deref(), shown);
    }
}

/// Ways to silence the audit that are no SET; each with a twin that is harmless.
#[test]
fn the_audit_silenced_by_other_statements() {
    let mut wrong = Vec::new();
    for (class, command, statement, off) in [
        (
            "WRITE",
            "UPDATE",
            "UPDATE pg_settings SET setting = 'none' WHERE name = 'x'",
            true,
        ),
        (
            "WRITE",
            "UPDATE",
            "UPDATE payment SET setting = 'none' WHERE name = 'x'",
            false,
        ),
        (
            "DDL",
            "CREATE FUNCTION",
            "CREATE FUNCTION f() RETURNS int SET pgaudit.log = 'none' \
            LANGUAGE sql AS 'SELECT 1'",
            true,
        ),
        (
            "DDL",
            "CREATE FUNCTION",
            "CREATE FUNCTION f() RETURNS int SET work_mem = '8MB' \
            LANGUAGE sql AS 'SELECT 1'",
            false,
        ),
        (
            "DDL",
            "ALTER FUNCTION",
            "ALTER FUNCTION f() SET pgaudit.log = 'none'",
            true,
        ),
        (
            "DDL",
            "ALTER PROCEDURE",
            "ALTER PROCEDURE p() SET pgaudit.log TO none",
            true,
        ),
        (
            "DDL",
            "ALTER FUNCTION",
            "ALTER FUNCTION f() SET search_path = a",
            false,
        ),
        (
            "DDL",
            "ALTER FUNCTION",
            "ALTER FUNCTION f() OWNER TO a",
            false,
        ),
        (
            "MISC_SET",
            "SET",
            "SET session_replication_role = replica",
            true,
        ),
        ("MISC_SET", "SET", "SET event_triggers = off", true),
        (
            "DDL",
            "ALTER EVENT TRIGGER",
            "ALTER EVENT TRIGGER pgaudit_sql_drop DISABLE",
            true,
        ),
        (
            "DDL",
            "DROP EVENT TRIGGER",
            "DROP EVENT TRIGGER pgaudit_ddl_command_end",
            true,
        ),
        (
            "DDL",
            "ALTER EVENT TRIGGER",
            "ALTER EVENT TRIGGER mine DISABLE",
            false,
        ),
        (
            "DDL",
            "ALTER EXTENSION",
            "ALTER EXTENSION pgaudit UPDATE",
            true,
        ),
        (
            "DDL",
            "ALTER EXTENSION",
            "ALTER EXTENSION pgcrypto UPDATE",
            false,
        ),
        (
            "DDL",
            "ALTER TABLE",
            "ALTER TABLE pgaudit_notes ADD COLUMN a int",
            false,
        ),
        (
            "ROLE",
            "ALTER ROLE",
            "ALTER ROLE ALL SET pgaudit.log = 'none'",
            true,
        ),
        (
            "ROLE",
            "ALTER ROLE",
            "ALTER USER a SET pgaudit.log_catalog TO off",
            true,
        ),
        (
            "DDL",
            "ALTER SYSTEM",
            "ALTER SYSTEM SET log_connections = off",
            true,
        ),
        (
            "DDL",
            "ALTER SYSTEM",
            "ALTER SYSTEM RESET pgaudit.log",
            true,
        ),
    ] {
        let record = row(&format!(
            "AUDIT: SESSION,1,1,{class},{command},,,\"{statement}\",<none>"
        ));
        let answers = read_all(record.as_bytes(), &[]);
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
