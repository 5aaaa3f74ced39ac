//! A frame's payloads, read by position.
//!
//! Not here: whether they match what the entries commit to (the reader checks).

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use ledger_core::bytes::FormatError;
use ledger_core::frame::FrameHeader;
use ledger_core::layout::payloads_name;
use ledger_core::payload::{SALTS_LEN, StoredPart, salts_of};
use ledger_core::{Hash, Index, PART_COUNT, Salt};

use crate::error::ReadError;

/// One part of a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnedPart {
    /// There never was one.
    Absent,
    /// Its bytes.
    Present(Vec<u8>),
    /// It was erased; this is what it was committed to with.
    Erased(Hash),
}

impl OwnedPart {
    /// The bytes, if they are there.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            OwnedPart::Present(bytes) => Some(bytes),
            OwnedPart::Absent | OwnedPart::Erased(_) => None,
        }
    }
}

pub(crate) fn owned(part: StoredPart<'_>) -> OwnedPart {
    match part {
        StoredPart::Absent => OwnedPart::Absent,
        StoredPart::Present(bytes) => OwnedPart::Present(bytes.to_vec()),
        StoredPart::Erased(hash) => OwnedPart::Erased(hash),
    }
}

/// A frame's payloads, with its salts read at once.
pub(crate) struct Payloads {
    header: FrameHeader,
    file: File,
    path: PathBuf,
    salts: Vec<u8>,
}

impl Payloads {
    /// The payloads of the frame with this header in the segment `segment`.
    pub(crate) fn open(
        folder: &Path,
        segment: Index,
        header: FrameHeader,
    ) -> Result<Payloads, ReadError> {
        let path = folder.join(payloads_name(segment, 0));
        let file = File::open(&path).map_err(|error| ReadError::Io {
            path: path.clone(),
            error,
        })?;
        let mut payloads = Payloads {
            header,
            file,
            path,
            salts: Vec::new(),
        };
        let len = header.entry_count as usize * SALTS_LEN;
        payloads.salts = payloads.read(header.payload_start, len)?;
        Ok(payloads)
    }

    /// `len` bytes at `at`.
    pub(crate) fn read(&self, at: u64, len: usize) -> Result<Vec<u8>, ReadError> {
        let mut bytes = vec![0; len];
        let failed = |error| ReadError::Io {
            path: self.path.clone(),
            error,
        };
        self.file.read_exact_at(&mut bytes, at).map_err(failed)?;
        Ok(bytes)
    }

    /// The error for bytes that are not as written.
    pub(crate) fn damaged(&self, at: u64, error: FormatError) -> ReadError {
        ReadError::Damaged {
            path: self.path.clone(),
            at,
            error,
        }
    }

    /// The three salts of one entry of the frame.
    pub(crate) fn salts(&self, index: Index) -> Result<[Salt; PART_COUNT], ReadError> {
        let number = usize::try_from(index.0 - self.header.first.0).unwrap_or(usize::MAX);
        let range = number * SALTS_LEN..(number + 1) * SALTS_LEN;
        let bytes = self.salts.get(range).and_then(salts_of);
        let short = || FormatError::Short {
            what: "salts",
            at: 0,
            needed: SALTS_LEN,
        };
        bytes.ok_or_else(|| self.damaged(self.header.payload_start, short()))
    }
}
