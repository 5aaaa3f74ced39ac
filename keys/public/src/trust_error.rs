//! Why a text is no trust file: one variant for each thing that is wrong with it.
//!
//! Not here: the reading itself (see [`crate::trust`]).

use thiserror::Error;

use crate::checkpoint::LogKeysError;
use crate::key::{KeyError, KeyKind};

/// Why a text is no trust file. Lines are counted from 1.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum TrustFileError {
    /// Larger than [`crate::TrustFile::BYTES_MAX`].
    #[error("the trust file has {bytes} bytes, at most 262144 are read")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// Its last line has no newline.
    #[error("the trust file does not end with a newline: it was cut, take a whole copy")]
    NotEnded,
    /// A control character other than tab and newline. Carriage returns come from some editors.
    #[error("line {line} of the trust file holds the control character {character:?}; remove it")]
    Character {
        /// The line.
        line: usize,
        /// What it holds.
        character: char,
    },
    /// A line that begins with another word than tlog-policy has.
    #[error(
        "line {line} of the trust file begins with {word:?}; use log, witness, group or quorum"
    )]
    UnknownLine {
        /// The line.
        line: usize,
        /// Its first word.
        word: String,
    },
    /// Too few or too many words.
    #[error("line {line} of the trust file is not of the form: {form}")]
    Form {
        /// The line.
        line: usize,
        /// What it should look like.
        form: &'static str,
    },
    /// A vkey that is none.
    #[error("the key on line {line} of the trust file is refused: {error}")]
    Key {
        /// The line.
        line: usize,
        /// Why.
        #[source]
        error: KeyError,
    },
    /// A witness key of the type that logs sign with.
    #[error(
        "the key on line {line} of the trust file is {kind}; a witness's key is an Ed25519 \
         cosignature (type 0x04) or ML-DSA-44 (type 0x06) key"
    )]
    WitnessKind {
        /// The line.
        line: usize,
        /// The kind of its key.
        kind: KeyKind,
    },
    /// The same public key twice, or the log's own as a witness beside it.
    #[error("line {line} of the trust file repeats a public key of an earlier line")]
    KeyRepeated {
        /// The second line.
        line: usize,
    },
    /// A second log: one trust file names one log.
    #[error("line {line} of the trust file names a second log; keep one log in a trust file")]
    SecondLog {
        /// The line.
        line: usize,
    },
    /// No log at all.
    #[error("the trust file names no log: a line `log <Ed25519 vkey>` is missing")]
    LogMissing,
    /// Half a trust file: without ML-DSA-44 an Ed25519 forger is believed.
    #[error(
        "the trust file has the classical half only: a line `witness pq <ML-DSA-44 vkey>` is \
         missing"
    )]
    PostQuantumHalfMissing,
    /// `log` and `witness pq` are no pair: another type, or another name than the log's origin.
    #[error("the log and `witness pq` of the trust file are no pair: {0}")]
    NoPair(#[from] LogKeysError),
    /// A name given twice, or the predefined `none`.
    #[error("line {line} of the trust file defines the name {name:?}, which is taken")]
    NameTaken {
        /// The line.
        line: usize,
        /// The name.
        name: String,
    },
    /// A name that no earlier line defines.
    #[error("line {line} of the trust file uses the name {name:?}, which no earlier line defines")]
    NameUnknown {
        /// The line.
        line: usize,
        /// The name.
        name: String,
    },
    /// A name that is a member of two groups, or twice of one.
    #[error("line {line} of the trust file makes {name:?} a group member for the second time")]
    MemberRepeated {
        /// The line.
        line: usize,
        /// The name.
        name: String,
    },
    /// A threshold that is no number, zero, or above the number of members.
    #[error(
        "line {line} of the trust file has the threshold {threshold:?}; use any, all or a number \
         from 1 to {members}"
    )]
    Threshold {
        /// The line.
        line: usize,
        /// What it says.
        threshold: String,
        /// How many members the group has.
        members: usize,
    },
    /// No quorum line.
    #[error("the trust file has no quorum line: end it with `quorum pq`")]
    QuorumMissing,
    /// Two quorum lines.
    #[error("line {line} of the trust file is a second quorum line")]
    SecondQuorum {
        /// The line.
        line: usize,
    },
    /// A quorum that can be met without the log's ML-DSA-44 half.
    #[error(
        "the quorum {quorum:?} of the trust file can be met without `pq`, the log's other half"
    )]
    QuorumWithoutPostQuantum {
        /// The name on the quorum line.
        quorum: String,
    },
    /// More than [`crate::TrustFile::WITNESSES_MAX`] or [`crate::TrustFile::GROUPS_MAX`].
    #[error("line {line} of the trust file is one too many: at most 64 witnesses and 64 groups")]
    TooMany {
        /// The line.
        line: usize,
    },
}
