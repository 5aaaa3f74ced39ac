//! What travels as JSON between the socket's two ends: bodies, answers, and refusals in a form that
//! the client turns back into the very error that the log gave.
//!
//! The inner types stay free of serde; this edge owns their JSON. Not here: batches (`batch`), and
//! the form of an entry (ledger/index).

use ledger_core::SourceId;
use ledger_log::DoorError;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// `POST /v1/sources`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RegisterBody {
    pub(crate) name: String,
    pub(crate) platform: String,
    /// Its messages carry MACs made with a key of its own.
    #[serde(default)]
    pub(crate) keyed: bool,
}

/// `GET /v1/sources/<number>/acknowledged`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AcknowledgedQuery {
    /// Size of the checkpoint of the last answer; without it there is no wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<u64>,
    /// Longest wait in milliseconds.
    pub(crate) wait_ms: u64,
}

/// The answer to [`RegisterBody`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RegisterAnswer {
    pub(crate) id: u32,
    pub(crate) epoch: u32,
    /// Base64 of the source's state as segments hold it (docs/formats/segments.md).
    pub(crate) state: String,
}

/// `POST /v1/positions`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PositionsBody {
    pub(crate) keys: Vec<String>,
}

/// The answer to [`PositionsBody`]: base64 of each value, `null` where the key is unknown.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PositionsAnswer {
    pub(crate) values: Vec<Option<String>>,
}

/// `GET /v1/published`, and its answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Size {
    pub(crate) size: u64,
}

/// `GET /v1/query` and `GET /v1/tail`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AskQuery {
    /// The query's text.
    pub(crate) q: String,
    /// What `7d` counts from, in nanoseconds since 1970; the server's clock if absent.
    pub(crate) now: Option<i64>,
    /// Most entries.
    pub(crate) limit: Option<u64>,
    /// First index of a tail; the log's end if absent.
    pub(crate) from: Option<u64>,
}

/// The answer to `GET /v1/proof/<index>`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ProofAnswer {
    /// The `.tlog-proof` text.
    pub(crate) proof: String,
    /// What it proves, as it is written beside a proof file.
    pub(crate) payload: Box<RawValue>,
}

/// The last line of a stream.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EndLine {
    pub(crate) end: End,
}

/// How a stream ended.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum End {
    /// All that was asked for was sent: so many entries.
    Done(u64),
    /// It cannot go on: a problem's body.
    Problem(Box<crate::problem::ProblemBody>),
}

/// A refusal, with what the client needs to make the same error of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Cause {
    NotFound {
        index: u64,
        size: u64,
    },
    NotPublished {
        index: u64,
        size: u64,
    },
    Stopped {
        reason: String,
    },
    UnknownSource {
        source: u32,
    },
    SourceStopped {
        name: String,
        sequence: u64,
    },
    TooLarge {
        number: usize,
        len: usize,
    },
    TooMany {
        count: usize,
        max: usize,
    },
    BadPosition {
        key: String,
    },
    BadName {
        value: String,
    },
    BadPlatform {
        value: String,
    },
    OtherPlatform {
        name: String,
        registered: String,
        asked: String,
    },
    StreamNotTaken,
    TooManySources,
    TooManyPositions,
    Key {
        reason: String,
    },
}

/// What is not legal, in [`DoorError::BadName`].
const NAME: &str = "the name";
const PLATFORM: &str = "the platform";

impl Cause {
    /// `None` for what a problem's type says by itself.
    pub(crate) fn of_door(error: &DoorError) -> Option<Cause> {
        Some(match error.clone() {
            DoorError::Busy | DoorError::Unreachable { .. } => return None,
            DoorError::Stopped { reason } => Cause::Stopped { reason },
            DoorError::UnknownSource { source_id } => Cause::UnknownSource {
                source: source_id.0,
            },
            DoorError::SourceStopped { name, sequence } => Cause::SourceStopped { name, sequence },
            DoorError::TooLarge { number, len } => Cause::TooLarge { number, len },
            DoorError::TooMany { count, max } => Cause::TooMany { count, max },
            DoorError::BadPosition { key } => Cause::BadPosition { key },
            DoorError::BadName {
                what: PLATFORM,
                value,
            } => Cause::BadPlatform { value },
            DoorError::BadName { what: _, value } => Cause::BadName { value },
            DoorError::OtherPlatform {
                name,
                registered,
                asked,
            } => Cause::OtherPlatform {
                name,
                registered,
                asked,
            },
            DoorError::StreamNotTaken => Cause::StreamNotTaken,
            DoorError::TooManySources => Cause::TooManySources,
            DoorError::TooManyPositions => Cause::TooManyPositions,
            DoorError::Key { reason } => Cause::Key { reason },
        })
    }

    /// The inverse; `None` for a cause that is not the door's.
    pub(crate) fn into_door(self) -> Option<DoorError> {
        Some(match self {
            Cause::NotFound { .. } | Cause::NotPublished { .. } => return None,
            Cause::Stopped { reason } => DoorError::Stopped { reason },
            Cause::UnknownSource { source } => DoorError::UnknownSource {
                source_id: SourceId(source),
            },
            Cause::SourceStopped { name, sequence } => DoorError::SourceStopped { name, sequence },
            Cause::TooLarge { number, len } => DoorError::TooLarge { number, len },
            Cause::TooMany { count, max } => DoorError::TooMany { count, max },
            Cause::BadPosition { key } => DoorError::BadPosition { key },
            Cause::BadName { value } => DoorError::BadName { what: NAME, value },
            Cause::BadPlatform { value } => DoorError::BadName {
                what: PLATFORM,
                value,
            },
            Cause::OtherPlatform {
                name,
                registered,
                asked,
            } => DoorError::OtherPlatform {
                name,
                registered,
                asked,
            },
            Cause::StreamNotTaken => DoorError::StreamNotTaken,
            Cause::TooManySources => DoorError::TooManySources,
            Cause::TooManyPositions => DoorError::TooManyPositions,
            Cause::Key { reason } => DoorError::Key { reason },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_the_door_comes_back_as_the_same_error() {
        let text = || "x".to_owned();
        for error in [
            DoorError::Stopped { reason: text() },
            DoorError::UnknownSource {
                source_id: SourceId(7),
            },
            DoorError::SourceStopped {
                name: text(),
                sequence: 3,
            },
            DoorError::TooLarge { number: 1, len: 2 },
            DoorError::TooMany { count: 2, max: 1 },
            DoorError::BadPosition { key: text() },
            DoorError::BadName {
                what: NAME,
                value: text(),
            },
            DoorError::BadName {
                what: PLATFORM,
                value: text(),
            },
            DoorError::OtherPlatform {
                name: text(),
                registered: text(),
                asked: text(),
            },
            DoorError::StreamNotTaken,
            DoorError::TooManySources,
            DoorError::TooManyPositions,
            DoorError::Key { reason: text() },
        ] {
            let cause = Cause::of_door(&error).unwrap();
            let json = serde_json::to_string(&cause).unwrap();
            let read: Cause = serde_json::from_str(&json).unwrap();
            assert_eq!(read.into_door(), Some(error), "{json}");
        }
        assert_eq!(Cause::of_door(&DoorError::Busy), None);
        assert_eq!(Cause::NotFound { index: 1, size: 1 }.into_door(), None);
    }
}
