//! What can be wrong with the bytes of an event or of another kind's facts.

use crate::object::Part;

/// Why bytes are not an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// More bytes than an event may have.
    #[error(
        "event of {bytes} bytes is larger than {} bytes: cut its text",
        crate::EVENT_BYTES_MAX
    )]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Not JSON, or not the form of events: the reason of the reader, without any value of the
    /// event.
    #[error("event is refused at line {line} column {column}: {reason}")]
    Refused {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What is wrong.
        reason: RefusedFor,
    },
    /// A field that every event has is absent.
    #[error("event has no {0}: add it")]
    Missing(&'static str),
    /// Two fields do not agree.
    #[error("event contradicts itself: {0}")]
    Contradiction(&'static str),
    /// A part holds a field of another part.
    #[error("part {} holds the field {field} of another part", part.name())]
    ForeignField {
        /// The part that was read.
        part: Part,
        /// Name of the field.
        field: &'static str,
    },
}

/// Why the reader refused; never quotes a value, since a value may be personal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RefusedFor {
    /// The bytes end inside the object.
    #[error("it ends too early")]
    EndsEarly,
    /// The bytes are not JSON in UTF-8.
    #[error("it is not JSON in UTF-8")]
    NotJson,
    /// A field is unknown, repeated or of the wrong type.
    #[error("a field is unknown, repeated or of the wrong type: see docs/formats/event.md")]
    NotTheForm,
}

impl EventError {
    pub(crate) fn refused(error: &serde_json::Error) -> EventError {
        let reason = match error.classify() {
            serde_json::error::Category::Eof => RefusedFor::EndsEarly,
            serde_json::error::Category::Syntax | serde_json::error::Category::Io => {
                RefusedFor::NotJson
            }
            serde_json::error::Category::Data => RefusedFor::NotTheForm,
        };
        EventError::Refused {
            line: error.line(),
            column: error.column(),
            reason,
        }
    }
}
