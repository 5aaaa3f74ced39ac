//! Which of the shipped records the demo shows: a masked card number, a login that failed, audit
//! switched off, and somebody who was given a role.
//!
//! Not here: how an entry came to be what it is (collectors/formats).

use serde::Serialize;
use serde_json::Value;

use crate::brief::Words;

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

/// OCSF classes.
const AUTHENTICATION: u64 = 3002;
const APPLICATION_LIFECYCLE: u64 = 6002;
const FAILED: u64 = 2;

/// The first entry of each sort, in this order, as far as there is one.
pub(crate) fn moments(entries: &[Value]) -> Vec<Moment> {
    let sorts: [(&str, &dyn Fn(&Value) -> bool); 4] = [
        ("card number masked", &|entry| is_redacted(entry, "pan")),
        ("password removed", &|entry| is_redacted(entry, "password")),
        ("login failed", &|entry| {
            number(entry, "class_uid") == Some(AUTHENTICATION)
                && number(entry, "status_id") == Some(FAILED)
        }),
        ("audit switched off", &|entry| {
            number(entry, "class_uid") == Some(APPLICATION_LIFECYCLE) && is_about_audit(entry)
        }),
    ];
    let found = |(what, wanted): (&'static str, &dyn Fn(&Value) -> bool)| {
        let entry = entries.iter().find(|entry| wanted(entry))?;
        let words = Words::of(entry);
        let who = if words.who.is_empty() {
            "nobody yet"
        } else {
            &words.who
        };
        let text = format!("{who}: {}", words.text);
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
    Words::of(entry).text.to_lowercase().contains("pgaudit")
}
