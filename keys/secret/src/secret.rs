//! Keys in memory: a pair of signing keys, and a 32-byte HMAC key.
//!
//! Not here: files (see [`crate::store`]); which checkpoint may be signed (see
//! [`crate::local_signer`]).

use std::fmt;
use std::hint::black_box;

use ed25519_dalek::Signer as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use keys_public::ml_dsa_message;
use keys_public::{KeyKind, KeyName, LogKeys, MalformedNote, Note, SignatureLine, VerifierKey};
use ledger_core::Checkpoint;
use ledger_core::two::SHA256_INITIAL;
use pqcrypto_mldsa::mldsa44;
use pqcrypto_traits::sign::{DetachedSignature as _, PublicKey as _, SecretKey as _};
use sha2::Sha256;
use sha2::block_api::compress256;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::key_file::{Algorithm, KeyFile, Purpose};

/// What the self-test at loading signs. It begins like no message that Custody verifies.
const PROBE: &[u8] = b"custody key probe v1";

/// 32 secret bytes for HMAC-SHA-256, wiped when dropped.
///
/// Kept as HMAC uses them: followed by zeros up to SHA-256's block length (RFC 2104 section 2).
/// Each copy is wiped by itself.
#[derive(Clone)]
pub struct SecretKey32 {
    block: Zeroizing<[u8; BLOCK]>,
    /// What SHA-256 makes of the block with the inner and with the outer padding: every HMAC
    /// begins with these two.
    padded: Zeroizing<[[u32; 8]; 2]>,
}

const BLOCK: usize = 64;
/// Most bytes that two blocks hold with their padding.
const SHORT_MAX: usize = 2 * BLOCK - 9;

/// SHA-256 of one block, which made `state`, and at most [`SHORT_MAX`] bytes behind it.
fn sha256_behind_block<'a>(state: &[u32; 8], pieces: impl Iterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut state = Zeroizing::new(*state);
    let mut blocks = [[0; BLOCK]; 2];
    let mut rest = blocks.as_flattened_mut();
    let mut bytes = BLOCK;
    for piece in pieces.chain(std::iter::once(&[0x80][..])) {
        let (to, behind) = std::mem::take(&mut rest).split_at_mut(piece.len());
        to.copy_from_slice(piece);
        rest = behind;
        bytes += piece.len();
    }
    let bits = (bytes as u64 - 1) * 8;
    let count = if rest.len() >= BLOCK + 8 { 1 } else { 2 };
    let (used, _) = blocks.split_at_mut(count);
    if let Some(place) = used.last_mut().and_then(|block| block.last_chunk_mut()) {
        *place = bits.to_be_bytes();
    }
    compress256(&mut state, used);
    let mut digest = [0; 32];
    for (to, word) in digest.chunks_exact_mut(4).zip(state.iter()) {
        to.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

impl SecretKey32 {
    /// Takes 32 bytes as a key; they should be random.
    pub fn from_bytes(bytes: &[u8; 32]) -> SecretKey32 {
        let mut block = Zeroizing::new([0; BLOCK]);
        for (to, from) in block.iter_mut().zip(bytes) {
            *to = *from;
        }
        let mut padded = Zeroizing::new([SHA256_INITIAL; 2]);
        for (state, padding) in padded.iter_mut().zip([0x36, 0x5c]) {
            let block = Zeroizing::new(block.map(|byte| byte ^ padding));
            compress256(state, std::slice::from_ref(&*block));
        }
        SecretKey32 { block, padded }
    }

    /// HMAC-SHA-256 over `label` and `parts`, one after the other with nothing between.
    ///
    /// Two calls with the same joined bytes have the same result: give every part but one a fixed
    /// length, and each use a label of its own of which none begins with another.
    pub fn hmac(&self, label: &[u8], parts: &[&[u8]]) -> [u8; 32] {
        let pieces = || std::iter::once(&label).chain(parts).copied();
        if pieces().map(<[u8]>::len).sum::<usize>() <= SHORT_MAX {
            let [inner, outer] = &*self.padded;
            let inner = sha256_behind_block(inner, pieces());
            return sha256_behind_block(outer, std::iter::once(inner.as_slice()));
        }
        let block: &[u8; BLOCK] = &self.block;
        let mut mac = Hmac::<Sha256>::new(block.into());
        mac.update(label);
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for SecretKey32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey32(…)")
    }
}

/// An Ed25519 and an ML-DSA-44 secret key under one name, with their public halves.
pub struct SigningPair {
    public: LogKeys,
    ed25519: ed25519_dalek::SigningKey,
    ml_dsa: MlDsaSecret,
}

impl SigningPair {
    /// The public halves.
    pub fn public(&self) -> &LogKeys {
        &self.public
    }

    /// A note of `checkpoint` with both signatures. `timestamp` is in Unix seconds.
    ///
    /// Not public: only [`crate::LocalSigner`] knows whether the checkpoint may be signed.
    pub(crate) fn sign(
        &self,
        checkpoint: &Checkpoint,
        timestamp: u64,
    ) -> Result<Note, MalformedNote> {
        let mut note = Note::new(checkpoint.encode())?;
        let classical = self
            .ed25519
            .sign(note.text().as_bytes())
            .to_bytes()
            .to_vec();
        note.add(SignatureLine::of(self.public.ed25519(), classical))?;
        let message = ml_dsa_message(self.public.ml_dsa().name(), timestamp, checkpoint);
        let mut bytes = timestamp.to_be_bytes().to_vec();
        bytes.extend_from_slice(mldsa44::detached_sign(&message, &self.ml_dsa.0).as_bytes());
        note.add(SignatureLine::of(self.public.ml_dsa(), bytes))?;
        Ok(note)
    }

    /// Two fresh key files under `name`, the Ed25519 one first.
    pub(crate) fn generate(purpose: Purpose, name: &str) -> Result<[KeyFile; 2], getrandom::Error> {
        let ed25519 = SigningPair::ed25519_file(purpose, name)?;
        // pqcrypto takes its own randomness and gives no seed: the encoded keys are what is kept.
        let (public, secret) = mldsa44::keypair();
        let secret = MlDsaSecret(Box::new(secret));
        let ml_dsa = KeyFile {
            algorithm: Algorithm::MlDsa44,
            purpose,
            name: name.to_owned(),
            public: public.as_bytes().to_vec(),
            secret: Zeroizing::new(secret.0.as_bytes().to_vec()),
        };
        Ok([ed25519, ml_dsa])
    }

    /// A fresh Ed25519 key file under `name`.
    pub(crate) fn ed25519_file(purpose: Purpose, name: &str) -> Result<KeyFile, getrandom::Error> {
        let mut seed = Zeroizing::new([0u8; 32]);
        getrandom::fill(seed.as_mut_slice())?;
        let public = ed25519_dalek::SigningKey::from_bytes(&seed)
            .verifying_key()
            .to_bytes();
        Ok(KeyFile {
            algorithm: Algorithm::Ed25519,
            purpose,
            name: name.to_owned(),
            public: public.to_vec(),
            secret: Zeroizing::new(seed.to_vec()),
        })
    }

    /// Takes the content of two key files, whose purposes and names the caller has checked.
    pub(crate) fn load(ed25519: &KeyFile, ml_dsa: &KeyFile) -> Result<SigningPair, PairError> {
        let mut seed = Zeroizing::new([0u8; 32]);
        if ed25519.secret.len() != seed.len() {
            return Err(PairError::Ed25519);
        }
        seed.copy_from_slice(&ed25519.secret);
        let signing = ed25519_dalek::SigningKey::from_bytes(&seed);
        if signing.verifying_key().as_bytes().as_slice() != ed25519.public {
            return Err(PairError::Ed25519);
        }
        let secret = MlDsaSecret::load(ml_dsa)?;
        let verifier = |file: &KeyFile, kind| {
            let name = KeyName::new(&file.name).map_err(|_| PairError::Name)?;
            VerifierKey::new(name, kind, &file.public).map_err(|_| PairError::Name)
        };
        let public = LogKeys::new(
            verifier(ed25519, KeyKind::Ed25519)?,
            verifier(ml_dsa, KeyKind::MlDsa44)?,
        );
        let public = public.map_err(|_| PairError::Name)?;
        Ok(SigningPair {
            public,
            ed25519: signing,
            ml_dsa: secret,
        })
    }
}

impl fmt::Debug for SigningPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningPair({})", self.public.origin())
    }
}

/// Why two key files are no pair of signing keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum PairError {
    /// The Ed25519 public part is not that of the secret part.
    #[error("the public and the secret part of its Ed25519 key do not belong together")]
    Ed25519,
    /// The ML-DSA-44 public part is not that of the secret part.
    #[error("the public and the secret part of its ML-DSA-44 key do not belong together")]
    MlDsa44,
    /// Two names, or one that is no origin.
    #[error("its two keys have no common name that is an origin")]
    Name,
}

/// The one long-lived copy of the secret key, overwritten when dropped as well as safe code can:
/// the crate's type is `Copy` and offers neither wiping nor access to its bytes for writing.
struct MlDsaSecret(Box<mldsa44::SecretKey>);

impl MlDsaSecret {
    fn load(file: &KeyFile) -> Result<MlDsaSecret, PairError> {
        let secret =
            mldsa44::SecretKey::from_bytes(&file.secret).map_err(|_| PairError::MlDsa44)?;
        let secret = MlDsaSecret(Box::new(secret));
        let public =
            mldsa44::PublicKey::from_bytes(&file.public).map_err(|_| PairError::MlDsa44)?;
        // The public key cannot be computed through this crate; a signature that holds shows the
        // same.
        let probe = mldsa44::detached_sign(PROBE, &secret.0);
        mldsa44::verify_detached_signature(&probe, PROBE, &public)
            .map_err(|_| PairError::MlDsa44)?;
        Ok(secret)
    }
}

impl Drop for MlDsaSecret {
    fn drop(&mut self) {
        if let Ok(empty) = mldsa44::SecretKey::from_bytes(&[0; 2560]) {
            *self.0 = empty;
        }
        // The overwriting must not be optimised away as a write that nobody reads.
        black_box(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use ledger_core::{Origin, TreeSize, leaf_hash};

    use super::*;

    fn checkpoint(origin: &str) -> Checkpoint {
        let origin = Origin::new(origin).unwrap();
        Checkpoint {
            origin,
            size: TreeSize(3),
            root: leaf_hash(b"x"),
        }
    }

    #[test]
    fn a_fresh_pair_signs_what_the_other_implementations_verify() {
        let [ed25519, ml_dsa] = SigningPair::generate(Purpose::Log, "log.example/a").unwrap();
        let pair = SigningPair::load(&ed25519, &ml_dsa).unwrap();
        let note = pair.sign(&checkpoint("log.example/a"), 77).unwrap();
        // keys/public verifies with dalek and ml-dsa, which pqcrypto has no part in.
        let verified = pair.public().verify(&note).unwrap();
        assert_eq!(verified.pq_timestamp(), 77);
        assert_eq!(Note::parse(&note.encode()).unwrap(), note);
    }

    #[test]
    fn parts_that_do_not_belong_together_are_refused() {
        let [ed25519, ml_dsa] = SigningPair::generate(Purpose::Log, "log.example/a").unwrap();
        let [other_ed25519, other_ml_dsa] =
            SigningPair::generate(Purpose::Log, "log.example/a").unwrap();
        let mixed = |own: &KeyFile, other: &KeyFile| KeyFile {
            algorithm: own.algorithm,
            purpose: own.purpose,
            name: own.name.clone(),
            public: other.public.clone(),
            secret: own.secret.clone(),
        };
        let load = |a: &KeyFile, b: &KeyFile| SigningPair::load(a, b).map(|_| ());
        assert_eq!(
            load(&mixed(&ed25519, &other_ed25519), &ml_dsa),
            Err(PairError::Ed25519)
        );
        assert_eq!(
            load(&ed25519, &mixed(&ml_dsa, &other_ml_dsa)),
            Err(PairError::MlDsa44)
        );
        assert_eq!(load(&ml_dsa, &ed25519), Err(PairError::Ed25519));
        let [_, foreign] = SigningPair::generate(Purpose::Log, "log.example/b").unwrap();
        assert_eq!(load(&ed25519, &foreign), Err(PairError::Name));
        assert_eq!(load(&ed25519, &ml_dsa), Ok(()));
    }

    #[test]
    fn hmac_is_that_of_rfc_4231_and_debug_shows_no_key() {
        // RFC 4231, test case 1, has a key of 20 bytes; HMAC pads keys with zeros.
        let mut bytes = [0u8; 32];
        bytes[..20].fill(0x0b);
        let key = SecretKey32::from_bytes(&bytes);
        let mac = key.hmac(b"Hi ", &[b"The", b"re"]);
        let hex: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
        assert_eq!(format!("{key:?}"), "SecretKey32(…)");
    }

    #[test]
    fn hmac_of_any_length_is_that_of_the_hmac_crate() {
        let key = SecretKey32::from_bytes(&[0xA7; 32]);
        let bytes: Vec<u8> = (0..=255).collect();
        for len in 0..bytes.len() {
            let mut mac = Hmac::<Sha256>::new_from_slice(&[0xA7; 32]).unwrap();
            mac.update(b"label");
            mac.update(&bytes[..len]);
            let expected: [u8; 32] = mac.finalize().into_bytes().into();
            let (one, other) = bytes[..len].split_at(len / 3);
            assert_eq!(key.hmac(b"label", &[one, other]), expected, "{len}");
            assert_ne!(key.hmac(b"lABEL", &[one, other]), expected, "{len}");
        }
    }
}
