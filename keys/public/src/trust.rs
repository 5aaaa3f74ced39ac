//! Trust files: what an auditor keeps from the first day on and checks every checkpoint against.
//!
//! A trust file is a C2SP tlog-policy that names exactly one log, with `log <Ed25519 vkey>`, the
//! log's other half as `witness pq <ML-DSA-44 vkey>` under the same key name, further witnesses and
//! groups if there are any, and a `quorum` that cannot be met without `pq`. So any tool that knows
//! tlog-policy asks for both halves, without knowing Custody.
//!
//! Not here: reading the file; when a quorum that is not met holds publication back (ledger/log).

use std::fmt;

use ledger_core::{Hash, Origin};

use crate::checkpoint::{CheckpointRefusal, LogKeys, VerifiedCheckpoint};
use crate::key::{KeyKind, VerifierKey};
use crate::note::Note;
use crate::quorum::{Group, Member, is_met, needs};
use crate::signature::NoteError;
use crate::trust_error::TrustFileError;

/// The name under which the log's ML-DSA-44 half stands in its trust file.
const PQ: &str = "pq";

/// A trust file that was read and found whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrustFile {
    text: String,
    keys: LogKeys,
    /// Further witnesses are those whose name is not `pq`.
    witnesses: Vec<(String, VerifierKey)>,
    groups: Vec<Group>,
    quorum: Member,
    quorum_name: String,
}

impl TrustFile {
    /// The largest trust file that is read, in bytes.
    pub const BYTES_MAX: usize = 256 * 1024;
    /// The most witnesses, `pq` counted (C2SP tlog-policy asks for at least 32).
    pub const WITNESSES_MAX: usize = 64;
    /// The most groups.
    pub const GROUPS_MAX: usize = 64;

    /// Reads a trust file.
    ///
    /// # Errors
    /// Whatever does not follow tlog-policy, and whatever would let a checkpoint through with one
    /// half only. Stricter than tlog-policy in that the file must be UTF-8.
    pub fn parse(text: &str) -> Result<TrustFile, TrustFileError> {
        if text.len() > TrustFile::BYTES_MAX {
            return Err(TrustFileError::TooLarge { bytes: text.len() });
        }
        let Some(lines) = text.strip_suffix('\n') else {
            return Err(TrustFileError::NotEnded);
        };
        let mut draft = Draft::default();
        for (index, line) in lines.split('\n').enumerate() {
            let number = index.saturating_add(1);
            if let Some(character) = line.chars().find(|c| is_forbidden(*c)) {
                return Err(TrustFileError::Character {
                    line: number,
                    character,
                });
            }
            draft.take(number, line)?;
        }
        draft.finish(text)
    }

    /// The origin of the one log that is trusted.
    pub fn origin(&self) -> &Origin {
        self.keys.origin()
    }

    /// The log's two keys.
    pub fn keys(&self) -> &LogKeys {
        &self.keys
    }

    /// The further witnesses: name in the file and key, in the file's order, without `pq`.
    pub fn witnesses(&self) -> impl Iterator<Item = (&str, &VerifierKey)> {
        self.witnesses
            .iter()
            .filter(|(name, _)| name != PQ)
            .map(|(name, key)| (name.as_str(), key))
    }

    /// Whether the quorum asks for more than the log's own two halves.
    pub fn needs_witnesses(&self) -> bool {
        !is_met(&self.groups, self.quorum, &|index| self.is_pq(index))
    }

    /// SHA-256 of the file's bytes: what an auditor compares with the fingerprint on paper.
    pub fn fingerprint(&self) -> Hash {
        Hash::sha256(self.text.as_bytes())
    }

    /// Checks a note against the file: a checkpoint of the one log, signed by both halves, cosigned
    /// by the quorum, and without a false line by any key that the file names.
    ///
    /// A witness's cosignature with timestamp 0 does not count: it does not say that this was the
    /// largest tree the witness had seen.
    ///
    /// # Errors
    /// The misdeed, see [`CheckpointRefusal`].
    pub fn verify(&self, note: &Note) -> Result<VerifiedCheckpoint, CheckpointRefusal> {
        let signed = self.keys.verify(note)?;
        let mut cosigned = Vec::with_capacity(self.witnesses.len());
        for (name, key) in &self.witnesses {
            cosigned.push(name == PQ || has_cosigned(note, name, key)?);
        }
        let counts = |index: usize| cosigned.get(index).copied().unwrap_or(false);
        let cosigners: Vec<String> = (self.witnesses.iter().enumerate())
            .filter(|(index, (name, _))| name != PQ && counts(*index))
            .map(|(_, (name, _))| name.clone())
            .collect();
        if !is_met(&self.groups, self.quorum, &counts) {
            let quorum = self.quorum_name.clone();
            return Err(CheckpointRefusal::QuorumNotMet { quorum, cosigners });
        }
        Ok(signed.witnessed(cosigners))
    }

    fn is_pq(&self, index: usize) -> bool {
        self.witnesses
            .get(index)
            .is_some_and(|(name, _)| name == PQ)
    }
}

impl fmt::Display for TrustFile {
    /// The file as it was read, byte for byte.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn has_cosigned(note: &Note, name: &str, key: &VerifierKey) -> Result<bool, CheckpointRefusal> {
    match note.verify(key) {
        Ok(signature) => Ok(signature.timestamp.is_some()),
        Err(NoteError::SignatureMissing { .. }) => Ok(false),
        Err(error) => Err(CheckpointRefusal::WitnessWrong {
            witness: name.to_owned(),
            error,
        }),
    }
}

/// The trust file of a log that has no further witnesses yet.
pub fn trust_file_for(keys: &LogKeys) -> String {
    let (log, pq, origin) = (keys.ed25519(), keys.ml_dsa(), keys.origin());
    format!(
        "# Trust file of the log {origin}: a checkpoint needs both of these signatures.\n\
         # Compare the SHA-256 of this file with the fingerprint that you were given on paper.\n\
         log {log}\n\
         witness {PQ} {pq}\n\
         quorum {PQ}\n"
    )
}

/// What was read so far.
#[derive(Default)]
struct Draft {
    log: Option<VerifierKey>,
    witnesses: Vec<(String, VerifierKey)>,
    groups: Vec<Group>,
    names: Vec<(String, Member)>,
    members: Vec<Member>,
    quorum: Option<(String, Option<Member>)>,
}

const LOG_FORM: &str = "log <vkey> [<url>]";
const WITNESS_FORM: &str = "witness <name> <vkey> [<url>]";
const GROUP_FORM: &str = "group <name> any|all|<number> <member>...";
const QUORUM_FORM: &str = "quorum <name>";

impl Draft {
    fn take(&mut self, line: usize, text: &str) -> Result<(), TrustFileError> {
        // Spaces and tabs only: white space of other kinds is part of a word.
        let words: Vec<&str> = text
            .split([' ', '\t'])
            .filter(|word| !word.is_empty())
            .collect();
        match words.as_slice() {
            [] => Ok(()),
            [first, ..] if first.starts_with('#') => Ok(()),
            ["log", vkey] | ["log", vkey, _] => self.log(line, vkey),
            ["witness", name, vkey] | ["witness", name, vkey, _] => self.witness(line, name, vkey),
            ["group", name, threshold, members @ ..] if !members.is_empty() => {
                self.group(line, name, threshold, members)
            }
            ["quorum", name] => self.quorum(line, name),
            ["log", ..] => Err(TrustFileError::Form {
                line,
                form: LOG_FORM,
            }),
            ["witness", ..] => Err(TrustFileError::Form {
                line,
                form: WITNESS_FORM,
            }),
            ["group", ..] => Err(TrustFileError::Form {
                line,
                form: GROUP_FORM,
            }),
            ["quorum", ..] => Err(TrustFileError::Form {
                line,
                form: QUORUM_FORM,
            }),
            [word, ..] => {
                let word = word.chars().take(40).collect();
                Err(TrustFileError::UnknownLine { line, word })
            }
        }
    }

    fn log(&mut self, line: usize, vkey: &str) -> Result<(), TrustFileError> {
        let key = VerifierKey::parse(vkey).map_err(|error| TrustFileError::Key { line, error })?;
        if self.log.is_some() {
            return Err(TrustFileError::SecondLog { line });
        }
        self.refuse_repeated(line, &key)?;
        self.log = Some(key);
        Ok(())
    }

    fn witness(&mut self, line: usize, name: &str, vkey: &str) -> Result<(), TrustFileError> {
        let key = VerifierKey::parse(vkey).map_err(|error| TrustFileError::Key { line, error })?;
        if key.kind() == KeyKind::Ed25519 {
            return Err(TrustFileError::WitnessKind {
                line,
                kind: key.kind(),
            });
        }
        self.refuse_repeated(line, &key)?;
        if self.witnesses.len() >= TrustFile::WITNESSES_MAX {
            return Err(TrustFileError::TooMany { line });
        }
        self.define(line, name, Member::Witness(self.witnesses.len()))?;
        self.witnesses.push((name.to_owned(), key));
        Ok(())
    }

    fn group(
        &mut self,
        line: usize,
        name: &str,
        threshold: &str,
        members: &[&str],
    ) -> Result<(), TrustFileError> {
        let count = members.len();
        let number = match threshold {
            "any" => Some(1),
            "all" => Some(count),
            digits if is_plain_decimal(digits) => digits.parse().ok(),
            _ => None,
        };
        let Some(threshold) = number.filter(|k| (1..=count).contains(k)) else {
            let threshold = threshold.chars().take(40).collect();
            return Err(TrustFileError::Threshold {
                line,
                threshold,
                members: count,
            });
        };
        if self.groups.len() >= TrustFile::GROUPS_MAX {
            return Err(TrustFileError::TooMany { line });
        }
        let mut taken = Vec::with_capacity(count.min(TrustFile::WITNESSES_MAX));
        for member_name in members {
            let member = self.look_up(line, member_name)?;
            if self.members.contains(&member) {
                let name = (*member_name).to_owned();
                return Err(TrustFileError::MemberRepeated { line, name });
            }
            self.members.push(member);
            taken.push(member);
        }
        // Defined last: a group is no member of itself.
        self.define(line, name, Member::Group(self.groups.len()))?;
        self.groups.push(Group {
            threshold,
            members: taken,
        });
        Ok(())
    }

    fn quorum(&mut self, line: usize, name: &str) -> Result<(), TrustFileError> {
        if self.quorum.is_some() {
            return Err(TrustFileError::SecondQuorum { line });
        }
        let member = if name == "none" {
            None
        } else {
            Some(self.look_up(line, name)?)
        };
        self.quorum = Some((name.to_owned(), member));
        Ok(())
    }

    fn define(&mut self, line: usize, name: &str, member: Member) -> Result<(), TrustFileError> {
        if name == "none" || self.names.iter().any(|(taken, _)| taken == name) {
            return Err(TrustFileError::NameTaken {
                line,
                name: name.to_owned(),
            });
        }
        self.names.push((name.to_owned(), member));
        Ok(())
    }

    fn look_up(&self, line: usize, name: &str) -> Result<Member, TrustFileError> {
        let found = self.names.iter().find(|(known, _)| known == name);
        found
            .map(|(_, member)| *member)
            .ok_or_else(|| TrustFileError::NameUnknown {
                line,
                name: name.to_owned(),
            })
    }

    /// Two vkeys are duplicates if they wrap the same public key (C2SP tlog-policy, "Public key
    /// representation"). The log's own key is no witness either: it would vouch for itself.
    fn refuse_repeated(&self, line: usize, key: &VerifierKey) -> Result<(), TrustFileError> {
        let mut known = self
            .log
            .iter()
            .chain(self.witnesses.iter().map(|(_, key)| key));
        if known.any(|other| other.public_bytes() == key.public_bytes()) {
            return Err(TrustFileError::KeyRepeated { line });
        }
        Ok(())
    }

    fn finish(self, text: &str) -> Result<TrustFile, TrustFileError> {
        let log = self.log.ok_or(TrustFileError::LogMissing)?;
        let pq = (self.witnesses.iter().enumerate())
            .find(|(_, (name, _))| name == PQ)
            .map(|(index, (_, key))| (index, key.clone()));
        let (pq_index, pq) = pq.ok_or(TrustFileError::PostQuantumHalfMissing)?;
        let keys = LogKeys::new(log, pq)?;
        let (quorum_name, quorum) = self.quorum.ok_or(TrustFileError::QuorumMissing)?;
        let Some(quorum) = quorum.filter(|top| needs(&self.groups, *top, pq_index)) else {
            return Err(TrustFileError::QuorumWithoutPostQuantum {
                quorum: quorum_name,
            });
        };
        Ok(TrustFile {
            text: text.to_owned(),
            keys,
            witnesses: self.witnesses,
            groups: self.groups,
            quorum,
            quorum_name,
        })
    }
}

fn is_forbidden(character: char) -> bool {
    (character.is_ascii_control() && character != '\t') || character == '\u{7f}'
}

fn is_plain_decimal(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0')
}

#[cfg(test)]
#[path = "trust_tests.rs"]
mod tests;
