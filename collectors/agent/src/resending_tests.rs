//! What is lost or reordered on the way is sent again: over a way that loses what a test says, to a
//! real log.

use std::collections::BTreeSet;

use ledger_core::Kind;

use crate::rig_tests::{Rig, rows};

/// Steps and checkpoints for so many seconds of the rig's clock.
fn go_on(rig: &mut Rig, seconds: i64) {
    for _ in 0..seconds {
        rig.pass(750);
        rig.step().unwrap();
        rig.publish();
    }
}

fn all_once(rig: &Rig, last: u64) {
    let mut markers = rig.markers();
    markers.sort_unstable();
    assert_eq!(markers, (1..=last).collect::<Vec<_>>());
    assert_eq!(rig.count(Kind::CONFLICT), 0);
    assert_eq!(rig.count(Kind::FORGED), 0);
}

/// How many files the journal has.
fn segments(rig: &Rig) -> usize {
    let segments = std::fs::read_dir(rig.state_dir()).unwrap();
    let segments = segments.filter(|one| {
        let name = one.as_ref().unwrap().file_name();
        name.to_str().is_some_and(|name| name.ends_with(".journal"))
    });
    segments.count()
}

fn refused(rig: &Rig) -> Option<&str> {
    rig.follower.as_ref().unwrap().refused()
}

#[test]
fn missing_numbers_are_sent_again_and_not_more_often_than_makes_sense() {
    let mut rig = Rig::new("audit");
    rig.way.lock().unwrap().loses = BTreeSet::from([4, 5, 9]);
    rig.append("audit", rows(1..=10));
    go_on(&mut rig, 2);
    rig.append("audit", rows(11..=12));
    go_on(&mut rig, 60);
    let sent = |rig: &Rig, number| {
        let way = rig.way.lock().unwrap();
        way.sent.iter().filter(|one| **one == number).count()
    };
    // At 0, 5 + 5, 20, 40 seconds, about.
    let tries = sent(&rig, 4) - 1;
    assert!((3..=5).contains(&tries), "{tries}");
    assert_eq!((sent(&rig, 6), sent(&rig, 12)), (1, 1));
    assert_eq!(rig.markers().len(), 9);
    assert!(!rig.follower.as_ref().unwrap().is_acknowledged());

    // The twin: nothing is lost any more, and the journal still has them, also after a restart.
    rig.way.lock().unwrap().loses.clear();
    rig.restart();
    go_on(&mut rig, 3);
    all_once(&rig, 12);
    assert!(rig.follower.as_ref().unwrap().is_acknowledged());
    let before = rig.way.lock().unwrap().sent.len();
    go_on(&mut rig, 60);
    assert_eq!(rig.way.lock().unwrap().sent.len(), before);
}

#[test]
fn what_a_carrier_lost_is_sent_again() {
    let mut rig = Rig::new("audit");
    rig.way.lock().unwrap().carried = true;
    rig.append("audit", rows(1..=10));
    go_on(&mut rig, 3);
    rig.way.lock().unwrap().loses = (14..=20).collect();
    rig.append("audit", rows(11..=20));
    rig.step().unwrap();
    rig.way.lock().unwrap().loses.clear();
    go_on(&mut rig, 3);
    all_once(&rig, 20);
    assert_eq!(rig.count(Kind::GAP), 0);
    assert_eq!(refused(&rig), None);
}

#[test]
fn a_refusal_is_over_when_something_is_carried() {
    let mut rig = Rig::new("audit");
    rig.way.lock().unwrap().carried = true;
    rig.way.lock().unwrap().refuses = true;
    rig.append("audit", rows(1..=10));
    go_on(&mut rig, 3);
    assert_eq!(refused(&rig), Some("no right"));
    rig.way.lock().unwrap().refuses = false;
    go_on(&mut rig, 70);
    all_once(&rig, 10);
    assert_eq!(refused(&rig), None);
}

#[test]
fn what_the_log_does_not_take_is_refused_with_one_message_a_pause() {
    let mut rig = Rig::new("audit");
    rig.way.lock().unwrap().carried = true;
    go_on(&mut rig, 2);
    rig.way.lock().unwrap().loses = (1..=10).collect();
    rig.append("audit", rows(1..=10));
    go_on(&mut rig, 10);
    assert_eq!(
        refused(&rig),
        Some("the log read what was sent and did not take it")
    );
    let before = rig.way.lock().unwrap().sent.len();
    go_on(&mut rig, 180);
    let tried = rig.way.lock().unwrap().sent[before..].to_vec();
    assert!(tried.iter().all(|number| *number == 1), "{tried:?}");
    assert!((2..=3).contains(&tried.len()), "{tried:?}");
    rig.way.lock().unwrap().loses.clear();
    go_on(&mut rig, 70);
    all_once(&rig, 10);
    assert_eq!(refused(&rig), None);
}

/// Rows 11 to 20 are bound and not sent when the log hears of a later life. The first life goes on
/// over a way that carries, and loses them if it is to.
fn with_an_old_epoch(loses: bool) -> Rig {
    let mut rig = Rig::new("audit");
    rig.append("audit", rows(1..=10));
    go_on(&mut rig, 2);
    rig.away.store(true, std::sync::atomic::Ordering::Relaxed);
    rig.append("audit", rows(11..=20));
    rig.run();
    rig.stop();
    rig.away.store(false, std::sync::atomic::Ordering::Relaxed);
    rig.state = "other";
    rig.start();
    go_on(&mut rig, 2);
    rig.stop();
    rig.state = "state";
    {
        let mut way = rig.way.lock().unwrap();
        way.carried = true;
        if loses {
            way.loses = (11..=20).collect();
        }
    }
    rig.pass(100_000);
    rig.start();
    rig
}

#[test]
fn an_old_epoch_is_kept_until_something_sent_after_it_is_covered() {
    let mut rig = with_an_old_epoch(true);
    for _ in 0..8 {
        rig.step().unwrap();
        rig.publish();
    }
    rig.way.lock().unwrap().loses.clear();
    go_on(&mut rig, 130);
    let mut kept = rig.kept();
    kept.sort_unstable();
    kept.dedup();
    assert_eq!(kept, (1..=20).collect::<Vec<_>>());
    assert_eq!(segments(&rig), 1, "the life before is forgotten");
}

#[test]
fn an_old_epoch_is_kept_while_a_loss_waits_to_be_sent_again() {
    for lost in [true, false] {
        let mut rig = with_an_old_epoch(lost);
        // It is lost, sent again at once, and lost again; behind it the new epoch is covered
        // before it is time to send once more.
        go_on(&mut rig, 4);
        rig.append("audit", rows(21..=22));
        go_on(&mut rig, 2);
        assert!(rig.markers().contains(&22));
        let before = rig.way.lock().unwrap().sent.len();
        rig.way.lock().unwrap().loses.clear();
        go_on(&mut rig, 130);
        let sent = rig.way.lock().unwrap().sent[before..].to_vec();
        let again = (11..=20).all(|number| sent.contains(&number));
        assert_eq!(again, lost, "{sent:?}");
        assert_eq!(segments(&rig), 1, "the life before is forgotten");
    }
}

#[test]
fn whatever_the_way_loses_or_reorders_each_record_arrives_once() {
    for seed in 1..=4_u64 {
        let mut dice = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut roll = |sides: u64| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (dice >> 33) % sides
        };
        let mut rig = Rig::new("audit");
        let mut next = 1;
        for _ in 0..30 {
            {
                let mut way = rig.way.lock().unwrap();
                way.carried = roll(2) == 0;
                way.reorders = (roll(2) == 0).then(|| roll(1 << 30));
                way.loses = (0..roll(3)).map(|_| next + roll(20)).collect();
            }
            let last = next + roll(20);
            rig.append("audit", rows(next..=last));
            next = last + 1;
            if roll(6) == 0 {
                rig.restart();
            }
            go_on(&mut rig, 1 + i64::try_from(roll(4)).unwrap());
        }
        {
            let mut way = rig.way.lock().unwrap();
            (way.reorders, way.carried) = (None, false);
            way.loses.clear();
        }
        go_on(&mut rig, 45);
        println!("seed {seed}: {} records", next - 1);
        all_once(&rig, next - 1);
        assert!(
            rig.follower.as_ref().unwrap().is_acknowledged(),
            "seed {seed}"
        );
    }
}
