//! How fast a log is verified. `cargo test --release -p ledger-verify measure -- --ignored --nocapture`
//!
//! Not here: a bound that fails on a busy machine.

use std::sync::Mutex;
use std::time::Instant;

use super::log::{Draft, TestLog};
use super::verify;
use crate::{Progress, VerifyOptions, verify_dir};

/// Entries of about 600 bytes in frames of 1,000.
fn large(entries: u64) -> TestLog {
    let mut log = TestLog::new();
    log.register("first");
    let statement = "UPDATE accounts SET balance = balance - 100 WHERE owner = ";
    for start in (1..=entries).step_by(1000) {
        let drafts = (start..start + 1000).map(|n| {
            let mut draft = Draft::message(1, n);
            draft.parts[0] = Some(
                format!(
                    "{{\"class_uid\":6005,\"activity_id\":3,\"time\":{n},\"actor\":\"{:016x}\",\
                     \"database\":\"cards\",\"table\":\"accounts\",\"session\":{}}}",
                    n.wrapping_mul(0x9e37_79b9_7f4a_7c15),
                    n / 50
                )
                .into_bytes(),
            );
            draft.parts[1] = Some(format!("{{\"name\":\"user{}\"}}", n % 97).into_bytes());
            draft.parts[2] = Some(format!("{statement}{n}; ").repeat(6).into_bytes());
            draft
        });
        log.append(drafts.collect());
        if start % 50_000 == 1 {
            log.sign();
        }
    }
    log.sign();
    log.finish();
    log
}

#[test]
#[ignore = "measures: run by hand"]
fn measure() {
    let saved = large(1_000_000).save();
    for _ in 0..3 {
        let started = Instant::now();
        let report = verify(&saved);
        let seconds = started.elapsed().as_secs_f64();
        assert!(report.verified(), "{:?}", report.misdeeds);
        let rate = report.entries as f64 / seconds;
        println!(
            "{} entries, {} bytes, {} payloads in {seconds:.2} s: {rate:.0}/s",
            report.entries, report.bytes, report.payloads_checked
        );
    }
}

#[test]
fn progress_only_grows_and_ends_at_the_whole() {
    let log = large(3000);
    let saved = log.save();
    let seen: Mutex<Vec<Progress>> = Mutex::default();
    let tell = |progress| seen.lock().unwrap().push(progress);
    let options = VerifyOptions::default();
    let report = verify_dir(saved.dir.path(), &saved.trust, &options, &tell).unwrap();
    let seen = seen.into_inner().unwrap();
    assert!(seen.windows(2).all(|pair| pair[0].bytes <= pair[1].bytes));
    let last = seen.last().unwrap();
    assert_eq!(last.entries, report.entries);
    assert_eq!(last.bytes, last.bytes_total);
}
