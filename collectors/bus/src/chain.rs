//! The chain of a stream: each message is numbered, names the MAC of the one before it, and is
//! authenticated with the source's own key (docs/formats/messages.md).
//!
//! Not here: where a number is bound before it leaves (the journal, collectors/agent), and who
//! checks it (ledger/log).

use std::fmt;

use keys_secret::SecretKey32;
use ledger_core::message::{MESSAGE_LABEL, Message, MessageMac, VALUE_MAX};
use ledger_core::state::Stream;
use ledger_core::{Epoch, Flags, Hash, Sequence, SourceId};

/// What separates the key of digests from the key's other use.
const DIGEST_LABEL: &[u8] = b"custody digest key v1";

/// What a source proves itself with.
pub struct Credentials {
    /// Its number in the log.
    pub source: SourceId,
    /// Its own key.
    pub key: SecretKey32,
}

impl Credentials {
    /// The key for digests of unmasked bytes, which no digest of ours goes without.
    pub fn digest_key(&self) -> [u8; 32] {
        self.key.hmac(DIGEST_LABEL, &[])
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials(source {}, …)", self.source)
    }
}

/// Why a chain takes no further message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainEnded {
    /// The last number of the stream was given: a new epoch begins at 1.
    #[error("the stream has no number after {last}: open a new epoch")]
    NoNumber {
        /// The last number.
        last: Sequence,
    },
    /// The value is larger than any that is taken; it got no number.
    #[error("a value of {len} bytes cannot be sent, at most {VALUE_MAX} are taken")]
    TooLong {
        /// Its length.
        len: usize,
    },
}

/// One stream of one epoch of a source: seals messages in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    stream: Stream,
    epoch: Epoch,
    last: Option<(Sequence, MessageMac)>,
}

impl Chain {
    /// The chain behind `last`, the number and MAC of the message sealed last in this stream and
    /// epoch; `None` for a chain that begins.
    pub fn new(stream: Stream, epoch: Epoch, last: Option<(Sequence, MessageMac)>) -> Chain {
        Chain {
            stream,
            epoch,
            last,
        }
    }

    /// The number and MAC of the message sealed last.
    pub fn last(&self) -> Option<(Sequence, MessageMac)> {
        self.last
    }

    /// The epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Numbers and seals `value` as the next message. Of `flags` only [`Flags::REREAD`] means
    /// something; it is outside the MAC, as the log decides about it.
    ///
    /// # Errors
    /// A value that is too long, or no number left; the chain stays as it was.
    pub fn seal(
        &mut self,
        key: &SecretKey32,
        value: Vec<u8>,
        flags: Flags,
    ) -> Result<Message, ChainEnded> {
        let digest = Hash::sha256(&value);
        self.seal_digested(key, (value, digest), flags)
    }

    /// The same for a value whose SHA-256 is known: of many values it is found for less
    /// ([`ledger_core::two`]).
    ///
    /// # Errors
    /// As [`Chain::seal`].
    pub fn seal_digested(
        &mut self,
        key: &SecretKey32,
        (value, digest): (Vec<u8>, Hash),
        flags: Flags,
    ) -> Result<Message, ChainEnded> {
        let len = value.len();
        if len > VALUE_MAX {
            return Err(ChainEnded::TooLong { len });
        }
        let (last, prev) = self.last.unwrap_or((Sequence(0), [0; 32]));
        let next = last.0.checked_add(1);
        let sequence = Sequence(next.ok_or(ChainEnded::NoNumber { last })?);
        let mut message = Message {
            stream: self.stream,
            epoch: self.epoch,
            sequence,
            prev,
            mac: [0; 32],
            flags,
            value,
        };
        message.mac = key.hmac(MESSAGE_LABEL, &[&message.mac_input_of(&digest)]);
        self.last = Some((sequence, message.mac));
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SecretKey32 {
        SecretKey32::from_bytes(&[4; 32])
    }

    #[test]
    fn what_cannot_be_sealed_takes_no_number() {
        let epoch = Epoch(5);
        let mut chain = Chain::new(Stream::Record, epoch, None);
        let len = VALUE_MAX + 1;
        let refused = chain.seal(&key(), vec![b' '; len], Flags::NONE);
        assert_eq!(refused, Err(ChainEnded::TooLong { len }));
        assert_eq!(chain.last(), None);
        let taken = chain.seal(&key(), vec![b' '; VALUE_MAX], Flags::NONE);
        assert_eq!(taken.unwrap().sequence, Sequence(1));

        let last = Sequence(u64::MAX);
        let mut full = Chain::new(Stream::Record, epoch, Some((last, [1; 32])));
        let refused = full.seal(&key(), Vec::new(), Flags::NONE);
        assert_eq!(refused, Err(ChainEnded::NoNumber { last }));
    }

    #[test]
    fn messages_are_chained_and_a_restored_chain_goes_on() {
        let mut chain = Chain::new(Stream::Record, Epoch(5), None);
        let one = chain.seal(&key(), b"{}".to_vec(), Flags::REREAD).unwrap();
        assert_eq!((one.sequence, one.prev), (Sequence(1), [0; 32]));
        assert!(one.flags.contains(Flags::REREAD));
        let mut restored = Chain::new(Stream::Record, Epoch(5), Some((one.sequence, one.mac)));
        let two = chain.seal(&key(), b"{}".to_vec(), Flags::NONE).unwrap();
        let again = restored.seal(&key(), b"{}".to_vec(), Flags::NONE).unwrap();
        assert_eq!(two, again);
        assert_eq!((two.sequence, two.prev), (Sequence(2), one.mac));
        assert_ne!(two.mac, one.mac, "number and prev are bound");
        let mut other = Chain::new(Stream::Heartbeat, Epoch(5), None);
        let heartbeat = other.seal(&key(), b"{}".to_vec(), Flags::NONE).unwrap();
        assert_ne!(heartbeat.mac, one.mac, "the stream is bound");
    }

    #[test]
    fn the_mac_is_that_of_the_format_and_debug_shows_no_key() {
        let mut chain = Chain::new(Stream::Record, Epoch(5), None);
        let message = chain.seal(&key(), b"{}".to_vec(), Flags::NONE).unwrap();
        let mac = key().hmac(b"custody message v1", &[&message.mac_input()]);
        assert_eq!(message.mac, mac);
        let credentials = Credentials {
            source: SourceId(7),
            key: key(),
        };
        assert_eq!(format!("{credentials:?}"), "Credentials(source 7, …)");
        assert_ne!(credentials.digest_key(), [4; 32]);
    }
}
