//! A frame: one batch of entries as it was made durable, with all that recovery needs
//! (docs/formats/segments.md).
//!
//! The sync of a frame is the commit of its entries. A frame without entries that carries
//! [`FrameHeader::finished`] ends a segment.
//!
//! Not here: reading or writing files, or deciding what a damaged frame means (ledger/log).

use crate::bytes::{Fields, FormatError, length_u32};
use crate::entry::Entry;
use crate::ids::{Index, TreeSize};
use crate::payload::PAYLOAD_MAX;
use crate::segment::check_magic;
use crate::state::{Position, ShortMac, SourceState, decode_tables, encode_tables};

const MAGIC: &[u8; 8] = b"CUSTFRM1";
const WHAT: &str = "frame";
const FINISHED: u32 = 1;

/// At most this many entries lie in a frame.
pub const FRAME_ENTRIES_MAX: usize = 1 << 16;
/// No frame's body is longer.
pub const FRAME_BODY_MAX: usize = 64 << 20;

/// The fixed 64 bytes before a frame's body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameHeader {
    /// The index of the first entry.
    pub first: Index,
    /// How many entries follow.
    pub entry_count: u32,
    /// Length of the body in bytes.
    pub body_len: u32,
    /// Hashes of all leaves below are durable in the arrays.
    pub arrays_durable: TreeSize,
    /// Where the frame's salts begin in the payload file (generation 0).
    pub payload_start: u64,
    /// Where the next frame's salts will begin.
    pub payload_end: u64,
    /// How many payload blocks follow the salts.
    pub block_count: u32,
    /// The segment ends with this frame.
    pub finished: bool,
    /// CRC-32C of the body.
    pub body_crc: u32,
}

impl FrameHeader {
    /// Length of the encoded header in bytes.
    pub const LEN: usize = 64;
    /// The mark that every frame begins with.
    pub const MAGIC: &'static [u8; 8] = MAGIC;

    /// The 64 bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&self.first.0.to_be_bytes());
        out.extend_from_slice(&self.entry_count.to_be_bytes());
        out.extend_from_slice(&self.body_len.to_be_bytes());
        out.extend_from_slice(&self.arrays_durable.0.to_be_bytes());
        out.extend_from_slice(&self.payload_start.to_be_bytes());
        out.extend_from_slice(&self.payload_end.to_be_bytes());
        out.extend_from_slice(&self.block_count.to_be_bytes());
        out.extend_from_slice(&(if self.finished { FINISHED } else { 0 }).to_be_bytes());
        out.extend_from_slice(&self.body_crc.to_be_bytes());
        out.extend_from_slice(&crc32c::crc32c(&out).to_be_bytes());
        out
    }

    /// Reads a header; bytes after the 64 are ignored.
    ///
    /// # Errors
    /// Another mark, a wrong checksum, or a field that is never written so.
    pub fn decode(bytes: &[u8]) -> Result<FrameHeader, FormatError> {
        let mut fields = Fields::new(WHAT, bytes);
        check_magic(WHAT, fields.take(MAGIC.len())?, MAGIC)?;
        let first = Index(fields.u64()?);
        let entry_count = fields.u32()?;
        let body_len = fields.u32()?;
        let arrays_durable = TreeSize(fields.u64()?);
        let payload_start = fields.u64()?;
        let payload_end = fields.u64()?;
        let block_count = fields.u32()?;
        let flags = fields.u32()?;
        let body_crc = fields.u32()?;
        let covered = bytes.get(..fields.at()).unwrap_or_default();
        if fields.u32()? != crc32c::crc32c(covered) {
            return Err(FormatError::Checksum {
                what: "frame header",
            });
        }
        if flags & !FINISHED != 0 {
            return Err(fields.illegal("flags", u64::from(flags)));
        }
        if entry_count as usize > FRAME_ENTRIES_MAX || body_len as usize > FRAME_BODY_MAX {
            return Err(fields.illegal("size", u64::from(body_len)));
        }
        if payload_end < payload_start || block_count > entry_count {
            return Err(fields.illegal("payload range", payload_end));
        }
        if arrays_durable.0 > first.0 || first.0.checked_add(u64::from(entry_count)).is_none() {
            return Err(fields.illegal("index", first.0));
        }
        Ok(FrameHeader {
            first,
            entry_count,
            body_len,
            arrays_durable,
            payload_start,
            payload_end,
            block_count,
            finished: flags & FINISHED != 0,
            body_crc,
        })
    }

    /// The size of the log after this frame.
    pub fn size_after(&self) -> TreeSize {
        TreeSize(self.first.0.saturating_add(u64::from(self.entry_count)))
    }
}

/// Where a payload block lies: blocks follow the salts and each other without a hole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockRef {
    /// Bytes in the payload file.
    pub stored_len: u32,
    /// Bytes after decompression.
    pub raw_len: u32,
    /// How many entries' payloads it holds. A block of one entry is not compressed.
    pub entry_count: u32,
    /// CRC-32C of the stored bytes.
    pub crc: u32,
}

impl BlockRef {
    const LEN: usize = 16;

    /// Whether a writer of ours could have written it: lengths are checked before memory is asked
    /// for. zstd adds less than one byte in 128 and a header to what it cannot compress.
    fn is_legal(&self) -> bool {
        let (raw, stored) = (self.raw_len as usize, self.stored_len as usize);
        let compressed = stored <= raw + raw / 128 + 1024;
        self.entry_count > 0
            && raw <= BLOCK_LEN_MAX
            && (compressed && (self.entry_count > 1 || raw == stored))
    }
}

/// No block is longer: one payload of the largest size and what frames it.
pub(crate) const BLOCK_LEN_MAX: usize = PAYLOAD_MAX + 64;

/// What one frame says, on its way to the file.
#[derive(Clone, Debug, Default)]
pub struct FrameBody {
    /// The entries, 80 bytes each.
    pub entries: Vec<u8>,
    /// The short MAC of each entry, 16 bytes each.
    pub macs: Vec<u8>,
    /// The payload blocks, in the order of the entries.
    pub blocks: Vec<BlockRef>,
    /// The state after the frame of every source that the frame touched.
    pub sources: Vec<SourceState>,
    /// Positions that changed.
    pub positions: Vec<Position>,
}

impl FrameBody {
    /// Encodes the whole frame. `header`'s counts, lengths and checksum are computed here.
    pub fn encode(&self, mut header: FrameHeader) -> Vec<u8> {
        let mut body =
            Vec::with_capacity(self.entries.len() + self.macs.len() + self.blocks.len() * 16 + 256);
        body.extend_from_slice(&self.entries);
        body.extend_from_slice(&self.macs);
        for block in &self.blocks {
            body.extend_from_slice(&block.stored_len.to_be_bytes());
            body.extend_from_slice(&block.raw_len.to_be_bytes());
            body.extend_from_slice(&block.entry_count.to_be_bytes());
            body.extend_from_slice(&block.crc.to_be_bytes());
        }
        encode_tables(&self.sources, &self.positions, &mut body);
        header.entry_count = length_u32(self.entries.len() / Entry::LEN);
        header.block_count = length_u32(self.blocks.len());
        header.body_len = length_u32(body.len());
        // INVARIANT: the sequencer ends a frame before it is full; what is written can be read.
        assert!(
            self.entries.len() / Entry::LEN <= FRAME_ENTRIES_MAX && body.len() <= FRAME_BODY_MAX,
            "a frame exceeds its bounds"
        );
        header.body_crc = crc32c::crc32c(&body);
        let mut out = header.encode();
        out.append(&mut body);
        out
    }
}

/// A frame's body as read, with its counts checked against its length.
#[derive(Clone, Debug)]
pub struct Frame<'a> {
    /// The header the body was read with.
    pub header: FrameHeader,
    entries: &'a [u8],
    macs: &'a [u8],
    /// The payload blocks.
    pub blocks: Vec<BlockRef>,
    /// The state after the frame of every source that the frame touched.
    pub sources: Vec<SourceState>,
    /// Positions that changed.
    pub positions: Vec<Position>,
}

impl<'a> Frame<'a> {
    /// Reads the body that follows `header`.
    ///
    /// # Errors
    /// A wrong checksum, counts that do not agree with the length or each other.
    pub fn decode(header: FrameHeader, body: &'a [u8]) -> Result<Frame<'a>, FormatError> {
        if crc32c::crc32c(body) != header.body_crc || body.len() != header.body_len as usize {
            return Err(FormatError::Checksum { what: WHAT });
        }
        let mut fields = Fields::new(WHAT, body);
        let count = header.entry_count as usize;
        let entries = fields.take(count * Entry::LEN)?;
        let macs = fields.take(count * ShortMac::LEN)?;
        let mut blocks = Vec::new();
        let mut covered = 0u64;
        for _ in 0..header.block_count {
            let block = BlockRef {
                stored_len: fields.u32()?,
                raw_len: fields.u32()?,
                entry_count: fields.u32()?,
                crc: fields.u32()?,
            };
            if !block.is_legal() {
                return Err(fields.illegal("length of a block", u64::from(block.stored_len)));
            }
            covered += u64::from(block.entry_count);
            blocks.push(block);
        }
        if covered != u64::from(header.entry_count) {
            return Err(fields.illegal("entry count of the blocks", covered));
        }
        let (sources, positions) = decode_tables(&mut fields)?;
        fields.finish()?;
        Ok(Frame {
            header,
            entries,
            macs,
            blocks,
            sources,
            positions,
        })
    }

    /// The encoded entries, 80 bytes each.
    pub fn entry_bytes(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        self.entries.chunks_exact(Entry::LEN)
    }

    /// The short MAC of each entry.
    pub fn macs(&self) -> impl ExactSizeIterator<Item = ShortMac> + use<'a> {
        self.macs.chunks_exact(ShortMac::LEN).map(|bytes| {
            let mut mac = ShortMac::ZERO;
            mac.0.copy_from_slice(bytes);
            mac
        })
    }

    /// How many bytes of the payload file the frame's salts and blocks have.
    pub fn payload_len(&self) -> u64 {
        let salts = u64::from(self.header.entry_count) * crate::payload::SALTS_LEN as u64;
        salts
            + self
                .blocks
                .iter()
                .map(|block| u64::from(block.stored_len))
                .sum::<u64>()
    }
}

const _: () = assert!(BlockRef::LEN == 4 * size_of::<u32>());

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Epoch, SourceId};
    use crate::state::Mark;

    fn sample() -> Vec<u8> {
        let body = FrameBody {
            entries: vec![0x11; 2 * Entry::LEN],
            macs: vec![0x22; 2 * ShortMac::LEN],
            blocks: vec![BlockRef {
                stored_len: 90,
                raw_len: 120,
                entry_count: 2,
                crc: 7,
            }],
            sources: vec![SourceState {
                id: SourceId(1),
                name: "a".to_owned(),
                platform: "postgresql".to_owned(),
                keyed: false,
                epoch: Epoch(5),
                marks: [Mark::default(); 3],
                gaps: Vec::new(),
            }],
            positions: vec![Position {
                key: "file:1".to_owned(),
                value: vec![9],
            }],
        };
        body.encode(FrameHeader {
            first: Index(3),
            entry_count: 0,
            body_len: 0,
            arrays_durable: TreeSize(2),
            payload_start: 64,
            payload_end: 64 + 96 + 90,
            block_count: 0,
            finished: false,
            body_crc: 0,
        })
    }

    fn read(bytes: &[u8]) -> Result<TreeSize, FormatError> {
        let header = FrameHeader::decode(bytes)?;
        let frame = Frame::decode(header, bytes.get(64..).unwrap_or_default())?;
        assert_eq!(frame.entry_bytes().len(), frame.macs().len());
        Ok(frame.header.size_after())
    }

    #[test]
    fn every_changed_or_missing_byte_is_refused_and_the_twin_reads() {
        let good = sample();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert!(read(&bad).is_err(), "byte {at}");
            assert!(read(&good[..at]).is_err(), "length {at}");
        }
        assert_eq!(read(&good), Ok(TreeSize(5)));
    }

    #[test]
    fn counts_that_disagree_are_refused_even_with_good_checksums() {
        let header = FrameHeader::decode(&sample()).unwrap();
        let refused = |change: &dyn Fn(&mut FrameHeader)| {
            let mut header = header;
            change(&mut header);
            let bytes = [header.encode(), sample().split_off(64)].concat();
            assert!(read(&bytes).is_err(), "{header:?}");
        };
        refused(&|h| h.entry_count = 1);
        refused(&|h| h.block_count = 2);
        refused(&|h| h.block_count = 3);
        refused(&|h| h.payload_end = 63);
        refused(&|h| h.arrays_durable = TreeSize(4));
        refused(&|h| h.first = Index(u64::MAX));
        refused(&|h| h.body_len += 1);
        assert!(read(&[header.encode(), sample().split_off(64)].concat()).is_ok());
    }

    #[test]
    fn the_example_of_the_documentation_decodes() {
        let page = include_str!("../../../docs/formats/segments.md");
        assert_eq!(crate::bytes::example_hex(page, "frame"), sample());
    }
}
