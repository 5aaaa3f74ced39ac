//! The one form in which an entry is shown: a JSON object on one line, the same from `query`,
//! `show`, `tail` and over the socket.
//!
//! `index`, `kind`, `flags`, `source`, `epoch`, `sequence`, `event_time`, `ledger_time` (RFC 3339,
//! UTC), then `event` (its three parts joined) or, for every other kind, `facts`, `who` and `text`
//! as they are stored, `erased` (parts of which only the commitment is left), `commitment` and
//! `leaf` (hexadecimal).
//!
//! Not here: salts (a proof carries them), and tables for people.

use std::borrow::Cow;

use jiff::Timestamp;
use ledger_core::{Entry, Flags, Index, Kind, Nanos};
use ledger_event::{Event, Part};
use ledger_log::{OwnedPart, StoredEntry};
use serde::Serialize;
use serde_json::value::RawValue;

/// The flags that have a name, in the order of their bits.
const FLAG_NAMES: &[(Flags, &str)] = &[
    (Flags::CRITICAL, "critical"),
    (Flags::LATE, "late"),
    (Flags::REREAD, "reread"),
    (Flags::MASKED, "masked"),
    (Flags::TRUNCATED, "truncated"),
    (Flags::UNPARSED, "unparsed"),
    (Flags::DOOR_MASKED, "door-masked"),
];

/// An entry as it is shown.
#[derive(Serialize)]
struct Line {
    index: u64,
    kind: Cow<'static, str>,
    flags: Vec<Cow<'static, str>>,
    source: u32,
    epoch: u32,
    sequence: u64,
    event_time: String,
    ledger_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    facts: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    who: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    erased: Vec<Erased>,
    commitment: String,
    leaf: String,
}

#[derive(Serialize)]
struct Erased {
    part: &'static str,
    commitment: String,
}

/// The entry as one JSON object, without a line feed in or after it.
#[must_use]
pub fn render(stored: &StoredEntry) -> String {
    let line = Line::of(stored.index, &stored.entry, &stored.parts);
    // Numbers, strings and checked JSON always have a JSON form, so this never falls back.
    serde_json::to_string(&line).unwrap_or_default()
}

impl Line {
    fn of(index: Index, entry: &Entry, parts: &[OwnedPart; 3]) -> Line {
        let mut line = Line {
            index: index.0,
            kind: kind_name(entry.kind),
            flags: flag_names(entry.flags),
            source: entry.source.0,
            epoch: entry.epoch.0,
            sequence: entry.sequence.0,
            event_time: time(entry.event_time),
            ledger_time: time(entry.ledger_time),
            event: Some(entry.kind)
                .filter(|kind| *kind == Kind::EVENT)
                .and_then(|_| event(parts)),
            facts: None,
            who: None,
            text: None,
            erased: Vec::new(),
            commitment: entry.commitment.to_string(),
            leaf: entry.leaf().to_string(),
        };
        for (part, stored) in Part::ALL.into_iter().zip(parts) {
            match stored {
                OwnedPart::Absent => {}
                OwnedPart::Erased(commitment) => line.erased.push(Erased {
                    part: part.name(),
                    commitment: commitment.to_string(),
                }),
                // Already in the event.
                OwnedPart::Present(_) if line.event.is_some() => {}
                OwnedPart::Present(bytes) => *line.part_mut(part) = Some(one_line(bytes)),
            }
        }
        line
    }

    fn part_mut(&mut self, part: Part) -> &mut Option<Box<RawValue>> {
        match part {
            Part::Facts => &mut self.facts,
            Part::Who => &mut self.who,
            Part::Text => &mut self.text,
        }
    }
}

/// The event that the parts make together; `None` if one was written by a later version that knows
/// more fields. Its parts are then shown as they are stored.
fn event(parts: &[OwnedPart; 3]) -> Option<Box<RawValue>> {
    let [facts, who, text] = parts.each_ref().map(|part| match part {
        OwnedPart::Present(bytes) => Some(bytes.as_slice()),
        OwnedPart::Absent | OwnedPart::Erased(_) => None,
    });
    let event = Event::merge(facts, who, text).ok()?;
    RawValue::from_string(String::from_utf8(event.to_json()).ok()?).ok()
}

/// Stored JSON on one line: outside of strings, where JSON escapes them, line ends mean nothing.
/// What is no JSON is shown as a string, with what is no UTF-8 replaced.
fn one_line(bytes: &[u8]) -> Box<RawValue> {
    let text = String::from_utf8_lossy(bytes).replace(['\n', '\r'], " ");
    RawValue::from_string(text.clone())
        .or_else(|_| serde_json::value::to_raw_value(&text))
        .unwrap_or_else(|_| RawValue::NULL.to_owned())
}

fn kind_name(kind: Kind) -> Cow<'static, str> {
    kind.name()
        .map_or_else(|| format!("unknown-{}", kind.0).into(), Cow::Borrowed)
}

fn flag_names(flags: Flags) -> Vec<Cow<'static, str>> {
    let known = FLAG_NAMES.iter().filter(|(flag, _)| flags.contains(*flag));
    let mut names: Vec<_> = known.map(|(_, name)| Cow::Borrowed(*name)).collect();
    if flags.unknown() != Flags::NONE {
        names.push(format!("unknown-{:#06x}", flags.unknown().0).into());
    }
    names
}

fn time(nanos: Nanos) -> String {
    // 64 bits of nanoseconds reach from 1677 to 2262: all of them are instants.
    Timestamp::from_nanosecond(nanos.0.into()).map_or_else(|_| nanos.to_string(), |t| t.to_string())
}
