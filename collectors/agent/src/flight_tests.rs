//! Frames that are aloft together, to a real log: what was let go behind a frame that is refused or
//! lost arrives all the same, once.

use std::sync::atomic::Ordering;

use ledger_core::Kind;

use crate::JournalBounds;
use crate::rig_tests::{Rig, rows};

const LAST: u64 = 9_000;

/// A source with much to read.
fn rig() -> Rig {
    let mut rig = Rig::new("audit");
    rig.bounds = JournalBounds::of_quota(64 << 20);
    rig.state = "large";
    rig.restart();
    rig.append("audit", rows(1..=LAST));
    rig
}

/// Steps and checkpoints until all is acknowledged.
fn ends(rig: &mut Rig) {
    for _ in 0..20 {
        rig.pass(61_000);
        rig.run();
        rig.publish();
        rig.run();
        if rig.follower.as_ref().unwrap().is_acknowledged() {
            break;
        }
    }
    let mut markers = rig.markers();
    markers.sort_unstable();
    assert!(markers.into_iter().eq(1..=LAST), "each once");
    assert_eq!((rig.count(Kind::CONFLICT), rig.count(Kind::FORGED)), (0, 0));
}

#[test]
fn no_more_than_two_frames_are_aloft_and_nothing_goes_twice() {
    let mut rig = rig();
    ends(&mut rig);
    rig.check_in_order(1..=LAST);
    // Whether there are two depends on how fast the log answers.
    let most = rig.way.lock().unwrap().most_aloft;
    assert!((1..=2).contains(&most), "{most}");
    let sent = rig.way.lock().unwrap().sent.len() as u64;
    assert_eq!(sent, LAST, "nothing goes twice");
}

#[test]
fn refusals_and_losses_that_are_known_late_cost_no_record() {
    for seed in 1..=3_u64 {
        println!("seed {seed}");
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut roll = |sides: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % sides
        };
        let mut rig = rig();
        for _ in 0..24 {
            {
                let mut way = rig.way.lock().unwrap();
                way.refuses = roll(5) == 0;
                way.loses = (0..roll(3)).map(|_| 1 + roll(LAST)).collect();
            }
            rig.away.store(roll(6) == 0, Ordering::Relaxed);
            if roll(4) == 0 {
                rig.pass(61_000);
            }
            rig.step().unwrap();
        }
        rig.away.store(false, Ordering::Relaxed);
        {
            let mut way = rig.way.lock().unwrap();
            way.refuses = false;
            way.loses.clear();
        }
        ends(&mut rig);
    }
}
