//! A run: batches of several sources and the position behind them, in one frame or not at all.
//!
//! Who reads an outside stream that carries many sources hands over a run. After a crash the
//! position and everything before it are there, or nothing of both, so even what the log appends
//! each time it comes (a forged message, a conflict) is there once. Not here: streams of one
//! source, whose positions ride on its batches ([`crate::door`]).

use std::sync::Arc;

use crossbeam_channel::{Receiver, bounded};
use ledger_core::state::Position;

use crate::bounds::check_batch;
use crate::door::{
    Appended, BATCH_MESSAGES_MAX, Batch, DoorError, InProcessDoor, Request, answered, gone,
};
use crate::shared::Shared;

/// Most batches of a run: a frame bounds how many sources it touches.
pub const RUN_BATCHES_MAX: usize = 1024;

/// Batches that become durable together.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// In the order of sending; their own positions are empty.
    pub batches: Vec<Batch>,
    /// Positions that hold with the batches, also if these are repeats or their sources are
    /// stopped: whoever sends runs is the only one to read their stream.
    pub positions: Vec<Position>,
}

/// What became of each batch of a run.
pub type RunAnswer = Result<Vec<Result<Appended, DoorError>>, DoorError>;

/// A run on its way.
#[derive(Debug)]
pub struct RunTicket {
    answer: Receiver<RunAnswer>,
    shared: Arc<Shared>,
}

impl RunTicket {
    /// Returns when the run is durable: what became of each batch, in their order.
    ///
    /// # Errors
    /// The run was refused, and nothing of it was appended; or the log stopped.
    pub fn wait(self) -> RunAnswer {
        answered(&self.answer, &self.shared).unwrap_or_else(Err)
    }

    /// Whether [`RunTicket::wait`] would return at once.
    pub fn is_done(&self) -> bool {
        !self.answer.is_empty() || self.shared.stopped().is_some()
    }
}

impl InProcessDoor {
    /// Hands a run over, waiting while too much waits before it.
    ///
    /// # Errors
    /// See [`DoorError`].
    pub fn submit_run(&self, run: Run) -> Result<RunTicket, DoorError> {
        check(&run)?;
        let (reply, answer) = bounded(1);
        self.requests
            .send(Request::Run { run, reply })
            .map_err(|_| gone(&self.shared))?;
        Ok(RunTicket {
            answer,
            shared: self.shared.clone(),
        })
    }
}

fn check(run: &Run) -> Result<(), DoorError> {
    let count: usize = run.batches.iter().map(|batch| batch.messages.len()).sum();
    for (count, max) in [
        (run.batches.len(), RUN_BATCHES_MAX),
        (count, BATCH_MESSAGES_MAX),
    ] {
        if count > max {
            return Err(DoorError::TooMany { count, max });
        }
    }
    for batch in &run.batches {
        check_batch(&batch.messages, &batch.positions)?;
    }
    check_batch(&[], &run.positions)
}

#[cfg(test)]
mod tests {
    use ledger_core::state::Stream;
    use ledger_core::{SourceId, TreeSize};

    use super::*;
    use crate::agent_tests::{WAIT, keyed, open, paths, sealed};
    use crate::{Door as _, Outcome, create_log};

    fn position(value: &[u8]) -> Position {
        Position {
            key: "kafka:t/0".to_owned(),
            value: value.to_vec(),
        }
    }

    #[test]
    fn a_run_over_its_bounds_is_refused_and_one_within_is_taken_whole() {
        let folder = tempfile::tempdir().unwrap();
        create_log(&paths(folder.path())).unwrap();
        let log = open(folder.path());
        let mut door = log.door();
        let (state, key) = keyed(folder.path(), &mut door);
        let one = sealed(&key, Stream::Record, (5, 1), [0; 32], b"{}");
        let mut forged = one.clone();
        forged.mac[0] ^= 1;
        let batch = |messages: &[ledger_core::Message]| Batch {
            source: state.id,
            messages: messages.to_vec(),
            positions: Vec::new(),
        };
        let run = |batches: Vec<Batch>, value: &[u8]| Run {
            batches,
            positions: vec![position(value)],
        };
        let many = vec![batch(&[]); RUN_BATCHES_MAX + 1];
        let refused = door.submit_run(run(many, b"0")).unwrap_err();
        assert!(matches!(refused, DoorError::TooMany { .. }), "{refused}");
        let messages = vec![one.clone(); BATCH_MESSAGES_MAX / 2 + 1];
        let many = vec![batch(&messages), batch(&messages)];
        let refused = door.submit_run(run(many, b"0")).unwrap_err();
        assert!(matches!(refused, DoorError::TooMany { .. }), "{refused}");

        let unknown = Batch {
            source: SourceId(99),
            ..batch(std::slice::from_ref(&one))
        };
        let first = vec![
            batch(&[forged.clone()]),
            unknown,
            batch(std::slice::from_ref(&one)),
        ];
        let answers = door.submit_run(run(first, b"1")).unwrap().wait().unwrap();
        let outcome = |at: usize| answers[at].as_ref().map(|found| found.outcomes[0]);
        assert!(matches!(outcome(0), Ok(Outcome::Forged(_))), "{answers:?}");
        assert!(matches!(outcome(1), Err(DoorError::UnknownSource { .. })));
        assert!(
            matches!(outcome(2), Ok(Outcome::Appended(_))),
            "{answers:?}"
        );
        let kept = |door: &mut InProcessDoor| {
            let found = door.positions(&["kafka:t/0".to_owned()]).unwrap();
            found.into_iter().next().flatten().map(|one| one.value)
        };
        assert_eq!(kept(&mut door).as_deref(), Some(b"1".as_slice()));
        // Nothing but repeats and forgeries, and then nothing at all: the position holds.
        let rest = vec![batch(std::slice::from_ref(&one)), batch(&[forged])];
        let answers = door.submit_run(run(rest, b"2")).unwrap().wait().unwrap();
        assert_eq!(answers[0].as_ref().unwrap().outcomes, [Outcome::Repeat]);
        assert_eq!(kept(&mut door).as_deref(), Some(b"2".as_slice()));
        let ticket = door.submit_run(run(Vec::new(), b"3")).unwrap();
        ticket.wait().unwrap();
        let size = door.size();
        drop(log);
        let log = open(folder.path());
        assert_eq!(kept(&mut log.door()).as_deref(), Some(b"3".as_slice()));
        let covered = log.door().wait_published(TreeSize(size.0)).unwrap();
        assert!(covered >= size);
        assert!(log.door().coverage(None, WAIT).unwrap().is_some());
    }
}
