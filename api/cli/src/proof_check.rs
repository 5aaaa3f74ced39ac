//! `custody verify --proof FILE`: one entry, from its proof file, the payload beside it and a trust
//! file alone: signatures, the path to the root, and every part against the entry's commitment.
//!
//! Not here: whole logs (ledger/verify), and making proofs (`custody proof`).

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keys_public::{CheckpointRefusal, MalformedNote, Note, TrustFile};
use ledger_core::bytes::FormatError;
use ledger_core::proof_file::{ProofFile, ProofFileError};
use ledger_core::{
    Entry, Hash, Index, PART_COUNT, Part, ProofError, Salt, TreeSize, part_commitment,
    payload_commitment, verify_inclusion,
};
use serde::Deserialize;
use serde_json::json;
use thiserror::Error;

use crate::error::{CommandError, one_line};
use crate::exit::Exit;
use crate::output::{Colour, Output, utc_seconds};

/// What was shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Proven {
    pub(crate) index: Index,
    pub(crate) entry: Entry,
    pub(crate) size: TreeSize,
    pub(crate) pq_timestamp: u64,
    pub(crate) parts_present: usize,
    pub(crate) parts_erased: usize,
}

/// Why a proof does not show what it claims.
#[derive(Debug, Error)]
pub(crate) enum ProofRefused {
    /// The proof file.
    #[error("the proof file is malformed: {0}")]
    File(#[from] ProofFileError),
    /// Its checkpoint.
    #[error("its checkpoint is no signed note: {0}")]
    Note(#[from] MalformedNote),
    /// Its signatures.
    #[error("its checkpoint is refused: {0}")]
    Checkpoint(#[from] CheckpointRefusal),
    /// The path to the root.
    #[error("the entry is not shown to be in the log: {0}")]
    Proof(#[from] ProofError),
    /// The payload file.
    #[error("the payload file is malformed: {what}")]
    Payload {
        /// What is wrong with it.
        what: String,
    },
    /// The entry in it.
    #[error("the payload file's entry is none: {0}")]
    Entry(#[from] FormatError),
    /// The payload file belongs to another proof.
    #[error("the payload file is of entry {found}, the proof of entry {expected}")]
    OtherEntry {
        /// The index in the proof.
        expected: Index,
        /// The index in the payload file.
        found: u64,
    },
    /// The parts.
    #[error("the payload is not what entry {index} commits to: it was changed")]
    Commitment {
        /// The entry.
        index: Index,
    },
}

/// The file that `custody proof` writes beside a proof.
#[derive(Deserialize)]
struct Payload {
    index: u64,
    entry: String,
    parts: Vec<PayloadPart>,
}

#[derive(Deserialize)]
struct PayloadPart {
    part: String,
    salt: Option<String>,
    bytes: Option<String>,
    erased: Option<String>,
}

/// Most bytes of a payload file: three parts of the largest event, in base64, and the rest.
const PAYLOAD_BYTES_MAX: u64 = 8 << 20;

/// Reads the two files, checks, and prints.
///
/// # Errors
/// Files that cannot be read, stdout. A refusal is no error but data.
pub(crate) fn run(
    proof_path: &Path,
    trust: &TrustFile,
    output: &Output,
) -> Result<Exit, CommandError> {
    let payload_path = payload_path(proof_path)?;
    let proof = fs::read(proof_path).map_err(CommandError::file("reading", proof_path))?;
    let file = |path| CommandError::file("reading", path);
    if fs::metadata(&payload_path)
        .map_err(file(&payload_path))?
        .len()
        > PAYLOAD_BYTES_MAX
    {
        let shown = payload_path.display();
        return Err(CommandError::Usage(format!(
            "{shown} is too long for a payload file"
        )));
    }
    let payload = fs::read(&payload_path).map_err(file(&payload_path))?;
    let proven = check(&proof, &payload, trust);
    print(proof_path, &proven, trust, output).map_err(CommandError::Stdout)?;
    Ok(if proven.is_ok() {
        Exit::Done
    } else {
        Exit::Found
    })
}

/// `17.payload.json` for `17.tlog-proof`.
fn payload_path(proof: &Path) -> Result<PathBuf, CommandError> {
    if proof
        .extension()
        .is_some_and(|extension| extension == "tlog-proof")
    {
        return Ok(proof.with_extension("payload.json"));
    }
    Err(CommandError::Usage(format!(
        "{} is not named INDEX.tlog-proof: give the file that `custody proof` wrote, with its \
         INDEX.payload.json beside it",
        proof.display()
    )))
}

/// Checks one entry.
pub(crate) fn check(
    proof: &[u8],
    payload: &[u8],
    trust: &TrustFile,
) -> Result<Proven, ProofRefused> {
    let proof = ProofFile::parse(&String::from_utf8_lossy(proof))?;
    let verified = trust.verify(&Note::parse(proof.checkpoint.as_bytes())?)?;
    let malformed = |error: serde_json::Error| ProofRefused::Payload {
        what: error.to_string(),
    };
    let payload: Payload = serde_json::from_slice(payload).map_err(malformed)?;
    if payload.index != proof.index.0 {
        let (expected, found) = (proof.index, payload.index);
        return Err(ProofRefused::OtherEntry { expected, found });
    }
    let entry = Entry::decode(&hex(&payload.entry)?)?;
    let checkpoint = verified.checkpoint();
    let (size, root) = (checkpoint.size, &checkpoint.root);
    verify_inclusion(proof.index, size, &entry.leaf(), &proof.hashes, root)?;
    let (commitments, parts_present) = commitments(&payload.parts)?;
    if payload_commitment(&commitments) != entry.commitment {
        return Err(ProofRefused::Commitment { index: proof.index });
    }
    Ok(Proven {
        index: proof.index,
        entry,
        size,
        pq_timestamp: verified.pq_timestamp(),
        parts_present,
        parts_erased: payload.parts.len() - parts_present,
    })
}

/// The commitments of the three parts, and how many parts are there themselves.
fn commitments(parts: &[PayloadPart]) -> Result<([Hash; PART_COUNT], usize), ProofRefused> {
    let bad = |what: &str| ProofRefused::Payload {
        what: what.to_owned(),
    };
    let mut commitments = [Hash::ZERO; PART_COUNT];
    let mut present = 0;
    for stored in parts {
        let part = Part::ALL
            .into_iter()
            .find(|part| part.name() == stored.part);
        let part = part.ok_or_else(|| bad("a part has an unknown name"))?;
        let slot = commitments.get_mut(usize::from(part.number()));
        let slot = slot.filter(|slot| **slot == Hash::ZERO);
        let slot = slot.ok_or_else(|| bad("a part is there twice"))?;
        *slot = match (&stored.salt, &stored.bytes, &stored.erased) {
            (Some(salt), Some(bytes), None) => {
                let salt = hex(salt)?
                    .try_into()
                    .map_err(|_| bad("a salt is not 16 bytes"))?;
                let bytes = STANDARD
                    .decode(bytes)
                    .map_err(|_| bad("bytes are not base64"))?;
                present += 1;
                part_commitment(part, &Salt(salt), &bytes)
            }
            (None, None, Some(hash)) => {
                Hash::from_hex(hash).ok_or_else(|| bad("a commitment is not 32 bytes"))?
            }
            _ => {
                return Err(bad(
                    "a part has neither salt and bytes nor a commitment alone",
                ));
            }
        };
    }
    Ok((commitments, present))
}

fn hex(text: &str) -> Result<Vec<u8>, ProofRefused> {
    let bad = || ProofRefused::Payload {
        what: "hexadecimal digits were expected".to_owned(),
    };
    if !text.len().is_multiple_of(2) || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(bad());
    }
    let pair = |pair: &[u8]| {
        let digits = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(digits, 16).ok()
    };
    text.as_bytes()
        .chunks(2)
        .map(|two| pair(two).ok_or_else(bad))
        .collect()
}

fn print(
    path: &Path,
    proven: &Result<Proven, ProofRefused>,
    trust: &TrustFile,
    output: &Output,
) -> std::io::Result<()> {
    let file = path.display().to_string();
    match proven {
        _ if output.is_json() => output.json(&match proven {
            Ok(proven) => json!({
                "verified": true,
                "file": file,
                "origin": trust.origin().as_str(),
                "index": proven.index.0,
                "size": proven.size.0,
                "signed": proven.pq_timestamp,
                "parts": proven.parts_present,
                "parts_erased": proven.parts_erased,
            }),
            Err(error) => json!({ "verified": false, "file": file, "what": one_line(error) }),
        }),
        Ok(proven) => {
            let at = utc_seconds(proven.pq_timestamp);
            let ok = |name: &str| output.paint(Colour::Green, &format!("{name:<8}"));
            let kind = proven
                .entry
                .kind
                .name()
                .unwrap_or("entry of a later version");
            let index = proven.index;
            output.line(&format!(
                "{}  entry {index} of {}: {kind}",
                ok("verified"),
                trust.origin()
            ))?;
            output.line(&format!(
                "{}  under the root of {} entries",
                ok("included"),
                proven.size
            ))?;
            output.line(&format!("{}  Ed25519 and ML-DSA-44, {at}", ok("signed")))?;
            let parts = proven.parts_present;
            let erased = match proven.parts_erased {
                0 => String::new(),
                erased => format!(", {erased} erased"),
            };
            output.line(&format!("{}  {parts} parts match{erased}", ok("payload")))
        }
        Err(error) => {
            let refused = output.paint(Colour::Red, "refused");
            output.line(&format!("{refused}   {file}: {}", one_line(error)))
        }
    }
}
