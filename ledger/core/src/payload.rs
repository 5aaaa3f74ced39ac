//! Payload files: salts bare, then blocks of parts (docs/formats/segments.md).
//!
//! A part of a payload is absent, present, or erased; an erased part keeps its commitment in the
//! place of its bytes, and its salt is zero, so that every proof stays valid.
//!
//! Not here: rewriting a file to erase, or where frames say that blocks lie ([`crate::frame`]).

use crate::bytes::{Fields, FormatError, length_u32};
use crate::commitment::{
    PART_COUNT, Part, Salt, part_commitment, payload_commitment, two_part_commitments,
};
use crate::frame::{BLOCK_LEN_MAX, BlockRef};
use crate::hash::Hash;
use crate::ids::Index;
use crate::segment::check_magic;

const MAGIC: &[u8; 8] = b"CUSTPAY1";
const HEADER: &str = "payload header";
const BLOCK: &str = "payload block";

/// Bytes of an entry's three salts.
pub const SALTS_LEN: usize = PART_COUNT * Salt::LEN;
/// A block has at most this many bytes before compression, unless one payload alone has more.
pub const BLOCK_RAW_MAX: usize = 256 << 10;
/// No single payload, and so no block, has more bytes than this.
pub const PAYLOAD_MAX: usize = 4 << 20;
/// The zstd level of blocks.
pub const ZSTD_LEVEL: i32 = 1;

/// The fixed 64 bytes at the start of a payload file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PayloadHeader {
    /// The index of the segment's first entry.
    pub first: Index,
    /// How often the file was rewritten; 0 as first written. Frames say where blocks of generation
    /// 0 lie; later generations will carry a table of their own.
    pub generation: u32,
    /// SHA-256 of the log's origin.
    pub origin: Hash,
}

impl PayloadHeader {
    /// Length in bytes.
    pub const LEN: usize = 64;

    /// The 64 bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&self.first.0.to_be_bytes());
        out.extend_from_slice(&self.generation.to_be_bytes());
        out.extend_from_slice(&self.origin.0);
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&crc32c::crc32c(&out).to_be_bytes());
        out
    }

    /// Reads a header; bytes after the 64 are ignored.
    ///
    /// # Errors
    /// Another mark, a newer version, a wrong checksum, reserved bytes in use.
    pub fn decode(bytes: &[u8]) -> Result<PayloadHeader, FormatError> {
        let mut fields = Fields::new(HEADER, bytes);
        check_magic(HEADER, fields.take(MAGIC.len())?, MAGIC)?;
        let first = Index(fields.u64()?);
        let generation = fields.u32()?;
        let origin = Hash(fields.array()?);
        let reserved = fields.u64()?;
        let covered = bytes.get(..fields.at()).unwrap_or_default();
        if fields.u32()? != crc32c::crc32c(covered) {
            return Err(FormatError::Checksum { what: HEADER });
        }
        if reserved != 0 {
            return Err(fields.illegal("reserved field", reserved));
        }
        Ok(PayloadHeader {
            first,
            generation,
            origin,
        })
    }
}

/// One part as stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoredPart<'a> {
    /// There never was one; its commitment is [`Hash::ZERO`].
    Absent,
    /// The bytes.
    Present(&'a [u8]),
    /// The bytes and the salt are gone; this is what they were committed to with.
    Erased(Hash),
}

impl StoredPart<'_> {
    /// c_i of this part. `None` if the salt is not what the part's state demands: salts of absent
    /// and erased parts are zero.
    pub fn commitment(&self, part: Part, salt: &Salt) -> Option<Hash> {
        match self {
            StoredPart::Present(bytes) => Some(part_commitment(part, salt, bytes)),
            StoredPart::Absent if *salt == Salt::ZERO => Some(Hash::ZERO),
            StoredPart::Erased(hash) if *salt == Salt::ZERO => Some(*hash),
            StoredPart::Absent | StoredPart::Erased(_) => None,
        }
    }
}

/// The stored payload of one entry.
pub type StoredPayload<'a> = [StoredPart<'a>; PART_COUNT];

/// The commitment of a stored payload with its salts; `None` if a salt should be zero and is not.
pub fn stored_commitment(payload: &StoredPayload<'_>, salts: &[Salt; PART_COUNT]) -> Option<Hash> {
    let mut parts = [Hash::ZERO; PART_COUNT];
    for (((hash, stored), salt), part) in parts.iter_mut().zip(payload).zip(salts).zip(Part::ALL) {
        *hash = stored.commitment(part, salt)?;
    }
    Some(payload_commitment(&parts))
}

/// The commitments of two stored payloads, for less than twice the work of
/// [`stored_commitment`].
pub fn two_stored_commitments(
    payloads: [&StoredPayload<'_>; 2],
    salts: [&[Salt; PART_COUNT]; 2],
) -> [Option<Hash>; 2] {
    let ([one, other], [one_salts, other_salts]) = (payloads, salts);
    let mut parts = [[Some(Hash::ZERO); PART_COUNT]; 2];
    let [firsts, seconds] = &mut parts;
    let pairs = (one.iter().zip(one_salts)).zip(other.iter().zip(other_salts));
    let hashes = firsts.iter_mut().zip(seconds);
    for (((first, second), pair), part) in hashes.zip(pairs).zip(Part::ALL) {
        let ((one, one_salt), (other, other_salt)) = pair;
        if let (StoredPart::Present(one), StoredPart::Present(other)) = (one, other) {
            let two = two_part_commitments(part, [(one_salt, one), (other_salt, other)]);
            [*first, *second] = two.map(Some);
        } else {
            *first = one.commitment(part, one_salt);
            *second = other.commitment(part, other_salt);
        }
    }
    parts.map(|parts| match parts {
        [Some(facts), Some(who), Some(text)] => Some(payload_commitment(&[facts, who, text])),
        _ => None,
    })
}

/// Appends one payload to a block that is being filled.
pub fn put_payload(block: &mut Vec<u8>, payload: &StoredPayload<'_>) {
    let mut states = 0u8;
    for (part, number) in payload.iter().zip(0u8..) {
        states |= state_of(part) << (2 * number);
    }
    block.push(states);
    for part in payload {
        match part {
            StoredPart::Absent => {}
            StoredPart::Present(bytes) => {
                block.extend_from_slice(&length_u32(bytes.len()).to_be_bytes());
                block.extend_from_slice(bytes);
            }
            StoredPart::Erased(hash) => block.extend_from_slice(&hash.0),
        }
    }
}

fn state_of(part: &StoredPart<'_>) -> u8 {
    match part {
        StoredPart::Absent => 0,
        StoredPart::Present(_) => 1,
        StoredPart::Erased(_) => 2,
    }
}

/// The payloads of a decompressed block.
///
/// # Errors
/// Bytes that end early or are left over, or a state never written.
pub fn payloads_of(raw: &[u8], count: u32) -> Result<Vec<StoredPayload<'_>>, FormatError> {
    let mut fields = Fields::new(BLOCK, raw);
    let mut payloads = Vec::new();
    for _ in 0..count {
        let states = fields.u8()?;
        if states >> (2 * PART_COUNT) != 0 {
            return Err(fields.illegal("part states", u64::from(states)));
        }
        let mut payload = [StoredPart::Absent; PART_COUNT];
        for (part, number) in payload.iter_mut().zip(0u8..) {
            *part = match states >> (2 * number) & 3 {
                0 => StoredPart::Absent,
                1 => {
                    let len = fields.len32()?;
                    StoredPart::Present(fields.take(len)?)
                }
                2 => StoredPart::Erased(Hash(fields.array()?)),
                _ => return Err(fields.illegal("part states", u64::from(states))),
            };
        }
        payloads.push(payload);
    }
    fields.finish()?;
    Ok(payloads)
}

/// The three salts of an entry from its [`SALTS_LEN`] bytes; `None` for another length.
pub fn salts_of(bytes: &[u8]) -> Option<[Salt; PART_COUNT]> {
    let mut salts = [Salt::ZERO; PART_COUNT];
    if bytes.len() != SALTS_LEN {
        return None;
    }
    for (salt, chunk) in salts.iter_mut().zip(bytes.chunks_exact(Salt::LEN)) {
        salt.0.copy_from_slice(chunk);
    }
    Some(salts)
}

/// Compresses blocks with one reused context.
pub struct BlockWriter {
    zstd: zstd::bulk::Compressor<'static>,
}

/// zstd refused; with its own bound for the output this means a lack of memory.
#[derive(Debug, thiserror::Error)]
#[error("zstd cannot compress a payload block: {reason}")]
pub struct CompressError {
    reason: String,
}

impl BlockWriter {
    /// A writer of zstd level [`ZSTD_LEVEL`].
    ///
    /// # Errors
    /// If zstd cannot be set up.
    pub fn new() -> Result<BlockWriter, CompressError> {
        let failed = |error: std::io::Error| CompressError {
            reason: error.to_string(),
        };
        let zstd = zstd::bulk::Compressor::new(ZSTD_LEVEL).map_err(failed)?;
        Ok(BlockWriter { zstd })
    }

    /// Appends the stored form of `raw`, the payloads of `entry_count` entries, to `out`.
    ///
    /// # Errors
    /// If zstd fails.
    pub fn put(
        &mut self,
        raw: &[u8],
        entry_count: u32,
        out: &mut Vec<u8>,
    ) -> Result<BlockRef, CompressError> {
        let start = out.len();
        if entry_count == 1 {
            out.extend_from_slice(raw);
        } else {
            let failed = |error: std::io::Error| CompressError {
                reason: error.to_string(),
            };
            let compressed = self.zstd.compress(raw).map_err(failed)?;
            out.extend_from_slice(&compressed);
        }
        let stored = out.get(start..).unwrap_or_default();
        Ok(BlockRef {
            stored_len: length_u32(stored.len()),
            raw_len: length_u32(raw.len()),
            entry_count,
            crc: crc32c::crc32c(stored),
        })
    }
}

/// The decompressed bytes of a stored block.
///
/// # Errors
/// A wrong checksum, a length beyond the bounds, or bytes that decompress to another length.
pub fn read_block(block: &BlockRef, stored: &[u8]) -> Result<Vec<u8>, FormatError> {
    if stored.len() != block.stored_len as usize || crc32c::crc32c(stored) != block.crc {
        return Err(FormatError::Checksum { what: BLOCK });
    }
    let raw_len = block.raw_len as usize;
    // Lengths are bounded before memory is asked for.
    if raw_len > BLOCK_LEN_MAX {
        let value = u64::from(block.raw_len);
        return Err(FormatError::Field {
            what: BLOCK,
            field: "raw length",
            value,
        });
    }
    let raw = if block.entry_count == 1 {
        stored.to_vec()
    } else {
        zstd::bulk::decompress(stored, raw_len)
            .map_err(|_| FormatError::Compression { what: BLOCK })?
    };
    if raw.len() != raw_len {
        return Err(FormatError::Compression { what: BLOCK });
    }
    Ok(raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payloads() -> Vec<StoredPayload<'static>> {
        vec![
            [
                StoredPart::Present(b"{}"),
                StoredPart::Absent,
                StoredPart::Present(b"text"),
            ],
            [
                StoredPart::Absent,
                StoredPart::Erased(Hash([5; 32])),
                StoredPart::Absent,
            ],
            [StoredPart::Absent; 3],
        ]
    }

    fn stored(count: usize) -> (BlockRef, Vec<u8>) {
        let mut raw = Vec::new();
        payloads()[..count]
            .iter()
            .for_each(|payload| put_payload(&mut raw, payload));
        let mut out = Vec::new();
        let count = u32::try_from(count).unwrap();
        let block = BlockWriter::new()
            .unwrap()
            .put(&raw, count, &mut out)
            .unwrap();
        (block, out)
    }

    #[test]
    fn damaged_blocks_are_refused_and_the_twins_read() {
        for count in [1, 3] {
            let (block, good) = stored(count);
            for at in 0..good.len() {
                let mut bad = good.clone();
                bad[at] ^= 1;
                assert!(read_block(&block, &bad).is_err(), "byte {at}");
                assert!(read_block(&block, &good[..at]).is_err(), "length {at}");
            }
            let raw = read_block(&block, &good).unwrap();
            assert_eq!(
                payloads_of(&raw, block.entry_count).unwrap(),
                payloads()[..count]
            );
        }
    }

    #[test]
    fn a_block_that_claims_too_much_is_refused_before_memory_is_asked_for() {
        let (mut block, bytes) = stored(3);
        block.raw_len = u32::MAX;
        assert!(matches!(
            read_block(&block, &bytes),
            Err(FormatError::Field { .. })
        ));
        block.raw_len = 1;
        assert!(matches!(
            read_block(&block, &bytes),
            Err(FormatError::Compression { .. })
        ));
    }

    #[test]
    fn illegal_states_and_surplus_bytes_are_refused() {
        for bad in [&[0b11u8][..], &[0b100_0000], &[0, 0], &[1, 0, 0, 0, 9, 1]] {
            assert!(payloads_of(bad, 1).is_err(), "{bad:?}");
        }
        assert!(payloads_of(&[0], 1).is_ok());
    }

    #[test]
    fn two_payloads_have_the_commitments_that_each_has_alone() {
        let salts = |payload: &StoredPayload<'_>, n| {
            payload.map(|part| match part {
                StoredPart::Present(_) => Salt([n; 16]),
                StoredPart::Absent | StoredPart::Erased(_) => Salt::ZERO,
            })
        };
        for one in &payloads() {
            for other in &payloads() {
                let both = [salts(one, 1), salts(other, 2)];
                let alone = [
                    stored_commitment(one, &both[0]),
                    stored_commitment(other, &both[1]),
                ];
                let two = two_stored_commitments([one, other], [&both[0], &both[1]]);
                assert_eq!(two, alone);
                assert!(alone[0].is_some());
            }
        }
        let wrong = [Salt([1; 16]); PART_COUNT];
        let two = &payloads()[0];
        assert_eq!(
            two_stored_commitments([two, two], [&wrong, &wrong]),
            [None; 2]
        );
    }

    #[test]
    fn a_salt_beside_an_absent_or_erased_part_is_refused() {
        let salt = Salt([1; 16]);
        for part in [StoredPart::Absent, StoredPart::Erased(Hash([5; 32]))] {
            assert_eq!(part.commitment(Part::Who, &salt), None);
            assert!(part.commitment(Part::Who, &Salt::ZERO).is_some());
        }
    }

    #[test]
    fn every_changed_byte_of_a_header_is_refused_and_the_twin_reads() {
        let header = PayloadHeader {
            first: Index(7),
            generation: 0,
            origin: Hash::sha256(b"origin"),
        };
        let good = header.encode();
        assert_eq!(good.len(), PayloadHeader::LEN);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x41;
            assert!(PayloadHeader::decode(&bad).is_err(), "byte {at}");
        }
        assert_eq!(PayloadHeader::decode(&good), Ok(header));
        let page = include_str!("../../../docs/formats/segments.md");
        assert_eq!(crate::bytes::example_hex(page, "payload-header"), good);
    }

    #[test]
    fn the_example_block_of_the_documentation_decodes() {
        let page = include_str!("../../../docs/formats/segments.md");
        let raw = crate::bytes::example_hex(page, "payload-block");
        assert_eq!(payloads_of(&raw, 3).unwrap(), payloads());
    }
}
