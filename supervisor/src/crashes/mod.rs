//! Crash reports: one for every death, in `state_dir/crashes`, the newest ones. They are written on one thread of their own,
//! for a disk may hang: then reports are dropped, said loudly and counted, and nobody waits.

mod program;
mod report;
mod symbols;

pub use report::Remains;

use crate::{core::DeathRecord, state_dir::Files, told::told};
use bulkhead_proto::wire::crash::{MAX_REPORTS, Report, ReportStore};
use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};
use symbols::Symbols;
use tokio::{sync::oneshot, time::timeout};

/// How much the thread gives way to others, from 0 to 19: see nice(2).
const PATIENT: i32 = 10;

/// A report is written so long behind its death: the successor starts first, in a few milliseconds, and on two cores a
/// write and its sync would take a tenth of them.
const HEAD_START: Duration = Duration::from_millis(10);

/// So many reports wait for the disk at most: more deaths than a burst of all workers, in at most 64 x 60 KiB.
const WAITING: usize = 64;

/// How long the supervisor stays at its end to have the last reports written.
const LAST_REPORTS: Duration = Duration::from_secs(1);

/// The folder, and its one writer.
#[derive(Debug)]
pub struct Store {
    files: Files<Report>,
    /// Kept at most.
    most: usize,
}

impl Store {
    /// A store in that folder.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self { files: Files::new(path), most: MAX_REPORTS }
    }

    /// The folder, made when it is missing.
    ///
    /// # Errors
    /// When it cannot be made or opened.
    pub fn folder(&self) -> anyhow::Result<ReportStore> {
        self.files.folder()
    }

    /// Stores a report, and forgets the oldest ones that are too many.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn keep(&self, report: &Report) -> anyhow::Result<()> {
        let folder = self.folder()?;
        self.files.write(report)?;
        self.forget(&folder);
        Ok(())
    }

    /// The oldest reports make room. One that cannot be removed is in nobody's way, but for the room.
    fn forget(&self, folder: &ReportStore) {
        let old = folder.numbers().unwrap_or_default().into_iter().skip(self.most);
        for error in old.filter_map(|old| self.files.remove(old).err()) {
            tracing::warn!("an old crash report cannot be removed: {}", told(&error));
        }
    }
}

/// What is to be stored, and since when.
#[derive(Debug)]
struct Waiting {
    facts: Box<DeathRecord>,
    remains: Remains,
    since: Instant,
}

/// The way to the thread that stores.
#[derive(Debug)]
pub struct Desk {
    queue: SyncSender<Waiting>,
    /// Ends with the thread.
    end: oneshot::Receiver<()>,
    /// So many were dropped since one was taken.
    dropped: u64,
}

impl Desk {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there can be none.
    pub fn open(store: Arc<Store>) -> io::Result<Self> {
        let (queue, reports) = sync_channel(WAITING);
        let (alive, end) = oneshot::channel();
        let work = move || {
            work(&store, &reports);
            drop::<oneshot::Sender<()>>(alive);
        };
        thread::Builder::new().name("crashes".to_owned()).spawn(work)?;
        Ok(Self { queue, end, dropped: 0 })
    }

    /// Takes a report to be stored; never waits.
    pub fn take(&mut self, facts: Box<DeathRecord>, remains: Remains) {
        let crash = facts.crash.0;
        if self.queue.try_send(Waiting { facts, remains, since: Instant::now() }).is_err() {
            self.dropped = self.dropped.saturating_add(1);
            if self.dropped == 1 {
                tracing::error!(
                    event_name = "crash_report_failed",
                    crash,
                    "the report of crash {crash} is dropped: the disk has not taken the last {WAITING} yet"
                );
            }
            return;
        }
        let dropped = std::mem::take(&mut self.dropped);
        if dropped > 0 {
            tracing::warn!(dropped, "crash reports are taken again; {dropped} were dropped");
        }
    }

    /// Waits for the last reports, but not for long.
    pub async fn close(self) {
        let Self { queue, end, .. } = self;
        drop(queue);
        if timeout(LAST_REPORTS, end).await.is_err() {
            tracing::error!(
                event_name = "crash_report_failed",
                "the last crash reports are not stored: the disk does not answer"
            );
        }
    }
}

/// Stores what comes, to the end of the queue. A disk that refuses is told of once, until it takes one again.
fn work(store: &Store, reports: &Receiver<Waiting>) {
    // Of this thread alone, on Linux: names for a backtrace can wait, requests cannot. Where it is forbidden, it may hurry.
    let _ = rustix::process::nice(PATIENT);
    let (mut refused, mut symbols) = (0_u64, Symbols::default());
    while let Ok(Waiting { facts, remains, since }) = reports.recv() {
        thread::sleep(HEAD_START.saturating_sub(since.elapsed()));
        let crash = facts.crash.0;
        match store.keep(&report::report(*facts, remains, &mut symbols)) {
            Ok(()) if refused > 0 => {
                tracing::warn!(refused, "crash reports are stored again; {refused} could not be");
                refused = 0;
            }
            Ok(()) => {}
            Err(error) => {
                if refused == 0 {
                    tracing::error!(
                        event_name = "crash_report_failed",
                        crash,
                        "the report of crash {crash} cannot be stored: {}; the service goes on",
                        told(&error)
                    );
                }
                refused = refused.saturating_add(1);
            }
        }
    }
}

#[cfg(test)]
mod tests;
