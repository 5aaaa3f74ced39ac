//! One content that is followed: where reading stands, whether it is open, whether anybody still
//! writes to it.
//!
//! Not here: which file it is in (`matching`), the table of them (`tailer`).

use std::io;
use std::path::PathBuf;

use collectors_formats::Format;

use crate::content::{Content, Stat};
use crate::notice::Notice;
use crate::position::{FileId, FilePosition, Generation, State};
use crate::reading::{Budget, Reading, Record, Stop};
use crate::sight::Seen;

/// A file without a writer for this long, in ns, and at its end twice, is left.
pub(crate) const QUIET_NS: i64 = 5_000_000_000;

/// One content.
#[derive(Debug)]
pub(crate) struct Tracked {
    pub(crate) position: FilePosition,
    /// As the journal has it, apart from where it was found.
    bound: FilePosition,
    /// As it is on its way into the journal while reading goes on.
    handed: Option<FilePosition>,
    /// The journal does not have it as it is now.
    pub(crate) dirty: bool,
    pub(crate) path: PathBuf,
    pub(crate) gzip: bool,
    pub(crate) open: Option<Reading>,
    /// It is to be read and could not be yet: nothing younger is read before it.
    pub(crate) waits: bool,
    /// Since when it cannot be read.
    failing: Option<i64>,
    /// Seen at the last look.
    pub(crate) present: bool,
    /// Bytes that it had then.
    seen_size: u64,
    /// Looks in a row that did not show it.
    pub(crate) missed: u32,
    /// Whoever writes the trail may write here next: it is kept open.
    pub(crate) current: bool,
    /// Size and change at which the content was last found to be this one.
    checked: Option<(u64, i128)>,
    quiet: Option<Quiet>,
    /// Read to the end for good, as soon as that is bound.
    finishing: bool,
}

/// Since when nothing has changed, and how often the end was seen since.
#[derive(Clone, Copy, Debug)]
struct Quiet {
    stat: (u64, i128),
    since: i64,
    ends: u32,
}

/// What is younger than a file that cannot be read waits so long, in ns: what is written now could
/// be rotated away before it is read.
const FAILING_NS: i64 = 60_000_000_000;

/// What a step of reading ended with.
#[derive(Debug)]
pub(crate) enum Taken {
    /// The budget is spent: more may be there.
    More,
    /// All that is there was read.
    All,
    /// The content was replaced while it was read; the next look says by what.
    Cut,
    /// A gzip file cannot be read on.
    Damaged(String),
    /// The system refuses to read it now: it is tried again.
    Failed(io::Error),
}

impl Tracked {
    /// A content that begins.
    pub(crate) fn new(seen: &Seen) -> Tracked {
        let position = FilePosition::start(&seen.path, seen.stat.id, seen.stat.size);
        let mut tracked = Tracked::known(position);
        tracked.found(seen);
        tracked.dirty = true;
        tracked
    }

    /// A content of the journal.
    pub(crate) fn known(position: FilePosition) -> Tracked {
        Tracked {
            bound: position.clone(),
            handed: None,
            path: position.path.clone(),
            gzip: position.path.extension().is_some_and(|e| e == "gz"),
            position,
            dirty: false,
            open: None,
            waits: false,
            failing: None,
            seen_size: 0,
            present: false,
            missed: 0,
            current: false,
            checked: None,
            quiet: None,
            finishing: false,
        }
    }

    /// It was seen in this file.
    pub(crate) fn found(&mut self, seen: &Seen) {
        (self.present, self.missed) = (true, 0);
        self.seen_size = seen.stat.size;
        if self.path != seen.path {
            self.path.clone_from(&seen.path);
            let fresh = FilePosition::start(&seen.path, seen.stat.id, 0);
            self.dirty |= fresh.path != self.position.path;
            self.position.path = fresh.path;
        }
        if self.position.id != seen.stat.id {
            self.position.id = seen.stat.id;
            self.dirty = true;
        }
        self.gzip = seen.gzip;
    }

    /// It is in another file now: a copy, or a compressed one.
    pub(crate) fn moved_to(&mut self, seen: &Seen) {
        self.open = None;
        self.checked = None;
        self.quiet = None;
        self.finishing = false;
        self.found(seen);
        self.position.size = 0;
        if self.position.state == State::Finished {
            self.position.state = State::Reading;
        }
        self.dirty = true;
    }

    /// It is in no file any more, but may come back in a compressed one.
    pub(crate) fn in_no_file(&mut self) {
        self.open = None;
        self.position.id = FileId::NONE;
        if self.position.state == State::Reading {
            self.position.state = State::Finished;
        }
        (self.present, self.current, self.dirty) = (false, false, true);
    }

    /// Whether the file of its inode holds its content. A file that cannot be read for now is
    /// taken to.
    pub(crate) fn is_in(&mut self, seen: &Seen) -> bool {
        let now = (seen.stat.size, seen.stat.changed);
        if let Some(open) = &mut self.open {
            return !open.is_cut().unwrap_or(false);
        }
        if self.checked == Some(now) || self.position.offset == 0 {
            return true;
        }
        if !self.gzip && seen.stat.size < self.position.offset {
            return false;
        }
        let found = Content::open_seen(seen).and_then(|mut content| content.is_at(&self.position));
        match found {
            Ok(true) => {
                self.checked = Some(now);
                true
            }
            Ok(false) => false,
            Err(_) => true,
        }
    }

    /// A file that was read to its end has grown.
    pub(crate) fn wake(&mut self, stat: &Stat) {
        if self.position.state == State::Finished && stat.size > self.position.size {
            self.position.state = State::Reading;
            self.dirty = true;
        }
    }

    /// Opens it where reading stands, unless another content is there: the next look tells.
    ///
    /// # Errors
    /// Its name has moved since the look, or the system refuses.
    pub(crate) fn open(&mut self, format: Box<dyn Format + Send>) -> io::Result<()> {
        self.checked = None;
        let content = Content::open_as(&self.path, self.gzip, &self.position.id)?;
        self.open = Reading::open(content, format, &self.position)?;
        Ok(())
    }

    /// It cannot be read now: said once. What is younger waits for a while.
    pub(crate) fn fails(&mut self, error: &io::Error, now: i64) -> Option<Notice> {
        let is_news = self.failing.is_none();
        let since = *self.failing.get_or_insert(now);
        self.waits = now.saturating_sub(since) < FAILING_NS;
        is_news.then(|| Notice::Unreadable {
            path: self.path.clone(),
            reason: error.to_string(),
        })
    }

    /// It could be read, if it is open: said if it could not before.
    pub(crate) fn is_readable(&mut self) -> Option<Notice> {
        self.open.as_ref()?;
        self.failing.take().map(|_| Notice::Readable {
            path: self.path.clone(),
        })
    }

    /// Reads on.
    pub(crate) fn take(&mut self, now: i64, budget: &mut Budget, out: &mut Vec<Record>) -> Taken {
        let Some(open) = &mut self.open else {
            return Taken::All;
        };
        let before = out.len();
        let reread = self.position.reread;
        let stop = open.take(budget, reread, out);
        if out.len() > before {
            open.mark(&mut self.position);
            self.dirty = true;
        }
        match stop {
            Ok(Stop::Budget) => Taken::More,
            Ok(Stop::Cut) => Taken::Cut,
            Ok(Stop::End) => self.at_end(now, budget, out),
            // Decoding failed: what the system refuses now may be read later.
            Err(error) if self.gzip && error.raw_os_error().is_none() => {
                if open.finish(budget, reread, out) {
                    open.mark(&mut self.position);
                    self.end();
                    return Taken::Damaged(error.to_string());
                }
                Taken::More
            }
            Err(error) => Taken::Failed(error),
        }
    }

    /// Nothing follows now. Of a file that nobody writes to for a while, the last record is taken;
    /// one that nobody writes to any more is left.
    fn at_end(&mut self, now: i64, budget: &mut Budget, out: &mut Vec<Record>) -> Taken {
        let Some(open) = &mut self.open else {
            return Taken::All;
        };
        let Ok(stat) = open.stat() else {
            return Taken::All;
        };
        if self.position.size != stat.size {
            self.position.size = stat.size;
            // Not worth a sync by itself: what is bound next says it too.
        }
        let stat = (stat.size, stat.changed);
        let quiet = match self.quiet {
            Some(quiet) if quiet.stat == stat => Quiet {
                ends: quiet.ends.saturating_add(1),
                ..quiet
            },
            _ => Quiet {
                stat,
                since: now,
                ends: 1,
            },
        };
        self.quiet = Some(quiet);
        let still = quiet.ends >= 2 && now.saturating_sub(quiet.since) >= QUIET_NS;
        if still && self.current && !self.gzip && open.has_rest() {
            let before = out.len();
            let all = open.pause(budget, self.position.reread, out);
            if out.len() > before {
                open.mark(&mut self.position);
                self.dirty = true;
            }
            return if all { Taken::All } else { Taken::More };
        }
        if self.gzip || (still && !self.current) {
            if !open.finish(budget, self.position.reread, out) {
                return Taken::More;
            }
            open.mark(&mut self.position);
            self.end();
        }
        Taken::All
    }

    fn end(&mut self) {
        (self.finishing, self.dirty) = (true, true);
    }

    /// Whether it is to be read on.
    pub(crate) fn is_read(&self) -> bool {
        self.position.state == State::Reading && !self.finishing
    }

    /// Bytes that are known and not bound.
    pub(crate) fn lag_bytes(&self) -> u64 {
        if self.position.state != State::Reading {
            return 0;
        }
        let size = match &self.open {
            Some(open) => open.stat().map_or(0, |stat| stat.size),
            None => self.position.size.max(self.seen_size),
        };
        if self.gzip {
            size
        } else {
            size.saturating_sub(self.position.offset)
        }
    }

    /// Bytes that were read since the journal was told, or is being told.
    pub(crate) fn unbound_bytes(&self) -> u64 {
        let told = self.handed.as_ref().unwrap_or(&self.bound);
        self.position.offset.saturating_sub(told.offset)
    }

    /// Whether nothing but reading on has to be undone if the journal does not take it.
    pub(crate) fn is_plain(&self) -> bool {
        !self.finishing
    }

    /// It is on its way into the journal as it is now; reading goes on meanwhile.
    pub(crate) fn hand_over(&mut self) {
        if std::mem::take(&mut self.dirty) {
            self.handed = Some(self.position.clone());
        }
    }

    /// What was handed over is in the journal.
    pub(crate) fn handed_is_bound(&mut self) {
        if let Some(handed) = self.handed.take() {
            self.bound = handed;
        }
    }

    /// As the journal is to have it.
    pub(crate) fn stored(&self, generation: Generation) -> ledger_core::state::Position {
        let mut position = self.position.clone();
        if self.finishing {
            position.state = State::Finished;
        }
        position.stored(generation)
    }

    /// The journal has it as it is.
    pub(crate) fn is_bound(&mut self) {
        if self.finishing {
            self.finishing = false;
            self.open = None;
            self.position.state = State::Finished;
            if !self.present {
                self.position.id = FileId::NONE;
            }
        }
        self.bound = self.position.clone();
        (self.handed, self.dirty) = (None, false);
    }

    /// The journal did not take it: reading goes back to what it has.
    pub(crate) fn rewind(&mut self) {
        self.finishing = false;
        self.dirty |= self.handed.take().is_some();
        let bound = &self.bound;
        if self.position.offset == bound.offset && self.open.as_ref().is_none_or(|o| !o.has_rest())
        {
            return;
        }
        self.position.offset = bound.offset;
        self.position.head.clone_from(&bound.head);
        self.position.tail.clone_from(&bound.tail);
        self.quiet = None;
        let rewound: io::Result<()> = match &mut self.open {
            Some(open) => open.rewind(&self.position),
            None => Ok(()),
        };
        if rewound.is_err() {
            self.open = None;
        }
    }
}
