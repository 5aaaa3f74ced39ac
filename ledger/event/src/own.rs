//! Reading the one form that we write (`json`), in the order in which it is written.
//!
//! Almost every event that arrives is in it, and a reader that knows which key comes next costs a
//! third of one that takes JSON as it comes. It accepts a part of what `serde_json` accepts, with
//! the same result; whatever it does not know is read by `serde_json`, which says what is wrong.
//! Not here: which fields there are (`object`).

use crate::json::first_escape;
use crate::text::Text;

/// What is left to read.
pub(crate) struct Cursor<'a> {
    rest: &'a str,
}

/// Something that is read where it stands. `None` if it is not in our form; the cursor then stands
/// anywhere.
pub(crate) trait Known<'a>: Sized {
    fn read(from: &mut Cursor<'a>) -> Option<Self>;
}

/// Whether a field is the first of its object.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    First,
    Later,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(rest: &'a str) -> Cursor<'a> {
        Cursor { rest }
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Passes over what is there.
    #[inline]
    pub(crate) fn eat(&mut self, what: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(what)?;
        Some(())
    }

    /// Passes over a key, with the comma before it unless it is the first. Both are constants, so
    /// that each comparison is of a known length.
    #[inline]
    pub(crate) fn eat_key(&mut self, place: &mut Place, key: &str, comma_key: &str) -> bool {
        match place {
            Place::Later => self.eat(comma_key).is_some(),
            Place::First if self.eat(key).is_some() => {
                *place = Place::Later;
                true
            }
            Place::First => false,
        }
    }

    fn digits(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        let mut count = 0;
        for byte in self.rest.bytes() {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                break;
            }
            value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
            count += 1;
        }
        // No number of ours begins with a zero that it does not need.
        let plain = count == 1 || (count > 1 && !self.rest.starts_with('0'));
        self.rest = self.rest.get(count..)?;
        plain.then_some(value)
    }
}

impl<'a> Known<'a> for Text<'a> {
    fn read(from: &mut Cursor<'a>) -> Option<Self> {
        from.eat("\"")?;
        let at = first_escape(from.rest.as_bytes())?;
        let (clean, rest) = from.rest.split_at_checked(at)?;
        if let Some(rest) = rest.strip_prefix('"') {
            from.rest = rest;
            return Some(Text::from(clean));
        }
        let mut text = String::with_capacity(from.rest.len().min(TEXT_AT_ONCE));
        text.push_str(clean);
        from.rest = rest;
        unescape(from, &mut text)?;
        Some(Text::from(text))
    }
}

/// Memory for a text with escapes, at first.
const TEXT_AT_ONCE: usize = 2048;

/// Reads on from an escape to the end of the string.
fn unescape(from: &mut Cursor<'_>, text: &mut String) -> Option<()> {
    loop {
        let mut chars = from.rest.chars();
        match chars.next()? {
            '"' => {
                from.rest = chars.as_str();
                return Some(());
            }
            '\\' => text.push(match chars.next()? {
                escaped @ ('"' | '\\') => escaped,
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                'b' => '\u{8}',
                'f' => '\u{c}',
                'u' => {
                    let (digits, rest) = chars.as_str().split_at_checked(4)?;
                    chars = rest.chars();
                    control(digits)?
                }
                _ => return None,
            }),
            _ => return None,
        }
        from.rest = chars.as_str();
        let at = first_escape(from.rest.as_bytes())?;
        let (clean, rest) = from.rest.split_at_checked(at)?;
        text.push_str(clean);
        from.rest = rest;
    }
}

/// A control character by the four digits that we write for it.
fn control(digits: &str) -> Option<char> {
    let low = digits.strip_prefix("00")?;
    let value = u8::from_str_radix(low, 16).ok()?;
    (value < 0x20 && !low.starts_with('+')).then(|| char::from(value))
}

macro_rules! known_numbers {
    ($($ty:ty),*) => {$(
        impl<'a> Known<'a> for $ty {
            fn read(from: &mut Cursor<'a>) -> Option<Self> {
                <$ty>::try_from(from.digits()?).ok()
            }
        }
    )*};
}
known_numbers!(u8, u16, u32, u64);

impl<'a> Known<'a> for i64 {
    fn read(from: &mut Cursor<'a>) -> Option<Self> {
        if from.eat("-").is_none() {
            return i64::try_from(from.digits()?).ok();
        }
        let value = from.digits()?;
        // Zero has no sign in our form.
        (value > 0).then(|| 0_i64.checked_sub_unsigned(value))?
    }
}

impl<'a> Known<'a> for i32 {
    fn read(from: &mut Cursor<'a>) -> Option<Self> {
        i32::try_from(i64::read(from)?).ok()
    }
}

impl<'a> Known<'a> for bool {
    fn read(from: &mut Cursor<'a>) -> Option<Self> {
        if from.eat("true").is_some() {
            return Some(true);
        }
        from.eat("false").map(|()| false)
    }
}

impl<'a, T: Known<'a>> Known<'a> for Vec<T> {
    fn read(from: &mut Cursor<'a>) -> Option<Self> {
        from.eat("[")?;
        let mut list = Vec::new();
        loop {
            list.push(T::read(from)?);
            if from.eat("]").is_some() {
                return Some(list);
            }
            from.eat(",")?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole<'a, T: Known<'a>>(json: &'a str) -> Option<T> {
        let mut from = Cursor::new(json);
        let read = T::read(&mut from)?;
        from.is_at_end().then_some(read)
    }

    #[test]
    fn what_we_do_not_write_is_left_to_serde_json() {
        for json in [
            "01",
            "-0",
            "1.0",
            "1e1",
            "+1",
            "",
            "-",
            "99999999999999999999",
        ] {
            assert_eq!(whole::<i64>(json), None, "{json}");
            assert_eq!(whole::<u64>(json), None, "{json}");
        }
        for json in [
            r#""a"#,
            r#""\"#,
            r#""\u0041""#,
            r#""\u00+1""#,
            r#""\/""#,
            "\"\n\"",
            r#""\ud800""#,
            r#""\u001""#,
            "a",
        ] {
            assert_eq!(whole::<Text<'_>>(json), None, "{json}");
        }
        assert_eq!(whole::<Vec<u8>>("[]"), None);
        assert_eq!(whole::<Vec<u8>>("[1,]"), None);
        assert_eq!(whole::<u8>("256"), None);
        assert_eq!(whole::<bool>("tru"), None);
    }

    #[test]
    fn what_we_write_is_read() {
        assert_eq!(whole("0"), Some(0_u8));
        assert_eq!(whole("-9223372036854775808"), Some(i64::MIN));
        assert_eq!(whole("18446744073709551615"), Some(u64::MAX));
        assert_eq!(whole("-5"), Some(-5_i32));
        assert_eq!(whole("[true,false]"), Some(vec![true, false]));
        let text = "a\"b\\c\n\r\t\u{8}\u{c}\0\u{1f}\u{7f}æ☃𝄞 and a longer end of it\"";
        let mut json = Vec::new();
        crate::json::put_str(text, &mut json);
        let json = String::from_utf8(json).unwrap();
        assert_eq!(whole::<Text<'_>>(&json).unwrap(), *text);
        assert!(whole::<Text<'_>>("\"plain\"").unwrap().is_borrowed());
    }
}
