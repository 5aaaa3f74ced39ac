//! The sequencer's work on one message: MAC, rule, repeat or conflict, and the entry that results.
//!
//! Not here: batches and replies ([`crate::sequencer`]).

use std::time::Duration;

use collectors_formats::mask::Dialect;
use ledger_core::TreeSize;

use super::{
    Arc, Arrival, Beat, Claim, Conflict, ConflictReason, DoorError, Entry, Epoch, EpochOpened,
    EventHead, Facts, Flags, Forged, Gap, Hash, Heartbeat, Index, JsonText, Kind, MESSAGE_LABEL,
    Message, Nanos, Opens, Outcome, Place, SENDER_FLAGS, Sequencer, ShortMac, SourceState, Stream,
    Turn, WriteError, receipt, rule,
};
use crate::frames::{Found, Number};

/// What reading a value gives; its parts stay with the preparer.
type Read = (EventHead, Flags);

impl Sequencer {
    /// Places one message, whose value has this SHA-256. `Err` inside is a refusal that nothing was
    /// appended for.
    pub(super) fn message(
        &mut self,
        turn: &mut Turn,
        state: &mut SourceState,
        (message, digest): (&Message, Hash),
    ) -> Result<Result<Outcome, DoorError>, WriteError> {
        turn.bytes += message.value.len();
        let keyed = self.keys.get(&state.id);
        let mac = keyed.map(|key| key.hmac(MESSAGE_LABEL, &[&message.mac_input_of(&digest)]));
        let read = self.read(message, turn.now);
        let mac = match mac {
            Some(expected) if !same(&expected, &message.mac) => {
                return self.forged(turn, state, message, read).map(Ok);
            }
            Some(expected) => expected,
            // No key stands behind it, so nothing unmasked may be in it.
            None => self.preparer.masked_digest(digest).0,
        };
        let arrival = Arrival {
            stream: message.stream,
            epoch: message.epoch,
            sequence: message.sequence,
            mac: ShortMac::of(&mac),
            prev: ShortMac::of(&message.prev),
        };
        if let Some(reason) = self.not_believed(turn, state, message)? {
            let why = (reason, None);
            return self
                .conflict(turn, state, message, &arrival, why, read)
                .map(Ok);
        }
        if rule::is_new_epoch(state, message.epoch) {
            self.new_epoch(turn, state, message)?;
        }
        let place = match rule::place(state, &arrival) {
            Ok(place) => place,
            Err(rule::GapsFull) => {
                return Ok(Err(DoorError::SourceStopped {
                    name: state.name.clone(),
                    sequence: message.sequence.0,
                }));
            }
        };
        let outcome = self.at_its_place(turn, state, message, &arrival, (place, read))?;
        Ok(Ok(outcome))
    }

    /// Appends what the place of a message demands.
    fn at_its_place(
        &mut self,
        turn: &mut Turn,
        state: &SourceState,
        message: &Message,
        arrival: &Arrival,
        (place, read): (Place, Read),
    ) -> Result<Outcome, WriteError> {
        let outcome = match place {
            Place::Next => self.placed(turn, state, message, arrival, read)?,
            Place::Ahead(gap) => {
                self.gap(turn, state, &gap, false)?;
                self.placed(turn, state, message, arrival, read)?
            }
            Place::Late { closed } => {
                let outcome = self.placed(
                    turn,
                    state,
                    message,
                    arrival,
                    (read.0, read.1.with(Flags::LATE)),
                )?;
                if let Some(gap) = closed {
                    self.gap(turn, state, &gap, true)?;
                }
                outcome
            }
            Place::Taken => self.repeat_or_conflict(turn, state, message, arrival, read)?,
            Place::WrongPrevious => {
                let reason = ConflictReason::WrongPrevious;
                self.conflict(turn, state, message, arrival, (reason, None), read)?
            }
            Place::OldEpoch => self.repeat_or_conflict(turn, state, message, arrival, read)?,
        };
        Ok(outcome)
    }

    /// Why a message whose MAC is right is not believed before it is looked where it belongs. One
    /// that proves that the log was restored from an older copy stops it: nothing more is signed.
    fn not_believed(
        &mut self,
        turn: &Turn,
        state: &SourceState,
        message: &Message,
    ) -> Result<Option<ConflictReason>, WriteError> {
        if rule::is_in_future(message.epoch, turn.now) {
            return Ok(Some(ConflictReason::EpochInFuture));
        }
        if message.stream != Stream::Heartbeat {
            return Ok(None);
        }
        let Ok(beat) = Heartbeat::parse(&message.value) else {
            return Ok(None);
        };
        let log = (turn.batch.next(), self.forgiven);
        match receipt::judge(&self.receipts, state, &beat, log) {
            Claim::Held => Ok(None),
            Claim::Unproven => Ok(Some(ConflictReason::AcknowledgedAhead)),
            Claim::Proven(lost) => {
                self.stops.mark_restored(&lost)?;
                Err(WriteError::Restored {
                    by: state.name.clone(),
                    lost,
                })
            }
        }
    }

    fn placed(
        &mut self,
        turn: &mut Turn,
        state: &SourceState,
        message: &Message,
        arrival: &Arrival,
        (head, found): Read,
    ) -> Result<Outcome, WriteError> {
        let index = turn.batch.next();
        let kind = match message.stream {
            Stream::Record => Kind::EVENT,
            Stream::Heartbeat => Kind::HEARTBEAT,
            Stream::Snapshot => Kind::SNAPSHOT,
        };
        let sent = if message.flags.contains(SENDER_FLAGS) {
            SENDER_FLAGS
        } else {
            Flags::NONE
        };
        let flags = found.with(sent);
        let entry = entry_of(kind, flags, &head, state, message, turn.now);
        let parts = self.preparer.parts();
        turn.batch
            .push(&entry, arrival.mac, parts, &mut self.random)?;
        let (stream, epoch, sequence) = (arrival.stream, arrival.epoch, arrival.sequence);
        self.recent
            .put(state.id, stream, epoch, sequence, arrival.mac);
        turn.batch.counters.appended += 1;
        if flags.contains(Flags::LATE) {
            turn.batch.counters.late += 1;
            return Ok(Outcome::Late(index));
        }
        if message.stream == Stream::Heartbeat
            && let Ok(facts) = Heartbeat::parse(&message.value)
        {
            let beat = Beat {
                index,
                ledger_time: turn.now,
                facts,
            };
            turn.batch.beats.insert(state.id, Arc::new(beat));
        }
        Ok(Outcome::Appended(index))
    }

    /// Reads a message's value; what is no event becomes one that keeps its masked bytes.
    fn read(&mut self, message: &Message, now: Nanos) -> Read {
        // The one dialect of this version; a source's platform will choose.
        let dialect = Dialect::default();
        let read = match message.stream {
            Stream::Heartbeat => Heartbeat::parse(&message.value)
                .ok()
                .map(|facts| self.preparer.facts(&facts.to_json(), facts.at)),
            Stream::Record | Stream::Snapshot => self.preparer.event(&message.value, dialect).ok(),
        };
        read.unwrap_or_else(|| self.preparer.unparsed(&message.value, dialect, now))
    }

    /// A number that was taken, or an epoch that is over: the kept MAC decides.
    fn repeat_or_conflict(
        &mut self,
        turn: &mut Turn,
        state: &SourceState,
        message: &Message,
        arrival: &Arrival,
        read: Read,
    ) -> Result<Outcome, WriteError> {
        let (stream, epoch, sequence) = (arrival.stream, arrival.epoch, arrival.sequence);
        let recent = self.recent.get(state.id, stream, epoch, sequence);
        let kept = match recent {
            Some(mac) => Some((None, mac)),
            None => self
                .old_one(turn, (state.id, stream, epoch, sequence))?
                .map(|(index, mac)| (Some(index), mac)),
        };
        match kept {
            Some((_, mac)) if mac == arrival.mac => {
                turn.batch.counters.repeats += 1;
                Ok(Outcome::Repeat)
            }
            kept => {
                let other = kept.and_then(|(index, _)| index);
                let reason = if epoch < state.epoch {
                    ConflictReason::OldEpoch
                } else {
                    ConflictReason::SameNumberOtherContent
                };
                self.conflict(turn, state, message, arrival, (reason, other), read)
            }
        }
    }

    /// A message that is not among the newest: what lies in frames that are not durable yet is
    /// waited for before it is said that the log does not hold it.
    fn old_one(&mut self, turn: &Turn, number: Number) -> Result<Option<Found>, WriteError> {
        let found = self.old.find(&self.folder, number, self.shared.size())?;
        let handed_over = TreeSize(turn.batch.first.0);
        if found.is_some() || self.shared.size() >= handed_over {
            return Ok(found);
        }
        let last = TreeSize(handed_over.0.saturating_sub(1));
        while self.shared.size() <= last && self.shared.stopped().is_none() {
            self.shared.wait_longer_than(last, Duration::from_secs(1));
        }
        Ok(self.old.find(&self.folder, number, self.shared.size())?)
    }

    fn conflict(
        &mut self,
        turn: &mut Turn,
        state: &SourceState,
        message: &Message,
        arrival: &Arrival,
        (reason, other): (ConflictReason, Option<Index>),
        (head, flags): Read,
    ) -> Result<Outcome, WriteError> {
        let [facts, who, text] = self.preparer.parts();
        let wrapped = Conflict {
            reason,
            stream: message.stream,
            epoch: message.epoch,
            sequence: message.sequence,
            other,
            event: facts.and_then(JsonText::new),
        };
        let index = turn.batch.next();
        let entry = entry_of(Kind::CONFLICT, flags, &head, state, message, turn.now);
        let facts = wrapped.to_json();
        let parts = [Some(facts.as_slice()), who, text];
        turn.batch
            .push(&entry, arrival.mac, parts, &mut self.random)?;
        turn.batch.counters.conflicts += 1;
        turn.batch.wrongs.entry(state.id).or_default().conflicts += 1;
        Ok(Outcome::Conflict(index))
    }

    fn forged(
        &mut self,
        turn: &mut Turn,
        state: &SourceState,
        message: &Message,
        (head, flags): Read,
    ) -> Result<Outcome, WriteError> {
        let [facts, who, text] = self.preparer.parts();
        let wrapped = Forged {
            stream: message.stream,
            epoch: message.epoch,
            sequence: message.sequence,
            event: facts.and_then(JsonText::new),
        };
        let index = turn.batch.next();
        let entry = entry_of(Kind::FORGED, flags, &head, state, message, turn.now);
        let facts = wrapped.to_json();
        let parts = [Some(facts.as_slice()), who, text];
        turn.batch
            .push(&entry, ShortMac::of(&message.mac), parts, &mut self.random)?;
        turn.batch.counters.forged += 1;
        turn.batch.wrongs.entry(state.id).or_default().forged += 1;
        Ok(Outcome::Forged(index))
    }

    fn gap(
        &mut self,
        turn: &mut Turn,
        state: &SourceState,
        gap: &Gap,
        closed: bool,
    ) -> Result<(), WriteError> {
        let facts = ledger_event::facts::Gap {
            source: state.id,
            stream: gap.stream,
            epoch: state.epoch,
            from: gap.from,
            to: gap.to,
            closed,
        };
        self.own_entry(turn, Kind::GAP, &facts.to_json())
    }

    /// A source began a new life; its first life needs no entry of its own. A heartbeat that opens
    /// it says how far the life before was acknowledged, or that its state was lost.
    fn new_epoch(
        &mut self,
        turn: &mut Turn,
        state: &mut SourceState,
        message: &Message,
    ) -> Result<(), WriteError> {
        if state.epoch != Epoch(0) {
            let mark = state.marks.first().copied().unwrap_or_default();
            let opens = opens(message);
            let facts = EpochOpened {
                source: state.id,
                epoch: message.epoch,
                previous: Some(state.epoch),
                acknowledged: opens.and_then(|opens| opens.acknowledged),
                state_lost: opens.is_some_and(|opens| opens.state_lost),
                held: Some(mark.sequence),
                open_gaps: Some(state.gaps.len() as u64),
            };
            self.own_entry(turn, Kind::EPOCH, &facts.to_json())?;
            let wrongs = turn.batch.wrongs.entry(state.id).or_default();
            wrongs.lives += 1;
            wrongs.states_lost += u64::from(facts.state_lost);
        }
        rule::open_epoch(state, message.epoch);
        Ok(())
    }
}

/// What a heartbeat says of the life before its own.
fn opens(message: &Message) -> Option<Opens> {
    if message.stream != Stream::Heartbeat {
        return None;
    }
    Heartbeat::parse(&message.value).ok()?.opens
}

fn entry_of(
    kind: Kind,
    flags: Flags,
    head: &EventHead,
    state: &SourceState,
    message: &Message,
    now: Nanos,
) -> Entry {
    Entry {
        kind,
        flags,
        class_uid: head.class_uid,
        activity: head.activity,
        status: head.status,
        severity: head.severity,
        source: state.id,
        epoch: message.epoch,
        sequence: message.sequence,
        event_time: head.time,
        ledger_time: now,
        commitment: Hash::ZERO,
    }
}

/// Compares without leaving early, so that time tells nothing about a MAC.
fn same(left: &[u8; 32], right: &[u8; 32]) -> bool {
    left.iter()
        .zip(right)
        .fold(0, |differs, (l, r)| differs | (l ^ r))
        == 0
}
