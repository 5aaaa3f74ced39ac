//! Rules on tokens: where a password stands relative to what names it.
//!
//! One level is one text: a statement, or the inside of a literal, a quoted name, a dollar body or
//! a comment, read again as a text of its own. A name that no rule understands makes the level
//! lose all its literals; when it has none to lose, the level around it does. Not here: card
//! numbers, addresses.

use super::edits::{Edit, adheres, apply, quote, unquote};
use super::encoded::{Form, decode};
use super::names::{is_name_like, sensitive, takes_secret};
use super::{Dialect, Found, Kind, Lexer, MASK, Reading, Token, TokenKind, is_suspicious};

/// How many levels of quoting are read; a hit deeper than that masks the whole literal.
const LEVELS_MAX: u32 = 8;

/// A level while it is read.
pub(super) struct Level<'t, 'f> {
    pub(super) text: &'t str,
    tokens: Vec<Token>,
    edits: Vec<Edit>,
    /// For each token, whether an edit touches it.
    edited: Vec<bool>,
    /// Token up to which a call's arguments are masked already.
    called_to: usize,
    pub(super) found: &'f mut Found,
    pub(super) reading: Reading,
    dialect: Dialect,
    depth: u32,
    /// A secret is named here in a form that no rule knows.
    pub(super) unknown: bool,
    /// Where the literals begin and end is in doubt: one is not closed, or a word adheres to one.
    doubtful: bool,
    /// The last token of the level names a secret, whose value can only stand outside.
    dangling: bool,
}

/// What became of one level.
struct Outcome {
    changed: Option<String>,
    /// A secret is named, and its value may stand outside this level.
    unresolved: bool,
    /// Quotes do not pair in this level, so perhaps not outside either.
    doubtful: bool,
}

/// Masks one text; `None` when nothing changed.
pub(super) fn mask(
    text: &str,
    dialect: Dialect,
    reading: Reading,
    found: &mut Found,
) -> Option<String> {
    level(text, dialect, reading, 0, found).changed
}

fn level(text: &str, dialect: Dialect, reading: Reading, depth: u32, found: &mut Found) -> Outcome {
    let tokens: Vec<Token> = Lexer::new(text, dialect).collect();
    let edited = vec![false; tokens.len()];
    let edits = Vec::new();
    let mut level = Level {
        text,
        tokens,
        edits,
        edited,
        called_to: 0,
        found,
        reading,
        dialect,
        depth,
        unknown: false,
        doubtful: false,
        dangling: false,
    };
    level.doubtful = level.tokens.iter().any(|token| !token.closed) || adheres(&level.tokens);
    level.unknown = level.doubtful;
    level.find_named();
    level.look_inside();
    let resolved = level.fail_closed();
    let unresolved = level.unknown && (!resolved || level.dangling);
    let doubtful = level.unknown && level.doubtful;
    Outcome {
        changed: apply(text, level.edits),
        unresolved,
        doubtful,
    }
}

impl<'t> Level<'t, '_> {
    pub(super) fn token(&self, at: usize) -> Option<Token> {
        self.tokens.get(at).copied()
    }

    pub(super) fn punct(&self, at: usize, byte: u8) -> bool {
        self.token(at)
            .is_some_and(|t| t.kind == TokenKind::Punct(byte))
    }

    pub(super) fn word(&self, at: usize, word: &str) -> bool {
        self.token(at).is_some_and(|t| t.is_word(self.text, word))
    }

    /// Replaces the inside of a literal. One that ends in a backslash may go on behind its quote.
    fn mask_body(&mut self, token: Token, kind: Kind) {
        let body = token.body(self.text);
        if body.ends_with('\\') && token.kind == TokenKind::Quoted {
            self.edit(token.body_start, self.text.len(), kind);
        } else {
            self.edit(token.body_start, token.body_end, kind);
        }
    }

    pub(super) fn edit(&mut self, start: usize, end: usize, kind: Kind) {
        if start >= end || self.text.get(start..end) == Some(MASK) {
            return;
        }
        // A star behind a slash would begin a comment for whoever reads the statement next.
        let slash = self
            .text
            .get(..start)
            .is_some_and(|before| before.ends_with('/'));
        let with = if slash { "x**" } else { MASK };
        if self.text.get(start..end) == Some(with) {
            return;
        }
        self.found.add(kind);
        self.replace(start, end, with.to_owned());
    }

    fn replace(&mut self, start: usize, end: usize, with: String) {
        let first = self.tokens.partition_point(|token| token.end <= start);
        let touched = self.tokens.iter().zip(&mut self.edited).skip(first);
        for (_, flag) in touched.take_while(|(token, _)| token.start < end) {
            *flag = true;
        }
        self.edits.push(Edit { start, end, with });
    }

    fn is_edited(&self, at: usize) -> bool {
        self.edited.get(at).copied().unwrap_or(false)
    }

    /// Looks at every name.
    fn find_named(&mut self) {
        let mut at = 0;
        let mut masked_to = 0;
        while let Some(token) = self.token(at) {
            if token.start >= masked_to {
                self.find_at(at, token);
                masked_to = masked_to.max(self.edits.last().map_or(0, |e| e.end));
            }
            at += 1;
        }
    }

    fn find_at(&mut self, at: usize, token: Token) {
        match token.kind {
            TokenKind::Word => {
                let word = token.text(self.text);
                if self.punct(at + 1, b'(') && takes_secret(word) {
                    self.mask_call(at + 1, Kind::Password);
                } else if word.eq_ignore_ascii_case("identified") {
                    self.identified(at);
                } else if word.eq_ignore_ascii_case("program") {
                    self.program(at);
                } else if word.eq_ignore_ascii_case("uescape") {
                    self.other_escape(at);
                } else if let Some(kind) = sensitive(word)
                    && !self.set_password(at)
                {
                    self.named(at, kind);
                }
            }
            TokenKind::Quoted if at > 0 && self.punct(at - 1, b'&') => {
                // U&"…": a name that may be written as escapes.
                let name = decode(token.body(self.text), Form::Unicode);
                if let Some(kind) = sensitive(&name) {
                    self.named(at, kind);
                }
            }
            TokenKind::Quoted | TokenKind::Str { .. } if is_name_like(token.body(self.text)) => {
                if let Some(kind) = sensitive(token.body(self.text)) {
                    let joined = matches!(
                        self.token(at + 1).map(|t| t.kind),
                        Some(TokenKind::Punct(b'=' | b':' | b',' | b'-'))
                    );
                    if joined || token.kind == TokenKind::Quoted {
                        if let Some(flag) = self.edited.get_mut(at) {
                            *flag = true; // a name, not a text to look inside
                        }
                        self.named(at, kind);
                    }
                }
            }
            _ => {}
        }
    }

    /// A sensitive name at `at`: masks its value, or notes that no rule knows where it is.
    fn named(&mut self, at: usize, kind: Kind) {
        let (value, assigned) = self.connectors(at);
        let Some(token) = self.token(value) else {
            self.unknown = true;
            self.dangling = true;
            return;
        };
        match token.kind {
            TokenKind::Str { .. } | TokenKind::Dollar => self.mask_literals(value, kind),
            TokenKind::Quoted if assigned || self.is_account_statement() => {
                self.mask_body(token, kind);
            }
            TokenKind::Param => self.found.parameters_too = true,
            TokenKind::Number if assigned || self.reading == Reading::Statement => {
                self.mask_run(token.start, kind);
            }
            TokenKind::Word => self.named_word(value, assigned, kind),
            TokenKind::Punct(b'<') if self.is_redacted_by_platform(value) => {}
            TokenKind::Punct(b'*') if self.text.get(token.start..token.start + 3) == Some(MASK) => {
                // Masked before; what adhered to the stars is not.
                self.mask_run(token.start, kind);
            }
            TokenKind::Punct(b'(') if !assigned => self.call_or_list(value, kind),
            TokenKind::Punct(_) if assigned => self.mask_run(token.start, kind),
            _ => self.unknown = true,
        }
    }

    /// A word in the place of the value.
    fn named_word(&mut self, value: usize, assigned: bool, kind: Kind) {
        let Some(token) = self.token(value) else {
            return;
        };
        let nothing = ["null", "default", "true", "false", "on", "off"];
        if nothing.iter().any(|word| token.is_word(self.text, word)) {
            return;
        }
        if assigned && self.punct(value + 1, b'(') {
            self.mask_call(value + 1, kind);
        } else if assigned || (self.is_account_statement() && !self.is_clause(value)) {
            let names = sensitive(token.text(self.text)).is_some();
            if names || self.word(value, "identified") {
                self.unknown = true; // a name in the place of the value names one itself
                self.dangling = true;
            }
            self.mask_run(token.start, kind);
        } else {
            self.unknown = true;
        }
    }

    /// Skips what stands between a name and its value; whether that assigns.
    fn connectors(&self, name: usize) -> (usize, bool) {
        let is_literal = self
            .token(name)
            .is_some_and(|t| matches!(t.kind, TokenKind::Str { .. }));
        let mut assigned = false;
        let mut at = name + 1;
        // Bounded: an operator and a cast are few tokens.
        for _ in 0..12 {
            let Some(token) = self.token(at) else { break };
            match token.kind {
                TokenKind::Punct(b'=' | b':') => assigned = true,
                TokenKind::Punct(b'-') if self.punct(at + 1, b'>') && is_literal => assigned = true,
                TokenKind::Punct(b'>' | b'!' | b'~') => {}
                TokenKind::Punct(b'<') if self.punct(at + 1, b'>') => {}
                TokenKind::Punct(b',') if is_literal && !assigned => assigned = true,
                TokenKind::Word => {
                    let joins = ["to", "like", "ilike", "encrypted", "is", "not", "changed"];
                    if !joins.iter().any(|word| token.is_word(self.text, word)) {
                        break;
                    }
                    assigned |= token.is_word(self.text, "to");
                }
                _ => break,
            }
            at += 1;
        }
        (at, assigned)
    }

    /// A literal and those that continue it; anything joined to it makes the form unknown.
    pub(super) fn mask_literals(&mut self, first: usize, kind: Kind) {
        let mut at = first;
        while let Some(token) = self.token(at) {
            if !matches!(token.kind, TokenKind::Str { .. } | TokenKind::Dollar) {
                break;
            }
            self.mask_body(token, kind);
            at += 1;
        }
        let adheres = self.token(at.saturating_sub(1)).zip(self.token(at));
        if let Some((last, next)) = adheres {
            let glued =
                last.end == next.start && matches!(next.kind, TokenKind::Word | TokenKind::Number);
            if glued || self.punct(at, b'|') {
                self.unknown = true;
            }
        }
    }

    /// `PASSWORD ('x')` or a list of columns: masks the literals inside, else the form is unknown.
    fn call_or_list(&mut self, open: usize, kind: Kind) {
        let by_platform = self.punct(open + 1, b'*');
        if !self.mask_call(open, kind) && !by_platform {
            self.unknown = true;
        }
    }

    /// Masks every literal between an opening parenthesis and its closing one; whether there was
    /// one.
    pub(super) fn mask_call(&mut self, open: usize, kind: Kind) -> bool {
        if open < self.called_to {
            return true; // inside a call whose literals are masked already
        }
        let mut depth = 0_u32;
        let mut any = false;
        let mut at = open;
        while let Some(token) = self.token(at) {
            match token.kind {
                TokenKind::Punct(b'(') => depth += 1,
                TokenKind::Punct(b')') => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        break;
                    }
                }
                TokenKind::Str { .. } | TokenKind::Dollar => {
                    any = true;
                    self.mask_body(token, kind);
                }
                TokenKind::Param => {
                    any = true;
                    self.found.parameters_too = true;
                }
                _ => {}
            }
            at += 1;
        }
        self.called_to = at;
        any
    }

    /// Masks from `start` to where an unquoted value ends.
    fn mask_run(&mut self, start: usize, kind: Kind) {
        let rest = self.text.get(start..).unwrap_or("");
        let end = start + super::plain::value_length(rest);
        // Never end inside a token: a literal that the value reaches into goes as a whole.
        let holder = self.tokens.partition_point(|token| token.end < end);
        let end = self
            .token(holder)
            .filter(|t| t.start < end)
            .map_or(end, |t| t.end);
        self.edit(start, end, kind);
    }

    /// `<REDACTED>` or `<secret>`, which the platform wrote.
    fn is_redacted_by_platform(&self, at: usize) -> bool {
        (self.word(at + 1, "redacted") || self.word(at + 1, "secret")) && self.punct(at + 2, b'>')
    }

    /// Reads the inside of literals, quoted names and comments as texts of their own.
    fn look_inside(&mut self) {
        for at in 0..self.tokens.len() {
            let Some(token) = self.token(at) else { break };
            let nested = matches!(
                token.kind,
                TokenKind::Str { .. } | TokenKind::Dollar | TokenKind::Quoted | TokenKind::Comment
            );
            let body = token.body(self.text);
            if !nested || self.is_edited(at) || !is_suspicious(body) {
                continue;
            }
            if self.depth + 1 >= LEVELS_MAX {
                self.edit(token.body_start, token.body_end, Kind::Literal);
                continue;
            }
            let inner = unquote(&token, self.text);
            let reading = match token.kind {
                TokenKind::Str { .. } | TokenKind::Dollar => Reading::Statement,
                _ => Reading::Prose,
            };
            let reading = if self.reading == Reading::Prose {
                Reading::Prose
            } else {
                reading
            };
            let outcome = level(&inner, self.dialect, reading, self.depth + 1, self.found);
            // A comment of a statement is a comment; one inside a literal may be text.
            if token.kind != TokenKind::Comment || self.depth > 0 {
                self.unknown |= outcome.unresolved || outcome.doubtful;
                self.dangling |= outcome.unresolved && at + 1 == self.tokens.len();
                // The name is inside and its value is not: perhaps the quotes are out of step.
                let next = self.token(at + 1).map(|next| next.kind);
                let word = matches!(next, Some(TokenKind::Word | TokenKind::Number));
                self.doubtful |= outcome.doubtful || (outcome.unresolved && word);
            }
            if let Some(changed) = outcome.changed {
                let with = quote(&token, self.text, &changed);
                self.replace(token.body_start, token.body_end, with);
            }
        }
    }

    /// Masks every literal when the form is unknown; whether there was one to mask.
    fn fail_closed(&mut self) -> bool {
        if !self.unknown {
            return true;
        }
        self.found.parameters_too = true;
        if self.doubtful {
            let quoting = |t: &&Token| {
                !matches!(
                    t.kind,
                    TokenKind::Word | TokenKind::Number | TokenKind::Param | TokenKind::Punct(_)
                )
            };
            let Some(first) = self.tokens.iter().find(quoting).copied() else {
                return false;
            };
            self.edits.retain(|edit| edit.end <= first.body_start);
            self.edit(first.body_start, self.text.len(), Kind::Literal);
            return true;
        }
        let mut any = false;
        let mut whole: Vec<Token> = Vec::new();
        for token in &self.tokens {
            let literal = match token.kind {
                TokenKind::Str { .. } | TokenKind::Dollar => true,
                TokenKind::Number => self.reading == Reading::Statement,
                TokenKind::Quoted | TokenKind::Comment => !token.closed,
                _ => false,
            };
            if literal && token.body_start < token.body_end {
                any |= token.kind != TokenKind::Number;
                whole.push(*token);
            }
        }
        // What was changed inside these literals goes with them.
        self.edits.retain(|edit| {
            let next = whole.partition_point(|token| token.body_start <= edit.start);
            let holder = next.checked_sub(1).and_then(|n| whole.get(n));
            holder.is_none_or(|token| edit.end > token.body_end)
        });
        for token in whole {
            self.edit(token.body_start, token.body_end, Kind::Literal);
        }
        any
    }
}
