//! What an agent's bus has carried of a source and does not know to be covered: where it lies in
//! the topic, so that what is lost on the way, or was read and not taken, is told from what is
//! still to be read.
//!
//! All that is judged here was said by the log under the source's own key (`ack`). Not here:
//! sending again (collectors/agent).

use std::collections::VecDeque;

use ledger_core::message::Message;
use ledger_core::state::Stream;
use ledger_core::{Epoch, Nanos, Sequence};

use super::ack::{Passed, SourceAck};

/// Pieces that are kept; more of the same kind are one with the last.
const PIECES_MAX: usize = 1024;

/// What was carried and is not known to be covered, in its order.
#[derive(Clone, Debug, Default)]
pub(super) struct Carried {
    pieces: VecDeque<Piece>,
    /// The last restored log that was heard. What another one had covered may be gone as well.
    restored: Option<Nanos>,
    /// There were too many of them: what they were counts as lost.
    forgot: bool,
}

/// Messages of one call and epoch.
#[derive(Clone, Debug)]
struct Piece {
    life: Life,
    epoch: Epoch,
    /// The least and the greatest offset of the call.
    offsets: (u64, u64),
    /// The last number of each stream.
    numbers: Vec<(Stream, Sequence)>,
}

/// What an offset is one of. It was heard before the messages were carried, so they lie in this
/// life of the topic or in a later one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Life {
    restored: Nanos,
    generation: u32,
    partition: u32,
}

/// What became of a piece.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    /// A checkpoint covers it.
    Covered,
    /// It is still to be read.
    Waits,
    /// Unless it is sent again it is not in the log.
    Lost,
}

impl Life {
    fn of(ack: &SourceAck) -> Life {
        let Passed {
            partition,
            generation,
            ..
        } = ack.passed;
        Life {
            restored: ack.restored,
            generation,
            partition,
        }
    }
}

impl Piece {
    fn fate(&self, ack: &SourceAck) -> Fate {
        let heard = &ack.acknowledged;
        let covers = |(stream, number): &(Stream, Sequence)| heard.through(*stream) >= *number;
        if heard.epoch == self.epoch && self.numbers.iter().all(covers) {
            return Fate::Covered;
        }
        let (first, last) = self.offsets;
        let life = Life::of(ack);
        if life != self.life {
            // The topic was made anew, or the log restored: nothing is known of what was there.
            return if life > self.life {
                Fate::Lost
            } else {
                Fate::Waits
            };
        }
        if ack.passed.lost_to > first {
            return Fate::Lost;
        }
        if ack.passed.next <= last {
            return Fate::Waits;
        }
        // A later epoch was taken behind it, and nothing before that was gone.
        if heard.epoch > self.epoch {
            Fate::Covered
        } else {
            Fate::Lost
        }
    }
}

impl Carried {
    /// Messages lie at these offsets; `heard` is what was known when they were sent.
    pub(super) fn note(&mut self, heard: &SourceAck, offsets: (u64, u64), messages: &[Message]) {
        let mut rest = messages;
        while let Some(first) = rest.first() {
            let count = rest.iter().take_while(|one| one.epoch == first.epoch);
            let (now, later) = rest.split_at_checked(count.count()).unwrap_or((rest, &[]));
            let mut piece = Piece {
                life: Life::of(heard),
                epoch: first.epoch,
                offsets,
                numbers: Vec::new(),
            };
            for message in now {
                piece.number(message.stream, message.sequence);
            }
            self.push(piece);
            rest = later;
        }
    }

    fn push(&mut self, piece: Piece) {
        if self.pieces.len() < PIECES_MAX {
            self.pieces.push_back(piece);
            return;
        }
        match self.pieces.back_mut() {
            Some(last) if (last.life, last.epoch) == (piece.life, piece.epoch) => {
                last.offsets.0 = last.offsets.0.min(piece.offsets.0);
                last.offsets.1 = last.offsets.1.max(piece.offsets.1);
                for (stream, number) in piece.numbers {
                    last.number(stream, number);
                }
            }
            _ => {
                self.pieces.clear();
                self.forgot = true;
            }
        }
    }

    /// Whether something of an epoch before `epoch` was carried and is not known to be covered. It
    /// may lie behind an older copy of what was carried after it.
    pub(super) fn before(&self, epoch: Epoch) -> bool {
        self.forgot || self.pieces.iter().any(|piece| piece.epoch < epoch)
    }

    /// Takes note of what the log says now: whether something that was carried is lost. That is
    /// said once, and then what is carried counts anew.
    pub(super) fn hear(&mut self, ack: &SourceAck) -> bool {
        let mut lost = std::mem::take(&mut self.forgot);
        let before = self.restored.replace(ack.restored);
        lost |= before.is_some_and(|before| before < ack.restored);
        self.pieces.retain(|piece| match piece.fate(ack) {
            Fate::Covered => false,
            Fate::Waits => true,
            Fate::Lost => {
                lost = true;
                false
            }
        });
        if lost {
            self.pieces.clear();
        }
        lost
    }
}

impl Piece {
    fn number(&mut self, stream: Stream, sequence: Sequence) {
        match self.numbers.iter_mut().find(|one| one.0 == stream) {
            Some(known) => known.1 = known.1.max(sequence),
            None => self.numbers.push((stream, sequence)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger_core::state::Mark;
    use ledger_core::{Flags, TreeSize};
    use ledger_log::Acknowledged;

    const LIFE: (u32, u64, u64) = (1, 0, 0);

    /// The log's word: generation, next and lost_to; epoch and record number.
    fn ack((generation, next, lost_to): (u32, u64, u64), (epoch, number): (u32, u64)) -> SourceAck {
        let mut marks = [Mark::default(); 3];
        marks[0].sequence = Sequence(number);
        SourceAck {
            passed: Passed {
                partition: 3,
                generation,
                next,
                lost_to,
            },
            restored: Nanos(0),
            acknowledged: Acknowledged {
                size: TreeSize(9),
                epoch: Epoch(epoch),
                marks,
                missing: Vec::new(),
                receipt: None,
            },
        }
    }

    fn message(epoch: u32, number: u64) -> Message {
        Message {
            stream: Stream::Record,
            epoch: Epoch(epoch),
            sequence: Sequence(number),
            prev: [0; 32],
            mac: [0; 32],
            flags: Flags::NONE,
            value: Vec::new(),
        }
    }

    /// Numbers 1 and 2 of epoch 5 at offsets 10 and 11, then number 1 of epoch 6 at 20.
    fn two_epochs() -> Carried {
        let mut carried = Carried::default();
        let heard = ack(LIFE, (5, 0));
        carried.note(&heard, (10, 11), &[message(5, 1), message(5, 2)]);
        carried.note(&heard, (20, 20), &[message(6, 1)]);
        carried
    }

    #[test]
    fn what_was_gone_before_it_was_read_is_lost_whatever_was_read_behind_it() {
        for (lost, word) in [
            // Retention took the old epoch, or a part of it; the heartbeat of the next survived.
            (true, ack((1, 21, 12), (6, 1))),
            (true, ack((1, 21, 11), (6, 1))),
            (true, ack((1, 21, 20), (6, 1))),
            // Even before what survived is read.
            (true, ack((1, 12, 12), (5, 0))),
            // Of another life of the topic, or of the log, nothing is known.
            (true, ack((2, 21, 0), (6, 1))),
            (false, ack((1, 21, 10), (6, 1))),
            (false, ack((1, 21, 0), (6, 1))),
            (false, ack((1, 12, 0), (5, 2))),
        ] {
            let mut carried = two_epochs();
            assert_eq!(carried.hear(&word), lost, "{word:?}");
            assert!(!carried.hear(&word), "said once: {word:?}");
        }
        let mut restored = ack((1, 5, 0), (5, 0));
        restored.restored = Nanos(7);
        assert!(two_epochs().hear(&restored));
        // Also if all of it was covered.
        let mut carried = two_epochs();
        assert!(!carried.hear(&ack((1, 21, 0), (6, 1))));
        assert!(carried.hear(&restored) && !carried.hear(&restored));
        // What was covered before a loss is not lost by it.
        let mut carried = two_epochs();
        assert!(!carried.hear(&ack((1, 12, 0), (5, 2))));
        assert!(!carried.hear(&ack((1, 21, 20), (6, 1))));
    }

    #[test]
    fn what_was_read_and_not_taken_is_lost_and_what_waits_is_not() {
        for (lost, word) in [
            (true, ack((1, 12, 0), (5, 1))),
            (true, ack((1, 12, 0), (4, 9))),
            (false, ack((1, 11, 0), (5, 1))),
            (false, ack((1, 10, 0), (4, 9))),
            (false, ack((1, 12, 0), (5, 2))),
        ] {
            assert_eq!(two_epochs().hear(&word), lost, "{word:?}");
        }
    }

    #[test]
    fn an_old_epoch_that_was_sent_again_waits_behind_a_copy_of_what_came_after_it() {
        let mut carried = two_epochs();
        let heard = ack((1, 16, 16), (5, 0));
        assert!(carried.hear(&heard));
        carried.note(&heard, (30, 31), &[message(5, 1), message(5, 2)]);
        carried.note(&heard, (40, 40), &[message(6, 1)]);
        // The first copy of the later epoch's message is read at 20.
        let word = ack((1, 21, 16), (6, 1));
        assert!(!carried.hear(&word) && carried.before(Epoch(6)));
        assert!(!carried.before(Epoch(5)));
        // All of it was read.
        assert!(!carried.hear(&ack((1, 41, 16), (6, 1))));
        assert!(!carried.before(Epoch(6)));
    }

    #[test]
    fn it_keeps_no_more_than_its_bound() {
        let mut carried = Carried::default();
        let heard = ack(LIFE, (5, 0));
        for number in 1..=3000 {
            carried.note(&heard, (number, number), &[message(5, number)]);
        }
        assert_eq!(carried.pieces.len(), PIECES_MAX);
        assert!(!carried.clone().hear(&ack((1, 3001, 0), (5, 3000))));
        assert!(!carried.clone().hear(&ack((1, 3000, 0), (5, 2999))));
        assert!(carried.clone().hear(&ack((1, 3001, 0), (5, 2999))));
        // What cannot be remembered counts as lost.
        carried.note(&heard, (3001, 3001), &[message(6, 1)]);
        assert!(carried.hear(&ack(LIFE, (5, 0))));
        assert!(!carried.hear(&ack(LIFE, (5, 0))));
    }
}
