//! Rules on tokens for statements about accounts, and for command lines inside statements.
//!
//! Not here: names beside values in general (see `rules`).

use super::rules::Level;
use super::{Kind, Reading, TokenKind};

impl Level<'_, '_> {
    /// `IDENTIFIED BY|WITH plugin BY|AS|USING 'x'`, and the alternatives that follow with OR, AND
    /// and REPLACE.
    pub(super) fn identified(&mut self, at: usize) {
        const JOINS: &[&str] = &[
            "by",
            "with",
            "via",
            "using",
            "as",
            "or",
            "and",
            "replace",
            "password",
            "initial",
            "authentication",
            "values",
            "hash",
        ];
        let mut next = at + 1;
        let mut masked = false;
        let mut named = true;
        while let Some(token) = self.token(next) {
            match token.kind {
                TokenKind::Str { .. } | TokenKind::Dollar => {
                    self.mask_literals(next, Kind::Password);
                    masked = true;
                    named = false;
                }
                TokenKind::Word if JOINS.iter().any(|word| token.is_word(self.text, word)) => {
                    named = true;
                }
                // A plugin's name, once behind each of those words.
                TokenKind::Word | TokenKind::Quoted if named => named = false,
                // The platform's own mask, a parameter, or a function of the secret.
                TokenKind::Punct(b'*' | b'<' | b'>' | b'(' | b')') => masked = true,
                TokenKind::Param | TokenKind::Punct(b'?') => {
                    masked = true;
                    self.found.parameters_too = true;
                }
                _ => break,
            }
            next += 1;
        }
        if !masked && self.reading == Reading::Statement {
            self.unknown = true;
        }
    }

    /// `SET PASSWORD FOR account = 'x'`: whether it is one, and where its value is.
    pub(super) fn set_password(&mut self, at: usize) -> bool {
        let set = at > 0 && self.word(at - 1, "set") && self.word(at + 1, "for");
        // An account is at most `a@b`, with a word before it.
        let equals = (at + 2..at + 8).find(|n| self.punct(*n, b'='));
        let value = equals.and_then(|equals| self.token(equals + 1));
        match (set, value.map(|token| token.kind), equals) {
            (true, Some(TokenKind::Str { .. }), Some(equals)) => {
                self.mask_literals(equals + 1, Kind::Password);
            }
            // PASSWORD('x'), OLD_PASSWORD('x'): a name beside a secret itself.
            (true, Some(TokenKind::Word), Some(_)) => {}
            _ => return false,
        }
        true
    }

    /// `U&'…' UESCAPE '!'`: the literal hides whatever another mark of escapes can hide.
    pub(super) fn other_escape(&mut self, at: usize) {
        let before = at.checked_sub(1).and_then(|n| self.token(n));
        if let Some(token) = before.filter(|t| matches!(t.kind, TokenKind::Str { .. })) {
            self.edit(token.body_start, token.body_end, Kind::Literal);
        }
    }

    /// `PROGRAM 'command line'`.
    pub(super) fn program(&mut self, at: usize) {
        let Some(token) = self.token(at + 1) else {
            return;
        };
        if !matches!(token.kind, TokenKind::Str { .. } | TokenKind::Dollar) {
            return;
        }
        for (start, end) in super::plain::command_secrets(token.body(self.text)) {
            self.edit(
                token.body_start + start,
                token.body_start + end,
                Kind::Password,
            );
        }
    }

    /// Whether the level is a statement about an account, where a bare word after PASSWORD is a
    /// mistyped password.
    pub(super) fn is_account_statement(&self) -> bool {
        let verb = self.word(0, "create") || self.word(0, "alter");
        verb && ["role", "user", "group"]
            .iter()
            .any(|word| self.word(1, word))
    }

    /// Words that may follow PASSWORD in a statement about an account without being one.
    pub(super) fn is_clause(&self, at: usize) -> bool {
        [
            "valid",
            "login",
            "nologin",
            "expire",
            "in",
            "connection",
            "superuser",
            "options",
            "set",
        ]
        .iter()
        .any(|word| self.word(at, word))
    }
}
