//! One flat JSON object as its pairs, in order, values as they were written.
//!
//! Not here: what a field means; nested values, which no log line has.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::scan;

/// No form has nearly as many fields.
const PAIRS_MAX: usize = 128;

/// The pairs of one object.
pub(crate) struct Pairs<'i>(pub(crate) Vec<(Cow<'i, str>, Value<'i>)>);

/// One value, as it was written.
#[derive(Clone, Copy)]
pub(crate) struct Value<'i> {
    pub(crate) written: &'i str,
}

impl<'i> Value<'i> {
    /// The string that it is, if it is one.
    pub(crate) fn string(&self) -> Option<Cow<'i, str>> {
        let inside = self.written.strip_prefix('"')?.strip_suffix('"')?;
        if memchr::memchr(b'\\', inside.as_bytes()).is_none() {
            return Some(Cow::Borrowed(inside));
        }
        serde_json::from_str(self.written).ok().map(Cow::Owned)
    }
}

impl<'i> Pairs<'i> {
    /// Reads an object; `None` when the text is none, or one with nested values.
    pub(crate) fn read(text: &'i str) -> Option<Pairs<'i>> {
        compact(text).or_else(|| serde_json::from_str(text).ok())
    }
}

/// Reads an object as servers write it: no blanks, strings with short escapes, whole numbers. What
/// is written otherwise is left to the full reader.
fn compact(text: &str) -> Option<Pairs<'_>> {
    // Strings of JSON have no control characters.
    if text.bytes().fold(false, |any, byte| any | (byte < 0x20)) {
        return None;
    }
    let mut pairs = Vec::with_capacity(26);
    let mut rest = text.strip_prefix('{')?;
    loop {
        let (key, behind) = rest.split_at_checked(string_length(rest)?)?;
        let key = key.get(1..key.len() - 1)?;
        rest = behind.strip_prefix(':')?;
        let length = match rest.as_bytes().first()? {
            b'"' => string_length(rest)?,
            _ => number_length(rest)?,
        };
        let (written, behind) = rest.split_at_checked(length)?;
        if pairs.len() >= PAIRS_MAX || key.contains('\\') {
            return None;
        }
        pairs.push((Cow::Borrowed(key), Value { written }));
        if behind == "}" {
            return Some(Pairs(pairs));
        }
        rest = behind.strip_prefix(',')?;
    }
}

/// Length of the string that a text begins with, quotes included.
fn string_length(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = usize::from(bytes.first() == Some(&b'"'));
    if at == 0 {
        return None;
    }
    loop {
        at += scan::first_of_two(bytes.get(at..)?, b'"', b'\\')?;
        match (bytes.get(at), bytes.get(at + 1)) {
            (Some(b'"'), _) => return Some(at + 1),
            (_, Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't')) => at += 2,
            _ => return None,
        }
    }
}

/// Length of the whole number that a text begins with.
fn number_length(text: &str) -> Option<usize> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let digits = unsigned.bytes().take_while(u8::is_ascii_digit).count();
    let zeros = digits > 1 && unsigned.starts_with('0');
    (digits > 0 && !zeros).then_some(text.len() - unsigned.len() + digits)
}

impl<'de: 'i, 'i> Deserialize<'de> for Pairs<'i> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor)
    }
}

struct PairsVisitor;

impl<'de> Visitor<'de> for PairsVisitor {
    type Value = Pairs<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a flat object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
        use serde::de::Error;
        let mut pairs = Vec::with_capacity(24);
        while let Some((key, value)) = map.next_entry::<ledger_event::Text<'de>, &RawValue>()? {
            let written = value.get();
            if written.starts_with(['{', '[']) || pairs.len() >= PAIRS_MAX {
                return Err(A::Error::custom("not flat"));
            }
            pairs.push((key.into_cow(), Value { written }));
        }
        Ok(Pairs(pairs))
    }
}

/// Appends a string as JSON.
pub(crate) fn put_string(text: &str, out: &mut String) {
    // Serialising a string cannot fail.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn the_compact_reader_reads_as_the_full_one(
            text in "\\{(\"[ab\\\\nu0é]{0,4}\":(\"[a\\\\\"nut/ \t0]{0,5}\"|-?[0-9]{0,3}|null|1\\.5| 1)(,|\\}| )){0,4}",
        ) {
            let Some(compact) = compact(&text) else { return Ok(()) };
            let full: Pairs<'_> = serde_json::from_str(&text).unwrap();
            proptest::prop_assert_eq!(compact.0.len(), full.0.len());
            for ((key, value), (same_key, same)) in compact.0.iter().zip(&full.0) {
                proptest::prop_assert_eq!(key, same_key);
                proptest::prop_assert_eq!(value.written, same.written);
            }
        }
    }

    #[test]
    fn flat_objects_and_nothing_else() {
        let pairs = Pairs::read(r#"{"a":"x\ny","b":-7,"c":null,"d":""}"#).unwrap();
        let got: Vec<_> = pairs.0.iter().map(|(k, v)| (&**k, v.string())).collect();
        let text = |t: &str| Some(Cow::Owned(t.to_owned()));
        assert_eq!(
            got,
            [
                ("a", text("x\ny")),
                ("b", None),
                ("c", None),
                ("d", text(""))
            ]
        );
        for text in [
            "",
            "{",
            "[]",
            "{\"a\":{}}",
            "{\"a\":1} x",
            "{\"a\":\"\u{1}\"}",
        ] {
            assert!(Pairs::read(text).is_none(), "{text}");
        }
    }
}
