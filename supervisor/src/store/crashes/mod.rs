//! Crash reports: one per death, as JSON files in `state_dir/crashes`; the newest are kept. A separate thread writes
//! them: no caller waits for a disk that hangs. If the queue of this thread is full, reports are dropped and counted,
//! and an error is logged.

mod debug_info;
mod symbolizer;
#[cfg(test)]
pub(crate) mod test_report;

use super::record_writer::RecordWriter;
use crate::{core::DeathRecord, display::error_chain};
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
use symbolizer::Symbolizer;
use tokio::{sync::oneshot, time::timeout};

/// Nice value of the thread, so that requests get the CPU first. See nice(2).
const NICENESS: i32 = 10;

/// Time from a death to the write of its report. The successor starts first, within a few milliseconds. On two cores, a
/// write and sync during the start would delay its first commit by a tenth.
const WRITE_DELAY: Duration = Duration::from_millis(10);

/// Reports that may wait to be written: more than a burst of deaths of all workers. At most 64 x 60 KiB of memory.
const QUEUE_LENGTH: usize = 64;

/// How long a stopping supervisor waits until the last reports are written.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The directory and its only writer.
#[derive(Debug)]
pub struct CrashStore {
    writer: RecordWriter<Report>,
    /// Maximum number of reports.
    capacity: usize,
}

impl CrashStore {
    /// A store in this directory.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self { writer: RecordWriter::new(path), capacity: MAX_REPORTS }
    }

    /// Opens the directory for reading. Creates it if it is missing.
    ///
    /// # Errors
    /// The directory cannot be created or opened.
    pub fn records(&self) -> anyhow::Result<ReportStore> {
        self.writer.records()
    }

    /// Stores a report durably, and removes the oldest reports beyond the capacity.
    ///
    /// # Errors
    /// The disk refuses the write.
    pub fn insert(&self, report: &Report) -> anyhow::Result<()> {
        let records = self.records()?;
        self.writer.write(report)?;
        self.remove_oldest(&records);
        Ok(())
    }

    /// Logs failures only: a report that cannot be removed only occupies disk space.
    fn remove_oldest(&self, records: &ReportStore) {
        let old = records.numbers().unwrap_or_default().into_iter().skip(self.capacity);
        for error in old.filter_map(|old| self.writer.remove(old).err()) {
            tracing::warn!("cannot remove an old crash report: {}", error_chain(&error));
        }
    }
}

/// A death whose report is to be written.
#[derive(Debug)]
struct QueuedDeath {
    record: DeathRecord,
    queued_at: Instant,
}

/// Queue to the thread that writes the reports.
#[derive(Debug)]
pub struct ReportQueue {
    /// `None` once the queue is closed.
    sender: Option<SyncSender<QueuedDeath>>,
    /// Closed when the thread ends.
    finished: oneshot::Receiver<()>,
    /// Reports dropped since the last one that was queued.
    dropped: u64,
}

impl ReportQueue {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub fn open(store: Arc<CrashStore>) -> io::Result<Self> {
        let (sender, deaths) = sync_channel(QUEUE_LENGTH);
        let (running, finished) = oneshot::channel();
        let work = move || {
            write_reports(&store, &deaths);
            drop::<oneshot::Sender<()>>(running);
        };
        thread::Builder::new().name("crashes".to_owned()).spawn(work)?;
        Ok(Self { sender: Some(sender), finished, dropped: 0 })
    }

    /// Queues the report of a death. Never blocks: drops the report if the queue is full.
    pub fn submit(&mut self, record: DeathRecord) {
        let Some(sender) = &self.sender else { return };
        let crash = record.report.id.0;
        if sender.try_send(QueuedDeath { record, queued_at: Instant::now() }).is_err() {
            self.dropped = self.dropped.saturating_add(1);
            if self.dropped == 1 {
                tracing::error!(
                    event_name = "crash_report_failed",
                    crash,
                    "dropped crash report {crash}: {QUEUE_LENGTH} reports already wait to be written"
                );
            }
            return;
        }
        let dropped = std::mem::take(&mut self.dropped);
        if dropped > 0 {
            tracing::warn!(dropped, "crash reports are queued again; {dropped} reports were dropped");
        }
    }

    /// Closes the queue, and waits for a limited time until the queued reports are written.
    pub async fn close(&mut self, limit: Duration) {
        self.sender = None;
        if timeout(limit, &mut self.finished).await.is_err() {
            tracing::error!(
                event_name = "crash_report_failed",
                "the last crash reports are not stored: writing them takes longer than {} s",
                limit.as_secs()
            );
        }
    }
}

/// Writes reports until the queue is closed. Logs only the first of consecutive failures.
fn write_reports(store: &CrashStore, deaths: &Receiver<QueuedDeath>) {
    // On Linux, the nice value belongs to the thread. If nice(2) fails, the thread only competes for the CPU.
    let _ = rustix::process::nice(NICENESS);
    let (mut failed, mut symbolizer) = (0_u64, Symbolizer::default());
    while let Ok(QueuedDeath { record: DeathRecord { mut report, stack, .. }, queued_at }) = deaths.recv() {
        thread::sleep(WRITE_DELAY.saturating_sub(queued_at.elapsed()));
        let crash = report.id.0;
        report.backtrace = symbolizer.resolve(&stack);
        match store.insert(&report) {
            Ok(()) if failed > 0 => {
                tracing::warn!(
                    refused = failed,
                    "crash reports are stored again; {failed} reports could not be stored"
                );
                failed = 0;
            }
            Ok(()) => {}
            Err(error) => {
                if failed == 0 {
                    tracing::error!(
                        event_name = "crash_report_failed",
                        crash,
                        "cannot store crash report {crash}: {}; the service continues without the report",
                        error_chain(&error)
                    );
                }
                failed = failed.saturating_add(1);
            }
        }
    }
}

#[cfg(test)]
mod tests;
