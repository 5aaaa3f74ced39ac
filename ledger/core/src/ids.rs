//! A newtype for every id, index, size and time, so that none is taken for another.
//!
//! Not here: reading a clock. A time is always passed in.

use std::fmt;

macro_rules! newtype {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<$inner> for $name {
            fn from(value: $inner) -> Self {
                Self(value)
            }
        }
    };
}

newtype!(
    /// The position of an entry in its log, from 0.
    Index, u64
);
newtype!(
    /// How many entries a tree has; the next entry's index.
    TreeSize, u64
);
newtype!(
    /// A registered source, numbered from 1 within its log. 0 is the log itself.
    SourceId, u32
);
newtype!(
    /// One life of an agent's journal for a source: its creation in Unix seconds. 0 for the log
    /// itself.
    Epoch, u32
);
newtype!(
    /// The number of a message in one stream of one source, from 1 and without gaps.
    Sequence, u64
);
newtype!(
    /// A time: nanoseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
    Nanos, i64
);

impl SourceId {
    /// The log itself: the source of its ticks, gaps and other reflexive entries.
    pub const LOG: SourceId = SourceId(0);
}

impl Index {
    /// The size of the smallest tree that holds this entry.
    pub fn size_after(self) -> TreeSize {
        TreeSize(self.0.saturating_add(1))
    }
}

impl Nanos {
    /// Whole seconds since the epoch, rounded up: never earlier than this time.
    pub fn seconds_up(self) -> i64 {
        let whole = self.0.div_euclid(1_000_000_000);
        if self.0.rem_euclid(1_000_000_000) == 0 {
            whole
        } else {
            whole.saturating_add(1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_rounded_up() {
        for (nanos, seconds) in [
            (0, 0),
            (1, 1),
            (1_000_000_000, 1),
            (1_000_000_001, 2),
            (-1, 0),
        ] {
            assert_eq!(Nanos(nanos).seconds_up(), seconds, "{nanos}");
        }
    }
}
