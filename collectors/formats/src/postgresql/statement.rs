//! What a statement names: accounts, privileges, objects, settings. Read from masked text by its
//! tokens.
//!
//! It is a reader of heads, not a parser: it looks at the first statement of a text that begins
//! with the command that the server reported, up to a bound, and what it does not find stays
//! unknown. Not here: which class follows.

use crate::mask::{Dialect, Lexer, Token, TokenKind};

/// How many tokens of a statement are looked at.
const TOKENS_MAX: usize = 512;

/// The most names of one list that are taken.
const NAMES_MAX: usize = 64;

/// The tokens of one statement.
pub(crate) struct Statement<'t> {
    text: &'t str,
    tokens: Vec<Token>,
}

/// A setting and the value it gets; none for RESET.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SettingChange {
    pub(crate) name: String,
    pub(crate) value: Option<String>,
}

/// A grant or a revocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grant {
    /// Privileges, or the roles that are given when there is no object.
    pub(crate) given: Vec<String>,
    /// Objects; empty for membership in roles.
    pub(crate) objects: Vec<String>,
    /// Kind of the objects, if the statement says it.
    pub(crate) object_type: Option<String>,
    /// Accounts that get or lose it.
    pub(crate) accounts: Vec<String>,
}

impl<'t> Statement<'t> {
    /// The statement in `text` that begins with the first word of `command`; the first one
    /// otherwise.
    pub(crate) fn find(text: &'t str, command: &str) -> Statement<'t> {
        let first_word = command.split(' ').next().unwrap_or("");
        let mut tokens: Vec<Token> = Vec::with_capacity(text.len().min(4 * TOKENS_MAX) / 4);
        for token in Lexer::new(text, Dialect::PostgreSql) {
            if token.kind != TokenKind::Comment {
                tokens.push(token);
            }
            if tokens.len() == TOKENS_MAX {
                break;
            }
        }
        let is_end = |token: &Token| token.kind == TokenKind::Punct(b';');
        let begins = |part: &[Token]| part.first().is_some_and(|t| t.is_word(text, first_word));
        // The first one when none begins so.
        let mut found = (0, tokens.iter().position(is_end).unwrap_or(tokens.len()));
        let mut start = 0;
        for part in tokens.split(is_end) {
            if begins(part) {
                found = (start, start + part.len());
                break;
            }
            start += part.len() + 1;
        }
        tokens.truncate(found.1);
        tokens.drain(..found.0);
        Statement { text, tokens }
    }

    /// The settings that the statements inside a DO block change.
    pub(crate) fn settings_inside(text: &str) -> Vec<SettingChange> {
        let literal =
            |token: &Token| matches!(token.kind, TokenKind::Str { .. } | TokenKind::Dollar);
        let Some(block) = Lexer::new(text, Dialect::PostgreSql).find(literal) else {
            return Vec::new();
        };
        let body = block.body(text);
        let tokens: Vec<Token> = Lexer::new(body, Dialect::PostgreSql)
            .filter(|token| token.kind != TokenKind::Comment)
            .take(TOKENS_MAX)
            .collect();
        let parts = tokens.split(|token| token.kind == TokenKind::Punct(b';'));
        let settings = parts.filter_map(|part| {
            let tokens = part.to_vec();
            Statement { text: body, tokens }.setting()
        });
        settings.collect()
    }

    fn token(&self, at: usize) -> Option<&Token> {
        self.tokens.get(at)
    }

    fn is(&self, at: usize, word: &str) -> bool {
        self.token(at)
            .is_some_and(|token| token.is_word(self.text, word))
    }

    fn is_any(&self, at: usize, words: &[&str]) -> bool {
        words.iter().any(|word| self.is(at, word))
    }

    fn position(&self, from: usize, words: &[&str]) -> Option<usize> {
        (from..self.tokens.len()).find(|at| self.is_any(*at, words))
    }

    /// Whether the statement has this word.
    pub(crate) fn has(&self, word: &str) -> bool {
        self.position(0, &[word]).is_some()
    }

    /// A name such as `a.b."C"` at a token, and the token after it.
    fn name(&self, at: usize) -> Option<(String, usize)> {
        let part = |at: usize| {
            let token = self.token(at)?;
            match token.kind {
                TokenKind::Word => Some(token.text(self.text).to_owned()),
                TokenKind::Quoted => Some(token.body(self.text).replace("\"\"", "\"")),
                _ => None,
            }
        };
        let mut name = part(at)?;
        let mut next = at + 1;
        while self
            .token(next)
            .is_some_and(|t| t.kind == TokenKind::Punct(b'.'))
        {
            let Some(more) = part(next + 1) else { break };
            name.push('.');
            name.push_str(&more);
            next += 2;
        }
        Some((name, next))
    }

    /// Names separated by commas, and the token after them.
    fn names(&self, from: usize) -> (Vec<String>, usize) {
        let mut names = Vec::new();
        let mut at = from;
        while names.len() < NAMES_MAX {
            // GRANT … TO GROUP g: an old word without meaning.
            let start = if self.is(at, "group") { at + 1 } else { at };
            let Some((name, next)) = self.name(start) else {
                break;
            };
            names.push(name);
            at = next;
            if self
                .token(at)
                .is_none_or(|t| t.kind != TokenKind::Punct(b','))
            {
                break;
            }
            at += 1;
        }
        (names, at)
    }

    /// The accounts of CREATE, ALTER or DROP ROLE, USER or GROUP.
    pub(crate) fn accounts(&self) -> Vec<String> {
        let Some(mut at) = self
            .position(1, &["role", "user", "group"])
            .map(|at| at + 1)
        else {
            return Vec::new();
        };
        if self.is(at, "if") {
            at += if self.is(at + 1, "not") { 3 } else { 2 };
        }
        self.names(at).0
    }

    /// The object of CREATE, ALTER, DROP or COMMENT ON, for commands whose audit text has none.
    pub(crate) fn object(&self, kind: &str) -> Option<String> {
        let last = kind.rsplit(' ').next().unwrap_or(kind);
        let mut at = self.position(0, &[last])? + 1;
        while self.is_any(at, &["if", "not", "exists", "concurrently", "only"]) {
            at += 1;
        }
        self.name(at).map(|(name, _)| name)
    }

    /// GRANT or REVOKE.
    pub(crate) fn grant(&self) -> Option<Grant> {
        let target = if self.is(0, "grant") { "to" } else { "from" };
        let mut at = 1;
        if self.is_any(at, &["grant", "admin", "inherit", "set"]) && self.is(at + 2, "for") {
            at += 3; // REVOKE GRANT OPTION FOR
        }
        let to = self.position(at, &[target])?;
        let on = self.position(at, &["on"]).filter(|on| *on < to);
        let given = self.list(at, on.unwrap_or(to));
        let mut grant = Grant {
            given,
            accounts: self.names(to + 1).0,
            ..Grant::default()
        };
        if let Some(on) = on {
            let after = self.object_kind(on + 1, &mut grant);
            grant.objects = self.names(after).0;
        }
        Some(grant)
    }

    /// The words of a list from one token to another, such as privileges with their columns.
    fn list(&self, from: usize, to: usize) -> Vec<String> {
        let mut items = vec![String::new()];
        let mut depth = 0_u32;
        for token in self.tokens.get(from..to).unwrap_or(&[]) {
            match token.kind {
                TokenKind::Punct(b'(') => depth += 1,
                TokenKind::Punct(b')') => depth = depth.saturating_sub(1),
                TokenKind::Punct(b',') if depth == 0 && items.len() < NAMES_MAX => {
                    items.push(String::new());
                }
                TokenKind::Word if depth == 0 => {
                    if let Some(item) = items.last_mut() {
                        if !item.is_empty() {
                            item.push(' ');
                        }
                        item.push_str(token.text(self.text));
                    }
                }
                TokenKind::Quoted if depth == 0 => {
                    if let Some(item) = items.last_mut() {
                        item.push_str(token.body(self.text));
                    }
                }
                _ => {}
            }
        }
        items.retain(|item| !item.is_empty());
        items
    }

    /// Notes the kind of the objects of a grant; the token after it.
    fn object_kind(&self, at: usize, grant: &mut Grant) -> usize {
        const KINDS: &[&str] = &[
            "table",
            "sequence",
            "database",
            "domain",
            "function",
            "procedure",
            "routine",
            "language",
            "schema",
            "tablespace",
            "type",
            "parameter",
        ];
        let mut kind = |text: &str| grant.object_type = Some(text.to_owned());
        if self.is(at, "all") {
            // ALL TABLES IN SCHEMA s
            kind("SCHEMA");
            return self.position(at, &["schema"]).map_or(at, |at| at + 1);
        }
        if self.is(at, "large") || (self.is(at, "foreign") && !self.is(at + 1, "data")) {
            kind("SERVER");
            return at + 2;
        }
        if self.is(at, "foreign") {
            kind("FOREIGN DATA WRAPPER");
            return at + 3;
        }
        match KINDS.iter().find(|word| self.is(at, word)) {
            Some(word) => {
                kind(&word.to_ascii_uppercase());
                at + 1
            }
            None => at,
        }
    }

    /// The setting that SET, RESET, ALTER SYSTEM or ALTER ROLE … SET changes, or `set_config`.
    pub(crate) fn setting(&self) -> Option<SettingChange> {
        if let Some(at) = self.position(0, &["set_config"]) {
            let literal = |at: usize| {
                self.token(at)
                    .filter(|t| matches!(t.kind, TokenKind::Str { .. } | TokenKind::Dollar))
                    .map(|t| t.body(self.text).to_owned())
            };
            return literal(at + 2).map(|name| SettingChange {
                name,
                value: literal(at + 4),
            });
        }
        let verb = self.position(0, &["set", "reset"])?;
        let mut at = verb + 1;
        if self.is_any(at, &["session", "local"]) && self.token(at + 1).is_some_and(is_name) {
            at += 1;
        }
        let (name, next) = self.name(at)?;
        if self.is(verb, "reset") {
            return Some(SettingChange { name, value: None });
        }
        let assigns = self.is(next, "to")
            || self
                .token(next)
                .is_some_and(|t| t.kind == TokenKind::Punct(b'='));
        if !assigns {
            return None;
        }
        Some(SettingChange {
            name,
            value: Some(self.value(next + 1)),
        })
    }

    /// The value from a token to the end, quotes undone.
    fn value(&self, from: usize) -> String {
        let rest = self.tokens.get(from..).unwrap_or(&[]);
        if let [one] = rest {
            return one.body(self.text).to_owned();
        }
        match (rest.first(), rest.last()) {
            (Some(first), Some(last)) => self
                .text
                .get(first.start..last.end)
                .unwrap_or("")
                .to_owned(),
            _ => String::new(),
        }
    }
}

fn is_name(token: &Token) -> bool {
    matches!(token.kind, TokenKind::Word | TokenKind::Quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(items: &[&str]) -> Vec<String> {
        items.iter().map(|item| (*item).to_owned()).collect()
    }

    #[test]
    fn grants() {
        for (text, given, objects, kind, accounts) in [
            (
                "GRANT SELECT, INSERT ON public.payment TO app_dba",
                &["SELECT", "INSERT"][..],
                &["public.payment"][..],
                None,
                &["app_dba"][..],
            ),
            (
                "GRANT ALL PRIVILEGES ON ALL TABLES IN SCHEMA s TO a, \"B c\" WITH GRANT OPTION",
                &["ALL PRIVILEGES"],
                &["s"],
                Some("SCHEMA"),
                &["a", "B c"],
            ),
            (
                "REVOKE GRANT OPTION FOR UPDATE (x, y) ON TABLE t, u FROM PUBLIC CASCADE",
                &["UPDATE"],
                &["t", "u"],
                Some("TABLE"),
                &["PUBLIC"],
            ),
            (
                "GRANT admins, readers TO alice",
                &["admins", "readers"],
                &[],
                None,
                &["alice"],
            ),
            (
                "SELECT 1; grant usage on schema s to group g",
                &["usage"],
                &["s"],
                Some("SCHEMA"),
                &["g"],
            ),
        ] {
            let command = if text.starts_with("REVOKE") {
                "REVOKE"
            } else {
                "GRANT"
            };
            let expected = Grant {
                given: strings(given),
                objects: strings(objects),
                object_type: kind.map(str::to_owned),
                accounts: strings(accounts),
            };
            assert_eq!(
                Statement::find(text, command).grant(),
                Some(expected),
                "{text}"
            );
        }
        assert_eq!(Statement::find("GRANT", "GRANT").grant(), None);
    }

    #[test]
    fn accounts_objects_and_settings() {
        for (text, accounts) in [
            ("CREATE ROLE app_dba LOGIN PASSWORD '***'", &["app_dba"][..]),
            ("DROP USER IF EXISTS a, \"B\"", &["a", "B"]),
            ("ALTER GROUP g ADD USER u", &["g"]),
            ("CREATE ROLE", &[]),
        ] {
            assert_eq!(
                Statement::find(text, text).accounts(),
                strings(accounts),
                "{text}"
            );
        }
        let object = |text, kind| Statement::find(text, text).object(kind);
        assert_eq!(
            object("CREATE DATABASE cards", "DATABASE").as_deref(),
            Some("cards")
        );
        assert_eq!(
            object("DROP TABLE IF EXISTS s.t", "TABLE").as_deref(),
            Some("s.t")
        );
        assert_eq!(
            object("CREATE EXTENSION pgaudit", "EXTENSION").as_deref(),
            Some("pgaudit")
        );
        for (text, name, value) in [
            ("SET pgaudit.log='none'", "pgaudit.log", Some("none")),
            ("SET LOCAL pgaudit.log TO none", "pgaudit.log", Some("none")),
            ("SET session x = 1, 2", "x", Some("1, 2")),
            ("RESET pgaudit.log", "pgaudit.log", None),
            ("ALTER SYSTEM SET work_mem='8MB'", "work_mem", Some("8MB")),
            (
                "ALTER ROLE a IN DATABASE d SET pgaudit.log = 'ddl'",
                "pgaudit.log",
                Some("ddl"),
            ),
            (
                "SELECT set_config('pgaudit.log', 'none', false)",
                "pgaudit.log",
                Some("none"),
            ),
        ] {
            let got = Statement::find(text, text).setting().unwrap();
            assert_eq!(
                (got.name.as_str(), got.value.as_deref()),
                (name, value),
                "{text}"
            );
        }
        assert_eq!(
            Statement::find("SET TRANSACTION READ ONLY", "SET").setting(),
            None
        );
    }
}
