//! Native records: a flat JSON object, whose strings are masked as what they say, not as how JSON
//! writes them; and the number at a record's end that the server itself made.
//!
//! PostgreSQL ends a record of csvlog (PostgreSQL 18 manual, 19.8.4) and of jsonlog with
//! `query_id`, a hash of 64 bits. No user writes it, and one in ten of some lengths looks like a
//! card number. It is left alone in its own place, if it is what it must be there; the same digits
//! anywhere else are text. Not here: what the fields mean.

use std::borrow::Cow;

use super::names::sensitive;
use super::{Dialect, Found, MaskOptions, Masked, is_clean, mask_plain, mask_whole};
use crate::csv;
use crate::json::{Pairs, put_string};
use crate::postgresql;
use crate::scan;

/// Columns of csvlog from version 14 on, the last of which is `query_id`.
const CSVLOG_COLUMNS: usize = 26;

/// Whether a text is a number as the server writes a hash of 64 bits.
pub(crate) fn is_own_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let padded = digits.starts_with('0') && text != "0";
    !padded && digits.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<i64>().is_ok()
}

/// How many bytes at the end of a record of csvlog its own number takes; 0 when it has none.
pub(crate) fn own_of_columns(columns: &[csv::Field<'_>]) -> usize {
    match columns.last() {
        Some(last) if columns.len() == CSVLOG_COLUMNS && !last.quoted => {
            Some(last.text.len()).filter(|_| is_own_number(&last.text))
        }
        _ => None,
    }
    .unwrap_or(0)
}

/// The same of a record of jsonlog; the brace that closes the object is counted.
pub(crate) fn own_of_pairs(pairs: &Pairs<'_>) -> usize {
    match pairs.0.last() {
        Some((key, value)) if key == "query_id" && is_own_number(value.written) => {
            value.written.len() + 1
        }
        _ => 0,
    }
}

/// The same of a whole record, if the reader of the form of this name takes it for one.
pub(crate) fn own_number(text: &str, log_format: &str) -> usize {
    match log_format {
        "csvlog" => {
            let row = postgresql::Row::read(text, false);
            row.map_or(0, |row| own_of_columns(&row.values))
        }
        "jsonlog" => {
            let pairs = Pairs::read(text).filter(|pairs| postgresql::is_row(pairs));
            pairs.map_or(0, |pairs| own_of_pairs(&pairs))
        }
        _ => 0,
    }
}

/// Whether a clean record that is an object is clean in what its strings say, too: escapes may hide
/// what would not be clean. A quote or a line end parts what stands around it as its escape does,
/// so a record without other escapes is not read.
pub(crate) fn says_nothing_else(text: &str) -> bool {
    if !text.starts_with('{') {
        return true;
    }
    let parts = |next: u8| (next == b'"') | (next == b'n') | (next == b'r');
    let hiding = |byte: u8, next: u8| (byte == b'\\') & !parts(next);
    if !scan::any_pair(text.as_bytes(), hiding, |_| true) {
        return true;
    }
    let Some(pairs) = Pairs::read(text) else {
        return true;
    };
    pairs.0.iter().all(|(key, value)| {
        let string = value.string();
        [Some(key), string.as_ref()]
            .into_iter()
            .flatten()
            .all(|text| match text {
                Cow::Owned(said) => is_clean(said),
                Cow::Borrowed(_) => true,
            })
    })
}

/// Masks every string of an object, and every number but its own (`own` bytes at the end); `None`
/// when the text is no flat object.
pub(super) fn mask(
    text: &str,
    own: usize,
    dialect: Dialect,
    options: MaskOptions,
) -> Option<Masked<'_>> {
    let pairs = Pairs::read(text)?;
    let last = pairs.0.len().saturating_sub(1);
    let mut found = Found::default();
    let mut out = String::with_capacity(text.len());
    let mut changed = false;
    for (n, (key, value)) in pairs.0.iter().enumerate() {
        out.push(if n == 0 { '{' } else { ',' });
        let key = mask_plain(key, dialect, options);
        changed |= !key.redactions.is_empty();
        found.take(&key);
        put_string(&key.text, &mut out);
        out.push(':');
        match value.string() {
            Some(string) => {
                let masked = match sensitive(&key.text) {
                    Some(_) => mask_whole(&string),
                    None => mask_plain(&string, dialect, options),
                };
                changed |= !masked.redactions.is_empty();
                found.take(&masked);
                put_string(&masked.text, &mut out);
            }
            None if own > 0 && n == last => out.push_str(value.written),
            None => {
                let number = mask_plain(value.written, dialect, options);
                changed |= !number.redactions.is_empty();
                found.take(&number);
                if number.redactions.is_empty() {
                    out.push_str(value.written);
                } else {
                    put_string(&number.text, &mut out);
                }
            }
        }
    }
    out.push('}');
    let text = if changed {
        Cow::Owned(out)
    } else {
        Cow::Borrowed(text)
    };
    Some(Masked {
        text,
        redactions: found.redactions(),
        parameters_too: found.parameters_too,
    })
}
