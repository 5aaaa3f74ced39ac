//! Reading the headers of records that anybody may have written. The client's binding panics at a
//! name that is not UTF-8: here that is an answer, and says nothing on stderr.
//!
//! Not here: what headers mean (`form`).

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    /// Whether this thread reads headers, so that a panic is an answer.
    static READS: Cell<bool> = const { Cell::new(false) };
}
static QUIET: Once = Once::new();

/// What `read` makes of the headers of a record; `None` if a name is not UTF-8.
pub(crate) fn reading_headers<T>(read: impl FnOnce() -> T) -> Option<T> {
    QUIET.call_once(be_quiet);
    READS.set(true);
    let found = panic::catch_unwind(AssertUnwindSafe(read));
    READS.set(false);
    found.ok()
}

/// Every other panic is told as before.
fn be_quiet() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if !READS.get() {
            before(panic);
        }
    }));
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn a_name_that_is_no_text_is_an_answer_and_other_panics_are_told() {
        static TOLD: AtomicUsize = AtomicUsize::new(0);
        let mine = thread::current().id();
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if thread::current().id() == mine {
                TOLD.fetch_add(1, Ordering::Relaxed);
            } else {
                before(panic);
            }
        }));
        be_quiet();
        let bytes = vec![0xff];
        let name = || std::str::from_utf8(&bytes).unwrap().len();
        assert_eq!(reading_headers(name), None);
        assert_eq!(TOLD.load(Ordering::Relaxed), 0);
        assert_eq!(reading_headers(|| 7), Some(7));
        assert!(panic::catch_unwind(name).is_err());
        assert_eq!(TOLD.load(Ordering::Relaxed), 1);
    }
}
