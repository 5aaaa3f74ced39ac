//! The baseline: one thread that does what must be done to the same bytes and nothing else —
//! commitments, leaf and tree hashes, zstd, two writes and two syncs a batch.
//!
//! Not here: parsing, masking, numbers, frames, checkpoints.

use std::path::Path;
use std::time::{Duration, Instant};

use ledger_core::payload::{
    BLOCK_RAW_MAX, BlockWriter, StoredPart, put_payload, stored_commitment,
};
use ledger_core::{Entry, Hash, PART_COUNT, RightEdge, Salt, leaf_hash};
use ledger_event::{Event, PartsBuf};

use super::{AppendPlan, BenchError};
use crate::files::GrownFile;

/// The three parts of an event, split beforehand.
type Split = [Option<Vec<u8>>; PART_COUNT];

/// The wall time of the raw loop over as many events as the plan says.
pub(super) fn run(
    folder: &Path,
    plan: &AppendPlan,
    pool: &[Vec<u8>],
) -> Result<Duration, BenchError> {
    std::fs::create_dir_all(folder)?;
    let split = pool
        .iter()
        .map(|value| split(value))
        .collect::<Result<Vec<_>, _>>()?;
    let mut payloads = GrownFile::create(&folder.join("payloads"), 32 << 20)?;
    let mut entries = GrownFile::create(&folder.join("entries"), 8 << 20)?;
    let mut blocks = BlockWriter::new().map_err(crate::WriteError::from)?;
    let mut edge = RightEdge::new();
    let mut done = 0u64;
    let started = Instant::now();
    while done < plan.entries {
        let count = (plan.entries - done).min(plan.batch as u64);
        let mut frame = Vec::with_capacity(plan.batch * 96);
        let mut chunk = vec![0u8; plan.batch * PART_COUNT * Salt::LEN];
        getrandom::fill(&mut chunk).map_err(|_| crate::WriteError::Random)?;
        let salts: Vec<Salt> = chunk
            .as_chunks::<{ Salt::LEN }>()
            .0
            .iter()
            .map(|bytes| Salt(*bytes))
            .collect();
        let mut block = Vec::with_capacity(BLOCK_RAW_MAX);
        for n in 0..count {
            let at = usize::try_from(done + n).unwrap_or(0) % split.len();
            let Some(parts) = split.get(at) else { continue };
            let stored = stored(parts);
            let mut own = [Salt::ZERO; PART_COUNT];
            for (number, (salt, part)) in own.iter_mut().zip(&stored).enumerate() {
                if *part != StoredPart::Absent {
                    let at = usize::try_from(n).unwrap_or(0) * PART_COUNT + number;
                    *salt = salts.get(at).copied().unwrap_or_default();
                }
            }
            let commitment = stored_commitment(&stored, &own).unwrap_or_default();
            edge.push(put_record(&mut frame, commitment));
            put_payload(&mut block, &stored);
            if block.len() > BLOCK_RAW_MAX - 1024 {
                blocks
                    .put(&block, 2, &mut chunk)
                    .map_err(crate::WriteError::from)?;
                block.clear();
            }
        }
        blocks
            .put(&block, 2, &mut chunk)
            .map_err(crate::WriteError::from)?;
        payloads.append(&chunk)?;
        payloads.sync()?;
        entries.append(&frame)?;
        entries.sync()?;
        done += count;
    }
    let spent = started.elapsed();
    // The root is used, so that no hash can be left out.
    assert_ne!(edge.root(), Hash::ZERO);
    Ok(spent)
}

fn put_record(frame: &mut Vec<u8>, commitment: Hash) -> Hash {
    let mut record = [7u8; Entry::LEN];
    if let Some(field) = record.last_chunk_mut() {
        *field = commitment.0;
    }
    frame.extend_from_slice(&record);
    frame.extend_from_slice(&[0; 16]);
    leaf_hash(&record)
}

fn stored(parts: &Split) -> [StoredPart<'_>; PART_COUNT] {
    parts.each_ref().map(|part| {
        part.as_deref()
            .map_or(StoredPart::Absent, StoredPart::Present)
    })
}

pub(super) fn split(value: &[u8]) -> Result<Split, BenchError> {
    let event = Event::parse(value)?;
    let mut parts = PartsBuf::default();
    event.write_parts(&mut parts);
    Ok(ledger_core::Part::ALL.map(|part| parts.part(part).map(<[u8]>::to_vec)))
}

/// The machine's own two write and sync pairs, as a single append needs them.
pub(super) struct Pairs {
    payloads: GrownFile,
    entries: GrownFile,
}

impl Pairs {
    pub(super) fn new(folder: &Path) -> Result<Pairs, BenchError> {
        std::fs::create_dir_all(folder)?;
        Ok(Pairs {
            payloads: GrownFile::create(&folder.join("payloads"), 32 << 20)?,
            entries: GrownFile::create(&folder.join("entries"), 8 << 20)?,
        })
    }

    pub(super) fn time(&mut self) -> Result<Duration, BenchError> {
        let started = Instant::now();
        self.payloads.append(&[7; 700])?;
        self.payloads.sync()?;
        self.entries.append(&[7; 300])?;
        self.entries.sync()?;
        Ok(started.elapsed())
    }
}
