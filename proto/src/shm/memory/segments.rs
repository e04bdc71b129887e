//! The segments of one service: their creation, and the supervisor's access to them.

use crate::{
    shm::{
        access::{WORD, index},
        cursor::CURSOR_WORDS,
        ring::{KEY_WINDOW, PRODUCER_WORDS, Tail, init_lock, key_log_bytes, read_tail, set_tail},
        segment::{Kind, ReadOnly, ReadWrite, Segment, SegmentError},
        state_memory::StateMemory,
        table::{CommitRecord, Geometry, TableReader},
        wake::WakeFd,
    },
    wire::ids::Seq,
};

/// The size of the ledger and of the status page, in bytes. Each holds two slots of nearly half this size. 64 workers with
/// their last crashes take less than a quarter of a slot.
const SEQLOCK_BYTES: usize = 512 << 10;

/// The size of the supervisor's page, in words. It holds the park epoch only.
const SUPERVISOR_PAGE_WORDS: usize = 512;

/// Why the memory could not be created or mapped.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// A segment could not be created or mapped.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// Another system call failed.
    #[error("cannot create the shared memory: {0}")]
    Io(#[from] std::io::Error),
}

impl From<rustix::io::Errno> for MemoryError {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Io(errno.into())
    }
}

/// All the memory of one service, as the supervisor holds it. It outlives every worker.
#[derive(Debug)]
pub struct SharedMemory {
    pub(crate) events: Segment,
    pub(crate) producer: Segment,
    pub(crate) keys: Segment,
    pub(crate) cursor: Segment,
    pub(crate) state: Segment,
    pub(crate) ledger: Segment,
    pub(crate) status_page: Segment,
    pub(crate) analytics_wake: WakeFd,
    pub(crate) supervisor_page: Segment,
    pub(crate) supervisor_wake: WakeFd,
    // The supervisor's own read-only views, for post-mortems and the snapshot.
    pub(super) events_view: ReadOnly,
    pub(super) producer_view: ReadOnly,
    pub(super) cursor_view: ReadOnly,
    table: TableReader<ReadOnly>,
    geometry: Geometry,
}

/// The sizes of the memory that tests make small.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// The number of keyed requests that are remembered, 1 or more.
    pub key_window: u64,
    /// The dimensions of the state table.
    pub table: Geometry,
}

impl SharedMemory {
    /// Creates all segments. `capacity` is the size of the ring in bytes, a power of two. `max_series` does not count the
    /// overflow series. `instance` distinguishes the segments of this service from those of others.
    ///
    /// # Errors
    /// If the system has no fds or no memory left.
    pub fn create(capacity: u64, max_series: u32, instance: u64) -> Result<Self, MemoryError> {
        let table = Geometry::new(max_series.saturating_add(1));
        Self::with_sizes(capacity, instance, Sizes { key_window: KEY_WINDOW, table })
    }

    /// Like [`Self::create`], with other sizes. For tests that fill the memory.
    ///
    /// # Errors
    /// As for [`Self::create`].
    pub fn with_sizes(capacity: u64, instance: u64, sizes: Sizes) -> Result<Self, MemoryError> {
        let Sizes { key_window, table } = sizes;
        let make = |kind, bytes, prefault| Segment::create(kind, bytes, instance, prefault);
        let events = make(Kind::Events, index(capacity), true)?;
        let producer = make(Kind::Producer, PRODUCER_WORDS * WORD, true)?;
        // Not prefaulted: takes memory only when keys are used. The supervisor maps it only for its snapshots.
        let keys = make(Kind::Keys, key_log_bytes(key_window), false)?;
        let cursor = make(Kind::Cursor, CURSOR_WORDS * WORD, true)?;
        // Not prefaulted: a slot and a body take memory when they are first written.
        let state = make(Kind::State, table.bytes(), false)?;
        init_lock(&producer.map()?)?;
        Ok(Self {
            events_view: ReadOnly::map(&events, Kind::Events)?,
            producer_view: ReadOnly::map(&producer, Kind::Producer)?,
            cursor_view: ReadOnly::map(&cursor, Kind::Cursor)?,
            table: TableReader::new(ReadOnly::map(&state, Kind::State)?, table.slots()),
            geometry: table,
            ledger: make(Kind::Ledger, SEQLOCK_BYTES, true)?,
            status_page: make(Kind::StatusPage, SEQLOCK_BYTES, true)?,
            analytics_wake: WakeFd::create()?,
            supervisor_page: make(Kind::SupervisorPage, SUPERVISOR_PAGE_WORDS * WORD, true)?,
            supervisor_wake: WakeFd::create()?,
            events,
            producer,
            keys,
            cursor,
            state,
        })
    }

    /// Maps the ledger, for its only writer.
    ///
    /// # Errors
    /// If the system refuses the mapping.
    pub fn ledger(&self) -> Result<ReadWrite, MemoryError> {
        Ok(self.ledger.map()?)
    }

    /// Maps the status page, for its only writer.
    ///
    /// # Errors
    /// If the system refuses the mapping.
    pub fn status_page(&self) -> Result<ReadWrite, MemoryError> {
        Ok(self.status_page.map()?)
    }

    /// Maps the page on which the supervisor parks ([`crate::shm::wake`]), for its only writer.
    ///
    /// # Errors
    /// If the system refuses the mapping.
    pub fn supervisor_page(&self) -> Result<ReadWrite, MemoryError> {
        Ok(self.supervisor_page.map()?)
    }

    /// Another fd of the eventfd that wakes a parked supervisor.
    ///
    /// # Errors
    /// If there are no fds left.
    pub fn supervisor_wake(&self) -> Result<WakeFd, MemoryError> {
        Ok(WakeFd::from(self.supervisor_wake.try_clone()?))
    }

    /// Wakes the analysis. Call it after every death: the publisher may have died between publishing and waking.
    pub fn wake_analytics(&self) {
        self.analytics_wake.notify();
    }

    /// Where the ring ends.
    #[must_use]
    pub fn tail(&self) -> Tail {
        read_tail(&self.producer_view).unwrap_or(Tail::EMPTY)
    }

    /// The last commit. `None` if its record does not verify.
    #[must_use]
    pub fn record(&self) -> Option<CommitRecord> {
        self.table.record()
    }

    /// Continues with a later seq and leaves a gap, so that no seq is used twice after a loss. Call it only before any worker
    /// is started.
    ///
    /// # Errors
    /// If the system refuses the mapping.
    pub fn continue_from(&self, next_seq: Seq) -> Result<(), MemoryError> {
        let tail = self.tail();
        set_tail(&self.producer.map()?, Tail { next_seq: next_seq.max(tail.next_seq), ..tail });
        Ok(())
    }

    /// The dimensions of the state table.
    #[must_use]
    pub const fn table(&self) -> Geometry {
        self.geometry
    }

    pub(crate) const fn views(&self) -> (&ReadOnly, &ReadOnly, &TableReader<ReadOnly>) {
        (&self.events_view, &self.producer_view, &self.table)
    }

    pub(crate) fn keys(&self) -> Result<ReadWrite, MemoryError> {
        Ok(self.keys.map()?)
    }

    pub(crate) fn writable(&self) -> Result<(ReadWrite, ReadWrite, StateMemory), MemoryError> {
        Ok((
            self.events.map()?,
            self.producer.map()?,
            StateMemory::map(self.state.writable()?, self.geometry.slots())?,
        ))
    }
}
