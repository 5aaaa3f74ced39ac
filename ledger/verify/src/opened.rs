//! The first entry says which log this is and whose keys speak for it: it must agree with the trust
//! file.
//!
//! Not here: evidence keys and founders, which nothing else names yet.

use std::sync::atomic::Ordering;

use ledger_event::facts::{Facts as _, Opened};

use crate::misdeed::MisdeedKind;
use crate::work::Shared;

/// Compares the facts of entry 0 with the trust file.
pub(crate) fn check(facts: &[u8], file: &str, at: u64, shared: &Shared<'_>) {
    shared.opened_checked.store(true, Ordering::Relaxed);
    let differs = |field| {
        let what = MisdeedKind::OpenedDiffers { field };
        shared.misdeeds.add(file, Some(at), what);
    };
    let Ok(opened) = Opened::parse(facts) else {
        return differs("kind of facts");
    };
    let keys = shared.trust.keys();
    if opened.origin != keys.origin().as_str() {
        differs("origin");
    }
    let mut named = opened.keys;
    named.sort();
    let mut trusted = vec![keys.ed25519().to_string(), keys.ml_dsa().to_string()];
    trusted.sort();
    if named != trusted {
        differs("pair of keys");
    }
}
