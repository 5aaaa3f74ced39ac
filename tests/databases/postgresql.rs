//! A working day on PostgreSQL with pgaudit, written as csvlog and as jsonlog, both followed.
//!
//! Not here: MariaDB.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde_json::Value;

use super::story::{Followed, Story};
use super::{Dice, EndOfDay, again_and_again, typed};
use crate::servers::Server;

/// A harmless word that must be found wherever records are.
const MARKER: &str = "marker_of_the_day";
/// Passwords and card numbers that are typed during the day. Each stands in the database's own files.
const SECRETS: [&str; 10] = [
    // pgaudit masks the first one itself, but not in the row of the error.
    "Hrz4-of-role",
    "Hrz4-in-do",
    "Hrz4-of-mapping",
    "Hrz4-of-dblink",
    "Hrz4-of-curl",
    "Hrz4-of-crypt",
    "4111111111111111",
    "5555555555554444",
    "371449635398431",
    "4012888888881881",
];

/// The morning, once: whatever the others need.
const MORNING: &str = r#"
CREATE EXTENSION pgaudit;
CREATE DATABASE cards;
CREATE DATABASE raw ENCODING 'SQL_ASCII' TEMPLATE template0;
CREATE ROLE app LOGIN PASSWORD 'app-pw';
CREATE ROLE clerk NOLOGIN;
\c cards
CREATE EXTENSION pgaudit;
CREATE TABLE payment (id serial PRIMARY KEY, holder text, pan text UNIQUE, note text);
CREATE TABLE marker_of_the_day (i int);
GRANT SELECT, INSERT, UPDATE ON payment TO app;
GRANT USAGE ON SEQUENCE payment_id_seq TO app;
GRANT clerk TO app;
"#;

/// An administrator: definitions, accounts, secrets in all places, odd names.
const ADMINISTRATOR: &str = r#"
CREATE TABLE "O'Brien, ""Bob"" ☃ {n}" (i int);
COMMENT ON TABLE "O'Brien, ""Bob"" ☃ {n}" IS 'two
lines; -- and a comment';
SELECT count(*) FROM marker_of_the_day;
ALTER TABLE "O'Brien, ""Bob"" ☃ {n}" ADD COLUMN j text;
CREATE VIEW v_{n} AS SELECT holder FROM payment;
CREATE ROLE r_{n} LOGIN PASSWORD 'Hrz4-of-role';
CREATE ROLE r_{n} LOGIN PASSWORD 'Hrz4-of-role';
DO $$ BEGIN EXECUTE 'ALTER ROLE r_{n} PASSWORD ''Hrz4-in-do'''; END $$;
CREATE USER MAPPING FOR app SERVER nowhere OPTIONS (user 'x', password 'Hrz4-of-mapping');
SELECT dblink('host=127.0.0.1 user=x password=Hrz4-of-dblink', 'SELECT 1');
COPY (SELECT 1) TO PROGRAM 'true curl -u me:Hrz4-of-curl http://127.0.0.1/';
SELECT crypt('Hrz4-of-crypt', 'salt');
GRANT SELECT ON payment TO r_{n};
GRANT clerk TO r_{n};
REVOKE clerk FROM r_{n};
REVOKE SELECT ON payment FROM r_{n};
ALTER ROLE r_{n} NOLOGIN;
BEGIN;
SET LOCAL pgaudit.log = 'none';
SELECT 'unseen' FROM payment;
COMMIT;
SET pgaudit.log = 'none';
SELECT 'unseen' FROM payment;
RESET pgaudit.log;
SET pgaudit.log_rows = on;
SELECT count(*) FROM payment;
SELECT 1/(i-i) FROM generate_series(1, 2) i;
SET ROLE clerk;
SELECT current_user;
RESET ROLE;
ALTER SYSTEM SET work_mem = '{n}MB';
SELECT pg_reload_conf();
DROP VIEW v_{n};
DROP TABLE "O'Brien, ""Bob"" ☃ {n}";
DROP ROLE r_{n};
"#;

/// An application: rows, card numbers, copies, errors whose details hold data.
const APPLICATION: &str = r#"
INSERT INTO payment (holder, pan) VALUES ('A. Test {n}', '4111111111111111');
INSERT INTO payment (holder, pan) VALUES ('twice {n}', '4111111111111111');
INSERT INTO payment (holder, note)
VALUES ('O''Brien, "Bob"', '5555 5555 5555 4444

2026-01-01 00:00:00.000 UTC,"dba_root","cards",1,"127.0.0.1:1",1.1,1,"SELECT"');
SELECT 1; UPDATE payment SET note = 'n' WHERE id = {n}; SELECT count(*) FROM payment;
PREPARE p AS SELECT holder FROM payment WHERE pan = $1;
EXECUTE p('371449635398431');
COPY payment (holder, note) FROM STDIN;
copied {n}	4012888888881881
and again	\N
\.
COPY payment TO STDOUT;
SELECT '4012-8888-8888-1881' AS pan;
DELETE FROM payment;
DROP TABLE payment;
SELECT * FROM no_such_table_{n};
BEGIN; SELECT 1/0; SELECT 'after'; ROLLBACK;
SET application_name = 'a, "job"
{n}';
SELECT 'end';
SET pgaudit.log = 'none';
"#;

fn psql(port: u16, user: &str, database: &str) -> Command {
    let mut command = Command::new("psql");
    let port = port.to_string();
    command.args(["-X", "-q", "-h", "127.0.0.1", "-p", &port, "-U", user]);
    command.args(["-d", database]).env("PGPASSWORD", "app-pw");
    command
}

/// Logins that fail: a wrong password, nobody, a name that forges a line, no such database.
fn refused(port: u16) {
    let forged = "ghost\n2026-01-01 00:00:00.000 UTC,\"dba_root\",\"cards\",1,\"127.0.0.1:1\"";
    for (user, database, password) in [
        ("app", "cards", "Wrong-pw"),
        ("ghost", "cards", "app-pw"),
        (forged, "cards", "app-pw"),
        ("app", "nowhere", "app-pw"),
    ] {
        let mut command = psql(port, user, database);
        typed(command.env("PGPASSWORD", password), b"SELECT 1;");
    }
}

/// Bytes that are no text, beside a card number; and statements that are long.
fn odd(port: u16, number: usize) {
    let bytes = b"SELECT '\xff\xfe 4111111111111111 \xc3(' AS x;\nSELECT '\x80';\n";
    typed(&mut psql(port, "dba_root", "raw"), bytes);
    let size = if number % 8 == 1 { 700_000 } else { 9_000 };
    let long = format!(
        "SELECT length('{} 5555555555554444');",
        "x y".repeat(size / 3)
    );
    typed(&mut psql(port, "dba_root", "cards"), long.as_bytes());
}

/// Several people at once, until the day ends.
fn day(server: &Server, stop: &AtomicBool) {
    let port = server.port();
    typed(&mut psql(port, "dba_root", "postgres"), MORNING.as_bytes());
    let script = |text: &str, number: usize| text.replace("{n}", &number.to_string());
    let pause = Duration::from_millis(30);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            again_and_again(stop, pause, |number| {
                let text = script(ADMINISTRATOR, number);
                typed(&mut psql(port, "dba_root", "cards"), text.as_bytes());
            });
        });
        for _ in 0..2 {
            scope.spawn(|| {
                again_and_again(stop, pause, |number| {
                    let text = script(APPLICATION, number);
                    typed(&mut psql(port, "app", "cards"), text.as_bytes());
                });
            });
        }
        scope.spawn(|| {
            again_and_again(stop, pause, |number| {
                refused(port);
                odd(port, number);
            });
        });
        // Names have seconds, so that rotations of one second would go on in one file.
        scope.spawn(|| {
            again_and_again(stop, Duration::from_millis(2500), |_| {
                let text = b"SELECT pg_rotate_logfile();";
                typed(&mut psql(port, "dba_root", "postgres"), text);
            });
        });
    });
}

/// The files of one form, in the order in which they were written.
fn files(server: &Server, ending: &str) -> Vec<PathBuf> {
    let items = std::fs::read_dir(server.fact("log")).expect("logs");
    let mut files: Vec<PathBuf> = items
        .map(|item| item.expect("an item").path())
        .filter(|path| path.extension().is_some_and(|found| found == ending))
        .collect();
    files.sort();
    files
}

/// That the day was one: every class of events is there, and failures.
fn was_a_day(events: &[Value]) {
    for class in [3001, 3002, 3004, 3005, 3006, 6002, 6005] {
        let of_class = |event: &&Value| event["class_uid"] == class;
        let count = events.iter().filter(of_class).count();
        assert!(count > 0, "no event of class {class}");
    }
    let failed = events.iter().filter(|event| event["status_id"] == 2);
    assert!(failed.count() > 20);
    assert!(events.iter().all(|event| event["class_uid"] != 0));
}

#[test]
#[ignore = "needs servers"]
fn a_day_on_postgresql_arrives_exactly_once() {
    let mut dice = Dice::new();
    let server = Server::postgresql();
    let source = |name, ending| Followed {
        name,
        platform: "postgresql",
        files: format!("glob = \"{}\"", server.fact(ending)),
        settings: &[],
    };
    let mut story = Story::begin(vec![source("by-csv", "csv"), source("by-json", "json")]);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let works = scope.spawn(|| day(&server, &stop));
        let end = EndOfDay(&stop);
        story.kill_again_and_again(&mut dice, 15);
        story.suffer();
        story.kill_again_and_again(&mut dice, 15);
        drop(end);
        works.join().expect("a day");
    });
    server.stop();
    let forms = ["csv", "json"].map(|ending| files(&server, ending));
    assert!(forms.iter().all(|files| files.len() > 3), "{forms:?}");
    let written = [0, 1].map(|source| story.written(source, &forms[source]));
    was_a_day(&written[0]);
    println!("{} records, {} files", written[0].len(), forms[0].len());
    let ended = story.end(&written);
    ended.holds_exactly(0, &written[0]);
    let noted = ended.notices.iter().any(|notices| !notices.is_empty());
    assert!(noted, "files could not be read for a while");
    ended.holds_exactly(1, &written[1]);
    ended.hides(&SECRETS, &[MARKER], &forms.concat());
}
