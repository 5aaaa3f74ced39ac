//! What anyone may know about keys: how a verifier key, a signed note and a trust file are written,
//! what each kind of signature covers, and whether a checkpoint holds against a trust file.
//!
//! Reading order: [`key`] (verifier keys), [`note`] (signed notes as text), [`signature`] (what a
//! signature covers, and checking one), [`checkpoint`] (the two halves that a log signs with, and
//! what was verified), [`quorum`], [`trust`] and [`trust_error`] (trust files), [`signer`] (the
//! seam that both the local keystore and a remote one implement).
//!
//! **Invariant:** a [`VerifiedCheckpoint`] and a [`LogSigned`] come from verification only; nothing
//! else in this crate or outside of it can make one.
//!
//! Deliberately not here: no secret key, no file, clock, randomness or socket; no proof (they are
//! in ledger/core); no people's identities yet.

pub mod checkpoint;
pub mod key;
pub mod note;
pub mod quorum;
pub mod signature;
pub mod signer;
pub mod trust;
pub mod trust_error;

#[cfg(test)]
mod examples;
#[cfg(test)]
mod vectors;

pub use checkpoint::{CheckpointRefusal, LogKeys, LogKeysError, LogSigned, VerifiedCheckpoint};
pub use key::{KeyError, KeyKind, KeyName, KeyNameError, VerifierKey};
pub use note::{MalformedNote, Note, SignatureLine};
pub use signature::{NoteError, VerifiedSignature, ed25519_cosignature_message, ml_dsa_message};
pub use signer::{Half, SecondOpinionRefused, SignRefusal, Signer};
pub use trust::{TrustFile, trust_file_for};
pub use trust_error::TrustFileError;
