//! `log_line_prefix`: a pattern of literals and fields, and what a line says where they stand.
//!
//! PostgreSQL 18 manual, 19.8.3 "What to Log": `%a %u %d %r %h %L %b %p %P %t %m %n %i %e %c %l %s
//! %v %x %q %Q %%`, each with an optional width. Names are written raw, so a name can hold
//! anything, also the literals around it: a line is tried with the first place where each literal
//! fits, and the numbers and times must have their shape. Not here: what follows the prefix.

use crate::scan;

/// How often a line is tried with another place for a literal.
const TRIES_MAX: u32 = 64;

/// One piece of the pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Field(char),
    /// `%q`: processes without a session stop here.
    Stop,
}

/// A prefix that lines begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prefix {
    pieces: Vec<Piece>,
}

/// What one line's prefix says: fields and their texts.
pub(crate) type Fields<'l> = Vec<(char, &'l str)>;

impl Prefix {
    /// Reads the setting; `None` when it has an escape that no version knows, or no time: without
    /// one, nothing tells a record from what a user typed.
    pub(crate) fn new(setting: &str) -> Option<Prefix> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut chars = setting.chars().peekable();
        while let Some(c) = chars.next() {
            if c != '%' {
                literal.push(c);
                continue;
            }
            while chars.next_if(|c| *c == '-' || c.is_ascii_digit()).is_some() {}
            let field = chars.next()?;
            if field == '%' {
                literal.push('%');
                continue;
            }
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            match field {
                'q' => pieces.push(Piece::Stop),
                'a' | 'u' | 'd' | 'r' | 'h' | 'L' | 'b' | 'p' | 'P' | 't' | 'm' | 'n' | 'i'
                | 'e' | 'c' | 'l' | 's' | 'v' | 'x' | 'Q' => pieces.push(Piece::Field(field)),
                _ => return None,
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        let timed = |piece: &Piece| matches!(piece, Piece::Field('t' | 'm' | 'n'));
        pieces.iter().any(timed).then_some(Prefix { pieces })
    }

    /// What a line's prefix says, and where the rest begins: `is_rest` judges that.
    pub(crate) fn read<'l>(
        &self,
        line: &'l str,
        is_rest: &dyn Fn(&str) -> bool,
    ) -> Option<(Fields<'l>, usize)> {
        let mut tries = TRIES_MAX;
        let mut fields = Vec::new();
        let end = fit(&self.pieces, line, 0, is_rest, &mut fields, &mut tries)?;
        Some((fields, end))
    }
}

/// Fits pieces from `at` on; where the rest begins.
fn fit<'l>(
    pieces: &[Piece],
    line: &'l str,
    at: usize,
    is_rest: &dyn Fn(&str) -> bool,
    fields: &mut Fields<'l>,
    tries: &mut u32,
) -> Option<usize> {
    *tries = tries.checked_sub(1)?;
    let rest = line.get(at..)?;
    let Some((first, behind)) = pieces.split_first() else {
        return is_rest(rest).then_some(at);
    };
    match first {
        Piece::Literal(literal) => {
            // Padding may leave blanks before a literal.
            rest.starts_with(literal.as_str()).then_some(())?;
            fit(behind, line, at + literal.len(), is_rest, fields, tries)
        }
        Piece::Stop => {
            let known = fields.len();
            fit(behind, line, at, is_rest, fields, tries).or_else(|| {
                fields.truncate(known);
                is_rest(rest).then_some(at)
            })
        }
        Piece::Field(field) => {
            let known = fields.len();
            for length in lengths(*field, rest, behind.first()) {
                let value = rest.get(..length)?.trim_matches(' ');
                if !shaped(*field, value) {
                    continue;
                }
                fields.push((*field, value));
                let end = fit(behind, line, at + length, is_rest, fields, tries);
                if end.is_some() || *tries == 0 {
                    return end;
                }
                fields.truncate(known);
            }
            None
        }
    }
}

/// How long a field can be, the shortest first.
enum Lengths<'r> {
    /// To each place where a literal stands, from one on.
    Places(&'r str, &'r str, usize),
    Fixed(std::array::IntoIter<Option<usize>, 3>),
}

impl Iterator for Lengths<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        match self {
            Lengths::Places(rest, literal, from) => {
                let at = place(rest.as_bytes(), literal.as_bytes(), *from)?;
                *from = at + literal.len();
                Some(at)
            }
            Lengths::Fixed(lengths) => lengths.flatten().next(),
        }
    }
}

/// The first place of a literal, from one on.
fn place(rest: &[u8], literal: &[u8], from: usize) -> Option<usize> {
    let first = *literal.first()?;
    let mut at = from;
    loop {
        at += scan::first(rest.get(at..)?, first)?;
        if rest.get(at..)?.starts_with(literal) {
            return Some(at);
        }
        at += 1;
    }
}

fn lengths<'r>(field: char, rest: &'r str, next: Option<&'r Piece>) -> Lengths<'r> {
    match next {
        Some(Piece::Literal(literal)) => Lengths::Places(rest, literal, 0),
        // Two fields side by side, or the message: as long as its shape goes, or one word.
        _ => {
            let blank = rest.find([' ', '\t']).unwrap_or(rest.len());
            let time = match field {
                't' | 's' => time_length(rest, 19),
                'm' => time_length(rest, 23),
                _ => None,
            };
            Lengths::Fixed([Some(blank), time, Some(0)].into_iter())
        }
    }
}

/// Length of a time of `clock` characters and its zone.
fn time_length(rest: &str, clock: usize) -> Option<usize> {
    let zone = rest.get(clock + 1..)?;
    let length = zone.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '+' | '-'));
    Some(clock + 1 + length.unwrap_or(zone.len()))
}

/// Whether a text has the shape of a field.
fn shaped(field: char, text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let signed = |text: &str| digits(text.strip_prefix('-').unwrap_or(text));
    match field {
        'p' | 'l' => digits(text) && text.len() <= 18,
        'P' | 'x' => text.is_empty() || digits(text),
        'Q' => signed(text),
        'n' => text
            .split_once('.')
            .is_some_and(|(s, ms)| digits(s) && digits(ms)),
        'e' => text.len() == 5 && text.bytes().all(|b| b.is_ascii_alphanumeric()),
        'c' => text.split_once('.').is_some_and(|(start, pid)| {
            let hex = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_hexdigit());
            hex(start) && hex(pid)
        }),
        'v' => text
            .bytes()
            .all(|b| b.is_ascii_digit() || b == b'/' || b == b'-'),
        't' | 'm' | 's' => super::row::is_time(text),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<'l>(setting: &str, line: &'l str) -> Option<(Fields<'l>, &'l str)> {
        let prefix = Prefix::new(setting).unwrap();
        let (fields, end) = prefix.read(line, &|rest| rest.starts_with("LOG:  "))?;
        Some((fields, &line[end..]))
    }

    #[test]
    fn settings_and_lines() {
        let time = "2026-11-23 09:42:03.250 UTC";
        for (setting, line, expected) in [
            (
                "%m [%p] ",
                format!("{time} [9841] LOG:  x"),
                vec![('m', time), ('p', "9841")],
            ),
            (
                "%m [%p] %q%u@%d ",
                format!("{time} [9841] a b@c@d LOG:  x"),
                vec![('m', time), ('p', "9841"), ('u', "a b"), ('d', "c@d")],
            ),
            (
                "%m [%p] %q[%u] ",
                format!("{time} [9841] LOG:  x"),
                vec![('m', time), ('p', "9841")],
            ),
            (
                "%-20u|%5p|%n ",
                "bob                 |   77|1795426923.134 LOG:  x".to_owned(),
                vec![('u', "bob"), ('p', "77"), ('n', "1795426923.134")],
            ),
            (
                "%t:%e%%",
                "2026-11-23 09:42:03 UTC:00000%LOG:  x".to_owned(),
                vec![('t', "2026-11-23 09:42:03 UTC"), ('e', "00000")],
            ),
            ("%m", format!("{time}LOG:  x"), vec![]),
        ] {
            let got = read(setting, &line);
            if expected.is_empty() {
                assert!(got.is_none(), "{setting} reads {got:?}");
            } else {
                assert_eq!(got, Some((expected, "LOG:  x")), "{setting}");
            }
        }
        for setting in ["", "[%p] ", "%m %z ", "%m %"] {
            assert_eq!(Prefix::new(setting), None, "{setting}");
        }
    }
}
