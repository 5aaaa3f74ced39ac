//! One line of server_audit: its fields, checked.
//!
//! MariaDB Knowledge Base, "MariaDB Audit Plugin - Log Format": timestamp, serverhost, username,
//! host, connectionid, queryid, operation, database, object, retcode. Only the object of QUERY
//! stands in quotes, with `\'`, `\\`, `\n`, `\r`, `\t` and `\0`; every other field is raw. So the
//! first eight commas count from the left and the last one from the right, and a line that then
//! does not fit is no record. Not here: which lines are believed after one that does not fit.

use std::borrow::Cow;

use jiff::civil::DateTime;

use crate::scan;
use crate::stream::NotARow;
use crate::zone::two;

/// The fields of one line.
#[derive(Clone, Debug)]
pub(crate) struct Line<'i> {
    pub(crate) timestamp: &'i str,
    pub(crate) time: DateTime,
    pub(crate) serverhost: &'i str,
    pub(crate) username: Cow<'i, str>,
    pub(crate) host: Cow<'i, str>,
    pub(crate) connection: u64,
    pub(crate) query: u64,
    pub(crate) operation: Operation,
    pub(crate) database: Cow<'i, str>,
    /// Of QUERY, the statement with its escapes undone.
    pub(crate) object: Cow<'i, str>,
    /// The statement may show what its escapes hid.
    pub(crate) shows: bool,
    /// Of QUERY, how many bytes the statement has in the file.
    pub(crate) written: usize,
    pub(crate) retcode: Option<u32>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Connect,
    FailedConnect,
    Disconnect,
    Query,
    Read,
    Write,
    Create,
    Alter,
    Rename,
    Drop,
}

impl Operation {
    const ALL: [(&'static str, Operation); 10] = [
        ("CONNECT", Operation::Connect),
        ("FAILED_CONNECT", Operation::FailedConnect),
        ("DISCONNECT", Operation::Disconnect),
        ("QUERY", Operation::Query),
        ("READ", Operation::Read),
        ("WRITE", Operation::Write),
        ("CREATE", Operation::Create),
        ("ALTER", Operation::Alter),
        ("RENAME", Operation::Rename),
        ("DROP", Operation::Drop),
    ];

    fn named(name: &str) -> Option<Operation> {
        let found = Self::ALL.iter().find(|(word, _)| *word == name);
        found.map(|(_, operation)| *operation)
    }

    /// The word in the log.
    pub(crate) fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(_, one)| *one == self);
        found.map_or("", |(word, _)| word)
    }

    /// Whether the record is about a login.
    pub(crate) fn is_connection(self) -> bool {
        matches!(
            self,
            Operation::Connect | Operation::FailedConnect | Operation::Disconnect
        )
    }
}

/// Reads a line; of one that was `cut`, the retcode is missing.
pub(crate) fn read(text: &str, cut: bool) -> Result<Line<'_>, NotARow> {
    let mut behind = Some(text);
    let mut next = || {
        let now = behind.ok_or(NotARow("not ten fields"))?;
        let end = scan::first(now.as_bytes(), b',');
        behind = end.and_then(|end| now.get(end + 1..));
        Ok(now.get(..end.unwrap_or(now.len())).unwrap_or(now))
    };
    let timestamp = next()?;
    let time = civil_time(timestamp).ok_or(NotARow("timestamp is no time"))?;
    let (serverhost, username, host) = (next()?, next()?, next()?);
    let number = |text: &str| -> Option<u64> {
        // Too short for a card number that strayed here, since numbers are not masked.
        let digits = (1..=12).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|_| digits)
    };
    let connection = number(next()?).ok_or(NotARow("connection id is no number"))?;
    let query = number(next()?).ok_or(NotARow("query id is no number"))?;
    let operation = Operation::named(next()?).ok_or(NotARow("operation is not known"))?;
    let database = next()?;
    let rest = behind.ok_or(NotARow("not ten fields"))?;
    let (object, retcode) = match rest.rsplit_once(',') {
        _ if cut => (rest, ""),
        Some((object, retcode)) => (object, retcode),
        None => return Err(NotARow("not ten fields")),
    };
    let retcode = if retcode.is_empty() {
        None
    } else {
        let number = number(retcode).and_then(|code| u32::try_from(code).ok());
        Some(number.ok_or(NotARow("retcode is no number"))?)
    };
    let (object, shows, written) = object_of(operation, object, retcode.is_some(), cut)?;
    Ok(Line {
        timestamp,
        time,
        serverhost,
        username: Cow::Borrowed(username),
        host: Cow::Borrowed(host),
        connection,
        query,
        operation,
        database: Cow::Borrowed(database),
        object,
        shows,
        written,
        retcode,
    })
}

fn object_of(
    operation: Operation,
    object: &str,
    has_retcode: bool,
    cut: bool,
) -> Result<(Cow<'_, str>, bool, usize), NotARow> {
    if operation == Operation::Query {
        let inside = object.strip_prefix('\'');
        let inside = inside.ok_or(NotARow("object of QUERY is not in quotes"))?;
        let inside = match inside.strip_suffix('\'') {
            Some(inside) => inside,
            None if cut => inside,
            None => return Err(NotARow("object of QUERY is not in quotes")),
        };
        return if !has_retcode && !cut {
            Err(NotARow("QUERY has no retcode"))
        } else {
            let (object, shows) = unescape(inside);
            Ok((object, shows, inside.len()))
        };
    }
    if operation.is_connection() {
        return match (object.is_empty(), has_retcode) {
            (true, true) => Ok((Cow::Borrowed(""), false, 0)),
            _ => Err(NotARow("a login has an object or no retcode")),
        };
    }
    if object.is_empty() || has_retcode {
        return Err(NotARow("access to a table without one, or with a retcode"));
    }
    Ok((Cow::Borrowed(object), false, 0))
}

/// Undoes the plugin's escapes; one that was cut in two loses its backslash. Whether the text may
/// now show what was hidden before: a quote or a line end in the place of its escape parts what
/// stands around it as the escape did, so no mark of a secret and no card number appears by that.
fn unescape(text: &str) -> (Cow<'_, str>, bool) {
    if memchr::memchr(b'\\', text.as_bytes()).is_none() {
        return (Cow::Borrowed(text), false);
    }
    let mut out = String::with_capacity(text.len());
    let mut shows = false;
    let mut rest = text;
    while let Some(at) = scan::first(rest.as_bytes(), b'\\') {
        out.push_str(rest.get(..at).unwrap_or(""));
        let named = match rest.as_bytes().get(at + 1) {
            Some(b'\'') => Some('\''),
            Some(b'n') => Some('\n'),
            Some(b'r') => Some('\r'),
            _ => None,
        };
        if let Some(named) = named {
            out.push(named);
            rest = rest.get(at + 2..).unwrap_or("");
            continue;
        }
        shows = true;
        let mut chars = rest.get(at + 1..).unwrap_or("").chars();
        match chars.next() {
            Some('t') => out.push('\t'),
            Some('0') => out.push('\0'),
            // A byte that was not UTF-8: a backslash of the statement itself stands twice.
            Some('x') => out.push_str("\\x"),
            other => out.extend(other),
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
    (Cow::Owned(out), shows)
}

/// The inverse of the plugin's reading: a statement as it stands in the file.
pub(crate) fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0' => out.push_str("\\0"),
            '\'' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
}

/// `YYYYMMDD HH:MM:SS`, in the server's own time.
pub(crate) fn civil_time(text: &str) -> Option<DateTime> {
    let [
        y0,
        y1,
        y2,
        y3,
        mo0,
        mo1,
        d0,
        d1,
        b' ',
        h0,
        h1,
        b':',
        mi0,
        mi1,
        b':',
        s0,
        s1,
    ] = *text.as_bytes().as_array()?
    else {
        return None;
    };
    let year = i16::from(two(y0, y1)?) * 100 + i16::from(two(y2, y3)?);
    let (month, day) = (two(mo0, mo1)?, two(d0, d1)?);
    DateTime::new(
        year,
        month,
        day,
        two(h0, h1)?,
        two(mi0, mi1)?,
        two(s0, s1)?,
        0,
    )
    .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mask::is_clean;

    #[test]
    fn lines_fit_or_are_refused() {
        let head = "20261123 04:42:54,vm,root,localhost,7,10,";
        let read_tail = |tail: &str| {
            let text = format!("{head}{tail}");
            read(&text, false).map(|line| (line.object.into_owned(), line.retcode))
        };
        for (tail, object, retcode) in [
            (
                "QUERY,cards,'SELECT \\'a,b\\', 1',0",
                "SELECT 'a,b', 1",
                Some(0),
            ),
            (
                "QUERY,,'a\\\\nb\\\\\\'c\\nd',1064",
                "a\\nb\\'c\nd",
                Some(1064),
            ),
            ("QUERY,,'cut \\',0", "cut ", Some(0)),
            ("QUERY,,'',0", "", Some(0)),
            ("READ,mysql,db,", "db", None),
            ("RENAME,d,t1|d.t2,", "t1|d.t2", None),
            ("CONNECT,,,0", "", Some(0)),
            ("FAILED_CONNECT,,,1045", "", Some(1045)),
        ] {
            assert_eq!(read_tail(tail), Ok((object.to_owned(), retcode)), "{tail}");
        }
        for tail in [
            "QUERY,cards,SELECT 1,0",
            "QUERY,cards,'SELECT 1,0",
            "QUERY,cards,'SELECT 1',x",
            "QUERY,cards,'SELECT 1',",
            "QUERY,cards",
            "CONNECT,,x,0",
            "CONNECT,,,",
            "READ,mysql,db,0",
            "READ,mysql,,",
            "LOOK,mysql,db,",
        ] {
            assert!(read_tail(tail).is_err(), "{tail}");
        }
        for text in [
            "20261123 04:42:54,vm,gh",
            "20261323 04:42:54,vm,root,localhost,7,10,CONNECT,,,0",
            "20261123 04:42:54,vm,a,b,localhost,7,10,CONNECT,,,0",
            "20261123 04:42:54,vm,root,localhost,7,+1,CONNECT,,,0",
        ] {
            assert!(read(text, false).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_statement_escaped_is_read_back(text in "[a'\\\\\n\r\t\0,nr0]{0,20}") {
            let mut written = String::new();
            escape(&text, &mut written);
            assert_eq!(unescape(&written).0, text);
        }

        #[test]
        fn what_may_show_nothing_shows_nothing(
            pieces in proptest::collection::vec(
                "\\\\[nr't0x\\\\4e]|[ p4-]|pas|ass|word|41111|11111111|3431|\\$|;|://|PC{1}",
                0..12,
            ),
        ) {
            let text = pieces.concat();
            let (undone, shows) = unescape(&text);
            if !shows && is_clean(&text) {
                proptest::prop_assert!(is_clean(&undone), "{:?}", text);
            }
        }

        #[test]
        fn a_secret_in_two_pieces_shows_only_where_it_is_said(
            secret in "password|4111111111111111",
            at in 1_usize..8,
            escape in "\\\\[nr't0x\\\\-]",
        ) {
            let (before, behind) = secret.split_at(at);
            let text = [before, &escape, behind].concat();
            let (undone, shows) = unescape(&text);
            proptest::prop_assert!(shows || !is_clean(&text) || is_clean(&undone), "{}", text);
        }
    }
}
