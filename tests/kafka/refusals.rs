//! A broker with TLS and passwords: `custody doctor` names what is wrong with the way to it, and the
//! twin that is right carries records to a signed log.
//!
//! Not here: faults while it runs (`cases`, `farm`).

use std::os::unix::fs::PermissionsExt as _;

use super::stage::Stage;
use crate::servers::Server;

#[test]
#[ignore = "needs servers"]
fn doctor_names_a_wrong_broker_certificate_or_password_and_the_twin_works() {
    let broker = Server::kafka_secure();
    let address = format!("127.0.0.1:{}", broker.fact("secure_port"));
    let extra = format!(
        "[bus.kafka.tls]\nca = \"{}\"\n[bus.kafka.sasl]\nmechanism = \"SCRAM-SHA-512\"\n\
         username = \"custody\"\npassword_file = \"{}\"\n",
        broker.fact("ca"),
        broker.fact("password_file")
    );
    let secret = std::fs::metadata(broker.fact("password_file")).unwrap();
    let owner_only = std::fs::Permissions::from_mode(secret.permissions().mode() & 0o600);
    std::fs::set_permissions(broker.fact("password_file"), owner_only).unwrap();
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
