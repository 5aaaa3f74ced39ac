//! Payloads: every block is read, decompressed, and compared with what its entries commit to.
//!
//! Not here: which bytes of a payload file frames speak of ([`crate::segments`]).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ledger_core::bytes::FormatError;
use ledger_core::frame::BlockRef;
use ledger_core::payload::{
    BLOCK_RAW_MAX, PayloadHeader, SALTS_LEN, StoredPart, StoredPayload, payloads_of, read_block,
    salts_of, stored_commitment,
};
use ledger_core::{Hash, Index, Origin};

use crate::error::VerifyError;
use crate::files::{Opened, Window};
use crate::misdeed::MisdeedKind;
use crate::opened;
use crate::work::Shared;

/// Payload bytes, and entries, that are handed over at once.
const JOB_BYTES: u64 = 1 << 20;
const JOB_ENTRIES: usize = 1 << 13;

/// An open payload file.
pub(crate) struct PayloadFile {
    pub(crate) opened: Opened,
    /// Its name relative to the directory.
    pub(crate) name: String,
}

/// What one frame says of its payloads.
pub(crate) struct FramePayloads {
    /// Where its salts begin.
    pub(crate) start: u64,
    /// Its first entry.
    pub(crate) first: Index,
    pub(crate) blocks: Vec<BlockRef>,
    pub(crate) entries: FrameEntries,
}

/// What checking a frame's payloads needs of its entries.
#[derive(Default)]
pub(crate) struct FrameEntries {
    /// What they commit to.
    pub(crate) commitments: Vec<Hash>,
    /// Those of kind `source`.
    pub(crate) registering: Vec<Index>,
}

/// Frames whose payloads lie one after the other.
pub(crate) struct PayloadJob {
    pub(crate) file: Arc<PayloadFile>,
    pub(crate) frames: Vec<FramePayloads>,
}

/// Frames that wait to be enough for a job.
#[derive(Default)]
pub(crate) struct Waiting {
    pub(crate) frames: Vec<FramePayloads>,
    bytes: u64,
    entries: usize,
}

impl Waiting {
    /// Adds a frame with so many bytes of payloads; `true` if they are enough now.
    pub(crate) fn push(&mut self, frame: FramePayloads, bytes: u64) -> bool {
        self.bytes = self.bytes.saturating_add(bytes);
        self.entries = self.entries.saturating_add(frame.entries.commitments.len());
        self.frames.push(frame);
        self.bytes >= JOB_BYTES || self.entries >= JOB_ENTRIES
    }
}

impl PayloadFile {
    /// Checks the header.
    pub(crate) fn check_header(
        &self,
        first: Index,
        origin: &Origin,
        shared: &Shared<'_>,
    ) -> Result<(), VerifyError> {
        let add = |what| shared.misdeeds.add(&self.name, Some(0), what);
        let mut window = Window::default();
        let Some(bytes) = window.bytes(&self.opened, 0, PayloadHeader::LEN)? else {
            add(MisdeedKind::FileShort {
                expected: PayloadHeader::LEN as u64,
                found: self.opened.len,
            });
            return Ok(());
        };
        match PayloadHeader::decode(bytes) {
            Err(error) => add(MisdeedKind::PayloadHeader(error)),
            Ok(header) => {
                let differs = |field| add(MisdeedKind::PayloadHeaderDiffers { field });
                if header.first != first {
                    differs("first index");
                }
                if header.generation != 0 {
                    differs("generation");
                }
                if header.origin != Hash::sha256(origin.as_str().as_bytes()) {
                    add(MisdeedKind::OtherLog {
                        expected: origin.to_string(),
                    });
                }
            }
        }
        Ok(())
    }
}

/// Reused buffers of whoever checks payloads.
#[derive(Default)]
pub(crate) struct PayloadChecker {
    window: Window,
    salts: Vec<u8>,
}

impl PayloadChecker {
    /// Checks all payloads of a job.
    ///
    /// # Errors
    /// Only if the file cannot be read; what is wrong in it is a misdeed.
    pub(crate) fn check(
        &mut self,
        job: &PayloadJob,
        shared: &Shared<'_>,
    ) -> Result<(), VerifyError> {
        // The window may hold bytes of another file.
        self.window.clear();
        for frame in &job.frames {
            self.check_frame(&job.file, frame, shared)?;
        }
        Ok(())
    }

    fn check_frame(
        &mut self,
        file: &PayloadFile,
        frame: &FramePayloads,
        shared: &Shared<'_>,
    ) -> Result<(), VerifyError> {
        let entries = &frame.entries;
        let salts_len = entries.commitments.len().saturating_mul(SALTS_LEN);
        let salts = self.window.bytes(&file.opened, frame.start, salts_len)?;
        self.salts.clear();
        self.salts.extend_from_slice(salts.unwrap_or_default());
        let mut salts = self.salts.chunks_exact(SALTS_LEN);
        let mut commitments = entries.commitments.iter();
        let mut at = frame.start.saturating_add(salts_len as u64);
        let mut first = frame.first;
        for block in &frame.blocks {
            let error = |error| MisdeedKind::Block { first, error };
            let stored_len = block.stored_len as usize;
            let legal = bounded(block).map_err(error);
            let stored = match legal {
                Ok(()) => self.window.bytes(&file.opened, at, stored_len)?,
                Err(what) => {
                    shared.misdeeds.add(&file.name, Some(at), what);
                    None
                }
            };
            let count = block.entry_count as usize;
            let mut expected = salts.by_ref().zip(commitments.by_ref()).take(count);
            let raw = stored.map(|stored| read_block(block, stored));
            let payloads = match &raw {
                Some(Ok(raw)) => payloads_of(raw, block.entry_count).map_err(error),
                Some(Err(damage)) => Err(error(damage.clone())),
                None => Ok(Vec::new()),
            };
            match payloads {
                Ok(payloads) => {
                    let mut index = first;
                    for (payload, (salts, commitment)) in payloads.iter().zip(&mut expected) {
                        if check_payload(file, at, index, payload, salts, commitment, shared) {
                            take_facts(file, at, index, payload, entries, shared);
                        }
                        index.0 = index.0.saturating_add(1);
                    }
                }
                Err(what) => shared.misdeeds.add(&file.name, Some(at), what),
            }
            // Those of a block that could not be read are passed over.
            expected.for_each(drop);
            at = at.saturating_add(u64::from(block.stored_len));
            first.0 = first.0.saturating_add(u64::from(block.entry_count));
        }
        Ok(())
    }
}

/// Whether a block of several payloads is as short as it must be; other bounds are the frame's.
fn bounded(block: &BlockRef) -> Result<(), FormatError> {
    if block.entry_count > 1 && block.raw_len as usize > BLOCK_RAW_MAX {
        return Err(FormatError::Field {
            what: "payload block",
            field: "raw length",
            value: u64::from(block.raw_len),
        });
    }
    Ok(())
}

/// Whether a payload is what its entry commits to; a misdeed is noted if not.
fn check_payload(
    file: &PayloadFile,
    at: u64,
    index: Index,
    payload: &StoredPayload<'_>,
    salts: &[u8],
    commitment: &Hash,
    shared: &Shared<'_>,
) -> bool {
    let stored = salts_of(salts).map(|salts| stored_commitment(payload, &salts));
    match stored {
        Some(Some(stored)) if stored == *commitment => {
            shared.payloads_checked.fetch_add(1, Ordering::Relaxed);
            let erased = payload
                .iter()
                .filter(|part| matches!(part, StoredPart::Erased(_)))
                .count();
            if erased > 0 {
                shared
                    .parts_erased
                    .fetch_add(erased as u64, Ordering::Relaxed);
            }
            true
        }
        Some(None) => {
            let what = MisdeedKind::SaltNotZero { index };
            shared.misdeeds.add(&file.name, Some(at), what);
            false
        }
        Some(Some(_)) | None => {
            let what = MisdeedKind::CommitmentMismatch { index };
            shared.misdeeds.add(&file.name, Some(at), what);
            false
        }
    }
}

/// Hands committed facts to whoever compares them with something.
fn take_facts(
    file: &PayloadFile,
    at: u64,
    index: Index,
    payload: &StoredPayload<'_>,
    entries: &FrameEntries,
    shared: &Shared<'_>,
) {
    let [StoredPart::Present(facts), ..] = payload else {
        return;
    };
    if index.0 == 0 {
        opened::check(facts, &file.name, at, shared);
    }
    if entries.registering.binary_search(&index).is_ok() {
        let place = (file.name.as_str(), at);
        shared
            .registry
            .register(facts, index, place, &shared.misdeeds);
    }
}
