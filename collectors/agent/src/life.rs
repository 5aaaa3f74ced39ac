//! The lives of a source's journal: how one begins, what its heartbeats say, how it ends.
//!
//! A life is begun as a whole: its first heartbeat, which says what is known of the life before, is
//! bound in one frame with the first look at the files. Not here: reading and sending.

use std::path::Path;

use collectors_bus::Acknowledged;
use ledger_core::state::{Position, Stream};
use ledger_core::{Epoch, Flags, Sequence};
use ledger_event::facts::{Facts as _, Heartbeat, Opens};

use super::{FollowError, Follower, Life, chain};
use crate::clock::Moment;
use crate::journal::{Journal, Room};
use crate::journal_error::{Damage, JournalError};
use crate::segment::set_aside;
use crate::sending::Overtaken;
use crate::tailer::{Beginning, Poll, Tailer};

/// A new epoch is begun at most this often, in ns, so that two agents with one key do not take
/// turns for ever at full speed.
const EPOCH_NS: i64 = 60_000_000_000;

/// A disk that is full sooner is said.
const HOUR_NS: i64 = 3_600_000_000_000;

impl Follower {
    /// Begins a life: the first one, one after lost state, or one after being overtaken.
    /// `false` if the files cannot be looked at yet.
    pub(super) fn begin(&mut self, heard: &Acknowledged, now: Moment) -> Result<bool, FollowError> {
        let journal = match self.journal.take() {
            Some(journal) => journal,
            None => self.create(heard, now)?,
        };
        let begun = self.begin_in(journal, heard, now)?;
        if begun {
            self.life = Life::Bound;
        }
        Ok(begun)
    }

    fn create(&mut self, heard: &Acknowledged, now: Moment) -> Result<Journal, FollowError> {
        let source = self.setup.credentials.source;
        let epoch = after(heard.epoch, now).ok_or(FollowError::NoEpoch(source))?;
        let (dir, bounds) = (&self.setup.dir, self.setup.bounds);
        if self.damaged {
            // As far as that failed before: nothing is written over.
            set_aside(dir)?;
        }
        Ok(Journal::create(dir, source, epoch, bounds)?)
    }

    /// Binds the first heartbeat together with the first look at the files, so that a life is
    /// begun as a whole or not at all. `false` if the files cannot be looked at yet.
    fn begin_in(
        &mut self,
        mut journal: Journal,
        heard: &Acknowledged,
        now: Moment,
    ) -> Result<bool, FollowError> {
        let source = self.setup.credentials.source;
        let before = heard.epoch;
        let first = before == Epoch(0) && !self.damaged;
        let lost = !first && journal.positions().is_empty();
        if before >= journal.epoch() {
            let epoch = after(before, now).ok_or(FollowError::NoEpoch(source))?;
            let positions = stored(&journal);
            if let Err(error) = journal.begin_epoch(epoch, positions) {
                self.journal = Some(journal);
                return Err(error.into());
            }
        }
        let beginning = if first {
            Beginning::First
        } else {
            Beginning::Again
        };
        if self.tailer.is_none() {
            self.tail(beginning, &journal)?;
        }
        let poll = (self.tailer.as_mut())
            .map(|tailer| tailer.look_first(now.monotonic, now.wall))
            .unwrap_or_default();
        self.backlog_bytes = poll.lag_bytes;
        let looked = self.tailer.as_ref().is_some_and(Tailer::has_begun);
        let bound = if looked {
            let opens = Opens {
                previous: (!first && !lost).then_some(before),
                acknowledged: (!first && !lost).then(|| heard.mark(Stream::Record).sequence),
                state_lost: lost,
            };
            self.bind_first(&mut journal, opens, poll, now)
        } else {
            Ok(())
        };
        self.journal = Some(journal);
        bound?;
        if looked && let Some(tailer) = &mut self.tailer {
            tailer.bound();
            self.beat_at = now
                .monotonic
                .0
                .saturating_add(self.setup.heartbeat_every_ns);
        } else {
            self.not_bound();
        }
        Ok(looked)
    }

    /// Binds the heartbeat that opens an epoch, then what the first look has to say.
    fn bind_first(
        &mut self,
        journal: &mut Journal,
        opens: Opens,
        poll: Poll,
        now: Moment,
    ) -> Result<(), FollowError> {
        let key = &self.setup.credentials.key;
        let beat = self.heartbeat(journal, Some(opens), now);
        let mut beats = chain(journal, Stream::Heartbeat);
        let mut sealed = vec![beats.seal(key, beat.to_json(), Flags::NONE)?];
        let mut records = chain(journal, Stream::Record);
        for notice in poll.records {
            sealed.push(records.seal(key, notice.value, Flags::NONE)?);
        }
        journal.append(Room::Own, &sealed, &poll.positions)?;
        self.status.notices += sealed.len() as u64 - 1;
        Ok(())
    }

    /// Bytes of the journal are not what was written: it is set aside, and the next life says that
    /// its state is lost. What it held and the log does not have is read again from the files.
    pub(super) fn start_over(
        &mut self,
        path: &Path,
        at: u64,
        reason: &Damage,
    ) -> Result<(), FollowError> {
        let source = self.setup.credentials.source.0;
        tracing::error!(source, path = %path.display(), at, %reason,
            "the journal is damaged and set aside");
        self.not_bound();
        // Its lock is given back first.
        self.journal = None;
        self.life = Life::Opening;
        self.damaged = true;
        self.sending.start_over();
        if let Some(tailer) = self.tailer.take() {
            self.tailing = Some(tailer.into_tailing());
        }
        Ok(set_aside(&self.setup.dir)?)
    }

    pub(super) fn may_begin(&self, now: Moment) -> bool {
        self.epoch_at
            .is_none_or(|at| now.monotonic.0.saturating_sub(at) >= EPOCH_NS)
    }

    /// The journal was overtaken: a new epoch begins, and what is there may be sent again.
    pub(super) fn end_life(
        &mut self,
        why: Overtaken,
        journal: &mut Journal,
        now: Moment,
    ) -> Result<(), FollowError> {
        let source = self.setup.credentials.source;
        tracing::error!(
            source = source.0,
            ?why,
            "another life of this source is in the log"
        );
        let before = self
            .sending
            .heard
            .as_ref()
            .map_or(Epoch(0), |heard| heard.epoch);
        let epoch = after(before.max(journal.epoch()), now);
        let epoch = epoch.ok_or(FollowError::NoEpoch(source))?;
        let positions = self
            .tailer
            .as_ref()
            .map(Tailer::positions)
            .unwrap_or_default();
        journal.begin_epoch(epoch, positions)?;
        if let Some(tailer) = &mut self.tailer {
            tailer.flag_again();
        }
        self.sending.begin_epoch();
        self.epoch_at = Some(now.monotonic.0);
        self.life = Life::Opening;
        Ok(())
    }

    pub(super) fn beat(&mut self, journal: &mut Journal, now: Moment) -> Result<(), FollowError> {
        let folder = self.tailer.as_ref().map(|tailer| tailer.files().folder());
        let free = folder.and_then(|folder| rustix::fs::statvfs(folder).ok());
        self.status.free_bytes = free.map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        let seen = self.status.read_bytes.saturating_add(self.backlog_bytes);
        self.status.growth_bytes = Some(seen.saturating_sub(self.read_before));
        self.read_before = seen;
        self.status.journal_bytes = journal.used_bytes();
        self.warn();
        let beat = self.heartbeat(journal, None, now);
        let sealed = chain(journal, Stream::Heartbeat).seal(
            &self.setup.credentials.key,
            beat.to_json(),
            Flags::NONE,
        )?;
        self.beat_at = now
            .monotonic
            .0
            .saturating_add(self.setup.heartbeat_every_ns);
        match journal.append(Room::Own, &[sealed], &[]) {
            // Not even the reserve has room: the log has heard that reading pauses.
            Err(JournalError::Full { .. }) => Ok(()),
            bound => Ok(bound?),
        }
    }

    /// Says once that what is unread may be gone before it is read: a rotated file that does not
    /// get shorter from heartbeat to heartbeat, or a disk that will be full within the hour.
    fn warn(&mut self) {
        let rotated = self.tailer.as_ref().map_or(0, Tailer::rotated_bytes);
        let before = self.status.rotated_bytes.unwrap_or(0);
        self.status.rotated_bytes = (rotated > 0).then_some(rotated);
        let stays = before > 0 && rotated >= before;
        let growth = self.status.growth_bytes.filter(|growth| *growth > 0);
        let full_ns = match (self.status.free_bytes, growth) {
            (Some(free), Some(growth)) => {
                let beats = i64::try_from(free / growth).unwrap_or(i64::MAX);
                beats.saturating_mul(self.setup.heartbeat_every_ns)
            }
            _ => i64::MAX,
        };
        let fills = self.backlog_bytes > 0 && full_ns < HOUR_NS;
        let at_risk = stays || fills;
        if at_risk && !self.warned {
            let source = self.setup.credentials.source.0;
            let unread = self.backlog_bytes;
            tracing::warn!(
                source,
                unread,
                rotated,
                "unread files may be rotated away before they are read: keep more of them"
            );
        }
        self.warned = at_risk;
    }

    fn heartbeat(&self, journal: &Journal, opens: Option<Opens>, now: Moment) -> Heartbeat {
        let heard = self.sending.heard.as_ref();
        let heard = heard.filter(|heard| heard.epoch == journal.epoch());
        Heartbeat {
            source: self.setup.credentials.source,
            epoch: journal.epoch(),
            bound: journal.last(Stream::Record).sequence,
            acknowledged: heard.map_or(Sequence(0), |heard| heard.through(Stream::Record)),
            backlog_bytes: Some(self.backlog_bytes),
            dropped: None,
            opens,
            agent: Some(self.status.clone()),
            every_ms: u64::try_from(self.setup.heartbeat_every_ns / 1_000_000).ok(),
            told: self.sending.told.clone(),
            at: now.wall,
        }
    }
}

fn stored(journal: &Journal) -> Vec<Position> {
    (journal.positions().iter())
        .map(|(key, value)| Position {
            key: key.clone(),
            value: value.clone(),
        })
        .collect()
}

/// An epoch after `before`: the time, if the clock is right.
fn after(before: Epoch, now: Moment) -> Option<Epoch> {
    Some(Epoch(now.epoch().max(before.0.checked_add(1)?)))
}
