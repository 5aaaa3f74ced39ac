//! The log's own mark on what it acknowledged, and what a claim that carries it proves.
//!
//! A log that was restored from an older copy does not know what it said since. Its agents do, and
//! say it in their heartbeats. The mark is a MAC under a key that never leaves the door, so only
//! what the log did say proves anything: an agent that lies stops nobody but itself. Not here:
//! stopping, and going on (`sequencer`, `log`).

use keys_secret::SecretKey32;
use ledger_core::state::{Position, SourceState, Stream};
use ledger_core::{Epoch, Hash, Index, Nanos, Origin, Sequence, SourceId, TreeSize};
use ledger_event::facts::{Heartbeat, Lost, LostProof, LostReceipt, Told};

use crate::acknowledged::{Acknowledged, through};

/// What a log adds to an acknowledgement, to know later that it said so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// Ledger time when it was said.
    pub at: Nanos,
    /// The mark.
    pub mac: Hash,
}

/// Key of the position that says until when a log forgives what it acknowledged and lacks.
pub(crate) const RESTORED_KEY: &str = "custody:restored";
/// Positions whose keys begin so are the log's own.
pub(crate) const OWN_KEYS: &str = "custody:";

/// The time that such a position holds; 0 without one.
pub(crate) fn restored_at(position: Option<&Position>) -> Nanos {
    let time = position.and_then(|position| position.value.first_chunk());
    time.map_or(Nanos(0), |bytes| Nanos(i64::from_be_bytes(*bytes)))
}

const LABEL: &[u8] = b"custody acknowledged v1";

/// Makes and checks the marks of one log.
#[derive(Debug)]
pub(crate) struct Receipts {
    key: SecretKey32,
    origin: Hash,
}

impl Receipts {
    /// The marks of the log `origin` under the tenant's key.
    pub(crate) fn new(key: SecretKey32, origin: &Origin) -> Receipts {
        let origin = Hash::sha256(origin.as_str().as_bytes());
        Receipts { key, origin }
    }

    /// Marks what is said to `source` at ledger time `at`.
    pub(crate) fn mark(&self, source: SourceId, found: &mut Acknowledged, at: Nanos) {
        let sequence = found.through(Stream::Record);
        let mac = self.mac(source, (found.size, found.epoch, sequence), at);
        found.receipt = Some(Receipt { at, mac });
    }

    fn mac(&self, source: SourceId, said: (TreeSize, Epoch, Sequence), at: Nanos) -> Hash {
        let (size, epoch, sequence) = said;
        let parts: [&[u8]; 6] = [
            &self.origin.0,
            &source.0.to_be_bytes(),
            &size.0.to_be_bytes(),
            &epoch.0.to_be_bytes(),
            &sequence.0.to_be_bytes(),
            &at.0.to_be_bytes(),
        ];
        Hash(self.key.hmac(LABEL, &parts))
    }

    fn is_ours(&self, source: SourceId, told: &Told) -> bool {
        let said = (told.size, told.epoch, told.sequence);
        let mac = self.mac(source, said, told.at);
        Hash::from_hex(&told.receipt).is_some_and(|claimed| {
            let pairs = claimed.0.iter().zip(&mac.0);
            pairs.fold(0, |differs, (left, right)| differs | (left ^ right)) == 0
        })
    }
}

/// What a heartbeat's word about acknowledgements comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Claim {
    /// The log holds what it says, or has been forgiven for lacking it.
    Held,
    /// It says more than the log holds, and the log never said so.
    Unproven,
    /// The log said so and does not hold it.
    Proven(Lost),
}

/// Judges the claims of a heartbeat of `source`, whose MAC is right, against a log of `size`
/// entries. Receipts from until `forgiven` prove nothing: an operator has gone on.
pub(crate) fn judge(
    receipts: &Receipts,
    source: &SourceState,
    beat: &Heartbeat,
    (size, forgiven): (Index, Nanos),
) -> Claim {
    let held = through(source, Stream::Record);
    // Nothing is known of an epoch before the last one: its marks are gone.
    let lacks = |epoch: Epoch, sequence: Sequence| {
        epoch > source.epoch || (epoch == source.epoch && sequence > held)
    };
    let told = beat.told.as_ref();
    let ours = told.filter(|told| receipts.is_ours(source.id, told));
    let by_told = |told: &Told| lacks(told.epoch, told.sequence) || told.size.0 > size.0;
    match ours {
        Some(told) if told.at <= forgiven => return Claim::Held,
        Some(told) if by_told(told) => {
            return Claim::Proven(Lost {
                published: told.size,
                size: TreeSize(size.0),
                proof: LostProof::Receipt(LostReceipt {
                    source: source.id,
                    epoch: told.epoch,
                    acknowledged: told.sequence,
                    held: if told.epoch == source.epoch {
                        held
                    } else {
                        Sequence(0)
                    },
                    at: told.at,
                }),
            });
        }
        Some(_) | None => {}
    }
    let by_number = beat.acknowledged > Sequence(0) && lacks(beat.epoch, beat.acknowledged);
    let by_lie = ours.is_none() && told.is_some_and(by_told);
    if by_number || by_lie {
        Claim::Unproven
    } else {
        Claim::Held
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger_core::state::Mark;

    fn source(epoch: u32, held: u64) -> SourceState {
        let mut marks = [Mark::default(); 3];
        marks[0].sequence = Sequence(held);
        SourceState {
            id: SourceId(1),
            name: "a".to_owned(),
            platform: "postgresql".to_owned(),
            keyed: true,
            epoch: Epoch(epoch),
            marks,
            gaps: Vec::new(),
        }
    }

    fn receipts(key: u8, label: &str) -> Receipts {
        let origin = Origin::new(&format!("example.org/main/{label}")).unwrap();
        Receipts::new(SecretKey32::from_bytes(&[key; 32]), &origin)
    }

    /// What the log says of `state` at `size`, as a claim.
    fn told(by: &Receipts, state: &SourceState, size: u64, at: i64) -> Told {
        let mut found = Acknowledged::of(TreeSize(size), state);
        by.mark(state.id, &mut found, Nanos(at));
        found.told().unwrap()
    }

    fn beat(told: Option<Told>, acknowledged: u64) -> Heartbeat {
        Heartbeat {
            source: SourceId(1),
            epoch: Epoch(5),
            bound: Sequence(9),
            acknowledged: Sequence(acknowledged),
            backlog_bytes: None,
            dropped: None,
            opens: None,
            agent: None,
            every_ms: None,
            told,
            at: Nanos(0),
        }
    }

    #[test]
    fn a_claim_that_the_log_never_made_proves_nothing() {
        let ours = receipts(1, "2026");
        let state = source(5, 3);
        let true_one = told(&ours, &source(5, 9), 100, 50);
        let mut lies = Vec::new();
        for other in [receipts(2, "2026"), receipts(1, "2027")] {
            lies.push(told(&other, &source(5, 9), 100, 50));
        }
        let changes: [fn(&mut Told); 6] = [
            |told| told.size.0 += 1,
            |told| told.epoch.0 += 1,
            |told| told.sequence.0 += 1,
            |told| told.at.0 += 1,
            |told| told.receipt.replace_range(..1, "g"),
            |told| told.receipt.clear(),
        ];
        for change in changes {
            let mut lie = true_one.clone();
            change(&mut lie);
            lies.push(lie);
        }
        for lie in lies {
            let found = judge(
                &ours,
                &state,
                &beat(Some(lie.clone()), 0),
                (Index(10), Nanos(0)),
            );
            assert_eq!(found, Claim::Unproven, "{lie:?}");
        }
        // The receipt of another source.
        let mut other = source(5, 9);
        other.id = SourceId(2);
        let lie = told(&ours, &other, 100, 50);
        let found = judge(&ours, &state, &beat(Some(lie), 0), (Index(10), Nanos(0)));
        assert_eq!(found, Claim::Unproven);
        // A bare number.
        let found = judge(&ours, &state, &beat(None, 4), (Index(10), Nanos(0)));
        assert_eq!(found, Claim::Unproven);
        let found = judge(&ours, &source(4, 9), &beat(None, 1), (Index(10), Nanos(0)));
        assert_eq!(found, Claim::Unproven);
    }

    #[test]
    fn what_the_log_said_and_lacks_is_proven_until_it_is_forgiven() {
        let ours = receipts(1, "2026");
        let check = |state: &SourceState, claim: &Told, size: u64, forgiven: i64| {
            let claim = beat(Some(claim.clone()), 0);
            judge(&ours, state, &claim, (Index(size), Nanos(forgiven)))
        };
        let claim = told(&ours, &source(5, 9), 100, 50);
        // By number, by epoch, by size alone.
        for (state, size) in [
            (source(5, 8), 200),
            (source(4, 9), 200),
            (source(5, 9), 99),
            (source(6, 1), 99),
        ] {
            let found = check(&state, &claim, size, 0);
            assert!(matches!(found, Claim::Proven(_)), "{state:?} {size}");
            assert!(matches!(check(&state, &claim, size, 49), Claim::Proven(_)));
            assert_eq!(check(&state, &claim, size, 50), Claim::Held);
        }
        // A hole below the mark lacks the number too.
        let mut holed = source(5, 20);
        holed.gaps.push(ledger_core::state::Gap {
            stream: Stream::Record,
            from: Sequence(9),
            to: Sequence(9),
            before: ledger_core::state::ShortMac::ZERO,
            last: ledger_core::state::ShortMac::ZERO,
        });
        let Claim::Proven(lost) = check(&holed, &claim, 200, 0) else {
            panic!("not proven");
        };
        let LostProof::Receipt(told) = lost.proof else {
            panic!("another proof");
        };
        assert_eq!((told.acknowledged.0, told.held.0), (9, 8));
        assert_eq!(told.at, Nanos(50));
        assert_eq!((lost.published.0, lost.size.0), (100, 200));
        // The log holds it.
        for (state, size) in [
            (source(5, 9), 100),
            (source(6, 0), 100),
            (source(5, 30), 300),
        ] {
            assert_eq!(check(&state, &claim, size, 0), Claim::Held, "{state:?}");
        }
    }
}
