//! Tiles of C2SP tlog-tiles: which exist for a size, their paths, and the nodes between stored
//! levels.
//!
//! A tile of level L holds up to 256 hashes of tree level 8·L. Stored hashes of tree levels 0, 8,
//! 16, … lie in arrays (see [`crate::layout`]), so a tile is a slice of one.
//!
//! Not here: reading the slice, or serving it.

use std::fmt;

use crate::hash::{Hash, node_hash};
use crate::ids::TreeSize;

/// Hashes in a full tile.
pub const TILE_WIDTH: u64 = 256;
/// The highest tile level of the specification.
pub const TILE_LEVEL_MAX: u8 = 63;
/// Tile levels that a tree of 2^64 leaves can use.
pub const TILE_LEVELS_USED: u8 = 8;

/// What a tile holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum TileKind {
    /// Hashes of tree level 8 times this.
    Hashes(u8),
    /// Entry bundles.
    Entries,
}

/// The coordinates of a tile.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Tile {
    /// Hashes of a level, or entries.
    pub kind: TileKind,
    /// The tile's number within its level.
    pub number: u64,
    /// 1–256 hashes or entries; less than 256 makes it a partial tile.
    pub width: u16,
}

/// Why a path names no tile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path:?} is not the path of a tile: see C2SP tlog-tiles for the form tile/L/NNN[.p/W]")]
pub struct TilePathError {
    /// The path, cut at 128 bytes.
    pub path: String,
}

impl Tile {
    /// Reads `tile/<L>/<N>[.p/<W>]` or `tile/entries/<N>[.p/<W>]`.
    ///
    /// # Errors
    /// Any other text, including other spellings of the same tile.
    pub fn parse(path: &str) -> Result<Tile, TilePathError> {
        let tile = Tile::parse_loosely(path);
        // One spelling only: what we would write ourselves.
        tile.filter(|tile| tile.to_string() == path)
            .ok_or_else(|| TilePathError {
                path: path.chars().take(128).collect(),
            })
    }

    fn parse_loosely(path: &str) -> Option<Tile> {
        let rest = path.strip_prefix("tile/")?;
        let (level, rest) = rest.split_once('/')?;
        let kind = match level {
            "entries" => TileKind::Entries,
            digits => TileKind::Hashes(digits.parse().ok().filter(|l| *l <= TILE_LEVEL_MAX)?),
        };
        let (number, width) = match rest.split_once(".p/") {
            Some((number, width)) => (
                number,
                width.parse().ok().filter(|w| (1..=255).contains(w))?,
            ),
            None => (rest, 256),
        };
        let mut value = 0u64;
        for group in number.split('/') {
            let digits = group.trim_start_matches('x');
            let group: u64 = digits.parse().ok().filter(|_| digits.len() == 3)?;
            value = value.checked_mul(1000)?.checked_add(group)?;
        }
        Some(Tile {
            kind,
            number: value,
            width,
        })
    }

    /// Whether the tile exists, in this width, in a tree of `size` leaves.
    pub fn exists_at(&self, size: TreeSize) -> bool {
        let level = match self.kind {
            TileKind::Hashes(level) => level,
            TileKind::Entries => 0,
        };
        let total = hashes_at(level, size);
        let first = self.number.checked_mul(TILE_WIDTH);
        let end = first.and_then(|first| first.checked_add(u64::from(self.width)));
        self.width > 0 && end.is_some_and(|end| end <= total)
    }
}

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TileKind::Hashes(level) => write!(f, "tile/{level}/")?,
            TileKind::Entries => f.write_str("tile/entries/")?,
        }
        let mut groups = vec![self.number % 1000];
        let mut rest = self.number / 1000;
        while rest > 0 {
            groups.push(rest % 1000);
            rest /= 1000;
        }
        while groups.len() > 1 {
            write!(f, "x{:03}/", groups.pop().unwrap_or_default())?;
        }
        write!(f, "{:03}", groups.pop().unwrap_or_default())?;
        if u64::from(self.width) < TILE_WIDTH {
            write!(f, ".p/{}", self.width)?;
        }
        Ok(())
    }
}

/// How many hashes tile level `level` holds in a tree of `size` leaves: those of full nodes only.
pub fn hashes_at(level: u8, size: TreeSize) -> u64 {
    if level >= TILE_LEVELS_USED {
        0
    } else {
        size.0 >> (8 * u32::from(level))
    }
}

/// Every hash tile that a tree of `size` leaves implies, full ones and the partial one a level.
pub fn tiles_of(size: TreeSize) -> impl Iterator<Item = Tile> {
    (0..TILE_LEVELS_USED)
        .flat_map(move |level| tiles_of_level(TileKind::Hashes(level), level, size))
}

/// Every entry bundle that a tree of `size` leaves implies.
pub fn bundles_of(size: TreeSize) -> impl Iterator<Item = Tile> {
    tiles_of_level(TileKind::Entries, 0, size)
}

fn tiles_of_level(kind: TileKind, level: u8, size: TreeSize) -> impl Iterator<Item = Tile> {
    let total = hashes_at(level, size);
    (0..total.div_ceil(TILE_WIDTH)).map(move |number| {
        let width = (total - number * TILE_WIDTH).min(TILE_WIDTH);
        Tile {
            kind,
            number,
            width: u16::try_from(width).unwrap_or(u16::MAX),
        }
    })
}

/// Where the perfect node (`level`, `number`) can be computed from: the stored tree level at or
/// below it, the first stored hash and how many (a power of two of at most 128).
pub fn stored_under(level: u8, number: u64) -> (u8, u64, u64) {
    let tile_level = level / 8;
    let above = level % 8;
    (tile_level, number << above, 1 << above)
}

/// The root of a power of two of sibling hashes.
///
/// # Panics
/// If the count is not a power of two.
pub fn fold_perfect(hashes: &[Hash]) -> Hash {
    assert!(
        hashes.len().is_power_of_two(),
        "{} siblings make no perfect node",
        hashes.len()
    );
    let mut row = hashes.to_vec();
    while row.len() > 1 {
        row = row
            .chunks_exact(2)
            .filter_map(|pair| match pair {
                [left, right] => Some(node_hash(left, right)),
                _ => None,
            })
            .collect();
    }
    row.first().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_spellings_are_refused_and_the_specified_one_read() {
        for bad in [
            "",
            "tile/0/",
            "tile/0/1",
            "tile/00/001",
            "tile/64/001",
            "tile/0/x001",
            "tile/0/001/234",
            "tile/0/x000/001",
            "tile/0/001.p/0",
            "tile/0/001.p/256",
            "tile/0/001.p/01",
            "tile/0/xx001/002",
            "tile/0/+01",
            "tile/entries/1",
            "/tile/0/001",
            "tile/0/x999/x999/x999/x999/x999/x999/x999/x999/999",
        ] {
            assert!(Tile::parse(bad).is_err(), "{bad}");
        }
        for (path, kind, number, width) in [
            ("tile/0/x001/x234/067", TileKind::Hashes(0), 1_234_067, 256),
            ("tile/63/000.p/255", TileKind::Hashes(63), 0, 255),
            ("tile/entries/x001/000.p/7", TileKind::Entries, 1000, 7),
        ] {
            assert_eq!(
                Tile::parse(path),
                Ok(Tile {
                    kind,
                    number,
                    width
                })
            );
        }
    }

    #[test]
    fn size_256_is_a_full_tile_and_a_partial_one_above() {
        let paths: Vec<String> = tiles_of(TreeSize(256))
            .map(|tile| tile.to_string())
            .collect();
        assert_eq!(paths, ["tile/0/000", "tile/1/000.p/1"]);
        let bundles: Vec<String> = bundles_of(TreeSize(257))
            .map(|tile| tile.to_string())
            .collect();
        assert_eq!(bundles, ["tile/entries/000", "tile/entries/001.p/1"]);
        assert_eq!(tiles_of(TreeSize(0)).count(), 0);
    }

    #[test]
    fn only_tiles_inside_the_tree_exist() {
        let tile = |path| Tile::parse(path).unwrap();
        for (path, size, exists) in [
            ("tile/0/000", 255, false),
            ("tile/0/000", 256, true),
            ("tile/0/000.p/255", 255, true),
            ("tile/0/000.p/255", 256, true),
            ("tile/1/000.p/1", 255, false),
            ("tile/1/000.p/1", 256, true),
            ("tile/entries/001.p/1", 257, true),
            ("tile/9/000.p/1", u64::MAX, false),
        ] {
            assert_eq!(
                tile(path).exists_at(TreeSize(size)),
                exists,
                "{path} at {size}"
            );
        }
    }

    #[test]
    fn the_example_of_the_documentation_is_one_entry_long() {
        let entry_page = include_str!("../../../docs/formats/entry.md");
        let page = include_str!("../../../docs/formats/tiles.md");
        let entry = crate::bytes::example_hex(entry_page, "entry");
        let bundle = crate::bytes::example_hex(page, "bundle");
        let (length, rest) = bundle.split_at(2);
        assert_eq!((length, rest), (&80u16.to_be_bytes()[..], &entry[..]));
        let leaf = crate::hash::leaf_hash(rest);
        assert_eq!(crate::bytes::example_hex(page, "tile"), leaf.0);
    }
}
