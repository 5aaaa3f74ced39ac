//! How much of what is no message the log keeps: anybody who may write can write without end, and
//! each piece that is kept is an entry.
//!
//! So many pieces of a partition are kept in a span, each with its first bytes; the others are
//! counted in the partition's position, and told in one notice when the span is over.
//! Not here: what is no message (`form`, `session`), the notice (`notice`).

use std::time::{Duration, Instant};

/// Pieces of a partition that are kept in a span.
pub(crate) const KEPT_MAX: u32 = 32;
/// The span.
const SPAN: Duration = Duration::from_secs(60);

/// What was kept of a partition since the span began.
#[derive(Debug, Default)]
pub(crate) struct Junk {
    began: Option<Instant>,
    kept: u32,
}

impl Junk {
    /// Whether one more piece is kept.
    pub(crate) fn keeps(&mut self, now: Instant) -> bool {
        if self.is_over(now) {
            *self = Junk {
                began: Some(now),
                kept: 0,
            };
        }
        self.kept = self.kept.saturating_add(1);
        self.kept <= KEPT_MAX
    }

    /// Whether the span is over, and what was counted in it is to be told. After a start nobody
    /// knows when it began.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        let since = |began| now.saturating_duration_since(began);
        self.began.is_none_or(|began| since(began) >= SPAN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_kept_in_a_span_and_as_many_in_the_next() {
        let began = Instant::now();
        let mut junk = Junk::default();
        assert!(junk.is_over(began), "nothing is known");
        let kept = |junk: &mut Junk, at| (0..1000).filter(|_| junk.keeps(at)).count();
        assert_eq!(kept(&mut junk, began), KEPT_MAX as usize);
        let later = began + SPAN - Duration::from_millis(1);
        assert_eq!(kept(&mut junk, later), 0);
        assert!(!junk.is_over(later) && junk.is_over(began + SPAN));
        assert_eq!(kept(&mut junk, began + SPAN), KEPT_MAX as usize);
    }
}
