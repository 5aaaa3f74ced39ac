//! The entries that come before any other when a log is opened: its own opening, what recovery did,
//! and what an operator accepts. Without that acceptance a log that was stopped is not opened.
//!
//! Not here: appending them (`sequencer`).

use ledger_core::state::Position;
use ledger_core::{Index, Kind, Nanos};
use ledger_event::facts::{ClockReason, ClockStep, Facts, LostProof, Recovery as RecoveryFacts};

use crate::clock;
use crate::config::LogOptions;
use crate::create;
use crate::error::OpenError;
use crate::paths::LogPaths;
use crate::receipt::{RESTORED_KEY, restored_at};
use crate::recovery::Recovery;
use crate::sequencer::FirstWord;
use crate::shared::Durable;
use crate::stops::Stops;

fn word(kind: Kind, facts: Vec<u8>) -> FirstWord {
    FirstWord {
        kind,
        facts,
        position: None,
    }
}

/// The entries that must come before any other.
pub(crate) fn first_word(
    paths: &LogPaths,
    options: &LogOptions,
    recovery: &Recovery,
    wall: Nanos,
) -> Result<Vec<FirstWord>, OpenError> {
    let mut words = Vec::new();
    let size = recovery.durable.edge.size();
    if size.0 == 0 {
        words.push(word(Kind::OPENED, create::opened(paths)?));
    }
    if let Some(unclean) = recovery.unclean {
        let facts = RecoveryFacts {
            index: Index(size.0),
            bytes_dropped: unclean.bytes_dropped,
            payload_bytes_dropped: unclean.payload_bytes_dropped,
            rederived_from: unclean.rederived_from,
            lost: None,
        };
        words.push(word(Kind::RECOVERY, facts.to_json()));
    }
    let stops = Stops::of(paths);
    words.extend(accepted_clock(&stops, options, recovery, wall)?);
    words.extend(accepted_loss(&stops, options, recovery, wall)?);
    Ok(words)
}

fn accepted_clock(
    stops: &Stops,
    options: &LogOptions,
    recovery: &Recovery,
    wall: Nanos,
) -> Result<Option<FirstWord>, OpenError> {
    let last = recovery.durable.ledger_time;
    let behind = clock::behind(last, wall);
    let marked = stops.clock.exists();
    if behind.is_none() && !marked {
        return Ok(None);
    }
    if !options.accept_clock {
        let behind_s = behind.unwrap_or(0) / 1_000_000_000;
        return Err(if marked {
            let mark = stops.clock.clone();
            OpenError::ClockStopped { mark }
        } else {
            OpenError::ClockBehind { behind_s }
        });
    }
    let facts = ClockStep {
        old: last,
        new: wall,
        reason: ClockReason::Accepted,
    };
    Ok(Some(word(Kind::CLOCK, facts.to_json())))
}

/// The entry with which an operator goes on with a log that lacks what it had acknowledged, and the
/// time until which acknowledgements are forgiven from then on.
fn accepted_loss(
    stops: &Stops,
    options: &LogOptions,
    recovery: &Recovery,
    wall: Nanos,
) -> Result<Option<FirstWord>, OpenError> {
    let Some(lost) = stops.restored()? else {
        return Ok(None);
    };
    if !options.accept_restored {
        let mark = stops.restored.clone();
        return Err(OpenError::Restored { mark, lost });
    }
    let size = recovery.durable.edge.size();
    let facts = RecoveryFacts {
        index: Index(size.0),
        bytes_dropped: 0,
        payload_bytes_dropped: 0,
        rederived_from: Index(size.0),
        lost: Some(lost),
    };
    // The clock of the life that is lost may have been ahead.
    let said = match lost.proof {
        LostProof::Checkpoint(checkpoint) => checkpoint.signed,
        LostProof::Receipt(receipt) => receipt.at,
    };
    // Agents order what they hear by this time: it never goes back.
    let before = forgiven(&recovery.durable, &[]);
    let now = recovery.durable.ledger_time.max(wall);
    let until = now.max(said).max(before);
    let position = Position {
        key: RESTORED_KEY.to_owned(),
        value: until.0.to_be_bytes().to_vec(),
    };
    Ok(Some(FirstWord {
        position: Some(position),
        ..word(Kind::RECOVERY, facts.to_json())
    }))
}

/// Until which time what the log said and does not hold is forgiven.
pub(crate) fn forgiven(durable: &Durable, words: &[FirstWord]) -> Nanos {
    let new = words.iter().find_map(|word| word.position.as_ref());
    restored_at(new.or_else(|| durable.positions.get(RESTORED_KEY)))
}
