//! From a real PostgreSQL through agent, Kafka and ledger to a log that verifies; and on the whole
//! way, in journals, topics and the log, no card number and no password.
//!
//! Not here: what goes wrong on the way (`farm`).

use std::path::{Path, PathBuf};
use std::process::Command;

use super::abuse::{Abuse, wait_for};
use super::check::check;
use super::stage::Stage;
use crate::secrets::{CARDS, Hay, MARKER, Needle, PASSWORDS, files, found, none_found, parts};
use crate::servers::Server;

/// What an administrator does on a day: accounts, grants, and statements with what must not be seen.
fn statements() -> Vec<String> {
    let [card, second, ..] = CARDS;
    let [password, other, ..] = PASSWORDS;
    [
        "CREATE EXTENSION IF NOT EXISTS pgaudit".to_owned(),
        format!("CREATE ROLE clerk LOGIN PASSWORD '{password}'"),
        format!("ALTER ROLE clerk PASSWORD '{other}'"),
        "CREATE TABLE payment (holder text, card text)".to_owned(),
        "GRANT SELECT ON payment TO clerk".to_owned(),
        format!("INSERT INTO payment VALUES ('A. Holder', '{card}')"),
        format!("SELECT * FROM payment WHERE card = '{second}'"),
        format!("CREATE TABLE {MARKER} (n int)"),
        format!("SELECT count(*) FROM {MARKER}"),
    ]
    .into()
}

fn psql(server: &Server, statement: &str) {
    let port = server.port().to_string();
    let place = ["-X", "-h", "127.0.0.1", "-p", &port, "-U", "dba_root"];
    let ran = Command::new("psql")
        .args(place)
        .args(["-d", "postgres", "-c", statement])
        .output();
    let ran = ran.unwrap();
    assert!(ran.status.success(), "{ran:?}");
}

/// The one csvlog of a server that rotates only when it is restarted.
fn csvlog(server: &Server) -> PathBuf {
    let folder = std::fs::read_dir(server.fact("log")).unwrap();
    let mut files = folder
        .map(|item| item.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "csv"));
    let file = files.next().unwrap();
    assert_eq!(files.next(), None);
    file
}

/// Every record of both topics as a consumer gets it, so decompressed.
fn topics(abuse: &Abuse, tenant: &str) -> Vec<Hay> {
    let mut records = abuse.records();
    let acks = format!("custody.acks.{tenant}");
    let take = &mut |record| records.push(record);
    abuse.cluster.read(&acks, 0, 0, take).unwrap();
    let whole = |record: collectors_bus::kafka::raw::RawRecord| {
        let mut bytes = record.key;
        bytes.extend(record.value);
        for (key, value) in record.headers {
            bytes.extend(key.as_bytes());
            bytes.extend(value);
        }
        let place = format!("topic {}/{}", record.partition, record.offset);
        Hay::new(place, bytes)
    };
    records.into_iter().map(whole).collect()
}

fn below(folder: &Path) -> Vec<Hay> {
    let mut hays = Vec::new();
    files(folder, &mut hays);
    hays
}

#[test]
#[ignore = "needs servers"]
fn postgresql_reaches_a_signed_log_and_no_secret_is_on_the_way() {
    let database = Server::postgresql();
    let broker = Server::kafka();
    let address = broker.address();
    let mut stage = Stage::new("main", 0, &address, &address, "");
    let glob = format!("glob = \"{}\"", database.fact("csv"));
    stage.add("live", &glob);
    stage.start_ledger();
    stage.start_agent();
    let abuse = Abuse::new(&address, "main");
    stage.until("a first record", |status| {
        status["sources"][0]["records"].as_u64() > Some(0)
    });
    // While the ledger is away nothing is acknowledged, so the journal keeps all of it.
    assert_eq!(stage.stop_ledger(), 0, "{}", stage.said());
    for statement in statements() {
        psql(&database, &statement);
    }
    let marker = [Needle::new(MARKER)];
    wait_for("the marker in the topic", || {
        let seen = found(&topics(&abuse, "main"), &marker);
        (seen.len() >= 2).then_some(())
    });
    let journal = below(&stage.room.path("agent"));
    let mut hays = topics(&abuse, "main");
    for place in [&journal, &hays] {
        assert!(!found(place, &marker).is_empty(), "the marker is there");
    }
    hays.extend(journal);

    stage.start_ledger();
    // After this the database writes nothing more.
    database.stop();
    let file = csvlog(&database);
    stage.until("the end of the file", |status| {
        let all = status["sources"][0]["records"].as_u64();
        all == Some(records(&stage, &file)) && status["size"] == status["published_size"]
    });
    assert_eq!(stage.stop_agent(), 0, "{}", stage.said());
    assert_eq!(stage.stop_ledger(), 0, "{}", stage.said());
    let story = check(&stage.room, &[(1, &file)], "live");
    for kind in ["gap", "conflict", "forged"] {
        assert_eq!(story.count(kind), 0, "{story:?}");
    }
    hays.extend(
        below(stage.room.path("").as_path())
            .into_iter()
            .filter(written),
    );
    parts(&stage.room.path("ledger"), &mut hays);
    let in_log = found(&hays, &marker);
    assert!(in_log.iter().any(|(_, place)| place.starts_with("entry ")));
    let secrets: Vec<Needle> = PASSWORDS
        .iter()
        .chain(&CARDS)
        .map(|one| Needle::new(one))
        .collect();
    none_found(&hays, &secrets);
    // The search would have found them: the database's own file has them.
    let own = [Hay::new("csvlog".to_owned(), std::fs::read(&file).unwrap())];
    let in_file = found(&own, &secrets).len();
    assert!(
        in_file >= 2,
        "pgaudit hides passwords itself, cards it does not: {in_file}"
    );
}

/// What is written by this program: keys are looked at too, sockets are none.
fn written(hay: &Hay) -> bool {
    !hay.name.ends_with(".sock")
}

/// How many records the program itself finds in a file.
fn records(stage: &Stage, file: &Path) -> u64 {
    let path = file.display().to_string();
    let ran = stage
        .room
        .run(&["parse", "--platform", "postgresql", &path]);
    ran.out.lines().count() as u64
}
