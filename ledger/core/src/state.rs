//! What the door knows of a source, and where followers of outside streams stand, as stored in
//! segment headers and frames (docs/formats/segments.md).
//!
//! Not here: the rule that changes a source's state (ledger/log), or what a position's bytes mean
//! (its owner decides).

use crate::bytes::{Fields, FormatError, length_u32, put_text8};
use crate::ids::{Epoch, Sequence, SourceId};

/// The first 16 bytes of a message's MAC (or of the SHA-256 that stands in its place).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct ShortMac(pub [u8; ShortMac::LEN]);

impl ShortMac {
    /// Length in bytes.
    pub const LEN: usize = 16;
    /// What precedes the first message of a stream, and what the log's own entries carry.
    pub const ZERO: ShortMac = ShortMac([0; ShortMac::LEN]);

    /// The first 16 bytes of `mac`.
    pub fn of(mac: &[u8; 32]) -> ShortMac {
        let mut short = [0; ShortMac::LEN];
        short.iter_mut().zip(mac).for_each(|(to, from)| *to = *from);
        ShortMac(short)
    }
}

/// The three numbered streams of a source.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Stream {
    /// Native records.
    Record,
    /// Heartbeats.
    Heartbeat,
    /// Snapshots.
    Snapshot,
}

impl Stream {
    /// All streams in the order of their numbers.
    pub const ALL: [Stream; 3] = [Stream::Record, Stream::Heartbeat, Stream::Snapshot];

    /// The number in messages and stored states.
    pub fn number(self) -> u8 {
        match self {
            Stream::Record => 0,
            Stream::Heartbeat => 1,
            Stream::Snapshot => 2,
        }
    }

    /// The name in facts and output.
    pub fn name(self) -> &'static str {
        match self {
            Stream::Record => "record",
            Stream::Heartbeat => "heartbeat",
            Stream::Snapshot => "snapshot",
        }
    }

    /// The stream of a name.
    pub fn from_name(name: &str) -> Option<Stream> {
        Stream::ALL.into_iter().find(|stream| stream.name() == name)
    }

    /// The stream of a number.
    pub fn from_number(number: u8) -> Option<Stream> {
        Stream::ALL
            .into_iter()
            .find(|stream| stream.number() == number)
    }
}

/// How far one stream of a source has come in the current epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Mark {
    /// The highest number taken; 0 before the first.
    pub sequence: Sequence,
    /// The MAC of the message with that number.
    pub mac: ShortMac,
}

/// A range of numbers that have not arrived, with the MACs that must frame what fills it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gap {
    /// The stream with the hole.
    pub stream: Stream,
    /// The first missing number.
    pub from: Sequence,
    /// The last missing number.
    pub to: Sequence,
    /// The MAC of the message before `from`.
    pub before: ShortMac,
    /// The `prev` that the message after `to` named: the MAC that `to` must have.
    pub last: ShortMac,
}

/// At most this many gaps of a source are open at once; then the source stops.
pub const GAPS_MAX: usize = 64;
/// At most this many sources are registered in a log: their states fit into a segment header.
pub const SOURCES_MAX: usize = 8192;
/// At most this many positions are kept in a log.
pub const POSITIONS_MAX: usize = 4096;
/// Longest name of a source, in bytes.
pub const SOURCE_NAME_MAX: usize = 64;

/// A source as the door knows it after an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceState {
    /// Its number in this log.
    pub id: SourceId,
    /// Its unique name.
    pub name: String,
    /// The platform whose records it sends.
    pub platform: String,
    /// Whether its messages carry MACs made with a key of its own.
    pub keyed: bool,
    /// The current epoch; 0 before the first message.
    pub epoch: Epoch,
    /// The marks of the three streams, in their order.
    pub marks: [Mark; 3],
    /// Open gaps, at most [`GAPS_MAX`].
    pub gaps: Vec<Gap>,
}

const KEYED: u32 = 1;

impl SourceState {
    /// Appends the encoded state behind its length in two bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&self.id.0.to_be_bytes());
        out.extend_from_slice(&(if self.keyed { KEYED } else { 0 }).to_be_bytes());
        put_text8(out, &self.name);
        put_text8(out, &self.platform);
        out.extend_from_slice(&self.epoch.0.to_be_bytes());
        for mark in &self.marks {
            out.extend_from_slice(&mark.sequence.0.to_be_bytes());
            out.extend_from_slice(&mark.mac.0);
        }
        // INVARIANT: the door opens no more gaps than the table holds.
        assert!(self.gaps.len() <= GAPS_MAX, "too many open gaps");
        out.extend_from_slice(&length_u32(self.gaps.len()).to_be_bytes());
        for gap in &self.gaps {
            out.push(gap.stream.number());
            out.extend_from_slice(&gap.from.0.to_be_bytes());
            out.extend_from_slice(&gap.to.0.to_be_bytes());
            out.extend_from_slice(&gap.before.0);
            out.extend_from_slice(&gap.last.0);
        }
        let length = u16::try_from(out.len() - start - 2);
        // INVARIANT: two names and 64 gaps stay far below 64 KiB.
        assert!(length.is_ok(), "a source state exceeds 64 KiB");
        if let (Some(field), Ok(length)) = (out.get_mut(start..start + 2), length) {
            field.copy_from_slice(&length.to_be_bytes());
        }
    }

    /// Reads one state. Bytes behind the fields of this version, within the stated length, belong
    /// to a later one and are passed over.
    ///
    /// # Errors
    /// Bytes that end early, flags never written, text that is not UTF-8, more than [`GAPS_MAX`]
    /// gaps, an unknown stream.
    pub fn decode(fields: &mut Fields<'_>) -> Result<SourceState, FormatError> {
        let length = usize::from(fields.u16()?);
        let mut fields = Fields::new("source state", fields.take(length)?);
        let id = SourceId(fields.u32()?);
        let flags = fields.u32()?;
        if flags & !KEYED != 0 {
            return Err(fields.illegal("source flags", u64::from(flags)));
        }
        let name = fields.text8("source name")?.to_owned();
        let platform = fields.text8("source platform")?.to_owned();
        let epoch = Epoch(fields.u32()?);
        let mut marks = [Mark::default(); 3];
        for mark in &mut marks {
            mark.sequence = Sequence(fields.u64()?);
            mark.mac = ShortMac(fields.array()?);
        }
        let count = fields.len32()?;
        if count > GAPS_MAX {
            return Err(fields.illegal("gap count", count as u64));
        }
        let gaps = (0..count)
            .map(|_| decode_gap(&mut fields))
            .collect::<Result<_, _>>()?;
        Ok(SourceState {
            id,
            name,
            platform,
            keyed: flags & KEYED != 0,
            epoch,
            marks,
            gaps,
        })
    }
}

fn decode_gap(fields: &mut Fields<'_>) -> Result<Gap, FormatError> {
    let number = fields.u8()?;
    let stream = Stream::from_number(number)
        .ok_or_else(|| fields.illegal("stream of a gap", u64::from(number)))?;
    Ok(Gap {
        stream,
        from: Sequence(fields.u64()?),
        to: Sequence(fields.u64()?),
        before: ShortMac(fields.array()?),
        last: ShortMac(fields.array()?),
    })
}

/// Where a reader of something outside the log stands: a key and a value whose meaning belongs to
/// its owner (an offset in a file, an offset of a partition, the cursor of a judge).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Position {
    /// Unique in the log, 1–255 bytes of text.
    pub key: String,
    /// At most [`Position::VALUE_MAX`] bytes.
    pub value: Vec<u8>,
}

impl Position {
    /// Longest value in bytes.
    pub const VALUE_MAX: usize = 4096;

    /// Appends the encoded position.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_text8(out, &self.key);
        out.extend_from_slice(&length_u32(self.value.len()).to_be_bytes());
        out.extend_from_slice(&self.value);
    }

    /// Reads one position.
    ///
    /// # Errors
    /// Bytes that end early, a key that is empty or not UTF-8, a value that is too long.
    pub fn decode(fields: &mut Fields<'_>) -> Result<Position, FormatError> {
        let key = fields.text8("position key")?.to_owned();
        let len = fields.len32()?;
        if key.is_empty() || len > Position::VALUE_MAX {
            return Err(fields.illegal("position", len as u64));
        }
        Ok(Position {
            key,
            value: fields.take(len)?.to_vec(),
        })
    }
}

/// Appends a count and the encoded states, then a count and the encoded positions.
pub(crate) fn encode_tables(sources: &[SourceState], positions: &[Position], out: &mut Vec<u8>) {
    out.extend_from_slice(&length_u32(sources.len()).to_be_bytes());
    sources.iter().for_each(|source| source.encode(out));
    out.extend_from_slice(&length_u32(positions.len()).to_be_bytes());
    positions.iter().for_each(|position| position.encode(out));
}

/// The inverse of [`encode_tables`]. Counts are not trusted: memory grows with bytes read only.
pub(crate) fn decode_tables(
    fields: &mut Fields<'_>,
) -> Result<(Vec<SourceState>, Vec<Position>), FormatError> {
    let mut sources = Vec::new();
    for _ in 0..fields.u32()? {
        sources.push(SourceState::decode(fields)?);
    }
    let mut positions = Vec::new();
    for _ in 0..fields.u32()? {
        positions.push(Position::decode(fields)?);
    }
    Ok((sources, positions))
}
