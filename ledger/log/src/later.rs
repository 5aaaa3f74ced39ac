//! An answer that may be known already, or is waited for.
//!
//! Not here: what is asked ([`crate::door`]).

use std::fmt;

/// An answer to what was handed over.
pub enum Later<T> {
    /// It is known.
    Known(T),
    /// It is waited for.
    Awaited(Box<dyn FnOnce() -> T + Send>),
}

impl<T: 'static> Later<T> {
    /// Returns when it is known.
    pub fn wait(self) -> T {
        match self {
            Later::Known(answer) => answer,
            Later::Awaited(wait) => wait(),
        }
    }

    /// The same answer as something else; nothing is waited for.
    pub fn map<U>(self, to: impl FnOnce(T) -> U + Send + 'static) -> Later<U> {
        match self {
            Later::Known(answer) => Later::Known(to(answer)),
            Later::Awaited(wait) => Later::Awaited(Box::new(move || to(wait()))),
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Later<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Later::Known(answer) => write!(f, "Known({answer:?})"),
            Later::Awaited(_) => f.write_str("Awaited(…)"),
        }
    }
}
