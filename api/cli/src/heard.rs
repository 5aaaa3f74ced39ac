//! What the log has last heard of a source, for people: how long ago, how much has not arrived, and
//! what somebody should do about it.
//!
//! Not here: what the log knows (ledger/log); judging silence for an audit, which a rule does.

use std::time::Duration;

use ledger_core::Nanos;
use ledger_log::{BeatStatus, SourceStatus};
use serde_json::{Value, json};

use crate::output::{count, plural, size, span};

/// A source is silent after so many heartbeats did not come.
const SILENT_AFTER: u64 = 3;
/// From heartbeat to heartbeat, if the agent does not say it.
const EVERY: Duration = Duration::from_secs(60);
/// A disk that is full before this time is worth a word.
const FULL_SOON: Duration = Duration::from_secs(6 * 3600);

/// How long ago a heartbeat came, by the log's time.
pub(crate) fn age(beat: &BeatStatus, now: Nanos) -> Duration {
    let age = now.0.saturating_sub(beat.ledger_time);
    Duration::from_nanos(u64::try_from(age).unwrap_or_default())
}

fn every(beat: &BeatStatus) -> Duration {
    beat.facts.every_ms.map_or(EVERY, Duration::from_millis)
}

fn is_silent(beat: &BeatStatus, now: Nanos) -> bool {
    let bound = every(beat)
        .as_nanos()
        .saturating_mul(u128::from(SILENT_AFTER));
    age(beat, now).as_nanos() > bound
}

/// Records that the agent has bound and the log does not hold.
pub(crate) fn unsent(source: &SourceStatus, beat: &BeatStatus) -> u64 {
    if beat.facts.epoch.0 != source.epoch {
        return 0;
    }
    beat.facts.bound.0.saturating_sub(source.records)
}

/// How many numbers are missing below the marks.
pub(crate) fn missing(source: &SourceStatus) -> String {
    let numbers = |gap: &ledger_log::GapStatus| gap.to.saturating_sub(gap.from).saturating_add(1);
    let all: u64 = source.gaps.iter().map(numbers).fold(0, u64::saturating_add);
    count(all)
}

/// When the last heartbeat came, in words.
pub(crate) fn heard(source: &SourceStatus, now: Nanos) -> String {
    match &source.heartbeat {
        _ if !source.keyed => "-".to_owned(),
        Some(beat) if is_silent(beat, now) => format!("silent for {}", span(age(beat, now))),
        Some(beat) => format!("{} ago", span(age(beat, now))),
        None if source.heartbeats == 0 => "never".to_owned(),
        None => "long ago".to_owned(),
    }
}

/// What the agent has bound or knows of and the log does not hold.
pub(crate) fn lag(source: &SourceStatus) -> String {
    let Some(beat) = &source.heartbeat else {
        return "-".to_owned();
    };
    let records = plural(unsent(source, beat), "record", "records");
    match beat.facts.backlog_bytes {
        None | Some(0) => records,
        Some(bytes) => format!("{records}, {} unread", size(bytes)),
    }
}

/// What an agent says about itself, as pairs for people.
pub(crate) fn details(beat: &BeatStatus) -> Vec<(&'static str, String)> {
    let mut fields = Vec::new();
    let clock = beat.ledger_time.abs_diff(beat.facts.at.0);
    if clock > CLOCK_NS {
        let apart = span(Duration::from_nanos(clock));
        fields.push(("its clock", format!("{apart} away from the log's")));
    }
    let Some(agent) = &beat.facts.agent else {
        return fields;
    };
    let since = "since the agent started";
    let read = plural(agent.parsed, "record", "records");
    fields.push((
        "read",
        format!("{read}, {} {since}", size(agent.read_bytes)),
    ));
    fields.push(("not understood", count(agent.unparsed)));
    fields.push(("masked", plural(agent.masked, "record", "records")));
    let paused = if agent.paused {
        ", full: reading pauses"
    } else {
        ""
    };
    fields.push(("journal", format!("{}{paused}", size(agent.journal_bytes))));
    if let Some(bytes) = agent.rotated_bytes {
        let text = format!("{} unread: do not delete them yet", size(bytes));
        fields.push(("rotated files", text));
    }
    if let Some(free) = agent.free_bytes {
        let until = full_in(beat).map(|until| format!(", full in {}", span(until)));
        let text = format!("{} free{}", size(free), until.unwrap_or_default());
        fields.push(("its disk", text));
    }
    fields
}

/// A heartbeat that is older than this when it arrives has waited, or its clock is wrong.
const CLOCK_NS: u64 = 300_000_000_000;

/// When the disk of the files is full if they go on growing as they did between the last two
/// heartbeats; `None` for never.
fn full_in(beat: &BeatStatus) -> Option<Duration> {
    let agent = beat.facts.agent.as_ref()?;
    let growth = agent.growth_bytes.filter(|growth| *growth > 0)?;
    let beats = agent.free_bytes? / growth;
    let millis = u64::try_from(every(beat).as_millis()).ok()?;
    Some(Duration::from_millis(beats.checked_mul(millis)?))
}

/// What somebody should do about a source, most urgent first.
pub(crate) fn steps(source: &SourceStatus, now: Nanos) -> Vec<String> {
    let name = &source.name;
    let mut steps = Vec::new();
    if source.forged > 0 {
        steps.push(format!(
            "{} in the name of {name} had a wrong MAC: its key is not the one that was given out, \
             or somebody forges; see `custody query kind:forged`",
            plural(source.forged, "message", "messages")
        ));
    }
    if source.conflicts > 0 {
        steps.push(format!(
            "{} of {name} had no place: two agents with one key, a restored machine or a wrong \
             clock; see `custody query kind:conflict`",
            plural(source.conflicts, "message", "messages")
        ));
    }
    if source.lives > 0 {
        let lost = match source.states_lost {
            0 => String::new(),
            count => format!(", {count} of them without its state"),
        };
        steps.push(format!(
            "the agent of {name} began {}{lost}: its machine was restored or cloned, or its \
             journal was lost; see `custody query kind:epoch`",
            plural(source.lives, "other life", "other lives")
        ));
    }
    steps.extend(heartbeat_steps(source, now));
    if !source.gaps.is_empty() {
        steps.push(format!(
            "source {name} lacks {} that it counted: let its sender send them again, see `custody \
             sources show {name}`",
            plural_of(&missing(source))
        ));
    }
    steps
}

fn plural_of(count: &str) -> String {
    let noun = if count == "1" { "number" } else { "numbers" };
    format!("{count} {noun}")
}

fn heartbeat_steps(source: &SourceStatus, now: Nanos) -> Vec<String> {
    let name = &source.name;
    let mut steps = Vec::new();
    let Some(beat) = source.heartbeat.as_ref().filter(|_| source.keyed) else {
        if source.keyed && source.heartbeats == 0 {
            steps.push(format!(
                "source {name} never sent anything: start its agent with `custody collect`"
            ));
        }
        return steps;
    };
    if is_silent(beat, now) {
        let silent = span(age(beat, now));
        steps.push(format!(
            "source {name} is silent for {silent}: see whether its host and `custody collect` \
             there run, and whether it reaches this server"
        ));
    }
    let Some(agent) = &beat.facts.agent else {
        return steps;
    };
    if agent.paused {
        steps.push(format!(
            "the agent of {name} has paused: its journal is full ({}) until the log takes what is \
             in it; keep the database's files until then",
            size(agent.journal_bytes)
        ));
    }
    if let Some(until) = full_in(beat).filter(|until| *until < FULL_SOON) {
        let unread = beat.facts.backlog_bytes.unwrap_or_default();
        steps.push(format!(
            "the disk with the files of {name} is full in {} at this pace, {} of them unread: make \
             room, or they are rotated away",
            span(until),
            size(unread)
        ));
    }
    if let Some(dropped) = beat.facts.dropped.filter(|dropped| *dropped > 0) {
        let dropped = plural(dropped, "record", "records");
        steps.push(format!(
            "the agent of {name} dropped {dropped}: see `custody sources show {name}`"
        ));
    }
    steps
}

/// A source as one JSON object: its state, and how old its last heartbeat is.
pub(crate) fn as_json(source: &SourceStatus, now: Nanos) -> Value {
    let mut value = serde_json::to_value(source).unwrap_or_default();
    if let Value::Object(fields) = &mut value {
        let beat = source.heartbeat.as_ref();
        let age = beat.map(|beat| age(beat, now).as_millis());
        let age = age.and_then(|age| u64::try_from(age).ok());
        fields.insert("heartbeat_age_ms".to_owned(), json!(age));
        let silent = beat.is_some_and(|beat| is_silent(beat, now));
        fields.insert("silent".to_owned(), json!(silent));
        let unsent = beat.map(|beat| unsent(source, beat));
        fields.insert("unsent".to_owned(), json!(unsent));
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger_core::{Epoch, Sequence, SourceId};
    use ledger_event::facts::{AgentStatus, Heartbeat};
    use ledger_log::GapStatus;

    const SECOND: i64 = 1_000_000_000;
    const MIB: u64 = 1 << 20;

    fn source() -> SourceStatus {
        let agent = AgentStatus {
            read_bytes: 5 * MIB,
            parsed: 90,
            unparsed: 2,
            masked: 3,
            notices: 0,
            journal_bytes: MIB,
            paused: false,
            free_bytes: Some(10_000 * MIB),
            growth_bytes: Some(MIB),
            rotated_bytes: None,
        };
        let facts = Heartbeat {
            source: SourceId(1),
            epoch: Epoch(7),
            bound: Sequence(100),
            acknowledged: Sequence(80),
            backlog_bytes: Some(2 * MIB),
            dropped: None,
            opens: None,
            agent: Some(agent),
            every_ms: Some(10_000),
            told: None,
            at: Nanos(1000 * SECOND),
        };
        SourceStatus {
            id: 1,
            name: "orders".to_owned(),
            platform: "postgresql".to_owned(),
            keyed: true,
            epoch: 7,
            records: 90,
            heartbeats: 4,
            gaps: Vec::new(),
            heartbeat: Some(BeatStatus {
                index: 50,
                ledger_time: 1000 * SECOND,
                facts,
            }),
            conflicts: 0,
            forged: 0,
            lives: 0,
            states_lost: 0,
        }
    }

    /// The one step after a change, at so many seconds after the heartbeat.
    fn step(after: i64, change: impl Fn(&mut SourceStatus)) -> Option<String> {
        let mut source = source();
        change(&mut source);
        let mut steps = steps(&source, Nanos((1000 + after) * SECOND));
        assert!(steps.len() <= 1, "{steps:?}");
        steps.pop()
    }

    fn agent(source: &mut SourceStatus) -> &mut AgentStatus {
        let beat = source.heartbeat.as_mut().unwrap();
        beat.facts.agent.as_mut().unwrap()
    }

    #[test]
    fn each_trouble_has_its_step_and_a_source_that_is_well_has_none() {
        let check = |words: &str, after: i64, change: &dyn Fn(&mut SourceStatus)| {
            let step = step(after, change).unwrap_or_default();
            assert!(step.contains(words), "{step}");
            assert!(step.contains("orders"), "{step}");
        };
        check("is silent for 31.00 s", 31, &|_| ());
        check("wrong MAC", 30, &|source| source.forged = 1);
        check("had no place", 30, &|source| source.conflicts = 2);
        check("began 1 other life:", 30, &|source| source.lives = 1);
        check("2 of them without its state", 30, &|source| {
            (source.lives, source.states_lost) = (3, 2);
        });
        check("lacks 3 numbers", 30, &|source| {
            source.gaps.push(GapStatus {
                stream: "record".to_owned(),
                from: 4,
                to: 6,
            });
        });
        check("has paused", 30, &|source| agent(source).paused = true);
        check("rotated away", 30, &|source| {
            agent(source).growth_bytes = Some(100 * MIB);
        });
        check("never sent anything", 30, &|source| {
            (source.heartbeat, source.heartbeats) = (None, 0);
        });
        let without_interval = |source: &mut SourceStatus| {
            source.heartbeat.as_mut().unwrap().facts.every_ms = None;
        };
        check("is silent", 181, &without_interval);
        assert_eq!(step(180, without_interval), None);
        assert_eq!(step(30, |_| ()), None);
        // A source that is read by `ingest` has no agent to wait for.
        let read_here = |source: &mut SourceStatus| {
            (source.keyed, source.heartbeat) = (false, None);
        };
        assert_eq!(step(1_000_000, read_here), None);
    }

    #[test]
    fn lag_and_last_heartbeat_are_told_in_words() {
        let mut one = source();
        assert_eq!(lag(&one), "10 records, 2.0 MiB unread");
        assert_eq!(heard(&one, Nanos(1005 * SECOND)), "5.00 s ago");
        assert_eq!(heard(&one, Nanos(1031 * SECOND)), "silent for 31.00 s");
        // What was bound in another life says nothing of this one.
        one.epoch = 8;
        assert_eq!(unsent(&one, one.heartbeat.as_ref().unwrap()), 0);
        one.heartbeat = None;
        assert_eq!(lag(&one), "-");
        assert_eq!(heard(&one, Nanos(0)), "long ago");
        one.heartbeats = 0;
        assert_eq!(heard(&one, Nanos(0)), "never");
        one.keyed = false;
        assert_eq!(heard(&one, Nanos(0)), "-");
    }
}
