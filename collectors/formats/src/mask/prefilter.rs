//! Whether a text can hold a secret at all: one pass without state, so that clean text costs
//! little.
//!
//! Each pattern has a rare pair of letters; a table over pairs of classes of bytes says where to
//! look closer, and which patterns to look for. Not here: deciding what is a secret (see `rules`).

/// Lower-case patterns, with the offset of the pair that is looked for; those of one pair together.
const PATTERNS: &[(&[u8], usize)] = &[
    (b"pass", 2),
    (b"pwd", 1),
    (b"identified", 4),
    (b"secret", 2),
    (b"credential", 0),
    (b"crypt", 0),
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
    (b"authorization", 6),
    (b"hmac", 0),
    (b"pgp_", 2),
    (b"://", 0),
    (b"program", 3),
    (b"cvv", 1),
    (b"cvc", 1),
    (b"cav2", 1),
    (b"csc", 0),
    (b"track1", 4),
    (b"track2", 4),
    (b"track_", 4),
    (b"trackd", 4),
    (b"pin_block", 3),
    (b"pinblock", 2),
    (b"card_ver", 4),
    (b"security_code", 7),
    (b"uescape", 5),
];

/// Five bits for a byte: letters without their case, the marks of the patterns, all others alike.
const fn class(byte: u8) -> u8 {
    match byte {
        b'a'..=b'z' => byte - b'a' + 1,
        b'A'..=b'Z' => byte - b'A' + 1,
        b'_' => 27,
        b':' => 28,
        b'/' => 29,
        b'1' => 30,
        b'2' => 31,
        _ => 0,
    }
}

const CLASSES: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0_u8;
    loop {
        #[expect(
            clippy::indexing_slicing,
            reason = "constant: evaluated by the compiler"
        )]
        {
            table[byte as usize] = class(byte);
        }
        if byte == u8::MAX {
            break;
        }
        byte += 1;
    }
    table
};

const fn slot(first: u8, second: u8) -> usize {
    (first as usize) << 5 | second as usize
}

/// For each pair of classes, 1 + the first pattern that is looked for there; 0 for none.
const PAIRS: [u8; 1024] = {
    let mut table = [0; 1024];
    let mut n = 0_u8;
    while (n as usize) < PATTERNS.len() {
        #[expect(
            clippy::indexing_slicing,
            reason = "constant: evaluated by the compiler"
        )]
        {
            let (pattern, at) = PATTERNS[n as usize];
            let place = slot(class(pattern[at]), class(pattern[at + 1]));
            if table[place] == 0 {
                table[place] = n + 1;
            }
        }
        n += 1;
    }
    table
};

#[inline]
fn class_of(byte: u8) -> u8 {
    CLASSES.get(usize::from(byte)).copied().unwrap_or(0)
}

#[inline]
fn pair_of(first: u8, second: u8) -> u8 {
    PAIRS
        .get(slot(first & 31, second & 31))
        .copied()
        .unwrap_or(0)
}

/// Whether any pattern occurs in the text, in any case of letters.
pub(super) fn hit(text: &[u8]) -> bool {
    let (blocks, rest) = text.as_chunks::<16>();
    let mut before = 0;
    let mut at = 0;
    for block in blocks {
        // One branch for sixteen bytes: most blocks have no pair at all.
        let mut any = 0;
        let mut last = before;
        for byte in block {
            let now = class_of(*byte);
            any |= pair_of(last, now);
            last = now;
        }
        if any != 0 && hit_in(text, at, before, block) {
            return true;
        }
        before = last;
        at += block.len();
    }
    hit_in(text, at, before, rest)
}

/// Whether a pattern has its pair in a block that begins at `at`, behind a byte of class `before`.
fn hit_in(text: &[u8], at: usize, before: u8, block: &[u8]) -> bool {
    let mut last = before;
    block.iter().enumerate().any(|(n, byte)| {
        let now = class_of(*byte);
        let first = pair_of(last, now);
        last = now;
        first != 0 && pattern_at(text, (at + n).saturating_sub(1), first)
    })
}

/// Whether one of the patterns from the `first` on has its pair at `at`. Those behind that have
/// another pair do not match there, so nothing is lost by trying them, and the first byte settles
/// most.
fn pattern_at(text: &[u8], at: usize, first: u8) -> bool {
    let from = usize::from(first).saturating_sub(1);
    PATTERNS
        .get(from..)
        .unwrap_or(&[])
        .iter()
        .any(|(pattern, offset)| {
            let start = at.wrapping_sub(*offset);
            let begins = text.get(start).zip(pattern.first());
            begins.is_some_and(|(byte, first)| byte.to_ascii_lowercase() == *first)
                && text
                    .get(start..start + pattern.len())
                    .is_some_and(|b| b.eq_ignore_ascii_case(pattern))
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
            }
        }
        for clean in [
            "",
            "p",
            "SELECT id, holder FROM payment WHERE id = 7",
            "primary key AUDIT: SESSION backend",
            "2026-11-23",
        ] {
            assert!(!hit(clean.as_bytes()), "{clean}");
        }
    }
}
