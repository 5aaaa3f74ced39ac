//! The door's rule (DESIGN section 5): where a message of a source belongs. Pure.
//!
//! A source's stream is numbered from 1 within an epoch. The next number is appended; a number
//! ahead opens a gap; a number inside a gap fills it, late; any other was taken before, and its MAC
//! decides between a repeat and a conflict. A wrong MAC is forged and moves nothing; a wrong `prev`
//! is a conflict.
//!
//! Not here: checking a MAC, looking up an old one, appending anything.

use ledger_core::state::{GAPS_MAX, Gap, Mark, ShortMac, SourceState, Stream};
use ledger_core::{Epoch, Nanos, Sequence};

/// What the rule needs of a message whose MAC is right.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) stream: Stream,
    pub(crate) epoch: Epoch,
    pub(crate) sequence: Sequence,
    pub(crate) mac: ShortMac,
    pub(crate) prev: ShortMac,
}

/// Where a message belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// It is the next one.
    Next,
    /// It is ahead: append it, and an entry that says what is missing.
    Ahead(Gap),
    /// It lies in an open gap. `closed` is the gap as it was if nothing of it is missing any more.
    Late { closed: Option<Gap> },
    /// The number was taken before: the kept MAC decides.
    Taken,
    /// Its `prev` is not the MAC of the message before it, or it is not the `prev` of the message
    /// after it.
    WrongPrevious,
    /// Its epoch is over.
    OldEpoch,
}

/// The source has as many open gaps as fit, and this message would open one more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct GapsFull;

/// Whether `epoch` is a life of the source that has not begun yet. The caller appends an entry that
/// says so and calls [`open_epoch`] before [`place`].
pub(crate) fn is_new_epoch(state: &SourceState, epoch: Epoch) -> bool {
    epoch > state.epoch
}

/// How far an epoch, which is a time, may lie after the log's own, in seconds.
pub(crate) const EPOCH_AHEAD_MAX: i64 = 86_400;

/// Whether `epoch` lies so far after `now` that it would lock its source: no epoch but a greater
/// one is taken after it.
pub(crate) fn is_in_future(epoch: Epoch, now: Nanos) -> bool {
    i64::from(epoch.0)
        > now
            .0
            .div_euclid(1_000_000_000)
            .saturating_add(EPOCH_AHEAD_MAX)
}

/// Begins a life of the source: all streams start again at 1. Gaps of the life before stay gaps.
pub(crate) fn open_epoch(state: &mut SourceState, epoch: Epoch) {
    state.epoch = epoch;
    state.marks = [Mark::default(); 3];
    state.gaps.clear();
}

/// Places a message and moves `state` accordingly; only [`Place::Next`], [`Place::Ahead`] and
/// [`Place::Late`] move it.
pub(crate) fn place(state: &mut SourceState, arrival: &Arrival) -> Result<Place, GapsFull> {
    if arrival.epoch < state.epoch {
        return Ok(Place::OldEpoch);
    }
    let keyed = state.keyed;
    let full = state.gaps.len() >= GAPS_MAX;
    let Some(mark) = state.marks.get_mut(usize::from(arrival.stream.number())) else {
        return Ok(Place::Taken);
    };
    let next = mark.sequence.0.saturating_add(1);
    let moved = Mark {
        sequence: arrival.sequence,
        mac: arrival.mac,
    };
    if arrival.sequence.0 == next {
        // The message before is known, so the chain is checked at once.
        if keyed && arrival.prev != mark.mac {
            return Ok(Place::WrongPrevious);
        }
        *mark = moved;
        return Ok(Place::Next);
    }
    if arrival.sequence.0 > next {
        if full {
            return Err(GapsFull);
        }
        let gap = Gap {
            stream: arrival.stream,
            from: Sequence(next),
            to: Sequence(arrival.sequence.0 - 1),
            before: mark.mac,
            last: arrival.prev,
        };
        *mark = moved;
        state.gaps.push(gap);
        return Ok(Place::Ahead(gap));
    }
    fill(state, arrival)
}

/// A number at or below the mark: fills its gap if there is one. What remains missing on either
/// side becomes a gap of its own, framed by this message's MAC and `prev`.
fn fill(state: &mut SourceState, arrival: &Arrival) -> Result<Place, GapsFull> {
    let number = arrival.sequence;
    let inside = |gap: &Gap| gap.stream == arrival.stream && gap.from <= number && number <= gap.to;
    let Some(at) = state.gaps.iter().position(inside) else {
        return Ok(Place::Taken);
    };
    let Some(gap) = state.gaps.get(at).copied() else {
        return Ok(Place::Taken);
    };
    let (first, last) = (gap.from == number, gap.to == number);
    if state.keyed {
        let follows = !first || arrival.prev == gap.before;
        let precedes = !last || arrival.mac == gap.last;
        if !follows || !precedes {
            return Ok(Place::WrongPrevious);
        }
    }
    if !first && !last && state.gaps.len() >= GAPS_MAX {
        return Err(GapsFull);
    }
    state.gaps.remove(at);
    if !last {
        state.gaps.insert(
            at,
            Gap {
                from: Sequence(number.0 + 1),
                before: arrival.mac,
                ..gap
            },
        );
    }
    if !first {
        state.gaps.insert(
            at,
            Gap {
                to: Sequence(number.0 - 1),
                last: arrival.prev,
                ..gap
            },
        );
    }
    Ok(Place::Late {
        closed: (first && last).then_some(gap),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger_core::SourceId;
    use proptest::strategy::Strategy as _;

    fn state(keyed: bool) -> SourceState {
        SourceState {
            id: SourceId(1),
            name: "a".to_owned(),
            platform: "postgresql".to_owned(),
            keyed,
            epoch: Epoch(10),
            marks: [Mark::default(); 3],
            gaps: Vec::new(),
        }
    }

    fn mac(n: u64) -> ShortMac {
        let mut mac = ShortMac::ZERO;
        mac.0[..8].copy_from_slice(&n.to_be_bytes());
        mac
    }

    /// Message `n` of an honest chain: its MAC is `n`, its `prev` is `n - 1`.
    fn honest(n: u64) -> Arrival {
        let epoch = Epoch(10);
        Arrival {
            stream: Stream::Record,
            epoch,
            sequence: Sequence(n),
            mac: mac(n),
            prev: mac(n - 1),
        }
    }

    fn gaps(state: &SourceState) -> Vec<(u64, u64)> {
        state
            .gaps
            .iter()
            .map(|gap| (gap.from.0, gap.to.0))
            .collect()
    }

    #[test]
    fn a_broken_chain_is_a_conflict_and_moves_nothing() {
        let mut source = state(true);
        let broken = Arrival {
            prev: mac(77),
            ..honest(1)
        };
        assert_eq!(place(&mut source, &broken), Ok(Place::WrongPrevious));
        assert_eq!(source, state(true));
        assert_eq!(place(&mut source, &honest(1)), Ok(Place::Next));
        let broken = Arrival {
            prev: mac(77),
            ..honest(2)
        };
        assert_eq!(place(&mut source, &broken), Ok(Place::WrongPrevious));
        assert_eq!(place(&mut source, &honest(2)), Ok(Place::Next));
    }

    #[test]
    fn a_gap_is_filled_from_any_side_and_checked_at_its_ends() {
        let mut source = state(true);
        place(&mut source, &honest(1)).unwrap();
        assert!(matches!(
            place(&mut source, &honest(6)),
            Ok(Place::Ahead(_))
        ));
        assert_eq!(gaps(&source), [(2, 5)]);
        let wrong_end = Arrival {
            mac: mac(99),
            ..honest(5)
        };
        assert_eq!(place(&mut source, &wrong_end), Ok(Place::WrongPrevious));
        let wrong_start = Arrival {
            prev: mac(99),
            ..honest(2)
        };
        assert_eq!(place(&mut source, &wrong_start), Ok(Place::WrongPrevious));
        assert_eq!(
            place(&mut source, &honest(4)),
            Ok(Place::Late { closed: None })
        );
        assert_eq!(gaps(&source), [(2, 3), (5, 5)]);
        assert!(matches!(
            place(&mut source, &honest(5)),
            Ok(Place::Late { closed: Some(_) })
        ));
        assert_eq!(
            place(&mut source, &honest(2)),
            Ok(Place::Late { closed: None })
        );
        assert!(matches!(
            place(&mut source, &honest(3)),
            Ok(Place::Late { closed: Some(_) })
        ));
        assert_eq!(gaps(&source), []);
        assert_eq!(place(&mut source, &honest(3)), Ok(Place::Taken));
        assert_eq!(place(&mut source, &honest(7)), Ok(Place::Next));
    }

    #[test]
    fn a_forged_middle_shows_when_its_neighbours_arrive() {
        let mut source = state(true);
        place(&mut source, &honest(5)).unwrap();
        // In the middle of a gap there is nothing to compare with yet.
        let middle = Arrival {
            mac: mac(99),
            ..honest(3)
        };
        assert_eq!(
            place(&mut source, &middle),
            Ok(Place::Late { closed: None })
        );
        assert_eq!(place(&mut source, &honest(4)), Ok(Place::WrongPrevious));
    }

    #[test]
    fn an_old_epoch_is_a_conflict_and_a_new_one_starts_again() {
        let mut source = state(true);
        place(&mut source, &honest(1)).unwrap();
        assert!(is_new_epoch(&source, Epoch(11)));
        open_epoch(&mut source, Epoch(11));
        assert_eq!(place(&mut source, &honest(2)), Ok(Place::OldEpoch));
        let first = Arrival {
            epoch: Epoch(11),
            ..honest(1)
        };
        assert!(!is_new_epoch(&source, Epoch(11)));
        assert_eq!(place(&mut source, &first), Ok(Place::Next));
    }

    #[test]
    fn the_gap_table_is_bounded_and_filling_still_works_when_it_is_full() {
        let mut source = state(false);
        for n in 0..GAPS_MAX as u64 {
            assert!(matches!(
                place(&mut source, &honest(4 * n + 4)),
                Ok(Place::Ahead(_))
            ));
        }
        let mark = source.marks[0].sequence.0;
        assert_eq!(place(&mut source, &honest(mark + 2)), Err(GapsFull));
        assert_eq!(place(&mut source, &honest(2)), Err(GapsFull));
        assert_eq!(place(&mut source, &honest(mark + 1)), Ok(Place::Next));
        assert_eq!(
            place(&mut source, &honest(1)),
            Ok(Place::Late { closed: None })
        );
    }

    #[test]
    fn an_epoch_a_day_ahead_is_the_last_that_is_taken() {
        let now = Nanos(1_795_000_000_999_999_999);
        assert!(is_in_future(Epoch(u32::MAX), now));
        assert!(is_in_future(Epoch(1_795_086_401), now));
        assert!(!is_in_future(Epoch(1_795_086_400), now));
        assert!(!is_in_future(Epoch(1), now));
        assert!(!is_in_future(Epoch(86_400), Nanos(0)));
    }

    #[test]
    fn number_zero_is_no_place() {
        let mut source = state(true);
        let zero = Arrival {
            sequence: Sequence(0),
            prev: mac(0),
            ..honest(1)
        };
        assert_eq!(place(&mut source, &zero), Ok(Place::Taken));
    }

    proptest::proptest! {
        /// Whatever order an honest source's messages arrive in, each is placed exactly once.
        #[test]
        fn every_order_of_an_honest_chain_is_taken_once(
            order in proptest::sample::subsequence((1u64..=40).collect::<Vec<_>>(), 0..=40)
                .prop_shuffle()
        ) {
            let mut source = state(true);
            let mut taken = 0;
            for n in order.into_iter().chain(1..=40) {
                match place(&mut source, &honest(n)) {
                    Ok(Place::Next | Place::Ahead(_) | Place::Late { .. }) => taken += 1,
                    Ok(Place::Taken) => {}
                    other => panic!("{n}: {other:?}"),
                }
            }
            proptest::prop_assert_eq!(taken, 40);
            proptest::prop_assert!(source.gaps.is_empty());
        }
    }
}
