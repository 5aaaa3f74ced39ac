//! Notes: the last one, kept ones, and the one that an auditor brought along.

use std::fs;

use keys_public::{CheckpointRefusal, KeyKind, Note, TrustFile};
use ledger_core::{Hash, Origin, TreeSize};

use super::log::{Draft, Keys, SECOND, TestLog};
use super::{accepted, built, names, verify, verify_with};
use crate::{MisdeedKind, NotChecked, VerifyError, VerifyOptions, verify_dir};

const LAST: &str = "last-note";
const HISTORY: &str = "checkpoints";

/// The sample; `wrong` changes it after everything was signed.
fn changed(change: impl Fn(&mut TestLog)) -> impl Fn(bool) -> TestLog {
    move |wrong| {
        let mut log = TestLog::sample();
        if wrong {
            change(&mut log);
        }
        log
    }
}

fn without_line(note: &[u8], index: usize) -> Vec<u8> {
    let note = Note::parse(note).unwrap();
    let mut rest = Note::new(note.text().to_owned()).unwrap();
    for (n, line) in note.signatures().iter().enumerate() {
        if n != index {
            rest.add(line.clone()).unwrap();
        }
    }
    rest.encode()
}

fn refusal(what: &MisdeedKind) -> Option<&CheckpointRefusal> {
    match what {
        MisdeedKind::NoteRefused(refusal) => Some(refusal),
        _ => None,
    }
}

#[test]
fn a_note_that_is_none_is_refused() {
    let malformed = |what: &MisdeedKind| matches!(what, MisdeedKind::NoteMalformed(_));
    let cut = changed(|log| log.last_note.truncate(50));
    built(&cut, LAST, &malformed);
    let long = changed(|log| log.last_note.resize((1 << 20) + 1, b'x'));
    built(&long, LAST, &malformed);
    let kept = changed(|log| log.keep(b"no note", log.time));
    built(&kept, HISTORY, &malformed);
    let no_checkpoint = changed(|log| {
        let mut note = Note::new("hello\n".to_owned()).unwrap();
        let line = Note::parse(&log.last_note).unwrap().signatures()[0].clone();
        note.add(line).unwrap();
        log.keep(&note.encode(), log.time);
    });
    built(&no_checkpoint, HISTORY, &|what| {
        matches!(refusal(what), Some(CheckpointRefusal::NotACheckpoint(_)))
    });
}

#[test]
fn each_half_alone_is_refused_in_both_places() {
    type Expected = fn(&CheckpointRefusal) -> bool;
    let halves: [(usize, Expected); 2] = [
        (0, |r| matches!(r, CheckpointRefusal::ClassicalHalfMissing)),
        (1, |r| {
            matches!(r, CheckpointRefusal::PostQuantumHalfMissing)
        }),
    ];
    for (line, expected) in halves {
        let is = |what: &MisdeedKind| refusal(what).is_some_and(expected);
        let last = changed(move |log| log.last_note = without_line(&log.last_note, line));
        built(&last, LAST, &is);
        let kept = changed(move |log| {
            let note = without_line(&log.last_note, line);
            log.keep(&note, log.time);
        });
        built(&kept, HISTORY, &is);
    }
}

#[test]
fn other_keys_are_refused() {
    let other = |log: &TestLog| {
        let note = Keys::new(9).sign(&log.checkpoint(), log.seconds());
        note.encode()
    };
    let missing =
        |what: &MisdeedKind| matches!(refusal(what), Some(CheckpointRefusal::ClassicalHalfMissing));
    let last = changed(move |log| log.last_note = other(log));
    built(&last, LAST, &missing);
    let kept = changed(move |log| {
        let note = other(log);
        log.keep(&note, log.time);
    });
    built(&kept, HISTORY, &missing);
}

#[test]
fn another_root_is_refused() {
    let other_root = |log: &TestLog| {
        let mut checkpoint = log.checkpoint();
        checkpoint.root = Hash([1; 32]);
        log.keys.sign(&checkpoint, log.seconds()).encode()
    };
    let mismatch = |what: &MisdeedKind| {
        matches!(
            what,
            MisdeedKind::RootMismatch {
                size: TreeSize(311)
            }
        )
    };
    let last = changed(move |log| log.last_note = other_root(log));
    built(&last, LAST, &mismatch);
    let kept = changed(move |log| {
        let note = other_root(log);
        log.keep(&note, log.time);
    });
    built(&kept, HISTORY, &mismatch);
}

#[test]
fn a_log_shorter_than_signed_is_refused() {
    let longer = |log: &TestLog| {
        let mut checkpoint = log.checkpoint();
        checkpoint.size.0 += 1;
        log.keys.sign(&checkpoint, log.seconds()).encode()
    };
    let short = |what: &MisdeedKind| {
        matches!(
            what,
            MisdeedKind::LogShorterThanSigned {
                signed: TreeSize(312),
                entries: TreeSize(311)
            }
        )
    };
    let last = changed(move |log| log.last_note = longer(log));
    built(&last, LAST, &short);
    let kept = changed(move |log| {
        let note = longer(log);
        log.keep(&note, log.time);
    });
    built(&kept, HISTORY, &short);
}

#[test]
fn another_origin_is_refused() {
    let other = changed(|log| {
        let mut checkpoint = log.checkpoint();
        checkpoint.origin = Origin::new("example.org/main/2025").unwrap();
        log.last_note = log.keys.sign(&checkpoint, log.seconds()).encode();
    });
    built(&other, LAST, &|what| {
        matches!(refusal(what), Some(CheckpointRefusal::OriginDiffers { .. }))
    });
}

#[test]
fn times_before_the_entries_or_before_each_other_are_refused() {
    let early = |what: &MisdeedKind| matches!(what, MisdeedKind::SignedTooEarly { .. });
    let signed_at = |log: &TestLog, back: u64| {
        let note = log.keys.sign(&log.checkpoint(), log.seconds() - back);
        note.encode()
    };
    let last = changed(move |log| log.last_note = signed_at(log, 1));
    built(&last, LAST, &early);
    let kept = changed(move |log| {
        let note = signed_at(log, 1);
        log.keep(&note, log.time);
    });
    built(&kept, HISTORY, &early);
    let back = |clock: &'static str| move |what: &MisdeedKind| matches!(what, MisdeedKind::TimeWentBack { clock: found, .. } if *found == clock);
    let later_kept = changed(|log| {
        let note = log.keys.sign(&log.checkpoint(), log.seconds() + 9);
        log.keep(&note.encode(), log.time);
    });
    built(&later_kept, LAST, &back("signed time"));
    let one_back = changed(|log| {
        for later in [9, 8] {
            let note = log.keys.sign(&log.checkpoint(), log.seconds() + later);
            log.keep(&note.encode(), log.time);
            log.last_note = note.encode();
        }
    });
    built(&one_back, HISTORY, &back("signed time"));
    let published = changed(|log| {
        let note = log.last_note.clone();
        log.keep(&note, log.time - SECOND);
    });
    built(&published, HISTORY, &back("time of publication"));
    // A later time at the same size is no misdeed.
    let mut log = TestLog::sample();
    log.last_note = log.keys.sign(&log.checkpoint(), log.seconds() + 9).encode();
    accepted(&log.save());
}

#[test]
fn kept_checkpoints_are_in_order_and_end_with_the_last_note() {
    let shrank = changed(|log| {
        let first = TestLog::new();
        let note = log.keys.sign(&first.checkpoint(), log.seconds());
        log.keep(&note.encode(), log.time);
    });
    built(&shrank, HISTORY, &|what| {
        matches!(what, MisdeedKind::SizeShrank { .. })
    });
    let build = |wrong: bool| {
        let mut log = TestLog::sample();
        let before = log.history.clone();
        log.append(vec![Draft::message(1, 301)]);
        log.sign();
        log.finish();
        if wrong {
            log.history = before;
        }
        log
    };
    built(&build, HISTORY, &|what| {
        matches!(what, MisdeedKind::HistoryEndsEarly { .. })
    });
    // The same of an interrupted log is possible, and said.
    let mut log = TestLog::interrupted();
    let before = log.history.clone();
    log.sign();
    log.history = before;
    let report = accepted(&log.save());
    assert!(report.not_checked.contains(&NotChecked::HistoryBehind));
    let build = |wrong: bool| {
        let mut log = TestLog::sample();
        let before = log.last_note.clone();
        log.append(vec![Draft::message(1, 301)]);
        log.sign();
        if wrong {
            log.last_note = before;
        }
        log
    };
    built(&build, LAST, &|what| {
        matches!(what, MisdeedKind::LastNoteOlder { .. })
    });
}

#[test]
fn a_history_that_is_none_is_refused() {
    let history = |what: &MisdeedKind| matches!(what, MisdeedKind::History(_));
    built(&changed(|log| log.history[0] = b'X'), HISTORY, &history);
    built(&changed(|log| log.history.clear()), HISTORY, &history);
    built(&changed(|log| log.history.push(0)), HISTORY, &history);
    let reasons = changed(|log| {
        let at = log.history.len();
        let note = log.last_note.clone();
        log.keep(&note, log.time);
        log.history[at + 7] = 64;
    });
    built(&reasons, HISTORY, &history);
}

#[test]
fn entries_after_the_last_note_are_counted() {
    let mut log = TestLog::sample();
    log.append(vec![Draft::message(1, 301), Draft::message(1, 302)]);
    let report = accepted(&log.save());
    assert_eq!((report.entries, report.not_yet_signed), (313, 2));
    let said = NotChecked::NotYetSigned { count: 2 };
    assert!(report.not_checked.contains(&said));
}

#[test]
fn a_kept_checkpoint_must_be_met() {
    let before = TestLog::sample();
    let kept = before.last_note.clone();
    let with = |log: &TestLog, note: &[u8]| {
        let saved = log.save();
        let since = Some(note.to_vec());
        let options = VerifyOptions {
            since,
            ..VerifyOptions::default()
        };
        verify_with(&saved, &saved.trust, &options)
    };
    let mut grown = TestLog::sample();
    grown.append(vec![Draft::message(1, 301)]);
    grown.sign();
    grown.finish();
    let report = with(&grown, &kept);
    assert_eq!(
        (&report.misdeeds[..], report.since),
        (&[][..], Some(TreeSize(311)))
    );
    // Another history of the same keys: true in itself, but not what the auditor saw.
    let mut other = TestLog::new();
    other.register("first");
    other.append((1..=400).map(|n| Draft::message(1, n)).collect());
    other.time += 100_000 * SECOND;
    other.append(vec![Draft::message(1, 401)]);
    other.sign();
    other.finish();
    accepted(&other.save());
    let report = with(&other, &kept);
    names(&report, LAST, &|what| {
        matches!(
            what,
            MisdeedKind::HistoryRewritten {
                size: TreeSize(311)
            }
        )
    });
    assert_eq!(report.since, None);
    // The log before it was cut is longer than the one that is shown.
    let report = with(&before, &grown.last_note);
    names(&report, LAST, &|what| {
        matches!(what, MisdeedKind::LogShorterThanSeen { .. })
    });
    // A last note older than what was seen: entries are there, the signer's state went back.
    let mut back = TestLog::sample();
    back.append(vec![Draft::message(1, 301)]);
    let report = with(&back, &grown.last_note);
    names(&report, LAST, &|what| {
        matches!(what, MisdeedKind::LastNoteOlder { .. })
    });
    // A later signing time for something smaller.
    let late = before
        .keys
        .sign(&before.checkpoint(), before.seconds() + 1_000_000);
    let report = with(&grown, &late.encode());
    names(&report, LAST, &|what| {
        matches!(what, MisdeedKind::TimeWentBack { .. })
    });
}

#[test]
fn a_kept_checkpoint_that_does_not_hold_is_an_error() {
    let saved = TestLog::sample().save();
    let since = |note: Vec<u8>| {
        let options = VerifyOptions {
            since: Some(note),
            ..VerifyOptions::default()
        };
        verify_dir(saved.dir.path(), &saved.trust, &options, &|_| ())
    };
    let note = fs::read(saved.folder().join(LAST)).unwrap();
    assert!(matches!(
        since(b"x".to_vec()),
        Err(VerifyError::SinceMalformed(_))
    ));
    assert!(matches!(
        since(without_line(&note, 1)),
        Err(VerifyError::SinceRefused(_))
    ));
    assert!(since(note).unwrap().verified());
}

#[test]
fn a_quorum_of_witnesses_is_asked_for_if_the_trust_file_asks() {
    let witness = Keys::new(3);
    let build = |cosigned: bool, kept_cosigned: bool| {
        let mut log = TestLog::sample();
        let vkey = witness.classical("witness.example/w1", KeyKind::Ed25519Cosignature);
        log.trust = log.trust.replace(
            "quorum pq\n",
            &format!("witness w1 {vkey}\ngroup both all pq w1\nquorum both\n"),
        );
        let mut note = log.keys.sign(&log.checkpoint(), log.seconds());
        witness.cosign(&mut note, "witness.example/w1", log.seconds());
        if kept_cosigned {
            log.keep(&note.encode(), log.time);
        }
        if cosigned {
            log.last_note = note.encode();
        }
        log
    };
    let never = |what: &MisdeedKind| matches!(what, MisdeedKind::NeverWitnessed);
    names(&verify(&build(false, false).save()), LAST, &never);
    for (last, kept) in [(true, false), (false, true), (true, true)] {
        let report = accepted(&build(last, kept).save());
        assert_eq!(report.cosigners, ["w1"]);
        assert!(!report.not_checked.contains(&NotChecked::SoleHistory));
    }
    // Without the demand, late witnesses are no misdeed.
    let mut log = build(false, false);
    log.trust = TestLog::sample().trust;
    accepted(&log.save());
}

#[test]
fn an_origin_without_tenant_and_label_has_no_folder() {
    let saved = TestLog::sample().save();
    for origin in ["main", "a/b", "example.org/../2026", "example.org//2026"] {
        let keys = Keys::new(1).public(origin);
        let trust = TrustFile::parse(&keys_public::trust_file_for(&keys)).unwrap();
        let options = VerifyOptions::default();
        let result = verify_dir(saved.dir.path(), &trust, &options, &|_| ());
        assert!(
            matches!(result, Err(VerifyError::Origin { .. })),
            "{origin}"
        );
    }
    accepted(&saved);
}
