//! CSV as databases write it: where a record ends, which fields it has, and the same bytes again.
//!
//! Fields are separated by commas; a field that begins with a double quote ends with the next
//! single one, and a comma or the line end must follow. Anything else is malformed at once: a
//! statement that holds a line like a record cannot be taken for one, and a lost quote is noticed
//! within the next record. Line ends are LF or CRLF. Not here: what a field means, characters.

use std::borrow::Cow;

use crate::scan;

/// No form has nearly as many fields.
const FIELDS_MAX: usize = 64;

/// Where a scan stands; it can go on in the next window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum State {
    #[default]
    FieldStart,
    Plain,
    Quoted,
    /// A quote inside a quoted field: doubled, or the end of it.
    Quote,
    /// A quoted field has ended and a carriage return followed.
    Return,
}

/// Finds the end of a record.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scanner {
    state: State,
}

/// What a window gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scan {
    /// The line feed that ends the record is at this offset.
    Ended(usize),
    /// No record has this byte here.
    Malformed(usize),
    /// The record goes on behind the window.
    Open,
    /// Whether the line feed at this offset ends the record, only what follows it can tell.
    Undecided(usize),
}

impl Scanner {
    /// Looks at the next bytes of the record.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Scan {
        let mut at = 0;
        loop {
            let rest = bytes.get(at..).unwrap_or(&[]);
            let step = match self.state {
                State::Plain => scan::first_of_three(rest, b',', b'\n', b'"'),
                State::Quoted => scan::first(rest, b'"'),
                State::FieldStart | State::Quote | State::Return => (!rest.is_empty()).then_some(0),
            };
            let Some(step) = step else { return Scan::Open };
            at += step;
            let byte = bytes.get(at).copied().unwrap_or(0);
            self.state = match (self.state, byte) {
                (State::FieldStart, b'"') | (State::Quote, b'"') => State::Quoted,
                (State::Quoted, _) => State::Quote,
                (State::FieldStart | State::Plain | State::Quote, b',') => State::FieldStart,
                (State::Quote, b'\r') => State::Return,
                (State::Quote | State::Return, b'\n')
                | (State::FieldStart | State::Plain, b'\n') => return Scan::Ended(at),
                (State::Plain, b'"') | (State::Quote | State::Return, _) => {
                    return Scan::Malformed(at);
                }
                (State::FieldStart | State::Plain, _) => State::Plain,
            };
            at += 1;
        }
    }
}

/// How far a record's end is looked for by counting quotes.
const COUNTED_MAX: usize = 16 * 1024;

/// The line feed that ends the record if the record is well formed: the first one with an even
/// number of quotes before it. A record that [`split`] then reads ends there for [`Scanner`] too,
/// which looks at each byte; of one that it does not read, this says nothing.
pub(crate) fn likely_end(input: &[u8]) -> Option<usize> {
    let looked = input.get(..COUNTED_MAX).unwrap_or(input);
    let mut from = 0;
    let mut open = false;
    loop {
        let rest = looked.get(from..)?;
        let (line, _) = rest.split_at_checked(memchr::memchr(b'\n', rest)?)?;
        open ^= line.iter().fold(false, |odd, byte| odd ^ (*byte == b'"'));
        if !open {
            return Some(from + line.len());
        }
        from += line.len() + 1;
    }
}

/// One field of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field<'i> {
    /// Its value, quotes undone.
    pub(crate) text: Cow<'i, str>,
    /// Whether it stood in quotes.
    pub(crate) quoted: bool,
}

/// Splits a record without its line end. A last field that is not closed counts only when the
/// record was `cut`. `None` when the record is malformed or has too many fields.
pub(crate) fn split(record: &str, cut: bool) -> Option<Vec<Field<'_>>> {
    let bytes = record.as_bytes();
    let mut fields = Vec::with_capacity(27);
    let mut at = 0;
    loop {
        if fields.len() >= FIELDS_MAX {
            return None;
        }
        // Single bytes are compared as such: `strip_prefix` would call a comparison of memory.
        let (field, end) = match bytes.get(at) {
            Some(b'"') => quoted(record, at + 1, cut)?,
            Some(b',') => (EMPTY, at),
            Some(_) => plain(record, at)?,
            None => (EMPTY, at),
        };
        fields.push(field);
        match bytes.get(end) {
            Some(b',') => at = end + 1,
            Some(_) => return None,
            None => return Some(fields),
        }
    }
}

/// A field without anything in it.
pub(crate) const EMPTY: Field<'_> = Field {
    text: Cow::Borrowed(""),
    quoted: false,
};

/// A field from `at` on that does not begin with a quote, and where it ends.
#[inline]
fn plain(record: &str, at: usize) -> Option<(Field<'_>, usize)> {
    let rest = record.as_bytes().get(at..)?;
    let end = scan::first_of_two(rest, b',', b'"').map_or(record.len(), |length| at + length);
    let text = Cow::Borrowed(record.get(at..end)?);
    let quoted = false;
    Some((Field { text, quoted }, end))
}

/// A field whose inside begins at `from`, and where it ends behind its quote.
#[inline]
fn quoted(record: &str, from: usize, cut: bool) -> Option<(Field<'_>, usize)> {
    let bytes = record.as_bytes();
    let mut at = from;
    let mut doubled = false;
    let end = loop {
        let Some(step) = scan::first(bytes.get(at..)?, b'"') else {
            if cut {
                break record.len();
            }
            return None;
        };
        at += step;
        if bytes.get(at + 1) != Some(&b'"') {
            break at;
        }
        doubled = true;
        at += 2;
    };
    let body = record.get(from..end)?;
    let text = if doubled {
        undouble(body)
    } else {
        Cow::Borrowed(body)
    };
    let quoted = true;
    Some((Field { text, quoted }, end + 1))
}

/// The text with each two quotes as one; all of them stand in pairs.
fn undouble(body: &str) -> Cow<'_, str> {
    let mut out = String::with_capacity(body.len());
    let mut rest = body;
    while let Some(at) = scan::first(rest.as_bytes(), b'"') {
        out.push_str(rest.get(..=at).unwrap_or(""));
        rest = rest.get(at + 2..).unwrap_or("");
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Writes fields as they were read: what stood in quotes stands in quotes.
pub(crate) fn join<'f>(fields: impl Iterator<Item = (&'f str, bool)>, out: &mut String) {
    for (n, (value, quoted)) in fields.enumerate() {
        if n > 0 {
            out.push(',');
        }
        if quoted {
            out.push('"');
            let mut parts = value.split('"');
            out.push_str(parts.next().unwrap_or(""));
            for part in parts {
                out.push_str("\"\"");
                out.push_str(part);
            }
            out.push('"');
        } else {
            out.push_str(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn a_record_that_is_read_ends_where_the_scanner_ends_it(
            input in "[a,\"\n\r]{0,24}\n[a,\"\n]{0,8}",
        ) {
            let Some(end) = likely_end(input.as_bytes()) else { return Ok(()) };
            let record = &input[..end];
            let record = record.strip_suffix('\r').unwrap_or(record);
            if split(record, false).is_some() {
                let scan = Scanner::default().feed(input.as_bytes());
                proptest::prop_assert_eq!(scan, Scan::Ended(end));
            }
        }
    }

    fn check(input: &str, scan: Scan, fields: Option<&[&str]>) {
        assert_eq!(Scanner::default().feed(input.as_bytes()), scan, "{input:?}");
        let mut piecewise = Scanner::default();
        let mut last = Scan::Open;
        for (n, byte) in input.bytes().enumerate() {
            last = match piecewise.feed(&[byte]) {
                Scan::Ended(_) => Scan::Ended(n),
                Scan::Malformed(_) => Scan::Malformed(n),
                Scan::Open | Scan::Undecided(_) => continue,
            };
            break;
        }
        assert_eq!(last, scan, "{input:?} byte by byte");
        let Scan::Ended(end) = scan else { return };
        let line = input[..end].strip_suffix('\r').unwrap_or(&input[..end]);
        let got = split(line, false);
        let got: Option<Vec<String>> = got.map(|fields| {
            let text = |f: &Field<'_>| f.text.to_string();
            let mut again = String::new();
            let texts: Vec<_> = fields.iter().map(|f| (text(f), f.quoted)).collect();
            join(texts.iter().map(|(t, q)| (t.as_str(), *q)), &mut again);
            assert_eq!(again, line);
            fields.iter().map(text).collect()
        });
        assert_eq!(
            got,
            fields.map(|f| f.iter().map(|s| (*s).to_owned()).collect())
        );
    }

    #[test]
    fn records_and_fields() {
        check(
            "a,\"b\"\"c\",\nrest",
            Scan::Ended(9),
            Some(&["a", "b\"c", ""]),
        );
        check("a,\"x\ny\",b\n", Scan::Ended(9), Some(&["a", "x\ny", "b"]));
        check("a,\"\"\r\nx", Scan::Ended(5), Some(&["a", ""]));
        check("a,b\r\nx", Scan::Ended(4), Some(&["a", "b"]));
        check("a,\0\n", Scan::Ended(3), Some(&["a", "\0"]));
        check("a,\"b\"c\n", Scan::Malformed(5), None);
        check("a,b\"c\n", Scan::Malformed(3), None);
        check("a,\"b\n", Scan::Open, None);
        check("a,\"\"\"\"\n", Scan::Ended(6), Some(&["a", "\""]));
        assert!(split(&",".repeat(FIELDS_MAX), false).is_none());
        assert_eq!(split("a,\"b", true).unwrap().len(), 2);
        assert!(split("a,\"b", false).is_none());
    }
}
