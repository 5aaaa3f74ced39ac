//! Secrets that need no quoting to be recognised: addresses with a password, bearer tokens, private
//! keys, options of command lines, and where an unquoted value ends.
//!
//! Not here: names beside values (see `rules`), card numbers (see `pan`).

use super::{Found, Kind, MASK};

/// Masks in plain text; `None` when nothing changed.
pub(super) fn mask(text: &str, found: &mut Found) -> Option<String> {
    let mut edits: Vec<(usize, usize)> = Vec::new();
    addresses(text, &mut edits);
    tokens(text, &mut edits);
    private_keys(text, &mut edits);
    edits.retain(|(start, end)| start < end && text.get(*start..*end) != Some(MASK));
    if edits.is_empty() {
        return None;
    }
    edits.sort_unstable();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for (start, end) in edits {
        if start >= at {
            out.push_str(text.get(at..start).unwrap_or(""));
            out.push_str(MASK);
            found.add(Kind::Password);
        }
        at = at.max(end);
    }
    out.push_str(text.get(at..).unwrap_or(""));
    Some(out)
}

/// `scheme://user:password@host` (RFC 3986, 3.2.1).
fn addresses(text: &str, edits: &mut Vec<(usize, usize)>) {
    let mut done = 0;
    for mark in memchr::memmem::find_iter(text.as_bytes(), b"://") {
        if mark < done {
            continue;
        }
        let from = mark + 3;
        let rest = text.get(from..).unwrap_or("");
        let word = rest.find(|c: char| c.is_whitespace() || matches!(c, '\'' | '"'));
        let word = rest.get(..word.unwrap_or(rest.len())).unwrap_or("");
        done = from + word.len();
        let authority = word
            .find(['/', '?', '#'])
            .and_then(|end| word.get(..end))
            .unwrap_or(word);
        // A password with unescaped slashes reaches further than the authority does.
        let place = if authority.contains('@') {
            authority
        } else {
            word
        };
        let Some((user_info, _)) = place.rsplit_once('@') else {
            continue;
        };
        if let Some((user, password)) = user_info.split_once(':') {
            let port = password.bytes().take_while(u8::is_ascii_digit).count();
            let is_port = !authority.contains('@')
                && port > 0
                && matches!(password.as_bytes().get(port), Some(b'/' | b'?' | b'#'));
            if !is_port {
                edits.push((
                    from + user.len() + 1,
                    from + user.len() + 1 + password.len(),
                ));
            }
        }
    }
}

/// `Bearer …`, `Basic …` after an authorization header, `token …`.
fn tokens(text: &str, edits: &mut Vec<(usize, usize)>) {
    const NAMES: [&str; 2] = ["bearer ", "authorization:"];
    for (at, _) in text.match_indices(['b', 'B', 'a', 'A']) {
        for name in NAMES {
            let found = text
                .get(at..at + name.len())
                .is_some_and(|t| t.eq_ignore_ascii_case(name));
            if !found {
                continue;
            }
            let start = at + name.len();
            let rest = text.get(start..).unwrap_or("");
            let blank = rest.len() - rest.trim_start_matches([' ', '\t']).len();
            let rest = rest.get(blank..).unwrap_or("");
            // A header's value goes on to the end of its line; a bearer token is one word.
            let stop = |c: char| match name {
                "bearer " => c.is_whitespace() || matches!(c, '\'' | '"'),
                _ => matches!(c, '\r' | '\n' | '\'' | '"'),
            };
            let length = rest.find(stop).unwrap_or(rest.len());
            edits.push((start + blank, start + blank + length));
        }
    }
}

/// `-----BEGIN … PRIVATE KEY-----` to its end (RFC 7468), or to the end of the text.
fn private_keys(text: &str, edits: &mut Vec<(usize, usize)>) {
    const BEGIN: &str = "PRIVATE KEY-----";
    const END: &str = "-----END";
    let mut from = 0;
    while let Some(at) = text.get(from..).and_then(|rest| rest.find(BEGIN)) {
        let start = from + at + BEGIN.len();
        let rest = text.get(start..).unwrap_or("");
        let length = rest.find(END).unwrap_or(rest.len());
        edits.push((start, start + length));
        let after = rest.get(length..).unwrap_or("");
        let end = after.find(BEGIN).map_or(after.len(), |at| at + BEGIN.len());
        from = start + length + end.min(64);
        while !text.is_char_boundary(from) {
            from += 1;
        }
    }
}

/// Where secrets lie in a command line: option letters that carry one.
pub(super) fn command_secrets(line: &str) -> Vec<(usize, usize)> {
    let mut edits = Vec::new();
    let lower = line.to_ascii_lowercase();
    let mysql = lower.contains("mysql") || lower.contains("maria");
    let mut next_is: Option<fn(&str) -> usize> = None;
    let mut at = 0;
    for word in line.split_inclusive(char::is_whitespace) {
        let start = at;
        at += word.len();
        let word = word.trim_end();
        if word.is_empty() {
            continue;
        }
        if let Some(skip) = next_is.take() {
            edits.push((start + skip(word), start + word.len()));
            continue;
        }
        let bare = word.trim_start_matches(['\'', '"']);
        match bare {
            "-u" | "--user" | "--proxy-user" => next_is = Some(after_colon),
            "--password" | "--pass" | "--passwd" | "-passin" | "-passout" => next_is = Some(|_| 0),
            "-p" | "-P" if lower.contains("sshpass") || lower.contains("zip") => {
                next_is = Some(|_| 0)
            }
            _ => {
                if let Some(rest) = bare.strip_prefix("-p") {
                    let digits = rest.bytes().all(|b| b.is_ascii_digit());
                    if !rest.is_empty() && (mysql || !digits) {
                        edits.push((start + word.len() - rest.len(), start + word.len()));
                    }
                }
            }
        }
    }
    edits
}

/// Of `user:password`, where the password begins; nothing of a word without a colon.
fn after_colon(word: &str) -> usize {
    word.find(':').map_or(word.len(), |colon| colon + 1)
}

/// The length of an unquoted value: to a blank or a quote, or to a separator that another name or
/// nothing follows.
pub(super) fn value_length(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        let ends = match byte {
            b'\'' | b'"' => true,
            b',' | b';' | b'&' | b'|' => at > 0 && names_follow(bytes.get(at + 1..).unwrap_or(&[])),
            b')' | b']' | b'}' => at > 0 && closes(bytes.get(at + 1..).unwrap_or(&[])),
            byte => byte.is_ascii_whitespace(),
        };
        if ends {
            return at;
        }
    }
    rest.len()
}

/// Whether what follows a separator is a blank, the end, or `name=`.
fn names_follow(rest: &[u8]) -> bool {
    // Names are short: the look ahead is bounded, so the whole stays linear.
    let name = rest
        .iter()
        .take(64)
        .take_while(|b| b.is_ascii_alphanumeric() || **b == b'_')
        .count();
    match rest.get(name) {
        None => true,
        Some(b'=' | b':') => name > 0,
        Some(byte) => name == 0 && (byte.is_ascii_whitespace() || matches!(byte, b'\'' | b'"')),
    }
}

/// Whether a closing bracket really closes: nothing but blanks, quotes and separators follow.
fn closes(rest: &[u8]) -> bool {
    rest.first().is_none_or(|byte| {
        byte.is_ascii_whitespace()
            || matches!(byte, b')' | b']' | b'}' | b';' | b',' | b'\'' | b'"')
    })
}
