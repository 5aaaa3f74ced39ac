//! A total byte lexer: every text is a sequence of tokens, whatever it holds, in one pass.
//!
//! Strings (`'…'`, `E'…'`, `N'…'`, `B'…'`, `X'…'`, `U&'…'`), quoted names (`"…"`), dollar bodies
//! (`$tag$…$tag$`), comments (`--`, nested `/* */`), numbers, `$1`, words. PostgreSQL 18 manual,
//! 4.1 "Lexical Structure". MariaDB's strings also stand in double quotes and have backslash
//! escapes, its names stand in backticks, `#` begins a comment, `--` only before a blank, comments
//! do not nest, and what is in `/*! … */` is no comment (MariaDB Knowledge Base, "Comment Syntax",
//! "String Literals"). Not here: what a token means.

use super::Dialect;
use crate::scan;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// A keyword or an unquoted name.
    Word,
    /// A name in double quotes.
    Quoted,
    /// A string literal; whether a backslash escapes in it.
    Str {
        /// Backslashes escape.
        escapes: bool,
    },
    /// A dollar-quoted string.
    Dollar,
    /// A number.
    Number,
    /// A numbered parameter.
    Param,
    /// A comment.
    Comment,
    /// Any other byte that is not blank.
    Punct(u8),
}

/// One token: its bytes, and those of its inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    /// What it is.
    pub(crate) kind: TokenKind,
    /// First byte.
    pub(crate) start: usize,
    /// Byte after the last.
    pub(crate) end: usize,
    /// First byte inside the quotes.
    pub(crate) body_start: usize,
    /// Byte after the last one inside the quotes.
    pub(crate) body_end: usize,
    /// Whether the closing quote is there.
    pub(crate) closed: bool,
}

impl Token {
    /// The bytes of the token.
    pub(crate) fn text<'t>(&self, text: &'t str) -> &'t str {
        text.get(self.start..self.end).unwrap_or("")
    }

    /// The bytes inside the quotes.
    pub(crate) fn body<'t>(&self, text: &'t str) -> &'t str {
        text.get(self.body_start..self.body_end).unwrap_or("")
    }

    /// Whether it is this word, in any case of letters.
    pub(crate) fn is_word(&self, text: &str, word: &str) -> bool {
        self.kind == TokenKind::Word && self.text(text).eq_ignore_ascii_case(word)
    }
}

/// Reads tokens one after the other.
pub(crate) struct Lexer<'t> {
    bytes: &'t [u8],
    at: usize,
    mariadb: bool,
}

impl<'t> Lexer<'t> {
    /// Begins at the first byte.
    pub(crate) fn new(text: &'t str, dialect: Dialect) -> Self {
        Lexer {
            bytes: text.as_bytes(),
            at: 0,
            mariadb: dialect == Dialect::MariaDb,
        }
    }

    fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn rest(&self, from: usize) -> &'t [u8] {
        self.bytes.get(from..).unwrap_or(&[])
    }

    /// How many bytes of a class stand here.
    #[inline]
    fn length(&self, class: u8) -> usize {
        let rest = self.rest(self.at);
        let end = rest.iter().position(|byte| !is(*byte, class));
        end.unwrap_or(rest.len())
    }

    /// A token that ends at `end` and has no quotes.
    fn plain(&mut self, kind: TokenKind, end: usize) -> Token {
        let start = self.at;
        self.at = end;
        Token {
            kind,
            start,
            end,
            body_start: start,
            body_end: end,
            closed: true,
        }
    }

    /// A token whose inside begins at `body_start` and ends before a closing mark of `mark` bytes.
    fn quoted(
        &mut self,
        kind: TokenKind,
        body_start: usize,
        body_end: Option<usize>,
        mark: usize,
    ) -> Token {
        let start = self.at;
        let closed = body_end.is_some();
        let body_end = body_end.unwrap_or(self.bytes.len());
        let end = if closed { body_end + mark } else { body_end };
        self.at = end;
        Token {
            kind,
            start,
            end,
            body_start,
            body_end,
            closed,
        }
    }

    /// Where the quote that closes a body is; a doubled one does not close, nor an escaped one.
    fn closing(&self, from: usize, quote: u8, escapes: bool) -> Option<usize> {
        let mut at = from;
        loop {
            let rest = self.rest(at);
            let step = if escapes {
                scan::first_of_two(rest, quote, b'\\')?
            } else {
                scan::first(rest, quote)?
            };
            at += step;
            let doubled = self.bytes.get(at + 1) == Some(&quote);
            match self.bytes.get(at) {
                Some(b'\\') if escapes => at += 2,
                _ if doubled => at += 2,
                _ => return Some(at),
            }
            if at > self.bytes.len() {
                return None;
            }
        }
    }

    fn string(&mut self, prefix: usize, escapes: bool) -> Token {
        let body = self.at + prefix + 1;
        let quote = self.peek(prefix);
        let escapes = escapes || self.mariadb;
        let end = self.closing(body, quote, escapes);
        self.quoted(TokenKind::Str { escapes }, body, end, 1)
    }

    fn name(&mut self, quote: u8) -> Token {
        let end = self.closing(self.at + 1, quote, false);
        self.quoted(TokenKind::Quoted, self.at + 1, end, 1)
    }

    fn line_comment(&mut self, mark: usize) -> Token {
        let length = memchr::memchr(b'\n', self.rest(self.at));
        let end = length.map_or(self.bytes.len(), |length| self.at + length);
        self.quoted(TokenKind::Comment, self.at + mark, Some(end), 0)
    }

    /// Length of `/*!40101` or `/*M!100100`, whose inside is read as code; 0 for a comment.
    fn executable(&self) -> usize {
        let mark = match (self.peek(2), self.peek(3)) {
            (b'!', _) => 3,
            (b'M', b'!') => 4,
            _ => return 0,
        };
        let digits = self.rest(self.at + mark).iter().take(6);
        mark + digits.take_while(|b| b.is_ascii_digit()).count()
    }

    fn block_comment(&mut self) -> Token {
        let body = self.at + 2;
        let mut depth = 1_u32;
        let mut at = body;
        let end = loop {
            let Some(step) = memchr::memchr2(b'*', b'/', self.rest(at)) else {
                break None;
            };
            at += step;
            match (self.bytes.get(at), self.bytes.get(at + 1)) {
                (Some(b'*'), Some(b'/')) => {
                    depth -= 1;
                    if depth == 0 {
                        break Some(at);
                    }
                    at += 2;
                }
                (Some(b'/'), Some(b'*')) if !self.mariadb => {
                    depth += 1;
                    at += 2;
                }
                _ => at += 1,
            }
        };
        self.quoted(TokenKind::Comment, body, end, 2)
    }

    fn dollar(&mut self) -> Token {
        let from = self.at + 1;
        if self.peek(1).is_ascii_digit() {
            let digits = self
                .rest(from)
                .iter()
                .take_while(|b| b.is_ascii_digit())
                .count();
            return self.plain(TokenKind::Param, from + digits);
        }
        let tag = self
            .rest(from)
            .iter()
            .take_while(|b| is_word(**b) && **b != b'$')
            .count();
        if self.bytes.get(from + tag) != Some(&b'$') {
            return self.plain(TokenKind::Punct(b'$'), from);
        }
        let body = from + tag + 1;
        let mark = self.bytes.get(self.at..body).unwrap_or(&[]);
        let end = memchr::memmem::find(self.rest(body), mark).map(|step| body + step);
        self.quoted(TokenKind::Dollar, body, end, mark.len())
    }

    fn word(&mut self) -> Token {
        let length = self.length(WORD);
        let quote = self.peek(length);
        match (length, self.peek(0) | 0x20, self.peek(1), self.peek(2)) {
            (1, b'e', b'\'', _) if !self.mariadb => self.string(1, true),
            (1, b'n' | b'b' | b'x', b'\'', _) => self.string(1, false),
            (1, b'u', b'&', b'\'') if !self.mariadb => self.string(2, false),
            // A character set, as in `_utf8mb4'x'`.
            _ if self.mariadb && self.peek(0) == b'_' && matches!(quote, b'\'' | b'"') => {
                self.string(length, false)
            }
            _ => self.plain(TokenKind::Word, self.at + length),
        }
    }
}

/// What a byte can stand in, as bits.
const WORD: u8 = 1;
const BLANK: u8 = 2;
const NUMBER: u8 = 4;

const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0_u8;
    loop {
        let mut class = 0;
        if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80 {
            class |= WORD;
        }
        if byte.is_ascii_whitespace() {
            class |= BLANK;
        }
        if byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'_' {
            class |= NUMBER;
        }
        #[expect(
            clippy::indexing_slicing,
            reason = "constant: evaluated by the compiler"
        )]
        {
            classes[byte as usize] = class;
        }
        if byte == u8::MAX {
            break classes;
        }
        byte += 1;
    }
};

#[inline]
fn is(byte: u8, class: u8) -> bool {
    CLASSES
        .get(usize::from(byte))
        .is_some_and(|c| c & class != 0)
}

/// Whether the byte can stand in a word.
fn is_word(byte: u8) -> bool {
    is(byte, WORD)
}

impl Iterator for Lexer<'_> {
    type Item = Token;

    // A token that is returned through memory is read back with a stall, each time.
    #[inline(always)]
    fn next(&mut self) -> Option<Token> {
        self.at += self.length(BLANK);
        let first = *self.bytes.get(self.at)?;
        let blank = |byte: u8| byte == 0 || byte.is_ascii_whitespace();
        Some(match (first, self.peek(1)) {
            (b'\'', _) => self.string(0, false),
            (b'"', _) if self.mariadb => self.string(0, true),
            (b'"', _) => self.name(b'"'),
            (b'`', _) if self.mariadb => self.name(b'`'),
            (b'#', _) if self.mariadb => self.line_comment(1),
            (b'$', _) if !self.mariadb => self.dollar(),
            (b'-', b'-') if !self.mariadb || blank(self.peek(2)) => self.line_comment(2),
            (b'/', b'*') if self.mariadb && self.executable() > 0 => {
                self.plain(TokenKind::Comment, self.at + self.executable())
            }
            (b'/', b'*') => self.block_comment(),
            (b'0'..=b'9', _) => {
                let length = self.length(NUMBER);
                self.plain(TokenKind::Number, self.at + length)
            }
            (byte, _) if is_word(byte) => self.word(),
            (byte, _) => self.plain(TokenKind::Punct(byte), self.at + 1),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<(String, bool)> {
        kinds_of(text, Dialect::PostgreSql)
    }

    fn kinds_of(text: &str, dialect: Dialect) -> Vec<(String, bool)> {
        Lexer::new(text, dialect)
            .map(|t| (t.text(text).to_owned(), t.closed))
            .collect()
    }

    #[test]
    fn forms_of_quoting() {
        let check = |text: &str, expected: &[&str]| {
            let got: Vec<String> = kinds(text).into_iter().map(|(t, _)| t).collect();
            assert_eq!(got, expected, "{text}");
        };
        check(
            "SELECT 'it''s', E'a\\'b', \"q\"\"q\"",
            &["SELECT", "'it''s'", ",", "E'a\\'b'", ",", "\"q\"\"q\""],
        );
        check(
            "$$a$b$$ $t$ $$ $t$ $1 $",
            &["$$a$b$$", "$t$ $$ $t$", "$1", "$"],
        );
        check(
            "/* a /* b */ c */ x -- y\nz",
            &["/* a /* b */ c */", "x", "-- y", "z"],
        );
        check("U&'x' n'y' ex'z'", &["U&'x'", "n'y'", "ex", "'z'"]);
        check("1.5e3 a$1 æø", &["1.5e3", "a$1", "æø"]);
    }

    #[test]
    fn forms_of_quoting_of_mariadb() {
        for (text, expected) in [
            (r"a'b\'c''d'", &["a", r"'b\'c''d'"][..]),
            (r#""a""b\"c" `d``e`"#, &[r#""a""b\"c""#, "`d``e`"]),
            (
                "1 # c 'x\n2 --3\n-- 'y",
                &["1", "# c 'x", "2", "-", "-", "3", "-- 'y"],
            ),
            ("/* a /* b */ c", &["/* a /* b */", "c"]),
            (
                "/*!40101 SET x='y' */ /*M!1 z*/",
                &[
                    "/*!40101", "SET", "x", "=", "'y'", "*", "/", "/*M!1", "z", "*", "/",
                ],
            ),
            (
                "_utf8mb4'x' u@'h' $a$",
                &["_utf8mb4'x'", "u", "@", "'h'", "$a$"],
            ),
        ] {
            let got: Vec<String> = kinds_of(text, Dialect::MariaDb)
                .into_iter()
                .map(|(t, _)| t)
                .collect();
            assert_eq!(got, expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_closed_reaches_the_end() {
        for text in [
            "'a", "E'a\\", "E'a\\'", "\"a", "$x$ $y$", "/* /* */", "'a''",
        ] {
            let tokens = kinds(text);
            assert_eq!(tokens, vec![(text.to_owned(), false)]);
        }
        assert_eq!(kinds("-- x"), vec![("-- x".to_owned(), true)]);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_tokens_in_order(text in "\\PC*|[-'\"$/*ex_`#!M \\\\a\n]{0,40}", mariadb: bool) {
            let mut last = 0;
            let dialect = if mariadb { Dialect::MariaDb } else { Dialect::PostgreSql };
            for token in Lexer::new(&text, dialect) {
                assert!(token.start >= last && token.end > token.start);
                assert!(token.start <= token.body_start && token.body_end <= token.end);
                assert!(text.is_char_boundary(token.start) && text.is_char_boundary(token.end));
                assert!(text.is_char_boundary(token.body_start) && text.is_char_boundary(token.body_end));
                last = token.end;
            }
            assert!(text.as_bytes()[last..].iter().all(u8::is_ascii_whitespace));
        }
    }
}
