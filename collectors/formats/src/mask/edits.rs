//! What rules on tokens need besides: quotes undone and done again, and replacements applied.
//!
//! Not here: the rules.

use std::borrow::Cow;

use super::encoded::{Form, decode, escape};
use super::{Token, TokenKind};

/// One replacement in a text.
pub(super) struct Edit {
    /// First byte that goes.
    pub(super) start: usize,
    /// Byte after the last that goes.
    pub(super) end: usize,
    /// What stands there instead.
    pub(super) with: String,
}

/// The text with the replacements; `None` when there are none.
pub(super) fn apply(text: &str, mut edits: Vec<Edit>) -> Option<String> {
    if edits.is_empty() {
        return None;
    }
    edits.sort_by_key(|edit| edit.start);
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for edit in &edits {
        if edit.start < at {
            // Overlapping: what is masked once stays masked.
            at = at.max(edit.end);
            continue;
        }
        out.push_str(text.get(at..edit.start).unwrap_or(""));
        out.push_str(&edit.with);
        at = edit.end;
    }
    out.push_str(text.get(at..).unwrap_or(""));
    Some(out)
}

/// Whether a word or a number touches a literal, which no statement has.
pub(super) fn adheres(tokens: &[Token]) -> bool {
    let literal = |t: &Token| {
        matches!(
            t.kind,
            TokenKind::Str { .. } | TokenKind::Dollar | TokenKind::Quoted
        )
    };
    let word = |t: &Token| {
        matches!(
            t.kind,
            TokenKind::Word | TokenKind::Number | TokenKind::Param
        )
    };
    tokens.windows(2).any(|pair| match pair {
        [a, b] => {
            a.end == b.start && ((literal(a) && (word(b) || literal(b))) || (word(a) && literal(b)))
        }
        _ => false,
    })
}

/// The text inside the quotes, as the server reads it.
pub(super) fn unquote<'t>(token: &Token, text: &'t str) -> Cow<'t, str> {
    let body = token.body(text);
    match token.kind {
        TokenKind::Str { escapes: true } => Cow::Owned(unescape(body, quote_of(token, text))),
        TokenKind::Str { escapes: false } if is_unicode(token, text) => {
            let body = decode(body, Form::Unicode);
            Cow::Owned(body.replace("''", "'").replace("\\\\", "\\"))
        }
        TokenKind::Str { escapes: false } => without_pairs(body, "''", "'"),
        TokenKind::Quoted if quote_of(token, text) == '`' => without_pairs(body, "``", "`"),
        TokenKind::Quoted => without_pairs(body, "\"\"", "\""),
        _ => Cow::Borrowed(body),
    }
}

fn without_pairs<'t>(body: &'t str, pair: &str, one: &str) -> Cow<'t, str> {
    if memchr::memmem::find(body.as_bytes(), pair.as_bytes()).is_none() {
        return Cow::Borrowed(body);
    }
    Cow::Owned(body.replace(pair, one))
}

/// The character that a literal or a name begins with.
fn quote_of(token: &Token, text: &str) -> char {
    let before = token.body_start.checked_sub(1);
    let byte = before.and_then(|at| text.as_bytes().get(at));
    byte.map_or('\'', |byte| char::from(*byte))
}

/// Whether a literal is `U&'…'`.
fn is_unicode(token: &Token, text: &str) -> bool {
    token.body_start == token.start + 3 && token.text(text).as_bytes().get(1) == Some(&b'&')
}

fn unescape(body: &str, quote: char) -> String {
    let mut out = String::with_capacity(body.len());
    let mut rest = body;
    let mark = u8::try_from(quote).unwrap_or(b'\'');
    while let Some(at) = memchr::memchr2(b'\\', mark, rest.as_bytes()) {
        out.push_str(rest.get(..at).unwrap_or(""));
        let here = rest.get(at..).unwrap_or("");
        let mut chars = here.chars();
        let (first, second) = (chars.next(), chars.next());
        let (c, length) = match (first, second) {
            (Some('\\'), None) => (None, 1),
            (Some('\\'), Some(c)) => match escape(here, Form::Escape) {
                Some((named, length)) => (Some(named), length),
                None => (Some(control(c)), 1 + c.len_utf8()),
            },
            (_, second) => (Some(quote), 1 + usize::from(second == Some(quote))),
        };
        out.extend(c);
        rest = here.get(length..).unwrap_or("");
    }
    out.push_str(rest);
    out
}

/// The character that a letter behind a backslash stands for.
fn control(c: char) -> char {
    match c {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        other => other,
    }
}

/// The inverse of [`unquote`].
pub(super) fn quote(token: &Token, text: &str, inside: &str) -> String {
    let mark = quote_of(token, text);
    let doubled = |text: &str| text.replace(mark, &String::from_iter([mark, mark]));
    match token.kind {
        TokenKind::Str { escapes: false } if is_unicode(token, text) => {
            doubled(&inside.replace('\\', "\\\\"))
        }
        TokenKind::Str { escapes: false } | TokenKind::Quoted => doubled(inside),
        TokenKind::Str { escapes: true } => {
            doubled(&inside.replace('\\', "\\\\")).replace('\n', "\\n")
        }
        _ => inside.to_owned(),
    }
}
