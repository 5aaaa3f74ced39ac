//! Verifying the directory of a log.
//!
//! Not here: a log given as tiles ([`crate::tiles`]).

use std::path::Path;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;

use keys_public::TrustFile;
use ledger_core::TreeSize;
use ledger_core::layout::LAST_NOTE;

use crate::arrays::{Arrays, End};
use crate::error::VerifyError;
use crate::folder::{Folder, Listing, list};
use crate::history::{Head, History};
use crate::marks::{Marks, Signed, read_last, read_since};
use crate::misdeed::MisdeedKind;
use crate::report::{NotChecked, Progress, Report, Tail, VerifyOptions};
use crate::segments::Walk;
use crate::work::{Desk, JOBS_WAITING_MAX, Shared, Worker};

/// Verifies the log of `trust` under `dir`, which holds `logs/`: every byte of every file of it, on
/// two threads.
///
/// Memory is bounded by the longest frame and the tables of sources and positions, whatever the
/// log's size. Nothing is changed.
///
/// # Errors
/// If nothing can be said: no such log, a file that cannot be read, a kept checkpoint that does not
/// hold. What is wrong with the log is in the report, which is not verified if it names a misdeed.
pub fn verify_dir(
    dir: &Path,
    trust: &TrustFile,
    options: &VerifyOptions,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Report, VerifyError> {
    let since = options.since.as_deref();
    let since = since.map(|note| read_since(note, trust)).transpose()?;
    let shared = Shared::new(trust);
    let mut not_checked = Vec::new();
    let mut listing = Listing {
        tail: options.tail,
        misdeeds: &shared.misdeeds,
        not_checked: &mut not_checked,
    };
    let folder = list(dir, trust.origin(), &mut listing)?;
    let (jobs, queue) = sync_channel(JOBS_WAITING_MAX);
    let mut report = std::thread::scope(|scope| {
        let seen = &shared;
        let second = scope.spawn(move || Worker::default().serve(&queue, seen));
        // The desk, and with it the queue's only sender, ends with this call.
        let report = walk(
            &folder,
            Desk::new(jobs, &shared),
            since,
            options.tail,
            progress,
        );
        let joined = second.join();
        // A panic of the second thread goes on in this one.
        joined.map_or_else(|panic| std::panic::resume_unwind(panic), |()| report)
    })?;
    shared.failure()?;
    not_checked.append(&mut report.not_checked);
    report.not_checked = not_checked;
    report.files = folder.files;
    report.bytes = folder.bytes;
    conclude(&mut report, &shared, &folder);
    Ok(report)
}

/// Reads the log front to back; signatures and payloads may still be under way when it returns.
fn walk(
    folder: &Folder,
    mut desk: Desk<'_>,
    since: Option<Signed>,
    tail: Tail,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Report, VerifyError> {
    let shared = desk.shared;
    // Notes are read before entries: a writer at work may only add to what they cover.
    let (has_note, has_history) = folder.has_notes();
    let last = if has_note {
        read_last(folder, shared.trust, &shared.misdeeds)?
    } else {
        None
    };
    let history = has_history
        .then(|| History::open(folder, tail, &mut desk))
        .transpose()?;
    let last_file = folder.relative(LAST_NOTE);
    compare_times(since.as_ref(), last.as_ref(), &last_file, shared);
    let since = since.map(|since| since.checkpoint);
    let marks = Marks::new(history, last, last_file, since);
    let arrays = Arrays::new(folder, &shared.misdeeds, tail);
    let mut walk = Walk::new(folder, desk, arrays, marks, tail, progress);
    walk.run()?;
    let size = walk.edge.size();
    let (cut, finished) = (walk.cut, walk.finished && tail == Tail::AtRest);
    walk.marks.finish(size, cut, &mut walk.desk)?;
    say_running(&mut walk, size);
    if !cut {
        // Whoever is running has written the hashes of all that it signed.
        let signed = walk
            .marks
            .last_size()
            .filter(|_| tail == Tail::BeingWritten);
        let end = End {
            size,
            durable: walk.durable.max(signed.unwrap_or_default()),
            finished,
        };
        if !walk.finished && tail == Tail::AtRest {
            check_unfinished(&mut walk, size, shared);
        }
        walk.arrays.finish(&end, &mut walk.not_checked)?;
        let stopped = finished && walk.marks.last_size() == Some(size);
        check_history_end(&walk.marks, stopped, shared, &mut walk.not_checked);
    }
    let head = walk.marks.last.as_ref().and_then(|last| last.head.clone());
    let mut report = Report {
        entries: size.0,
        root: walk.edge.root(),
        not_understood: walk.rules.not_understood,
        checkpoints_checked: walk.marks.history.as_ref().map_or(0, History::notes),
        not_checked: walk.not_checked,
        ..Report::default()
    };
    if walk.marks.since_met {
        report.since = walk.marks.since.as_ref().map(|since| since.size);
    }
    if let Some(head) = head {
        take_head(&mut report, head);
    }
    // Signing times of kept checkpoints are compared with the last note's when all are checked.
    report.pq_timestamp = walk.marks.last.map_or(0, |last| last.pq_timestamp);
    Ok(report)
}

/// What is left out because a server is writing.
fn say_running(walk: &mut Walk<'_, '_>, size: TreeSize) {
    if walk.tail == Tail::BeingWritten {
        let signed = walk.marks.last_size().unwrap_or_default();
        walk.not_checked.push(NotChecked::Running { size, signed });
    }
    if let Some(file) = walk.marks.history.as_ref().and_then(History::half) {
        walk.not_checked.push(NotChecked::BeingWritten { file });
    }
}

fn take_head(report: &mut Report, head: Head) {
    report.checkpoint = Some(head.checkpoint);
    report.pq_timestamp = head.pq_timestamp;
    report.cosigners = head.cosigners;
}

/// The auditor's checkpoint was signed before the last note, if it is no larger.
fn compare_times(since: Option<&Signed>, last: Option<&Signed>, file: &str, shared: &Shared<'_>) {
    if let (Some(since), Some(last)) = (since, last)
        && since.checkpoint.size <= last.checkpoint.size
        && since.pq_timestamp > last.pq_timestamp
    {
        let what = MisdeedKind::TimeWentBack {
            clock: "signed time",
            before: i128::from(since.pq_timestamp),
            found: i128::from(last.pq_timestamp),
        };
        shared.misdeeds.add(file, None, what);
    }
}

/// A log that was stopped ends with a finish frame, whatever a segment that was only begun says.
fn check_unfinished(walk: &mut Walk<'_, '_>, size: TreeSize, shared: &Shared<'_>) {
    let stopped_at = walk
        .marks
        .history
        .as_ref()
        .and_then(|history| history.stopped_at);
    let (first, name) = &walk.last;
    if stopped_at == Some(size) && first.0 < size.0 {
        shared
            .misdeeds
            .add(name, None, MisdeedKind::FinishMissing { size });
    } else {
        walk.not_checked.push(NotChecked::Interrupted);
    }
}

/// A log that was stopped has a checkpoint over all its entries and keeps it in the history; an
/// interrupted one may not have come to it.
fn check_history_end(
    marks: &Marks,
    stopped: bool,
    shared: &Shared<'_>,
    not_checked: &mut Vec<NotChecked>,
) {
    let (Some(history), Some(last)) = (&marks.history, &marks.last) else {
        return;
    };
    let newest = history.newest.unwrap_or_default();
    let last = last.checkpoint.size;
    if newest >= last {
        return;
    }
    if stopped {
        let what = MisdeedKind::HistoryEndsEarly { newest, last };
        shared.misdeeds.add(history.name(), None, what);
    } else {
        not_checked.push(NotChecked::HistoryBehind);
    }
}

/// What is known only when both threads are done.
fn conclude(report: &mut Report, shared: &Shared<'_>, folder: &Folder) {
    let last_file = folder.relative(LAST_NOTE);
    let timeline = &mut *shared
        .timeline
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    if report.pq_timestamp > 0 && timeline.latest > report.pq_timestamp {
        let what = MisdeedKind::TimeWentBack {
            clock: "signed time",
            before: i128::from(timeline.latest),
            found: i128::from(report.pq_timestamp),
        };
        shared.misdeeds.add(&last_file, None, what);
    }
    // With witnesses asked for, the newest checkpoint that they signed is what holds.
    let kept = timeline.head.take();
    match (&report.checkpoint, kept) {
        (None, Some(head)) if shared.trust.needs_witnesses() => take_head(report, head),
        (None, _) if folder.has_notes().0 && shared.trust.needs_witnesses() => {
            shared
                .misdeeds
                .add(&last_file, None, MisdeedKind::NeverWitnessed);
        }
        _ => {}
    }
    report
        .not_checked
        .extend(shared.registry.finish(&shared.misdeeds));
    report.not_checked.push(NotChecked::Unbound);
    report.payloads_checked = shared.payloads_checked.load(Ordering::Relaxed);
    report.parts_erased = shared.parts_erased.load(Ordering::Relaxed);
    let (misdeeds, beyond) = shared.misdeeds.take();
    report.misdeeds = misdeeds;
    report.misdeeds_beyond = beyond;
    let opened = shared.opened_checked.load(Ordering::Relaxed);
    report.close(opened);
}
