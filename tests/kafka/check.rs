//! The end of every story: each record of each source is in the log exactly once and in order, as
//! the source's own file has it; the log verifies; and whatever else came in is told.
//!
//! Not here: waiting for it (`farm`).

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::cli::Room;

/// One record of a source as the log has it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Held {
    epoch: u64,
    sequence: u64,
    index: u64,
    late: bool,
    raw: u64,
}

/// What the log holds beside the records of the files.
#[derive(Default, Debug)]
pub(crate) struct Story {
    /// Entries by kind: `gap`, `conflict`, `forged`, `epoch`, …
    pub(crate) kinds: BTreeMap<String, u64>,
    /// Events that are no records of a file: notices, and what was no message.
    pub(crate) notices: Vec<String>,
}

impl Story {
    pub(crate) fn count(&self, kind: &str) -> u64 {
        self.kinds.get(kind).copied().unwrap_or(0)
    }

    /// How many notices hold `word`.
    pub(crate) fn said(&self, word: &str) -> usize {
        let with = self.notices.iter().filter(|notice| notice.contains(word));
        with.count()
    }
}

/// Compares the log of `room` with the files of its sources, each given by its number, and
/// verifies it. The server may be up or down.
///
/// # Panics
/// With the first record that is missing, in twice, changed or out of order; `what` says where.
pub(crate) fn check(room: &Room, files: &[(u64, &Path)], what: &str) -> Story {
    let sources: Vec<u64> = files.iter().map(|(source, _)| *source).collect();
    let (mut held, story) = read(room, &sources);
    for (source, file) in files {
        let mut records = held.remove(source).unwrap_or_default();
        in_order(&records, *source, what);
        records.sort_unstable();
        compare(room, &records, *source, file, what);
    }
    let verified = room.verify(&["--json"]);
    assert_eq!(verified.code, 0, "{what}: {verified:?}");
    story
}

/// Every entry of the log, one after the other. The records of the feeds differ in their sessions, so
/// their raw texts tell them apart.
fn read(room: &Room, sources: &[u64]) -> (BTreeMap<u64, Vec<Held>>, Story) {
    let mut held: BTreeMap<u64, Vec<Held>> = BTreeMap::new();
    let mut story = Story::default();
    let query = ["query", "--json", "--config", "ledger/custody.toml"];
    each_line(&mut room.command(&query), |entry| {
        let kind = entry["kind"].as_str().unwrap();
        *story.kinds.entry(kind.to_owned()).or_default() += 1;
        if kind != "event" {
            return;
        }
        let event = &entry["event"];
        let whole = |name: &str| entry[name].as_u64().unwrap();
        let source = whole("source");
        if event["raw_data"].is_null() || !sources.contains(&source) {
            story.notices.push(event.to_string());
            return;
        }
        held.entry(source).or_default().push(Held {
            epoch: whole("epoch"),
            sequence: whole("sequence"),
            index: whole("index"),
            late: entry["flags"].to_string().contains("late"),
            raw: digest(&event["raw_data"]),
        });
    });
    (held, story)
}

/// What did not come late stands in the log in the order of its numbers.
fn in_order(records: &[Held], source: u64, what: &str) {
    let on_time: Vec<&Held> = records.iter().filter(|one| !one.late).collect();
    for pair in on_time.windows(2) {
        let [one, next] = pair else { continue };
        let grows = (one.epoch, one.sequence) < (next.epoch, next.sequence);
        assert!(
            grows && one.index < next.index,
            "{what}: source {source}: {one:?} stands before {next:?}"
        );
    }
}

/// The file's own records, read by the program itself, against what the log holds.
fn compare(room: &Room, records: &[Held], source: u64, file: &Path, what: &str) {
    let path = file.display().to_string();
    let mut held = records.iter();
    let mut count = 0_u64;
    let parse = ["parse", "--platform", "postgresql", &path];
    each_line(&mut room.command(&parse), |event| {
        count += 1;
        let Some(one) = held.next() else {
            panic!("{what}: source {source}: record {count} is missing at the end");
        };
        let same = one.raw == digest(&event["raw_data"]);
        assert!(same, "{what}: source {source}: record {count} is {one:?}");
    });
    let more = held.next();
    assert_eq!(
        more, None,
        "{what}: source {source}: more than its file has"
    );
}

fn digest(value: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.as_str().hash(&mut hasher);
    hasher.finish()
}

/// Runs a command and hands over each line of its stdout, parsed.
fn each_line(command: &mut Command, mut take: impl FnMut(Value)) {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        take(serde_json::from_str(&line.unwrap()).unwrap());
    }
    let status = child.wait().unwrap();
    // `parse` ends with 6 if a record was not understood; it is an event all the same.
    assert!(
        matches!(status.code(), Some(0 | 6)),
        "{command:?}: {status}"
    );
}

#[test]
fn a_record_that_is_missing_or_changed_is_found_and_a_whole_log_passes() {
    use super::feed::Feed;
    let room = Room::with_log();
    let mut feed = Feed::new(&room.path("audit.csv"));
    feed.write(300);
    let path = feed.path().to_owned();
    let source = format!("orders=postgresql:{}", path.display());
    room.log(&["ingest", "--source", &source]).ended(0);
    let story = check(&room, &[(1, &path)], "whole");
    assert_eq!(story.count("event"), feed.written());
    assert_eq!(story.said(""), 0);

    let text = std::fs::read_to_string(&path).unwrap();
    let refused = |changed: String, word: &str| {
        let other = room.write("other.csv", changed);
        let found = std::panic::catch_unwind(|| check(&room, &[(1, &other)], "changed"));
        let said = *found.unwrap_err().downcast::<String>().unwrap();
        assert!(said.contains(word), "{said}");
    };
    let without_last = text.lines().count() - 1;
    let less: Vec<&str> = text.lines().take(without_last).collect();
    refused(format!("{}\n", less.join("\n")), "more than its file has");
    refused(text.replacen("port 55432", "port 55433", 1), "record 2 is");
    feed.write(1);
    let longer = std::fs::read_to_string(&path).unwrap();
    refused(longer, "record 301 is missing");
}
