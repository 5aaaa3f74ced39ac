//! How an object of an event is declared: each field once, with its JSON name and its part.
//!
//! The `object!` macro makes the struct, its reader (serde; unknown and repeated fields and `null`
//! are refused), its writer (declared order, absent fields omitted), the union of parts and the
//! table of fields from that one declaration, so they cannot drift apart. Not here: which objects
//! exist (see `event`).

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};

pub(crate) use ledger_core::Part;

use crate::json::{put_i64, put_str, put_u64};
use crate::text::Text;

/// A set of parts, as bits: what a writer is asked for, or what an object can hold.
pub(crate) const fn bit(part: Part) -> u8 {
    match part {
        Part::Facts => 1,
        Part::Who => 2,
        Part::Text => 4,
    }
}

/// Every part.
pub(crate) const ALL_PARTS: u8 = 7;

/// A leaf: present or absent as a whole, in exactly one part.
pub(crate) trait Leaf {
    /// What stands in JSON when it is present.
    type Wire;
    /// A present value.
    fn present(wire: Self::Wire) -> Self;
    /// What it is, for the table of fields.
    const SHAPE: &'static str;
    fn absent(&self) -> bool;
    fn put(&self, out: &mut Vec<u8>);
}

/// A nested object; it is absent when nothing in it is present.
pub(crate) trait Object: Default {
    /// The parts that its fields belong to.
    const PARTS: u8;
    /// What a list of them is called in the table of fields.
    const LIST_OF: &'static str;
    /// Appends the object with the fields of the wanted parts only.
    fn write(&self, want: u8, out: &mut Vec<u8>);
    /// Takes the fields of `part`; the name of the field when one of another part is there.
    fn absorb(&mut self, other: Self, part: Part) -> Result<(), &'static str>;
    /// Calls `f` with path, shape and part of every field.
    fn table(prefix: &str, f: &mut dyn FnMut(&str, &'static str, Part));
}

impl<'a> Leaf for Option<Text<'a>> {
    type Wire = Text<'a>;
    fn present(wire: Text<'a>) -> Self {
        Some(wire)
    }
    const SHAPE: &'static str = "text";
    #[inline]
    fn absent(&self) -> bool {
        self.is_none()
    }
    fn put(&self, out: &mut Vec<u8>) {
        if let Some(text) = self {
            put_str(text, out);
        }
    }
}

macro_rules! number_leaf {
    ($($ty:ty => $put:ident $wide:ty),*) => {$(
        impl Leaf for Option<$ty> {
            type Wire = $ty;
            fn present(wire: $ty) -> Self {
                Some(wire)
            }
            const SHAPE: &'static str = stringify!($ty);
            #[inline]
            fn absent(&self) -> bool {
                self.is_none()
            }
            fn put(&self, out: &mut Vec<u8>) {
                if let Some(value) = *self {
                    $put(<$wide>::from(value), out);
                }
            }
        }
    )*};
}
number_leaf!(u8 => put_u64 u64, u16 => put_u64 u64, u32 => put_u64 u64, u64 => put_u64 u64,
    i32 => put_i64 i64, i64 => put_i64 i64);

impl Leaf for Option<bool> {
    type Wire = bool;
    fn present(wire: bool) -> Self {
        Some(wire)
    }
    const SHAPE: &'static str = "bool";
    #[inline]
    fn absent(&self) -> bool {
        self.is_none()
    }
    fn put(&self, out: &mut Vec<u8>) {
        if let Some(value) = *self {
            out.extend_from_slice(if value { b"true" } else { b"false" });
        }
    }
}

/// An element of a list.
pub(crate) trait Element {
    /// What a list of it is, for the table of fields.
    const LIST: &'static str;
    fn put_element(&self, out: &mut Vec<u8>);
}

impl Element for Text<'_> {
    const LIST: &'static str = "list of text";
    fn put_element(&self, out: &mut Vec<u8>) {
        put_str(self, out);
    }
}

impl<T: Object> Element for T {
    const LIST: &'static str = T::LIST_OF;
    fn put_element(&self, out: &mut Vec<u8>) {
        self.write(ALL_PARTS, out);
    }
}

impl<T: Element> Leaf for Vec<T> {
    type Wire = Vec<T>;
    fn present(wire: Vec<T>) -> Self {
        wire
    }
    const SHAPE: &'static str = T::LIST;
    #[inline]
    fn absent(&self) -> bool {
        self.is_empty()
    }
    fn put(&self, out: &mut Vec<u8>) {
        out.push(b'[');
        for (n, element) in self.iter().enumerate() {
            if n > 0 {
                out.push(b',');
            }
            element.put_element(out);
        }
        out.push(b']');
    }
}

/// The same value, independent of what it was read from.
pub(crate) trait Owned {
    /// Its type.
    type Own;
    fn owned(self) -> Self::Own;
}

impl Owned for Text<'_> {
    type Own = Text<'static>;
    fn owned(self) -> Text<'static> {
        self.into_owned()
    }
}

impl<T: Owned> Owned for Option<T> {
    type Own = Option<T::Own>;
    fn owned(self) -> Self::Own {
        self.map(T::owned)
    }
}

impl<T: Owned> Owned for Vec<T> {
    type Own = Vec<T::Own>;
    fn owned(self) -> Self::Own {
        self.into_iter().map(T::owned).collect()
    }
}

macro_rules! already_owned {
    ($($ty:ty),*) => {$(
        impl Owned for $ty {
            type Own = $ty;
            fn owned(self) -> $ty {
                self
            }
        }
    )*};
}
already_owned!(u8, u16, u32, u64, i32, i64, bool);

/// An object that is read in place: events are large, and building them by moves costs more than
/// reading them.
pub(crate) trait Fill<'de> {
    fn fill<A: MapAccess<'de>>(&mut self, map: A) -> Result<(), A::Error>;
}

/// Reads a JSON object into a place.
pub(crate) struct Into<'p, 'de, T>(pub(crate) &'p mut T, PhantomData<&'de ()>);

impl<'p, 'de, T: Fill<'de>> Into<'p, 'de, T> {
    pub(crate) fn new(place: &'p mut T) -> Self {
        Into(place, PhantomData)
    }
}

impl<'de, T: Fill<'de>> Visitor<'de> for Into<'_, 'de, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of an event")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        self.0.fill(map)
    }
}

impl<'de, T: Fill<'de>> DeserializeSeed<'de> for Into<'_, 'de, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

/// The body of one field's share of [`Fill::fill`].
macro_rules! fill_field {
    (object, $field:expr, $key:expr, $ty:ty, $map:ident) => {
        $map.next_value_seed($crate::object::Into::new(&mut $field))?
    };
    ($part:ident, $field:expr, $key:expr, $ty:ty, $map:ident) => {{
        if !$crate::object::Leaf::absent(&$field) {
            return Err(serde::de::Error::duplicate_field($key));
        }
        $field = <$ty as $crate::object::Leaf>::present(
            $map.next_value::<<$ty as $crate::object::Leaf>::Wire>()?,
        );
    }};
}

/// The body of one field's share of [`Known::read`](crate::own::Known::read).
macro_rules! read_field {
    (object, $field:expr, $key:literal, $ty:ty, $from:ident, $place:ident) => {
        if $from.eat_key(
            &mut $place,
            concat!("\"", $key, "\":"),
            concat!(",\"", $key, "\":"),
        ) {
            $field.read_in($from)?;
        }
    };
    ($part:ident, $field:expr, $key:literal, $ty:ty, $from:ident, $place:ident) => {
        if $from.eat_key(
            &mut $place,
            concat!("\"", $key, "\":"),
            concat!(",\"", $key, "\":"),
        ) {
            $field = <$ty as $crate::object::Leaf>::present(
                <<$ty as $crate::object::Leaf>::Wire as $crate::own::Known>::read($from)?,
            );
        }
    };
}

/// The body of one field's share of [`Object::write`].
macro_rules! write_field {
    (object, $value:expr, $key:expr, $ty:ty, $want:ident, $start:ident, $out:ident) => {
        if $want & <$ty as $crate::object::Object>::PARTS != 0 {
            let mark = $out.len();
            if mark != $start {
                $out.push(b',');
            }
            $out.extend_from_slice($key.as_bytes());
            let body = $out.len();
            $crate::object::Object::write($value, $want, $out);
            if $out.len() == body + 2 {
                $out.truncate(mark);
            }
        }
    };
    ($part:ident, $value:expr, $key:expr, $ty:ty, $want:ident, $start:ident, $out:ident) => {
        if $want & $crate::object::bit($crate::object::Part::$part) != 0
            && !$crate::object::Leaf::absent($value)
        {
            if $out.len() != $start {
                $out.push(b',');
            }
            $out.extend_from_slice($key.as_bytes());
            $crate::object::Leaf::put($value, $out);
        }
    };
}

/// The body of one field's share of [`Object::absorb`].
macro_rules! absorb_field {
    (object, $mine:expr, $other:expr, $key:expr, $part:ident) => {
        $crate::object::Object::absorb(&mut $mine, $other, $part)?
    };
    ($own:ident, $mine:expr, $other:expr, $key:expr, $part:ident) => {
        if !$crate::object::Leaf::absent(&$other) {
            if $part != $crate::object::Part::$own {
                return Err($key);
            }
            $mine = $other;
        }
    };
}

/// The parts that one field can belong to, as bits.
macro_rules! field_parts {
    (object, $ty:ty) => {
        <$ty as $crate::object::Object>::PARTS
    };
    ($part:ident, $ty:ty) => {
        $crate::object::bit($crate::object::Part::$part)
    };
}

/// One field's share of [`Object::table`].
macro_rules! table_field {
    (object, $ty:ty, $key:expr, $prefix:ident, $f:ident) => {
        <$ty as $crate::object::Object>::table(&format!("{}{}.", $prefix, $key), $f)
    };
    ($part:ident, $ty:ty, $key:expr, $prefix:ident, $f:ident) => {
        $f(
            &format!("{}{}", $prefix, $key),
            <$ty as $crate::object::Leaf>::SHAPE,
            $crate::object::Part::$part,
        )
    };
}

/// Declares one object of the serialised form. Each line: documentation, JSON name, Rust name,
/// `Facts`, `Who` or `Text` (or `object` for a nested one), type.
macro_rules! object {
    ($(#[$meta:meta])* $name:ident {
        $( $(#[$fmeta:meta])* $key:literal $field:ident : $kind:ident $ty:ty; )*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct $name<'a> {
            $( $(#[$fmeta])* pub $field: $ty, )*
        }

        impl<'de: 'a, 'a> $crate::object::Fill<'de> for $name<'a> {
            fn fill<A: serde::de::MapAccess<'de>>(&mut self, mut map: A) -> Result<(), A::Error> {
                while let Some(key) = map.next_key::<$crate::text::Text<'de>>()? {
                    match key.as_str() {
                        $( $key => {
                            $crate::object::fill_field!($kind, self.$field, $key, $ty, map)
                        } )*
                        _ => return Err(serde::de::Error::custom("unknown field")),
                    }
                }
                Ok(())
            }
        }

        impl<'a> $name<'a> {
            /// Reads an object in the form that [`Object::write`] writes.
            pub(crate) fn read_in(&mut self, from: &mut $crate::own::Cursor<'a>) -> Option<()> {
                from.eat("{")?;
                let mut place = $crate::own::Place::First;
                $(
                    $crate::object::read_field!(
                        $kind, self.$field, $key, $ty, from, place
                    );
                )*
                let _ = place;
                from.eat("}")
            }
        }

        impl<'a> $crate::own::Known<'a> for $name<'a> {
            fn read(from: &mut $crate::own::Cursor<'a>) -> Option<Self> {
                let mut value = Self::default();
                value.read_in(from)?;
                Some(value)
            }
        }

        impl<'de: 'a, 'a> serde::Deserialize<'de> for $name<'a> {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let mut value = Self::default();
                serde::de::DeserializeSeed::deserialize(
                    $crate::object::Into::new(&mut value),
                    deserializer,
                )?;
                Ok(value)
            }
        }

        impl $name<'_> {
            /// The same, independent of what it was read from.
            #[must_use]
            pub fn into_owned(self) -> $name<'static> {
                $name { $( $field: $crate::object::Owned::owned(self.$field), )* }
            }
        }

        impl $crate::object::Owned for $name<'_> {
            type Own = $name<'static>;
            fn owned(self) -> $name<'static> {
                self.into_owned()
            }
        }

        impl<'a> $crate::object::Object for $name<'a> {
            const LIST_OF: &'static str = concat!("list of ", stringify!($name));
            const PARTS: u8 = 0 $( | $crate::object::field_parts!($kind, $ty) )*;

            fn write(&self, want: u8, out: &mut Vec<u8>) {
                out.push(b'{');
                let start = out.len();
                $(
                    $crate::object::write_field!(
                        $kind, &self.$field, concat!("\"", $key, "\":"), $ty, want, start, out
                    );
                )*
                let _ = start;
                out.push(b'}');
            }

            fn absorb(&mut self, other: Self, part: $crate::object::Part)
                -> Result<(), &'static str> {
                $( $crate::object::absorb_field!($kind, self.$field, other.$field, $key, part); )*
                Ok(())
            }

            fn table(
                prefix: &str,
                f: &mut dyn FnMut(&str, &'static str, $crate::object::Part),
            ) {
                $( $crate::object::table_field!($kind, $ty, $key, prefix, f); )*
            }
        }
    };
}

pub(crate) use {
    absorb_field, field_parts, fill_field, object, read_field, table_field, write_field,
};
