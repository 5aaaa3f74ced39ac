//! A message from a source to the log, and the chained MAC that binds it to its place
//! (docs/formats/messages.md).
//!
//! mac = HMAC-SHA-256(source key, "custody message v1" ‖ stream ‖ epoch ‖ sequence ‖ prev ‖
//! SHA-256(value)); `prev` is the MAC of the message before in the same stream and epoch, 32 zero
//! bytes for the first. Integers are big-endian.
//!
//! Not here: HMAC and keys (keys/secret), the batches and frames that messages stand in
//! (collectors), or what the door decides about one (ledger/log).

use crate::bytes::{Fields, FormatError, length_u32};
use crate::entry::Flags;
use crate::hash::Hash;
use crate::ids::{Epoch, Sequence};
use crate::state::Stream;

/// What the MAC of every message begins with.
pub const MESSAGE_LABEL: &[u8] = b"custody message v1";
/// Longest value of a message in bytes: the hard limit of an event.
pub const VALUE_MAX: usize = 960 << 10;

/// A full MAC, or what stands in its place for a source without a key.
pub type MessageMac = [u8; 32];

/// One numbered message of a source.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// Which of the source's streams.
    pub stream: Stream,
    /// The life of the sender's journal.
    pub epoch: Epoch,
    /// The number within stream and epoch, from 1.
    pub sequence: Sequence,
    /// The MAC of the message before; zero for the first, and for a source without a key.
    pub prev: MessageMac,
    /// The MAC of this message; zero for a source without a key.
    pub mac: MessageMac,
    /// What the sender says about it: only [`Flags::REREAD`] counts.
    pub flags: Flags,
    /// The event as JSON (or the heartbeat).
    pub value: Vec<u8>,
}

/// Where the epoch of a stored message stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EpochField {
    /// In the message, behind its flags.
    Written,
    /// Before all messages: it is this one for each.
    Known(Epoch),
}

impl Message {
    /// Bytes of a message besides its value, if its epoch is written.
    pub const HEAD_BYTES: usize = 1 + 2 + 4 + 8 + 32 + 32 + 4;

    /// Appends the stored bytes: stream, flags, epoch if it is written, sequence, `prev`, MAC,
    /// length and bytes of the value.
    pub fn encode(&self, epoch: EpochField, out: &mut Vec<u8>) {
        out.push(self.stream.number());
        out.extend_from_slice(&self.flags.0.to_be_bytes());
        if epoch == EpochField::Written {
            out.extend_from_slice(&self.epoch.0.to_be_bytes());
        }
        out.extend_from_slice(&self.sequence.0.to_be_bytes());
        out.extend_from_slice(&self.prev);
        out.extend_from_slice(&self.mac);
        out.extend_from_slice(&length_u32(self.value.len()).to_be_bytes());
        out.extend_from_slice(&self.value);
    }

    /// The inverse of [`Message::encode`].
    ///
    /// # Errors
    /// Bytes that end early, an unknown stream, a value over its bound.
    pub fn decode(epoch: EpochField, fields: &mut Fields<'_>) -> Result<Message, FormatError> {
        let number = fields.u8()?;
        let stream =
            Stream::from_number(number).ok_or_else(|| fields.illegal("stream", number.into()))?;
        let flags = Flags(fields.u16()?);
        let epoch = match epoch {
            EpochField::Written => Epoch(fields.u32()?),
            EpochField::Known(epoch) => epoch,
        };
        let sequence = Sequence(fields.u64()?);
        let (prev, mac) = (fields.array()?, fields.array()?);
        let len = fields.len32()?;
        if len > VALUE_MAX {
            return Err(fields.illegal("length of a value", len as u64));
        }
        let value = fields.take(len)?.to_vec();
        Ok(Message {
            stream,
            epoch,
            sequence,
            prev,
            mac,
            flags,
            value,
        })
    }

    /// What the source's key authenticates, behind [`MESSAGE_LABEL`]: 77 bytes.
    pub fn mac_input(&self) -> [u8; 77] {
        self.mac_input_of(&Hash::sha256(&self.value))
    }

    /// The same with the SHA-256 of the value, which is known.
    pub fn mac_input_of(&self, digest: &Hash) -> [u8; 77] {
        let mut out = [0u8; 77];
        let mut rest = out.as_mut_slice();
        let mut put = |field: &[u8]| {
            let (head, tail) = std::mem::take(&mut rest).split_at_mut(field.len());
            head.copy_from_slice(field);
            rest = tail;
        };
        put(&[self.stream.number()]);
        put(&self.epoch.0.to_be_bytes());
        put(&self.sequence.0.to_be_bytes());
        put(&self.prev);
        put(&digest.0);
        // INVARIANT: the fields fill the input.
        assert!(rest.is_empty(), "the MAC covers 77 bytes");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_bound() {
        let message = Message {
            stream: Stream::Record,
            epoch: Epoch(5),
            sequence: Sequence(1),
            prev: [0; 32],
            mac: [0; 32],
            flags: Flags::NONE,
            value: b"{}".to_vec(),
        };
        let input = message.mac_input();
        let differs = |change: &dyn Fn(&mut Message)| {
            let mut other = message.clone();
            change(&mut other);
            assert_ne!(other.mac_input(), input, "{other:?}");
        };
        differs(&|m| m.stream = Stream::Heartbeat);
        differs(&|m| m.epoch = Epoch(6));
        differs(&|m| m.sequence = Sequence(2));
        differs(&|m| m.prev = [1; 32]);
        differs(&|m| m.value = b"[]".to_vec());
        assert_eq!(message.clone().mac_input(), input);
    }
}
