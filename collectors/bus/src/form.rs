//! A batch of messages as the body of `POST /v1/messages` (docs/formats/messages.md): binary,
//! length-prefixed, so that every value arrives byte for byte.
//!
//! Not here: what the door does with a batch, and the MAC of a message (ledger/core).

use ledger_core::SourceId;
use ledger_core::bytes::{Fields, FormatError, length_u32};
use ledger_core::message::{EpochField, Message};
use ledger_core::state::Position;
use ledger_log::Batch;
use ledger_log::door::BATCH_MESSAGES_MAX;

/// The media type of the body.
pub const BATCH_TYPE: &str = "application/vnd.custody.batch";
/// Longest body that is taken, in bytes.
pub const BATCH_BYTES_MAX: usize = 16 << 20;
/// Most positions of a batch.
pub const BATCH_POSITIONS_MAX: usize = 1024;

/// What the body begins with.
const MARK: &[u8; 16] = b"custody batch v1";
/// Bytes before positions and messages, with both counts.
const BATCH_HEAD: usize = MARK.len() + 4 + 4 + 4;

/// The size of a message in a body.
pub fn message_len(message: &Message) -> usize {
    message.value.len().saturating_add(Message::HEAD_BYTES)
}

/// The size of a body with these positions and no message yet.
pub fn empty_len(positions: &[Position]) -> usize {
    let each = |position: &Position| 1 + position.key.len() + 4 + position.value.len();
    positions
        .iter()
        .map(each)
        .fold(BATCH_HEAD, usize::saturating_add)
}

/// The body. Keys of positions have at most 255 bytes: the caller has checked it.
pub fn encode(source: SourceId, messages: &[Message], positions: &[Position]) -> Vec<u8> {
    let length = messages
        .iter()
        .map(message_len)
        .fold(empty_len(positions), usize::saturating_add);
    let mut out = Vec::with_capacity(length);
    out.extend_from_slice(MARK);
    out.extend_from_slice(&source.0.to_be_bytes());
    out.extend_from_slice(&length_u32(positions.len()).to_be_bytes());
    positions
        .iter()
        .for_each(|position| position.encode(&mut out));
    out.extend_from_slice(&length_u32(messages.len()).to_be_bytes());
    for message in messages {
        message.encode(EpochField::Written, &mut out);
    }
    out
}

/// The inverse of [`encode`]. No count is trusted: memory grows with the bytes that are there.
///
/// # Errors
/// Bytes that are no batch: another mark, a length or count over its bound, too few or too many.
pub fn decode(body: &[u8]) -> Result<Batch, FormatError> {
    let mut fields = Fields::new("batch", body);
    if fields.take(MARK.len())? != MARK {
        return Err(FormatError::Magic { what: "batch" });
    }
    let source = SourceId(fields.u32()?);
    let count = bounded(&mut fields, "count of positions", BATCH_POSITIONS_MAX)?;
    let positions = (0..count)
        .map(|_| Position::decode(&mut fields))
        .collect::<Result<_, _>>()?;
    let count = bounded(&mut fields, "count of messages", BATCH_MESSAGES_MAX)?;
    let messages = (0..count)
        .map(|_| Message::decode(EpochField::Written, &mut fields))
        .collect::<Result<_, _>>()?;
    fields.finish()?;
    Ok(Batch {
        source,
        messages,
        positions,
    })
}

fn bounded(
    fields: &mut Fields<'_>,
    field: &'static str,
    bound: usize,
) -> Result<usize, FormatError> {
    let value = fields.len32()?;
    if value > bound {
        return Err(fields.illegal(field, value as u64));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use ledger_core::state::Stream;
    use ledger_core::{Epoch, Flags, Sequence};

    use super::*;

    fn sample() -> (SourceId, Vec<Message>, Vec<Position>) {
        let position = Position {
            key: "file:db1".to_owned(),
            value: b"{\"offset\":9}".to_vec(),
        };
        let message = |sequence, value: &[u8]| Message {
            stream: Stream::Record,
            epoch: Epoch(1_795_000_000),
            sequence: Sequence(sequence),
            prev: [0x11; 32],
            mac: [0x22; 32],
            flags: Flags::REREAD,
            value: value.to_vec(),
        };
        (
            SourceId(1),
            vec![message(1, b"{}"), message(2, b"\0\xff")],
            vec![position],
        )
    }

    #[test]
    fn bodies_that_are_no_batch_are_refused_and_the_twin_reads() {
        let (source, messages, positions) = sample();
        let good = encode(source, &messages, &positions);
        for cut in 0..good.len() {
            let short = decode(&good[..cut]);
            assert!(matches!(short, Err(FormatError::Short { .. })), "{cut}");
        }
        let refused = |at: usize, value: &[u8], word: &str| {
            let mut bad = good.clone();
            bad[at..at + value.len()].copy_from_slice(value);
            let error = decode(&bad).unwrap_err().to_string();
            assert!(error.contains(word), "{at}: {error}");
        };
        refused(0, b"C", "mark");
        refused(20, &[0, 0, 4, 1], "count of positions");
        let messages_at = empty_len(&positions) - 4;
        refused(messages_at, &[0, 1, 0, 0], "count of messages");
        refused(messages_at + 4, &[3], "stream");
        refused(
            messages_at + 4 + Message::HEAD_BYTES - 4,
            &[0, 0xf, 0, 1],
            "length of a value",
        );
        let mut surplus = good.clone();
        surplus.push(0);
        assert!(matches!(decode(&surplus), Err(FormatError::Surplus { .. })));

        let batch = decode(&good).unwrap();
        assert_eq!((batch.source, batch.messages, batch.positions), sample());
        let length: usize = messages.iter().map(message_len).sum();
        assert_eq!(good.len(), empty_len(&positions) + length);
    }

    #[test]
    fn the_example_of_the_documentation_decodes() {
        let page = include_str!("../../../docs/formats/messages.md");
        let mut lines = page
            .lines()
            .skip_while(|line| *line != "```hex batch")
            .skip(1);
        let mut bytes = Vec::new();
        for line in lines.by_ref().take_while(|line| *line != "```") {
            let digits = line.split('#').next().unwrap_or_default().replace(' ', "");
            let pairs = (0..digits.len() / 2).map(|i| &digits[2 * i..2 * i + 2]);
            bytes.extend(pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()));
        }
        let batch = decode(&bytes).unwrap();
        assert_eq!((batch.source, batch.messages, batch.positions), sample());
    }
}
