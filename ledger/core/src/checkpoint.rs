//! The body of a checkpoint: origin, size and root in three lines (C2SP tlog-checkpoint).
//!
//! Extension lines are refused: ML-DSA cosignatures do not cover them, so a note with one would say
//! different things to its two signatures.
//!
//! Not here: the signed note around it (keys/public).

use std::fmt;

use crate::hash::Hash;
use crate::ids::TreeSize;

/// The name of a log, `<deployment>/<tenant>/<label>`: a URL without a scheme.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Origin(String);

/// Why bytes are not a checkpoint body of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The origin is empty, too long, or has a space, `+` or control character.
    #[error("{origin:?} is no origin: 1 to 255 bytes without space, '+' or control characters")]
    Origin {
        /// The text, cut at 255 characters.
        origin: String,
    },
    /// Fewer than three lines, or the last one does not end.
    #[error("the checkpoint has {lines} lines instead of three that each end with a line feed")]
    Lines {
        /// The number of ended lines.
        lines: usize,
    },
    /// More than three lines.
    #[error("the checkpoint has an extension line, which its ML-DSA signature does not cover")]
    Extension,
    /// The size is not a decimal number without leading zeros.
    #[error("the checkpoint's size {text:?} is not a plain decimal number")]
    Size {
        /// The text, cut at 32 characters.
        text: String,
    },
    /// The root is not the base64 of 32 bytes.
    #[error("the checkpoint's root is not the base64 of 32 bytes")]
    Root,
}

impl Origin {
    /// Checks the rules for key names and origins (C2SP signed-note and tlog-checkpoint).
    ///
    /// # Errors
    /// [`CheckpointError::Origin`].
    pub fn new(text: &str) -> Result<Origin, CheckpointError> {
        let legal = |c: char| !c.is_control() && !c.is_whitespace() && c != '+';
        if text.is_empty() || text.len() > 255 || !text.chars().all(legal) {
            return Err(CheckpointError::Origin {
                origin: text.chars().take(255).collect(),
            });
        }
        Ok(Origin(text.to_owned()))
    }

    /// The origin's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a log's keys sign: nothing about it has been verified yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// Which log.
    pub origin: Origin,
    /// How many entries.
    pub size: TreeSize,
    /// The root of their tree.
    pub root: Hash,
}

impl Checkpoint {
    /// The three lines, each with its line feed.
    pub fn encode(&self) -> String {
        format!(
            "{}\n{}\n{}\n",
            self.origin,
            self.size,
            self.root.to_base64()
        )
    }

    /// Reads the three lines.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn parse(text: &str) -> Result<Checkpoint, CheckpointError> {
        let ended = text.matches('\n').count();
        if ended < 3 || (ended == 3 && !text.ends_with('\n')) {
            return Err(CheckpointError::Lines { lines: ended });
        }
        if ended > 3 {
            return Err(CheckpointError::Extension);
        }
        let mut lines = text.split('\n');
        let mut line = || lines.next().unwrap_or_default();
        let origin = Origin::new(line())?;
        let size = line();
        let root = line();
        let plain = size.bytes().all(|digit| digit.is_ascii_digit())
            && (size == "0" || !size.starts_with('0'));
        let parsed = size.parse().ok().filter(|_| plain);
        let Some(size) = parsed.map(TreeSize) else {
            return Err(CheckpointError::Size {
                text: size.chars().take(32).collect(),
            });
        };
        let root = Hash::from_base64(root).ok_or(CheckpointError::Root)?;
        Ok(Checkpoint { origin, size, root })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";

    #[test]
    fn malformed_bodies_are_refused_and_the_twin_read() {
        let good = format!("example.org/main/2026\n12\n{ROOT}\n");
        for (bad, reason) in [
            (String::new(), "0 lines"),
            (format!("a\n12\n{ROOT}"), "2 lines"),
            (format!("{good}more"), "3 lines"),
            (format!("{good}extension\n"), "extension"),
            (format!("\n12\n{ROOT}\n"), "no origin"),
            (format!("a b\n12\n{ROOT}\n"), "no origin"),
            (format!("a+b\n12\n{ROOT}\n"), "no origin"),
            (format!("a\n\n{ROOT}\n"), "size"),
            (format!("a\n012\n{ROOT}\n"), "size"),
            (format!("a\n+12\n{ROOT}\n"), "size"),
            (format!("a\n-1\n{ROOT}\n"), "size"),
            (format!("a\n18446744073709551616\n{ROOT}\n"), "size"),
            ("a\n12\nAAAA\n".to_owned(), "root"),
        ] {
            let error = Checkpoint::parse(&bad).unwrap_err().to_string();
            assert!(error.contains(reason), "{bad:?}: {error}");
        }
        let checkpoint = Checkpoint::parse(&good).unwrap();
        assert_eq!(checkpoint.size, TreeSize(12));
        assert_eq!(checkpoint.encode(), good);
    }
}
