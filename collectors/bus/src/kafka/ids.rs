//! The ids of topics (KIP-516), by which one that was deleted and made anew is told from the one
//! before, however much it holds.
//!
//! The client knows them but has no safe way to ask: it says each id that it hears, and each that
//! changed, in a line of its own log, before it reads on by the new one. Brokers that give none are
//! heard to say nothing. Not here: what another id means (`places`, `session`, `hearing`).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// The setting by which a client says what it hears of topics.
pub(super) const SAY_IDS: (&str, &str) = ("debug", "metadata");
/// How often a client asks for the ids by itself.
pub(super) const ASK_IDS: (&str, &str) = ("topic.metadata.refresh.interval.ms", "5000");
/// What the client says of a topic whose id it has not heard.
const NO_ID: &str = "AAAAAAAAAAAAAAAAAAAAAA";
/// Topics that are remembered: more than anyone reads.
const TOPICS_MAX: usize = 1024;

/// The ids that a client heard last.
#[derive(Debug, Default)]
pub(super) struct Ids {
    known: Mutex<HashMap<String, String>>,
    changes: AtomicU64,
}

impl Ids {
    /// Takes a line of the client's log.
    pub(super) fn hear(&self, line: &str) {
        let Some((topic, id)) = told(line) else {
            return;
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if id == NO_ID {
            known.remove(topic);
        } else if known.len() < TOPICS_MAX || known.contains_key(topic) {
            known.insert(topic.to_owned(), id.to_owned());
        }
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// The id of a topic.
    pub(super) fn of(&self, topic: &str) -> Option<String> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(topic).cloned()
    }

    /// Another number each time an id was heard.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }
}

/// Topic and new id of a line that says one.
fn told(line: &str) -> Option<(&str, &str)> {
    let (before, after) = line.split_once(" changed id from ")?;
    let (_, topic) = before.rsplit_once("Topic ")?;
    let (_, id) = after.split_once(" to ")?;
    let is_id = id.len() == NO_ID.len() && !topic.contains(' ');
    is_id.then_some((topic, id))
}

/// Whether it is known that these are two topics.
pub(super) fn differ(one: Option<&String>, other: Option<&String>) -> bool {
    one.zip(other).is_some_and(|(one, other)| one != other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_line_about_an_id_says_one_and_the_last_counts() {
        let ids = Ids::default();
        for line in [
            "",
            "[thrd:main]: Topic t [0] Leader 1 Epoch 0",
            "Topic t changed id from x to y",
            "Topic t changed id to 5L6g3nShT-eMCtK--X86sw",
            "t changed id from AAAAAAAAAAAAAAAAAAAAAA to 5L6g3nShT-eMCtK--X86sw",
        ] {
            ids.hear(line);
        }
        assert_eq!((ids.of("t"), ids.changes()), (None, 0));
        let to = |id: &str| format!("[thrd:main]: Topic t changed id from {NO_ID} to {id}");
        for (id, known) in [
            ("5L6g3nShT-eMCtK--X86sw", Some("5L6g3nShT-eMCtK--X86sw")),
            ("6L6g3nShT+eMCtK//X86sw", Some("6L6g3nShT+eMCtK//X86sw")),
            (NO_ID, None),
        ] {
            let before = ids.changes();
            ids.hear(&to(id));
            assert_eq!(ids.of("t").as_deref(), known);
            assert!(ids.changes() > before);
        }
        let (one, other) = ("1".to_owned(), "2".to_owned());
        assert!(differ(Some(&one), Some(&other)));
        assert!(!differ(Some(&one), Some(&one)) && !differ(Some(&one), None));
    }

    #[test]
    fn no_more_topics_are_kept_than_the_bound() {
        let ids = Ids::default();
        for number in 0..2 * TOPICS_MAX {
            ids.hear(&format!(
                "Topic t{number} changed id from {NO_ID} to 5L6g3nShT-eMCtK--X86sw"
            ));
        }
        assert_eq!(ids.known.lock().unwrap().len(), TOPICS_MAX);
    }
}
