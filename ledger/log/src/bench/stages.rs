//! What each stage costs alone: the same events, one stage at a time, CPU of this thread.
//!
//! Alone and hot a stage is somewhat cheaper than in the row; the threads' figures of the
//! throughput run show the row.

use std::time::Duration;

use collectors_formats::mask::{Dialect, MaskOptions, recheck};
use ledger_core::payload::{
    BLOCK_RAW_MAX, BlockWriter, StoredPart, put_payload, stored_commitment,
};
use ledger_core::{Entry, PART_COUNT, RightEdge, Salt, leaf_hash};
use ledger_event::{Event, PartsBuf};
use rustix::time::{ClockId, clock_gettime};

use super::{BenchError, raw};

/// Microseconds of CPU an event for each stage of an append.
///
/// # Errors
/// If an event of the pool is none.
pub fn stage_costs(pool: &[Vec<u8>]) -> Result<Vec<(&'static str, f64)>, BenchError> {
    let per = |spent: Duration| spent.as_secs_f64() * 1e6 / pool.len() as f64;
    let mut costs = Vec::new();
    costs.extend(reading(pool)?);
    let split = pool
        .iter()
        .map(|value| raw::split(value))
        .collect::<Result<Vec<_>, _>>()?;
    let stored: Vec<_> = split
        .iter()
        .map(|parts| {
            parts
                .each_ref()
                .map(|p| p.as_deref().map_or(StoredPart::Absent, StoredPart::Present))
        })
        .collect();
    let started = thread_cpu();
    let mut found = 0usize;
    for parts in &stored {
        let salts = parts.map(|part| match part {
            StoredPart::Absent | StoredPart::Erased(_) => Salt::ZERO,
            StoredPart::Present(_) => Salt([7; Salt::LEN]),
        });
        found += usize::from(stored_commitment(parts, &salts).is_some());
    }
    costs.push(("commit", per(thread_cpu() - started)));
    assert_eq!(found, pool.len(), "every payload has a commitment");
    costs.push(("leaf and nodes", per(leaves(pool.len()))));
    costs.push(("zstd", per(zstd(&stored)?)));
    Ok(costs)
}

/// Parsing; parsing and masking; parsing, masking and splitting. An event is worked on while it is
/// in the cache, so the later stages are differences.
fn reading(pool: &[Vec<u8>]) -> Result<[(&'static str, f64); 3], BenchError> {
    let options = MaskOptions::default();
    let (mut parts, mut masked, mut bytes) = (PartsBuf::default(), 0, 0);
    let mut spent = [0.0; 3];
    for (upto, spent) in spent.iter_mut().enumerate() {
        let started = thread_cpu();
        for value in pool {
            let mut event = Event::parse(value)?;
            if upto > 0 {
                masked += recheck(&mut event, Dialect::default(), options);
            }
            if upto > 1 {
                event.write_parts(&mut parts);
            }
            bytes += event.class_uid.map_or(0, u64::from) + parts.bytes.len() as u64;
        }
        *spent = (thread_cpu() - started).as_secs_f64() * 1e6 / pool.len() as f64;
    }
    assert!(
        masked == 0 && bytes > 0,
        "clean events have nothing to mask"
    );
    let [parse, mask, split] = spent;
    Ok([
        ("parse", parse),
        ("mask check", mask - parse),
        ("split", split - mask),
    ])
}

fn leaves(count: usize) -> Duration {
    let mut edge = RightEdge::new();
    let mut record = [0u8; Entry::LEN];
    let started = thread_cpu();
    for n in 0..count {
        if let Some(field) = record.first_chunk_mut() {
            *field = n.to_be_bytes();
        }
        edge.push(leaf_hash(&record));
    }
    assert_eq!(edge.size().0, count as u64);
    thread_cpu() - started
}

fn zstd(stored: &[[StoredPart<'_>; PART_COUNT]]) -> Result<Duration, BenchError> {
    let mut blocks = BlockWriter::new().map_err(crate::WriteError::from)?;
    let (mut block, mut out) = (Vec::with_capacity(BLOCK_RAW_MAX), Vec::new());
    let started = thread_cpu();
    for parts in stored {
        put_payload(&mut block, parts);
        if block.len() > BLOCK_RAW_MAX - 1024 {
            blocks
                .put(&block, 2, &mut out)
                .map_err(crate::WriteError::from)?;
            block.clear();
            out.clear();
        }
    }
    blocks
        .put(&block, 2, &mut out)
        .map_err(crate::WriteError::from)?;
    Ok(thread_cpu() - started)
}

fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), nanos)
}
