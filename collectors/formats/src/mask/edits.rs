//! What rules on tokens need besides: quotes undone and done again, and replacements applied.
//!
//! Not here: the rules.

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
pub(super) fn unquote(kind: TokenKind, body: &str) -> String {
    match kind {
        TokenKind::Str { escapes: false } => body.replace("''", "'"),
        TokenKind::Quoted => body.replace("\"\"", "\""),
        TokenKind::Str { escapes: true } => unescape(body),
        _ => body.to_owned(),
    }
}

fn unescape(body: &str) -> String {
    let mut out = String::with_capacity(body.len());
    let mut chars = body.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('r') => out.push('\r'),
                Some(other) => out.push(other),
                None => {}
            },
            '\'' => {
                if chars.peek() == Some(&'\'') {
                    chars.next();
                }
                out.push('\'');
            }
            other => out.push(other),
        }
    }
    out
}

/// The inverse of [`unquote`].
pub(super) fn quote(kind: TokenKind, text: &str) -> String {
    match kind {
        TokenKind::Str { escapes: false } => text.replace('\'', "''"),
        TokenKind::Quoted => text.replace('"', "\"\""),
        TokenKind::Str { escapes: true } => text
            .replace('\\', "\\\\")
            .replace('\'', "''")
            .replace('\n', "\\n"),
        _ => text.to_owned(),
    }
}
