//! The tailer: follows the files of one source through rotation, compression, cuts and restarts,
//! and gives records with the positions behind them.
//!
//! It is driven: each [`Tailer::poll`] looks at the folder and reads at most a budget; the caller
//! then says that all of it was bound, or that nothing was. Time is a value. A content is
//! recognised by what was read of it, never by its name alone. Not here: numbers and the journal.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use collectors_formats::Format;
use ledger_core::Nanos;
use ledger_core::state::Position;

use crate::matching::Settling;
use crate::notice::{Allowed, Notice};
use crate::position::{FilePosition, Generation, NoPosition, State, given_up};
use crate::reading::{Budget, Record, RecordKind};
use crate::sight::{Files, Seen, Sight, look};
use crate::tracked::{Taken, Tracked};

/// Most contents that are open at once; the one that is being written to always is. One that was
/// read to its end stays open for seconds, so this bounds how often files may be rotated.
const OPEN_MAX: usize = 64;
/// Most contents that are known; more files than that are not followed, and that is said.
pub(crate) const KNOWN_MAX: usize = 4000;

/// Makes a format for a content that begins or goes on. It was tried before, so `None` is not
/// expected; nothing is read then.
pub type FormatMaker = Box<dyn Fn() -> Option<Box<dyn Format + Send>> + Send>;

/// How the files of a source are followed.
pub struct Tailing {
    /// Which.
    pub files: Files,
    /// How they are read.
    pub format: FormatMaker,
    /// Whether they may be cut in place.
    pub copytruncate: Allowed,
    /// What becomes of those that were rotated before.
    pub rotated: Rotated,
}

/// What becomes of rotated files that are there when a source is first read. Nobody can tell
/// whether an agent that bound nothing had begun before they were rotated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rotated {
    /// They are read too, oldest first.
    Read,
    /// They are left, and the log says which.
    Leave,
}

impl std::fmt::Debug for Tailing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Tailing({:?}, copytruncate {:?})",
            self.files, self.copytruncate
        )
    }
}

/// Why reading begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Beginning {
    /// The source was never read: rotated files are read or left, as [`Rotated`] says.
    First,
    /// Reading goes on.
    GoesOn,
    /// The journal is behind what the log has, or lost: everything that is there now is flagged
    /// as read again.
    Again,
}

/// What a step gave.
#[derive(Debug, Default)]
pub struct Poll {
    /// In the order of reading.
    pub records: Vec<Record>,
    /// Where reading stands behind them.
    pub positions: Vec<Position>,
    /// The budget was spent: there may be more at once.
    pub more: bool,
    /// Bytes that are known and not read.
    pub lag_bytes: u64,
    /// Native bytes that became records.
    pub read_bytes: u64,
    /// Records of files that are read on, and nothing else: reading may go on while it is bound.
    pub(crate) plain: bool,
}

/// Follows the files of one source.
#[derive(Debug)]
pub struct Tailer {
    pub(crate) tailing: Tailing,
    pub(crate) known: BTreeMap<Generation, Tracked>,
    next: Generation,
    pub(crate) settling: Settling,
    pub(crate) beginning: Beginning,
    /// Said once they are bound; until then they are said again.
    notices: Vec<Vec<u8>>,
    /// So many of them are among the last poll's records.
    said: usize,
    given_up: Vec<Generation>,
    refused: BTreeMap<PathBuf, &'static str>,
    unreadable: bool,
    too_many: bool,
}

impl Tailer {
    /// Goes on at the positions of the journal.
    ///
    /// # Errors
    /// A position that is none of a file.
    pub fn new(
        tailing: Tailing,
        beginning: Beginning,
        positions: &BTreeMap<String, Vec<u8>>,
    ) -> Result<Tailer, NoPosition> {
        let mut known = BTreeMap::new();
        for (key, value) in positions {
            let (generation, position) = FilePosition::read(key, value)?;
            known.insert(generation, Tracked::known(position));
        }
        let last = known.keys().next_back().map_or(0, |last| last.0);
        Ok(Tailer {
            tailing,
            known,
            next: Generation(last + 1),
            settling: Settling::default(),
            beginning,
            notices: Vec::new(),
            said: 0,
            given_up: Vec::new(),
            refused: BTreeMap::new(),
            unreadable: false,
            too_many: false,
        })
    }

    /// Looks at the folder, and reads records within the budget. `monotonic` is ns of a clock that
    /// never goes back; `wall` is the time that notices say.
    ///
    /// Before the next call, [`Tailer::bound`] or [`Tailer::rewind`] says what became of it.
    pub fn poll(&mut self, monotonic: Nanos, wall: Nanos, mut budget: Budget) -> Poll {
        self.see(monotonic.0, wall);
        let mut poll = Poll::default();
        self.said = if budget.is_spent() {
            0
        } else {
            self.notices.len()
        };
        let said = self.notices.iter().take(self.said);
        poll.records.extend(said.cloned().map(notice));
        self.open_some(monotonic.0, wall);
        let (mut damaged, mut news) = (Vec::new(), Vec::new());
        for tracked in self.known.values_mut().filter(|tracked| tracked.is_read()) {
            if budget.is_spent() {
                poll.more = true;
                break;
            }
            if tracked.waits {
                break;
            }
            let taken = tracked.take(monotonic.0, &mut budget, &mut poll.records);
            if let Taken::Failed(error) = &taken {
                news.extend(tracked.fails(error, monotonic.0));
            } else {
                news.extend(tracked.is_readable());
            }
            match taken {
                Taken::All | Taken::Cut | Taken::Failed(_) => {}
                Taken::More => poll.more = true,
                Taken::Damaged(reason) => damaged.push(Notice::Damaged {
                    path: tracked.path.clone(),
                    offset: tracked.position.offset,
                    reason,
                }),
            }
            // What is older comes first, so nothing younger is read before it is at its end.
            if poll.more || tracked.waits {
                break;
            }
        }
        for one in damaged {
            one.tell();
            poll.records.push(notice(one.value(wall)));
        }
        news.iter().for_each(|one| self.say(one, wall));
        poll.plain = self.said == 0
            && self.given_up.is_empty()
            && self.has_begun()
            && !poll
                .records
                .iter()
                .any(|one| one.kind == RecordKind::Notice)
            && self.known.values().all(Tracked::is_plain);
        poll.positions = self.changed();
        poll.read_bytes = self.known.values().map(Tracked::unbound_bytes).sum();
        poll.lag_bytes = self.known.values().map(Tracked::lag_bytes).sum();
        poll
    }

    /// Looks as [`Tailer::poll`] does, and reads nothing; gives what is to be said as well.
    pub(crate) fn look_first(&mut self, monotonic: Nanos, wall: Nanos) -> Poll {
        let mut poll = self.poll(monotonic, wall, Budget::NONE);
        self.said = self.notices.len();
        poll.records = self.notices.iter().cloned().map(notice).collect();
        poll
    }

    /// The journal has all that the last poll gave.
    pub fn bound(&mut self) {
        self.notices.drain(..self.said);
        self.said = 0;
        self.given_up.clear();
        self.known.values_mut().for_each(Tracked::is_bound);
    }

    /// What the last poll gave is plain, and is being bound while reading goes on:
    /// [`Tailer::handed_is_bound`] or [`Tailer::rewind`] says what became of it.
    pub(crate) fn hand_over(&mut self) {
        self.known.values_mut().for_each(Tracked::hand_over);
    }

    /// The journal has what was handed over.
    pub(crate) fn handed_is_bound(&mut self) {
        self.known.values_mut().for_each(Tracked::handed_is_bound);
    }

    /// The journal has nothing of what the last poll gave, or of what was handed over: it is read
    /// again.
    pub fn rewind(&mut self) {
        self.known.values_mut().for_each(Tracked::rewind);
    }

    /// All positions, for a new life of the journal.
    pub fn positions(&self) -> Vec<Position> {
        (self.known.iter())
            .map(|(generation, tracked)| tracked.stored(*generation))
            .collect()
    }

    /// What is there now may have been sent before: it is flagged from now on, as at the
    /// beginning. To be called after [`Tailer::rewind`] or [`Tailer::bound`].
    pub fn flag_again(&mut self) {
        self.beginning = Beginning::Again;
    }

    /// Whether what was there at the beginning was looked at.
    pub fn has_begun(&self) -> bool {
        self.beginning == Beginning::GoesOn
    }

    /// Unread bytes of files that nobody writes to any more, and that may be deleted next.
    pub(crate) fn rotated_bytes(&self) -> u64 {
        let rotated = self.known.values().filter(|tracked| !tracked.current);
        rotated.map(Tracked::lag_bytes).sum()
    }

    /// How the files are followed, for another tailer.
    pub(crate) fn into_tailing(self) -> Tailing {
        self.tailing
    }

    /// The folder that is followed.
    pub fn files(&self) -> &Files {
        &self.tailing.files
    }

    fn changed(&self) -> Vec<Position> {
        let gone = self.given_up.iter().map(|generation| given_up(*generation));
        let dirty = self.known.iter().filter(|(_, tracked)| tracked.dirty);
        gone.chain(dirty.map(|(generation, tracked)| tracked.stored(*generation)))
            .collect()
    }

    /// Looks at the folder and matches what is there with what is known.
    fn see(&mut self, now: i64, wall: Nanos) {
        let inodes: std::collections::BTreeSet<u64> = (self.known.values())
            .map(|tracked| tracked.position.id.inode)
            .collect();
        let elsewhere: Vec<PathBuf> = (self.known.values())
            .filter(|tracked| tracked.position.state == State::Reading)
            .map(|tracked| tracked.path.clone())
            .collect();
        let known = |inode| inode != 0 && inodes.contains(&inode);
        let folder = self.tailing.files.folder().to_owned();
        match look(&self.tailing.files, &known, &elsewhere) {
            // Names that do not come to rest: the next poll looks again.
            Ok(None) => {}
            Ok(Some(sight)) => {
                if std::mem::take(&mut self.unreadable) {
                    self.say(&Notice::Readable { path: folder }, wall);
                }
                self.refuse(&sight, wall);
                self.reconcile(&sight, now, wall);
            }
            Err(error) => {
                if !std::mem::replace(&mut self.unreadable, true) {
                    let reason = error.to_string();
                    self.say(
                        &Notice::Unreadable {
                            path: folder,
                            reason,
                        },
                        wall,
                    );
                }
            }
        }
    }

    fn refuse(&mut self, sight: &Sight, wall: Nanos) {
        let new: Vec<_> = (sight.refused.iter())
            .filter(|(path, what)| self.refused.get(*path) != Some(*what))
            .map(|(path, what)| (path.clone(), *what))
            .collect();
        for (path, what) in new {
            self.say(&Notice::Refused { path, what }, wall);
        }
        self.refused.clone_from(&sight.refused);
    }

    pub(crate) fn say(&mut self, notice: &Notice, wall: Nanos) {
        notice.tell();
        self.notices.push(notice.value(wall));
    }

    /// A content that begins.
    pub(crate) fn begin(&mut self, seen: &Seen, state: State, wall: Nanos) {
        if self.known.len() >= KNOWN_MAX {
            if !std::mem::replace(&mut self.too_many, true) {
                let known = self.known.len();
                self.say(&Notice::TooMany { known }, wall);
            }
            return;
        }
        let mut tracked = Tracked::new(seen);
        tracked.position.state = state;
        if state == State::Before {
            tracked.recognise();
        }
        self.known.insert(self.next, tracked);
        self.next = Generation(self.next.0 + 1);
    }

    pub(crate) fn give_up(&mut self, generation: Generation) {
        self.known.remove(&generation);
        self.given_up.push(generation);
        self.too_many = false;
    }

    /// Opens what is to be read, the oldest first, and what is being written to.
    fn open_some(&mut self, now: i64, wall: Nanos) {
        let mut news = Vec::new();
        let mut open = self.known.values().filter(|t| t.open.is_some()).count();
        for tracked in self.known.values_mut() {
            tracked.waits = false;
            if !tracked.is_read() || !tracked.present || tracked.open.is_some() {
                continue;
            }
            if open >= OPEN_MAX && !tracked.current {
                tracked.waits = true;
            } else if let Some(format) = (self.tailing.format)() {
                match tracked.open(format) {
                    Ok(()) => open += usize::from(tracked.open.is_some()),
                    // Its name has moved since the look: the next one finds it.
                    Err(error) if is_moved(&error) => tracked.waits = true,
                    Err(error) => news.extend(tracked.fails(&error, now)),
                }
            }
        }
        news.iter().for_each(|one| self.say(one, wall));
    }
}

fn is_moved(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::Interrupted
    )
}

fn notice(value: Vec<u8>) -> Record {
    Record {
        value,
        reread: false,
        kind: RecordKind::Notice,
        masked: false,
    }
}
