//! The link as the API holds it: it appends events and reads state.

use super::error::LinkError;
use crate::{
    shm::{
        memory::SharedMemory,
        ring::{AppendError, AppendOutcome, Appended, Batch, KeyedRequest, Producer, Tail},
        segment::{Kind, ReadOnly, ReadWrite},
        seqlock::SeqlockReader,
        table::{CommitRecord, SeriesView},
        wake::{WakeFd, Waker},
    },
    wire::{ids::Seq, status::Status},
    worker::fds::{FdHandoff, FdName, InheritedFds},
};
use std::sync::{Arc, Mutex, PoisonError};

/// The link as the API holds it: it appends events and reads state.
#[derive(Debug)]
pub struct ApiLink {
    producer: Producer,
    supervisor: Waker<ReadOnly>,
    supervisor_wake: WakeFd,
    view: SeriesView<ReadOnly>,
    status_page: Mutex<SeqlockReader<ReadOnly, Status>>,
    plausible: Mutex<CommitRecord>,
}

/// The state of the link at one moment. All values are consistent with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkStats {
    /// The last commit.
    pub record: CommitRecord,
    /// Where the ring ended after that commit.
    pub tail: Tail,
    /// The number of events that were accepted and neither analysed nor skipped.
    pub pending: u64,
    /// The bytes in use in the ring.
    pub used_bytes: u64,
    /// The capacity of the ring, in bytes.
    pub capacity_bytes: u64,
    /// When the oldest pending event arrived, in Unix milliseconds. `None` if it was committed during the read.
    pub oldest_arrival_ms: Option<i64>,
}

impl ApiLink {
    /// Opens the part of the API, with a state table of `slots` slots. Closes the fds of all segments; the mappings stay.
    ///
    /// # Errors
    /// If an fd is missing or is not the expected segment.
    pub fn open(fds: &mut InheritedFds, slots: u32) -> Result<Self, LinkError> {
        let events = ReadWrite::map(fds.take(FdName::Events)?, Kind::Events)?;
        let page = ReadWrite::map(fds.take(FdName::Producer)?, Kind::Producer)?;
        let keys = ReadWrite::map(fds.take(FdName::Keys)?, Kind::Keys)?;
        let cursor = Arc::new(ReadOnly::map(fds.take(FdName::Cursor)?, Kind::Cursor)?);
        let state = ReadOnly::map(fds.take(FdName::State)?, Kind::State)?;
        let status_page = ReadOnly::map(fds.take(FdName::StatusPage)?, Kind::StatusPage)?;
        let wake = WakeFd::from(fds.take(FdName::AnalyticsWake)?);
        Ok(Self {
            producer: Producer::attach(events, page, keys, cursor, wake),
            supervisor: Waker::new(ReadOnly::map(fds.take(FdName::SupervisorPage)?, Kind::SupervisorPage)?),
            supervisor_wake: WakeFd::from(fds.take(FdName::SupervisorWake)?),
            view: SeriesView::new(state, slots),
            status_page: Mutex::new(SeqlockReader::new(status_page)),
            plausible: Mutex::default(),
        })
    }

    /// Opens the part of the API in the supervisor's process: for tests without worker processes.
    ///
    /// # Errors
    /// If the system refuses a mapping.
    pub fn open_in_process(memory: &SharedMemory) -> Result<Self, LinkError> {
        let mut handoff = FdHandoff::default();
        memory.pass_to_api(&mut handoff)?;
        Self::open(&mut handoff.into(), memory.table().slots())
    }

    /// Appends all of a batch or nothing. Wakes the analysis and the supervisor if they are parked.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub fn append(&self, batch: &mut Batch) -> Result<Appended, AppendError> {
        let appended = self.producer.append(batch, || self.view.record().position)?;
        self.supervisor.wake_after_fence(&self.supervisor_wake);
        Ok(appended)
    }

    /// Like [`Self::append`], but appends nothing if the request was carried out before.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub fn append_keyed(
        &self,
        batch: &mut Batch,
        request: KeyedRequest,
    ) -> Result<AppendOutcome, AppendError> {
        let outcome = self.producer.append_keyed(batch, request, || self.view.record().position)?;
        if matches!(outcome, AppendOutcome::Appended(_)) {
            self.supervisor.wake_after_fence(&self.supervisor_wake);
        }
        Ok(outcome)
    }

    /// The seqs that this request got when it was carried out. `None` if it was not carried out or is no longer
    /// remembered.
    ///
    /// # Errors
    /// If the key was used for another request, or the lock failed.
    pub fn find(&self, request: &KeyedRequest) -> Result<Option<Appended>, AppendError> {
        self.producer.find(request)
    }

    /// The number of remembered requests that could not be read, since the last call. A repeat of such a request is treated
    /// as a new request.
    pub fn take_unreadable_keys(&self) -> u64 {
        self.producer.take_unreadable_keys()
    }

    /// The state, by series.
    pub const fn view(&self) -> &SeriesView<ReadOnly> {
        &self.view
    }

    /// Where the ring ends.
    pub fn tail(&self) -> Tail {
        self.producer.tail()
    }

    /// Whether an accepted event may still be applied or skipped: it is after the last commit, and not before the oldest
    /// event in the ring.
    pub fn may_be_pending(&self, seq: Seq) -> bool {
        let record = self.view.record();
        record.seq < seq
            && match self.producer.oldest(record.position, record.seq) {
                Ok(oldest) => oldest.is_some_and(|(oldest, _)| oldest <= seq),
                // The ring moved during the read: the event is being committed now.
                Err(_) => true,
            }
    }

    /// The status that the supervisor published last.
    pub fn status(&self) -> Option<Status> {
        self.status_page.lock().unwrap_or_else(PoisonError::into_inner).read().cloned()
    }

    /// Reads all values, consistent with each other.
    pub fn stats(&self) -> LinkStats {
        let (record, tail) = self.record_and_tail();
        let pending = tail.accepted.saturating_sub(record.analysed.saturating_add(record.skipped));
        // Only a commit lets an append overwrite the event: without a commit since, what was read is whole.
        let is_unchanged = |_: &i64| self.view.record().position == record.position;
        let oldest = || self.producer.oldest_arrival_ms(record.position, record.seq).filter(is_unchanged);
        LinkStats {
            record,
            tail,
            pending,
            used_bytes: tail.head.0.saturating_sub(record.position.0),
            capacity_bytes: self.producer.capacity(),
            oldest_arrival_ms: if pending > 0 { oldest() } else { None },
        }
    }

    /// The last plausible commit record, and the tail. The analysis is not trusted: a record that claims more than was
    /// accepted is ignored. The lock keeps a thread from pairing another thread's newer record with its own older tail.
    fn record_and_tail(&self) -> (CommitRecord, Tail) {
        let mut last = self.plausible.lock().unwrap_or_else(PoisonError::into_inner);
        // Read the record before the tail: then the tail covers every event that the record counts.
        let record = self.view.record();
        let tail = self.producer.tail();
        let counted = record.analysed.checked_add(record.skipped);
        let possible = counted.is_some_and(|counted| counted <= tail.accepted)
            && record.position <= tail.head
            && record.seq <= tail.last_seq();
        if possible && record.commit >= last.commit {
            *last = record;
        }
        (*last, tail)
    }
}
