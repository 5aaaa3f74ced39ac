//! A message from a source to the log, and the chained MAC that binds it to its place
//! (docs/formats/messages.md).
//!
//! mac = HMAC-SHA-256(source key, "custody message v1" ‖ stream ‖ epoch ‖ sequence ‖ prev ‖
//! SHA-256(value)); `prev` is the MAC of the message before in the same stream and epoch, 32 zero
//! bytes for the first. Integers are big-endian.
//!
//! Not here: how messages travel (collectors/bus), or what the door decides about one (ledger/log).

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::entry::Flags;
use crate::ids::{Epoch, Sequence};
use crate::state::Stream;

const LABEL: &[u8] = b"custody message v1";
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
    /// The MAC that this message must carry if `key` is its source's.
    pub fn expected_mac(&self, key: &[u8; 32]) -> MessageMac {
        message_mac(
            key,
            self.stream,
            self.epoch,
            self.sequence,
            &self.prev,
            &self.value,
        )
    }

    /// Sets the MAC, for senders.
    pub fn seal(&mut self, key: &[u8; 32]) {
        self.mac = self.expected_mac(key);
    }
}

/// The MAC of a message: 32 bytes.
pub fn message_mac(
    key: &[u8; 32],
    stream: Stream,
    epoch: Epoch,
    sequence: Sequence,
    prev: &MessageMac,
    value: &[u8],
) -> MessageMac {
    let mut mac = match Hmac::<Sha256>::new_from_slice(key) {
        Ok(mac) => mac,
        // HMAC takes keys of any length (RFC 2104 section 2).
        Err(_) => unreachable!("HMAC-SHA-256 takes a key of 32 bytes"),
    };
    mac.update(LABEL);
    mac.update(&[stream.number()]);
    mac.update(&epoch.0.to_be_bytes());
    mac.update(&sequence.0.to_be_bytes());
    mac.update(prev);
    mac.update(&Sha256::digest(value));
    mac.finalize().into_bytes().into()
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
        let key = [7; 32];
        let mac = message.expected_mac(&key);
        let differs = |change: &dyn Fn(&mut Message)| {
            let mut other = message.clone();
            change(&mut other);
            assert_ne!(other.expected_mac(&key), mac, "{other:?}");
        };
        differs(&|m| m.stream = Stream::Heartbeat);
        differs(&|m| m.epoch = Epoch(6));
        differs(&|m| m.sequence = Sequence(2));
        differs(&|m| m.prev = [1; 32]);
        differs(&|m| m.value = b"[]".to_vec());
        assert_ne!(message.expected_mac(&[8; 32]), mac);
        assert_eq!(message.clone().expected_mac(&key), mac);
    }
}
