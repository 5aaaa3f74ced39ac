//! The last record of a form whose records may go on, in a file that nobody writes to for a while.

use crate::rig_tests::Rig;

fn line(n: u64) -> String {
    format!("2026-11-23 09:42:03.134 UTC [9831] LOG:  marker n={n};\n")
}

#[test]
fn the_last_record_waits_for_a_pause_and_no_longer() {
    let mut rig = Rig::new("audit");
    rig.append("audit", line(1) + &line(2));
    rig.run();
    rig.check_in_order(1..=1);
    rig.quiet();
    rig.check_in_order(1..=2);
    // A line without its end is no record, however long it stays so.
    let third = line(3);
    let (begins, ends) = third.split_at(50);
    rig.append("audit", begins);
    rig.quiet();
    rig.check_in_order(1..=2);
    rig.append("audit", ends);
    rig.quiet();
    rig.check_in_order(1..=3);
    // What was taken is not taken again, also by an agent that was killed.
    rig.restart();
    rig.append("audit", line(4));
    rig.quiet();
    rig.check_in_order(1..=4);
    assert_eq!(rig.unparsed(), Vec::<String>::new());
}

#[test]
fn a_record_that_goes_on_after_the_pause_loses_nothing_and_shows_nothing() {
    for killed in [false, true] {
        let mut rig = Rig::new("audit");
        // The twin: in time it is one record.
        rig.append("audit", line(1) + "\twith more of it\n" + &line(2));
        rig.quiet();
        rig.check_in_order(1..=2);
        assert_eq!(rig.unparsed(), Vec::<String>::new());
        if killed {
            rig.restart();
        }
        rig.append("audit", "\tgeheim\n".to_owned() + &line(3));
        rig.quiet();
        rig.check_in_order(1..=3);
        let unparsed = rig.unparsed();
        assert_eq!(unparsed.len(), 1, "{unparsed:?}");
        assert!(unparsed[0].contains("\"raw_data\":\"***\""), "{unparsed:?}");
    }
}

#[test]
fn the_last_record_of_a_file_that_was_rotated_away_is_taken() {
    let mut rig = Rig::new("audit");
    rig.append("audit", line(1) + &line(2));
    rig.run();
    rig.rename("audit", "audit.1");
    rig.append("audit", line(3) + &line(4));
    rig.run();
    rig.quiet();
    // The younger file does not wait for the older one to be left.
    rig.check(1..=4);
}
