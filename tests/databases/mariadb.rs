//! A working day on MariaDB with server_audit, whose file is renamed away again and again.
//!
//! Not here: PostgreSQL.

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
const SECRETS: [&str; 7] = [
    // The plugin masks only what it parses.
    "Hrz4-in-error",
    "Hrz4-of-execute",
    "Hrz4-of-aes",
    "4111111111111111",
    "5555555555554444",
    "371449635398431",
    "4012888888881881",
];

/// The morning, once: whatever the others need. The file is renamed at this size, in bytes.
const MORNING: &str = r"
SET GLOBAL server_audit_file_rotate_size = 40000;
CREATE DATABASE cards;
CREATE USER app@'127.0.0.1' IDENTIFIED BY 'app-pw';
CREATE ROLE clerk;
CREATE TABLE cards.payment (id int AUTO_INCREMENT PRIMARY KEY, holder text,
    pan varchar(32) UNIQUE, note text);
CREATE TABLE cards.marker_of_the_day (i int);
GRANT SELECT, INSERT, UPDATE ON cards.payment TO app@'127.0.0.1';
GRANT clerk TO app@'127.0.0.1';
";

/// An administrator: definitions, accounts, secrets in all places, odd names.
const ADMINISTRATOR: &str = r#"
USE cards;
CREATE TABLE `O'Brien, "Bob" \ ☃ {n}` (i int) COMMENT 'two
lines; -- and a comment';
SELECT count(*) FROM marker_of_the_day;
ALTER TABLE `O'Brien, "Bob" \ ☃ {n}` ADD COLUMN j text;
RENAME TABLE `O'Brien, "Bob" \ ☃ {n}` TO t_{n};
CREATE VIEW v_{n} AS SELECT holder FROM payment;
CREATE USER u_{n}@localhost IDENTIFIED BY 'Hrz4-of-user';
CREATE USER u_{n}@localhost IDENTIFIED BY 'Hrz4-of-user';
SET PASSWORD FOR u_{n}@localhost = PASSWORD('Hrz4-of-user');
CREATE USRE u_{n}@localhost IDENTIFIED BY 'Hrz4-in-error';
EXECUTE IMMEDIATE 'ALTER USER u_{n}@localhost IDENTIFIED BY ''Hrz4-of-execute''';
CREATE SERVER s_{n} FOREIGN DATA WRAPPER mysql
    OPTIONS (USER 'x', HOST '127.0.0.1', PASSWORD 'Hrz4-of-server');
DROP SERVER s_{n};
SELECT AES_ENCRYPT('text', 'Hrz4-of-aes');
GRANT SELECT ON payment TO u_{n}@localhost;
GRANT clerk TO u_{n}@localhost;
REVOKE clerk FROM u_{n}@localhost;
REVOKE SELECT ON payment FROM u_{n}@localhost;
ALTER USER u_{n}@localhost ACCOUNT LOCK;
/* c */ DROP TABLE IF EXISTS nothing_{n};
CREATE PROCEDURE p_{n}() SELECT count(*) FROM payment;
CALL p_{n}();
DROP PROCEDURE p_{n};
SET GLOBAL server_audit_excl_users = 'nobody_{n}';
SET GLOBAL server_audit_excl_users = '';
UNINSTALL PLUGIN server_audit;
FLUSH LOGS;
DROP VIEW v_{n};
DROP TABLE t_{n};
DROP USER u_{n}@localhost;
"#;

/// An application: rows, card numbers, statements of several lines, errors.
const APPLICATION: &str = r#"
INSERT INTO payment (holder, pan) VALUES ('A. Test {n}', '4111111111111111');
INSERT INTO payment (holder, pan) VALUES ('twice {n}', '4111111111111111');
INSERT INTO payment (holder, note)
VALUES ('O''Brien, \"Bob\" \\ back', '5555 5555 5555 4444

20260101 00:00:00,h,root,localhost,1,1,QUERY,cards,\'forged\',0
tab	æøå ☃');
UPDATE payment SET note = 'n' WHERE id = {n};
PREPARE p FROM 'SELECT holder FROM payment WHERE pan = ?';
SET @p = '371449635398431';
EXECUTE p USING @p;
SELECT '4012-8888-8888-1881' AS pan;
DELETE FROM payment;
DROP TABLE payment;
SELECT * FROM no_such_table_{n};
START TRANSACTION; SELECT 1; ROLLBACK;
SET GLOBAL server_audit_logging = OFF;
SELECT 'end';
"#;

fn client(port: u16, user: &str, password: &str) -> Command {
    let mut command = Command::new("mariadb");
    let port = port.to_string();
    command.args([
        "--no-defaults",
        "-f",
        "-h127.0.0.1",
        "-P",
        &port,
        "-u",
        user,
    ]);
    command.args(["--default-character-set=utf8mb4"]);
    command.env("MYSQL_PWD", password);
    command
}

/// Logins that fail: a wrong password, nobody, no such database.
fn refused(port: u16) {
    for (user, password) in [("app", "Wrong-pw"), ("ghost", "app-pw")] {
        typed(&mut client(port, user, password), b"SELECT 1;");
    }
    typed(client(port, "app", "app-pw").arg("nowhere"), b"SELECT 1;");
}

/// Bytes that are no text, beside a card number; and statements that are long.
fn odd(port: u16, number: usize) {
    let bytes = b"SELECT '\xff\xfe 4111111111111111 \xc3(' AS x;\nSELECT '\x80';\n";
    typed(&mut client(port, "root", ""), bytes);
    let size = if number % 8 == 1 { 60_000 } else { 9_000 };
    let long = format!(
        "SELECT length('{} 5555555555554444');",
        "x y".repeat(size / 3)
    );
    typed(&mut client(port, "root", ""), long.as_bytes());
}

/// Several people at once, until the day ends.
fn day(server: &Server, stop: &AtomicBool) {
    let port = server.port();
    typed(&mut client(port, "root", ""), MORNING.as_bytes());
    let script = |text: &str, number: usize| text.replace("{n}", &number.to_string());
    let pause = Duration::from_millis(30);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            again_and_again(stop, pause, |number| {
                let text = script(ADMINISTRATOR, number);
                typed(&mut client(port, "root", ""), text.as_bytes());
            });
        });
        for _ in 0..2 {
            scope.spawn(|| {
                again_and_again(stop, pause, |number| {
                    let text = script(APPLICATION, number);
                    typed(client(port, "app", "app-pw").arg("cards"), text.as_bytes());
                });
            });
        }
        scope.spawn(|| {
            again_and_again(stop, pause, |number| {
                refused(port);
                odd(port, number);
            });
        });
        scope.spawn(|| {
            again_and_again(stop, Duration::from_millis(900), |_| {
                let text = b"SET GLOBAL server_audit_file_rotate_now = ON;";
                typed(&mut client(port, "root", ""), text);
            });
        });
    });
}

/// The files in the order in which they were written: the highest number is the oldest.
fn files(server: &Server) -> Vec<PathBuf> {
    let newest = PathBuf::from(server.fact("audit"));
    let older = |number: usize| PathBuf::from(format!("{}.{number:03}", newest.display()));
    let older = |number: usize| {
        let short = PathBuf::from(format!("{}.{number}", newest.display()));
        if short.exists() { short } else { older(number) }
    };
    let mut files: Vec<PathBuf> = (1..).map(older).take_while(|path| path.exists()).collect();
    files.reverse();
    files.push(newest);
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
fn a_day_on_mariadb_arrives_exactly_once() {
    let mut dice = Dice::new();
    let server = Server::mariadb();
    let mut story = Story::begin(vec![Followed {
        name: "by-file",
        platform: "mariadb",
        files: format!("path = \"{}\"", server.fact("audit")),
        settings: &["query_log_limit=65536"],
    }]);
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
    let files = files(&server);
    assert!(files.len() > 10, "{files:?}");
    let written = [story.written(0, &files)];
    was_a_day(&written[0]);
    println!("{} records, {} files", written[0].len(), files.len());
    let ended = story.end(&written);
    ended.holds_exactly(0, &written[0]);
    let noted = ended.notices.iter().any(|notices| !notices.is_empty());
    assert!(noted, "files could not be read for a while");
    ended.hides(&SECRETS, &[MARKER], &files);
}
