//! Which of the shipped records the demo shows: a masked card number, a password that is gone, a
//! login that failed, and audit switched off.
//!
//! Not here: how an entry came to be what it is (collectors/formats).

use serde::Serialize;
use serde_json::Value;

use crate::brief::{Words, cut};

/// One entry to look at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Moment {
    /// Its index.
    pub(crate) index: u64,
    /// Why it is worth looking at.
    pub(crate) what: &'static str,
    /// Who, and what they did, as far as it was kept.
    pub(crate) text: String,
}

/// The sort whose entry is made a success in a tampered copy.
pub(crate) const LOGIN_FAILED: &str = "login failed";

/// Longest statement or message that is shown, in characters.
const TEXT_CHARS_MAX: usize = 90;

/// OCSF classes.
const AUTHENTICATION: u64 = 3002;
const APPLICATION_LIFECYCLE: u64 = 6002;
const FAILED: u64 = 2;

/// Whether an entry is of a sort.
type Wanted<'a> = &'a dyn Fn(&Value) -> bool;

/// The first entry of each sort, in this order, as far as there is one.
pub(crate) fn moments(entries: &[Value]) -> Vec<Moment> {
    let sorts: [(&str, Wanted<'_>); 5] = [
        ("card number masked", &|entry| is_redacted(entry, "pan")),
        ("password removed", &|entry| is_redacted(entry, "password")),
        (LOGIN_FAILED, &|entry| {
            number(entry, "class_uid") == Some(AUTHENTICATION)
                && number(entry, "status_id") == Some(FAILED)
        }),
        ("audit off: refused", &|entry| {
            is_about_audit(entry) && number(entry, "status_id") == Some(FAILED)
        }),
        ("audit switched off", &|entry| {
            is_about_audit(entry)
                && number(entry, "status_id") != Some(FAILED)
                && Words::of(entry).text.to_lowercase().contains("none")
        }),
    ];
    let found = |(what, wanted): (&'static str, Wanted<'_>)| {
        let entry = entries.iter().find(|entry| wanted(entry))?;
        let words = Words::of(entry);
        let who = if words.who.is_empty() {
            "nobody yet"
        } else {
            &words.who
        };
        let text = format!("{who}: {}", cut(&words.text, TEXT_CHARS_MAX));
        Some(Moment {
            index: entry.get("index")?.as_u64()?,
            what,
            text,
        })
    };
    sorts.into_iter().filter_map(found).collect()
}

fn number(entry: &Value, field: &str) -> Option<u64> {
    entry.get("event")?.get(field)?.as_u64()
}

fn is_redacted(entry: &Value, kind: &str) -> bool {
    let redactions = entry
        .pointer("/event/unmapped/redacted")
        .and_then(Value::as_array);
    redactions.is_some_and(|all| {
        all.iter()
            .any(|one| one.get("kind").and_then(Value::as_str) == Some(kind))
    })
}

fn is_about_audit(entry: &Value) -> bool {
    let text = Words::of(entry).text.to_lowercase();
    number(entry, "class_uid") == Some(APPLICATION_LIFECYCLE) && text.contains("pgaudit.log")
}
