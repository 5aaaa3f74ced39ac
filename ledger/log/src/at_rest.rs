//! The state of a log that no process has open, from its files: what the last checkpoint covers,
//! the sources as the last segment's header and frames lead to them, and their last heartbeats.
//!
//! Not here: recovery. Nothing is written, and nothing behind the last good frame is looked at.

use keys_public::{Note, TrustFile};
use ledger_core::frame::{Frame, FrameHeader};
use ledger_core::{Nanos, TreeSize};

use crate::beats::{self, Places};
use crate::error::ReadError;
use crate::frames::{EntriesFile, Next, list_segments};
use crate::paths::LogPaths;
use crate::reader::Reader;
use crate::shared::Durable;
use crate::status::{LogStatus, sources};

/// The state, as a server would tell it at the time `now`, but for what only a running process
/// knows: how long it runs and what it counted.
///
/// # Errors
/// No log, or a file that cannot be read.
pub fn status_at_rest(paths: &LogPaths, now: Nanos) -> Result<LogStatus, ReadError> {
    let reader = Reader::open(paths)?;
    let (checkpoint, note) = reader.published()?;
    let size = reader.size();
    let (mut durable, arrays_durable) = tables(paths, size)?;
    let places = beats::find(&paths.folder(), &durable.sources, size, Places::new())?;
    durable.beats = beats::read(&reader, &places)?;
    Ok(LogStatus {
        origin: paths.origin().to_string(),
        size: size.0,
        published_size: checkpoint.size.0,
        root: checkpoint.root.to_base64(),
        checkpoint_age_ms: age_ms(paths, &note, now),
        ledger_time: durable.ledger_time.0,
        arrays_durable: arrays_durable.0,
        open_ms: 0,
        stopped: None,
        appended: 0,
        late: 0,
        repeats: 0,
        conflicts: 0,
        forged: 0,
        sources: sources(&durable),
    })
}

/// Since the time that the checkpoint's ML-DSA-44 signature states.
fn age_ms(paths: &LogPaths, note: &[u8], now: Nanos) -> u64 {
    let signed = || {
        let trust = TrustFile::parse(&std::fs::read_to_string(paths.trust()).ok()?).ok()?;
        let verified = trust.keys().verify(&Note::parse(note).ok()?).ok()?;
        Some(verified.pq_timestamp())
    };
    let now_ms = u64::try_from(now.0 / 1_000_000).unwrap_or_default();
    signed().map_or(0, |seconds| {
        now_ms.saturating_sub(seconds.saturating_mul(1_000))
    })
}

/// What the last segment leads to, up to `size` entries, and how far the arrays are durable.
fn tables(paths: &LogPaths, size: TreeSize) -> Result<(Durable, TreeSize), ReadError> {
    let folder = paths.folder();
    let mut durable = Durable::default();
    let Some(first) = list_segments(&folder)?.last().copied() else {
        return Ok((durable, TreeSize(0)));
    };
    let entries = EntriesFile::open(&folder, first)?;
    let (header, mut at) = entries.header()?;
    let mut arrays_durable = header.arrays_durable;
    durable.ledger_time = header.ledger_time;
    let states = header.sources.into_iter();
    durable.sources = states.map(|state| (state.id, state)).collect();
    while let Next::Frame(header) = entries.next(at)? {
        if header.size_after() > size {
            break;
        }
        let body = entries.body(at, &header)?;
        // The end, or a torn tail that the next start drops.
        let Ok(frame) = Frame::decode(header, &body) else {
            break;
        };
        let last = frame.entry_bytes().last();
        if let Some(Ok(entry)) = last.map(ledger_core::Entry::decode) {
            durable.ledger_time = entry.ledger_time;
        }
        let states = frame.sources.into_iter();
        durable
            .sources
            .extend(states.map(|state| (state.id, state)));
        arrays_durable = frame.header.arrays_durable;
        at += FrameHeader::LEN as u64 + u64::from(frame.header.body_len);
    }
    Ok((durable, arrays_durable))
}
