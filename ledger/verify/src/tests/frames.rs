//! Segment headers, frames and payloads that lie with good checksums.

use std::fs;
use std::path::Path;

use ledger_core::bytes::FormatError;
use ledger_core::frame::{BlockRef, FrameHeader};
use ledger_core::payload::PayloadHeader;
use ledger_core::segment::SegmentHeader;
use ledger_core::state::Position;
use ledger_core::{Hash, Index, Nanos, Origin, Salt, TreeSize};

use super::log::{Draft, HeaderLie, TestLog, flip};
use super::{accepted, built, names, spoiled, verify};
use crate::MisdeedKind;

const FIRST: &str = "00000000000000000000.entries";

type Lie = fn(&mut SegmentHeader);

#[test]
fn a_header_that_lies_is_refused() {
    let lies: [(&str, Lie); 5] = [
        ("right edge", |header| {
            let mut peaks = header.edge.peaks().to_vec();
            peaks[0] = Hash([1; 32]);
            header.edge = ledger_core::RightEdge::from_parts(header.edge.size(), peaks).unwrap();
        }),
        ("first index", |header| {
            header.edge.push(Hash([1; 32]));
        }),
        ("ledger time", |header| header.ledger_time = Nanos(1)),
        ("table of sources", |header| {
            header.sources[0].marks[0].sequence.0 += 1;
        }),
        ("table of positions", |header| {
            header.positions[0].value.push(1);
        }),
    ];
    for (expected, lie) in lies {
        let build = |wrong: bool| {
            let mut log = TestLog::sample();
            log.header_lie = wrong.then(|| Box::new(lie) as HeaderLie);
            log.append(vec![Draft::message(1, 301)]);
            log.sign();
            log.finish();
            log
        };
        built(
            &build,
            ".entries",
            &|what| matches!(what, MisdeedKind::HeaderDiffers { field } if *field == expected),
        );
    }
}

#[test]
fn a_file_of_another_log_is_refused() {
    let other = Origin::new("example.org/main/2025").unwrap();
    let build = |wrong: bool| {
        let mut log = TestLog::sample();
        let other = other.clone();
        log.header_lie = wrong.then(|| {
            Box::new(move |header: &mut SegmentHeader| header.origin = other.clone()) as HeaderLie
        });
        log.append(vec![Draft::message(1, 301)]);
        log
    };
    let is_other = |what: &MisdeedKind| matches!(what, MisdeedKind::OtherLog { .. });
    built(&build, ".entries", &is_other);
    let build = |wrong: bool| {
        let mut log = TestLog::sample();
        if wrong {
            let header = PayloadHeader {
                first: Index(0),
                generation: 0,
                origin: Hash::sha256(b"example.org/main/2025"),
            };
            log.segments[0].payloads[..64].copy_from_slice(&header.encode());
        }
        log
    };
    built(&build, ".payloads.g0", &is_other);
}

#[test]
fn a_payload_header_that_lies_is_refused() {
    for (first, generation, expected) in [(1, 0, "first index"), (0, 1, "generation")] {
        let build = |wrong: bool| {
            let mut log = TestLog::sample();
            if wrong {
                let header = PayloadHeader {
                    first: Index(first),
                    generation,
                    origin: Hash::sha256(log.origin.as_str().as_bytes()),
                };
                log.segments[0].payloads[..64].copy_from_slice(&header.encode());
            }
            log
        };
        built(
            &build,
            "0.payloads.g0",
            &|what| matches!(what, MisdeedKind::PayloadHeaderDiffers { field } if *field == expected),
        );
    }
    let log = TestLog::sample();
    let damaged = |what: &MisdeedKind| matches!(what, MisdeedKind::PayloadHeader(_));
    let spoil = |folder: &Path| flip(folder, "00000000000000000000.payloads.g0", 9);
    spoiled(&log, &spoil, "0.payloads.g0", &damaged);
}

#[test]
fn damaged_headers_and_frames_are_refused() {
    let log = TestLog::sample();
    let header = |what: &MisdeedKind| matches!(what, MisdeedKind::SegmentHeader(_));
    spoiled(&log, &|folder| flip(folder, FIRST, 20), FIRST, &header);
    let newer = |what: &MisdeedKind| {
        matches!(
            what,
            MisdeedKind::SegmentHeader(FormatError::Version { found: 3, .. })
        )
    };
    let make_newer = |folder: &Path| {
        let path = folder.join(FIRST);
        let mut bytes = fs::read(&path).unwrap();
        bytes[7] = b'3';
        fs::write(path, bytes).unwrap();
    };
    spoiled(&log, &make_newer, FIRST, &newer);
    let damaged = |what: &MisdeedKind| matches!(what, MisdeedKind::FrameDamaged { .. });
    spoiled(&log, &|folder| flip(folder, FIRST, 300), FIRST, &damaged);
    // In the middle of the last segment: a good frame follows, so it is no torn tail.
    let last = format!("{:020}.entries", log.segments[3].first);
    let header_len = SegmentHeader::length(&log.segments[3].entries).unwrap();
    let spoil = |folder: &Path| flip(folder, &last, header_len + 70);
    spoiled(&log, &spoil, &last, &damaged);
}

#[test]
fn a_frame_out_of_place_is_refused() {
    let build = |wrong: bool| {
        let mut log = TestLog::sample();
        let plan = log.plan(vec![Draft::message(1, 301)]);
        log.write_changed(plan, &|header, _| header.first.0 += u64::from(wrong));
        log
    };
    built(&build, ".entries", &|what| {
        matches!(what, MisdeedKind::FrameOutOfPlace { .. })
    });
    type Change = fn(&mut FrameHeader);
    let changes: [Change; 2] = [
        |header| header.payload_start -= 1,
        |header| header.payload_end += 1,
    ];
    for change in changes {
        let build = |wrong: bool| {
            let mut log = TestLog::sample();
            let plan = log.plan(vec![Draft::message(1, 301)]);
            log.write_changed(plan, &|header, _| {
                if wrong {
                    change(header);
                }
            });
            log
        };
        built(&build, ".entries", &|what| {
            matches!(what, MisdeedKind::PayloadOutOfPlace { .. })
        });
    }
}

#[test]
fn swapped_frames_are_refused() {
    let log = TestLog::sample();
    let swap = |folder: &Path| {
        let path = folder.join(FIRST);
        let mut bytes = fs::read(&path).unwrap();
        let header_len = SegmentHeader::length(&bytes).unwrap();
        let length = |at: usize| 64 + FrameHeader::decode(&bytes[at..]).unwrap().body_len as usize;
        let (a, b) = (length(header_len), length(header_len + length(header_len)));
        bytes[header_len..header_len + a + b].rotate_left(a);
        fs::write(path, bytes).unwrap();
    };
    spoiled(&log, &swap, FIRST, &|what| {
        matches!(what, MisdeedKind::FrameOutOfPlace { .. })
    });
}

#[test]
fn an_empty_frame_and_a_full_finish_frame_are_refused() {
    let build = |wrong: bool| {
        let mut log = TestLog::sample();
        let mut plan = log.plan(Vec::new());
        if !wrong {
            plan.positions.push(Position {
                key: "file:x".to_owned(),
                value: vec![1],
            });
        }
        log.write(plan);
        log
    };
    let shape = |what: &MisdeedKind| matches!(what, MisdeedKind::FrameShape);
    built(&build, ".entries", &shape);
    let build = |wrong: bool| {
        let mut log = TestLog::sample();
        let mut plan = log.plan(vec![Draft::message(1, 301)]);
        plan.header.finished = wrong;
        log.write(plan);
        log
    };
    built(&build, ".entries", &shape);
}

#[test]
fn a_durable_size_that_goes_back_is_refused() {
    let build = |wrong: bool| {
        let mut log = TestLog::sample();
        let mut plan = log.plan(vec![Draft::message(1, 301)]);
        if wrong {
            plan.header.arrays_durable = TreeSize(3);
        }
        log.write(plan);
        log
    };
    built(&build, ".entries", &|what| {
        matches!(what, MisdeedKind::ArraysDurable { .. })
    });
}

#[test]
fn a_segment_without_its_end_is_refused_if_another_follows() {
    let build = |wrong: bool| {
        let mut log = TestLog::sample();
        log.append(vec![Draft::message(1, 301)]);
        log.finish();
        if wrong {
            let segment = log.segments.last_mut().unwrap();
            // The finish frame: a header, and a body of two empty tables.
            segment.entries.truncate(segment.entries.len() - 72);
        }
        log.append(vec![Draft::message(1, 302)]);
        log
    };
    built(&build, ".entries", &|what| {
        matches!(what, MisdeedKind::SegmentUnfinished)
    });
}

#[test]
fn a_payload_that_is_not_what_its_entry_commits_to_is_refused() {
    let build = |wrong: bool| {
        let mut log = TestLog::sample();
        let mut plan = log.plan(vec![Draft::message(1, 301), Draft::message(1, 302)]);
        if wrong {
            plan.drafts[1].parts[2] = Some(b"select nothing".to_vec());
        }
        log.write(plan);
        log
    };
    built(&build, ".payloads.g0", &|what| {
        matches!(what, MisdeedKind::CommitmentMismatch { index: Index(312) })
    });
    // The salt is part of it.
    let build = |wrong: bool| {
        let mut log = TestLog::sample();
        let mut plan = log.plan(vec![Draft::message(1, 301)]);
        if wrong {
            plan.salts[0][0].0[3] ^= 1;
        }
        log.write(plan);
        log
    };
    built(&build, ".payloads.g0", &|what| {
        matches!(what, MisdeedKind::CommitmentMismatch { index: Index(311) })
    });
    let build = |wrong: bool| {
        let mut log = TestLog::sample();
        let mut plan = log.plan(vec![Draft::message(1, 301)]);
        if wrong {
            plan.salts[0][1] = Salt([1; 16]);
        }
        log.write(plan);
        log
    };
    built(&build, ".payloads.g0", &|what| {
        matches!(what, MisdeedKind::SaltNotZero { index: Index(311) })
    });
}

#[test]
fn parts_erased_one_at_a_time_still_verify() {
    for part in 0..3 {
        let mut log = TestLog::new();
        log.register("first");
        let mut draft = Draft::message(1, 1);
        draft.parts = [
            Some(b"{}".to_vec()),
            Some(b"who".to_vec()),
            Some(b"text".to_vec()),
        ];
        draft.erased[part] = true;
        log.append(vec![draft.clone(), Draft::message(1, 2)]);
        draft.entry.sequence.0 = 3;
        log.append(vec![draft]);
        log.sign();
        log.finish();
        let report = accepted(&log.save());
        assert_eq!((report.parts_erased, report.payloads_checked), (2, 5));
    }
}

#[test]
fn a_damaged_block_is_refused() {
    let log = TestLog::sample();
    let file = "00000000000000000000.payloads.g0";
    let block = |what: &MisdeedKind| matches!(what, MisdeedKind::Block { .. });
    let last_byte = log.segments[0].payloads.len() - 1;
    let spoil = |folder: &Path| flip(folder, file, last_byte);
    spoiled(&log, &spoil, file, &block);
    // Lengths beyond the bounds are refused before memory is asked for: some with the frame that
    // states them, one with the block.
    type Change = fn(&mut BlockRef);
    let changes: [(Change, &str); 3] = [
        (|block| block.stored_len = 5 << 20, ".entries"),
        (|block| block.entry_count = 0, ".entries"),
        (|block| block.raw_len = 300 << 10, ".payloads.g0"),
    ];
    for (change, file) in changes {
        let build = |wrong: bool| {
            let mut log = TestLog::sample();
            let plan = log.plan(vec![Draft::message(1, 301), Draft::message(1, 302)]);
            log.write_changed(plan, &|header, body| {
                if wrong {
                    let before = body.blocks[0].stored_len;
                    change(&mut body.blocks[0]);
                    header.payload_end += u64::from(body.blocks[0].stored_len - before);
                }
            });
            // A file grown ahead has room for whatever is claimed.
            let segment = log.segments.last_mut().unwrap();
            segment.payloads.extend(vec![0; 6 << 20]);
            log
        };
        built(&build, file, &|what| {
            let torn = matches!(what, MisdeedKind::TornTail { .. }) && file == ".entries";
            torn || block(what)
        });
    }
}

/// Headers of frames with good checksums, each of which claims the rest of a long file.
fn with_headers(count: usize, good_frame: bool) -> TestLog {
    let mut log = TestLog::sample();
    log.append(vec![Draft::message(1, 301)]);
    let segment = log.segments.last_mut().unwrap();
    let at = SegmentHeader::length(&segment.entries).unwrap();
    let good = segment.entries[at..].to_vec();
    let mut header = FrameHeader::decode(&good).unwrap();
    header.body_len = 60 << 20;
    segment.entries[at + 70] ^= 1;
    for _ in 0..count {
        segment.entries.extend_from_slice(&header.encode());
    }
    if good_frame {
        segment.entries.extend_from_slice(&good);
    }
    segment.entries.resize(62 << 20, 0);
    log
}

#[test]
fn the_search_behind_a_damaged_place_is_bounded() {
    let mut twin = with_headers(0, false);
    let segment = twin.segments.last_mut().unwrap();
    let at = SegmentHeader::length(&segment.entries).unwrap();
    segment.entries[at + 70] ^= 1;
    accepted(&twin.save());
    // Sixteen thousand headers would be a terabyte to read.
    let many = with_headers(1 << 14, true);
    names(&verify(&many.save()), ".entries", &|what| {
        matches!(what, MisdeedKind::DamageFollowed)
    });
    // A few are looked behind.
    let few = with_headers(4, true);
    names(&verify(&few.save()), ".entries", &|what| {
        matches!(what, MisdeedKind::FrameDamaged { .. })
    });
    let none = with_headers(4, false);
    names(&verify(&none.save()), ".entries", &|what| {
        matches!(what, MisdeedKind::TornTail { .. } | MisdeedKind::NotZero)
    });
}
