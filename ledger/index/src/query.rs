//! The query language: terms such as `actor:alice op:grant db:"card vault" kind:event since:7d`.
//!
//! An entry matches when each term that is named matches; a term that is named more than once
//! matches when one of its values does (`op:grant op:revoke`). Values are compared as `pattern`
//! says. `since:` looks at the event's time, not at when the log took it.
//!
//! Not here: the order of entries and how many are wanted (the caller's), and an index.

use ledger_core::{Kind, Nanos};
use ledger_log::StoredEntry;

use crate::pattern::Pattern;
use crate::seen::Seen;
use crate::since::since;

/// The terms, in the order in which help and errors name them.
pub const TERMS: [&str; 5] = ["actor", "op", "db", "kind", "since"];
/// Longest text of a query, in bytes.
pub const TEXT_BYTES_MAX: usize = 4096;
/// Most terms of a query.
pub const TERM_COUNT_MAX: usize = 64;

/// Words that people try first, and the term that they mean.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("user", "actor"),
    ("who", "actor"),
    ("account", "actor"),
    ("action", "op"),
    ("operation", "op"),
    ("command", "op"),
    ("database", "db"),
    ("keyspace", "db"),
    ("type", "kind"),
    ("after", "since"),
    ("created", "since"),
    ("from", "since"),
];

/// A query, taken apart and checked. The default one matches every entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    actors: Vec<Pattern>,
    operations: Vec<Pattern>,
    databases: Vec<Pattern>,
    kinds: Vec<Kind>,
    since: Option<Nanos>,
}

/// Why a text is no query.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// More text than a query may have.
    #[error("the query has {bytes} bytes, at most {TEXT_BYTES_MAX} are read")]
    TextTooLong {
        /// Its size.
        bytes: usize,
    },
    /// More terms than a query may have.
    #[error("the query has more than {TERM_COUNT_MAX} terms")]
    TooManyTerms,
    /// A name before a colon that is no term.
    #[error(
        "{name:?} is no term: write {nearest}: instead, or one of {}",
        all_terms()
    )]
    UnknownTerm {
        /// The name, cut at 64 characters.
        name: String,
        /// The nearest term.
        nearest: &'static str,
    },
    /// A value without a term.
    #[error(
        "{word:?} names no term: write actor:{word}, or another of {}",
        all_terms()
    )]
    NoTerm {
        /// The word, cut at 64 characters.
        word: String,
    },
    /// A term without a value.
    #[error("{term}: has no value: write it right after the colon, in quotes if it has spaces")]
    NoValue {
        /// The term.
        term: &'static str,
    },
    /// A quotation that does not end, or is followed by more than a space.
    #[error(
        "the quotation after {term}: must end with \" and a space; write \\\" for a quote in it"
    )]
    Quotation {
        /// The term.
        term: &'static str,
    },
    /// No kind has that name.
    #[error("{value:?} is no kind of entry: the nearest is {nearest}")]
    UnknownKind {
        /// The value, cut at 64 characters.
        value: String,
        /// The nearest kind.
        nearest: &'static str,
    },
    /// No instant has that name.
    #[error("since:{value} is no time: write 7d, 12h, 30m, 2026-11-24 or 2026-11-24T10:00:00Z")]
    UnknownTime {
        /// The value, cut at 64 characters.
        value: String,
    },
    /// Two instants to begin at.
    #[error("since: is there twice: keep one")]
    SinceTwice,
}

impl Query {
    /// Takes a query apart. `now` is what relative times count from; an empty text matches every
    /// entry.
    ///
    /// # Errors
    /// What is wrong with the text, with the nearest thing that would be right.
    pub fn parse(text: &str, now: Nanos) -> Result<Query, QueryError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(QueryError::TextTooLong { bytes: text.len() });
        }
        let mut query = Query::default();
        let mut rest = text.trim_start();
        let mut count = 0;
        while !rest.is_empty() {
            count += 1;
            if count > TERM_COUNT_MAX {
                return Err(QueryError::TooManyTerms);
            }
            let (term, after) = take_term(rest)?;
            let (value, after) = take_value(term, after)?;
            query.add(term, &value, now)?;
            rest = after.trim_start();
        }
        Ok(query)
    }

    fn add(&mut self, term: &'static str, value: &str, now: Nanos) -> Result<(), QueryError> {
        match term {
            "actor" => self.actors.push(Pattern::new(value)),
            "op" => self.operations.push(Pattern::new(value)),
            "db" => self.databases.push(Pattern::new(value)),
            "kind" => self.kinds.push(kind(value)?),
            _ if self.since.is_some() => return Err(QueryError::SinceTwice),
            _ => {
                let unknown = || QueryError::UnknownTime {
                    value: short(value),
                };
                self.since = Some(since(value, now).ok_or_else(unknown)?);
            }
        }
        Ok(())
    }

    /// Whether the entry is one that the query asks for. A part that was erased cannot match: a
    /// name that is gone is not found, its pseudonym in the facts still is.
    #[must_use]
    pub fn matches(&self, stored: &StoredEntry) -> bool {
        let entry = &stored.entry;
        let early = self.since.is_some_and(|since| entry.event_time < since);
        if early || !(self.kinds.is_empty() || self.kinds.contains(&entry.kind)) {
            return false;
        }
        if self.actors.is_empty() && self.operations.is_empty() && self.databases.is_empty() {
            return true;
        }
        let seen = Seen::of(stored);
        one_of(&self.actors, |value| seen.actor_fits(value))
            && one_of(&self.operations, |value| seen.operation_fits(value))
            && one_of(&self.databases, |value| seen.database_fits(value))
    }
}

/// Whether a term matches: it does when it was not named at all.
fn one_of(values: &[Pattern], fits: impl Fn(&Pattern) -> bool) -> bool {
    values.is_empty() || values.iter().any(fits)
}

/// The term that the text begins with, and what follows its colon.
fn take_term(text: &str) -> Result<(&'static str, &str), QueryError> {
    let word = text.split(char::is_whitespace).next().unwrap_or(text);
    let Some((name, _)) = word.split_once(':').filter(|(name, _)| !name.contains('"')) else {
        return Err(QueryError::NoTerm { word: short(word) });
    };
    let folded = name.to_lowercase();
    let term = TERMS.into_iter().find(|term| *term == folded);
    let term = term.ok_or_else(|| QueryError::UnknownTerm {
        name: short(name),
        nearest: nearest_term(&folded),
    })?;
    let after = text.get(name.len().saturating_add(1)..).unwrap_or_default();
    Ok((term, after))
}

/// The value that the text begins with, without its quotes, and what follows it.
fn take_value<'t>(term: &'static str, text: &'t str) -> Result<(String, &'t str), QueryError> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        let (value, after) = text.split_at_checked(end).unwrap_or((text, ""));
        return match value {
            "" => Err(QueryError::NoValue { term }),
            value if value.contains('"') => Err(QueryError::Quotation { term }),
            value => Ok((value.to_owned(), after)),
        };
    };
    let mut value = String::new();
    let mut chars = quoted.chars();
    loop {
        match chars.next() {
            Some('"') => break,
            Some('\\') => match chars.next() {
                Some(escaped @ ('"' | '\\')) => value.push(escaped),
                _ => return Err(QueryError::Quotation { term }),
            },
            Some(plain) => value.push(plain),
            None => return Err(QueryError::Quotation { term }),
        }
    }
    let after = chars.as_str();
    if value.is_empty() {
        return Err(QueryError::NoValue { term });
    }
    if after
        .chars()
        .next()
        .is_some_and(|next| !next.is_whitespace())
    {
        return Err(QueryError::Quotation { term });
    }
    Ok((value, after))
}

fn kind(value: &str) -> Result<Kind, QueryError> {
    let folded = value.to_lowercase();
    Kind::from_name(&folded).ok_or_else(|| {
        let names = Kind::ALL.iter().filter_map(|kind| kind.name());
        QueryError::UnknownKind {
            value: short(value),
            nearest: nearest(&folded, names).unwrap_or("event"),
        }
    })
}

fn nearest_term(name: &str) -> &'static str {
    let meant = OTHER_NAMES.iter().find(|(other, _)| *other == name);
    meant
        .map(|(_, term)| *term)
        .or_else(|| nearest(name, TERMS.into_iter()))
        .unwrap_or("actor")
}

fn nearest(word: &str, names: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    names.min_by_key(|name| strsim::damerau_levenshtein(word, name))
}

fn short(text: &str) -> String {
    text.chars().take(64).collect()
}

fn all_terms() -> String {
    TERMS.map(|term| format!("{term}:")).join(" ")
}
