//! The snapshot: state, pending events and counters in one file. The supervisor writes it at an orderly stop and loads it
//! at the next start.
//!
//! A snapshot is logical, not an image of the memory: the next start may have another capacity or another `max_series`. The
//! file is a magic and then items, each `u32 length, u32 CRC-32C, bytes`: the head, the counts of series that no longer exist,
//! the series, the events, the number of keyed requests, and these requests.

mod file;
mod keyed_requests;

use crate::{
    shm::{
        access::{ReadWords as _, WORD},
        memory::{MemoryError, SharedMemory},
        ring::{Appender, Batch, Consumer, KeyLog, RingCorruption, Tail, set_tail},
        segment::ReadOnly,
        table::{Body, BodySlot, BodyTooLarge, CommitRecord, Content, TableReader, TableWriter},
    },
    wire::{
        ids::{Commit, Generation, Position, Seq},
        series::OVERFLOW_SERIES,
    },
};
use bincode::{Decode, Encode};
use file::{Sink, Source, Version};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Why a snapshot could not be saved or loaded.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file could not be read or written.
    #[error("snapshot {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The content of the file is not what this program writes.
    #[error("snapshot {}: damaged at byte {at}: {what}; move it away to start empty", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The approximate position, in bytes.
        at: u64,
        /// What is wrong.
        what: String,
    },
    /// The saved content does not fit the memory as it is configured now.
    #[error("the saved {what} do not fit: {found} saved, room for {room}; raise {key}")]
    NoRoom {
        /// The kind of content.
        what: &'static str,
        /// The amount that was saved.
        found: u64,
        /// The amount for which there is room.
        room: u64,
        /// The configuration key to raise.
        key: &'static str,
    },
    /// The last commit record does not verify: the state is unknown.
    #[error("the commit record of the state table does not verify: nothing can be saved")]
    NoRecord,
    /// The values in memory contradict each other.
    #[error(
        "the counters in memory contradict each other ({0}): nothing is saved, and the previous snapshot is kept"
    )]
    Contradiction(&'static str),
    /// The memory could not be mapped.
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

/// A series that could not be saved because its slot does not verify.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedSeries {
    /// The number of the slot.
    pub slot: u32,
    /// The name in the damaged bytes; it can be wrong.
    pub name: String,
    /// The file with the damaged bytes, or why it could not be written.
    pub kept: Result<PathBuf, String>,
}

/// What was saved or loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The number of series.
    pub series: u32,
    /// Series whose slots did not verify. They are not in the snapshot.
    pub damaged_series: Vec<DamagedSeries>,
    /// The number of events that were accepted and not committed.
    pub pending: u64,
    /// The number of keyed requests that are remembered.
    pub keys: u64,
    /// The number of keyed requests that could not be read. They are not in the snapshot.
    pub unreadable_keys: u64,
    /// The damage of the ring, if not all pending events could be read.
    pub damage: Option<RingCorruption>,
    /// The seq of the next event.
    pub next_seq: Seq,
}

#[derive(Encode, Decode)]
struct Head {
    commit: Commit,
    generation: Generation,
    seq: Seq,
    version: u32,
    analysed: u64,
    skipped: u64,
    resets: u64,
    at_ms: u64,
    next_seq: Seq,
    accepted: u64,
    series: u32,
    events: u64,
}

/// No seq and no commit number comes near this bound. A seq shares its word with the activity ([`crate::shm::cursor`]).
const MAX_NUMBER: u64 = 1 << 62;

impl Head {
    /// Whether the numbers can belong to one service. Checksums do not show that, and later appends and reads rely on it.
    fn check(&self) -> Result<(), &'static str> {
        let counted =
            self.analysed.checked_add(self.skipped).and_then(|counted| counted.checked_add(self.events));
        let empty = self.series == 0 && self.seq.0 == 0 && self.analysed == 0 && self.skipped == 0;
        let checks = [
            (counted == Some(self.accepted), "accepted is not the sum of analysed, skipped and pending"),
            (self.accepted < self.next_seq.0, "more events than seqs"),
            (self.seq < self.next_seq && self.next_seq.0 < MAX_NUMBER, "the next seq is impossible"),
            (self.commit.0 < MAX_NUMBER, "the commit number is impossible"),
            (self.commit.0 > 0 || empty, "a state without a commit"),
        ];
        checks.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, what)| Err(what))
    }
}

/// How many series were ever removed.
#[derive(Default, Encode, Decode)]
struct Removals {
    removed: u64,
    expired: u64,
}

#[derive(Encode, Decode)]
struct Series {
    key: String,
    version: u32,
    state: Vec<u8>,
    public: Vec<u8>,
    last_arrival_ms: i64,
}

/// A series of a version before [`Version::WithArrivals`].
#[derive(Encode, Decode)]
struct SeriesWithoutArrival {
    key: String,
    version: u32,
    state: Vec<u8>,
    public: Vec<u8>,
}

impl Series {
    /// Reads a series. Of an earlier version, it is as old as the last commit.
    fn read(file: &mut Source, head: &Head) -> Result<Self, SnapshotError> {
        if file.version >= Version::WithArrivals {
            return file.item();
        }
        let SeriesWithoutArrival { key, version, state, public } = file.item()?;
        let last_arrival_ms = i64::try_from(head.at_ms).unwrap_or(i64::MAX);
        Ok(Self { key, version, state, public, last_arrival_ms })
    }
}

#[derive(Encode, Decode)]
struct Pending {
    seq: Seq,
    payload: Vec<u8>,
}

/// Saves to `path`, atomically and durably. No worker may be writing.
///
/// # Errors
/// If nothing can be saved. The previous snapshot still exists then.
pub fn save(memory: &SharedMemory, path: &Path) -> Result<Summary, SnapshotError> {
    let (events, page, table) = memory.views();
    let record = table.record().ok_or(SnapshotError::NoRecord)?;
    let tail = memory.tail();
    let (mut series, mut damaged) = (Vec::new(), Vec::new());
    for slot in (0..record.slots).map(BodySlot) {
        match table.body(slot, &record) {
            Some(body) if body.is_free() => {}
            Some(_) => series.push(slot),
            None => damaged.push(slot),
        }
    }
    let consumer = || Consumer::attach(events, page, record.position, record.seq);
    let (pending, damage) = count(consumer());
    let damaged_series = damaged.into_iter().map(|slot| keep_damaged(table, path, slot)).collect();
    let counted = record.analysed.saturating_add(record.skipped);
    let count = |items: usize| u32::try_from(items).unwrap_or(u32::MAX);
    let head = Head {
        commit: record.commit,
        generation: record.generation,
        seq: record.seq,
        version: record.version,
        analysed: record.analysed,
        skipped: record.skipped,
        resets: record.resets,
        at_ms: record.at_ms,
        next_seq: tail.next_seq,
        // Events that a damaged ring lost do not exist any more. The other counts must add up.
        accepted: if damage.is_some() { counted.saturating_add(pending) } else { tail.accepted },
        series: count(series.len()),
        events: pending,
    };
    // Do not save what could not be loaded.
    head.check().map_err(SnapshotError::Contradiction)?;
    let mut file = Sink::create(path)?;
    file.item(&head)?;
    file.item(&Removals { removed: record.removed, expired: record.expired })?;
    for body in series.iter().filter_map(|&slot| table.body(slot, &record)) {
        file.item(&series_of(&body))?;
    }
    if let Ok(mut consumer) = consumer() {
        let mut payload = Vec::new();
        while let Ok(Some(seq)) = consumer.next(&mut payload) {
            file.item(&Pending { seq, payload: payload.clone() })?;
        }
    }
    let (keys, unreadable_keys) = keyed_requests::save(&KeyLog::new(memory.keys()?), &tail, &mut file)?;
    file.finish()?;
    Ok(Summary {
        series: head.series,
        damaged_series,
        pending,
        keys,
        unreadable_keys,
        damage,
        next_seq: tail.next_seq,
    })
}

fn series_of(body: &Body) -> Series {
    Series {
        key: body.key().to_owned(),
        version: body.version,
        state: body.state().to_vec(),
        public: body.public().to_vec(),
        last_arrival_ms: body.last_arrival_ms,
    }
}

/// Writes the bytes of a slot that does not verify to a file beside the snapshot.
fn keep_damaged(table: &TableReader<ReadOnly>, path: &Path, slot: BodySlot) -> DamagedSeries {
    let (bytes, name) = table.raw_slot(slot);
    let file = path.with_file_name(format!("lost-slot-{}", slot.0));
    let kept = fs::write(&file, bytes).map(|()| file).map_err(|error| error.to_string());
    DamagedSeries { slot: slot.0, name, kept }
}

type Unread<'a> = Consumer<&'a ReadOnly, &'a ReadOnly>;

fn count(consumer: Result<Unread<'_>, RingCorruption>) -> (u64, Option<RingCorruption>) {
    let mut consumer = match consumer {
        Ok(consumer) => consumer,
        Err(corruption) => return (0, Some(corruption)),
    };
    let (mut events, mut payload) = (0, Vec::new());
    loop {
        match consumer.next(&mut payload) {
            Ok(Some(_)) => events += 1,
            Ok(None) => return (events, None),
            Err(corruption) => return (events, Some(corruption)),
        }
    }
}

/// Loads from `path` into fresh memory, before any worker is started. `None` if there is no snapshot.
///
/// # Errors
/// If the file is damaged or does not fit. The memory must not be used then.
pub fn load(memory: &SharedMemory, path: &Path) -> Result<Option<Summary>, SnapshotError> {
    let Some(mut file) = Source::open(path)? else { return Ok(None) };
    let head: Head = file.item()?;
    head.check().map_err(|what| file.damaged(what.to_owned()))?;
    let (events, page, state) = memory.writable()?;
    let mut writer = TableWriter::attach(state, memory.table().slots()).ok_or(SnapshotError::NoRecord)?;
    writer.activate();
    writer.resume_numbers(head.commit);
    let Removals { removed, expired } =
        if file.version >= Version::WithArrivals { file.item()? } else { Removals::default() };
    for number in 0..head.series {
        let series = Series::read(&mut file, &head)?;
        restore_series(&mut writer, number, &series, &head, &file)?;
    }
    let Head { generation, seq, version, analysed, skipped, resets, at_ms, .. } = head;
    let position = Position(0);
    if head.commit.0 > 0 {
        let record = CommitRecord {
            generation,
            seq,
            position,
            version,
            analysed,
            skipped,
            resets,
            at_ms,
            removed,
            expired,
            ..CommitRecord::default()
        };
        writer.commit(record).map_err(|source| file.error(source))?;
    }
    let room = (events.words() * WORD) as u64;
    let mut appender = Appender::attach(&events, &page);
    let (mut last, mut batch) = (head.seq, Batch::new());
    for _ in 0..head.events {
        let event: Pending = file.item()?;
        if event.seq <= last || event.seq >= head.next_seq {
            return Err(file.damaged(format!("event {} after event {last}", event.seq)));
        }
        last = event.seq;
        set_tail(&page, Tail { next_seq: event.seq, ..appender.tail() });
        appender.reload();
        let no_room = |_| SnapshotError::NoRoom {
            what: "events",
            found: head.events,
            room,
            key: "link.capacity (bytes)",
        };
        batch.clear();
        batch.push_bytes(&event.payload);
        appender.append(&mut batch, || position).map_err(no_room)?;
    }
    let tail = Tail { next_seq: head.next_seq, accepted: head.accepted, ..appender.tail() };
    let log = KeyLog::new(memory.keys()?);
    let keyed = keyed_requests::load(&mut file, &log, &tail)?;
    set_tail(&page, Tail { keyed, ..tail });
    Ok(Some(Summary {
        series: head.series,
        pending: head.events,
        keys: keyed.min(log.window()),
        next_seq: head.next_seq,
        ..Summary::default()
    }))
}

fn restore_series(
    writer: &mut TableWriter<crate::shm::state_memory::StateMemory>,
    number: u32,
    series: &Series,
    head: &Head,
    file: &Source,
) -> Result<(), SnapshotError> {
    if series.key.is_empty() {
        return Err(file.damaged("a series without a name".to_owned()));
    }
    if writer.find(&series.key).is_some() {
        return Err(file.damaged(format!("series {:?} appears twice", series.key)));
    }
    // The last slot is for the overflow series. Without it, the first series beyond the bound would find no slot.
    let room = writer.slots().saturating_sub(1);
    let ordinary = series.key != OVERFLOW_SERIES;
    let found = u64::from(head.series);
    let no_room =
        || SnapshotError::NoRoom { what: "series", found, room: room.into(), key: "analytics.max_series" };
    if ordinary && number - u32::from(writer.find(OVERFLOW_SERIES).is_some()) >= room {
        return Err(no_room());
    }
    let slot = writer.assign(&series.key).ok_or_else(no_room)?;
    let Series { key, version, last_arrival_ms, state, public } = series;
    let content = Content { key, version: *version, last_arrival_ms: *last_arrival_ms, state, public };
    let staged = writer.stage(slot, content);
    staged.map_err(|error: BodyTooLarge| file.damaged(error.to_string()))
}

#[cfg(test)]
mod tests;
