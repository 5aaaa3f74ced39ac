//! What a statement names: its command, accounts, privileges, objects, settings. Read from masked
//! text by its tokens.
//!
//! A reader of heads, not a parser: it looks at the first statement of a text, up to a bound. Not
//! here: which class follows.

use std::borrow::Cow;

use crate::mask::{Dialect, Lexer, Token, TokenKind};

/// How many tokens of a statement are looked at.
const TOKENS_MAX: usize = 512;

/// The most names of one list that are taken.
const NAMES_MAX: usize = 64;

/// How far from its verb the kind of an object can stand (`CREATE OR REPLACE DEFINER=a@b SQL …`).
const KIND_WITHIN: usize = 16;

/// Kinds of objects that CREATE, ALTER, DROP and their like name.
const KINDS: &[&str] = &[
    "user",
    "role",
    "database",
    "schema",
    "table",
    "tables",
    "view",
    "index",
    "procedure",
    "function",
    "trigger",
    "event",
    "sequence",
    "server",
    "package",
    "tablespace",
    "plugin",
    "soname",
    "master",
    "replication",
];

/// Verbs behind which a kind of object stands.
const VERBS_OF_KINDS: &[&str] = &[
    "CREATE",
    "ALTER",
    "DROP",
    "RENAME",
    "INSTALL",
    "UNINSTALL",
    "CHANGE",
    "TRUNCATE",
];

/// Frequent verbs without one.
const PLAIN_VERBS: &[&str] = &[
    "SELECT", "INSERT", "UPDATE", "DELETE", "REPLACE", "COMMIT", "BEGIN", "CALL", "SHOW", "USE",
];

/// The tokens of one statement.
pub(crate) struct Statement<'t> {
    text: &'t str,
    tokens: Vec<Token>,
}

/// A setting and the value it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) global: bool,
}

/// A grant or a revocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grant {
    /// Privileges, or roles when there is no object.
    pub(crate) given: Vec<String>,
    pub(crate) objects: Vec<String>,
    pub(crate) accounts: Vec<String>,
    /// `ALL PRIVILEGES, GRANT OPTION FROM`, which names no object.
    pub(crate) everything: bool,
}

impl<'t> Statement<'t> {
    /// Reads the first statement of a text.
    pub(crate) fn read(text: &'t str) -> Statement<'t> {
        Statement::read_up_to(text, TOKENS_MAX)
    }

    fn read_up_to(text: &'t str, tokens_max: usize) -> Statement<'t> {
        let mut tokens = Vec::with_capacity((text.len() / 4).min(tokens_max));
        for token in Lexer::new(text, Dialect::MariaDb) {
            match token.kind {
                TokenKind::Comment => continue,
                TokenKind::Punct(b'(') if tokens.is_empty() => continue,
                TokenKind::Punct(b';') => break,
                _ => tokens.push(token),
            }
            if tokens.len() == tokens_max {
                break;
            }
        }
        Statement { text, tokens }
    }

    fn is(&self, at: usize, word: &str) -> bool {
        let token = self.tokens.get(at);
        token.is_some_and(|token| token.is_word(self.text, word))
    }

    fn punct(&self, at: usize, byte: u8) -> bool {
        let token = self.tokens.get(at);
        token.is_some_and(|token| token.kind == TokenKind::Punct(byte))
    }

    fn position(&self, from: usize, word: &str) -> Option<usize> {
        (from..self.tokens.len()).find(|at| self.is(*at, word))
    }

    /// Whether the statement has this word.
    pub(crate) fn has(&self, word: &str) -> bool {
        self.position(0, word).is_some()
    }

    /// The command of a text, of which no more is read than that takes.
    pub(crate) fn command_of(text: &str) -> Cow<'static, str> {
        Statement::read_up_to(text, 2)
            .short_command()
            .unwrap_or_else(|| Statement::read_up_to(text, KIND_WITHIN).command())
    }

    /// The command if its first two tokens say it.
    fn short_command(&self) -> Option<Cow<'static, str>> {
        let first = self.tokens.first();
        let Some(first) = first.filter(|token| token.kind == TokenKind::Word) else {
            return Some(Cow::Borrowed("[unknown]"));
        };
        let verb = first.text(self.text);
        let is = |word: &str| verb.eq_ignore_ascii_case(word);
        if let Some(word) = PLAIN_VERBS.iter().find(|word| is(word)) {
            Some(Cow::Borrowed(word))
        } else if VERBS_OF_KINDS.iter().any(|word| is(word)) {
            None
        } else if is("SET") && self.is(1, "password") {
            Some(Cow::Borrowed("SET PASSWORD"))
        } else {
            let verb: String = verb.chars().take(32).collect();
            Some(Cow::Owned(verb.to_ascii_uppercase()))
        }
    }

    /// The verb, and the kind of object behind those verbs that have one, in upper case.
    fn command(&self) -> Cow<'static, str> {
        if let Some(command) = self.short_command() {
            return command;
        }
        let verb = self.tokens.first().map_or("", |t| t.text(self.text));
        let verb = verb.to_ascii_uppercase();
        Cow::Owned(match self.kind() {
            Some(kind) => format!("{verb} {}", kind.to_ascii_uppercase()),
            None => verb,
        })
    }

    fn kind(&self) -> Option<&'static str> {
        (1..KIND_WITHIN).find_map(|at| KINDS.iter().copied().find(|kind| self.is(at, kind)))
    }

    /// One part of a name, quotes undone.
    fn part(&self, at: usize) -> Option<&'t str> {
        let token = self.tokens.get(at)?;
        match token.kind {
            TokenKind::Word => Some(token.text(self.text)),
            TokenKind::Quoted | TokenKind::Str { .. } => Some(token.body(self.text)),
            TokenKind::Punct(b'*') => Some("*"),
            _ => None,
        }
    }

    /// Parts joined by a mark, such as `a.b` or `u@h`, and the token behind them.
    fn joined(&self, at: usize, mark: u8) -> Option<(String, usize)> {
        let mut name = self.part(at)?.to_owned();
        let mut next = at + 1;
        while self.punct(next, mark) {
            let Some(more) = self.part(next + 1) else {
                break;
            };
            name.push(char::from(mark));
            name.push_str(more);
            next += 2;
        }
        Some((name, next))
    }

    /// Accounts behind a token, separated by commas; `TO` between the old and the new name counts
    /// as one.
    fn accounts(&self, from: usize) -> Vec<String> {
        let mut at = from;
        while ["if", "not", "exists"].iter().any(|word| self.is(at, word)) {
            at += 1;
        }
        let mut names = Vec::new();
        while names.len() < NAMES_MAX {
            let Some((name, next)) = self.joined(at, b'@') else {
                break;
            };
            names.push(name);
            // What an account was given stands between it and the next one.
            let comma = (next..self.tokens.len()).find(|at| self.punct(*at, b','));
            at = match comma {
                _ if self.is(next, "to") => next + 1,
                Some(comma) => comma + 1,
                None => break,
            };
        }
        names
    }

    /// Accounts behind the first of these words.
    pub(crate) fn accounts_behind(&self, word: &str) -> Vec<String> {
        self.position(1, word)
            .map_or(Vec::new(), |at| self.accounts(at + 1))
    }

    /// The object behind its kind.
    pub(crate) fn object(&self, kind: &str) -> Option<String> {
        let mut at = self.position(1, kind)? + 1;
        while ["if", "not", "exists"].iter().any(|word| self.is(at, word)) {
            at += 1;
        }
        self.joined(at, b'.').map(|(name, _)| name)
    }

    /// GRANT or REVOKE.
    pub(crate) fn grant(&self, gives: bool) -> Grant {
        let target = if gives { "to" } else { "from" };
        let Some(to) = self.position(1, target) else {
            return Grant::default();
        };
        let on = self.position(1, "on").filter(|on| *on < to);
        let mut grant = Grant {
            given: self.list(1, on.unwrap_or(to)),
            accounts: self.accounts(to + 1),
            everything: self.is(1, "all") || self.is(1, "proxy"),
            ..Grant::default()
        };
        if let Some(on) = on {
            let kinds = ["table", "function", "procedure", "package"];
            let from = on + 1 + usize::from(kinds.iter().any(|kind| self.is(on + 1, kind)));
            grant
                .objects
                .extend(self.joined(from, b'.').map(|(name, _)| name));
        }
        grant
    }

    /// The items of a list, such as privileges without their columns.
    fn list(&self, from: usize, to: usize) -> Vec<String> {
        let mut items = vec![String::new()];
        let mut depth = 0_u32;
        for at in from..to {
            match self.tokens.get(at).map(|token| token.kind) {
                Some(TokenKind::Punct(b'(')) => depth += 1,
                Some(TokenKind::Punct(b')')) => depth = depth.saturating_sub(1),
                Some(TokenKind::Punct(b',')) if depth == 0 && items.len() < NAMES_MAX => {
                    items.push(String::new());
                }
                _ if depth == 0 => {
                    if let (Some(item), Some(part)) = (items.last_mut(), self.part(at)) {
                        if !item.is_empty() {
                            item.push(' ');
                        }
                        item.push_str(part);
                    }
                }
                _ => {}
            }
        }
        items.retain(|item| !item.is_empty());
        items
    }

    /// The settings that SET changes.
    pub(crate) fn settings(&self) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut at = 1;
        let mut global = false;
        while changes.len() < NAMES_MAX && at < self.tokens.len() {
            while self.punct(at, b'@') || self.punct(at, b'.') {
                at += 1;
            }
            if self.is(at, "global") || self.is(at, "session") || self.is(at, "local") {
                global = self.is(at, "global");
                at += 1;
                continue;
            }
            let name = self.part(at).unwrap_or("").to_ascii_lowercase();
            let end = (at..self.tokens.len()).find(|at| self.punct(*at, b','));
            let end = end.unwrap_or(self.tokens.len());
            let equals = (at..end).find(|at| self.punct(*at, b'='));
            if let Some(equals) = equals {
                let value = self.value(equals + 1, end);
                changes.push(Change {
                    name,
                    value,
                    global,
                });
            }
            at = end + 1;
        }
        changes
    }

    /// The value between two tokens, quotes undone.
    fn value(&self, from: usize, to: usize) -> String {
        match self.tokens.get(from..to).unwrap_or(&[]) {
            [one] => one.body(self.text).to_owned(),
            [first, .., last] => {
                let value = self.text.get(first.start..last.end);
                value.unwrap_or("").to_owned()
            }
            [] => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_names() {
        for (text, command, accounts) in [
            (
                "CREATE USER a@'127.0.0.1' IDENTIFIED BY '***', 'b'@`h`",
                "CREATE USER",
                "a@127.0.0.1 b@h",
            ),
            ("DROP USER IF EXISTS a", "DROP USER", "a"),
            ("rename user a@h to b@h", "RENAME USER", "a@h b@h"),
            ("/*!50001 alter user a account lock */", "ALTER USER", "a"),
            (
                "CREATE DEFINER=root@localhost PROCEDURE p() SELECT 1",
                "CREATE PROCEDURE",
                "",
            ),
            ("(SELECT 1)", "SELECT", ""),
            ("SET PASSWORD = '***'", "SET PASSWORD", ""),
            ("'x'", "[unknown]", ""),
            ("", "[unknown]", ""),
        ] {
            let statement = Statement::read(text);
            assert_eq!(statement.command(), command, "{text}");
            assert_eq!(
                statement.accounts_behind("user").join(" "),
                accounts,
                "{text}"
            );
        }
        let object = |text, kind| Statement::read(text).object(kind);
        assert_eq!(
            object("DROP TABLE IF EXISTS `a`.b", "table").as_deref(),
            Some("a.b")
        );
        assert_eq!(object("DROP TABLE", "table"), None);
    }

    #[test]
    fn grants_and_settings() {
        let grant =
            Statement::read("GRANT SELECT (a, b), INSERT ON cards.* TO a@'h', b").grant(true);
        assert_eq!(grant.given, ["SELECT", "INSERT"]);
        assert_eq!(
            (grant.objects, grant.accounts),
            (
                vec!["cards.*".to_owned()],
                vec!["a@h".to_owned(), "b".to_owned()]
            )
        );
        let grant = Statement::read("REVOKE r FROM a").grant(false);
        assert!(grant.objects.is_empty() && grant.given == ["r"] && !grant.everything);
        let changes =
            Statement::read("SET GLOBAL server_audit_logging=OFF, @@session.x := 'y', z = 1+2")
                .settings();
        let changes: Vec<_> = changes
            .iter()
            .map(|c| (c.name.as_str(), c.value.as_str(), c.global))
            .collect();
        assert_eq!(
            changes,
            [
                ("server_audit_logging", "OFF", true),
                ("x", "y", false),
                ("z", "1+2", false)
            ]
        );
    }
}
