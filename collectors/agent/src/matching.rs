//! What is there is matched with what is known: by inode first, then by content, never by name
//! alone.
//!
//! A file whose inode is known and whose bytes are not those that were read was cut or replaced. A
//! content that is in no file any more may be in a copy or in a compressed file. Only what is
//! neither is new. Not here: reading.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use ledger_core::Nanos;

use crate::content::{Content, is_beginning_of, is_whole_gzip};
use crate::notice::Notice;
use crate::position::{FileId, Generation, HASHED_BYTES, State, digest};
use crate::sight::{Class, Seen, Sight};
use crate::tailer::{Beginning, Rotated, Tailer};
use crate::tracked::{QUIET_NS, Tracked};

/// Contents that are in no file any more and are still recognised, at most.
const GHOSTS_MAX: usize = 64;
/// A file that is not seen so often in a row is gone: a rename may hide it from one look.
const MISSED_MAX: u32 = 2;

/// Compressed files that may still be written to.
#[derive(Debug, Default)]
pub(crate) struct Settling(BTreeMap<FileId, Settled>);

#[derive(Clone, Copy, Debug)]
struct Settled {
    stat: (u64, i128),
    since: i64,
    whole: bool,
}

impl Settling {
    /// Whether a compressed file is whole, or was not written to for a while.
    fn is_settled(&mut self, seen: &Seen, now: i64) -> bool {
        if !seen.gzip {
            return true;
        }
        let stat = (seen.stat.size, seen.stat.changed);
        let known = self.0.get(&seen.stat.id).filter(|known| known.stat == stat);
        let settled = known.copied().unwrap_or_else(|| Settled {
            stat,
            since: now,
            whole: is_whole_gzip(&seen.path),
        });
        self.0.insert(seen.stat.id, settled);
        settled.whole || now.saturating_sub(settled.since) >= QUIET_NS
    }

    fn forget(&mut self, sight: &Sight) {
        self.0.retain(|id, _| sight.find(id).is_some());
    }
}

impl Tracked {
    /// Reads what a content is recognised by, for one that will not be read.
    pub(crate) fn recognise(&mut self) {
        let head = Content::open_as(&self.path, self.gzip, &self.position.id)
            .and_then(|mut content| content.read(0, HASHED_BYTES))
            .unwrap_or_default();
        self.position.offset = head.len() as u64;
        self.position.head = digest(&head);
        self.position.tail.clone_from(&self.position.head);
    }

    fn is_ghost(&self) -> bool {
        self.position.id == FileId::NONE && self.open.is_none()
    }
}

impl Tailer {
    /// Matches one look.
    pub(crate) fn reconcile(&mut self, sight: &Sight, now: i64, wall: Nanos) {
        let mut claimed = BTreeSet::new();
        let replaced = self.by_inode(sight, &mut claimed);
        let unsure = self.gone(sight, &mut claimed, now, wall);
        for generation in replaced {
            self.replaced(generation, sight, &mut claimed, now, wall);
        }
        if !unsure {
            self.new_files(sight, &claimed, now, wall);
            self.first_look_is_over(sight);
        }
        self.mark_current(sight);
        self.prune();
        self.settling.forget(sight);
    }

    /// Finds the known by their inodes; returns those whose file holds another content now.
    fn by_inode(&mut self, sight: &Sight, claimed: &mut BTreeSet<FileId>) -> Vec<Generation> {
        let mut replaced = Vec::new();
        for (generation, tracked) in &mut self.known {
            tracked.present = false;
            if tracked.position.id == FileId::NONE {
                continue;
            }
            match sight.find(&tracked.position.id) {
                None => tracked.missed = tracked.missed.saturating_add(1),
                // Of two contents that both had this inode, the younger has it.
                Some(seen) if claimed.contains(&seen.stat.id) || !tracked.is_in(seen) => {
                    replaced.push(*generation);
                }
                Some(seen) => {
                    claimed.insert(seen.stat.id);
                    tracked.found(seen);
                    tracked.wake(&seen.stat);
                }
            }
        }
        replaced
    }

    /// Looks for those whose inode is not there. Says whether one of them may still turn up.
    fn gone(
        &mut self,
        sight: &Sight,
        claimed: &mut BTreeSet<FileId>,
        now: i64,
        wall: Nanos,
    ) -> bool {
        let gone: Vec<Generation> = (self.known.iter())
            .filter(|(_, tracked)| tracked.missed > 0 && tracked.open.is_none())
            .map(|(generation, _)| *generation)
            .collect();
        let mut unsure = false;
        for generation in gone {
            let seen = self.elsewhere(generation, sight, claimed, now);
            let Some(tracked) = self.known.get_mut(&generation) else {
                continue;
            };
            if let Some(seen) = seen {
                claimed.insert(seen.stat.id);
                tracked.moved_to(&seen);
                continue;
            }
            if tracked.missed < MISSED_MAX {
                unsure = true;
                continue;
            }
            let was_read = tracked.position.state == State::Reading;
            let notice = Notice::Vanished {
                path: tracked.path.clone(),
                offset: tracked.position.offset,
                unread: tracked.lag_bytes(),
            };
            if tracked.position.offset == 0 {
                self.give_up(generation);
            } else {
                tracked.in_no_file();
                tracked.missed = 0;
            }
            if was_read {
                self.say(&notice, wall);
            }
        }
        unsure
    }

    /// The file that holds a known content, among those that hold none that is known.
    fn elsewhere(
        &mut self,
        generation: Generation,
        sight: &Sight,
        claimed: &BTreeSet<FileId>,
        now: i64,
    ) -> Option<Seen> {
        let position = self.known.get(&generation)?.position.clone();
        let candidates = (sight.files.iter())
            .filter(|seen| !claimed.contains(&seen.stat.id) && !is_known(&self.known, seen));
        for seen in candidates {
            let plausible = seen.gzip || seen.stat.size >= position.offset;
            if !plausible || !self.settling.is_settled(seen, now) {
                continue;
            }
            let found = Content::open_seen(seen).and_then(|mut content| content.is_at(&position));
            if found.unwrap_or(false) {
                return Some(seen.clone());
            }
        }
        None
    }

    /// The file of a known inode holds another content: the old one may be in a copy.
    fn replaced(
        &mut self,
        generation: Generation,
        sight: &Sight,
        claimed: &mut BTreeSet<FileId>,
        now: i64,
        wall: Nanos,
    ) {
        let copy = self.elsewhere(generation, sight, claimed, now);
        let allowed = self.tailing.copytruncate;
        let Some(tracked) = self.known.get_mut(&generation) else {
            return;
        };
        let notice = Notice::Replaced {
            path: tracked.path.clone(),
            offset: tracked.position.offset,
            unread: match copy {
                Some(_) => 0,
                None => tracked
                    .position
                    .size
                    .saturating_sub(tracked.position.offset),
            },
            copy: copy.as_ref().map(|copy| copy.path.clone()),
            allowed,
        };
        if let Some(copy) = copy {
            claimed.insert(copy.stat.id);
            tracked.moved_to(&copy);
        } else if tracked.position.offset == 0 {
            self.give_up(generation);
        } else {
            tracked.in_no_file();
        }
        self.say(&notice, wall);
    }

    /// What holds no known content is new, unless it is a copy in the making.
    fn new_files(&mut self, sight: &Sight, claimed: &BTreeSet<FileId>, now: i64, wall: Nanos) {
        let plain: BTreeSet<PathBuf> = (sight.files.iter())
            .filter(|seen| !seen.gzip)
            .map(|seen| seen.path.clone())
            .collect();
        let mut left: Vec<&Seen> = Vec::new();
        for seen in &sight.files {
            if claimed.contains(&seen.stat.id) || seen.class == Class::Known {
                continue;
            }
            if seen.class == Class::Named && !seen.gzip {
                self.begin(seen, State::Reading, wall);
                continue;
            }
            let being_made = seen.stat.size == 0
                || (seen.gzip && plain.contains(&seen.path.with_extension("")))
                || !self.settling.is_settled(seen, now)
                || self.is_shadow(seen)
                || is_copy_of_named(seen, sight);
            if being_made {
                continue;
            }
            if let Some(generation) = self.ghost_in(seen) {
                if let Some(tracked) = self.known.get_mut(&generation) {
                    tracked.moved_to(seen);
                }
                continue;
            }
            let state = match (self.beginning, self.tailing.rotated) {
                (Beginning::First, Rotated::Leave) if seen.class == Class::Sibling => {
                    left.push(seen);
                    State::Before
                }
                _ => State::Reading,
            };
            self.begin(seen, state, wall);
        }
        if let (Some(oldest), Some(youngest)) = (left.first(), left.last()) {
            let notice = Notice::Left {
                oldest: oldest.path.clone(),
                youngest: youngest.path.clone(),
                files: left.len(),
                bytes: left.iter().map(|seen| seen.stat.size).sum(),
            };
            self.say(&notice, wall);
        }
    }

    /// Whether a file is a copy of one that is there itself, or is open.
    fn is_shadow(&mut self, seen: &Seen) -> bool {
        let copied = |tracked: &mut Tracked| {
            let original = match &mut tracked.open {
                Some(open) if seen.gzip || tracked.current => open.content(),
                _ => return false,
            };
            !original.is_gzip() && is_beginning_of(&seen.path, seen.gzip, original).unwrap_or(false)
        };
        if self.known.values_mut().any(copied) {
            return true;
        }
        // One that was read and is there is not open: its hashes tell.
        seen.gzip
            && self.known.values().any(|tracked| {
                tracked.present && !tracked.gzip && tracked.open.is_none() && holds(seen, tracked)
            })
    }

    /// The content in no file any more that a file holds.
    fn ghost_in(&self, seen: &Seen) -> Option<Generation> {
        let mut ghosts = self.known.iter().filter(|(_, tracked)| tracked.is_ghost());
        ghosts
            .find(|(_, tracked)| holds(seen, tracked))
            .map(|(generation, _)| *generation)
    }

    /// What is there at the beginning of a life that follows a lost one is flagged.
    fn first_look_is_over(&mut self, sight: &Sight) {
        if self.beginning == Beginning::Again {
            for tracked in self.known.values_mut().filter(|tracked| tracked.present) {
                let size = sight
                    .find(&tracked.position.id)
                    .map_or(0, |seen| seen.stat.size);
                tracked.position.reread = if tracked.gzip { u64::MAX } else { size };
                tracked.dirty = true;
            }
        }
        self.beginning = Beginning::GoesOn;
    }

    /// The file that is being written to: the one that is named, or the youngest that fits.
    fn mark_current(&mut self, sight: &Sight) {
        let named = sight
            .files
            .iter()
            .rfind(|seen| seen.class == Class::Named && !seen.gzip);
        for tracked in self.known.values_mut() {
            tracked.current = tracked.present
                && named.is_some_and(|seen| seen.stat.id.may_be(&tracked.position.id));
        }
    }

    /// Contents that are in no file are remembered for a while only.
    fn prune(&mut self) {
        let ghosts: Vec<Generation> = (self.known.iter())
            .filter(|(_, tracked)| tracked.is_ghost())
            .map(|(generation, _)| *generation)
            .collect();
        let over = ghosts.len().saturating_sub(GHOSTS_MAX);
        ghosts
            .into_iter()
            .take(over)
            .for_each(|generation| self.give_up(generation));
    }
}

/// Whether a plain file is a copy of the beginning of the one that is written to: made beside it,
/// or by whoever is about to cut it. At a start nothing is open, so both are looked at by path.
/// What was last written before that file was born is no copy of it, however alike.
fn is_copy_of_named(seen: &Seen, sight: &Sight) -> bool {
    if seen.gzip || seen.class != Class::Sibling {
        return false;
    }
    let older = |born: i64| seen.stat.changed < i128::from(born);
    let mut originals = sight.files.iter().filter(|other| {
        other.class == Class::Named
            && !other.gzip
            && other.stat.size >= seen.stat.size
            && !other.stat.id.born.is_some_and(older)
    });
    originals.any(|other| {
        let original = Content::open_seen(other);
        original
            .and_then(|mut original| is_beginning_of(&seen.path, false, &mut original))
            .unwrap_or(false)
    })
}

fn is_known(known: &BTreeMap<Generation, Tracked>, seen: &Seen) -> bool {
    known
        .values()
        .any(|tracked| tracked.present && tracked.position.id.may_be(&seen.stat.id))
}

fn holds(seen: &Seen, tracked: &Tracked) -> bool {
    let found = Content::open_seen(seen).and_then(|mut content| content.is_at(&tracked.position));
    found.unwrap_or(false)
}
