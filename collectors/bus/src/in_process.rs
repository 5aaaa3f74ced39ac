//! The bus of an agent that reaches the log by a [`Door`]: in the log's own process, or over the
//! socket of its folder.
//!
//! Not here: any number that a door would bind by itself; messages come sealed.

use std::collections::HashMap;
use std::time::Duration;

use ledger_core::message::Message;
use ledger_core::{SourceId, TreeSize};
use ledger_log::{Acknowledged, Appended, Batch, Door, Later};

use crate::bus::{Bus, BusError, Sent, WAIT_MAX, check_count, in_pieces, is_one_piece};

/// A door as a bus.
#[derive(Debug)]
pub struct InProcess<D> {
    door: D,
    seen: HashMap<SourceId, TreeSize>,
}

impl<D: Door + Send> InProcess<D> {
    /// The bus through `door`.
    pub fn new(door: D) -> InProcess<D> {
        InProcess {
            door,
            seen: HashMap::new(),
        }
    }
}

impl<D: Door + Send> Bus for InProcess<D> {
    fn send(&mut self, source: SourceId, messages: &[Message]) -> Result<Sent, BusError> {
        let door = &mut self.door;
        in_pieces(messages, |piece| {
            let batch = Batch {
                source,
                messages: piece.to_vec(),
                positions: Vec::new(),
            };
            Ok(door.append(batch)?)
        })
    }

    fn hand_over(
        &mut self,
        source: SourceId,
        messages: Vec<Message>,
    ) -> Later<Result<Sent, BusError>> {
        if !is_one_piece(&messages) {
            return Later::Known(self.send(source, &messages));
        }
        let count = messages.len();
        let batch = Batch {
            source,
            messages,
            positions: Vec::new(),
        };
        self.door.hand_over(batch).map(move |answer| {
            let answer = answer?;
            check_count(&answer, count)?;
            let Appended { outcomes, size } = answer;
            Ok(Sent::Taken { outcomes, size })
        })
    }

    fn acknowledged(&mut self, source: SourceId, wait: Duration) -> Result<Acknowledged, BusError> {
        let after = self.seen.get(&source).copied();
        let answer = self.door.acknowledged(source, after, wait.min(WAIT_MAX))?;
        self.seen.insert(source, answer.size);
        Ok(answer)
    }

    fn lost(&mut self, _source: SourceId) -> bool {
        // What was sent is in the log.
        false
    }
}
