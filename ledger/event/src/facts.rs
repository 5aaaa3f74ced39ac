//! What the facts of every other kind of entry say: one struct a kind, written and read as JSON.
//!
//! Unlike events these are written by the log itself, never split and never received from outside,
//! so unknown fields are ignored when reading: an older program reads what a newer one wrote, and
//! the bytes, not the struct, are what the entry commits to. New fields are added as `Option`.
//! Absent values are omitted. Not here: who decides that such an entry is written (the door, the
//! writer).

use ledger_core::state::Stream;
use ledger_core::{Epoch, Index, Kind, Nanos, Sequence, SourceId, TreeSize};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::event::EVENT_BYTES_MAX;
use crate::wire;

pub use crate::lost::{Lost, LostCheckpoint, LostProof, LostReceipt};

/// Why bytes are not the facts of a kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FactsError {
    /// More bytes than a payload part may have.
    #[error("facts of {bytes} bytes are larger than {EVENT_BYTES_MAX} bytes")]
    TooLarge {
        /// Their size.
        bytes: usize,
    },
    /// Not JSON, or a needed field is absent or of the wrong type.
    #[error(
        "facts of kind {} are refused at line {line} column {column}",
        kind.name().unwrap_or("?")
    )]
    Refused {
        /// The kind that was expected.
        kind: Kind,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
}

/// The facts of one kind of entry.
pub trait Facts: Serialize + DeserializeOwned {
    /// The kind of entry that carries them.
    const KIND: Kind;

    /// The stored bytes.
    #[must_use]
    fn to_json(&self) -> Vec<u8> {
        // Strings, integers, lists and options of them always have a JSON form, so this never
        // falls back.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads the stored bytes; unknown fields are ignored.
    ///
    /// # Errors
    /// Too large, not JSON, or a needed field is absent or of the wrong type.
    fn parse(json: &[u8]) -> Result<Self, FactsError> {
        if json.len() > EVENT_BYTES_MAX {
            return Err(FactsError::TooLarge { bytes: json.len() });
        }
        serde_json::from_slice(json).map_err(|e| FactsError::Refused {
            kind: Self::KIND,
            line: e.line(),
            column: e.column(),
        })
    }
}

/// Declares the facts of one kind.
macro_rules! facts {
    ($(#[$meta:meta])* $kind:ident $name:ident {
        $( $(#[$fmeta:meta])* $field:ident : $ty:ty ),* $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $name {
            $( $(#[$fmeta])* pub $field: $ty, )*
        }
        impl Facts for $name {
            const KIND: Kind = Kind::$kind;
        }
    };
}

facts! {
    /// Entry 0 of a log: what it is and whose keys speak for it.
    OPENED Opened {
        /// `<deployment>/<tenant>/<label>`.
        origin: String,
        /// Verifier keys (C2SP vkey strings) that sign its checkpoints.
        keys: Vec<String>,
        /// Verifier keys (C2SP vkey strings) that sign evidence bundles.
        evidence_keys: Vec<String>,
        /// Identities that founded it, if given at its birth.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        founders: Vec<Founder>,
        /// Last checkpoint of the log before it in its series, as the text of its signed note.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        previous: Option<String>,
        /// The program that opened it, with version.
        software: String,
    }
}

/// One founder of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Founder {
    /// Random identifier of the identity.
    pub id: String,
    /// Verifier keys of the identity.
    pub keys: Vec<String>,
}

facts! {
    /// The end of a log; its series goes on in the one named here, once that is known.
    CLOSED Closed {
        /// Why.
        reason: String,
        /// Origin of the next log of the series.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next: Option<String>,
    }
}

facts! {
    /// A source that may append.
    SOURCE SourceRegistered {
        /// Its number in this log, from 1.
        #[serde(with = "wire::source")]
        id: SourceId,
        /// Its name, unique in this log.
        name: String,
        /// Its platform, such as `postgresql`.
        platform: String,
        /// Fingerprint of its key in hexadecimal; absent for a source without one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key_fingerprint: Option<String>,
        /// Settings of its format, such as `timezone`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        settings: Vec<Setting>,
    }
}

/// One setting, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Name.
    pub name: String,
    /// Value; never a secret.
    pub value: String,
}

facts! {
    /// Nothing else was appended for a minute.
    TICK Tick {
        /// Entries in the log before this one.
        #[serde(with = "wire::size")]
        size: TreeSize,
    }
}

/// What the first heartbeat of an epoch says about the life before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opens {
    /// The epoch before it, absent for the first or when the state was lost.
    #[serde(
        default,
        with = "wire::epoch_opt",
        skip_serializing_if = "Option::is_none"
    )]
    pub previous: Option<Epoch>,
    /// Last number of that epoch that was acknowledged; absent when the state was lost.
    #[serde(
        default,
        with = "wire::sequence_opt",
        skip_serializing_if = "Option::is_none"
    )]
    pub acknowledged: Option<Sequence>,
    /// The journal was lost: what is read again is flagged `reread`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub state_lost: bool,
}

/// The last acknowledgement that a source was given, with the log's own mark on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Entries of the checkpoint that covered it.
    #[serde(with = "wire::size")]
    pub size: TreeSize,
    /// The source's epoch at that size.
    #[serde(with = "wire::epoch")]
    pub epoch: Epoch,
    /// Last record number of that epoch up to which nothing was missing.
    #[serde(with = "wire::sequence")]
    pub sequence: Sequence,
    /// Ledger time when it was said.
    #[serde(with = "wire::nanos")]
    pub at: Nanos,
    /// 64 hexadecimal digits by which the log knows that it said so; nothing else is read, as these
    /// facts are not masked.
    #[serde(deserialize_with = "wire::hash_text")]
    pub receipt: String,
}

/// How an agent is doing, counted since it started unless said otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// Native bytes that became records.
    pub read_bytes: u64,
    /// Records that were understood.
    pub parsed: u64,
    /// Records that were not.
    pub unparsed: u64,
    /// Records in which something was masked.
    pub masked: u64,
    /// What the agent said about files.
    pub notices: u64,
    /// Bytes that the journal takes on the disk.
    pub journal_bytes: u64,
    /// The journal is full: reading pauses, and the files are the buffer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// Bytes that are free where the files lie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<u64>,
    /// Bytes that the files grew by since the heartbeat before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub growth_bytes: Option<u64>,
    /// Unread bytes of files that were rotated: who deletes them before they are read takes them
    /// away. Absent if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated_bytes: Option<u64>,
}

facts! {
    /// A source says that it lives, and how far it is.
    HEARTBEAT Heartbeat {
        /// The source.
        #[serde(with = "wire::source")]
        source: SourceId,
        /// Its epoch.
        #[serde(with = "wire::epoch")]
        epoch: Epoch,
        /// Last number that its journal bound, 0 for none.
        #[serde(with = "wire::sequence")]
        bound: Sequence,
        /// Last number that it was told is in a published checkpoint, 0 for none.
        #[serde(with = "wire::sequence")]
        acknowledged: Sequence,
        /// Native bytes it knows of and has not read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        backlog_bytes: Option<u64>,
        /// Records it dropped because they could not wait.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        dropped: Option<u64>,
        /// In the first heartbeat of an epoch: what it knows of the life before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        opens: Option<Opens>,
        /// How the agent is doing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent: Option<AgentStatus>,
        /// Milliseconds from heartbeat to heartbeat.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        every_ms: Option<u64>,
        /// The farthest acknowledgement that it was given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        told: Option<Told>,
        /// Its clock.
        #[serde(with = "wire::nanos")]
        at: Nanos,
    }
}

facts! {
    /// Numbers that were jumped over. What arrives later inside is flagged `late`.
    GAP Gap {
        /// The source.
        #[serde(with = "wire::source")]
        source: SourceId,
        /// Which of its counters.
        #[serde(with = "wire::stream")]
        stream: Stream,
        /// Its epoch.
        #[serde(with = "wire::epoch")]
        epoch: Epoch,
        /// First missing number.
        #[serde(with = "wire::sequence")]
        from: Sequence,
        /// Last missing number.
        #[serde(with = "wire::sequence")]
        to: Sequence,
        /// Whether the gap is now closed rather than opened.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        closed: bool,
    }
}

/// Why a message has no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConflictReason {
    /// Its number was taken by a message with another mac.
    SameNumberOtherContent,
    /// Its epoch is older than the source's.
    OldEpoch,
    /// Its `prev` is not the mac of the message before it.
    WrongPrevious,
    /// Its value is not an event.
    NotAnEvent,
    /// A source was acknowledged up to a number that the log does not hold.
    AcknowledgedAhead,
    /// Its epoch lies more than a day after the log's time.
    EpochInFuture,
    /// A reason that this program does not know.
    #[serde(other)]
    Unknown,
}

facts! {
    /// A message that could not be placed. It is kept: its facts here, its other parts as they
    /// were.
    CONFLICT Conflict {
        /// Why.
        reason: ConflictReason,
        /// Which counter.
        #[serde(with = "wire::stream")]
        stream: Stream,
        /// What the message said its epoch is.
        #[serde(with = "wire::epoch")]
        epoch: Epoch,
        /// What the message said its number is.
        #[serde(with = "wire::sequence")]
        sequence: Sequence,
        /// Entry that it contradicts, if one.
        #[serde(default, with = "wire::index_opt", skip_serializing_if = "Option::is_none")]
        other: Option<Index>,
        /// Facts of its event, if it was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        event: Option<wire::JsonText>,
    }
}

facts! {
    /// A message whose mac is wrong. It is kept, and moves nothing.
    FORGED Forged {
        /// Which counter.
        #[serde(with = "wire::stream")]
        stream: Stream,
        /// What the message said its epoch is.
        #[serde(with = "wire::epoch")]
        epoch: Epoch,
        /// What the message said its number is.
        #[serde(with = "wire::sequence")]
        sequence: Sequence,
        /// Facts of its event, if it was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        event: Option<wire::JsonText>,
    }
}

/// Why a clock entry was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClockReason {
    /// The wall clock moved against the monotonic clock by more than 2 s.
    Step,
    /// An operator accepted a jump that had stopped the log.
    Accepted,
    /// A reason that this program does not know.
    #[serde(other)]
    Unknown,
}

facts! {
    /// The wall clock stepped.
    CLOCK ClockStep {
        /// What the wall clock should have shown.
        #[serde(with = "wire::nanos")]
        old: Nanos,
        /// What it showed.
        #[serde(with = "wire::nanos")]
        new: Nanos,
        /// Why this entry was written.
        reason: ClockReason,
    }
}

facts! {
    /// A start that had to drop or re-derive something.
    RECOVERY Recovery {
        /// Index of the first entry that a dropped tail would have had.
        #[serde(with = "wire::index")]
        index: Index,
        /// Bytes of the entries file that were dropped, promised to nobody.
        bytes_dropped: u64,
        /// Bytes of the payload file that were dropped, promised to nobody.
        #[serde(default)]
        payload_bytes_dropped: u64,
        /// First entry whose hashes were derived again.
        #[serde(with = "wire::index")]
        rederived_from: Index,
        /// An operator goes on with a log that lacks entries it had acknowledged: what proved it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lost: Option<Lost>,
    }
}

facts! {
    /// A source begins a new life of its journal.
    EPOCH EpochOpened {
        /// The source.
        #[serde(with = "wire::source")]
        source: SourceId,
        /// The new epoch.
        #[serde(with = "wire::epoch")]
        epoch: Epoch,
        /// The epoch before it, absent for the first.
        #[serde(default, with = "wire::epoch_opt", skip_serializing_if = "Option::is_none")]
        previous: Option<Epoch>,
        /// Last acknowledged number of the epoch before it; absent when the state was lost.
        #[serde(default, with = "wire::sequence_opt", skip_serializing_if = "Option::is_none")]
        acknowledged: Option<Sequence>,
        /// The journal was lost: what is read again is flagged `reread`.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        state_lost: bool,
        /// Last number of the epoch before it that the log had taken.
        #[serde(default, with = "wire::sequence_opt", skip_serializing_if = "Option::is_none")]
        held: Option<Sequence>,
        /// Ranges of the epoch before it that were still missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        open_gaps: Option<u64>,
    }
}

facts! {
    /// A time in which something that the log needs could not be reached.
    OUTAGE Outage {
        /// What, such as `signer` or `sink:splunk`.
        what: String,
        /// When it began.
        #[serde(with = "wire::nanos")]
        from: Nanos,
        /// When it ended; absent while it lasts.
        #[serde(default, with = "wire::nanos_opt", skip_serializing_if = "Option::is_none")]
        to: Option<Nanos>,
    }
}

facts! {
    /// A run in which the log checked its own files.
    INTEGRITY Integrity {
        /// Entries that were checked, from 0.
        #[serde(with = "wire::size")]
        entries: TreeSize,
        /// Payloads that were checked.
        payloads: u64,
        /// What was found wrong, one line each; empty when nothing was.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        found: Vec<String>,
    }
}

#[cfg(test)]
mod tests {
    use ledger_core::Hash;

    use super::*;

    fn check<T: Facts + PartialEq + std::fmt::Debug>(value: &T, expected: &str) {
        let json = value.to_json();
        assert_eq!(String::from_utf8(json.clone()).unwrap(), expected);
        for cut in 0..json.len() {
            assert!(T::parse(&json[..cut]).is_err(), "{expected} cut at {cut}");
        }
        assert_eq!(&T::parse(&json).unwrap(), value);
        let grown = format!(
            "{},\"from_the_future\":[1,{{}}]}}",
            expected.trim_end_matches('}')
        );
        let grown = if expected == "{}" {
            grown.replace("{,", "{")
        } else {
            grown
        };
        if !expected.contains("}]") && !expected.contains("}}") {
            assert_eq!(
                &T::parse(grown.as_bytes()).unwrap(),
                value,
                "unknown fields are ignored"
            );
        }
    }

    #[test]
    fn each_kind_has_its_bytes() {
        check(
            &Opened {
                origin: "acme/main/2026".into(),
                keys: vec!["k+1+A".into()],
                evidence_keys: vec!["e+2+B".into()],
                founders: vec![Founder {
                    id: "f1".into(),
                    keys: vec!["p+3+C".into()],
                }],
                previous: None,
                software: "custody 0.1.0".into(),
            },
            r#"{"origin":"acme/main/2026","keys":["k+1+A"],"evidence_keys":["e+2+B"],"founders":[{"id":"f1","keys":["p+3+C"]}],"software":"custody 0.1.0"}"#,
        );
        check(
            &Closed {
                reason: "year end".into(),
                next: None,
            },
            r#"{"reason":"year end"}"#,
        );
        check(
            &SourceRegistered {
                id: SourceId(1),
                name: "db1".into(),
                platform: "postgresql".into(),
                key_fingerprint: None,
                settings: vec![],
            },
            r#"{"id":1,"name":"db1","platform":"postgresql"}"#,
        );
        check(&Tick { size: TreeSize(9) }, r#"{"size":9}"#);
        check(
            &Heartbeat {
                source: SourceId(1),
                epoch: Epoch(2),
                bound: Sequence(7),
                acknowledged: Sequence(5),
                backlog_bytes: None,
                dropped: Some(0),
                opens: None,
                agent: None,
                every_ms: None,
                told: None,
                at: Nanos(-1),
            },
            r#"{"source":1,"epoch":2,"bound":7,"acknowledged":5,"dropped":0,"at":-1}"#,
        );
        let mut beat = Heartbeat {
            source: SourceId(1),
            epoch: Epoch(2),
            bound: Sequence(0),
            acknowledged: Sequence(0),
            backlog_bytes: Some(4),
            dropped: None,
            opens: None,
            agent: Some(AgentStatus {
                read_bytes: 1,
                parsed: 2,
                unparsed: 3,
                masked: 4,
                notices: 5,
                journal_bytes: 6,
                paused: true,
                free_bytes: Some(7),
                growth_bytes: None,
                rotated_bytes: None,
            }),
            every_ms: Some(60_000),
            told: Some(Told {
                size: TreeSize(8),
                epoch: Epoch(2),
                sequence: Sequence(9),
                at: Nanos(10),
                receipt: "ab".repeat(32),
            }),
            at: Nanos(3),
        };
        let json = br#"{"source":1,"epoch":2,"bound":0,"acknowledged":0,"backlog_bytes":4,"agent":{"read_bytes":1,"parsed":2,"unparsed":3,"masked":4,"notices":5,"journal_bytes":6,"paused":true,"free_bytes":7},"every_ms":60000,"told":{"size":8,"epoch":2,"sequence":9,"at":10,"receipt":"RECEIPT"},"at":3}"#;
        let json = std::str::from_utf8(json).unwrap();
        let json = |receipt: &str| json.replace("RECEIPT", receipt).into_bytes();
        // What is no receipt may be anything, and these facts are not masked.
        let short = "ab".repeat(31);
        for bad in [
            "",
            "4111111111111111",
            &format!("{short}xy"),
            &format!("{short}abab"),
        ] {
            assert!(Heartbeat::parse(&json(bad)).is_err(), "{bad}");
        }
        let json = json(&"ab".repeat(32));
        assert_eq!(beat.to_json(), json);
        assert_eq!(Heartbeat::parse(&json).as_ref(), Ok(&beat));
        beat.agent = None;
        assert!(!beat.to_json().windows(5).any(|bytes| bytes == b"agent"));
        let opens = |previous, acknowledged, state_lost| Heartbeat {
            source: SourceId(1),
            epoch: Epoch(2),
            bound: Sequence(0),
            acknowledged: Sequence(0),
            backlog_bytes: None,
            dropped: None,
            opens: Some(Opens {
                previous,
                acknowledged,
                state_lost,
            }),
            agent: None,
            every_ms: None,
            told: None,
            at: Nanos(3),
        };
        check(
            &opens(Some(Epoch(1)), Some(Sequence(9)), false),
            r#"{"source":1,"epoch":2,"bound":0,"acknowledged":0,"opens":{"previous":1,"acknowledged":9},"at":3}"#,
        );
        check(
            &opens(None, None, true),
            r#"{"source":1,"epoch":2,"bound":0,"acknowledged":0,"opens":{"state_lost":true},"at":3}"#,
        );
        check(
            &Gap {
                source: SourceId(1),
                stream: Stream::Record,
                epoch: Epoch(2),
                from: Sequence(3),
                to: Sequence(4),
                closed: false,
            },
            r#"{"source":1,"stream":"record","epoch":2,"from":3,"to":4}"#,
        );
        check(
            &ClockStep {
                old: Nanos(1),
                new: Nanos(2),
                reason: ClockReason::Step,
            },
            r#"{"old":1,"new":2,"reason":"step"}"#,
        );
        check(
            &Recovery {
                index: Index(5),
                bytes_dropped: 6,
                payload_bytes_dropped: 7,
                rederived_from: Index(0),
                lost: None,
            },
            r#"{"index":5,"bytes_dropped":6,"payload_bytes_dropped":7,"rederived_from":0}"#,
        );
        for (proof, json) in [
            (
                LostProof::Receipt(LostReceipt {
                    source: SourceId(1),
                    epoch: Epoch(2),
                    acknowledged: Sequence(9),
                    held: Sequence(3),
                    at: Nanos(7),
                }),
                r#"{"receipt":{"source":1,"epoch":2,"acknowledged":9,"held":3,"at":7}}"#.to_owned(),
            ),
            (
                LostProof::Checkpoint(LostCheckpoint {
                    root: Hash([0xab; 32]),
                    signed: Nanos(4),
                }),
                r#"{"checkpoint":{"root":"ROOT","signed":4}}"#.replace("ROOT", &"ab".repeat(32)),
            ),
        ] {
            let (published, size) = (TreeSize(8), TreeSize(5));
            check(
                &Recovery {
                    index: Index(5),
                    bytes_dropped: 0,
                    payload_bytes_dropped: 0,
                    rederived_from: Index(5),
                    lost: Some(Lost {
                        published,
                        size,
                        proof,
                    }),
                },
                &format!(
                    r#"{{"index":5,"bytes_dropped":0,"payload_bytes_dropped":0,"rederived_from":5,"lost":{{"published":8,"size":5,"proof":{json}}}}}"#
                ),
            );
        }
        check(
            &EpochOpened {
                source: SourceId(1),
                epoch: Epoch(9),
                previous: Some(Epoch(8)),
                acknowledged: None,
                state_lost: true,
                held: None,
                open_gaps: None,
            },
            r#"{"source":1,"epoch":9,"previous":8,"state_lost":true}"#,
        );
        check(
            &Outage {
                what: "signer".into(),
                from: Nanos(1),
                to: None,
            },
            r#"{"what":"signer","from":1}"#,
        );
        check(
            &Integrity {
                entries: TreeSize(3),
                payloads: 2,
                found: vec![],
            },
            r#"{"entries":3,"payloads":2}"#,
        );
    }

    #[test]
    fn a_kept_message_keeps_its_event_as_json() {
        let event = kept(br#"{"class_uid":6005}"#);
        let conflict = Conflict {
            reason: ConflictReason::OldEpoch,
            stream: Stream::Record,
            epoch: Epoch(1),
            sequence: Sequence(2),
            other: Some(Index(3)),
            event: event.clone(),
        };
        check(
            &conflict,
            r#"{"reason":"old-epoch","stream":"record","epoch":1,"sequence":2,"other":3,"event":{"class_uid":6005}}"#,
        );
        check(
            &Forged {
                stream: Stream::Heartbeat,
                epoch: Epoch(1),
                sequence: Sequence(2),
                event,
            },
            r#"{"stream":"heartbeat","epoch":1,"sequence":2,"event":{"class_uid":6005}}"#,
        );
        let newer = br#"{"reason":"a new one","stream":"record","epoch":1,"sequence":2}"#;
        assert_eq!(
            Conflict::parse(newer).unwrap().reason,
            ConflictReason::Unknown
        );
        assert!(wire::JsonText::new(b"{").is_none());
    }

    fn kept(json: &[u8]) -> Option<wire::JsonText> {
        wire::JsonText::new(json)
    }

    #[test]
    fn too_large_is_refused() {
        let json = format!(r#"{{"size":9,"x":"{}"}}"#, "y".repeat(EVENT_BYTES_MAX));
        assert_eq!(
            Tick::parse(json.as_bytes()),
            Err(FactsError::TooLarge { bytes: json.len() })
        );
    }
}
