//! From a message's value to an entry and its payload: parse, mask again, give pseudonyms, split
//! into parts, salt and commit.
//!
//! Not here: where the message belongs ([`crate::rule`]), compressing and writing
//! ([`crate::writer`]).

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use collectors_formats::mask::{Dialect, MaskOptions, mask_plain, note, recheck};
use keys_secret::SecretKey32;
use ledger_core::payload::{
    BLOCK_RAW_MAX, SALTS_LEN, StoredPart, payloads_of, put_payload, salts_of, stored_commitment,
    two_stored_commitments,
};
use ledger_core::state::{Position, ShortMac, SourceState};
use ledger_core::{Entry, Flags, Hash, Index, Nanos, PART_COUNT, Salt, SourceId};
use ledger_event::{Event, EventError, EventHead, PartsBuf};

use crate::beats::Beats;
use crate::error::WriteError;
use crate::shared::{Counters, Wrongs};

/// Payloads of consecutive entries, not yet compressed.
#[derive(Debug, Default)]
pub(crate) struct RawBlock {
    pub(crate) bytes: Vec<u8>,
    pub(crate) entry_count: u32,
}

/// A frame on its way to the writer.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) first: Index,
    pub(crate) ledger_time: Nanos,
    pub(crate) entries: Vec<u8>,
    pub(crate) macs: Vec<u8>,
    pub(crate) salts: Vec<u8>,
    pub(crate) blocks: Vec<RawBlock>,
    pub(crate) sources: Vec<SourceState>,
    pub(crate) positions: Vec<Position>,
    pub(crate) counters: Counters,
    /// The newest heartbeat of each source that sent one.
    pub(crate) beats: Beats,
    pub(crate) wrongs: BTreeMap<SourceId, Wrongs>,
}

impl Batch {
    /// How many entries it has.
    pub(crate) fn len(&self) -> usize {
        self.entries.len() / Entry::LEN
    }

    /// The index of the next entry.
    pub(crate) fn next(&self) -> Index {
        Index(self.first.0 + self.len() as u64)
    }

    /// Adds an entry with its payload. Its commitment stays zero until [`Batch::commit`].
    pub(crate) fn push(
        &mut self,
        entry: &Entry,
        mac: ShortMac,
        parts: [Option<&[u8]>; PART_COUNT],
        random: &mut Randomness,
    ) -> Result<(), WriteError> {
        let stored = parts.map(|part| part.map_or(StoredPart::Absent, StoredPart::Present));
        let mut salts = [Salt::ZERO; PART_COUNT];
        for (salt, part) in salts.iter_mut().zip(&stored) {
            if *part != StoredPart::Absent {
                salt.0 = random.take()?;
            }
            self.salts.extend_from_slice(&salt.0);
        }
        self.entries.extend_from_slice(&entry.encode());
        self.macs.extend_from_slice(&mac.0);
        let len: usize = parts.iter().flatten().map(|part| part.len() + 4).sum();
        if self
            .blocks
            .last()
            .is_none_or(|block| block.bytes.len() + len + 1 > BLOCK_RAW_MAX)
        {
            self.blocks.push(RawBlock::default());
        }
        if let Some(block) = self.blocks.last_mut() {
            put_payload(&mut block.bytes, &stored);
            block.entry_count += 1;
        }
        self.ledger_time = entry.ledger_time;
        Ok(())
    }

    /// Writes every entry's commitment into its place. This is the writer's work, so that hashing
    /// and parsing run side by side.
    pub(crate) fn commit(&mut self) {
        let mut entries = self.entries.chunks_exact_mut(Entry::LEN);
        let mut salts = self.salts.chunks_exact(SALTS_LEN);
        for block in &self.blocks {
            let payloads = payloads_of(&block.bytes, block.entry_count).unwrap_or_default();
            // INVARIANT: blocks hold what `push` put into them.
            assert_eq!(
                payloads.len(),
                block.entry_count as usize,
                "a block of ours reads back"
            );
            let mut salts = || salts.next().and_then(salts_of).unwrap_or_default();
            for payloads in payloads.chunks(2) {
                let commitments = match payloads {
                    [one, other] => two_stored_commitments([one, other], [&salts(), &salts()]),
                    others => {
                        let one = others.first();
                        [one.and_then(|one| stored_commitment(one, &salts())), None]
                    }
                };
                for commitment in commitments.into_iter().take(payloads.len()) {
                    // INVARIANT: an absent part has a zero salt, so the commitment exists.
                    assert!(commitment.is_some(), "a fresh payload has a commitment");
                    let field = entries.next().and_then(|entry| entry.last_chunk_mut());
                    if let (Some(field), Some(commitment)) = (field, commitment) {
                        *field = commitment.0;
                    }
                }
            }
        }
        assert!(entries.next().is_none(), "every entry has its payload");
    }
}

/// Random bytes from the system, fetched many at a time.
#[derive(Debug)]
pub(crate) struct Randomness {
    pool: Vec<u8>,
    at: usize,
}

const POOL: usize = 1024 * SALTS_LEN;

impl Randomness {
    pub(crate) fn new() -> Randomness {
        Randomness {
            pool: vec![0; POOL],
            at: POOL,
        }
    }

    fn take(&mut self) -> Result<[u8; Salt::LEN], WriteError> {
        if self.at + Salt::LEN > self.pool.len() {
            getrandom::fill(&mut self.pool).map_err(|_| WriteError::Random)?;
            self.at = 0;
        }
        let chunk = self
            .pool
            .get(self.at..)
            .and_then(|rest| rest.first_chunk().copied());
        self.at += Salt::LEN;
        chunk.ok_or(WriteError::Random)
    }
}

/// Gives each account name the tenant's keyed pseudonym.
pub(crate) struct Pseudonyms {
    key: SecretKey32,
    known: HashMap<String, String>,
}

/// Names remembered before the memory is emptied.
const NAMES_MAX: usize = 16_384;

impl Pseudonyms {
    pub(crate) fn new(key: SecretKey32) -> Pseudonyms {
        Pseudonyms {
            key,
            known: HashMap::new(),
        }
    }

    /// 32 hexadecimal digits: the first 16 bytes of HMAC-SHA-256(key, "custody account v1" ‖ name).
    fn of(&mut self, name: &str) -> String {
        if let Some(known) = self.known.get(name) {
            return known.clone();
        }
        let mac = ShortMac::of(&self.key.hmac(b"custody account v1", &[name.as_bytes()]));
        let mut text = String::with_capacity(32);
        for byte in mac.0 {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
        }
        if self.known.len() >= NAMES_MAX {
            self.known.clear();
        }
        self.known.insert(name.to_owned(), text.clone());
        text
    }
}

/// Most bytes kept of a value that is no event.
const UNPARSED_MAX: usize = 128 << 10;

/// Bytes as text: what is not UTF-8 becomes `\xNN`.
fn escaped(value: &[u8]) -> String {
    let mut text = String::with_capacity(value.len());
    for chunk in value.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // Writing to a string does not fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// Turns values into parts.
pub(crate) struct Preparer {
    mask: MaskOptions,
    pseudonyms: Pseudonyms,
    parts: PartsBuf,
    /// The last value as it is after masking, where that changed it.
    masked: Option<Vec<u8>>,
}

impl Preparer {
    pub(crate) fn new(mask: MaskOptions, pseudonyms: Pseudonyms) -> Preparer {
        Preparer {
            mask,
            pseudonyms,
            parts: PartsBuf::default(),
            masked: None,
        }
    }

    /// Reads an event's value: its parts stay in [`Preparer::parts`] until the next one.
    pub(crate) fn event(
        &mut self,
        value: &[u8],
        dialect: Dialect,
    ) -> Result<(EventHead, Flags), EventError> {
        let mut event = Event::default();
        event.read(value)?;
        Ok(self.split(&mut event, dialect))
    }

    /// A value that is no event: a Base Event that keeps its masked bytes.
    pub(crate) fn unparsed(
        &mut self,
        value: &[u8],
        dialect: Dialect,
        time: Nanos,
    ) -> (EventHead, Flags) {
        let text = escaped(value);
        // Masked before it is cut, so that no card number is cut in two.
        let masked = mask_plain(&text, dialect, self.mask);
        let kept = masked.text.floor_char_boundary(UNPARSED_MAX);
        let mut event = Event::default();
        event.classify(0, 0);
        event.set_time(time);
        event.severity_id = Some(3);
        event.status_id = Some(2);
        event.metadata.version = Some("1.8.0".into());
        event.metadata.product.name = Some("custody".into());
        event.unmapped.unparsed = Some("the message's value is no event".into());
        event.raw_data = Some(
            masked
                .text
                .get(..kept)
                .unwrap_or_default()
                .to_owned()
                .into(),
        );
        if kept < masked.text.len() {
            event.metadata.is_truncated = Some(true);
            event.metadata.untruncated_size = Some(value.len() as u64);
        }
        for redaction in &masked.redactions {
            note(&mut event, "raw_data", *redaction);
        }
        let split = self.split(&mut event, dialect);
        self.masked = Some(masked.text.into_owned().into_bytes());
        split
    }

    /// Facts of the log's making, such as a heartbeat's: the only part.
    pub(crate) fn facts(&mut self, facts: &[u8], time: Nanos) -> (EventHead, Flags) {
        self.masked = None;
        self.parts.bytes.clear();
        self.parts.bytes.extend_from_slice(facts);
        self.parts.ends = [Some(0..facts.len()), None, None];
        let head = EventHead {
            class_uid: 0,
            activity: 0,
            status: 0,
            severity: 0,
            time,
            masked: false,
            truncated: false,
            unparsed: false,
        };
        (head, Flags::NONE)
    }

    fn split(&mut self, event: &mut Event<'_>, dialect: Dialect) -> (EventHead, Flags) {
        let found = recheck(event, dialect, self.mask);
        self.masked = (found > 0).then(|| event.to_json());
        event.accounts_mut(&mut |account| {
            *account.uid = Some(self.pseudonyms.of(account.name).into());
        });
        event.write_parts(&mut self.parts);
        let head = event.head();
        let flags = Flags::NONE
            .with_if(head.masked, Flags::MASKED)
            .with_if(head.truncated, Flags::TRUNCATED)
            .with_if(head.unparsed, Flags::UNPARSED)
            .with_if(found > 0, Flags::DOOR_MASKED);
        (head, flags)
    }

    /// SHA-256 of the last value, which had `digest`, after masking.
    pub(crate) fn masked_digest(&self, digest: Hash) -> Hash {
        self.masked.as_deref().map_or(digest, Hash::sha256)
    }

    /// The parts of the last event.
    pub(crate) fn parts(&self) -> [Option<&[u8]>; PART_COUNT] {
        ledger_core::Part::ALL.map(|part| {
            let range = self.parts.ends.get(usize::from(part.number()))?.clone()?;
            self.parts.bytes.get(range)
        })
    }
}
