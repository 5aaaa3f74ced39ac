//! Entries, sources and numbers that lie with good checksums.

use ledger_core::entry::{Flags, Kind};
use ledger_core::state::SourceState;
use ledger_core::{Epoch, Index, Nanos, SourceId, TreeSize};
use ledger_event::facts::{Facts as _, Opened};

use super::log::{Draft, Plan, TestLog, fresh, registration};
use super::{accepted, built};
use crate::{MisdeedKind, NotChecked, Report};

/// The sample with one frame more, changed before it is written.
fn with_frame(drafts: Vec<Draft>, change: &dyn Fn(&mut Plan)) -> TestLog {
    let mut log = TestLog::sample();
    let mut plan = log.plan(drafts);
    change(&mut plan);
    log.write(plan);
    log
}

#[test]
fn an_illegal_entry_is_refused() {
    let build = |wrong: bool| {
        let mut log = TestLog::sample();
        let plan = log.plan(vec![Draft::message(1, 301)]);
        log.write_changed(plan, &|_, body| body.entries[13] = u8::from(wrong));
        log
    };
    built(&build, ".entries", &|what| {
        matches!(
            what,
            MisdeedKind::Entry {
                index: Index(311),
                ..
            }
        )
    });
}

#[test]
fn unknown_kinds_and_flags_are_refused_if_critical_and_counted_if_not() {
    for (kind, flags) in [(Kind(99), Flags::NONE), (Kind::EVENT, Flags(1 << 9))] {
        let build = |critical: bool| {
            let mut draft = Draft::message(1, 301).with(flags);
            draft.entry.kind = kind;
            with_frame(vec![draft.clone()], &|plan| {
                if critical {
                    plan.drafts[0].entry.flags = flags.with(Flags::CRITICAL);
                }
            })
        };
        built(&build, ".entries", &|what| {
            matches!(what, MisdeedKind::CriticalNotUnderstood { .. })
        });
        let report = accepted(&build(false).save());
        assert_eq!(report.not_understood.get(&kind), Some(&1));
        let said = NotChecked::NotUnderstood { count: 1 };
        assert!(report.not_checked.contains(&said));
    }
    // What is known may be critical.
    let log = with_frame(vec![Draft::message(1, 301).with(Flags::CRITICAL)], &|_| ());
    accepted(&log.save());
}

#[test]
fn ledger_time_that_goes_back_is_refused() {
    let build = |wrong: bool| {
        let drafts = vec![Draft::message(1, 301), Draft::message(1, 302)];
        with_frame(drafts, &|plan| {
            let before = plan.drafts[0].entry.ledger_time;
            plan.drafts[1].entry.ledger_time = Nanos(before.0 - i64::from(wrong));
        })
    };
    built(&build, ".entries", &|what| {
        matches!(what, MisdeedKind::LedgerTimeWentBack { index: Index(312) })
    });
}

#[test]
fn the_first_entry_and_no_other_is_opened() {
    let build = |wrong: bool| {
        let mut log = TestLog::empty();
        let facts = log.opened().to_json();
        let kind = if wrong { Kind::TICK } else { Kind::OPENED };
        log.append(vec![Draft::own(kind, &facts)]);
        log.sign();
        log.finish();
        log
    };
    let opened = |what: &MisdeedKind| matches!(what, MisdeedKind::Opened { .. });
    built(&build, ".entries", &opened);
    let build = |wrong: bool| {
        let kind = if wrong { Kind::OPENED } else { Kind::TICK };
        with_frame(vec![Draft::own(kind, b"{}")], &|_| ())
    };
    built(&build, ".entries", &opened);
}

#[test]
fn a_first_entry_that_disagrees_with_the_trust_file_is_refused() {
    type Change = fn(&mut Opened);
    let changes: [(&str, Change); 3] = [
        ("origin", |opened| opened.origin.push('x')),
        ("pair of keys", |opened| opened.keys.truncate(1)),
        ("pair of keys", |opened| opened.keys[0].push('A')),
    ];
    for (expected, change) in changes {
        let build = |wrong: bool| {
            let mut log = TestLog::empty();
            let mut opened = log.opened();
            if wrong {
                change(&mut opened);
            }
            log.append(vec![Draft::own(Kind::OPENED, &opened.to_json())]);
            log.sign();
            log.finish();
            log
        };
        built(
            &build,
            ".payloads.g0",
            &|what| matches!(what, MisdeedKind::OpenedDiffers { field } if *field == expected),
        );
    }
    let build = |wrong: bool| {
        let mut log = TestLog::empty();
        let mut facts = log.opened().to_json();
        facts.truncate(facts.len() - usize::from(wrong));
        log.append(vec![Draft::own(Kind::OPENED, &facts)]);
        log
    };
    accepted(&signed(build(false)).save());
    let report = super::verify(&signed(build(true)).save());
    super::names(&report, ".payloads.g0", &|what| {
        matches!(
            what,
            MisdeedKind::OpenedDiffers {
                field: "kind of facts"
            }
        )
    });
}

fn signed(mut log: TestLog) -> TestLog {
    log.sign();
    log.finish();
    log
}

#[test]
fn a_first_entry_without_its_facts_is_said_not_to_be_checked() {
    let mut log = TestLog::empty();
    let mut draft = Draft::own(Kind::OPENED, &log.opened().to_json());
    draft.erased[0] = true;
    log.append(vec![draft]);
    let report = accepted(&signed(log).save());
    assert!(report.not_checked.contains(&NotChecked::Opened));
}

#[test]
fn a_number_that_was_taken_is_refused() {
    // Sample: source 1 has 1–300; source 2 has 1, 101, 201, 202 (late), 204, 205.
    for (source, wrong_number, right_number, late) in [
        (1, 300, 301, false),
        (1, 1, 305, false),
        (2, 202, 203, true),
        (2, 206, 102, true),
        (1, 5, 302, true),
    ] {
        let build = |wrong: bool| {
            let number = if wrong { wrong_number } else { right_number };
            let late = late && (wrong || source == 2);
            let flags = if late { Flags::LATE } else { Flags::NONE };
            with_frame(vec![Draft::message(source, number).with(flags)], &|_| ())
        };
        built(&build, ".entries", &|what| {
            matches!(
                what,
                MisdeedKind::NumberTwice {
                    index: Index(311),
                    ..
                }
            )
        });
    }
}

#[test]
fn the_same_record_as_a_conflict_or_forged_is_taken() {
    for kind in [Kind::CONFLICT, Kind::FORGED] {
        let mut draft = Draft::message(1, 5);
        draft.entry.kind = kind;
        accepted(&with_frame(vec![draft], &|_| ()).save());
    }
    // And each stream has numbers of its own.
    let mut beat = Draft::message(1, 1);
    beat.entry.kind = Kind::HEARTBEAT;
    accepted(&with_frame(vec![beat], &|_| ()).save());
}

#[test]
fn an_epoch_that_goes_back_is_refused() {
    let build = |wrong: bool| {
        let mut draft = Draft::message(1, 1);
        draft.entry.epoch = Epoch(if wrong { 6 } else { 8 });
        with_frame(vec![draft], &|_| ())
    };
    built(&build, ".entries", &|what| {
        matches!(
            what,
            MisdeedKind::EpochWentBack {
                index: Index(311),
                ..
            }
        )
    });
}

#[test]
fn more_gaps_than_fit_are_refused() {
    let build = |wrong: bool| {
        let mut log = TestLog::new();
        log.register("first");
        let count = if wrong { 4000 } else { 64 };
        let mut plan = log.plan((1..=count).map(|n| Draft::message(1, 2 * n)).collect());
        if wrong {
            // No table holds so many, so whoever writes them has to leave them out.
            plan.sources[0].gaps.clear();
        }
        log.write(plan);
        signed(log)
    };
    let report = built(&build, ".entries", &|what| {
        matches!(what, MisdeedKind::GapsTooMany { .. })
    });
    // Two entries and 64 messages come before.
    let said = NotChecked::AfterDamage { size: TreeSize(66) };
    assert!(report.not_checked.contains(&said), "{report:?}");
}

#[test]
fn a_source_that_was_never_registered_is_refused_and_nothing_behind_it_is_read() {
    let unknown = |source_id: u32| {
        let expected = SourceId(source_id);
        move |what: &MisdeedKind| matches!(what, MisdeedKind::SourceUnknown { source_id } if *source_id == expected)
    };
    // Each misdeed would be one more source to keep in mind, and nothing bounds them.
    let ended = |report: &Report, size: u64| {
        let said = NotChecked::AfterDamage {
            size: TreeSize(size),
        };
        assert!(report.not_checked.contains(&said), "{report:?}");
        assert_eq!(report.misdeeds.len(), 1);
    };
    let build = |wrong: bool| {
        let first = if wrong { 3 } else { 1 };
        let drafts = (301..500).map(|n| {
            let other = if wrong { n } else { 0 };
            Draft::message(first + u32::try_from(other).unwrap(), n)
        });
        with_frame(drafts.collect(), &|_| ())
    };
    let report = built(&build, ".entries", &unknown(304));
    ended(&report, 311);
    // A conflict is no way around it, nor is a state without entries.
    let build = |wrong: bool| {
        let mut draft = Draft::message(if wrong { 3 } else { 2 }, 5);
        draft.entry.kind = Kind::CONFLICT;
        with_frame(vec![draft], &|_| ())
    };
    built(&build, ".entries", &unknown(3));
    let build = |wrong: bool| {
        with_frame(vec![Draft::message(1, 301)], &|plan| {
            if wrong {
                plan.sources.extend((3..999).map(|id| fresh(id, "more")));
            }
        })
    };
    let report = built(&build, ".entries", &unknown(3));
    ended(&report, 312);
    // An entry before the one that registers its source comes too early.
    let build = |wrong: bool| {
        let mut log = TestLog::sample();
        let mut drafts = vec![Draft::own(Kind::SOURCE, &registration(3, "third"))];
        drafts.insert(usize::from(!wrong), Draft::message(3, 1));
        let mut plan = log.plan(drafts);
        let mut state = fresh(3, "third");
        state.epoch = Epoch(7);
        state.marks[0].sequence.0 = 1;
        let sent = plan.drafts.iter().find(|draft| draft.entry.sequence.0 == 1);
        state.marks[0].mac = sent.unwrap().mac;
        plan.sources.push(state);
        log.write(plan);
        log
    };
    built(&build, ".entries", &unknown(3));
}

#[test]
fn a_source_whose_number_is_too_high_is_refused() {
    let build = |wrong: bool| {
        let source = if wrong { 9 } else { 1 };
        with_frame(vec![Draft::message(source, 301)], &|_| ())
    };
    built(&build, ".entries", &|what| {
        matches!(
            what,
            MisdeedKind::SourceUnknown {
                source_id: SourceId(9)
            }
        )
    });
}

#[test]
fn a_state_that_does_not_follow_from_the_entries_is_refused() {
    type Change = fn(&mut Vec<SourceState>);
    let changes: [(&str, Change); 8] = [
        ("mark", |states| states[0].marks[0].sequence.0 += 1),
        ("mark", |states| states[0].marks[0].mac.0[0] ^= 1),
        ("mark", |states| states[0].marks[1].sequence.0 += 1),
        ("epoch", |states| states[0].epoch.0 += 1),
        ("gap", |states| {
            states[0].gaps.pop();
        }),
        ("name", |states| states[0].name.push('x')),
        ("platform", |states| states[0].platform.push('x')),
        ("way of signing", |states| states[0].keyed = true),
    ];
    for (expected, change) in changes {
        let build = |wrong: bool| {
            with_frame(vec![Draft::message(1, 305)], &|plan| {
                if wrong {
                    change(&mut plan.sources);
                }
            })
        };
        built(
            &build,
            ".entries",
            &|what| matches!(what, MisdeedKind::SourceDiffers { field, .. } if *field == expected),
        );
    }
    let build = |wrong: bool| {
        with_frame(vec![Draft::message(1, 301)], &|plan| {
            if wrong {
                plan.sources.clear();
            }
        })
    };
    built(&build, ".entries", &|what| {
        matches!(what, MisdeedKind::SourceDiffers { .. })
    });
}

#[test]
fn sources_are_numbered_and_named_once() {
    for (name, expected) in [("first", "name"), ("third", "number")] {
        let build = |wrong: bool| {
            let mut log = TestLog::sample();
            log.register(if wrong { name } else { "other" });
            if wrong && expected == "number" {
                log = TestLog::sample();
                let registrations = (3..=7).map(|n| registration(n, name));
                let drafts = registrations.map(|facts| Draft::own(Kind::SOURCE, &facts));
                let mut plan = log.plan(drafts.collect());
                plan.sources.push(fresh(7, name));
                log.write(plan);
            }
            log
        };
        built(
            &build,
            ".entries",
            &|what| matches!(what, MisdeedKind::SourceDiffers { field, .. } if *field == expected),
        );
    }
}

#[test]
fn an_epoch_may_be_opened_before_its_first_message() {
    let log = with_frame(vec![Draft::own(Kind::EPOCH, b"{}")], &|plan| {
        plan.sources.push(SourceState {
            epoch: Epoch(9),
            ..fresh(1, "first")
        });
    });
    accepted(&log.save());
}

#[test]
fn a_source_is_what_the_entry_that_registered_it_commits_to() {
    // The tables agree with each other from the first frame on, and all checksums hold.
    type Change = fn(&mut SourceState);
    let changes: [(&str, Change); 3] = [
        ("name", |state| state.name.replace_range(.., "Z")),
        ("platform", |state| state.platform.push('x')),
        ("way of signing", |state| state.keyed = true),
    ];
    for (expected, change) in changes {
        let build = |wrong: bool| {
            let mut log = TestLog::new();
            let mut plan = log.plan(vec![Draft::own(Kind::SOURCE, &registration(1, "first"))]);
            plan.sources.push(fresh(1, "first"));
            if wrong {
                change(&mut plan.sources[0]);
            }
            log.write(plan);
            log.append(vec![Draft::message(1, 1)]);
            log.finish();
            log.append(vec![Draft::message(1, 2)]);
            signed(log)
        };
        built(&build, ".entries", &|what| {
            matches!(
                what,
                MisdeedKind::RegistrationDiffers { source_id: SourceId(1), field }
                    if *field == expected
            )
        });
    }
    // Every registration counts, and states come no later than with it.
    let build = |wrong: bool| {
        let mut log = TestLog::sample();
        let id = if wrong { 4 } else { 3 };
        log.register_as(&registration(id, "third"), 3, "third");
        log.append(vec![Draft::message(3, 1)]);
        if wrong {
            log.register("fourth");
        }
        log
    };
    built(&build, ".payloads.g0", &|what| {
        matches!(
            what,
            MisdeedKind::RegistrationDiffers { source_id: SourceId(4), field }
                if field.starts_with("state")
        )
    });
}

#[test]
fn a_source_without_an_entry_that_registered_it_is_refused() {
    let build = |wrong: bool| {
        let mut log = TestLog::sample();
        if wrong {
            log.register_as(&registration(1, "first"), 3, "third");
        } else {
            log.register("third");
        }
        log
    };
    built(&build, ".entries", &|what| {
        matches!(
            what,
            MisdeedKind::SourceUnregistered {
                source_id: SourceId(3)
            }
        )
    });
    let build = |wrong: bool| {
        let mut log = TestLog::sample();
        let facts = if wrong {
            b"{}".to_vec()
        } else {
            registration(3, "third")
        };
        log.register_as(&facts, 3, "third");
        log
    };
    built(&build, ".payloads.g0", &|what| {
        matches!(what, MisdeedKind::Registration { index: Index(311) })
    });
}

#[test]
fn a_registration_whose_facts_are_erased_is_said_not_to_be_checked() {
    let mut log = TestLog::sample();
    let mut draft = Draft::own(Kind::SOURCE, &registration(3, "third"));
    draft.erased[0] = true;
    let mut plan = log.plan(vec![draft]);
    plan.sources.push(fresh(3, "third"));
    log.write(plan);
    let report = accepted(&log.save());
    let said = NotChecked::Registrations { count: 1 };
    assert!(report.not_checked.contains(&said));
}
