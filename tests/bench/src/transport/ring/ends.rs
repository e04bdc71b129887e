//! The two ends of a ring, as the API and the analysis hold them.

use super::Wait;
use crate::peer::Luggage;
use anyhow::{Context, bail};
use bulkhead_proto::{
    shm::{
        memory::SharedMemory,
        ring::{AppendError, Appender, Batch, Consumer, Producer},
        segment::{Kind, ReadOnly, ReadWrite},
        state_memory::StateMemory,
        table::{CommitHeader, TableReader, TableWriter},
        wake::{self, WakeFd},
    },
    worker::{
        fds::FdHandoff,
        link::{AnalyticsLink, ApiLink},
    },
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    collections::BTreeMap,
    fs::File,
    hint::{black_box, spin_loop},
    io,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

/// A streaming consumer that finds the ring empty looks again after so many pauses: the producer works on its own cache
/// lines meanwhile (DESIGN 4, "slip")…
const SLIP: u32 = 200;

/// …and after twice as many each time that there is then less than a share of the ring worth taking its lines away for…
const WORTH_SHARE: u64 = 64;

/// …up to this. A pause takes some 40 ns here.
const LONGEST_SLIP: u32 = 8 * SLIP;

/// A commit frees the ring when this part of it was read.
const RELEASE_SHARE: u64 = 8;

/// How often one looks before asking whether the other side is still there.
const PATIENCE: u32 = 1 << 20;

/// …and how long one sleeps before.
const LONGEST_SLEEP: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// Where messages are put in.
pub(super) enum SourceEnd {
    /// The whole of the API's link.
    Api(Box<ApiLink>),
    /// The same without the rest of the link.
    Producer(Box<Producer>, TableReader<ReadOnly>),
    /// The appender alone.
    Bare(Box<Appender<ReadWrite, ReadWrite>>, TableReader<ReadOnly>),
}

impl SourceEnd {
    /// An appender over the memory that an API would inherit.
    pub(super) fn bare(memory: &SharedMemory) -> anyhow::Result<Self> {
        let (_, mut fds) = inheritance(memory)?;
        let mut named = |name| take(&mut fds, name);
        let (events, producer, state) = (named("events")?, named("producer")?, named("state")?);
        Ok(Self::Bare(Box::new(appender(events, producer)?), table(state)?))
    }
}

/// What an API would inherit: the variable that says so, and the fds by their names.
fn inheritance(memory: &SharedMemory) -> anyhow::Result<(String, BTreeMap<String, OwnedFd>)> {
    let mut bequest = FdHandoff::default();
    memory.pass_to_api(&mut bequest)?;
    let variable = bequest.variable();
    let names =
        variable.split(',').filter_map(|entry| entry.split_once('=')).map(|(name, _)| name.to_owned());
    // They come in the order of their names.
    let fds = names.zip(bequest.into_fds()).collect();
    Ok((variable, fds))
}

fn take(fds: &mut BTreeMap<String, OwnedFd>, name: &str) -> anyhow::Result<OwnedFd> {
    fds.remove(name).with_context(|| format!("an API inherits no fd named {name}"))
}

fn appender(events: impl AsFd, producer: impl AsFd) -> anyhow::Result<Appender<ReadWrite, ReadWrite>> {
    let (events, page) = (ReadWrite::map(events, Kind::Events)?, ReadWrite::map(producer, Kind::Producer)?);
    Ok(Appender::attach(events, page))
}

fn table(state: impl AsFd) -> anyhow::Result<TableReader<ReadOnly>> {
    Ok(TableReader::new(ReadOnly::map(state, Kind::State)?))
}

/// Luggage for a peer that shall hold the writing end of `memory`: the fds, their names, and the bell as its input.
pub(super) fn desk_luggage(memory: &SharedMemory, variable: &'static str) -> anyhow::Result<Luggage> {
    let (names, mut fds) = inheritance(memory)?;
    let bell = take(&mut fds, "bell")?;
    Ok(Luggage {
        stdin: Some(bell),
        fds: fds.into_values().collect(),
        env: vec![(variable, names)],
        ..Luggage::default()
    })
}

/// The writing end that [`desk_luggage`] brought. Inherited fds belong to nobody yet: they are opened anew by number.
pub(super) fn inherited_source(variable: &str, bare: bool) -> anyhow::Result<SourceEnd> {
    let open = |name: &str, write: bool| -> anyhow::Result<File> {
        let mut entries = variable.split(',').filter_map(|entry| entry.split_once('='));
        let (_, number) = entries.find(|(found, _)| *found == name).context("an fd is missing")?;
        let path = format!("/proc/self/fd/{number}");
        File::options().read(true).write(write).open(&path).with_context(|| format!("cannot open {path}"))
    };
    let (events, producer, state) = (open("events", true)?, open("producer", true)?, open("state", false)?);
    if bare {
        return Ok(SourceEnd::Bare(Box::new(appender(events, producer)?), table(state)?));
    }
    let cursor = Arc::new(ReadOnly::map(open("cursor", false)?, Kind::Cursor)?);
    let bell = WakeFd::from(io::stdin().as_fd().try_clone_to_owned()?);
    let (events, page) = (ReadWrite::map(events, Kind::Events)?, ReadWrite::map(producer, Kind::Producer)?);
    let keys = ReadWrite::map(open("keys", true)?, Kind::Keys)?;
    Ok(SourceEnd::Producer(Box::new(Producer::attach(events, page, keys, cursor, bell)), table(state)?))
}

/// The writing end at work.
pub(super) struct Source {
    end: SourceEnd,
    batch: Batch,
}

impl Source {
    pub(super) const fn new(end: SourceEnd) -> Self {
        Self { end, batch: Batch::new() }
    }

    /// Appends a message, or as many times it as make a batch, as soon as there is room; asks now and then whether
    /// somebody makes room.
    #[inline]
    pub(super) fn append(
        &mut self,
        message: &[u8],
        count: u64,
        mut check: impl FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        if !matches!(self.end, SourceEnd::Bare(..)) {
            self.batch.clear();
            for _ in 0..count {
                self.batch.push_bytes(black_box(message));
            }
        }
        for turn in 1u32.. {
            let outcome = match &mut self.end {
                SourceEnd::Api(link) => link.append(&mut self.batch),
                SourceEnd::Producer(producer, table) => {
                    producer.append(&mut self.batch, || table.record().unwrap_or_default().position)
                }
                SourceEnd::Bare(appender, table) => appender
                    .append_payload(black_box(message), || table.record().unwrap_or_default().position),
            };
            match outcome {
                Ok(_) => return Ok(()),
                Err(AppendError::Full { .. }) => pause(SLIP),
                Err(error) => return Err(error.into()),
            }
            if turn.is_multiple_of(PATIENCE / SLIP) {
                check()?;
            }
        }
        bail!("the ring stays full")
    }
}

fn pause(pauses: u32) {
    for _ in 0..pauses {
        spin_loop();
    }
}

/// What was taken out last.
#[derive(Default)]
pub(super) struct Desk {
    pub(super) payload: Vec<u8>,
}

/// The reading end.
pub(super) struct Sink {
    consumer: Consumer<ReadOnly, ReadOnly>,
    cursor: Arc<ReadWrite>,
    table: TableWriter<StateMemory>,
    bell: WakeFd,
    capacity: u64,
}

impl Sink {
    pub(super) fn new(link: AnalyticsLink) -> anyhow::Result<Self> {
        let AnalyticsLink { events, producer, cursor, state, wake: bell } = link;
        let mut table = TableWriter::attach(state).context("the state table does not verify")?;
        table.activate();
        let record = *table.record();
        let capacity = bulkhead_proto::shm::ring::MIN_CAPACITY;
        let consumer = Consumer::attach(events, producer, record.position, record.seq)?;
        Ok(Self { consumer, cursor, table, bell, capacity })
    }

    /// Takes all of a stream.
    pub(super) fn drain(&mut self, wait: Wait, count: u64) -> anyhow::Result<()> {
        let (mut payload, mut left) = (Vec::new(), count);
        let (mut slip, mut since) = (SLIP, 0);
        while left > 0 {
            if self.consumer.next(&mut payload)?.is_some() {
                black_box(&payload);
                left -= 1;
                self.release()?;
            } else {
                match wait {
                    Wait::Spin => {
                        let worth = self.consumer.position().0 - since >= self.capacity / WORTH_SHARE;
                        slip = if worth { SLIP.max(slip / 2) } else { LONGEST_SLIP.min(slip * 2) };
                        since = self.consumer.position().0;
                        pause(slip);
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
        desk: &mut Desk,
        mut check: impl FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        for turn in 1u32.. {
            if self.consumer.next(&mut desk.payload)?.is_some() {
                return self.release();
            }
            match wait {
                Wait::Spin => spin_loop(),
                Wait::Park if self.park()? => {}
                Wait::Park => check()?,
            }
            if turn.is_multiple_of(PATIENCE) {
                check()?;
            }
        }
        bail!("the ring stays empty")
    }

    /// Frees what was read, by a commit of nothing: no series changed.
    #[inline]
    fn release(&mut self) -> anyhow::Result<()> {
        let (position, seq) = (self.consumer.position(), self.consumer.seq());
        if position.0 - self.table.record().position.0 >= self.capacity / RELEASE_SHARE {
            self.table.commit(CommitHeader { seq, position, analysed: seq.0, ..CommitHeader::default() })?;
        }
        Ok(())
    }

    /// Sleeps until the bell rings; false if it did not ring in all that time.
    fn park(&mut self) -> anyhow::Result<bool> {
        wake::prepare_wait(&self.cursor);
        let mut awake = true;
        if self.consumer.is_empty() {
            awake = poll(&mut [PollFd::new(&self.bell, PollFlags::IN)], Some(&LONGEST_SLEEP))? > 0;
            self.bell.clear();
        }
        wake::cancel_wait(&self.cursor);
        Ok(awake)
    }
}
