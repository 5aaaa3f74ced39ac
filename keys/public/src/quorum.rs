//! Groups of witnesses and the quorum: which sets of cosignatures are enough (C2SP tlog-policy,
//! "Defining a witness group" and "Defining the quorum").
//!
//! Not here: reading the trust file's lines, and its rules about keys (see [`crate::trust`]).

/// One witness or one group, by its position in its table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Member {
    /// The witness on this place of the trust file.
    Witness(usize),
    /// The group on this place of the trust file.
    Group(usize),
}

/// At least `threshold` of `members`. Members that are groups stand on earlier places.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Group {
    pub(crate) threshold: usize,
    pub(crate) members: Vec<Member>,
}

/// Whether `top` is satisfied by the witnesses for which `cosigned` holds.
///
/// Adding a cosignature never makes a satisfied quorum unsatisfied: there is no "not".
pub(crate) fn is_met(groups: &[Group], top: Member, cosigned: &dyn Fn(usize) -> bool) -> bool {
    // A group refers to earlier groups only, so one pass in order decides them all.
    let mut met: Vec<bool> = Vec::with_capacity(groups.len());
    let holds = |member: &Member, met: &[bool]| match *member {
        Member::Witness(index) => cosigned(index),
        Member::Group(index) => met.get(index).copied().unwrap_or(false),
    };
    for group in groups {
        let count = group
            .members
            .iter()
            .filter(|member| holds(member, &met))
            .count();
        met.push(count >= group.threshold);
    }
    holds(&top, &met)
}

/// Whether no quorum can be met without witness `index`.
pub(crate) fn needs(groups: &[Group], top: Member, index: usize) -> bool {
    // Monotone: if everybody else together is not enough, no smaller set without it is.
    !is_met(groups, top, &|witness| witness != index)
}

#[cfg(test)]
mod tests {
    use super::Member::{Group as G, Witness as W};
    use super::*;

    fn group(threshold: usize, members: &[Member]) -> Group {
        Group {
            threshold,
            members: members.to_vec(),
        }
    }

    #[test]
    fn thresholds_are_met_exactly() {
        // Two of three, and the fourth.
        let groups = [group(2, &[W(0), W(1), W(2)]), group(2, &[G(0), W(3)])];
        for (cosigned, met) in [
            ([false, false, false, false], false),
            ([true, false, false, true], false),
            ([true, true, true, false], false),
            ([true, true, false, true], true),
            ([false, true, true, true], true),
            ([true, true, true, true], true),
        ] {
            assert_eq!(is_met(&groups, G(1), &|w| cosigned[w]), met, "{cosigned:?}");
        }
        assert!(is_met(&groups, W(3), &|w| w == 3));
        assert!(!is_met(&groups, W(3), &|w| w != 3));
    }

    #[test]
    fn a_witness_is_needed_only_if_nothing_is_met_without_it() {
        let any = [group(1, &[W(0), W(1)])];
        let all = [group(2, &[W(0), W(1)])];
        let nested = [group(1, &[W(1), W(2)]), group(2, &[W(0), G(0)])];
        for (groups, top, index, needed) in [
            (&any[..], G(0), 0, false),
            (&all[..], G(0), 0, true),
            (&nested[..], G(1), 0, true),
            (&nested[..], G(1), 1, false),
            (&nested[..], G(0), 0, false),
            (&[][..], W(0), 0, true),
            (&[][..], W(1), 0, false),
        ] {
            assert_eq!(
                needs(groups, top, index),
                needed,
                "{groups:?} {top:?} {index}"
            );
        }
    }

    #[test]
    fn a_reference_to_a_later_group_is_never_met() {
        let groups = [group(1, &[G(1)]), group(1, &[W(0)])];
        assert!(!is_met(&groups, G(0), &|_| true));
    }
}
