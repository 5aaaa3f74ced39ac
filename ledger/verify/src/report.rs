//! What verification is asked and what it answers.
//!
//! Not here: how a program prints it (api/cli).

use std::collections::BTreeMap;
use std::fmt;

use ledger_core::{Checkpoint, Hash, Kind, TreeSize};

use crate::misdeed::Misdeed;

/// What to verify beyond the files themselves.
#[derive(Clone, Debug, Default)]
pub struct VerifyOptions {
    /// A checkpoint that the auditor kept: the bytes of a signed note of the same log. The log must
    /// extend it.
    pub since: Option<Vec<u8>>,
    /// Whether a writer is at work in the directory.
    pub tail: Tail,
}

/// Whether the end of a log stands still.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Tail {
    /// Nobody writes: every byte must be as the formats say.
    #[default]
    AtRest,
    /// A server is appending while the files are read: what lies after the last whole frame is not
    /// checked, and the report says so.
    BeingWritten,
}

/// How far verification has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// Entries whose leaves were recomputed.
    pub entries: u64,
    /// Bytes of entries and payload files that were read.
    pub bytes: u64,
    /// Bytes that there are to read, or 0 if that is not known.
    pub bytes_total: u64,
}

/// What was verified, what was not, and what is wrong.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// The newest checkpoint that holds against the trust file. `None` only if a misdeed says why.
    pub checkpoint: Option<Checkpoint>,
    /// The time that its ML-DSA-44 signature states, in Unix seconds.
    pub pq_timestamp: u64,
    /// The witnesses that cosigned it.
    pub cosigners: Vec<String>,
    /// How many entries were read and hashed.
    pub entries: u64,
    /// The root that they lead to.
    pub root: Hash,
    /// Entries that no checkpoint covers yet.
    pub not_yet_signed: u64,
    /// Payloads that were compared with their commitments.
    pub payloads_checked: u64,
    /// Payloads that were not there to be compared, as in tiles. Not 0 means: verified in part.
    pub payloads_not_checked: u64,
    /// Parts of payloads that are erased: their commitments were checked, their contents are gone.
    pub parts_erased: u64,
    /// Entries of kinds, or with flags, that this version does not know, by kind.
    pub not_understood: BTreeMap<Kind, u64>,
    /// Kept checkpoints whose signatures and roots were checked.
    pub checkpoints_checked: u64,
    /// The size of the auditor's own checkpoint, if one was given and is met.
    pub since: Option<TreeSize>,
    /// Files (or tiles) that were read.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What this verification says nothing about.
    pub not_checked: Vec<NotChecked>,
    /// What is wrong, at most [`crate::MISDEEDS_MAX`] of it. Empty: verified.
    pub misdeeds: Vec<Misdeed>,
    /// How many misdeeds more there are.
    pub misdeeds_beyond: u64,
}

impl Report {
    /// Whether nothing wrong was found. What was not checked is another question.
    pub fn verified(&self) -> bool {
        self.misdeeds.is_empty() && self.misdeeds_beyond == 0
    }

    /// Adds what no verification of a log can say, and what follows from the counts.
    pub(crate) fn close(&mut self, opened_checked: bool) {
        let signed = self.checkpoint.as_ref().map_or(0, |head| head.size.0);
        self.not_yet_signed = self.entries.saturating_sub(signed);
        let mut counted = |count: u64, what: NotChecked| {
            if count > 0 {
                self.not_checked.push(what);
            }
        };
        let count = self.not_yet_signed;
        counted(count, NotChecked::NotYetSigned { count });
        let count = self.payloads_not_checked;
        counted(count, NotChecked::Payloads { count });
        let count = self.parts_erased;
        counted(count, NotChecked::ErasedParts { count });
        let count = self.not_understood.values().sum();
        counted(count, NotChecked::NotUnderstood { count });
        if !opened_checked {
            self.not_checked.push(NotChecked::Opened);
        }
        if self.cosigners.is_empty() {
            self.not_checked
                .extend([NotChecked::Time, NotChecked::SoleHistory]);
        }
        self.not_checked.push(NotChecked::Coverage);
    }
}

/// Something that a verification says nothing about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotChecked {
    /// The log's clock is its operator's, and no witness vouches for it.
    Time,
    /// The same keys could have signed another history, and no witness vouches that they did not.
    SoleHistory,
    /// Whether all that happened was recorded.
    Coverage,
    /// Another log in the same directory.
    OtherLog {
        /// Its folder, relative to the directory.
        folder: String,
    },
    /// Contents of erased parts.
    ErasedParts {
        /// How many.
        count: u64,
    },
    /// Payloads, because tiles hold none.
    Payloads {
        /// Of how many entries.
        count: u64,
    },
    /// Entries themselves: only their hashes were given.
    Entries {
        /// How many.
        count: u64,
    },
    /// Meanings of entries of a later version.
    NotUnderstood {
        /// How many.
        count: u64,
    },
    /// What the first entry says of the log's keys, because that part is erased or not there.
    Opened,
    /// Names, platforms and ways of signing of sources whose `source` entries cannot be read.
    Registrations {
        /// Of how many sources.
        count: u64,
    },
    /// What lies beside the entries and is bound to nothing signed: positions, short MACs, and the
    /// epoch of a source that sent nothing in it.
    Unbound,
    /// Everything in the log after a damaged place.
    AfterDamage {
        /// How many entries come before.
        size: TreeSize,
    },
    /// Hashes that an unfinished segment does not have on disk yet; recovery computes them.
    HashesBehind {
        /// How many.
        count: u64,
    },
    /// The last segment is unfinished: the log was interrupted, or its end was cut away.
    Interrupted,
    /// The last note is newer than the newest kept checkpoint, as after an interruption.
    HistoryBehind,
    /// What is left out because a server is writing.
    Running {
        /// The entries that were read.
        size: TreeSize,
        /// The size of the checkpoint that was the last one when reading began.
        signed: TreeSize,
    },
    /// What a running writer is in the middle of.
    BeingWritten {
        /// The file.
        file: String,
    },
    /// What covers entries after the last checkpoint: only the next one will.
    NotYetSigned {
        /// How many.
        count: u64,
    },
}

impl fmt::Display for NotChecked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotChecked::Time => {
                f.write_str("time: ledger times and signing times are the operator's word")
            }
            NotChecked::SoleHistory => f.write_str(
                "sole history: whoever holds both keys could show others another log; compare \
                 checkpoints, or have witnesses cosign",
            ),
            NotChecked::Coverage => {
                f.write_str("coverage: what was never recorded leaves no trace here")
            }
            NotChecked::OtherLog { folder } => {
                write!(
                    f,
                    "{folder}: another log, verify it with its own trust file"
                )
            }
            NotChecked::ErasedParts { count } => write!(
                f,
                "{count} erased parts: their commitments hold, their contents are gone"
            ),
            NotChecked::Payloads { count } => write!(
                f,
                "payloads of {count} entries: tiles hold none, verify the directory for them"
            ),
            NotChecked::Entries { count } => write!(
                f,
                "{count} entries: only their hashes are given, not the entries"
            ),
            NotChecked::NotUnderstood { count } => write!(
                f,
                "the meaning of {count} entries of kinds or flags that this version does not know"
            ),
            NotChecked::Opened => f.write_str(
                "what the first entry says of the log's keys: it is erased or not given",
            ),
            NotChecked::Registrations { count } => write!(
                f,
                "name, platform and way of signing of {count} sources: what registered them is \
                 erased or not there"
            ),
            NotChecked::Unbound => f.write_str(
                "positions of readers, short MACs of messages, and epochs without a message yet: \
                 they lie beside the entries, and no signature covers them",
            ),
            end => end.fmt_end(f),
        }
    }
}

impl NotChecked {
    /// What is said of the end of a log, and of where reading ended.
    fn fmt_end(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotChecked::AfterDamage { size } => write!(
                f,
                "everything after the first {size} entries: a damaged place comes before"
            ),
            NotChecked::HashesBehind { count } => write!(
                f,
                "{count} stored hashes of the unfinished segment: not on disk yet, the next start \
                 computes them"
            ),
            NotChecked::Interrupted => f.write_str(
                "whether entries after the last checkpoint are missing: the log was not stopped \
                 cleanly",
            ),
            NotChecked::HistoryBehind => f.write_str(
                "whether a kept checkpoint was removed from the end of the history: the last note \
                 is newer, as after an interruption",
            ),
            NotChecked::Running { size, signed } => write!(
                f,
                "a server is writing: all that it adds after the first {size} entries, bytes \
                 behind the last frame and its payloads, and whether hashes past the checkpoint \
                 of {signed} entries are all on disk"
            ),
            NotChecked::BeingWritten { file } => {
                write!(f, "the end of {file}: a server is writing there")
            }
            NotChecked::NotYetSigned { count } => {
                write!(
                    f,
                    "{count} entries at the end: no checkpoint covers them yet"
                )
            }
            // Said by the caller. A new variant finds its place here or there.
            NotChecked::Time
            | NotChecked::SoleHistory
            | NotChecked::Coverage
            | NotChecked::OtherLog { .. }
            | NotChecked::ErasedParts { .. }
            | NotChecked::Payloads { .. }
            | NotChecked::Entries { .. }
            | NotChecked::NotUnderstood { .. }
            | NotChecked::Opened
            | NotChecked::Registrations { .. }
            | NotChecked::Unbound => Ok(()),
        }
    }
}
