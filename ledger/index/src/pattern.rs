//! How a value of a query is compared with a text of an entry: letter case does not count, and
//! `*` stands for any run of characters, also none.
//!
//! Not here: which texts of an entry a term looks at.

use std::borrow::Cow;

/// One value of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    /// What stands between the stars, in lower case: never empty.
    pieces: Vec<String>,
}

impl Pattern {
    pub(crate) fn new(value: &str) -> Pattern {
        Pattern {
            pieces: fold(value).split('*').map(str::to_owned).collect(),
        }
    }

    /// Whether the whole of `text` fits.
    pub(crate) fn fits(&self, text: &str) -> bool {
        self.fits_folded(&fold(text))
    }

    /// Whether `text` fits, or its first words do: `create` fits `CREATE TABLE`.
    pub(crate) fn fits_first_words(&self, text: &str) -> bool {
        let text = fold(text);
        let ends = text.match_indices(' ').map(|(at, _)| at);
        ends.chain([text.len()])
            .any(|end| text.get(..end).is_some_and(|words| self.fits_folded(words)))
    }

    fn fits_folded(&self, text: &str) -> bool {
        let mut pieces = self.pieces.iter();
        let (Some(first), Some(last)) = (pieces.next(), pieces.next_back()) else {
            // No star: the piece is the whole value.
            return self.pieces.iter().all(|piece| piece == text);
        };
        let Some(mut rest) = text.strip_prefix(first.as_str()) else {
            return false;
        };
        // Taking each piece where it first occurs leaves the most for the pieces after it.
        for piece in pieces {
            let Some((_, after)) = rest.split_once(piece.as_str()) else {
                return false;
            };
            rest = after;
        }
        rest.ends_with(last.as_str())
    }
}

/// The text in lower case (Unicode's simple and special mappings, no locale).
fn fold(text: &str) -> Cow<'_, str> {
    if text
        .bytes()
        .any(|byte| byte.is_ascii_uppercase() || !byte.is_ascii())
    {
        Cow::Owned(text.to_lowercase())
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_fits_what_it_says() {
        for (pattern, text, expected) in [
            ("alice", "bob", false),
            ("alice", "alice2", false),
            ("alice", "malice", false),
            ("alice", "", false),
            ("", "a", false),
            ("a*", "ba", false),
            ("*a", "ab", false),
            ("a*a", "a", false),
            ("a*b*c", "acb", false),
            ("ab*ba", "aba", false),
            ("alice", "ALICE", true),
            ("ÄRGER", "ärger", true),
            ("", "", true),
            ("*", "", true),
            ("*", "anything", true),
            ("a*", "a", true),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("*b*", "abc", true),
            ("a*b*c", "a b b c", true),
            ("a**c", "abc", true),
            ("a*a", "aa", true),
        ] {
            assert_eq!(
                Pattern::new(pattern).fits(text),
                expected,
                "{pattern} {text}"
            );
        }
    }

    #[test]
    fn first_words_are_whole_words() {
        for (pattern, text, expected) in [
            ("creat", "CREATE TABLE", false),
            ("table", "CREATE TABLE", false),
            ("create table", "CREATE TABLESPACE", false),
            ("create", "CREATE TABLE", true),
            ("create table", "CREATE TABLE", true),
            ("create t*", "CREATE TABLE AS", true),
        ] {
            let found = Pattern::new(pattern).fits_first_words(text);
            assert_eq!(found, expected, "{pattern} {text}");
        }
    }
}
