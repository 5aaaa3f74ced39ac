//! The facts of a log that lacks what it had said: what a `recovery` entry keeps of it.
//!
//! Not here: who finds it (ledger/log, collectors/bus).

use ledger_core::{Epoch, Hash, Nanos, Sequence, SourceId, TreeSize};
use serde::{Deserialize, Serialize};

use crate::wire;

/// A proof that a log was restored from a copy older than what it had said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// The size that had been published.
    #[serde(with = "wire::size")]
    pub published: TreeSize,
    /// The size that the log had.
    #[serde(with = "wire::size")]
    pub size: TreeSize,
    /// What shows it.
    pub proof: LostProof,
}

/// What shows that a log lacks what it had said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LostProof {
    /// A source showed the receipt of an acknowledgement.
    Receipt(LostReceipt),
    /// A checkpoint with the log's own signatures that the log does not hold.
    Checkpoint(LostCheckpoint),
}

/// What the receipt of a source says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostReceipt {
    /// The source that showed its receipt.
    #[serde(with = "wire::source")]
    pub source: SourceId,
    /// The epoch that had been acknowledged.
    #[serde(with = "wire::epoch")]
    pub epoch: Epoch,
    /// The record number that had been acknowledged.
    #[serde(with = "wire::sequence")]
    pub acknowledged: Sequence,
    /// The number that the log held of that epoch.
    #[serde(with = "wire::sequence")]
    pub held: Sequence,
    /// When it had been acknowledged, in ledger time.
    #[serde(with = "wire::nanos")]
    pub at: Nanos,
}

/// What a checkpoint of the log says that the log does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostCheckpoint {
    /// Its root, in hexadecimal digits.
    #[serde(with = "wire::hash")]
    pub root: Hash,
    /// When it was signed, as its ML-DSA-44 half states.
    #[serde(with = "wire::nanos")]
    pub signed: Nanos,
}
