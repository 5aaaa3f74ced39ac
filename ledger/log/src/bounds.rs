//! What of a request is refused before it is handed to the sequencer.
//!
//! Not here: where a message belongs ([`crate::rule`]).

use ledger_core::message::{Message, VALUE_MAX};
use ledger_core::state::{Position, SOURCE_NAME_MAX, Stream};

use crate::door::{BATCH_MESSAGES_MAX, BATCH_POSITIONS_MAX, DoorError};
use crate::receipt::OWN_KEYS;

pub(crate) fn check_batch(messages: &[Message], positions: &[Position]) -> Result<(), DoorError> {
    if messages.len() > BATCH_MESSAGES_MAX {
        let count = messages.len();
        return Err(DoorError::TooMany {
            count,
            max: BATCH_MESSAGES_MAX,
        });
    }
    for (number, message) in messages.iter().enumerate() {
        let len = message.value.len();
        if len > VALUE_MAX {
            return Err(DoorError::TooLarge { number, len });
        }
        if message.stream == Stream::Snapshot {
            return Err(DoorError::StreamNotTaken);
        }
    }
    if positions.len() > BATCH_POSITIONS_MAX {
        let count = positions.len();
        return Err(DoorError::TooMany {
            count,
            max: BATCH_POSITIONS_MAX,
        });
    }
    for position in positions {
        let legal = (1..=255).contains(&position.key.len())
            && !position.key.starts_with(OWN_KEYS)
            && position.value.len() <= Position::VALUE_MAX;
        if !legal {
            return Err(DoorError::BadPosition {
                key: position.key.chars().take(64).collect(),
            });
        }
    }
    Ok(())
}

pub(crate) fn check_name(what: &'static str, value: &str) -> Result<(), DoorError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "._-:/@".contains(c);
    if (1..=SOURCE_NAME_MAX).contains(&value.len()) && value.chars().all(legal) {
        Ok(())
    } else {
        Err(DoorError::BadName {
            what,
            value: value.chars().take(64).collect(),
        })
    }
}
