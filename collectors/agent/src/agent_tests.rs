//! The configuration, refused and taken, and the agent as a whole on its own threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use collectors_bus::InProcess;
use collectors_bus::agent_file::HandedOut;
use keys_secret::TlsCertificate;
use ledger_core::{Index, Kind};

use crate::rig_tests::{Rig, marker, rows};
use crate::{AgentConfig, clock, run};

fn config(rig: &Rig, more: &str) -> String {
    let file = rig.file("credentials");
    if !file.exists() {
        let key = rig.key_bytes();
        let own = TlsCertificate {
            certificate: vec![2],
            key: vec![3].into(),
        };
        let file_of = HandedOut {
            source: rig.source,
            key: &key,
            name: "pg",
            platform: "postgresql",
            origin: "example.org/main/2026",
            address: "",
            authority: &[1],
            own: &own,
        };
        file_of.create(&file).unwrap();
    }
    format!(
        "dir = {:?}\n[[sources]]\ncredentials = {:?}\n{more}",
        rig.state_dir().join("agent"),
        file
    )
}

#[test]
fn a_configuration_is_refused_with_a_reason_or_taken() {
    let rig = Rig::new("audit");
    let path = format!("path = {:?}\n", rig.file("audit"));
    let checked = |text: &str| -> Result<usize, String> {
        let config: AgentConfig = toml::from_str(text).map_err(|error| error.to_string())?;
        config
            .check()
            .map(|all| all.len())
            .map_err(|error| error.to_string())
    };
    let good = config(&rig, &path);
    let twice = good
        .replacen("dir", "#dir", 1)
        .lines()
        .skip(1)
        .collect::<Vec<_>>()
        .join("\n");
    for (text, word) in [
        ("dir = \"/v\"\nsources = []\n".to_owned(), "no source"),
        (config(&rig, ""), "source pg needs either a path or a glob"),
        (
            format!("{good}glob = \"/v/*.csv\"\n"),
            "either a path or a glob",
        ),
        (config(&rig, "path = \"audit\"\n"), "names no file"),
        (config(&rig, "glob = \"/v/*/a\"\n"), "only the file's name"),
        (
            format!("{good}heartbeat_s = 0\n"),
            "heartbeat_s is 0; it must be 1 to 3600",
        ),
        (format!("{good}quota_bytes = 1\n"), "quota_bytes is 1"),
        (format!("{good}heartbeats = 9\n"), "unknown field"),
        (
            format!("{good}settings = {{ colour = \"red\" }}\n"),
            "colour",
        ),
        (format!("{good}{twice}\n"), "configured twice"),
        (good.replace("/credentials", "/absent"), "absent"),
    ] {
        let refused = checked(&text).unwrap_err();
        assert!(refused.contains(word), "{refused}");
    }
    assert_eq!(checked(&good), Ok(1));
}

#[test]
fn the_agent_runs_until_it_is_stopped() {
    let mut rig = Rig::new("audit");
    rig.stop();
    rig.append("audit", rows(1..=100));
    let text = config(&rig, &format!("path = {:?}\n", rig.file("audit")));
    let config: AgentConfig = toml::from_str(&text).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let sources = || {
        let assignments = config.check().unwrap().into_iter();
        let bus = |_| Box::new(InProcess::new(rig.door())) as Box<dyn collectors_bus::Bus>;
        assignments.map(|a| (a, bus(()))).collect::<Vec<_>>()
    };
    let mut next = Index(0);
    let mut seen = Vec::new();
    for upto in [100, 200] {
        stop.store(false, Ordering::Relaxed);
        if upto == 200 {
            rig.append("audit", rows(101..=200));
        }
        let (flag, all) = (stop.clone(), sources());
        let agent = std::thread::spawn(move || run(all, &clock::system(), &flag));
        while seen.len() < upto {
            let more = rig
                .reader()
                .next(next, 100, Duration::from_secs(5))
                .unwrap();
            next = Index(next.0 + more.len() as u64);
            let events = more.iter().filter(|e| e.entry.kind == Kind::EVENT);
            seen.extend(events.filter_map(marker));
        }
        stop.store(true, Ordering::Relaxed);
        agent.join().unwrap().unwrap();
    }
    assert_eq!(seen, (1..=200).collect::<Vec<_>>());
}

/// File to durable on this machine. Run with `--ignored --nocapture`.
#[test]
#[ignore = "measures for some seconds"]
fn how_fast_is_it() {
    let mut rig = Rig::new("audit");
    let count = 200_000;
    let more = "x".repeat(470);
    let text: String = (1..=count)
        .map(|n| crate::rig_tests::row_with(n, &more))
        .collect();
    rig.append("audit", &text);
    rig.bounds = crate::JournalBounds::of_quota(1 << 30);
    rig.restart();
    let begun = std::time::Instant::now();
    while rig.follower.as_ref().unwrap().status().parsed < count {
        let _ = rig.step().unwrap();
    }
    let bound = begun.elapsed();
    rig.run();
    let took = begun.elapsed();
    println!(
        "{count} records of {} bytes: bound after {bound:?}, durable after {took:?}: {:.0}/s",
        text.len() / usize::try_from(count).unwrap(),
        count as f64 / took.as_secs_f64()
    );
    let sent = rig.entries().len();
    println!("{sent} entries");
}
