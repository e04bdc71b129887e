//! The two ends of a ring, as the API and the analysis hold them.

use super::{SLOTS, Wait};
use crate::{
    api_fds::{api_fds, take},
    peer::PeerSetup,
};
use anyhow::{Context, bail};
use bulkhead_proto::{
    shm::{
        memory::SharedMemory,
        ring::{AppendError, Appender, Batch, Consumer, Producer},
        segment::{Kind, ReadOnly, ReadWrite},
        state_memory::StateMemory,
        table::{CommitRecord, TableReader, TableWriter},
        wake::{self, WakeFd},
    },
    worker::link::{AnalyticsLink, ApiLink},
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    fs::File,
    hint::{black_box, spin_loop},
    io,
    os::fd::AsFd,
    sync::Arc,
};

/// A streaming consumer that finds the ring empty polls again after this number of pauses, so that the
/// producer can use its own cache lines undisturbed.
const MIN_PAUSES: u32 = 200;

/// The number of pauses doubles when the consumer then finds less than this share of the ring.
const RESUME_SHARE: u64 = 64;

/// The largest number of pauses. A pause takes about 40 ns on the development machine.
const MAX_PAUSES: u32 = 8 * MIN_PAUSES;

/// A commit frees the ring after this share of it was read.
const RELEASE_SHARE: u64 = 8;

/// The number of attempts before a check whether the other side is still alive.
const POLLS_PER_CHECK: u32 = 1 << 20;

/// The longest sleep before such a check.
const MAX_SLEEP: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// The end that appends.
pub(super) enum SourceEnd {
    /// The complete link of the API.
    Api(Box<ApiLink>),
    /// The producer without the rest of the link.
    Producer(Box<Producer>, TableReader<ReadOnly>),
    /// The appender alone.
    AppenderOnly(Box<Appender<ReadWrite, ReadWrite>>, TableReader<ReadOnly>),
}

impl SourceEnd {
    /// An appender over the memory that an API would inherit.
    pub(super) fn appender_only(memory: &SharedMemory) -> anyhow::Result<Self> {
        let (_, mut fds) = api_fds(memory)?;
        let mut take_fd = |name| take(&mut fds, name);
        let (events, producer, state) = (take_fd("events")?, take_fd("producer")?, take_fd("state")?);
        Ok(Self::AppenderOnly(Box::new(appender(events, producer)?), table(state)?))
    }
}

fn appender(events: impl AsFd, producer: impl AsFd) -> anyhow::Result<Appender<ReadWrite, ReadWrite>> {
    let (events, page) = (ReadWrite::map(events, Kind::Events)?, ReadWrite::map(producer, Kind::Producer)?);
    Ok(Appender::attach(events, page))
}

fn table(state: impl AsFd) -> anyhow::Result<TableReader<ReadOnly>> {
    Ok(TableReader::new(ReadOnly::map(state, Kind::State)?, SLOTS))
}

/// The setup of a peer that appends to `memory`: the fds, their names, and the wake fd as its standard input.
pub(super) fn setup_for_source(memory: &SharedMemory, variable: &'static str) -> anyhow::Result<PeerSetup> {
    let (names, mut fds) = api_fds(memory)?;
    let wake = take(&mut fds, "bell")?; // prose: allow
    Ok(PeerSetup {
        stdin: Some(wake),
        fds: fds.into_values().collect(),
        env: vec![(variable, names)],
        ..PeerSetup::default()
    })
}

/// The appending end that [`setup_for_source`] passed. The inherited fds have no owner in this process, so
/// they are opened again by number.
pub(super) fn inherited_source(variable: &str, appender_only: bool) -> anyhow::Result<SourceEnd> {
    let open = |name: &str, write: bool| -> anyhow::Result<File> {
        let mut entries = variable.split(',').filter_map(|entry| entry.split_once('='));
        let (_, number) = entries.find(|(found, _)| *found == name).context("an fd is missing")?;
        let path = format!("/proc/self/fd/{number}");
        File::options().read(true).write(write).open(&path).with_context(|| format!("cannot open {path}"))
    };
    let (events, producer, state) = (open("events", true)?, open("producer", true)?, open("state", false)?);
    if appender_only {
        return Ok(SourceEnd::AppenderOnly(Box::new(appender(events, producer)?), table(state)?));
    }
    let cursor = Arc::new(ReadOnly::map(open("cursor", false)?, Kind::Cursor)?);
    let wake = WakeFd::from(io::stdin().as_fd().try_clone_to_owned()?);
    let (events, page) = (ReadWrite::map(events, Kind::Events)?, ReadWrite::map(producer, Kind::Producer)?);
    let keys = ReadWrite::map(open("keys", true)?, Kind::Keys)?;
    Ok(SourceEnd::Producer(Box::new(Producer::attach(events, page, keys, cursor, wake)), table(state)?))
}

/// The appending end, with its batch.
pub(super) struct Source {
    end: SourceEnd,
    batch: Batch,
}

impl Source {
    pub(super) const fn new(end: SourceEnd) -> Self {
        Self { end, batch: Batch::new() }
    }

    /// Appends a message, or a batch with `count` copies of it, as soon as there is room. Calls `check` from
    /// time to time, because the other side must make room.
    #[inline]
    pub(super) fn append(
        &mut self,
        message: &[u8],
        count: u64,
        mut check: impl FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.batch.clear();
        for _ in 0..count {
            self.batch.push_bytes(black_box(message));
        }
        for attempt in 1u32.. {
            let result = match &mut self.end {
                SourceEnd::Api(link) => link.append(&mut self.batch),
                SourceEnd::Producer(producer, table) => {
                    producer.append(&mut self.batch, || table.record().unwrap_or_default().position)
                }
                SourceEnd::AppenderOnly(appender, table) => {
                    appender.append(&mut self.batch, || table.record().unwrap_or_default().position)
                }
            };
            match result {
                Ok(_) => return Ok(()),
                Err(AppendError::Full { .. }) => pause(MIN_PAUSES),
                Err(error) => return Err(error.into()),
            }
            if attempt.is_multiple_of(POLLS_PER_CHECK / MIN_PAUSES) {
                check()?;
            }
        }
        bail!("the ring stays full")
    }
}

fn pause(count: u32) {
    for _ in 0..count {
        spin_loop();
    }
}

/// The message that was taken last.
#[derive(Default)]
pub(super) struct Received {
    pub(super) payload: Vec<u8>,
}

/// The reading end.
pub(super) struct Sink {
    consumer: Consumer<ReadOnly, ReadOnly>,
    cursor: Arc<ReadWrite>,
    table: TableWriter<StateMemory>,
    wake: WakeFd,
    capacity: u64,
}

impl Sink {
    pub(super) fn new(link: AnalyticsLink) -> anyhow::Result<Self> {
        let AnalyticsLink { events, producer, cursor, state, wake } = link;
        let mut table = TableWriter::attach(state, SLOTS).context("the state table does not verify")?;
        table.activate();
        let record = *table.record();
        let capacity = bulkhead_proto::shm::ring::MIN_CAPACITY;
        let consumer = Consumer::attach(events, producer, record.position, record.seq)?;
        Ok(Self { consumer, cursor, table, wake, capacity })
    }

    /// Takes all messages of a stream.
    pub(super) fn drain(&mut self, wait: Wait, count: u64) -> anyhow::Result<()> {
        let (mut payload, mut left) = (Vec::new(), count);
        let (mut pauses, mut last_position) = (MIN_PAUSES, 0);
        while left > 0 {
            if self.consumer.next(&mut payload)?.is_some() {
                black_box(&payload);
                left -= 1;
                self.release()?;
            } else {
                match wait {
                    Wait::Spin => {
                        let enough =
                            self.consumer.position().0 - last_position >= self.capacity / RESUME_SHARE;
                        pauses = if enough { MIN_PAUSES.max(pauses / 2) } else { MAX_PAUSES.min(pauses * 2) };
                        last_position = self.consumer.position().0;
                        pause(pauses);
                    }
                    Wait::Park => {
                        self.park()?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes one message as soon as there is one.
    #[inline]
    pub(super) fn take(
        &mut self,
        wait: Wait,
        received: &mut Received,
        mut check: impl FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        for attempt in 1u32.. {
            if self.consumer.next(&mut received.payload)?.is_some() {
                return self.release();
            }
            match wait {
                Wait::Spin => spin_loop(),
                Wait::Park if self.park()? => {}
                Wait::Park => check()?,
            }
            if attempt.is_multiple_of(POLLS_PER_CHECK) {
                check()?;
            }
        }
        bail!("the ring stays empty")
    }

    /// Frees what was read, with a commit without changed series.
    #[inline]
    fn release(&mut self) -> anyhow::Result<()> {
        let (position, seq) = (self.consumer.position(), self.consumer.seq());
        if position.0 - self.table.record().position.0 >= self.capacity / RELEASE_SHARE {
            self.table.commit(CommitRecord { seq, position, analysed: seq.0, ..CommitRecord::default() })?;
        }
        Ok(())
    }

    /// Parks until it is woken. Returns false if no wake-up came within [`MAX_SLEEP`].
    fn park(&mut self) -> anyhow::Result<bool> {
        wake::prepare_wait(&self.cursor);
        let mut awake = true;
        if self.consumer.is_empty() {
            awake = poll(&mut [PollFd::new(&self.wake, PollFlags::IN)], Some(&MAX_SLEEP))? > 0;
            self.wake.clear();
        }
        wake::cancel_wait(&self.cursor);
        Ok(awake)
    }
}
