//! The link as each process holds it: the supervisor makes the memory, the API and the analysis open their parts.

use crate::{
    bell::{Bell, Waker},
    board::BoardReader,
    cursor::{self, CURSOR_WORDS, Hand, LastWords, Refused, Signalled},
    fds::{Bequest, FdError, FdName, Inherited},
    ids::{Generation, Seq},
    ring::{
        AppendError, Appended, Batch, Consumer, KEY_WINDOW, KeyedRequest, Outcome, PRODUCER_WORDS, Producer,
        Tail, key_log_bytes, read_tail, set_tail,
    },
    segment::{Kind, ReadOnly, ReadWrite, Segment, SegmentError},
    shared::WORD,
    state_memory::StateMemory,
    status::Status,
    table::{Geometry, Record, Table, View},
};
use std::{
    ops::ControlFlow,
    sync::{Arc, Mutex, PoisonError},
};

/// The ledger and the status board, in bytes: two slots of nearly half of this each. 64 workers with their last
/// crashes take up less than a quarter of a slot.
const BOARD_BYTES: usize = 512 << 10;

/// The supervisor's page, in words: room for the epoch.
const WATCH_WORDS: usize = 512;

/// Why a link could not be made or opened.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// A segment.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// An inherited fd.
    #[error(transparent)]
    Fd(#[from] FdError),
    /// The system says no.
    #[error("cannot make the link: {0}")]
    Io(#[from] std::io::Error),
}

impl From<rustix::io::Errno> for LinkError {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Io(errno.into())
    }
}

/// All the memory of one service, as the supervisor holds it. It outlives every worker.
#[derive(Debug)]
pub struct Memory {
    events: Segment,
    producer: Segment,
    keys: Segment,
    cursor: Segment,
    state: Segment,
    ledger: Segment,
    board: Segment,
    bell: Bell,
    watch: Segment,
    alarm: Bell,
    // The supervisor's own views, read-only: for post-mortems and the snapshot.
    events_view: ReadOnly,
    producer_view: ReadOnly,
    cursor_view: ReadOnly,
    table: Table<ReadOnly>,
}

/// What the supervisor finds in shared memory after a death of the analysis. All of it was checked against what others
/// own; nothing of it is believed beyond that.
#[derive(Clone, Debug)]
pub struct PostMortem {
    /// Whose hand it is: a generation that died before it took the page over had nothing in hand.
    pub owner: Generation,
    /// The event that was being applied, or whose series was being loaded, if there was one: committed < seq <= the last
    /// one accepted.
    pub in_hand: Option<Seq>,
    /// The last event of a commit that was under way, if one was: in the same range.
    pub committing: Option<Seq>,
    /// What it was doing.
    pub hand: Hand,
    /// The last event that is in the state.
    pub committed: Seq,
    /// The last event that was accepted.
    pub accepted: Seq,
    /// A panic's text.
    pub last_words: Option<LastWords>,
    /// Memory that it was refused, with what it had in hand at its death.
    pub refused: Option<Refused>,
    /// The signal of the last fault, and which generation's that was.
    pub signalled: Option<(Generation, Signalled)>,
    /// The bytes of the event in hand, or of the last one of the commit: none when there is no such record where the
    /// analysis says that it is.
    pub payload: Option<Vec<u8>>,
}

/// How far the analysis says that it is. Nothing here is beyond what was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Whose words the next two are.
    pub owner: Generation,
    /// The event in hand, or the last one; 0 when it names one that was never accepted.
    pub seq: Seq,
    /// The steps that it counted: see [`cursor::step`].
    pub steps: u64,
    /// The last event that is in the state; likewise.
    pub committed: Seq,
    /// Whether events wait for it.
    pub pending: bool,
}

impl Memory {
    /// Makes all segments. `capacity` is the ring's, in bytes, a power of two; `max_series` counts without the overflow
    /// series; `instance` tells this service's segments from others'.
    ///
    /// # Errors
    /// When the system has no fds or no memory left.
    pub fn create(capacity: u64, max_series: u32, instance: u64) -> Result<Self, LinkError> {
        Self::with_key_window(capacity, max_series, instance, KEY_WINDOW)
    }

    /// As [`Self::create`], remembering that many keyed requests, 1 or more: for tests that go around their log.
    ///
    /// # Errors
    /// As for [`Self::create`].
    pub fn with_key_window(
        capacity: u64,
        max_series: u32,
        instance: u64,
        key_window: u64,
    ) -> Result<Self, LinkError> {
        let table = Geometry::new(max_series.saturating_add(1));
        let make = |kind, bytes, prefault| Segment::create(kind, bytes, instance, prefault);
        let events = make(Kind::Events, crate::shared::index(capacity), true)?;
        let producer = make(Kind::Producer, PRODUCER_WORDS * WORD, true)?;
        // Takes memory when keys are used. The supervisor maps it for its snapshots alone.
        let keys = make(Kind::Keys, key_log_bytes(key_window), false)?;
        let cursor = make(Kind::Cursor, CURSOR_WORDS * WORD, true)?;
        // Bodies take memory when they are first written: most tables are much smaller than they could be.
        let state = make(Kind::State, table.bytes(), false)?;
        crate::ring::init_lock(&producer.map()?)?;
        Ok(Self {
            events_view: ReadOnly::map(&events, Kind::Events)?,
            producer_view: ReadOnly::map(&producer, Kind::Producer)?,
            cursor_view: ReadOnly::map(&cursor, Kind::Cursor)?,
            table: Table::new(ReadOnly::map(&state, Kind::State)?),
            ledger: make(Kind::Ledger, BOARD_BYTES, true)?,
            board: make(Kind::Board, BOARD_BYTES, true)?,
            bell: Bell::create()?,
            watch: make(Kind::Watch, WATCH_WORDS * WORD, true)?,
            alarm: Bell::create()?,
            events,
            producer,
            keys,
            cursor,
            state,
        })
    }

    /// The memory that an API worker inherits.
    ///
    /// # Errors
    /// When there are no fds left.
    pub fn bequeath_to_api(&self, bequest: &mut Bequest) -> Result<(), LinkError> {
        bequest.add(FdName::Events, self.events.writable()?);
        bequest.add(FdName::Producer, self.producer.writable()?);
        bequest.add(FdName::Keys, self.keys.writable()?);
        bequest.add(FdName::Cursor, self.cursor.read_only()?);
        bequest.add(FdName::State, self.state.read_only()?);
        bequest.add(FdName::Board, self.board.read_only()?);
        bequest.add(FdName::Bell, self.bell.try_clone()?);
        bequest.add(FdName::Watch, self.watch.read_only()?);
        bequest.add(FdName::Alarm, self.alarm.try_clone()?);
        Ok(())
    }

    /// The memory that an analysis inherits: the events are a read-only description, so that a wild write there faults
    /// instead of corrupting what others sent.
    ///
    /// # Errors
    /// When there are no fds left.
    pub fn bequeath_to_analytics(&self, bequest: &mut Bequest) -> Result<(), LinkError> {
        bequest.add(FdName::Events, self.events.read_only()?);
        bequest.add(FdName::Producer, self.producer.read_only()?);
        bequest.add(FdName::Cursor, self.cursor.writable()?);
        bequest.add(FdName::State, self.state.writable()?);
        bequest.add(FdName::Bell, self.bell.try_clone()?);
        Ok(())
    }

    /// The ledger, for its one writer.
    ///
    /// # Errors
    /// When the system refuses the mapping.
    pub fn ledger(&self) -> Result<ReadWrite, LinkError> {
        Ok(self.ledger.map()?)
    }

    /// The status board, for its one writer.
    ///
    /// # Errors
    /// When the system refuses the mapping.
    pub fn board(&self) -> Result<ReadWrite, LinkError> {
        Ok(self.board.map()?)
    }

    /// The page on which the supervisor parks ([`crate::bell`]), for its one writer.
    ///
    /// # Errors
    /// When the system refuses the mapping.
    pub fn watch(&self) -> Result<ReadWrite, LinkError> {
        Ok(self.watch.map()?)
    }

    /// What wakes a parked supervisor.
    ///
    /// # Errors
    /// When there are no fds left.
    pub fn alarm(&self) -> Result<Bell, LinkError> {
        Ok(Bell::from(self.alarm.try_clone()?))
    }

    /// Rings the bell of the analysis: after every death, for the publisher may have died between publishing and ringing.
    pub fn kick(&self) {
        self.bell.kick();
    }

    /// Where the ring ends.
    #[must_use]
    pub fn tail(&self) -> Tail {
        read_tail(&self.producer_view).unwrap_or(Tail::EMPTY)
    }

    /// The last commit; none when its record does not verify.
    #[must_use]
    pub fn record(&self) -> Option<Record> {
        self.table.record()
    }

    /// What can be said of the analysis that just died, or of one that is still alive.
    #[must_use]
    pub fn post_mortem(&self) -> PostMortem {
        let (record, tail) = (self.record().unwrap_or_default(), self.tail());
        let settled = record.analysed.checked_add(record.skipped) == Some(tail.accepted);
        // Behind a gap, the next seq says nothing of what was accepted last.
        let accepted = if settled { record.seq } else { tail.last_seq() };
        let committed = record.seq;
        let hand = cursor::hand(&self.cursor_view);
        let possible = Some(hand.seq).filter(|&seq| committed < seq && seq <= accepted);
        let (in_hand, committing) = match hand.doing {
            cursor::Doing::Apply | cursor::Doing::Load => (possible, None),
            cursor::Doing::Commit => (None, possible),
            cursor::Doing::Idle => (None, None),
        };
        let (owner, last_words) = (cursor::owner(&self.cursor_view), cursor::last_words(&self.cursor_view));
        let refused = cursor::refused(&self.cursor_view);
        let payload = in_hand.or(committing).and_then(|seq| self.in_hand(&record, seq));
        let signalled = cursor::signalled(&self.cursor_view);
        PostMortem {
            owner,
            in_hand,
            committing,
            hand,
            committed,
            accepted,
            last_words,
            refused,
            signalled,
            payload,
        }
    }

    /// The bytes of the event in hand. The place is looked up where the analysis says, and nothing that stands there is
    /// believed.
    fn in_hand(&self, record: &Record, seq: Seq) -> Option<Vec<u8>> {
        let place = cursor::read(&self.cursor_view);
        let before = Seq(seq.0.checked_sub(1)?);
        if place < record.position {
            return None;
        }
        let mut consumer = Consumer::attach(&self.events_view, &self.producer_view, place, before).ok()?;
        let mut payload = Vec::new();
        let found = consumer.next(&mut payload).ok()??;
        (found == seq).then_some(payload)
    }

    /// How far the analysis is. Checked like a post-mortem.
    #[must_use]
    pub fn progress(&self) -> Progress {
        // The record first: what it counts was accepted before the tail was read.
        let (record, tail) = (self.record().unwrap_or_default(), self.tail());
        let page = &self.cursor_view;
        let possible = |seq: Seq| if seq <= tail.last_seq() { seq } else { Seq(0) };
        Progress {
            owner: cursor::owner(page),
            seq: possible(cursor::hand(page).seq),
            steps: cursor::steps(page),
            committed: possible(record.seq),
            // By the places in the ring, as the analysis itself looks for work: one wrong count of the API's must not
            // make it look hung for ever.
            pending: record.position != tail.head,
        }
    }

    /// The bytes of an event that was accepted and is not committed; none when it is not found.
    #[must_use]
    pub fn pending(&self, seq: Seq) -> Option<Vec<u8>> {
        let mut bytes = None;
        self.each_pending(|found, payload| {
            bytes = (found == seq).then(|| payload.to_vec());
            if found < seq { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        bytes
    }

    /// Shows each event that was accepted and is not committed, with its bytes, until it is told to stop: the ring is read
    /// from the last commit on, as far as what stands in it can be a record, and nothing of it is believed.
    pub fn each_pending(&self, mut see: impl FnMut(Seq, &[u8]) -> ControlFlow<()>) {
        let Some(record) = self.record() else { return };
        let views = (&self.events_view, &self.producer_view);
        let Ok(mut consumer) = Consumer::attach(views.0, views.1, record.position, record.seq) else {
            return;
        };
        let mut payload = Vec::new();
        while let Ok(Some(seq)) = consumer.next(&mut payload) {
            if see(seq, &payload).is_break() {
                return;
            }
        }
    }

    /// Continues with a later seq, leaving a gap: after a loss, so that no number is used twice. Only before any worker
    /// was started.
    ///
    /// # Errors
    /// When the system refuses the mapping.
    pub fn continue_from(&self, next_seq: Seq) -> Result<(), LinkError> {
        let tail = self.tail();
        set_tail(&self.producer.map()?, Tail { next_seq: next_seq.max(tail.next_seq), ..tail });
        Ok(())
    }

    pub(crate) const fn views(&self) -> (&ReadOnly, &ReadOnly, &Table<ReadOnly>) {
        (&self.events_view, &self.producer_view, &self.table)
    }

    pub(crate) fn keys(&self) -> Result<ReadWrite, LinkError> {
        Ok(self.keys.map()?)
    }

    pub(crate) fn writable(&self) -> Result<(ReadWrite, ReadWrite, StateMemory), LinkError> {
        Ok((self.events.map()?, self.producer.map()?, StateMemory::map(self.state.writable()?)?))
    }
}

/// The link as the API holds it: appends events, reads state.
#[derive(Debug)]
pub struct ApiLink {
    producer: Producer,
    watch: Waker<ReadOnly>,
    alarm: Bell,
    view: View<ReadOnly>,
    board: Mutex<BoardReader<ReadOnly, Status>>,
    plausible: Mutex<Record>,
}

/// The figures of the link at one moment, consistent with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// The last commit.
    pub record: Record,
    /// Where the ring ended after that commit.
    pub tail: Tail,
    /// Events accepted, and neither analysed nor set aside.
    pub pending: u64,
    /// What the ring holds, in bytes.
    pub used_bytes: u64,
    /// The ring's capacity, in bytes.
    pub capacity_bytes: u64,
    /// When the oldest pending event arrived, Unix milliseconds.
    pub oldest_arrival_ms: Option<i64>,
}

impl ApiLink {
    /// Opens the API's part. The fds are closed again; the mappings stay.
    ///
    /// # Errors
    /// When an fd is missing or is no such segment.
    pub fn open(fds: &mut Inherited) -> Result<Self, LinkError> {
        let events = ReadWrite::map(fds.take(FdName::Events)?, Kind::Events)?;
        let page = ReadWrite::map(fds.take(FdName::Producer)?, Kind::Producer)?;
        let keys = ReadWrite::map(fds.take(FdName::Keys)?, Kind::Keys)?;
        let cursor = Arc::new(ReadOnly::map(fds.take(FdName::Cursor)?, Kind::Cursor)?);
        let state = ReadOnly::map(fds.take(FdName::State)?, Kind::State)?;
        let board = ReadOnly::map(fds.take(FdName::Board)?, Kind::Board)?;
        let bell = Bell::from(fds.take(FdName::Bell)?);
        Ok(Self {
            producer: Producer::attach(events, page, keys, cursor, bell),
            watch: Waker::new(ReadOnly::map(fds.take(FdName::Watch)?, Kind::Watch)?),
            alarm: Bell::from(fds.take(FdName::Alarm)?),
            view: View::new(state),
            board: Mutex::new(BoardReader::new(board)),
            plausible: Mutex::default(),
        })
    }

    /// Opens the API's part within the supervisor's process: for tests of the API without processes.
    ///
    /// # Errors
    /// When the system refuses a mapping.
    pub fn open_within(memory: &Memory) -> Result<Self, LinkError> {
        let cursor = Arc::new(ReadOnly::map(&memory.cursor, Kind::Cursor)?);
        let bell = Bell::from(memory.bell.try_clone()?);
        let (events, page, keys) = (memory.events.map()?, memory.producer.map()?, memory.keys.map()?);
        Ok(Self {
            producer: Producer::attach(events, page, keys, cursor, bell),
            watch: Waker::new(ReadOnly::map(&memory.watch, Kind::Watch)?),
            alarm: Bell::from(memory.alarm.try_clone()?),
            view: View::new(ReadOnly::map(&memory.state, Kind::State)?),
            board: Mutex::new(BoardReader::new(ReadOnly::map(&memory.board, Kind::Board)?)),
            plausible: Mutex::default(),
        })
    }

    /// Appends all of a batch or nothing, and wakes the analysis, and the supervisor, if they sleep.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub fn append(&self, batch: &mut Batch) -> Result<Appended, AppendError> {
        let appended = self.producer.append(batch, || self.view.record().position)?;
        self.watch.wake_too(&self.alarm);
        Ok(appended)
    }

    /// As [`Self::append`], unless the request was carried out before.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub fn append_keyed(&self, batch: &mut Batch, request: KeyedRequest) -> Result<Outcome, AppendError> {
        let outcome = self.producer.append_keyed(batch, request, || self.view.record().position)?;
        if matches!(outcome, Outcome::Appended(_)) {
            self.watch.wake_too(&self.alarm);
        }
        Ok(outcome)
    }

    /// What came of this request when it was carried out before. None when it was not, or is forgotten.
    ///
    /// # Errors
    /// When the key was used for another request, or the lock does not work.
    pub fn find(&self, request: &KeyedRequest) -> Result<Option<Appended>, AppendError> {
        self.producer.find(request)
    }

    /// How many of the remembered requests turned out to be unreadable since this was last asked: their repeats are taken
    /// for new requests.
    pub fn take_unreadable_keys(&self) -> u64 {
        self.producer.take_unreadable_keys()
    }

    /// The state, by series.
    pub const fn view(&self) -> &View<ReadOnly> {
        &self.view
    }

    /// Where the ring ends.
    pub fn tail(&self) -> Tail {
        self.producer.tail()
    }

    /// Whether an event that was accepted may still be applied, or skipped: it is neither before the last commit nor before
    /// the oldest event in the ring.
    pub fn may_be_pending(&self, seq: Seq) -> bool {
        let record = self.view.record();
        record.seq < seq
            && match self.producer.oldest(record.position, record.seq) {
                Ok(oldest) => oldest.is_some_and(|(oldest, _)| oldest <= seq),
                // It is being committed in this very moment.
                Err(_) => true,
            }
    }

    /// The status board, as the supervisor last published it.
    pub fn status(&self) -> Option<Status> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner).read().cloned()
    }

    /// One consistent reading.
    pub fn figures(&self) -> Figures {
        let (record, tail) = self.record_and_tail();
        let pending = tail.accepted.saturating_sub(record.analysed.saturating_add(record.skipped));
        let oldest = || self.producer.oldest_arrival_ms(record.position, record.seq);
        Figures {
            record,
            tail,
            pending,
            used_bytes: tail.head.0.saturating_sub(record.position.0),
            capacity_bytes: self.producer.capacity(),
            oldest_arrival_ms: if pending > 0 { oldest() } else { None },
        }
    }

    /// The analysis is not trusted: a record that claims more than was accepted is not shown; the last plausible one is.
    /// Under one lock, so that no reader pairs another's newer record with its own older tail.
    fn record_and_tail(&self) -> (Record, Tail) {
        let mut last = self.plausible.lock().unwrap_or_else(PoisonError::into_inner);
        // The record first: what it counts was accepted before, so that the tail read after it covers it.
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

/// The link as the analysis holds it.
#[derive(Debug)]
pub struct AnalyticsLink {
    /// The events ring, read-only memory from a read-only description.
    pub events: ReadOnly,
    /// The producer's page.
    pub producer: ReadOnly,
    /// Its own page.
    pub cursor: Arc<ReadWrite>,
    /// The state table.
    pub state: StateMemory,
    /// What wakes it.
    pub bell: Bell,
}

impl AnalyticsLink {
    /// Opens the analysis' part. All fds but the state table's and the bell's are closed again.
    ///
    /// # Errors
    /// When an fd is missing or is no such segment.
    pub fn open(fds: &mut Inherited) -> Result<Self, LinkError> {
        Ok(Self {
            events: ReadOnly::map(fds.take(FdName::Events)?, Kind::Events)?,
            producer: ReadOnly::map(fds.take(FdName::Producer)?, Kind::Producer)?,
            cursor: Arc::new(ReadWrite::map(fds.take(FdName::Cursor)?, Kind::Cursor)?),
            state: StateMemory::map(fds.take(FdName::State)?)?,
            bell: Bell::from(fds.take(FdName::Bell)?),
        })
    }

    /// Opens the analysis' part within the supervisor's process: for tests without processes.
    ///
    /// # Errors
    /// When the system refuses a mapping.
    pub fn open_within(memory: &Memory) -> Result<Self, LinkError> {
        Ok(Self {
            events: ReadOnly::map(memory.events.read_only()?, Kind::Events)?,
            producer: ReadOnly::map(&memory.producer, Kind::Producer)?,
            cursor: Arc::new(memory.cursor.map()?),
            state: StateMemory::map(memory.state.writable()?)?,
            bell: Bell::from(memory.bell.try_clone()?),
        })
    }
}
