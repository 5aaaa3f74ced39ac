//! A message from a source to the log, and the chained MAC that binds it to its place
//! (docs/formats/messages.md).
//!
//! mac = HMAC-SHA-256(source key, "custody message v1" ‖ stream ‖ epoch ‖ sequence ‖ prev ‖
//! SHA-256(value)); `prev` is the MAC of the message before in the same stream and epoch, 32 zero
//! bytes for the first. Integers are big-endian.
//!
//! Not here: HMAC and keys (keys/secret), how messages travel (collectors/bus), or what the door
//! decides about one (ledger/log).

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

impl Message {
    /// What the source's key authenticates, behind [`MESSAGE_LABEL`]: 77 bytes.
    pub fn mac_input(&self) -> [u8; 77] {
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
        put(&Hash::sha256(&self.value).0);
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
