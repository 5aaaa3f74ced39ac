//! A log given as tiles.

use std::collections::BTreeMap;

use keys_public::TrustFile;
use ledger_core::frame::{Frame, FrameHeader};
use ledger_core::segment::SegmentHeader;
use ledger_core::tile::{Tile, TileKind, bundles_of, tiles_of};
use ledger_core::{Hash, TreeSize};

use super::log::{Draft, TestLog};
use super::names;
use crate::{
    FetchError, MisdeedKind, NotChecked, Report, VerifyError, VerifyOptions, verify_tiles,
};

type Tiles = BTreeMap<String, Vec<u8>>;

/// What a publisher would serve of a log.
fn tiles(log: &TestLog) -> Tiles {
    let size = log.edge.size();
    let mut tiles = Tiles::new();
    tiles.insert("checkpoint".to_owned(), log.last_note.clone());
    let range = |tile: &Tile| {
        let start = usize::try_from(tile.number).unwrap() * 256;
        start..start + usize::from(tile.width)
    };
    for tile in tiles_of(size) {
        let TileKind::Hashes(level) = tile.kind else {
            unreachable!()
        };
        let hashes: &[Hash] = &log.hashes[&level][range(&tile)];
        let bytes = hashes.iter().flat_map(|hash| hash.0).collect();
        tiles.insert(tile.to_string(), bytes);
    }
    let entries = entries(log);
    for tile in bundles_of(size) {
        let mut bytes = Vec::new();
        for entry in &entries[range(&tile)] {
            bytes.extend_from_slice(&80u16.to_be_bytes());
            bytes.extend_from_slice(entry);
        }
        tiles.insert(tile.to_string(), bytes);
    }
    tiles
}

fn entries(log: &TestLog) -> Vec<Vec<u8>> {
    let mut entries = Vec::new();
    for segment in &log.segments {
        let mut rest = &segment.entries[SegmentHeader::length(&segment.entries).unwrap()..];
        while let Ok(header) = FrameHeader::decode(rest) {
            let (body, after) = rest[64..].split_at(header.body_len as usize);
            let frame = Frame::decode(header, body).unwrap();
            entries.extend(frame.entry_bytes().map(<[u8]>::to_vec));
            rest = after;
        }
    }
    entries
}

fn verify(log: &TestLog, tiles: &Tiles, since: Option<&[u8]>) -> Report {
    let trust = TrustFile::parse(&log.trust).unwrap();
    let options = VerifyOptions {
        since: since.map(<[u8]>::to_vec),
        ..VerifyOptions::default()
    };
    let mut fetch = |path: &str| Ok(tiles.get(path).cloned());
    verify_tiles(&mut fetch, &trust, &options, &|_| ()).unwrap()
}

/// Accepted as it is, refused after `spoil`.
fn spoiled(
    log: &TestLog,
    spoil: &dyn Fn(&mut Tiles),
    file: &str,
    what: &dyn Fn(&MisdeedKind) -> bool,
) {
    let mut tiles = tiles(log);
    assert_eq!(verify(log, &tiles, None).misdeeds, []);
    spoil(&mut tiles);
    names(&verify(log, &tiles, None), file, what);
}

#[test]
fn tiles_are_accepted_and_payloads_are_said_to_be_missing() {
    let log = TestLog::sample();
    let report = verify(&log, &tiles(&log), None);
    assert_eq!(report.misdeeds, []);
    assert_eq!((report.entries, report.payloads_not_checked), (311, 311));
    assert_eq!(report.root, log.edge.root());
    assert_eq!(report.files, 1 + 3 + 2);
    let said = NotChecked::Payloads { count: 311 };
    assert!(report.not_checked.contains(&said));
}

#[test]
fn without_bundles_entries_are_said_to_be_missing_too() {
    let log = TestLog::sample();
    let mut without = tiles(&log);
    without.retain(|path, _| !path.starts_with("tile/entries"));
    let report = verify(&log, &without, None);
    assert_eq!(report.misdeeds, []);
    let said = NotChecked::Entries { count: 311 };
    assert!(report.not_checked.contains(&said));
}

#[test]
fn a_full_tile_may_stand_in_for_a_partial_one() {
    let mut log = TestLog::sample();
    let small = tiles(&log);
    log.append((301..=600).map(|n| Draft::message(1, n)).collect());
    let note = log.last_note.clone();
    let mut grown = tiles(&log);
    grown.insert("checkpoint".to_owned(), note);
    // Now 611 entries: 55 of the second tile are signed, and only the full tile is there.
    assert!(small.contains_key("tile/0/001.p/55"));
    assert!(!grown.contains_key("tile/0/001.p/55"));
    grown.insert("tile/1/000.p/1".to_owned(), small["tile/1/000.p/1"].clone());
    assert_eq!(verify(&log, &grown, None).misdeeds, []);
}

#[test]
fn every_changed_byte_of_every_tile_is_refused() {
    let log = TestLog::sample();
    let good = tiles(&log);
    for (path, bytes) in &good {
        for at in (0..bytes.len()).step_by(37) {
            let mut bad = good.clone();
            bad.get_mut(path).unwrap()[at] ^= 0x04;
            let report = verify(&log, &bad, None);
            assert!(!report.verified(), "{path} byte {at}");
        }
    }
    assert!(verify(&log, &good, None).verified());
}

#[test]
fn missing_long_and_malformed_tiles_are_named() {
    let log = TestLog::sample();
    let missing = |what: &MisdeedKind| matches!(what, MisdeedKind::FileMissing);
    for path in [
        "checkpoint",
        "tile/0/000",
        "tile/0/001.p/55",
        "tile/1/000.p/1",
        "tile/entries/001.p/55",
    ] {
        let remove = |tiles: &mut Tiles| {
            tiles.remove(path).unwrap();
        };
        spoiled(&log, &remove, path, &missing);
    }
    let length = |what: &MisdeedKind| matches!(what, MisdeedKind::TileLength { .. });
    for path in ["tile/0/000", "tile/1/000.p/1", "tile/entries/000"] {
        let grow = |tiles: &mut Tiles| tiles.get_mut(path).unwrap().push(0);
        spoiled(&log, &grow, path, &length);
    }
    let bundle = |what: &MisdeedKind| matches!(what, MisdeedKind::Bundle { number: 255 });
    let path = "tile/entries/000";
    let cut = |tiles: &mut Tiles| {
        tiles.get_mut(path).unwrap().pop();
    };
    spoiled(&log, &cut, path, &bundle);
    let malformed = |what: &MisdeedKind| matches!(what, MisdeedKind::NoteMalformed(_));
    let cut = |tiles: &mut Tiles| tiles.get_mut("checkpoint").unwrap().truncate(20);
    spoiled(&log, &cut, "checkpoint", &malformed);
}

#[test]
fn hashes_and_entries_that_lie_are_named() {
    let log = TestLog::sample();
    let wrong = |what: &MisdeedKind| matches!(what, MisdeedKind::HashWrong { .. });
    for path in ["tile/0/000", "tile/1/000.p/1"] {
        let lie = |tiles: &mut Tiles| tiles.get_mut(path).unwrap()[5] ^= 1;
        spoiled(&log, &lie, path, &wrong);
    }
    let mismatch = |what: &MisdeedKind| matches!(what, MisdeedKind::RootMismatch { .. });
    let lie = |tiles: &mut Tiles| {
        tiles.get_mut("tile/0/001.p/55").unwrap()[40] ^= 1;
        tiles.retain(|path, _| !path.starts_with("tile/entries"));
    };
    spoiled(&log, &lie, "checkpoint", &mismatch);
    let entry = |what: &MisdeedKind| matches!(what, MisdeedKind::Entry { .. });
    let lie = |tiles: &mut Tiles| tiles.get_mut("tile/entries/000").unwrap()[2] = 9;
    spoiled(&log, &lie, "tile/entries/000", &entry);
}

#[test]
fn a_kept_checkpoint_must_be_met_by_tiles_too() {
    let before = TestLog::sample();
    let mut grown = TestLog::sample();
    grown.append(vec![Draft::message(1, 301)]);
    grown.sign();
    let report = verify(&grown, &tiles(&grown), Some(&before.last_note));
    assert_eq!(
        (&report.misdeeds[..], report.since),
        (&[][..], Some(TreeSize(311)))
    );
    let report = verify(&before, &tiles(&before), Some(&grown.last_note));
    names(&report, "checkpoint", &|what| {
        matches!(what, MisdeedKind::LogShorterThanSeen { .. })
    });
    let mut other = TestLog::new();
    other.register("first");
    other.append((1..=400).map(|n| Draft::message(1, n)).collect());
    other.sign();
    let report = verify(&other, &tiles(&other), Some(&before.last_note));
    names(&report, "checkpoint", &|what| {
        matches!(what, MisdeedKind::HistoryRewritten { .. })
    });
    let mut early = grown.keys.sign(&grown.checkpoint(), grown.seconds() - 1);
    let mut tiles = tiles(&grown);
    tiles.insert("checkpoint".to_owned(), early.encode());
    names(&verify(&grown, &tiles, None), "checkpoint", &|what| {
        matches!(what, MisdeedKind::SignedTooEarly { .. })
    });
    early = grown.keys.sign(&before.checkpoint(), grown.seconds() + 99);
    let late = early.encode();
    tiles.insert("checkpoint".to_owned(), grown.last_note.clone());
    names(
        &verify(&grown, &tiles, Some(&late)),
        "checkpoint",
        &|what| matches!(what, MisdeedKind::TimeWentBack { .. }),
    );
}

#[test]
fn a_size_that_no_tiles_stand_for_ends_at_once() {
    let log = TestLog::sample();
    let mut checkpoint = log.checkpoint();
    checkpoint.size = TreeSize(u64::MAX);
    let note = log.keys.sign(&checkpoint, log.seconds());
    let huge = |tiles: &mut Tiles| {
        tiles.insert("checkpoint".to_owned(), note.encode());
    };
    spoiled(&log, &huge, "tile/0/001", &|what| {
        matches!(what, MisdeedKind::FileMissing)
    });
}

#[test]
fn a_fetch_that_fails_is_an_error() {
    let log = TestLog::sample();
    let good = tiles(&log);
    let trust = TrustFile::parse(&log.trust).unwrap();
    let fetch = |broken: &str| {
        let mut fetch = |path: &str| {
            let reason = "no route".to_owned();
            let failed = (path == broken).then_some(FetchError { reason });
            failed.map_or_else(|| Ok(good.get(path).cloned()), Err)
        };
        verify_tiles(&mut fetch, &trust, &VerifyOptions::default(), &|_| ())
    };
    assert!(matches!(
        fetch("tile/0/000"),
        Err(VerifyError::Fetch { .. })
    ));
    assert!(fetch("nothing").unwrap().verified());
}

#[test]
fn a_source_that_was_never_registered_ends_the_walk_over_tiles() {
    let build = |source: u32| {
        let mut log = TestLog::sample();
        log.append(vec![Draft::message(source, 301)]);
        log.sign();
        log
    };
    let good = build(1);
    assert_eq!(verify(&good, &tiles(&good), None).misdeeds, []);
    let bad = build(3);
    let report = verify(&bad, &tiles(&bad), None);
    names(&report, "tile/entries/001.p/56", &|what| {
        matches!(what, MisdeedKind::SourceUnknown { .. })
    });
    let said = NotChecked::AfterDamage {
        size: TreeSize(311),
    };
    assert!(report.not_checked.contains(&said));
}
