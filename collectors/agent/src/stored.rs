//! The bytes of the journal: the header of a segment and its frames (docs/formats/journal.md).
//!
//! A frame is one batch as it was bound, so a batch is there as a whole or not at all. Not here:
//! files ([`crate::journal`]), or what a position's value means (its owner decides).

use std::collections::BTreeMap;

use ledger_core::bytes::{Fields, FormatError, length_u32};
use ledger_core::message::{EpochField, Message, MessageMac};
use ledger_core::state::{Position, Stream};
use ledger_core::{Epoch, Sequence, SourceId};

/// What every segment begins with.
pub const SEGMENT_MARK: &[u8; 16] = b"custody journal1";
/// What every frame begins with.
pub const FRAME_MARK: &[u8; 4] = b"CJF1";
/// Mark, length and checksum of a frame, in bytes.
pub const FRAME_HEAD: usize = 12;
/// Longest body of a frame, in bytes.
pub const FRAME_BYTES_MAX: usize = 16 << 20;
/// Most positions that a header or frame holds.
pub const POSITIONS_MAX: usize = 4096;
/// Most messages of a frame.
pub const FRAME_MESSAGES_MAX: usize = 16_384;

/// How far a stream has been bound: the last number, and the MAC of its message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Last {
    /// 0 before the first.
    pub sequence: Sequence,
    /// Zero before the first.
    pub mac: MessageMac,
}

/// What stands before the first frame of a segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentHeader {
    /// Whose journal it is.
    pub source: SourceId,
    /// The life of the journal that every message of the segment belongs to.
    pub epoch: Epoch,
    /// How the three streams stand before the segment, in the order of their numbers.
    pub last: [Last; 3],
    /// Where reading stands before the segment.
    pub positions: Vec<Position>,
}

/// One batch.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Frame {
    /// Positions that changed; one with an empty value is given up.
    pub positions: Vec<Position>,
    /// In the order of their binding; their epoch is the segment's.
    pub messages: Vec<Message>,
}

impl SegmentHeader {
    /// The stored bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = SEGMENT_MARK.to_vec();
        put_checked(&mut out, |out| {
            out.extend_from_slice(&self.source.0.to_be_bytes());
            out.extend_from_slice(&self.epoch.0.to_be_bytes());
            for last in &self.last {
                out.extend_from_slice(&last.sequence.0.to_be_bytes());
                out.extend_from_slice(&last.mac);
            }
            put_positions(&self.positions, out);
        });
        out
    }

    /// Reads a header; says how many bytes it takes.
    ///
    /// # Errors
    /// Bytes that end early, another mark, a wrong checksum, an illegal field.
    pub fn decode(bytes: &[u8]) -> Result<(SegmentHeader, usize), FormatError> {
        let what = "the header of a journal segment";
        let mut fields = Fields::new(what, bytes);
        if fields.take(SEGMENT_MARK.len())? != SEGMENT_MARK {
            return Err(FormatError::Magic { what });
        }
        let body = checked_body(what, &mut fields)?;
        let len = fields.at();
        let mut fields = Fields::new(what, body);
        let source = SourceId(fields.u32()?);
        let epoch = Epoch(fields.u32()?);
        let mut last = [Last::default(); 3];
        for stream in &mut last {
            stream.sequence = Sequence(fields.u64()?);
            stream.mac = fields.array()?;
        }
        let positions = positions(&mut fields)?;
        fields.finish()?;
        let header = SegmentHeader {
            source,
            epoch,
            last,
            positions,
        };
        Ok((header, len))
    }
}

impl Frame {
    /// Appends the stored bytes of a batch.
    pub fn encode(positions: &[Position], messages: &[Message], out: &mut Vec<u8>) {
        out.extend_from_slice(FRAME_MARK);
        put_checked(out, |out| {
            put_positions(positions, out);
            out.extend_from_slice(&length_u32(messages.len()).to_be_bytes());
            for message in messages {
                message.encode(EpochField::Known(message.epoch), out);
            }
        });
    }

    /// Reads the frame that `bytes` begin with; says how many bytes it takes.
    ///
    /// # Errors
    /// Bytes that end early, another mark, a wrong checksum, an illegal field.
    pub fn decode(epoch: Epoch, bytes: &[u8]) -> Result<(Frame, usize), FormatError> {
        let what = "a frame of the journal";
        let mut fields = Fields::new(what, bytes);
        if fields.take(FRAME_MARK.len())? != FRAME_MARK {
            return Err(FormatError::Magic { what });
        }
        let body = checked_body(what, &mut fields)?;
        let len = fields.at();
        let mut fields = Fields::new(what, body);
        let positions = positions(&mut fields)?;
        let count = fields.len32()?;
        if count > FRAME_MESSAGES_MAX {
            return Err(fields.illegal("count of messages", count as u64));
        }
        let mut messages = Vec::new();
        for _ in 0..count {
            messages.push(Message::decode(EpochField::Known(epoch), &mut fields)?);
        }
        fields.finish()?;
        Ok((
            Frame {
                positions,
                messages,
            },
            len,
        ))
    }

    /// How many bytes the frame that begins with `head` takes, if that is plausible.
    pub fn stated_len(head: &[u8]) -> Option<usize> {
        let mut fields = Fields::new("a frame of the journal", head);
        if fields.take(FRAME_MARK.len()).ok()? != FRAME_MARK {
            return None;
        }
        let len = fields.len32().ok()?;
        (len <= FRAME_BYTES_MAX).then_some(len + FRAME_HEAD)
    }
}

fn put_positions(positions: &[Position], out: &mut Vec<u8>) {
    out.extend_from_slice(&length_u32(positions.len()).to_be_bytes());
    positions.iter().for_each(|position| position.encode(out));
}

fn positions(fields: &mut Fields<'_>) -> Result<Vec<Position>, FormatError> {
    let count = fields.len32()?;
    if count > POSITIONS_MAX {
        return Err(fields.illegal("count of positions", count as u64));
    }
    (0..count).map(|_| Position::decode(fields)).collect()
}

/// Length, CRC32C over length and body, body.
fn put_checked(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let head = out.len();
    out.extend_from_slice(&[0; 8]);
    body(out);
    let Some((head, body)) = (out.get_mut(head..)).and_then(<[u8]>::split_first_chunk_mut::<8>)
    else {
        return;
    };
    let len = length_u32(body.len()).to_be_bytes();
    let crc = crc32c::crc32c_append(crc32c::crc32c(&len), body).to_be_bytes();
    for (to, from) in head.iter_mut().zip(len.into_iter().chain(crc)) {
        *to = from;
    }
}

fn checked_body<'a>(what: &'static str, fields: &mut Fields<'a>) -> Result<&'a [u8], FormatError> {
    let len = fields.len32()?;
    if len > FRAME_BYTES_MAX {
        return Err(fields.illegal("length", len as u64));
    }
    let crc = fields.u32()?;
    let body = fields.take(len)?;
    let stated = crc32c::crc32c(&length_u32(len).to_be_bytes());
    if crc32c::crc32c_append(stated, body) == crc {
        Ok(body)
    } else {
        Err(FormatError::Checksum { what })
    }
}

/// Moves `last` over messages that follow; the first that does not is named.
pub(crate) fn follow(
    last: &mut [Last; 3],
    epoch: Epoch,
    messages: &[Message],
) -> Result<(), (Stream, Sequence)> {
    for message in messages {
        let [record, heartbeat, snapshot] = last;
        let stream = match message.stream {
            Stream::Record => record,
            Stream::Heartbeat => heartbeat,
            Stream::Snapshot => snapshot,
        };
        let next = stream.sequence.0.saturating_add(1);
        let follows =
            message.sequence.0 == next && message.prev == stream.mac && message.epoch == epoch;
        if !follows {
            return Err((message.stream, message.sequence));
        }
        *stream = Last {
            sequence: message.sequence,
            mac: message.mac,
        };
    }
    Ok(())
}

/// Takes changed positions over.
pub(crate) fn apply(positions: &mut BTreeMap<String, Vec<u8>>, changed: &[Position]) {
    for position in changed {
        if position.value.is_empty() {
            positions.remove(&position.key);
        } else {
            positions.insert(position.key.clone(), position.value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use ledger_core::Flags;

    use super::*;
    use proptest::prelude::{Strategy, any, prop};

    /// The bytes of a fenced block ```` ```hex NAME ```` of the page.
    fn example(name: &str) -> Vec<u8> {
        let page = include_str!("../../../docs/formats/journal.md");
        let fence = format!("```hex {name}");
        let mut lines = page.lines().skip_while(|line| *line != fence);
        assert!(lines.next().is_some(), "no block {name}");
        let digits: String = lines
            .take_while(|line| *line != "```")
            .map(|line| line.split('#').next().unwrap().replace(' ', ""))
            .collect();
        (0..digits.len() / 2)
            .map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap())
            .collect()
    }

    fn position() -> Position {
        Position {
            key: "file:1".to_owned(),
            value: b"{}".to_vec(),
        }
    }

    fn sample() -> Frame {
        Frame {
            positions: vec![position()],
            messages: vec![Message {
                stream: Stream::Record,
                epoch: Epoch(0x6afd_86c0),
                sequence: Sequence(1),
                prev: [0; 32],
                mac: [0x22; 32],
                flags: Flags::REREAD,
                value: b"{}".to_vec(),
            }],
        }
    }

    #[test]
    fn the_examples_of_the_page_are_what_is_written() {
        let header = SegmentHeader {
            source: SourceId(3),
            epoch: Epoch(0x6afd_86c0),
            last: [Last::default(); 3],
            positions: vec![position()],
        };
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let stored = example("segment");
        assert_eq!(hex(&stored), hex(&header.encode()));
        let decoded = SegmentHeader::decode(&stored).unwrap();
        assert_eq!(decoded, (header, stored.len()));
        let mut bytes = Vec::new();
        let frame = sample();
        Frame::encode(&frame.positions, &frame.messages, &mut bytes);
        let stored = example("frame");
        assert_eq!(hex(&stored), hex(&bytes));
        let decoded = Frame::decode(Epoch(0x6afd_86c0), &stored).unwrap();
        assert_eq!(decoded, (frame, stored.len()));
        assert_eq!(Frame::stated_len(&stored[..FRAME_HEAD]), Some(stored.len()));
    }

    #[test]
    fn a_changed_or_missing_byte_is_noticed() {
        let mut bytes = Vec::new();
        let frame = sample();
        Frame::encode(&frame.positions, &frame.messages, &mut bytes);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(Frame::decode(Epoch(1), &changed).is_err(), "byte {at}");
            assert!(
                Frame::decode(Epoch(1), &bytes[..at]).is_err(),
                "cut at {at}"
            );
        }
        assert!(Frame::decode(Epoch(1), &bytes).is_ok());
    }

    fn any_message() -> impl Strategy<Value = Message> {
        let value = prop::collection::vec(any::<u8>(), 0..40);
        (
            0u8..3,
            any::<u64>(),
            any::<[u8; 32]>(),
            any::<[u8; 32]>(),
            value,
        )
            .prop_map(|(stream, sequence, prev, mac, value)| Message {
                stream: Stream::from_number(stream).unwrap(),
                epoch: Epoch(7),
                sequence: Sequence(sequence),
                prev,
                mac,
                flags: Flags::NONE,
                value,
            })
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read(
            messages in prop::collection::vec(any_message(), 0..5),
            rest in prop::collection::vec(any::<u8>(), 0..9),
        ) {
            let mut bytes = Vec::new();
            Frame::encode(&[position()], &messages, &mut bytes);
            let len = bytes.len();
            bytes.extend(rest);
            let (frame, taken) = Frame::decode(Epoch(7), &bytes).unwrap();
            proptest::prop_assert_eq!(frame.messages, messages);
            proptest::prop_assert_eq!(taken, len);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut marked = FRAME_MARK.to_vec();
            marked.extend(&bytes);
            let _ = Frame::decode(Epoch(7), &marked);
            let mut marked = SEGMENT_MARK.to_vec();
            marked.extend(&bytes);
            let _ = SegmentHeader::decode(&marked);
        }
    }
}
