//! Two threads: one reads frames in their order, the other takes what can be checked in any order,
//! payloads and signatures; when it is busy, the first does such work itself.
//!
//! Not here: what the work is ([`crate::payloads`], [`crate::history`]).

use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError};
use std::sync::{Mutex, PoisonError};

use keys_public::TrustFile;

use crate::error::VerifyError;
use crate::history::{NoteJob, Timeline};
use crate::misdeed::Misdeeds;
use crate::payloads::{PayloadChecker, PayloadJob};
use crate::registry::Registry;

/// Jobs that wait for the second thread: each holds about a mebibyte at most.
pub(crate) const JOBS_WAITING_MAX: usize = 4;

/// What both threads see.
pub(crate) struct Shared<'a> {
    pub(crate) trust: &'a TrustFile,
    pub(crate) misdeeds: Misdeeds,
    pub(crate) payloads_checked: AtomicU64,
    pub(crate) parts_erased: AtomicU64,
    /// The facts of the first entry are there and were compared with the trust file.
    pub(crate) opened_checked: AtomicBool,
    pub(crate) registry: Registry,
    pub(crate) timeline: Mutex<Timeline>,
    failed: Mutex<Option<VerifyError>>,
}

impl<'a> Shared<'a> {
    pub(crate) fn new(trust: &'a TrustFile) -> Shared<'a> {
        Shared {
            trust,
            misdeeds: Misdeeds::default(),
            payloads_checked: AtomicU64::new(0),
            parts_erased: AtomicU64::new(0),
            opened_checked: AtomicBool::new(false),
            registry: Registry::default(),
            timeline: Mutex::new(Timeline::default()),
            failed: Mutex::new(None),
        }
    }

    /// The first error of the second thread, once.
    pub(crate) fn failure(&self) -> Result<(), VerifyError> {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.take().map_or(Ok(()), Err)
    }
}

/// Something that can be checked in any order.
pub(crate) enum Job {
    Payloads(PayloadJob),
    Note(Box<NoteJob>),
}

/// Whoever does jobs, with its reused buffers.
#[derive(Default)]
pub(crate) struct Worker {
    payloads: PayloadChecker,
}

impl Worker {
    /// Takes jobs until there are no more.
    pub(crate) fn serve(mut self, jobs: &Receiver<Job>, shared: &Shared<'_>) {
        while let Ok(job) = jobs.recv() {
            if let Err(error) = self.run(job, shared) {
                let mut failed = shared.failed.lock().unwrap_or_else(PoisonError::into_inner);
                failed.get_or_insert(error);
            }
        }
    }

    fn run(&mut self, job: Job, shared: &Shared<'_>) -> Result<(), VerifyError> {
        match job {
            Job::Payloads(job) => self.payloads.check(&job, shared),
            Job::Note(job) => {
                job.check(shared);
                Ok(())
            }
        }
    }
}

/// The first thread's side: a queue, and a worker of its own for when the queue is full.
pub(crate) struct Desk<'a> {
    jobs: SyncSender<Job>,
    own: Worker,
    pub(crate) shared: &'a Shared<'a>,
}

impl<'a> Desk<'a> {
    pub(crate) fn new(jobs: SyncSender<Job>, shared: &'a Shared<'a>) -> Desk<'a> {
        Desk {
            jobs,
            own: Worker::default(),
            shared,
        }
    }

    /// Hands a job to the second thread, or does it.
    pub(crate) fn give(&mut self, job: Job) -> Result<(), VerifyError> {
        match self.jobs.try_send(job) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => {
                self.own.run(job, self.shared)
            }
        }
    }
}
