//! Whether a text can hold a secret at all: one pass without state, so that clean text costs little.
//!
//! Each pattern has a rare pair of letters; a table of 1,024 flags over pairs of bytes (five bits each)
//! says where to look closer. Not here: deciding what is a secret (see `rules`).

/// Lower-case patterns, with the offset of the pair that is looked for.
const PATTERNS: &[(&[u8], usize)] = &[
    (b"pass", 2),
    (b"pwd", 1),
    (b"identified", 4),
    (b"secret", 2),
    (b"credential", 0),
    (b"api_key", 4),
    (b"apikey", 3),
    (b"access_key", 7),
    (b"accesskey", 6),
    (b"private_key", 8),
    (b"private key", 8),
    (b"encryption_key", 11),
    (b"account_key", 8),
    (b"accountkey", 7),
    (b"sslkey", 3),
    (b"token", 2),
    (b"bearer", 0),
    (b"authorization", 0),
    (b"crypt", 2),
    (b"hmac", 0),
    (b"pgp_", 0),
    (b"://", 0),
    (b"program", 3),
    (b"cvv", 1),
    (b"cvc", 1),
    (b"cav2", 1),
    (b"csc", 0),
    (b"track", 3),
    (b"pin_block", 2),
    (b"pinblock", 2),
    (b"card_ver", 3),
    (b"security_code", 7),
];

const fn slot(first: u8, second: u8) -> usize {
    ((first & 31) as usize) << 5 | (second & 31) as usize
}

const PAIRS: [bool; 1024] = {
    let mut table = [false; 1024];
    let mut n = 0;
    while n < PATTERNS.len() {
        #[expect(
            clippy::indexing_slicing,
            reason = "constant: evaluated by the compiler"
        )]
        let (pattern, at) = PATTERNS[n];
        #[expect(
            clippy::indexing_slicing,
            reason = "constant: evaluated by the compiler"
        )]
        let place = slot(pattern[at], pattern[at + 1]);
        #[expect(
            clippy::indexing_slicing,
            reason = "constant: evaluated by the compiler"
        )]
        {
            table[place] = true;
        }
        n += 1;
    }
    table
};

/// Whether any pattern occurs in the text, in any case of letters.
pub(super) fn hit(text: &[u8]) -> bool {
    let mut before = match text.first() {
        Some(first) => *first,
        None => return false,
    };
    for (at, &byte) in text.iter().enumerate().skip(1) {
        if PAIRS.get(slot(before, byte)).copied().unwrap_or(false) && pattern_at(text, at - 1) {
            return true;
        }
        before = byte;
    }
    false
}

/// Whether a pattern has its pair at `at`.
#[cold]
fn pattern_at(text: &[u8], at: usize) -> bool {
    PATTERNS.iter().any(|(pattern, offset)| {
        at.checked_sub(*offset)
            .and_then(|start| text.get(start..start + pattern.len()))
            .is_some_and(|bytes| bytes.eq_ignore_ascii_case(pattern))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_is_found_wherever_it_stands_and_nothing_else() {
        for (pattern, _) in PATTERNS {
            for text in [pattern.to_vec(), pattern.to_ascii_uppercase()] {
                assert!(hit(&text));
                assert!(hit(&[b"x ", &*text].concat()));
                assert!(hit(&[&*text, b" y"].concat()));
                assert!(!hit(&text[1..]) || text.len() > 6, "{pattern:?}");
            }
        }
        for clean in [
            "",
            "p",
            "SELECT id, holder FROM payment WHERE id = 7",
            "primary key",
            "2026-11-23",
        ] {
            assert!(!hit(clean.as_bytes()), "{clean}");
        }
    }
}
