//! One flat JSON object as its pairs, in order, values as they were written.
//!
//! Not here: what a field means; nested values, which no log line has.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

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
        serde_json::from_str(text).ok()
    }
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
