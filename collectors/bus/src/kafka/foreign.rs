//! Topics that others write: the native line of a record, wherever the shipper put it, as an event.
//!
//! Each record is read by itself, because shippers send one native record in each. Not here:
//! numbers and sources (`session`).

use collectors_formats::{Format, FormatKeys, SettingsError, Step, format_for};
use ledger_core::Nanos;
use ledger_event::{Event, Text};
use serde_json::Value;

use super::config::ForeignConfig;
use super::notice::{Unread, Whole, stray_of};

/// Most bytes of a record that are read.
pub(crate) const RECORD_BYTES_MAX: usize = 8 << 20;

/// Reads the records of one partition of a foreign topic.
pub(crate) struct Foreign {
    platform: String,
    settings: Vec<(String, String)>,
    keys: FormatKeys,
    field: Option<String>,
}

impl Foreign {
    /// A reader with the keys of its source.
    ///
    /// # Errors
    /// Settings that name no form.
    pub(crate) fn new(
        config: &ForeignConfig,
        digest_key: [u8; 32],
    ) -> Result<Foreign, SettingsError> {
        let foreign = Foreign {
            platform: config.platform.clone(),
            settings: config.settings.clone().into_iter().collect(),
            keys: FormatKeys { digest_key },
            field: config.field.clone(),
        };
        foreign.format()?;
        Ok(foreign)
    }

    fn format(&self) -> Result<Box<dyn Format + Send>, SettingsError> {
        format_for(&self.platform, &self.settings, &self.keys)
    }

    /// The event of a record; `place` is its topic, partition and offset, `at` the broker's time of
    /// it. What cannot be read is kept, masked, with the reason.
    pub(crate) fn event(&self, whole: &Whole<'_>, place: &str, at: Nanos) -> Vec<u8> {
        if whole.bytes.len() < whole.len {
            return stray_of(&Unread::TooLarge, place, whole, at);
        }
        let Some(line) = self.line(whole.bytes) else {
            return stray_of(&Unread::NoField, place, whole, at);
        };
        let Ok(mut format) = self.format() else {
            return stray_of(&Unread::NoField, place, whole, at);
        };
        let mut input = line.as_slice();
        while !input.is_empty() {
            let (consumed, event) = match format.next(input, true) {
                Step::Skip { consumed } => (consumed, None),
                Step::Record { consumed, event } | Step::Unparsed { consumed, event } => {
                    (consumed, Some(event))
                }
                Step::NeedMore => break,
            };
            let rest = input.get(consumed..).unwrap_or_default();
            if let Some(event) = event {
                if !rest.iter().all(u8::is_ascii_whitespace) {
                    return stray_of(&Unread::MoreThanOne, place, whole, at);
                }
                return placed(*event, place);
            }
            input = rest;
        }
        stray_of(&Unread::Nothing, place, whole, at)
    }

    /// The native line with its end.
    fn line(&self, value: &[u8]) -> Option<Vec<u8>> {
        let mut line = match &self.field {
            None => value.to_vec(),
            Some(field) => {
                let json: Value = serde_json::from_slice(value).ok()?;
                let found = if field.starts_with('/') {
                    json.pointer(field)
                } else {
                    json.get(field)
                };
                match found? {
                    Value::String(text) => text.clone().into_bytes(),
                    object @ Value::Object(_) => serde_json::to_vec(object).ok()?,
                    Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
                        return None;
                    }
                }
            }
        };
        if line.last() != Some(&b'\n') {
            line.push(b'\n');
        }
        Some(line)
    }
}

/// The event with its place in the topic, by which it is found again there.
fn placed(mut event: Event<'_>, place: &str) -> Vec<u8> {
    event.metadata.original_event_uid = Some(Text::from(place.to_owned()));
    event.to_json()
}
