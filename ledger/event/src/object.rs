//! How an object of an event is declared: each field once, with its JSON name and its part.
//!
//! The `object!` macro makes the struct, its reader (serde, unknown and repeated fields refused), its
//! writer (declared order, absent fields omitted), the union of parts and the table of fields from
//! that one declaration, so they cannot drift apart. Not here: which objects exist (see `event`).

use crate::json::{put_i64, put_str, put_u64};
use crate::text::Text;

/// One of the three separately salted parts of a payload (DESIGN section 5).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub enum Part {
    /// What rules read: numbers, times, object names, pseudonyms. No personal data.
    Facts,
    /// Names, addresses, client programs, operating system users.
    Who,
    /// Statements, parameters, messages, the masked raw record.
    Text,
}

impl Part {
    /// All three, in the order of the commitment.
    pub const ALL: [Part; 3] = [Part::Facts, Part::Who, Part::Text];

    /// The byte that stands for this part in the commitment: 0 facts, 1 who, 2 text.
    #[must_use]
    pub fn byte(self) -> u8 {
        match self {
            Part::Facts => 0,
            Part::Who => 1,
            Part::Text => 2,
        }
    }

    /// `facts`, `who` or `text`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Part::Facts => "facts",
            Part::Who => "who",
            Part::Text => "text",
        }
    }
}

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
    fn absent(&self) -> bool;
    fn put(&self, out: &mut Vec<u8>);
}

/// A nested object; it is absent when nothing in it is present.
pub(crate) trait Object: Default {
    /// The parts that its fields belong to.
    const PARTS: u8;
    /// Appends the object with the fields of the wanted parts only.
    fn write(&self, want: u8, out: &mut Vec<u8>);
    /// Takes the fields of `part`; the name of the field when one of another part is there.
    fn absorb(&mut self, other: Self, part: Part) -> Result<(), &'static str>;
    /// Calls `f` with path and part of every field.
    fn table(prefix: &str, f: &mut dyn FnMut(&str, Part));
}

impl Leaf for Option<Text<'_>> {
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
    fn put_element(&self, out: &mut Vec<u8>);
}

impl Element for Text<'_> {
    fn put_element(&self, out: &mut Vec<u8>) {
        put_str(self, out);
    }
}

impl<T: Object> Element for T {
    fn put_element(&self, out: &mut Vec<u8>) {
        self.write(ALL_PARTS, out);
    }
}

impl<T: Element> Leaf for Vec<T> {
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
        $f(&format!("{}{}", $prefix, $key), $crate::object::Part::$part)
    };
}

/// Declares one object of the serialised form. Each line: documentation, JSON name, Rust name, `Facts`,
/// `Who` or `Text` (or `object` for a nested one), type.
macro_rules! object {
    ($(#[$meta:meta])* $name:ident {
        $( $(#[$fmeta:meta])* $key:literal $field:ident : $kind:ident $ty:ty; )*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
        #[serde(default, deny_unknown_fields, bound(deserialize = "'de: 'a"))]
        pub struct $name<'a> {
            $( $(#[$fmeta])* #[serde(rename = $key)] pub $field: $ty, )*
        }

        impl<'a> $crate::object::Object for $name<'a> {
            const PARTS: u8 = 0 $( | $crate::object::field_parts!($kind, $ty) )*;

            fn write(&self, want: u8, out: &mut Vec<u8>) {
                out.push(b'{');
                let start = out.len();
                $( $crate::object::write_field!($kind, &self.$field, concat!("\"", $key, "\":"), $ty, want, start, out); )*
                let _ = start;
                out.push(b'}');
            }

            fn absorb(&mut self, other: Self, part: $crate::object::Part)
                -> Result<(), &'static str> {
                $( $crate::object::absorb_field!($kind, self.$field, other.$field, $key, part); )*
                Ok(())
            }

            fn table(prefix: &str, f: &mut dyn FnMut(&str, $crate::object::Part)) {
                $( $crate::object::table_field!($kind, $ty, $key, prefix, f); )*
            }
        }
    };
}

pub(crate) use {absorb_field, field_parts, object, table_field, write_field};
