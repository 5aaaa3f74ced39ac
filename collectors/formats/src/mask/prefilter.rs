//! Whether a text can hold a secret at all: one pass without state, so that clean text costs
//! little.
//!
//! Each pattern has three bytes in a row that are rare in logs. One of the two pairs in them stands
//! at an even place of the text, so looking at every second place finds every pattern; a table of
//! all pairs says where to look closer, and for which patterns. Not here: deciding what is a secret
//! (see `rules`).

/// Lower-case patterns, with the offset of the three bytes that are looked for.
const PATTERNS: &[(&[u8], usize)] = &[
    (b"pass", 1),
    (b"pwd", 0),
    (b"psw", 0),
    (b"identified", 5),
    (b"secret", 1),
    (b"credential", 6),
    (b"crypt", 2),
    (b"api_key", 2),
    (b"apikey", 1),
    (b"api-key", 2),
    (b"access_key", 6),
    (b"private_key", 7),
    (b"privatekey", 6),
    (b"encryption_key", 10),
    (b"account_key", 7),
    (b"accesskey", 5),
    (b"private key", 7),
    (b"accountkey", 6),
    (b"sslkey", 1),
    (b"token", 1),
    (b"bearer", 0),
    (b"authorization", 6),
    (b"hmac", 0),
    (b"pgp_", 1),
    (b"://", 0),
    (b"program", 2),
    (b"cvv", 0),
    (b"cvc", 0),
    (b"cav2", 1),
    (b"csc", 0),
    (b"track1", 3),
    (b"track2", 3),
    (b"track_", 3),
    (b"trackd", 3),
    (b"pin_block", 3),
    (b"pinblock", 2),
    (b"card_ver", 4),
    (b"security_code", 7),
    (b"uescape", 4),
];

/// Where a pair of a pattern leads: the pattern, the pair's offset in it, and the next entry of the
/// same pair (0 for none).
#[derive(Clone, Copy)]
struct Entry {
    pattern: &'static [u8],
    offset: usize,
    /// Where the third byte of the three stands in the pattern, and what it is: nearly always
    /// another one stands in the text.
    third_at: usize,
    third: u8,
    next: u8,
}

/// The entries, two a pattern, and for each pair of bytes 1 + its first entry, or 0.
struct Table {
    entries: [Entry; 2 * PATTERNS.len()],
    first: [u8; 1 << 16],
}

/// The place of a pair in the table.
const fn slot(first: u8, second: u8) -> usize {
    u16::from_le_bytes([first, second]) as usize
}

#[expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "constant: evaluated by the compiler"
)]
const fn table() -> Table {
    let none = Entry {
        pattern: b"",
        offset: 0,
        third_at: 0,
        third: 0,
        next: 0,
    };
    let mut table = Table {
        entries: [none; 2 * PATTERNS.len()],
        first: [0; 1 << 16],
    };
    let mut n = 0;
    while n < table.entries.len() {
        let (pattern, triple) = PATTERNS[n / 2];
        let offset = triple + n % 2;
        let (a, b) = (pattern[offset], pattern[offset + 1]);
        let third_at = if n % 2 == 0 { triple + 2 } else { triple };
        table.entries[n] = Entry {
            pattern,
            offset,
            third_at,
            third: pattern[third_at],
            next: table.first[slot(a, b)],
        };
        let (upper_a, upper_b) = (a.to_ascii_uppercase(), b.to_ascii_uppercase());
        table.first[slot(a, b)] = n as u8 + 1;
        table.first[slot(upper_a, b)] = n as u8 + 1;
        table.first[slot(a, upper_b)] = n as u8 + 1;
        table.first[slot(upper_a, upper_b)] = n as u8 + 1;
        n += 1;
    }
    table
}

static TABLE: Table = table();

#[inline]
fn first_entry(pair: [u8; 2]) -> u8 {
    let [first, second] = pair;
    let slot = slot(first, second);
    TABLE.first.get(slot).copied().unwrap_or(0)
}

/// Whether any pattern occurs in the text, in any case of letters.
pub(super) fn hit(text: &[u8]) -> bool {
    let (blocks, rest) = text.as_chunks::<16>();
    for (n, block) in blocks.iter().enumerate() {
        // One branch for sixteen bytes: most blocks have no pair at all.
        let (pairs, _) = block.as_chunks::<2>();
        let any = pairs.iter().fold(0, |any, pair| any | first_entry(*pair));
        if any != 0 && hit_in(text, n * 16, block) {
            return true;
        }
    }
    hit_in(text, text.len() - rest.len(), rest)
}

/// Whether a pattern has a pair at an even place of a block that begins at `at`.
fn hit_in(text: &[u8], at: usize, block: &[u8]) -> bool {
    let (pairs, _) = block.as_chunks::<2>();
    let mut places = pairs.iter().enumerate();
    places.any(|(n, pair)| {
        let first = first_entry(*pair);
        first != 0 && pattern_at(text, at + 2 * n, first)
    })
}

/// Whether one of the patterns that have the pair at `at` is there.
fn pattern_at(text: &[u8], at: usize, first: u8) -> bool {
    let mut next = first;
    while let Some(entry) = usize::from(next)
        .checked_sub(1)
        .and_then(|n| TABLE.entries.get(n))
    {
        let start = at.wrapping_sub(entry.offset);
        let third = text.get(start.wrapping_add(entry.third_at));
        if third.is_some_and(|third| third.to_ascii_lowercase() == entry.third) {
            let there = text.get(start..start.wrapping_add(entry.pattern.len()));
            if there.is_some_and(|there| there.eq_ignore_ascii_case(entry.pattern)) {
                return true;
            }
        }
        next = entry.next;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_is_found_wherever_it_stands_and_nothing_else() {
        for (pattern, _) in PATTERNS {
            for text in [pattern.to_vec(), pattern.to_ascii_uppercase()] {
                assert!(hit(&text));
                for before in 0..40 {
                    let before = vec![b'x'; before];
                    assert!(hit(&[&*before, &*text].concat()));
                    assert!(hit(&[&*before, &*text, b" y"].concat()));
                    assert!(!hit(&[&*before, &text[1..], b" y"].concat()) || text.len() > 4);
                }
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
