//! How numbers and embedded JSON of `facts` stand in JSON. The types of ledger/core stay free of
//! serde.
//!
//! Not here: anything about events, whose fields are plain numbers.

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// A module for one newtype.
macro_rules! number {
    ($plain:ident, $ty:ident, $inner:ty) => {
        pub(crate) mod $plain {
            use serde::{Deserialize, Deserializer, Serializer};
            pub(crate) fn serialize<S: Serializer>(
                value: &ledger_core::$ty,
                serializer: S,
            ) -> Result<S::Ok, S::Error> {
                serde::Serialize::serialize(&value.0, serializer)
            }
            pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
                deserializer: D,
            ) -> Result<ledger_core::$ty, D::Error> {
                <$inner>::deserialize(deserializer).map(ledger_core::$ty)
            }
        }
    };
}

/// The same inside an `Option`.
macro_rules! optional_number {
    ($optional:ident, $ty:ident, $inner:ty) => {
        pub(crate) mod $optional {
            use serde::{Deserialize, Deserializer, Serializer};
            pub(crate) fn serialize<S: Serializer>(
                value: &Option<ledger_core::$ty>,
                serializer: S,
            ) -> Result<S::Ok, S::Error> {
                serde::Serialize::serialize(&value.map(|v| v.0), serializer)
            }
            pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
                deserializer: D,
            ) -> Result<Option<ledger_core::$ty>, D::Error> {
                Ok(Option::<$inner>::deserialize(deserializer)?.map(ledger_core::$ty))
            }
        }
    };
}
number!(source, SourceId, u32);
number!(epoch, Epoch, u32);
number!(sequence, Sequence, u64);
number!(index, Index, u64);
number!(size, TreeSize, u64);
number!(nanos, Nanos, i64);
optional_number!(epoch_opt, Epoch, u32);
optional_number!(sequence_opt, Sequence, u64);
optional_number!(index_opt, Index, u64);
optional_number!(nanos_opt, Nanos, i64);

/// A text of 64 hexadecimal digits.
pub(crate) fn hash_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    match ledger_core::Hash::from_hex(&text) {
        Some(_) => Ok(text),
        None => Err(D::Error::custom("not 64 hexadecimal digits")),
    }
}

/// A hash as 64 hexadecimal digits.
pub(crate) mod hash {
    use ledger_core::Hash;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(value: &Hash, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Hash, D::Error> {
        let text = String::deserialize(from)?;
        Hash::from_hex(&text).ok_or_else(|| D::Error::custom("not 64 hexadecimal digits"))
    }
}

/// A stream by its name.
pub(crate) mod stream {
    use ledger_core::state::Stream;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(
        value: &Stream,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(value.name())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Stream, D::Error> {
        let name = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Stream::from_name(&name).ok_or_else(|| D::Error::custom("no stream has this name"))
    }
}

/// A JSON value kept as its text: the facts of an event inside another kind's facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonText(String);

impl JsonText {
    /// Takes the bytes of one JSON value; `None` when they are not one.
    #[must_use]
    pub fn new(json: &[u8]) -> Option<JsonText> {
        let raw: &RawValue = serde_json::from_slice(json).ok()?;
        Some(JsonText(raw.get().to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Serialize for JsonText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(S::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for JsonText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer).map_err(D::Error::custom)?;
        Ok(JsonText(raw.get().to_owned()))
    }
}
