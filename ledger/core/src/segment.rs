//! The header of an entries file: all that the writer must know to go on from its first entry
//! (docs/formats/segments.md).
//!
//! Not here: frames ([`crate::frame`]), payload files ([`crate::payload`]), file names
//! ([`crate::layout`]).

use crate::bytes::{Fields, FormatError, length_u32, put_text8};
use crate::checkpoint::Origin;
use crate::hash::Hash;
use crate::ids::{Index, Nanos, TreeSize};
use crate::state::{Position, SourceState, decode_tables, encode_tables};
use crate::tree::RightEdge;

const MAGIC: &[u8; 8] = b"CUSTSEG1";
const WHAT: &str = "segment header";
/// Mark, length.
const PREFIX: usize = 12;
/// No header is longer.
pub const SEGMENT_HEADER_MAX: usize = 64 << 20;
/// A segment is finished when it holds this many entries.
pub const SEGMENT_ENTRIES_MAX: u64 = 1 << 22;
/// A segment is finished when its payload file has this many bytes.
pub const SEGMENT_PAYLOADS_MAX: u64 = 4 << 30;

/// The state of the log before a segment's first entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentHeader {
    /// Whose log this is.
    pub origin: Origin,
    /// Everything before; its size is the index of the segment's first entry.
    pub edge: RightEdge,
    /// Hashes of all leaves below are durable in the arrays.
    pub arrays_durable: TreeSize,
    /// The ledger time of the entry before; [`Nanos`] 0 in the first segment.
    pub ledger_time: Nanos,
    /// Every registered source, in the order of their numbers.
    pub sources: Vec<SourceState>,
    /// Every position, in the order of their keys.
    pub positions: Vec<Position>,
}

impl SegmentHeader {
    /// The index of the segment's first entry.
    pub fn first(&self) -> Index {
        Index(self.edge.size().0)
    }

    /// The bytes at the start of the entries file.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.edge.size().0.to_be_bytes());
        out.extend_from_slice(&self.arrays_durable.0.to_be_bytes());
        out.extend_from_slice(&self.ledger_time.0.to_be_bytes());
        put_text8(&mut out, self.origin.as_str());
        for peak in self.edge.peaks() {
            out.extend_from_slice(&peak.0);
        }
        encode_tables(&self.sources, &self.positions, &mut out);
        // INVARIANT: the door bounds sources and positions; what is written can be read.
        assert!(
            out.len() + 4 <= SEGMENT_HEADER_MAX,
            "a segment header exceeds its bound"
        );
        let length = length_u32(out.len() + 4);
        if let Some(field) = out.get_mut(MAGIC.len()..PREFIX) {
            field.copy_from_slice(&length.to_be_bytes());
        }
        out.extend_from_slice(&crc32c::crc32c(&out).to_be_bytes());
        out
    }

    /// How many bytes the header has, from its first 12.
    ///
    /// # Errors
    /// Another mark, a newer version, or a length beyond [`SEGMENT_HEADER_MAX`].
    pub fn length(prefix: &[u8]) -> Result<usize, FormatError> {
        let mut fields = Fields::new(WHAT, prefix);
        check_magic(WHAT, fields.take(MAGIC.len())?, MAGIC)?;
        let length = fields.len32()?;
        if !(PREFIX..=SEGMENT_HEADER_MAX).contains(&length) {
            return Err(fields.illegal("length", length as u64));
        }
        Ok(length)
    }

    /// Reads a header from exactly its bytes.
    ///
    /// # Errors
    /// A wrong checksum, or any field that is never written so.
    pub fn decode(bytes: &[u8]) -> Result<SegmentHeader, FormatError> {
        let length = SegmentHeader::length(bytes)?;
        let (body, checksum) = bytes
            .split_at_checked(length.saturating_sub(4))
            .unwrap_or((bytes, &[]));
        if checksum != crc32c::crc32c(body).to_be_bytes() {
            return Err(FormatError::Checksum { what: WHAT });
        }
        let mut fields = Fields::new(WHAT, body);
        fields.take(PREFIX)?;
        let size = TreeSize(fields.u64()?);
        let arrays_durable = TreeSize(fields.u64()?);
        let ledger_time = Nanos(fields.i64()?);
        let origin = fields.text8("origin")?;
        let origin = Origin::new(origin).map_err(|_| fields.illegal("origin", 0))?;
        let mut peaks = Vec::new();
        for _ in 0..size.0.count_ones() {
            peaks.push(Hash(fields.array()?));
        }
        let edge = RightEdge::from_parts(size, peaks)?;
        let (sources, positions) = decode_tables(&mut fields)?;
        if arrays_durable > size {
            return Err(fields.illegal("durable size of the arrays", arrays_durable.0));
        }
        fields.finish()?;
        Ok(SegmentHeader {
            origin,
            edge,
            arrays_durable,
            ledger_time,
            sources,
            positions,
        })
    }
}

/// Compares a mark whose last byte is the version's digit.
pub(crate) fn check_magic(
    what: &'static str,
    found: &[u8],
    expected: &[u8; 8],
) -> Result<(), FormatError> {
    if found == expected {
        return Ok(());
    }
    let (name, digit) = expected.split_at(7);
    let version = |digit: &u8| u16::from(digit.wrapping_sub(b'0'));
    match (found.strip_prefix(name), digit) {
        (Some([newer]), [known]) if newer.is_ascii_digit() && newer > known => {
            Err(FormatError::Version {
                what,
                found: version(newer),
                known: version(known),
            })
        }
        _ => Err(FormatError::Magic { what }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::leaf_hash;
    use crate::ids::{Epoch, Sequence, SourceId};
    use crate::state::{Gap, Mark, ShortMac, Stream};

    pub(crate) fn sample() -> SegmentHeader {
        let mut edge = RightEdge::new();
        for n in 0u8..3 {
            edge.push(leaf_hash(&[n]));
        }
        let mac = ShortMac([0xaa; 16]);
        SegmentHeader {
            origin: Origin::new("example.org/main/2026").unwrap(),
            edge,
            arrays_durable: TreeSize(2),
            ledger_time: Nanos(1_795_599_724_000_000_000),
            sources: vec![SourceState {
                id: SourceId(1),
                name: "pg-cards".to_owned(),
                platform: "postgresql".to_owned(),
                keyed: true,
                epoch: Epoch(1_795_599_000),
                marks: [
                    Mark {
                        sequence: Sequence(9),
                        mac,
                    },
                    Mark {
                        sequence: Sequence(1),
                        mac,
                    },
                    Mark::default(),
                ],
                gaps: vec![Gap {
                    stream: Stream::Record,
                    from: Sequence(4),
                    to: Sequence(6),
                    before: ShortMac([0xbb; 16]),
                    last: ShortMac([0xcc; 16]),
                }],
            }],
            positions: vec![Position {
                key: "file:1".to_owned(),
                value: vec![1, 2, 3],
            }],
        }
    }

    #[test]
    fn every_changed_byte_is_refused_and_the_twin_reads() {
        let good = sample().encode();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x41;
            assert!(SegmentHeader::decode(&bad).is_err(), "byte {at}");
        }
        for len in 0..good.len() {
            assert!(SegmentHeader::decode(&good[..len]).is_err(), "length {len}");
        }
        assert_eq!(SegmentHeader::decode(&good).unwrap(), sample());
    }

    #[test]
    fn a_newer_version_is_named() {
        let mut newer = sample().encode();
        newer[7] = b'2';
        let error = SegmentHeader::decode(&newer).unwrap_err();
        assert_eq!(
            error,
            FormatError::Version {
                what: WHAT,
                found: 2,
                known: 1
            }
        );
    }

    #[test]
    fn the_example_of_the_documentation_decodes() {
        let page = include_str!("../../../docs/formats/segments.md");
        let bytes = crate::bytes::example_hex(page, "segment-header");
        assert_eq!(SegmentHeader::decode(&bytes).unwrap(), sample());
    }
}
