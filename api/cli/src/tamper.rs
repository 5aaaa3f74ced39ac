//! Misdeeds, done to a copy of a log, so that the demo (and a test) can show that each is refused.
//!
//! Not here: any way to do them to a log that is in use: every function takes a copy made here.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use keys_public::{Signer as _, TrustFile, trust_file_for};
use keys_secret::{Keystore, LocalSigner};
use ledger_core::bytes::FormatError;
use ledger_core::frame::{Frame, FrameBody, FrameHeader};
use ledger_core::layout::{ARRAY_CHUNK, HASHES, LAST_NOTE, LogFile, array_name, parse_name};
use ledger_core::segment::SegmentHeader;
use ledger_core::{Checkpoint, Entry, Hash, Index, Nanos};
use ledger_log::LogPaths;
use thiserror::Error;

/// A copy of an installation's log, without keys.
#[derive(Debug)]
pub(crate) struct Copy {
    root: PathBuf,
    folder: PathBuf,
}

/// Why a misdeed was not done.
#[derive(Debug, Error)]
pub(crate) enum TamperError {
    /// A file.
    #[error("{} cannot be changed: {error}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// The copy is not as a log must be.
    #[error("the copy is no log: {0}")]
    Format(#[from] FormatError),
    /// There is no such file or frame in the log.
    #[error("the log has no {what} to change")]
    Nothing {
        /// What.
        what: &'static str,
    },
    /// Other keys could not be made, or did not sign.
    #[error("other keys did not sign: {reason}")]
    Sign {
        /// Why.
        reason: String,
    },
}

impl Copy {
    /// Copies the log of `paths` to the new folder `root`.
    pub(crate) fn of(paths: &LogPaths, root: &Path) -> Result<Copy, TamperError> {
        let copied = LogPaths::of_origin(root, paths.origin())
            .map_err(|_| TamperError::Nothing { what: "folder" })?;
        copy_folder(&paths.folder(), &copied.folder())?;
        Ok(Copy {
            root: root.to_owned(),
            folder: copied.folder(),
        })
    }

    /// What `custody verify` is given.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Changes one bit of one byte in the middle of the largest payload file.
    pub(crate) fn change_payload(&self) -> Result<(), TamperError> {
        let payloads = |file: &LogFile| matches!(file, LogFile::Payloads(..));
        let path = self.best(payloads, |_, len| len)?;
        let mut bytes = read(&path)?;
        // What was grown ahead and never used is zero; the middle of the rest is a payload.
        let used = bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .unwrap_or_default();
        let byte = bytes
            .get_mut(used / 2)
            .ok_or(TamperError::Nothing { what: "payload" })?;
        *byte ^= 1;
        write(&path, &bytes)
    }

    /// Makes a success of entry `index`, and the frame's checksums and the stored hash fit again.
    pub(crate) fn make_success(&self, index: Index) -> Result<(), TamperError> {
        let (path, bytes, place) = self.frame_of(index)?;
        let body = bytes
            .get(place.start + FrameHeader::LEN..place.end)
            .unwrap_or_default();
        let frame = Frame::decode(place.header, body)?;
        let mut entries = Vec::new();
        for (number, bytes) in (place.header.first.0..).zip(frame.entry_bytes()) {
            let mut entry = Entry::decode(bytes)?;
            if number == index.0 {
                entry.status = OCSF_SUCCESS;
                self.write_leaf(index, &entry.leaf())?;
            }
            entries.extend_from_slice(&entry.encode());
        }
        let macs = frame.macs().flat_map(|mac| mac.0).collect();
        let Frame {
            blocks,
            sources,
            positions,
            ..
        } = frame;
        let changed = FrameBody {
            entries,
            macs,
            blocks,
            sources,
            positions,
        };
        replace(&path, &bytes, &place, &changed.encode(place.header))
    }

    /// Writes the hash of an entry where the log keeps it.
    fn write_leaf(&self, index: Index, leaf: &Hash) -> Result<(), TamperError> {
        let name = array_name(0, index.0 / ARRAY_CHUNK);
        let path = self.folder.join(HASHES).join(name);
        let mut bytes = read(&path)?;
        let at = usize::try_from(index.0 % ARRAY_CHUNK).unwrap_or(usize::MAX);
        let hashes = bytes.chunks_exact_mut(Hash::LEN).nth(at);
        let hash = hashes.ok_or(TamperError::Nothing { what: "hash" })?;
        hash.copy_from_slice(&leaf.0);
        write(&path, &bytes)
    }

    /// Cuts the frame with entry `index` out of its entries file, as if it had never been there.
    pub(crate) fn remove_frame(&self, index: Index) -> Result<(), TamperError> {
        let (path, bytes, place) = self.frame_of(index)?;
        replace(&path, &bytes, &place, &[])
    }

    /// The file with the frame that holds `index`, its bytes, and where the frame lies.
    fn frame_of(&self, index: Index) -> Result<(PathBuf, Vec<u8>, Place), TamperError> {
        let entries = |file: &LogFile| matches!(file, LogFile::Entries(first) if *first <= index);
        let path = self.best(entries, |file, _| match file {
            LogFile::Entries(first) => first.0,
            _ => 0,
        })?;
        let bytes = read(&path)?;
        let mut start = SegmentHeader::length(&bytes)?;
        while let Some(rest) = bytes
            .get(start..)
            .filter(|rest| rest.len() >= FrameHeader::LEN)
        {
            let header = FrameHeader::decode(rest)?;
            let end = start + FrameHeader::LEN + header.body_len as usize;
            if header.first <= index && index.0 < header.size_after().0 {
                return Ok((path, bytes, Place { start, end, header }));
            }
            start = end;
        }
        Err(TamperError::Nothing { what: "frame" })
    }

    /// Signs the same checkpoint with two fresh keys of the same names, as somebody would who has
    /// the files but not the keys.
    pub(crate) fn sign_anew(&self, checkpoint: &Checkpoint, at: Nanos) -> Result<(), TamperError> {
        let failed = |error: &dyn std::error::Error| TamperError::Sign {
            reason: error.to_string(),
        };
        let keys = Keystore::create(&self.root.join("keys"), &checkpoint.origin, "main")
            .map_err(|error| failed(&error))?;
        let pair = keys
            .log_signing_keys(&checkpoint.origin)
            .map_err(|error| failed(&error))?;
        let trust =
            TrustFile::parse(&trust_file_for(pair.public())).map_err(|error| failed(&error))?;
        let state = self.root.join("other-note");
        let mut signer = LocalSigner::create(pair, &state, &trust, at, Box::new(|_| Ok(())))
            .map_err(|error| failed(&error))?;
        let note = signer
            .sign(checkpoint, at, &[])
            .map_err(|error| failed(&error))?;
        write(&self.folder.join(LAST_NOTE), &note.encode())
    }

    /// The file that is wanted and is the first by `rank`, which is given its name and length.
    fn best(
        &self,
        wanted: impl Fn(&LogFile) -> bool,
        rank: impl Fn(&LogFile, u64) -> u64,
    ) -> Result<PathBuf, TamperError> {
        let items = fs::read_dir(&self.folder).map_err(failed(&self.folder))?;
        let found = items.flatten().filter_map(|item| {
            let file = item
                .file_name()
                .to_str()
                .and_then(parse_name)
                .filter(&wanted)?;
            let len = item.metadata().map_or(0, |metadata| metadata.len());
            Some((rank(&file, len), item.path()))
        });
        let best = found.max_by_key(|(rank, _)| *rank);
        best.map(|(_, path)| path)
            .ok_or(TamperError::Nothing { what: "such file" })
    }
}

/// Where a frame lies in its file.
struct Place {
    start: usize,
    end: usize,
    header: FrameHeader,
}

/// OCSF's `status_id` of what succeeded.
const OCSF_SUCCESS: u8 = 1;

/// Writes the file with other bytes in the place of the frame.
fn replace(path: &Path, bytes: &[u8], place: &Place, by: &[u8]) -> Result<(), TamperError> {
    let mut out = bytes.get(..place.start).unwrap_or_default().to_vec();
    out.extend_from_slice(by);
    out.extend_from_slice(bytes.get(place.end..).unwrap_or_default());
    write(path, &out)
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> TamperError {
    let path = path.to_owned();
    move |error| TamperError::Io { path, error }
}

fn read(path: &Path) -> Result<Vec<u8>, TamperError> {
    fs::read(path).map_err(failed(path))
}

/// Finished files may be read-only; the copy is ours.
fn write(path: &Path, bytes: &[u8]) -> Result<(), TamperError> {
    if path.exists() {
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed(path))?;
    }
    fs::write(path, bytes).map_err(failed(path))
}

fn copy_folder(from: &Path, to: &Path) -> Result<(), TamperError> {
    fs::create_dir_all(to).map_err(failed(to))?;
    for item in fs::read_dir(from).map_err(failed(from))? {
        let item = item.map_err(failed(from))?;
        let target = to.join(item.file_name());
        if item.path().is_dir() {
            copy_folder(&item.path(), &target)?;
        } else {
            fs::copy(item.path(), &target).map_err(failed(&target))?;
        }
    }
    Ok(())
}
