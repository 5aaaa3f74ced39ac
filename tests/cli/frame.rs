//! What is common to commands: usage, settings, output, completions, pages; and `init` and `demo`.
//!
//! Not here: sources, the server, and checks of a log.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::{ROWS_OFF, Room, ran, sample};

#[test]
fn a_wrong_command_line_gets_one_line_and_2() {
    let room = Room::new();
    room.run(&["ingst"]).refused(2, "'ingest'");
    room.run(&["show"]).refused(2, "<INDEX>");
    room.run(&["show", "-1"]).refused(2, "-1");
    room.run(&["show", "x"]).refused(2, "'x'");
    room.run(&["ingest", "--source", "pg"])
        .refused(2, "NAME=PLATFORM:PATH");
    room.run(&["verify", "--trust", "x"])
        .refused(2, "<DIR|URL>");
    room.run(&["keys", "show"]).refused(2, "'show'");
    assert!(room.run(&["--help"]).ended(0).contains("Exit codes"));
    assert!(room.run(&["--version"]).ended(0).starts_with("custody "));
}

#[test]
fn every_command_that_needs_a_log_says_where_settings_come_from() {
    let room = Room::new();
    for args in [
        vec!["serve"],
        vec!["ingest", "--source", "a=postgresql:b"],
        vec!["query", "op:grant"],
        vec!["show", "0"],
        vec!["tail"],
        vec!["status"],
        vec!["proof", "0"],
        vec!["tiles", "out"],
        vec!["rebuild"],
        vec!["keys", "list"],
        vec!["config", "show"],
    ] {
        room.run(&args)
            .refused(2, "there is no configuration custody.toml");
    }
    let log = Room::with_log();
    log.log(&["show", "0"]).ended(0);
    let env = |name| {
        let mut command = log.command(&["show", "0"]);
        ran(command.env("CUSTODY_CONFIG", log.path(name)))
    };
    env("absent.toml").refused(2, "absent.toml");
    env("ledger/custody.toml").ended(0);
    let inside = || {
        let mut command = log.command(&["show", "0"]);
        ran(command.current_dir(log.path("ledger")))
    };
    inside().ended(0);
}

#[test]
fn settings_are_checked_and_shown_with_their_origin() {
    let room = Room::with_log();
    let settings = room.path("ledger/custody.toml");
    let good = fs::read_to_string(&settings).expect("settings");
    assert_eq!(
        room.log(&["config", "check"]).ended(0),
        "ledger/custody.toml: ok\n"
    );
    let lines = good.lines().count();
    fs::write(&settings, format!("{good}[log]\ncheckpoint_evry_ms = 20\n")).expect("a file");
    let expected = format!(
        "custody.toml:{}: unknown key \"log.checkpoint_evry_ms\"",
        lines + 2
    );
    room.log(&["status"]).refused(2, &expected);
    room.log(&["status"])
        .refused(2, "the nearest known key is \"log.checkpoint_every_ms\"");
    assert!(room.log(&["config", "check"]).ended(2).contains(&expected));
    assert!(room.log(&["doctor"]).ended(1).contains(&expected));
    fs::write(
        &settings,
        format!("{good}[log]\ncheckpoint_every_ms = 20\n"),
    )
    .expect("a file");
    let shown = room.log(&["config", "show", "--origin", "--json"]).json();
    let every = &shown["log.checkpoint_every_ms"];
    assert_eq!(every["value"], 20);
    assert_eq!(
        every["origin"],
        format!("ledger/custody.toml:{}", lines + 2)
    );
    assert_eq!(
        shown["http.listen"]["value"], "",
        "no port unless it is set"
    );
    let mut command = room.command(&["config", "show", "--config", "ledger/custody.toml"]);
    let text = ran(command.env("CUSTODY__LOG__CHECKPOINT_EVERY_MS", "30"));
    assert!(text.ended(0).contains("checkpoint_every_ms = 30"));
    // What is shown is a file of settings itself.
    let again = room.write("again.toml", &text.out);
    room.run(&["config", "check", "--config", &again.display().to_string()])
        .ended(0);
}

#[test]
fn init_makes_a_log_once_and_refuses_names_that_are_none() {
    let room = Room::new();
    for (args, word) in [
        (vec!["--deployment", "a b"], "deployment"),
        (vec!["--deployment", "a", "--tenant", "../x"], "tenant"),
        (vec!["--deployment", "a", "--label", ""], "label"),
        (vec![], "--deployment"),
    ] {
        let mut all = vec!["init", "ledger"];
        all.extend(args);
        room.run(&all).refused(2, word);
        assert!(!room.path("ledger").exists(), "nothing was made");
    }
    let made = room
        .run(&["init", "ledger", "--deployment", "db.example.org", "--json"])
        .json();
    let year = made["origin"]
        .as_str()
        .and_then(|origin| origin.strip_prefix("db.example.org/main/"));
    assert!(year.is_some_and(|year| year.len() == 4), "{made}");
    assert_eq!(made["fingerprint"].as_str().map(str::len), Some(64));
    assert_eq!(made["size"], 1);
    let again = room.run(&["init", "ledger", "--deployment", "db.example.org"]);
    again.refused(2, "already");
    let mode = |name: &str| {
        fs::metadata(room.path(name))
            .expect(name)
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode("ledger/keys"), 0o700);
    for item in fs::read_dir(room.path("ledger/keys")).expect("keys") {
        let path = item.expect("a key").path();
        assert_eq!(
            path.metadata().expect("metadata").permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            path.extension().and_then(|ending| ending.to_str()),
            Some("key")
        );
    }
    let first = room.log(&["show", "0"]).json();
    assert_eq!(first["kind"], "opened");
    assert_eq!(first["facts"]["origin"], made["origin"]);
    room.verify(&[]).ended(0);
}

#[test]
fn settings_that_were_there_before_must_mean_the_log_that_is_made() {
    let room = Room::new();
    fs::create_dir(room.path("ledger")).expect("a folder");
    let named =
        |tenant: &str| format!("deployment = \"a\"\ntenant = \"{tenant}\"\nlabel = \"1\"\n");
    room.write("ledger/custody.toml", named("other"));
    let init = || room.run(&["init", "ledger", "--deployment", "a", "--label", "1"]);
    init().refused(2, "names the log a/other/1, not a/main/1");
    room.write("ledger/custody.toml", named("main"));
    init().ended(0);
    assert_eq!(
        fs::read_to_string(room.path("ledger/custody.toml")).expect("it"),
        named("main")
    );
}

#[test]
fn the_demo_verifies_refuses_every_misdeed_and_leaves_nothing() {
    let room = Room::new();
    fs::create_dir_all(room.path("full/x")).expect("a folder");
    room.run(&["demo", "--dir", "full"]).refused(2, "not empty");
    fs::create_dir(room.path("tmp")).expect("a folder");
    let demo = |args: &[&str]| ran(room.command(args).env("TMPDIR", room.path("tmp")));
    let facts = demo(&["demo", "--json"]).json();
    assert_eq!(facts["verified"], true);
    let refused = facts["tampered"].as_array().expect("misdeeds");
    assert_eq!(refused.len(), 4);
    for (misdeed, word) in refused
        .iter()
        .zip(["payload", "root", "frame", "classical half"])
    {
        let text = misdeed["refused"].as_str().expect("a text");
        assert!(text.contains(word), "{text}");
    }
    assert_eq!(
        facts["entries"].as_array().map(Vec::len),
        Some(5),
        "{facts}"
    );
    assert_eq!(
        fs::read_dir(room.path("tmp")).expect("it").count(),
        0,
        "something was left"
    );
    let text = demo(&["demo"]);
    assert!(text.ended(0).contains("refused"), "{text:?}");
    assert!(!text.out.contains('\u{1b}'), "colours on no terminal");
    demo(&["demo", "--dir", "kept", "--quiet"]).ended(0);
    let kept = [
        "verify",
        "kept/ledger",
        "--trust",
        "kept/ledger/trust/main.policy",
    ];
    room.run(&kept).ended(0);
    for copy in ["tampered-1", "tampered-2", "tampered-3", "tampered-4"] {
        let copy = format!("kept/{copy}");
        room.run(&["verify", &copy, "--trust", "kept/ledger/trust/main.policy"])
            .ended(1);
    }
}

#[test]
fn completions_and_pages_are_made_for_every_command() {
    let room = Room::new();
    room.run(&["completions", "tcsh"]).refused(2, "bash");
    for shell in ["bash", "zsh", "fish", "powershell", "elvish", "nushell"] {
        let script = room.run(&["completions", shell]);
        for command in ["ingest", "doctor", "verify"] {
            assert!(script.ended(0).contains(command), "{shell}: {command}");
        }
    }
    let script = room.write("custody.bash", room.run(&["completions", "bash"]).ended(0));
    assert!(
        Command::new("bash")
            .arg("-n")
            .arg(script)
            .status()
            .expect("bash")
            .success()
    );
    room.run(&["man", "ingst"]).refused(2, "ingst");
    assert!(
        room.run(&["man", "keys", "export"])
            .ended(0)
            .contains(".TH custody-keys-export 1")
    );
    room.run(&["man", "--out", "pages"]).ended(0);
    assert!(fs::read_dir(room.path("pages")).expect("pages").count() > 20);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let room = Room::with_log();
    room.log(&["ingest", "--source", &sample("pg", ROWS_OFF)])
        .ended(0);
    let program = crate::support::custody_bin();
    let line = format!(
        "{} query --config ledger/custody.toml | true",
        program.display()
    );
    let output = Command::new("sh")
        .args(["-c", &line])
        .current_dir(room.path(""))
        .output();
    let output = output.expect("a shell");
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_bench_prints_one_object() {
    let room = Room::new();
    room.run(&["bench", "append", "--entries", "9"])
        .refused(2, "1000");
    let mut command = room.command(&["bench", "append", "--entries", "20000", "--json", "--quiet"]);
    let result = ran(command.env("TMPDIR", room.path(""))).json();
    for key in [
        "entries",
        "seconds",
        "per_s",
        "cpu_us_per",
        "raw_per_s",
        "ratio",
        "p50_us",
        "p99_us",
    ] {
        assert!(
            result[key].as_f64().is_some_and(|value| value > 0.0),
            "{key}: {result}"
        );
    }
    for key in ["rss_mib", "disk_bytes_per"] {
        assert!(
            result[key].as_f64().is_some_and(|value| value > 0.0),
            "{key}: {result}"
        );
    }
    assert_eq!(result["name"], "append");
    assert!(
        result["stages"]
            .as_object()
            .is_some_and(|stages| stages.len() > 3),
        "{result}"
    );
    assert_eq!(
        fs::read_dir(room.path("")).expect("it").count(),
        0,
        "something was left"
    );
}
