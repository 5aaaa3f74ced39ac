//! A native record that is a flat JSON object: its strings are masked as what they say, not as how
//! JSON writes them.
//!
//! Not here: what the fields mean.

use std::borrow::Cow;

use super::names::sensitive;
use super::{Dialect, Found, MaskOptions, Masked, mask_plain, mask_whole};
use crate::json::{Pairs, put_string};

/// Masks every string of an object; `None` when the text is no flat object.
pub(super) fn mask(text: &str, dialect: Dialect, options: MaskOptions) -> Option<Masked<'_>> {
    let pairs = Pairs::read(text)?;
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
