//! Masking: card numbers, authentication data and passwords leave a text before anything is
//! written.
//!
//! [`mask_sql`] and [`mask_plain`] read one text; [`recheck`] looks at every free text of an event
//! again, as each door does. Order of work: a prefilter; then, only where it hits, a lexer and
//! rules on tokens (`lexer`, `rules`), which look inside literals; then what hides in plain text
//! (`plain`: addresses with a password, bearer tokens, private keys); then card numbers (`pan`).
//! Characters that are written as escapes count as what they are (`encoded`).
//! It fails closed: what mentions a secret in a form that no rule knows, or does not end, loses
//! all its literals. Every function is total and takes time linear in the text, and masking a
//! masked text changes nothing. Deliberately not here: what a masked event looks like elsewhere,
//! keyed digests (see the formats).

mod accounts;
mod edits;
mod encoded;
mod lexer;
mod names;
mod pan;
mod plain;
mod prefilter;
mod record;
mod rules;

use std::borrow::Cow;

use ledger_event::{Event, Redaction as EventRedaction, Text, TextRole};

pub(crate) use lexer::{Lexer, Token, TokenKind};
pub(crate) use record::{
    is_own_number, own_number, own_of_columns, own_of_pairs, says_nothing_else,
};

/// What stands in the place of a secret.
pub(crate) const MASK: &str = "***";

/// How often a text is looked at again after something in it was masked.
const LOOKS_MAX: u32 = 4;

/// Whose quoting rules a text follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Dialect {
    /// PostgreSQL 12 to 18 with `standard_conforming_strings = on`.
    #[default]
    PostgreSql,
    /// MariaDB and MySQL without `ANSI_QUOTES` and `NO_BACKSLASH_ESCAPES`.
    MariaDb,
}

/// What the operator may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct MaskOptions {
    /// Keep the first six digits of a card number beside the last four (PCI DSS allows both).
    pub keep_first6: bool,
}

/// What kind of thing was masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A card number.
    Pan,
    /// Magnetic stripe, verification code or PIN block.
    AuthData,
    /// A password, key or token.
    Password,
    /// A literal of a statement that mentions a secret in a form no rule knows.
    Literal,
}

impl Kind {
    const ALL: [Kind; 4] = [Kind::Pan, Kind::AuthData, Kind::Password, Kind::Literal];

    /// The word for it in `unmapped.redacted`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Pan => "pan",
            Kind::AuthData => "auth-data",
            Kind::Password => "password",
            Kind::Literal => "literal",
        }
    }
}

/// How many of one kind were masked in one text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redaction {
    /// What.
    pub kind: Kind,
    /// How many.
    pub count: u32,
}

/// A text after masking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Masked<'t> {
    /// The text; borrowed when nothing was masked.
    pub text: Cow<'t, str>,
    /// What was masked.
    pub redactions: Vec<Redaction>,
    /// The values bound to the statement may hold the secret, so all of them must be masked.
    pub parameters_too: bool,
}

/// How a text is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// A statement: its numbers are literals too.
    Statement,
    /// Prose, which may quote statements.
    Prose,
}

/// Counts of what was masked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    counts: [u32; 4],
    /// See [`Masked::parameters_too`].
    pub(crate) parameters_too: bool,
}

impl Found {
    pub(crate) fn add(&mut self, kind: Kind) {
        for (one, count) in Kind::ALL.iter().zip(&mut self.counts) {
            if *one == kind {
                *count = count.saturating_add(1);
            }
        }
    }

    /// Adds what was masked in a part.
    fn take(&mut self, masked: &Masked<'_>) {
        self.parameters_too |= masked.parameters_too;
        for redaction in &masked.redactions {
            for (one, count) in Kind::ALL.iter().zip(&mut self.counts) {
                if *one == redaction.kind {
                    *count = count.saturating_add(redaction.count);
                }
            }
        }
    }

    fn redactions(&self) -> Vec<Redaction> {
        let pairs = Kind::ALL.into_iter().zip(self.counts);
        pairs
            .filter(|(_, count)| *count > 0)
            .map(|(kind, count)| Redaction { kind, count })
            .collect()
    }
}

/// Masks a statement.
#[must_use]
pub fn mask_sql(text: &str, dialect: Dialect, options: MaskOptions) -> Masked<'_> {
    mask(text, dialect, Reading::Statement, options)
}

/// Masks a message, a name or a native record: anything that may quote statements and data.
#[must_use]
pub fn mask_plain(text: &str, dialect: Dialect, options: MaskOptions) -> Masked<'_> {
    mask(text, dialect, Reading::Prose, options)
}

/// Masks a native record: one that is a JSON object value by value, any other as prose.
#[must_use]
pub fn mask_record(text: &str, dialect: Dialect, options: MaskOptions) -> Masked<'_> {
    mask_native(text, 0, dialect, options)
}

/// The same of a record that ends with so many bytes of the server's own (see `record`).
pub(crate) fn mask_native(
    text: &str,
    own: usize,
    dialect: Dialect,
    options: MaskOptions,
) -> Masked<'_> {
    if text.starts_with('{') {
        let object = record::mask(text, own, dialect, options);
        return object.unwrap_or_else(|| mask_plain(text, dialect, options));
    }
    let (looked, number) = without_own(text, own);
    let mut masked = mask_plain(looked, dialect, options);
    match &mut masked.text {
        Cow::Owned(masked) => masked.push_str(number),
        all => *all = Cow::Borrowed(text),
    }
    // What was masked may have taken the column's comma or a quote with it, and then the next
    // reader would not know the number again.
    if own > 0 && own_number(&masked.text, "csvlog") != own {
        return mask_plain(text, dialect, options);
    }
    masked
}

/// A record in two: what may hold anything, and the bytes at its end that are the server's own.
pub(crate) fn without_own(text: &str, own: usize) -> (&str, &str) {
    let at = text.len().saturating_sub(own);
    text.split_at_checked(at).unwrap_or((text, ""))
}

/// Masks all of a text that must not stay.
#[must_use]
pub fn mask_whole(text: &str) -> Masked<'_> {
    if text.is_empty() || text == MASK {
        return Masked {
            text: Cow::Borrowed(text),
            redactions: vec![],
            parameters_too: false,
        };
    }
    let redactions = vec![Redaction {
        kind: Kind::Literal,
        count: 1,
    }];
    Masked {
        text: Cow::Borrowed(MASK),
        redactions,
        parameters_too: false,
    }
}

fn mask(text: &str, dialect: Dialect, reading: Reading, options: MaskOptions) -> Masked<'_> {
    let mut found = Found::default();
    let mut now: Cow<'_, str> = Cow::Borrowed(text);
    if is_suspicious(text) {
        // What one look masks may change how the next reads the quotes: look until nothing changes.
        for _ in 0..LOOKS_MAX {
            let address = plain::mask(&now, &mut found);
            let looked = address.as_deref().unwrap_or(&now);
            let changed = rules::mask(looked, dialect, reading, &mut found).or(address);
            let Some(changed) = changed else { break };
            now = Cow::Owned(changed);
        }
    }
    if pan::present(&now)
        && let Some(masked) = pan::mask(&now, options, &mut found)
    {
        now = Cow::Owned(masked);
    }
    Masked {
        text: now,
        redactions: found.redactions(),
        parameters_too: found.parameters_too,
    }
}

/// Whether a text holds nothing to mask: the fast way for clean ones. A part of a clean text
/// between commas or quotes is clean, since no secret's mark and no card number has one in it.
pub(crate) fn is_clean(text: &str) -> bool {
    if prefilter::hit(text.as_bytes()) {
        return false;
    }
    let otherwise = |byte: u8| !byte.is_ascii() || byte == b'\\';
    if !text.bytes().fold(false, |any, byte| any | otherwise(byte)) {
        // Every character is written as itself.
        return !pan::present_unescaped(text);
    }
    let escapes = encoded::any(text.as_bytes());
    if escapes && encoded::reveals(text) {
        return false;
    }
    let otherwise = escapes || encoded::other_script(text);
    let card = pan::present_unescaped(text) || (otherwise && pan::present_escaped(text));
    !card
}

/// Whether a text can hold a secret, perhaps behind escapes.
fn is_suspicious(text: &str) -> bool {
    let bytes = text.as_bytes();
    prefilter::hit(bytes) || (encoded::any(bytes) && encoded::reveals(text))
}

/// Looks at every free text of an event again and masks what should not be there. An event of
/// MariaDB is read by its own quoting rules, others by those of `dialect`. Answers how many things
/// were masked now; they are also noted in `unmapped.redacted`.
pub fn recheck(event: &mut Event<'_>, dialect: Dialect, options: MaskOptions) -> u32 {
    let dialect = match event.metadata.product.name.as_deref() {
        Some("MariaDB" | "MySQL") => Dialect::MariaDb,
        _ => dialect,
    };
    let own_in = own_in(event);
    let mut notes: Vec<(&'static str, Redaction)> = Vec::new();
    let mut parameters_too = false;
    let mut parameters_masked = false;
    notes.extend(recheck_uids(event, &own_in, dialect, options));
    event.texts_mut(&mut |field, text| {
        let whole = field.role == TextRole::Parameters && parameters_too && !is_masked_list(text);
        let raw = field.role == TextRole::Raw;
        if !whole && is_clean(text) && (!raw || says_nothing_else(text)) {
            return;
        }
        let masked = if whole {
            mask_whole(text)
        } else if field.role == TextRole::Statement {
            mask_sql(text, dialect, options)
        } else if raw {
            mask_native(text, own_in(text), dialect, options)
        } else {
            mask_plain(text, dialect, options)
        };
        parameters_too |= masked.parameters_too && field.role == TextRole::Statement;
        if masked.redactions.is_empty() {
            return;
        }
        parameters_masked |= whole;
        notes.extend(
            masked
                .redactions
                .iter()
                .map(|redaction| (field.path, *redaction)),
        );
        let changed = Text::from(masked.text.into_owned());
        *text = changed;
    });
    if parameters_masked {
        // The native record holds the same values at a place that only its format knows.
        if let Some(raw) = event.raw_data.as_mut().filter(|raw| raw.as_str() != MASK) {
            *raw = Text::from(MASK);
            notes.push((
                "raw_data",
                Redaction {
                    kind: Kind::Literal,
                    count: 1,
                },
            ));
        }
    }
    for (path, redaction) in &notes {
        note(event, path, *redaction);
    }
    notes
        .iter()
        .fold(0, |sum, (_, redaction)| sum.saturating_add(redaction.count))
}

/// How many bytes at the end of an event's native record are the server's own: those that its
/// form's reader takes for such, and the event says so too.
fn own_in<'e>(event: &Event<'e>) -> impl Fn(&str) -> usize + use<'e> {
    let understood = event.unmapped.unparsed.is_none() && event.metadata.is_truncated.is_none();
    let postgresql = event.metadata.product.name.as_deref() == Some("PostgreSQL");
    // Texts of a message that is read are borrowed from it, so these clones copy nothing.
    let log_format = event.metadata.log_format.clone();
    let log_format = log_format.filter(|_| understood && postgresql);
    let uids = [
        event.query_info.uid.clone(),
        event.unmapped.query_info.uid.clone(),
    ];
    move |raw| {
        let own = log_format
            .as_deref()
            .map_or(0, |name| own_number(raw, name));
        let (_, end) = without_own(raw, own);
        let number = end.strip_suffix('}').unwrap_or(end);
        let same = uids.iter().flatten().all(|uid| uid.as_str() == number);
        if same { own } else { 0 }
    }
}

/// The same of the query's identifiers, which may be numbers only where the native record has them
/// as the server's own.
fn recheck_uids(
    event: &mut Event<'_>,
    own_in: &dyn Fn(&str) -> usize,
    dialect: Dialect,
    options: MaskOptions,
) -> Vec<(&'static str, Redaction)> {
    let raw = event.raw_data.as_deref().unwrap_or("");
    let mut notes = Vec::new();
    for (path, uid) in [
        ("query_info.uid", &mut event.query_info.uid),
        (
            "unmapped.query_info.uid",
            &mut event.unmapped.query_info.uid,
        ),
    ] {
        let Some(text) = uid.as_mut().filter(|text| !is_clean(text)) else {
            continue;
        };
        if own_in(raw) > 0 {
            continue;
        }
        let masked = mask_plain(text, dialect, options);
        notes.extend(masked.redactions.iter().map(|redaction| (path, *redaction)));
        let now = Text::from(masked.text.into_owned());
        *text = now;
    }
    notes
}

/// Whether a list of parameters is masked already, one by one or as a whole.
fn is_masked_list(text: &str) -> bool {
    text.split(',')
        .all(|value| matches!(value, MASK | "" | "<none>" | "<not logged>"))
}

/// Notes what was masked in one field of an event.
pub fn note(event: &mut Event<'_>, path: &'static str, redaction: Redaction) {
    let kind = redaction.kind.name();
    let list = &mut event.unmapped.redacted;
    let same = list
        .iter_mut()
        .find(|one| one.path.as_deref() == Some(path) && one.kind.as_deref() == Some(kind));
    match same {
        Some(one) => one.count = Some(one.count.unwrap_or(0).saturating_add(redaction.count)),
        None => list.push(EventRedaction {
            path: Some(Text::from(path)),
            kind: Some(Text::from(kind)),
            count: Some(redaction.count),
        }),
    }
}

#[cfg(test)]
#[path = "mask_tests.rs"]
mod tests;
