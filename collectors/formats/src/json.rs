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
    has: Has,
}

/// What is known of a value without a look at all of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Has {
    /// No escape in it.
    NoEscape,
    /// Escapes of two characters, no other.
    ShortEscapes,
    /// Perhaps any escape.
    Any,
}

impl<'i> Value<'i> {
    /// The string that it is, if it is one.
    pub(crate) fn string(&self) -> Option<Cow<'i, str>> {
        // Single bytes are compared as such: `strip_prefix` would call a comparison of memory.
        if self.written.as_bytes().first() != Some(&b'"') {
            return None;
        }
        let inside = self.written.get(1..self.written.len().checked_sub(1)?)?;
        match self.has {
            Has::NoEscape => Some(Cow::Borrowed(inside)),
            Has::ShortEscapes => Some(Cow::Owned(unescaped(inside))),
            Has::Any if !inside.contains('\\') => Some(Cow::Borrowed(inside)),
            Has::Any => serde_json::from_str(self.written).ok().map(Cow::Owned),
        }
    }
}

/// A text with its escapes of two characters undone; it has no other.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = scan::first(rest.as_bytes(), b'\\') {
        out.push_str(rest.get(..at).unwrap_or(""));
        let named = rest.as_bytes().get(at + 1).copied();
        out.push(match named {
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            other => char::from(other.unwrap_or(b'\\')),
        });
        rest = rest.get(at + 2..).unwrap_or("");
    }
    out.push_str(rest);
    out
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
    let bytes = text.as_bytes();
    // Strings of JSON have no control characters.
    if bytes.iter().fold(false, |any, byte| any | (*byte < 0x20)) {
        return None;
    }
    let mut pairs = Vec::with_capacity(26);
    let mut at = 0;
    let mut before = b'{';
    loop {
        let key_end = match (bytes.get(at), bytes.get(at + 1)) {
            (Some(mark), Some(b'"')) if *mark == before => string_end(bytes, at + 2)?,
            _ => return None,
        };
        let (Has::NoEscape, key_end) = key_end else {
            return None;
        };
        let key = text.get(at + 2..key_end - 1)?;
        let (has, end) = match (bytes.get(key_end), bytes.get(key_end + 1)) {
            (Some(b':'), Some(b'"')) => string_end(bytes, key_end + 2)?,
            (Some(b':'), Some(_)) => (Has::NoEscape, number_end(bytes, key_end + 1)?),
            _ => return None,
        };
        let written = text.get(key_end + 1..end)?;
        if pairs.len() >= PAIRS_MAX {
            return None;
        }
        pairs.push((Cow::Borrowed(key), Value { written, has }));
        if bytes.get(end) == Some(&b'}') && bytes.len() == end + 1 {
            return Some(Pairs(pairs));
        }
        (at, before) = (end, b',');
    }
}

/// Where a string ends whose inside begins at `from`, behind its quote.
#[inline]
fn string_end(bytes: &[u8], from: usize) -> Option<(Has, usize)> {
    let mut at = from;
    let mut has = Has::NoEscape;
    loop {
        at += scan::first_of_two(bytes.get(at..)?, b'"', b'\\')?;
        match (bytes.get(at), bytes.get(at + 1)) {
            (Some(b'"'), _) => return Some((has, at + 1)),
            (_, Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't')) => at += 2,
            _ => return None,
        }
        has = Has::ShortEscapes;
    }
}

/// Where the whole number ends that begins at `from`.
fn number_end(bytes: &[u8], from: usize) -> Option<usize> {
    let start = from + usize::from(bytes.get(from) == Some(&b'-'));
    let digits = bytes
        .get(start..)?
        .iter()
        .take_while(|b| b.is_ascii_digit());
    let digits = digits.count();
    let zeros = digits > 1 && bytes.get(start) == Some(&b'0');
    (digits > 0 && !zeros).then_some(start + digits)
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
            let has = Has::Any;
            pairs.push((key.into_cow(), Value { written, has }));
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
            text in "\\{(\"[ab\\\\nu0é]{0,4}\":(\"[a\\\\\"nut/bfr \t0]{0,5}\"|-?[0-9]{0,3}|null|1\\.5| 1)(,|\\}| )){0,4}",
        ) {
            let Some(compact) = compact(&text) else { return Ok(()) };
            let full: Pairs<'_> = serde_json::from_str(&text).unwrap();
            proptest::prop_assert_eq!(compact.0.len(), full.0.len());
            for ((key, value), (same_key, same)) in compact.0.iter().zip(&full.0) {
                proptest::prop_assert_eq!(key, same_key);
                proptest::prop_assert_eq!(value.written, same.written);
                proptest::prop_assert_eq!(value.string(), same.string());
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
