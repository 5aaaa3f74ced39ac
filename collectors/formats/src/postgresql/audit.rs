//! pgaudit's own text inside a message: `AUDIT: ` and CSV of nine or ten fields.
//!
//! pgaudit 1.7, README "Format": type, statement and substatement number, class, command, object
//! type, object name, statement, parameter, and rows while `pgaudit.log_rows` is on (a session's
//! setting, so both counts alternate in one file). Not here: the class of the event.

use std::borrow::Cow;

use super::row::COUNT_DIGITS_MAX;
use crate::csv;

/// The fields of one AUDIT text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Audit<'m> {
    /// `SESSION` or `OBJECT`.
    pub(crate) audit_type: Cow<'m, str>,
    /// Number of the statement in its session.
    pub(crate) statement_id: i64,
    /// Number of the statement inside the statement.
    pub(crate) substatement_id: i64,
    /// `READ`, `WRITE`, `FUNCTION`, `ROLE`, `DDL`, `MISC` or `MISC_SET`.
    pub(crate) class: Cow<'m, str>,
    /// Such as `CREATE TABLE`.
    pub(crate) command: Cow<'m, str>,
    /// Such as `TABLE`; empty when none.
    pub(crate) object_type: Cow<'m, str>,
    /// Such as `public.payment`; empty when none.
    pub(crate) object_name: Cow<'m, str>,
    /// The statement, or `<previously logged>`, `<not logged>`.
    pub(crate) statement: Cow<'m, str>,
    /// Values as CSV, `<none>` or `<not logged>`.
    pub(crate) parameters: Cow<'m, str>,
    /// Rows, when logged.
    pub(crate) rows: Option<i64>,
    quoted: Vec<bool>,
}

/// What stands before the fields.
const MARK: &str = "AUDIT: ";

/// Whether a message is pgaudit's.
pub(crate) fn is_audit(message: &str) -> bool {
    message.starts_with(MARK)
}

/// Reads a message of pgaudit; of a `cut` one, as far as it goes.
pub(crate) fn read(message: &str, cut: bool) -> Result<Audit<'_>, &'static str> {
    let text = message.strip_prefix(MARK).ok_or("not an AUDIT text")?;
    let fields = csv::split(text, cut).ok_or("AUDIT text is not a CSV record")?;
    from_fields(fields, cut)
}

/// Reads a message of pgaudit that may be the only copy of its text.
pub(crate) fn take(message: Cow<'_, str>, cut: bool) -> Result<Audit<'_>, &'static str> {
    match message {
        Cow::Borrowed(message) => read(message, cut),
        Cow::Owned(message) => read(&message, cut).map(Audit::into_owned),
    }
}

/// Reads the fields of an AUDIT text; of a `cut` one, as far as they go.
pub(crate) fn from_fields(
    fields: Vec<csv::Field<'_>>,
    cut: bool,
) -> Result<Audit<'_>, &'static str> {
    let enough = if cut {
        fields.len() >= 8
    } else {
        matches!(fields.len(), 9 | 10)
    };
    if !enough {
        return Err("AUDIT text has not nine or ten fields");
    }
    let quoted = fields.iter().map(|field| field.quoted).collect();
    let mut texts = fields.into_iter().map(|field| field.text);
    let mut next = || texts.next().unwrap_or(Cow::Borrowed(""));
    let audit_type = next();
    if !matches!(&*audit_type, "SESSION" | "OBJECT") {
        return Err("AUDIT type is neither SESSION nor OBJECT");
    }
    let statement_id = number(&next()).ok_or("AUDIT statement id is no number")?;
    let substatement_id = number(&next()).ok_or("AUDIT substatement id is no number")?;
    let (class, command, object_type, object_name) = (next(), next(), next(), next());
    let (statement, parameters, rows) = (next(), next(), texts.next());
    let word = |c: u8| c.is_ascii_uppercase() || c == b'_';
    if class.is_empty() || class.len() > 16 || !class.bytes().all(word) {
        return Err("AUDIT class is no word");
    }
    let rows = match rows {
        None => None,
        Some(rows) => Some(number(&rows).ok_or("AUDIT rows are no number")?),
    };
    Ok(Audit {
        audit_type,
        statement_id,
        substatement_id,
        class,
        command,
        object_type,
        object_name,
        statement,
        parameters,
        rows,
        quoted,
    })
}

/// A count: too short for a card number that strayed here, since numbers are not masked.
fn number(text: &str) -> Option<i64> {
    text.parse().ok().filter(|_| text.len() <= COUNT_DIGITS_MAX)
}

/// A word that pgaudit writes in most records, which needs no copy.
fn word(text: &str) -> Option<&'static str> {
    Some(match text {
        "" => "",
        "<none>" => "<none>",
        "<not logged>" => "<not logged>",
        "<previously logged>" => "<previously logged>",
        "SESSION" => "SESSION",
        "OBJECT" => "OBJECT",
        "READ" => "READ",
        "WRITE" => "WRITE",
        "FUNCTION" => "FUNCTION",
        "ROLE" => "ROLE",
        "DDL" => "DDL",
        "MISC" => "MISC",
        "MISC_SET" => "MISC_SET",
        "SELECT" => "SELECT",
        "INSERT" => "INSERT",
        "UPDATE" => "UPDATE",
        "DELETE" => "DELETE",
        "TABLE" => "TABLE",
        "INDEX" => "INDEX",
        "SEQUENCE" => "SEQUENCE",
        _ => return None,
    })
}

/// A text that outlives what it was read from.
fn own(text: Cow<'_, str>) -> Cow<'static, str> {
    match text {
        Cow::Owned(text) => Cow::Owned(text),
        Cow::Borrowed(text) => match word(text) {
            Some(word) => Cow::Borrowed(word),
            None => Cow::Owned(text.to_owned()),
        },
    }
}

impl Audit<'_> {
    /// The same, independent of the message.
    fn into_owned(self) -> Audit<'static> {
        Audit {
            audit_type: own(self.audit_type),
            statement_id: self.statement_id,
            substatement_id: self.substatement_id,
            class: own(self.class),
            command: own(self.command),
            object_type: own(self.object_type),
            object_name: own(self.object_name),
            statement: own(self.statement),
            parameters: own(self.parameters),
            rows: self.rows,
            quoted: self.quoted,
        }
    }

    /// The message again, as pgaudit wrote it when nothing was changed.
    pub(crate) fn message(&self) -> String {
        let mut out = MARK.to_owned();
        self.write(&mut out);
        out
    }

    /// The fields as CSV.
    pub(crate) fn write(&self, out: &mut String) {
        let numbers = (
            self.statement_id.to_string(),
            self.substatement_id.to_string(),
            self.rows.map(|rows| rows.to_string()),
        );
        let texts = [
            Some(&*self.audit_type),
            Some(numbers.0.as_str()),
            Some(numbers.1.as_str()),
            Some(&*self.class),
            Some(&*self.command),
            Some(&*self.object_type),
            Some(&*self.object_name),
            Some(&*self.statement),
            Some(&*self.parameters),
            numbers.2.as_deref(),
        ];
        let quoted = self.quoted.iter().copied();
        csv::join(texts.into_iter().flatten().zip(quoted), out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nine_or_ten_fields_and_nothing_else() {
        for (text, rows) in [
            ("AUDIT: SESSION,1,1,READ,SELECT,,,select 1,<none>", None),
            (
                "AUDIT: SESSION,1,1,READ,SELECT,,,select 1,<none>,7",
                Some(7),
            ),
            (
                "AUDIT: OBJECT,1,2,WRITE,INSERT,TABLE,public.t,\"insert ('a,\"\"b\"\"')\",\"1,\"\"2\"\"\"",
                None,
            ),
            ("AUDIT: SESSION,1,1,READ,SELECT,,,\"a\nb\",<none>", None),
        ] {
            let audit = read(text, false).unwrap();
            assert_eq!(audit.rows, rows);
            assert_eq!(audit.message(), text);
        }
        for text in [
            "AUDIT: SESSION,1,1,READ,SELECT,,,select 1",
            "AUDIT: SESSION,1,1,READ,SELECT,,,select 1,<none>,x",
            "AUDIT: SESSION,1,1,READ,SELECT,,,select 1,<none>,7,8",
            "AUDIT: SITTING,1,1,READ,SELECT,,,select 1,<none>",
            "AUDIT: SESSION,x,1,READ,SELECT,,,select 1,<none>",
            "AUDIT: SESSION,1,1,re'ad,SELECT,,,select 1,<none>",
            "AUDIT: SESSION,1,1,READ,SELECT,,,\"a\"b,<none>",
            "audit: SESSION,1,1,READ,SELECT,,,select 1,<none>",
        ] {
            assert!(read(text, false).is_err(), "{text}");
        }
    }
}
