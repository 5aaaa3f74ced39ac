//! Which files a log has, and which of them it may not have.
//!
//! Not here: what is in them.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use ledger_core::layout::{
    CHECKPOINTS, HASHES, LAST_NOTE, LogFile, array_name, entries_name, parse_array_name,
    parse_name, payloads_name,
};
use ledger_core::{Index, Origin};

use crate::error::VerifyError;
use crate::files::failed;
use crate::misdeed::{MisdeedKind, Misdeeds};
use crate::report::{NotChecked, Tail};

const LOGS: &str = "logs";
/// Files that exist while `last-note` or `checkpoints` is being replaced.
const TEMPORARY: &[&str] = &["last-note.tmp", "checkpoints.new"];

/// The files of one log.
pub(crate) struct Folder {
    dir: PathBuf,
    /// `logs/<tenant>/<label>`.
    pub(crate) name: String,
    /// The segments in their order, each with what is there of it.
    pub(crate) segments: BTreeMap<Index, SegmentFiles>,
    /// Array files, by tile level and chunk: how long they were when they were listed, before any
    /// entry was read.
    pub(crate) arrays: BTreeMap<(u8, u64), u64>,
    /// How many files the log has.
    pub(crate) files: u64,
    /// Their lengths together.
    pub(crate) bytes: u64,
    /// The lengths of entries and payload files together.
    pub(crate) segment_bytes: u64,
    has_note: bool,
    has_history: bool,
    has_hashes: bool,
}

/// Which files of a segment are there.
#[derive(Clone, Copy, Default)]
pub(crate) struct SegmentFiles {
    pub(crate) entries: bool,
    pub(crate) payloads: bool,
}

/// What a listing may say.
pub(crate) struct Listing<'a> {
    pub(crate) tail: Tail,
    pub(crate) misdeeds: &'a Misdeeds,
    pub(crate) not_checked: &'a mut Vec<NotChecked>,
}

/// Lists everything under `logs/` of `dir`, and the files of the log `origin` among it.
///
/// # Errors
/// No such log, or a folder that cannot be read.
pub(crate) fn list(
    dir: &Path,
    origin: &Origin,
    listing: &mut Listing<'_>,
) -> Result<Folder, VerifyError> {
    let mut parts = origin.as_str().rsplitn(3, '/');
    let (label, tenant, deployment) = (parts.next(), parts.next(), parts.next());
    let safe = |part: &&str| !part.is_empty() && *part != "." && *part != "..";
    let (Some(label), Some(tenant), Some(_)) =
        (label.filter(safe), tenant.filter(safe), deployment)
    else {
        return Err(VerifyError::Origin {
            origin: origin.to_string(),
        });
    };
    let name = format!("{LOGS}/{tenant}/{label}");
    let is_there = |name: &str| fs::symlink_metadata(dir.join(name)).is_ok_and(|m| m.is_dir());
    if !is_there(LOGS) || !is_there(&format!("{LOGS}/{tenant}")) || !is_there(&name) {
        return Err(VerifyError::NoLog {
            dir: dir.to_owned(),
            origin: origin.to_string(),
        });
    }
    let mut folder = Folder {
        dir: dir.to_owned(),
        name: name.clone(),
        segments: BTreeMap::new(),
        arrays: BTreeMap::new(),
        files: 0,
        bytes: 0,
        segment_bytes: 0,
        has_note: false,
        has_history: false,
        has_hashes: false,
    };
    for tenant in folder.children(LOGS, listing)? {
        let tenant = format!("{LOGS}/{tenant}");
        if !folder.is_folder(&tenant, listing)? {
            continue;
        }
        let labels = folder.children(&tenant, listing)?;
        if labels.is_empty() {
            listing
                .misdeeds
                .add(&tenant, None, MisdeedKind::UnknownFile);
        }
        for label in labels {
            let label = format!("{tenant}/{label}");
            if !folder.is_folder(&label, listing)? {
                continue;
            }
            if label == name {
                folder.take_log(listing)?;
            } else {
                folder.note_other(label, listing);
            }
        }
    }
    folder.miss(listing.misdeeds);
    Ok(folder)
}

impl Folder {
    /// A name relative to the directory.
    pub(crate) fn relative(&self, file: &str) -> String {
        format!("{}/{file}", self.name)
    }

    /// Where a file of the log lies.
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir.join(&self.name).join(file)
    }

    /// Whether both files of a segment are there now.
    pub(crate) fn has_segment(&self, first: Index) -> bool {
        let (entries, payloads) = segment_names(first);
        self.path(&entries).is_file() && self.path(&payloads).is_file()
    }

    /// Whether `last-note` and `checkpoints` are there.
    pub(crate) fn has_notes(&self) -> (bool, bool) {
        (self.has_note, self.has_history)
    }

    /// The sorted names in a folder.
    fn children(&self, folder: &str, listing: &Listing<'_>) -> Result<Vec<String>, VerifyError> {
        let path = self.dir.join(folder);
        let mut names = Vec::new();
        for child in fs::read_dir(&path).map_err(failed(&path))? {
            match child.map_err(failed(&path))?.file_name().into_string() {
                Ok(name) => names.push(name),
                Err(name) => {
                    let file = format!("{folder}/{}", name.to_string_lossy());
                    listing.misdeeds.add(&file, None, MisdeedKind::UnknownFile);
                }
            }
        }
        names.sort();
        Ok(names)
    }

    /// Whether a folder of logs is one; a misdeed is noted if it is not.
    fn is_folder(&self, name: &str, listing: &Listing<'_>) -> Result<bool, VerifyError> {
        let path = self.dir.join(name);
        let metadata = fs::symlink_metadata(&path).map_err(failed(&path))?;
        if metadata.is_symlink() {
            listing.misdeeds.add(name, None, MisdeedKind::SymbolicLink);
        } else if !metadata.is_dir() {
            listing.misdeeds.add(name, None, MisdeedKind::UnknownFile);
        }
        Ok(metadata.is_dir())
    }

    /// Another folder beside the log's: another log, or nothing that belongs there.
    fn note_other(&self, folder: String, listing: &mut Listing<'_>) {
        let first = self.dir.join(&folder).join(entries_name(Index(0)));
        if fs::symlink_metadata(first).is_ok_and(|metadata| metadata.is_file()) {
            listing.not_checked.push(NotChecked::OtherLog { folder });
        } else {
            listing
                .misdeeds
                .add(&folder, None, MisdeedKind::UnknownFile);
        }
    }

    fn take_log(&mut self, listing: &mut Listing<'_>) -> Result<(), VerifyError> {
        for name in self.children(&self.name, listing)? {
            let Some(file) = parse_name(&name) else {
                self.refuse_name(&name, listing);
                continue;
            };
            let Some(len) = self.length(&name, file == LogFile::Hashes, listing)? else {
                continue;
            };
            match file {
                LogFile::Entries(first) => {
                    self.segments.entry(first).or_default().entries = true;
                    self.segment_bytes = self.segment_bytes.saturating_add(len);
                }
                LogFile::Payloads(first, 0) => {
                    self.segments.entry(first).or_default().payloads = true;
                    self.segment_bytes = self.segment_bytes.saturating_add(len);
                }
                LogFile::Payloads(_, generation) => {
                    let what = MisdeedKind::LaterGeneration { generation };
                    listing.misdeeds.add(&self.relative(&name), None, what);
                }
                LogFile::LastNote => self.has_note = true,
                LogFile::Checkpoints => self.has_history = true,
                LogFile::Hashes => {
                    self.has_hashes = true;
                    self.take_arrays(listing)?;
                }
            }
        }
        Ok(())
    }

    fn take_arrays(&mut self, listing: &mut Listing<'_>) -> Result<(), VerifyError> {
        for name in self.children(&self.relative(HASHES), listing)? {
            let name = format!("{HASHES}/{name}");
            let parsed = name
                .strip_prefix("hashes/")
                .and_then(parse_array_name)
                .filter(|(level, _)| *level < ledger_core::tile::TILE_LEVELS_USED);
            match parsed {
                Some(array) => {
                    if let Some(len) = self.length(&name, false, listing)? {
                        self.arrays.insert(array, len);
                    }
                }
                None => self.refuse_name(&name, listing),
            }
        }
        Ok(())
    }

    /// The length of a file of the log; `None`, with a misdeed noted, if it is no regular file
    /// (no folder, where `folder` is expected).
    fn length(
        &mut self,
        name: &str,
        folder: bool,
        listing: &Listing<'_>,
    ) -> Result<Option<u64>, VerifyError> {
        let path = self.path(name);
        let metadata = match fs::symlink_metadata(&path) {
            // A writer replaces and finishes files while they are listed.
            Err(error)
                if error.kind() == ErrorKind::NotFound && listing.tail == Tail::BeingWritten =>
            {
                return Ok(None);
            }
            other => other.map_err(failed(&path))?,
        };
        let wrong = match (metadata.is_symlink(), folder) {
            (true, _) => Some(MisdeedKind::SymbolicLink),
            (false, true) if !metadata.is_dir() => Some(MisdeedKind::FileKind {
                expected: "a folder",
            }),
            (false, false) if !metadata.is_file() => Some(MisdeedKind::FileKind {
                expected: "a regular file",
            }),
            (false, _) => None,
        };
        if let Some(what) = wrong {
            listing.misdeeds.add(&self.relative(name), None, what);
            return Ok(None);
        }
        if !folder {
            self.files = self.files.saturating_add(1);
            self.bytes = self.bytes.saturating_add(metadata.len());
        }
        Ok(Some(metadata.len()))
    }

    fn refuse_name(&self, name: &str, listing: &mut Listing<'_>) {
        let temporary = TEMPORARY.contains(&name);
        let file = self.relative(name);
        match (temporary, listing.tail) {
            (true, Tail::BeingWritten) => {
                listing.not_checked.push(NotChecked::BeingWritten { file });
            }
            (true, Tail::AtRest) => listing.misdeeds.add(&file, None, MisdeedKind::LeftBehind),
            (false, _) => listing.misdeeds.add(&file, None, MisdeedKind::UnknownFile),
        }
    }

    /// Names what every log has and this one has not.
    fn miss(&self, misdeeds: &Misdeeds) {
        let first = entries_name(Index(0));
        let needed = [
            (self.has_note, LAST_NOTE),
            (self.has_history, CHECKPOINTS),
            (self.has_hashes, HASHES),
            (!self.segments.is_empty(), first.as_str()),
        ];
        for (_, name) in needed.iter().filter(|(there, _)| !there) {
            misdeeds.add(&self.relative(name), None, MisdeedKind::FileMissing);
        }
    }
}

/// `hashes/<level>.<chunk>`.
pub(crate) fn array_file(level: u8, chunk: u64) -> String {
    format!("{HASHES}/{}", array_name(level, chunk))
}

/// The names of a segment's two files.
pub(crate) fn segment_names(first: Index) -> (String, String) {
    (entries_name(first), payloads_name(first, 0))
}
