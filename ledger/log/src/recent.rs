//! The MACs of each source's newest messages, so that a repeat is told from a conflict without
//! reading the log.
//!
//! Not here: older ones, which are looked up in the log ([`crate::frames::find_message`]).

use std::collections::{HashMap, VecDeque};

use ledger_core::state::{ShortMac, Stream};
use ledger_core::{Epoch, Sequence, SourceId};

use crate::frames::Number;

/// Numbers remembered a stream.
pub(crate) const RECENT_MAX: usize = 8192;

#[derive(Debug, Default)]
struct Row {
    epoch: Epoch,
    /// The number of the first slot.
    first: u64,
    slots: VecDeque<Option<ShortMac>>,
}

/// The newest MACs of all sources.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    rows: HashMap<(SourceId, Stream), Row>,
    /// Late ones that lie before their row, and those before these.
    late: [HashMap<Number, ShortMac>; 2],
}

/// Late numbers remembered at least: more than a frame holds.
const LATE_MAX: usize = 1 << 16;

impl Recent {
    /// Remembers a message that was taken.
    pub(crate) fn put(
        &mut self,
        source: SourceId,
        stream: Stream,
        epoch: Epoch,
        sequence: Sequence,
        mac: ShortMac,
    ) {
        let row = self.rows.entry((source, stream)).or_default();
        if row.epoch != epoch {
            *row = Row {
                epoch,
                first: sequence.0,
                slots: VecDeque::new(),
            };
        }
        let end = row.first + row.slots.len() as u64;
        if sequence.0 < row.first {
            let [late, before] = &mut self.late;
            if late.len() >= LATE_MAX {
                *before = std::mem::take(late);
            }
            late.insert((source, stream, epoch, sequence), mac);
            return;
        }
        if sequence.0 >= end + RECENT_MAX as u64 {
            row.slots.clear();
            row.first = sequence.0;
        }
        while row.first + (row.slots.len() as u64) <= sequence.0 {
            row.slots.push_back(None);
        }
        while row.slots.len() > RECENT_MAX {
            row.slots.pop_front();
            row.first += 1;
        }
        let at = usize::try_from(sequence.0.saturating_sub(row.first)).unwrap_or(usize::MAX);
        if let Some(slot) = row.slots.get_mut(at) {
            *slot = Some(mac);
        }
    }

    /// The MAC of a number, if it is remembered.
    pub(crate) fn get(
        &self,
        source: SourceId,
        stream: Stream,
        epoch: Epoch,
        sequence: Sequence,
    ) -> Option<ShortMac> {
        let row = self
            .rows
            .get(&(source, stream))
            .filter(|row| row.epoch == epoch)?;
        let Some(at) = sequence.0.checked_sub(row.first) else {
            let number = (source, stream, epoch, sequence);
            let [late, before] = &self.late;
            return late.get(&number).or_else(|| before.get(&number)).copied();
        };
        *row.slots.get(usize::try_from(at).ok()?)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_is_found_until_it_is_old() {
        let (source, stream, epoch) = (SourceId(1), Stream::Record, Epoch(5));
        let mac = |n: u64| ShortMac([u8::try_from(n % 251).unwrap(); 16]);
        let mut recent = Recent::default();
        for n in (1..=20_000u64).filter(|n| n % 10 != 0) {
            recent.put(source, stream, epoch, Sequence(n), mac(n));
        }
        recent.put(source, stream, epoch, Sequence(19_990), mac(7));
        let get = |n| recent.get(source, stream, epoch, Sequence(n));
        assert_eq!(get(1), None);
        assert_eq!(get(19_980), None);
        assert_eq!(get(19_990), Some(mac(7)));
        assert_eq!(get(19_999), Some(mac(19_999)));
        assert_eq!(get(20_001), None);
        assert_eq!(recent.get(source, stream, Epoch(6), Sequence(19_999)), None);
        assert!(recent.rows[&(source, stream)].slots.len() <= RECENT_MAX);
        // A late one that lies before them is remembered too, for a while.
        recent.put(source, stream, epoch, Sequence(10), mac(3));
        let get = |recent: &Recent, n| recent.get(source, stream, epoch, Sequence(n));
        assert_eq!(get(&recent, 10), Some(mac(3)));
        assert_eq!(get(&recent, 20), None);
        for n in 0..LATE_MAX as u64 {
            let other = SourceId(2 + u32::try_from(n / 8000).unwrap());
            recent.put(other, stream, epoch, Sequence(20_000), mac(1));
            recent.put(other, stream, epoch, Sequence(1 + n % 8000), mac(2));
        }
        assert_eq!(get(&recent, 10), Some(mac(3)), "a frame's worth is kept");
        let kept: usize = recent.late.iter().map(HashMap::len).sum();
        assert!(kept <= 2 * LATE_MAX, "{kept}");
    }
}
