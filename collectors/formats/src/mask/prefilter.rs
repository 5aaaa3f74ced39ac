//! Whether a text can hold a secret at all: one pass without state, so that clean text costs
//! little.
//!
//! Each pattern has a rare pair of letters; a table over pairs of classes of bytes says where to
//! look closer, and which patterns to look for. Not here: deciding what is a secret (see `rules`).

/// Lower-case patterns, with the offset of the pair that is looked for; those of one pair together.
const PATTERNS: &[(&[u8], usize)] = &[
    (b"pass", 1),
    (b"pwd", 1),
    (b"psw", 1),
    (b"identified", 5),
    (b"secret", 2),
    (b"credential", 7),
    (b"crypt", 3),
    (b"api_key", 2),
    (b"apikey", 2),
    (b"api-key", 1),
    (b"access_key", 6),
    (b"private_key", 7),
    (b"privatekey", 6),
    (b"encryption_key", 10),
    (b"account_key", 7),
    (b"accesskey", 5),
    (b"private key", 9),
    (b"accountkey", 6),
    (b"sslkey", 2),
    (b"token", 1),
    (b"bearer", 0),
    (b"authorization", 7),
    (b"hmac", 0),
    (b"pgp_", 1),
    (b"://", 1),
    (b"program", 3),
    (b"cvv", 1),
    (b"cvc", 1),
    (b"cav2", 2),
    (b"csc", 0),
    (b"track1", 4),
    (b"track2", 4),
    (b"track_", 4),
    (b"trackd", 4),
    (b"pin_block", 3),
    (b"pinblock", 2),
    (b"card_ver", 4),
    (b"security_code", 2),
    (b"uescape", 2),
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
        let (any, last) = pairs(block, before);
        if any && hit_in(text, at, before, block) {
            return true;
        }
        before = last;
        at += block.len();
    }
    pairs(rest, before).0 && hit_in(text, at, before, rest)
}

/// Whether the pair of some pattern is in a block behind a byte of class `before`; the class of
/// its last byte.
#[inline]
fn pairs(block: &[u8], before: u8) -> (bool, u8) {
    let mut any = 0;
    let mut last = before;
    for byte in block {
        let now = class_of(*byte);
        any |= pair_of(last, now);
        last = now;
    }
    (any != 0, last)
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

/// Whether one of the patterns that have their pair at `at` is there. They follow each other from
/// the `first` on.
fn pattern_at(text: &[u8], at: usize, first: u8) -> bool {
    let from = usize::from(first).saturating_sub(1);
    let same = |(pattern, offset): &&(&[u8], usize)| {
        let pair = pattern.get(*offset).zip(pattern.get(offset + 1));
        pair.is_some_and(|(a, b)| pair_of(class_of(*a), class_of(*b)) == first)
    };
    PATTERNS
        .get(from..)
        .unwrap_or(&[])
        .iter()
        .take_while(same)
        .any(|(pattern, offset)| {
            let start = at.wrapping_sub(*offset);
            text.get(start..start.wrapping_add(pattern.len()))
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
