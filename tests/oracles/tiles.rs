//! Tiles: paths and contents as tlog_tiles computes them, on a real log of more than 65,536 entries,
//! so that there are tiles of three levels.
//!
//! tlog_tiles writes Go's older paths, with the tile's height in them and `data` for entries; the
//! rest of a path is the same.
//!
//! Not here: serving tiles (api/http), and the folder that `custody tiles` writes (`make interop`).

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use ledger_core::state::Stream;
use ledger_core::tile::{Tile, TileKind, bundles_of, tiles_of};
use ledger_core::{Entry, Epoch, Flags, Hash, Index, Message, Nanos, Sequence, TreeSize};
use ledger_event::Event;
use ledger_log::{Batch, Door as _, Log, LogOptions, LogPaths, Reader, SourceSpec, create_log};
use tlog_tiles::tlog;

use super::trees::TlogTree;
use super::{ALL_SIZES, Random};

/// The referee's tiles are as high as ours.
const HEIGHT: u8 = 8;

fn our_path(theirs: &tlog_tiles::Tile) -> String {
    let path = theirs.path();
    let rest = path.strip_prefix("tile/8/").unwrap();
    match rest.strip_prefix("data/") {
        Some(number) => format!("tile/entries/{number}"),
        None => format!("tile/{rest}"),
    }
}

fn same_tile(theirs: &tlog_tiles::Tile, seed: u64) {
    let kind = match theirs.is_data() {
        true => TileKind::Entries,
        false => TileKind::Hashes(theirs.level()),
    };
    let ours = Tile {
        kind,
        number: theirs.level_index(),
        width: u16::try_from(theirs.width()).unwrap(),
    };
    let path = our_path(theirs);
    assert_eq!(ours.to_string(), path, "seed {seed}");
    assert_eq!(Tile::parse(&path), Ok(ours), "seed {seed}");
}

#[test]
fn the_tiles_of_a_size_and_their_paths_are_the_same() {
    let mut random = Random::new();
    let seed = random.seed;
    let larger = (0..20).map(|_| random.within(ALL_SIZES + 1, 20_000_000));
    for size in (1..=ALL_SIZES)
        .chain([65_535, 65_536, 65_537])
        .chain(larger.collect::<Vec<_>>())
    {
        let theirs = tlog_tiles::Tile::new_tiles(HEIGHT, 0, size);
        let theirs: Vec<String> = theirs.iter().map(our_path).collect();
        let ours: Vec<String> = tiles_of(TreeSize(size))
            .map(|tile| tile.to_string())
            .collect();
        assert_eq!(ours, theirs, "size {size}, seed {seed}");
        let bundles = theirs
            .iter()
            .filter_map(|path| path.strip_prefix("tile/0/"));
        let bundles: Vec<String> = bundles.map(|rest| format!("tile/entries/{rest}")).collect();
        let ours: Vec<String> = bundles_of(TreeSize(size))
            .map(|tile| tile.to_string())
            .collect();
        assert_eq!(ours, bundles, "size {size}, seed {seed}");
    }
    for _ in 0..2_000 {
        let digits = u32::try_from(random.within(0, 63)).unwrap();
        let number = random.within(0, u64::MAX - 1) >> digits;
        let width = u32::try_from(random.within(1, 256)).unwrap();
        let level = u8::try_from(random.within(0, 7)).unwrap();
        same_tile(
            &tlog_tiles::Tile::new(HEIGHT, level, number, width, false),
            seed,
        );
        same_tile(&tlog_tiles::Tile::new(HEIGHT, 0, number, width, true), seed);
    }
}

/// Entries appended at once.
const BATCH: u64 = 11_000;
/// Batches, so that the log passes two full tile levels.
const BATCHES: u64 = 6;

fn message(number: u64) -> Message {
    let mut event = Event::default();
    event.classify(6005, 1);
    event.set_time(Nanos(
        1_790_000_000_000_000_000 + i64::try_from(number).unwrap(),
    ));
    event.severity_id = Some(1);
    event.status_id = Some(1);
    event.metadata.version = Some("1.8.0".into());
    event.metadata.product.name = Some("PostgreSQL".into());
    Message {
        stream: Stream::Record,
        epoch: Epoch(1),
        sequence: Sequence(number),
        prev: [0; 32],
        mac: [0; 32],
        flags: Flags::NONE,
        value: event.to_json(),
    }
}

/// A log of two segments with 66,002 entries, closed.
fn large_log(root: &Path) -> LogPaths {
    let paths = LogPaths::new(root, "oracles.example", "main", "2026").unwrap();
    create_log(&paths).unwrap();
    let options = LogOptions {
        checkpoint_every: Duration::from_millis(20),
        ..LogOptions::default()
    };
    let log = Log::open(&paths, &options).unwrap().0;
    let mut door = log.door();
    let spec = SourceSpec {
        name: "pg".to_owned(),
        platform: "postgresql".to_owned(),
    };
    let source = door.register(&spec).unwrap().id;
    for batch in 0..BATCHES {
        let messages = (1..=BATCH).map(|n| message(batch * BATCH + n)).collect();
        let batch = Batch {
            source,
            messages,
            positions: Vec::new(),
        };
        door.append(batch).unwrap();
    }
    log.close().unwrap();
    paths
}

fn entries(reader: &Reader) -> Vec<[u8; Entry::LEN]> {
    let mut entries = Vec::new();
    let mut keep = |stored: ledger_log::StoredEntry| {
        entries.push(stored.entry.encode());
        ControlFlow::Continue(())
    };
    reader.scan(Index(0), reader.size(), &mut keep).unwrap();
    entries
}

/// Hands our tiles to the referee's reader.
struct OurTiles<'a>(&'a Reader);

impl tlog_tiles::TileReader for OurTiles<'_> {
    fn height(&self) -> u8 {
        HEIGHT
    }

    fn read_tiles(&self, tiles: &[tlog_tiles::Tile]) -> Result<Vec<Vec<u8>>, tlog::Error> {
        let read = |tile| {
            let tile = Tile::parse(&our_path(tile)).unwrap();
            self.0.tile(&tile).unwrap().ok_or(tlog::Error::InvalidTile)
        };
        tiles.iter().map(read).collect()
    }

    fn save_tiles(&self, _: &[tlog_tiles::Tile], _: &[Vec<u8>]) {}
}

#[test]
fn a_real_logs_tiles_are_what_the_referee_computes_and_proves_from() {
    let root = tempfile::tempdir().unwrap();
    let reader = Reader::open(&large_log(root.path())).unwrap();
    let (checkpoint, _) = reader.published().unwrap();
    let size = checkpoint.size.0;
    assert_eq!(size, BATCH * BATCHES + 2);
    let entries = entries(&reader);
    let tlog = TlogTree::new(entries.iter().map(|entry| &entry[..]));
    assert_eq!(tlog::tree_hash(size, &tlog).unwrap().0, checkpoint.root.0);
    let mut levels = Vec::new();
    for theirs in tlog_tiles::Tile::new_tiles(HEIGHT, 0, size) {
        let ours = Tile::parse(&our_path(&theirs)).unwrap();
        let data = reader.tile(&ours).unwrap();
        assert_eq!(
            data.as_deref(),
            Some(&theirs.read_data(&tlog).unwrap()[..]),
            "{ours}"
        );
        levels.push(theirs.level());
    }
    levels.dedup();
    assert_eq!(levels, [0, 1, 2]);
    partial_tiles(&reader, &tlog);
    bundles(&reader, &entries);
    proofs_from_tiles(&reader, &tlog, &entries, size);
}

/// Narrower forms of a tile, as older checkpoints implied them, and tiles that are not there.
fn partial_tiles(reader: &Reader, tlog: &TlogTree) {
    for (level, number, width) in [(0, 0, 1), (0, 256, 255), (1, 0, 77), (1, 0, 255), (2, 0, 1)] {
        let theirs = tlog_tiles::Tile::new(HEIGHT, level, number, width, false);
        let ours = Tile::parse(&our_path(&theirs)).unwrap();
        let data = reader.tile(&ours).unwrap();
        assert_eq!(
            data.as_deref(),
            Some(&theirs.read_data(tlog).unwrap()[..]),
            "{ours}"
        );
    }
    for path in [
        "tile/0/257",
        "tile/1/001.p/2",
        "tile/2/000.p/2",
        "tile/3/000.p/1",
    ] {
        assert_eq!(
            reader.tile(&Tile::parse(path).unwrap()).unwrap(),
            None,
            "{path}"
        );
    }
}

/// Bundles hold the entries behind their lengths in two bytes, and no byte more.
fn bundles(reader: &Reader, entries: &[[u8; Entry::LEN]]) {
    let mut read = Vec::new();
    for tile in bundles_of(TreeSize(entries.len() as u64)) {
        let data = reader.tile(&tile).unwrap().unwrap();
        let mut rest = &data[..];
        while let Some((length, after)) = rest.split_first_chunk::<2>() {
            let (entry, after) = after.split_at(usize::from(u16::from_be_bytes(*length)));
            read.push(<[u8; Entry::LEN]>::try_from(entry).unwrap());
            rest = after;
        }
        assert!(rest.is_empty(), "{tile}");
    }
    assert!(read == entries, "the bundles hold other entries");
}

/// The referee authenticates our tiles under our root, proves from them, and meets our proofs; it
/// refuses the tiles under another root.
fn proofs_from_tiles(reader: &Reader, tlog: &TlogTree, entries: &[[u8; 80]], size: u64) {
    let root = tlog::tree_hash(size, tlog).unwrap();
    let tiles = OurTiles(reader);
    let mut wrong = root;
    wrong.0[0] ^= 1;
    let bad = tlog_tiles::TileHashReader::new(size, wrong, &tiles);
    assert!(tlog::prove_record(size, 0, &bad).is_err());
    let good = tlog_tiles::TileHashReader::new(size, root, &tiles);
    for index in [0, 1, 255, 256, 65_535, 65_536, size - 1] {
        let proof = tlog::prove_record(size, index, &good).unwrap();
        let leaf = tlog::record_hash(&entries[usize::try_from(index).unwrap()]);
        tlog::check_record(&proof, size, root, index, leaf).unwrap();
        let ours = reader.inclusion(Index(index), TreeSize(size)).unwrap();
        let theirs: Vec<Hash> = proof.iter().map(|hash| Hash(hash.0)).collect();
        assert_eq!(ours, theirs, "entry {index}");
        let old = index + 1;
        let proof = tlog::prove_tree(size, old, &good).unwrap();
        let ours = reader.consistency(TreeSize(old), TreeSize(size)).unwrap();
        let theirs: Vec<Hash> = proof.iter().map(|hash| Hash(hash.0)).collect();
        assert_eq!(ours, theirs, "trees {old} and {size}");
    }
}
