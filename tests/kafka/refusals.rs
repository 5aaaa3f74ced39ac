//! A broker with TLS, passwords and rights: `custody doctor` names what is wrong with the way to it,
//! whoever lacks a right names it, and the twin that is right carries records to a signed log.
//!
//! Not here: faults while it runs (`cases`, `farm`).

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use super::stage::Stage;
use crate::house::root;
use crate::servers::Server;

/// The tables of `[bus.kafka]` for one of the broker's users.
fn secured(broker: &Server, user: &str) -> String {
    let password = broker.fact("password_file");
    let secret = std::fs::metadata(password).unwrap();
    let owner_only = std::fs::Permissions::from_mode(secret.permissions().mode() & 0o600);
    std::fs::set_permissions(password, owner_only).unwrap();
    format!(
        "[bus.kafka.tls]\nca = \"{}\"\n[bus.kafka.sasl]\nmechanism = \"SCRAM-SHA-512\"\n\
         username = \"{user}\"\npassword_file = \"{password}\"\n",
        broker.fact("ca"),
    )
}

#[test]
#[ignore = "needs servers"]
fn doctor_names_a_wrong_broker_certificate_or_password_and_the_twin_works() {
    let broker = Server::kafka_secure();
    let address = format!("127.0.0.1:{}", broker.fact("secure_port"));
    let extra = secured(&broker, "custody");
    let mut stage = Stage::new("secure", 1, &address, &address, &extra);
    let right = stage.messages("ledger/custody.toml");
    let wrong = stage.room.write("wrong.key", "not the password\n");
    std::fs::set_permissions(&wrong, std::fs::Permissions::from_mode(0o600)).unwrap();
    let other_ca = stage.room.write("other.pem", "no certificate\n");
    for (from, to, word) in [
        (
            broker.fact("password_file"),
            wrong.to_str().unwrap(),
            "sasl",
        ),
        (broker.fact("ca"), other_ca.to_str().unwrap(), "ssl"),
        (address.as_str(), "127.0.0.1:1", "127.0.0.1:1"),
    ] {
        stage
            .room
            .write("ledger/custody.toml", right.replace(from, to));
        let doctor = stage.room.log(&["doctor"]);
        let line = doctor.out.lines().find(|line| line.contains("WRONG"));
        let line = line.unwrap_or_else(|| panic!("{to}: {doctor:?}"));
        assert!(
            line.contains("kafka") && line.to_lowercase().contains(word),
            "{line}"
        );
        assert_eq!(doctor.code, 1, "{doctor:?}");
        assert!(!doctor.out.contains("not the password"), "{doctor:?}");
    }
    stage.room.write("ledger/custody.toml", right);
    stage.room.log(&["doctor"]).ended(0);
    stage.start_ledger();
    stage.start_agent();
    stage.write(50);
    stage.finish("over TLS, with a password");
}

/// The commands of the manual's page that grant rights, and what they are about.
struct Manual(Vec<String>);

impl Manual {
    fn read() -> Manual {
        let page = std::fs::read_to_string(root().join("docs/operating/kafka.md")).unwrap();
        let blocks = page.split("```acls\n").skip(1);
        let text: String = blocks.map(|one| one.split("```").next().unwrap()).collect();
        let text = text.replace("\\\n", " ");
        Manual(text.lines().map(str::to_owned).collect())
    }

    /// Runs the one command with these words, as it stands there or with other words in it.
    fn run(&self, broker: &Server, words: &[&str], change: &[(&str, &str)]) {
        let mut all = self.0.iter();
        let has = |line: &&String| words.iter().all(|word| line.contains(word));
        let line = all.find(has).unwrap_or_else(|| panic!("{words:?}"));
        let line = change.iter().fold(line.clone(), |line, (from, to)| {
            assert!(line.contains(from), "{line}");
            line.replace(from, to)
        });
        let args: Vec<&str> = line.split_whitespace().skip(1).collect();
        broker.acls(&args);
    }
}

/// Waits until the ledger, and `custody doctor`, say that they may not do this.
#[track_caller]
fn named(stage: &Stage, what: &str, right: &str) {
    stage.until(what, |status| {
        let error = status["bus"]["error"].as_str().unwrap_or_default();
        error.contains(what) && error.contains(right)
    });
    let doctor = stage.room.log(&["doctor"]);
    let wrong = doctor.out.lines().filter(|line| line.contains("WRONG"));
    let named = wrong.into_iter().any(|line| line.contains(right));
    assert!(named && doctor.code == 1, "{what}: {doctor:?}");
}

#[test]
#[ignore = "needs servers"]
fn a_right_that_is_missing_is_named_and_the_manuals_commands_give_it() {
    let broker = Server::kafka_secure();
    let manual = Manual::read();
    let address = format!("127.0.0.1:{}", broker.fact("secure_port"));
    let extra = secured(&broker, "custody-ledger");
    let mut stage = Stage::new("main", 1, &address, &address, &extra);
    let agent = stage.messages("agent.toml");
    let agent = agent.replace("custody-ledger", "custody-agent-orders");
    stage.room.write("agent.toml", agent);
    stage.start_ledger();
    let (acks, events) = ("custody.acks.main", "custody.events.main");

    named(
        &stage,
        "describing topic",
        &format!("Describe on topic {acks}"),
    );
    manual.run(&broker, &["ledger", "Write", acks], &[]);
    named(&stage, "creating topic", &format!("Create on topic {acks}"));
    manual.run(&broker, &["ledger", "Create", acks], &[]);
    named(
        &stage,
        "describing topic",
        &format!("Describe on topic {events}"),
    );
    // Everything but reading.
    let without = [("--operation Read ", "")];
    manual.run(&broker, &["ledger", "Read", events], &without);
    manual.run(&broker, &["ledger", "Create", events], &[]);
    let status = stage.until("the transactional id", |status| {
        let error = status["bus"]["error"].as_str().unwrap_or_default();
        error.contains("on transactional id custody.")
    });
    let origin = status["origin"].as_str().unwrap();
    let id = [("db.example.org/main/2026", origin)];
    manual.run(&broker, &["ledger", "--transactional-id"], &id);
    named(
        &stage,
        "reading topic",
        &format!("Read and Describe on topic {events}"),
    );
    manual.run(&broker, &["ledger", "Read", events], &[]);
    stage.until("all is given", |status| status["bus"]["state"] == "reading");
    stage.room.log(&["doctor"]).ended(0);

    // An agent without any right, without Read and then without Write; each life is a new one so
    // that nobody waits for its next try.
    stage.write(20);
    refuses(&mut stage, &format!("give Describe on topic {acks}"));
    manual.run(&broker, &["agent", "Describe", acks], &without);
    refuses(
        &mut stage,
        &format!("give Read and Describe on topic {acks}"),
    );
    manual.run(&broker, &["agent", "Read", acks], &[]);
    refuses(
        &mut stage,
        &format!("give Write and Describe on topic {events}"),
    );
    let status = stage.status().unwrap();
    let source = status["sources"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["keyed"] == true);
    assert_eq!(
        source.unwrap()["records"],
        0,
        "nothing of it is in the log yet"
    );
    manual.run(&broker, &["agent", "Write", events], &[]);
    stage.start_agent();
    stage.finish("with the rights of the manual");
}

/// A new life of the agent says what it lacks.
#[track_caller]
fn refuses(stage: &mut Stage, what: &str) {
    let before = stage.messages("agent.log").len();
    stage.start_agent();
    let until = Instant::now() + Duration::from_secs(60);
    while !stage
        .messages("agent.log")
        .get(before..)
        .is_some_and(|said| said.contains(what))
    {
        assert!(Instant::now() < until, "{what}: {}", stage.said());
        std::thread::sleep(Duration::from_millis(100));
    }
}
