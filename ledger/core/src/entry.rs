//! Entry v1: the fixed 80-byte record that is a leaf of the tree (docs/formats/entry.md).
//!
//! Not here: payloads. An entry only commits to one; it holds no personal data.

use crate::bytes::{Fields, FormatError};
use crate::hash::{Hash, leaf_hash};
use crate::ids::{Epoch, Nanos, Sequence, SourceId};

/// What an entry records. Numbers are fixed for ever; see docs/formats/entry.md.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Kind(pub u8);

/// The class of a kind: who may cause it, and what it may cause.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KindClass {
    /// Events, snapshots, records, identities, registrations, keys, erasures.
    Primary,
    /// What the engine concludes: verdicts, findings, alert states, engine state.
    Derived,
    /// What the log says about itself.
    Reflexive,
    /// A number no version of the format has given out yet.
    Unassigned,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        impl Kind {
            $($(#[$doc])* pub const $name: Kind = Kind($number);)*

            /// Every kind of this version, in the order of their numbers.
            pub const ALL: &[Kind] = &[$(Kind::$name),*];

            /// The kind's name in queries and output; `None` for a number unknown to this version.
            pub fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some($text),)*
                    _ => None,
                }
            }
        }
    };
}

kinds! {
    /// One database operation.
    EVENT = 1, "event";
    /// Accounts, grants, settings and versions of one instance at one time.
    SNAPSHOT = 2, "snapshot";
    /// A signed human or foreign statement.
    RECORD = 3, "record";
    /// A person or service, admitted or retired.
    IDENTITY = 4, "identity";
    /// A source registered or changed.
    SOURCE = 5, "source";
    /// A step in the life of a policy.
    POLICY = 6, "policy";
    /// A rotation of keys.
    KEY = 7, "key";
    /// An erasure of payload parts.
    ERASURE = 8, "erasure";
    /// The first entry of a log.
    OPENED = 9, "opened";
    /// The last entry of a log that a next one continues.
    CLOSED = 10, "closed";
    /// A rule's result for a subject and an interval.
    VERDICT = 32, "verdict";
    /// A step in the life of a finding.
    FINDING = 33, "finding";
    /// A state of an alert.
    ALERT = 34, "alert";
    /// The engine's whole state.
    STATE = 35, "state";
    /// Time passed and nothing else was appended.
    TICK = 64, "tick";
    /// A source says that it lives, with its counters.
    HEARTBEAT = 65, "heartbeat";
    /// Numbers of a source are missing.
    GAP = 66, "gap";
    /// A message that cannot be placed.
    CONFLICT = 67, "conflict";
    /// A message whose MAC is wrong.
    FORGED = 68, "forged";
    /// A step of the clock.
    CLOCK = 69, "clock";
    /// The log was recovered after an interruption.
    RECOVERY = 70, "recovery";
    /// Something the log depends on was away.
    OUTAGE = 71, "outage";
    /// A run of the log's own verification.
    INTEGRITY = 72, "integrity";
    /// What is kept and until when.
    RETENTION = 73, "retention";
    /// A sink took delivery up to here.
    RECEIPT = 74, "receipt";
    /// Somebody read.
    ACCESS = 75, "access";
    /// An operator acted.
    OPERATOR = 76, "operator";
    /// A source opened a new epoch.
    EPOCH = 77, "epoch";
}

impl Kind {
    /// The kind named `name`, or `None`.
    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL
            .iter()
            .copied()
            .find(|kind| kind.name() == Some(name))
    }

    /// The class, by range of numbers, so that it is known for kinds of later versions too.
    pub fn class(self) -> KindClass {
        match self.0 {
            1..=31 => KindClass::Primary,
            32..=63 => KindClass::Derived,
            64..=127 => KindClass::Reflexive,
            0 | 128..=255 => KindClass::Unassigned,
        }
    }
}

/// Sixteen yes-or-no facts about an entry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Flags(pub u16);

impl Flags {
    /// None set.
    pub const NONE: Flags = Flags(0);
    /// A reader that does not know the kind or a flag must refuse the log.
    pub const CRITICAL: Flags = Flags(1);
    /// Arrived after later numbers of its source and filled a gap.
    pub const LATE: Flags = Flags(1 << 1);
    /// Read again after the source lost its state: possibly a second entry of the same record.
    pub const REREAD: Flags = Flags(1 << 2);
    /// Something in the payload was masked.
    pub const MASKED: Flags = Flags(1 << 3);
    /// A text in the payload was cut at its bound.
    pub const TRUNCATED: Flags = Flags(1 << 4);
    /// The native record could not be parsed.
    pub const UNPARSED: Flags = Flags(1 << 5);
    /// The door found something to mask that the sender had left.
    pub const DOOR_MASKED: Flags = Flags(1 << 6);
    /// All bits that this version gives a meaning.
    pub const KNOWN: Flags = Flags((1 << 7) - 1);

    /// Whether all bits of `other` are set.
    pub fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// These flags and those of `other`.
    pub fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// `flag` if `condition`, added to these.
    pub fn with_if(self, condition: bool, flag: Flags) -> Flags {
        if condition { self.with(flag) } else { self }
    }

    /// The set bits that this version does not know.
    pub fn unknown(self) -> Flags {
        Flags(self.0 & !Flags::KNOWN.0)
    }
}

/// One entry. All times are UTC; `class_uid`, `activity`, `status` and `severity` are OCSF's
/// numbers (0 where a kind has none).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// What is recorded.
    pub kind: Kind,
    /// Facts about the entry itself.
    pub flags: Flags,
    /// OCSF `class_uid`.
    pub class_uid: u32,
    /// OCSF `activity_id`.
    pub activity: u16,
    /// OCSF `status_id`.
    pub status: u8,
    /// OCSF `severity_id`.
    pub severity: u8,
    /// Who sent it; [`SourceId::LOG`] for the log's own entries.
    pub source: SourceId,
    /// The sender's epoch.
    pub epoch: Epoch,
    /// The sender's number.
    pub sequence: Sequence,
    /// When it happened, as the platform says.
    pub event_time: Nanos,
    /// When the log took it: never smaller than the entry's before it.
    pub ledger_time: Nanos,
    /// The payload commitment (see [`crate::commitment`]).
    pub commitment: Hash,
}

/// Why 80 bytes are not an entry of this version.
pub type EntryError = FormatError;

impl Entry {
    /// Length of the encoded entry in bytes.
    pub const LEN: usize = 80;
    /// The version this program writes.
    pub const VERSION: u8 = 1;

    /// The 80 bytes of docs/formats/entry.md.
    pub fn encode(&self) -> [u8; Entry::LEN] {
        let mut out = [0u8; Entry::LEN];
        let mut rest = out.as_mut_slice();
        let mut put = |field: &[u8]| {
            let (head, tail) = std::mem::take(&mut rest).split_at_mut(field.len());
            head.copy_from_slice(field);
            rest = tail;
        };
        put(&[Entry::VERSION, self.kind.0]);
        put(&self.flags.0.to_be_bytes());
        put(&self.class_uid.to_be_bytes());
        put(&self.activity.to_be_bytes());
        put(&[self.status, self.severity, 0, 0, 0, 0]);
        put(&self.source.0.to_be_bytes());
        put(&self.epoch.0.to_be_bytes());
        put(&self.sequence.0.to_be_bytes());
        put(&self.event_time.0.to_be_bytes());
        put(&self.ledger_time.0.to_be_bytes());
        put(&self.commitment.0);
        // INVARIANT: the fields fill the record.
        assert!(rest.is_empty(), "an entry is 80 bytes");
        out
    }

    /// Reads an entry.
    ///
    /// # Errors
    /// Another length, another version, reserved bytes or the kind 0 in use.
    pub fn decode(bytes: &[u8]) -> Result<Entry, EntryError> {
        let mut fields = Fields::new("entry", bytes);
        let version = fields.u8()?;
        if version != Entry::VERSION {
            return Err(FormatError::Version {
                what: "entry",
                found: u16::from(version),
                known: u16::from(Entry::VERSION),
            });
        }
        let kind = Kind(fields.u8()?);
        if kind.0 == 0 {
            return Err(fields.illegal("kind", 0));
        }
        let flags = Flags(fields.u16()?);
        let class_uid = fields.u32()?;
        let activity = fields.u16()?;
        let status = fields.u8()?;
        let severity = fields.u8()?;
        let reserved = fields.u32()?;
        if reserved != 0 {
            return Err(fields.illegal("reserved field", u64::from(reserved)));
        }
        let entry = Entry {
            kind,
            flags,
            class_uid,
            activity,
            status,
            severity,
            source: SourceId(fields.u32()?),
            epoch: Epoch(fields.u32()?),
            sequence: Sequence(fields.u64()?),
            event_time: Nanos(fields.i64()?),
            ledger_time: Nanos(fields.i64()?),
            commitment: Hash(fields.array()?),
        };
        fields.finish()?;
        Ok(entry)
    }

    /// This entry's leaf in the tree.
    pub fn leaf(&self) -> Hash {
        leaf_hash(&self.encode())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Entry {
        Entry {
            kind: Kind::EVENT,
            flags: Flags::MASKED,
            class_uid: 6005,
            activity: 5,
            status: 1,
            severity: 1,
            source: SourceId(1),
            epoch: Epoch(1_790_000_000),
            sequence: Sequence(42),
            event_time: Nanos(1_795_599_723_563_000_000),
            ledger_time: Nanos(1_795_599_724_000_000_000),
            commitment: Hash([0xc0; 32]),
        }
    }

    #[test]
    fn every_reserved_or_illegal_value_is_refused_and_the_twin_reads() {
        let good = sample().encode();
        let refused = |at: usize, value: u8| {
            let mut bytes = good;
            bytes[at] = value;
            Entry::decode(&bytes).unwrap_err()
        };
        assert!(matches!(
            refused(0, 0),
            FormatError::Version { found: 0, .. }
        ));
        assert!(matches!(
            refused(0, 2),
            FormatError::Version { found: 2, .. }
        ));
        assert!(matches!(
            refused(1, 0),
            FormatError::Field { field: "kind", .. }
        ));
        for at in 12..16 {
            assert!(matches!(
                refused(at, 1),
                FormatError::Field {
                    field: "reserved field",
                    ..
                }
            ));
        }
        for len in 0..80 {
            assert!(
                matches!(Entry::decode(&good[..len]), Err(FormatError::Short { .. })),
                "{len}"
            );
        }
        let mut long = good.to_vec();
        long.push(0);
        assert!(matches!(
            Entry::decode(&long),
            Err(FormatError::Surplus { count: 1, .. })
        ));
        assert_eq!(Entry::decode(&good).unwrap(), sample());
    }

    #[test]
    fn a_kind_of_a_later_version_still_reads() {
        let mut bytes = sample().encode();
        bytes[1] = 99;
        let entry = Entry::decode(&bytes).unwrap();
        assert_eq!(entry.kind.name(), None);
        assert_eq!(entry.kind.class(), KindClass::Reflexive);
        assert_eq!(entry.encode(), bytes);
    }

    #[test]
    fn names_and_numbers_agree() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_name(kind.name().unwrap()), Some(*kind));
            assert_ne!(kind.class(), KindClass::Unassigned);
        }
        assert_eq!(Kind::from_name("nothing"), None);
    }

    #[test]
    fn the_example_of_the_documentation_decodes() {
        let page = include_str!("../../../docs/formats/entry.md");
        let bytes = crate::bytes::example_hex(page, "entry");
        assert_eq!(Entry::decode(&bytes).unwrap(), sample());
        assert_eq!(
            sample().leaf().to_string(),
            crate::bytes::example_text(page, "leaf")
        );
    }
}
