//! Proof files (`.tlog-proof`, C2SP tlog-proof): an index, the sibling hashes and a checkpoint in
//! one text that travels by itself.
//!
//! Not here: verifying the checkpoint's signatures (keys/public).

use crate::hash::Hash;
use crate::ids::Index;

const HEADER: &str = "c2sp.org/tlog-proof@v1";
/// More sibling hashes than a tree of 2^64 leaves can need.
const HASHES_MAX: usize = 63;
/// Longest proof file read, in bytes.
pub const PROOF_FILE_MAX: usize = 1 << 20;

/// A proof file, taken apart: nothing in it has been verified yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProofFile {
    /// Unauthenticated bytes of the application, if any.
    pub extra: Option<String>,
    /// The entry's index.
    pub index: Index,
    /// Sibling hashes, leaf to root.
    pub hashes: Vec<Hash>,
    /// The signed note.
    pub checkpoint: String,
}

/// Why a text is no proof file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofFileError {
    /// More than [`PROOF_FILE_MAX`] bytes.
    #[error("the proof file has more than {PROOF_FILE_MAX} bytes")]
    TooLong,
    /// The first line is another one.
    #[error("the proof file does not begin with the line {HEADER:?}")]
    Header,
    /// No plain `index <n>` line where it must be.
    #[error("the proof file has no line \"index <number>\" after its header")]
    Index,
    /// A line that should be a hash is none.
    #[error("line {line} of the proof file is not the base64 of a hash")]
    Hash {
        /// The line's number, from 1.
        line: usize,
    },
    /// More hashes than any tree needs.
    #[error("the proof file has more than {HASHES_MAX} hashes")]
    TooManyHashes,
    /// The blank line or what follows it is missing.
    #[error("the proof file has no checkpoint after a blank line")]
    Checkpoint,
}

impl ProofFile {
    /// The text of the file.
    pub fn encode(&self) -> String {
        let mut out = format!("{HEADER}\n");
        if let Some(extra) = &self.extra {
            out.push_str(&format!("extra {extra}\n"));
        }
        out.push_str(&format!("index {}\n", self.index));
        for hash in &self.hashes {
            out.push_str(&hash.to_base64());
            out.push('\n');
        }
        out.push('\n');
        out.push_str(&self.checkpoint);
        out
    }

    /// Reads a file.
    ///
    /// # Errors
    /// The first line that is not as specified.
    pub fn parse(text: &str) -> Result<ProofFile, ProofFileError> {
        if text.len() > PROOF_FILE_MAX {
            return Err(ProofFileError::TooLong);
        }
        let (proof, checkpoint) = text.split_once("\n\n").ok_or(ProofFileError::Checkpoint)?;
        if checkpoint.is_empty() {
            return Err(ProofFileError::Checkpoint);
        }
        let mut lines = proof.split('\n').zip(1..).peekable();
        if lines.next().map(|(line, _)| line) != Some(HEADER) {
            return Err(ProofFileError::Header);
        }
        let extra = lines.next_if(|(line, _)| line.starts_with("extra "));
        let extra = extra.and_then(|(line, _)| line.strip_prefix("extra ").map(str::to_owned));
        let index = lines
            .next()
            .and_then(|(line, _)| line.strip_prefix("index "));
        let number =
            index.and_then(|text| text.parse::<u64>().ok().filter(|n| n.to_string() == text));
        let index = number.map(Index).ok_or(ProofFileError::Index)?;
        let mut hashes = Vec::new();
        for (text, line) in lines {
            hashes.push(Hash::from_base64(text).ok_or(ProofFileError::Hash { line })?);
        }
        if hashes.len() > HASHES_MAX {
            return Err(ProofFileError::TooManyHashes);
        }
        Ok(ProofFile {
            extra,
            index,
            hashes,
            checkpoint: checkpoint.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_files_are_refused_and_the_twins_read() {
        let hash = Hash([3; 32]).to_base64();
        let good = format!("{HEADER}\nindex 7\n{hash}\n{hash}\n\nnote\n");
        for (bad, error) in [
            (good.replacen("@v1", "@v2", 1), ProofFileError::Header),
            (
                good.replacen("index 7", "index 07", 1),
                ProofFileError::Index,
            ),
            (good.replacen("index 7\n", "", 1), ProofFileError::Index),
            (
                good.replacen(&hash, "AAAA", 1),
                ProofFileError::Hash { line: 3 },
            ),
            (
                good.replacen("\n\nnote", "\nnote", 1),
                ProofFileError::Checkpoint,
            ),
            (good.replacen("note\n", "", 1), ProofFileError::Checkpoint),
            (
                good.replacen(&hash, &vec![hash.as_str(); 64].join("\n"), 1),
                ProofFileError::TooManyHashes,
            ),
            ("x".repeat(PROOF_FILE_MAX + 1), ProofFileError::TooLong),
        ] {
            assert_eq!(ProofFile::parse(&bad), Err(error), "{bad:.80}");
        }
        let proof = ProofFile::parse(&good).unwrap();
        assert_eq!((proof.index, proof.hashes.len()), (Index(7), 2));
        assert_eq!(proof.encode(), good);
        let with_extra = good.replacen("index", "extra AAAA\nindex", 1);
        assert_eq!(ProofFile::parse(&with_extra).unwrap().encode(), with_extra);
    }
}
