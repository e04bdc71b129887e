//! Models of the shared memory, explored by loom: every interleaving, and every stale value that the C11 memory model
//! allows, with at most `LOOM_MAX_PREEMPTIONS` preemptions (3 by default).
//!
//! `make loom` runs them. Checksums are off in the models: the orderings alone must ensure correctness. For every ordering
//! there is a model that fails without it.
#![cfg(loom)]
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use bulkhead_proto::{
    shm::{
        access::{ReadWords, WORD, WriteWords},
        ring::{Appender, Batch, Consumer, PRODUCER_WORDS, Tail, read_tail},
        seqlock::{SeqlockReader, SeqlockWriter},
        sync::{Ordering, Site, weaken},
        table::{BodySlot, CommitRecord, Content, Geometry, TableMemory, TableReader, TableWriter},
        wake::{self, Waker},
    },
    wire::ids::{Position, Seq},
};
use loom::{sync::atomic::AtomicU64 as Modelled, thread};
use std::{
    collections::BTreeMap,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::AtomicU64 as Plain},
};

/// Shared memory in a model. Only the words that the model is about are loom atomics. The other words behave as on a
/// sequentially consistent machine, which keeps the state space small.
struct Memory {
    plain: Vec<Plain>,
    modelled: BTreeMap<usize, Modelled>,
}

impl Memory {
    fn new(words: usize, modelled: impl IntoIterator<Item = usize>) -> Arc<Self> {
        Arc::new(Self {
            plain: (0..words).map(|_| Plain::new(0)).collect(),
            modelled: modelled.into_iter().map(|word| (word, Modelled::new(0))).collect(),
        })
    }
}

impl ReadWords for Memory {
    fn words(&self) -> usize {
        self.plain.len()
    }

    fn load(&self, word: usize, order: Ordering) -> u64 {
        match self.modelled.get(&word) {
            Some(modelled) => modelled.load(order),
            None => self.plain[word].load(Ordering::SeqCst),
        }
    }

    fn read_bytes(&self, word: usize, into: &mut [u8]) {
        for (offset, chunk) in into.chunks_mut(WORD).enumerate() {
            chunk.copy_from_slice(&self.load(word + offset, Ordering::Relaxed).to_ne_bytes()[..chunk.len()]);
        }
    }
}

impl WriteWords for Memory {
    fn store(&self, word: usize, value: u64, order: Ordering) {
        match self.modelled.get(&word) {
            Some(modelled) => modelled.store(value, order),
            None => self.plain[word].store(value, Ordering::SeqCst),
        }
    }

    fn write_bytes(&self, word: usize, from: &[u8]) {
        for (offset, chunk) in from.chunks(WORD).enumerate() {
            let mut padded = [0; WORD];
            padded[..chunk.len()].copy_from_slice(chunk);
            WriteWords::store(self, word + offset, u64::from_ne_bytes(padded), Ordering::Relaxed);
        }
    }
}

impl TableMemory for Memory {
    fn store(&self, word: usize, value: u64, order: Ordering) {
        WriteWords::store(self, word, value, order);
    }

    fn write_body(&self, word: usize, bytes: &[u8]) -> io::Result<()> {
        WriteWords::write_bytes(self, word, bytes);
        Ok(())
    }

    fn release(&self, word: usize, words: usize) {
        (word..word + words).for_each(|word| WriteWords::store(self, word, 0, Ordering::Relaxed));
    }
}

/// The modelled words of the producer's page: the version, and head and next seq of both slots, which must agree.
const TAIL_WORDS: [usize; 5] = [8, 9, 10, 12, 13];
const RING_WORDS: usize = 32;
/// The length of a record in the ring, in bytes: payload 8, head 16.
const RECORD: u64 = 24;

fn one(payload: u64) -> Batch {
    let mut batch = Batch::new();
    batch.push_bytes(&payload.to_ne_bytes());
    batch
}

/// A reader reads tails while their owner publishes three of them: never a torn one, and never an older one after a newer
/// one.
fn a_tail_is_read_completely() {
    let page = Memory::new(PRODUCER_WORDS, TAIL_WORDS);
    let reader = thread::spawn({
        let page = Arc::clone(&page);
        move || {
            let mut last = Tail::EMPTY;
            for _ in 0..2 {
                if let Some(tail) = read_tail(&page) {
                    assert_eq!(tail.head.0, RECORD * tail.last_seq().0, "a torn tail");
                    assert!(tail.next_seq >= last.next_seq, "an older tail after a newer one");
                    last = tail;
                }
            }
        }
    });
    let mut appender = Appender::attach(Memory::new(RING_WORDS, []), page);
    for payload in 0..3 {
        appender.append(&mut one(payload), || Position(0)).unwrap();
    }
    reader.join().unwrap();
}

/// A consumer that attaches and reads while the producer appends sees a prefix of what was appended.
fn events_arrive_completely() {
    let page = Memory::new(PRODUCER_WORDS, TAIL_WORDS);
    let events = Memory::new(RING_WORDS, [0, 1, 2, 3, 4, 5]);
    let reader = thread::spawn({
        let (page, events) = (Arc::clone(&page), Arc::clone(&events));
        move || {
            let mut consumer = Consumer::attach(events, page, Position(0), Seq(0)).unwrap();
            let (mut payload, mut want) = (Vec::new(), 1);
            for _ in 0..3 {
                if let Some(seq) =
                    consumer.next(&mut payload).expect("the record is complete when the tail includes it")
                {
                    assert_eq!(seq, Seq(want));
                    assert_eq!(payload, (70 + want).to_ne_bytes());
                    want += 1;
                }
            }
        }
    });
    let mut appender = Appender::attach(events, page);
    for payload in [71, 72] {
        appender.append(&mut one(payload), || Position(0)).unwrap();
    }
    reader.join().unwrap();
}

/// Records are overwritten only after their release. The consumer has read them by then; later records stay readable.
fn space_is_reused_only_after_its_release() {
    let page = Memory::new(PRODUCER_WORDS, [8]);
    let events = Memory::new(RING_WORDS, [0, 1, 2]);
    let released = Arc::new(Modelled::new(0));
    let mut appender = Appender::attach(Arc::clone(&events), Arc::clone(&page));
    // Ten records fill the ring of 256 bytes except for the room of a pad.
    for payload in 1..=10 {
        appender.append(&mut one(payload), || Position(0)).unwrap();
    }
    let reader = thread::spawn({
        let released = Arc::clone(&released);
        move || {
            let mut consumer = Consumer::attach(events, page, Position(0), Seq(0)).unwrap();
            let mut payload = Vec::new();
            for want in 1..=10u64 {
                assert_eq!(consumer.next(&mut payload), Ok(Some(Seq(want))));
                assert_eq!(payload, want.to_ne_bytes());
                if want <= 2 {
                    released.store(consumer.position().0, Ordering::Release);
                }
            }
        }
    });
    for _ in 0..2 {
        // Refused or accepted. The reader detects an append that was accepted too early.
        let _ = appender.append(&mut one(11), || Position(released.load(Ordering::Acquire)));
    }
    reader.join().unwrap();
}

/// A consumer that parks although there is something to read is notified.
fn no_wake_up_is_lost() {
    let page = Memory::new(PRODUCER_WORDS, TAIL_WORDS);
    let events = Memory::new(RING_WORDS, []);
    let cursor = Memory::new(512, [8]);
    let publisher = thread::spawn({
        let (page, events, cursor) = (Arc::clone(&page), Arc::clone(&events), Arc::clone(&cursor));
        move || {
            Appender::attach(events, page).append(&mut one(1), || Position(0)).unwrap();
            Waker::new(cursor).due().is_some()
        }
    });
    wake::prepare_wait(&cursor);
    let mut consumer = Consumer::attach(events, page, Position(0), Seq(0)).unwrap();
    let parked = consumer.is_empty();
    let notified = publisher.join().unwrap();
    assert!(!parked || notified, "parked with an event to read, and not notified");
}

/// One publisher has two consumers, and each of them parks on its own page. The fence of the first check also serves for
/// the second one.
fn two_parked_consumers_are_both_notified() {
    let page = Memory::new(PRODUCER_WORDS, TAIL_WORDS);
    let events = Memory::new(RING_WORDS, []);
    let (first_page, second_page) = (Memory::new(512, [8]), Memory::new(512, [8]));
    let publisher = thread::spawn({
        let (page, events, second_page) = (Arc::clone(&page), Arc::clone(&events), Arc::clone(&second_page));
        move || {
            Appender::attach(events, page).append(&mut one(1), || Position(0)).unwrap();
            let first = Waker::new(first_page).due().is_some();
            assert!(!first, "no consumer parks on the first page in this model");
            Waker::new(second_page).due_after_fence().is_some()
        }
    });
    wake::prepare_wait(&second_page);
    let mut consumer = Consumer::attach(events, page, Position(0), Seq(0)).unwrap();
    let parked = consumer.is_empty();
    let notified = publisher.join().unwrap();
    assert!(!parked || notified, "parked with an event to read, and not notified on the second page");
}

/// The one series of most models. Eight bytes, so that it fills a word of its body.
const SERIES: &str = "series-a";

/// A table for one series. A segment of its arena has the size of a body. Modelled words: the commit number, both tags, these
/// words of the front, and these words of the arena.
fn table_with(front: &[usize], arena: &[usize]) -> Arc<Memory> {
    let geometry = Geometry::with_arena(1, 64 * BODY);
    let arena = arena.iter().map(|word| geometry.front_bytes() / WORD + word);
    Memory::new(geometry.bytes() / WORD, [0, 67, 71].into_iter().chain(front.iter().copied()).chain(arena))
}

/// The length of a body, in bytes: a head of 48, the key, and the state.
const BODY: usize = 256;
const STATE: usize = BODY - 48 - SERIES.len();

/// The models of the records and the bodies: number and seq of both records, and the state in the first two bodies. The third
/// body has the place of the first one.
fn table() -> Arc<Memory> {
    table_with(&[8, 10, 24, 26], &[7, BODY / WORD + 7])
}

fn attach(memory: &Arc<Memory>) -> TableWriter<Arc<Memory>> {
    let mut writer = TableWriter::attach(Arc::clone(memory), 1).unwrap();
    writer.activate();
    writer
}

/// The number in a state.
fn number(state: &[u8]) -> u64 {
    u64::from_ne_bytes(*state.first_chunk().unwrap())
}

/// Commits state `n` of the one series.
fn commit(writer: &mut TableWriter<Arc<Memory>>, n: u64) {
    commit_series(writer, SERIES, n);
}

fn commit_series(writer: &mut TableWriter<Arc<Memory>>, key: &str, n: u64) {
    let slot = writer.find(key).or_else(|| writer.assign(key)).unwrap();
    let mut state = [0; STATE];
    state[..WORD].copy_from_slice(&n.to_ne_bytes());
    writer.stage(slot, Content { key, state: &state, ..Content::default() }).unwrap();
    writer.commit(CommitRecord { seq: Seq(100 + n), ..CommitRecord::default() }).unwrap();
}

fn commit_removal(writer: &mut TableWriter<Arc<Memory>>, key: &str) {
    writer.stage_removal(writer.find(key).unwrap(), key).unwrap();
    writer.commit(CommitRecord::default()).unwrap();
}

/// A reader during commits sees one of them completely, record and state, and never an older one after a newer one.
fn commits_are_read_completely() {
    let memory = table();
    let mut writer = attach(&memory);
    commit(&mut writer, 1);
    let commits = thread::spawn(move || {
        commit(&mut writer, 2);
        commit(&mut writer, 3);
    });
    let table = TableReader::new(memory, 1);
    if let Some(record) = table.record() {
        let n = record.commit.0;
        assert_eq!(record.seq, Seq(100 + n), "a torn record");
        if let Some(body) = table.body(BodySlot(0), &record) {
            // Every commit changes this series: the body found for commit n must be the body of commit n.
            assert_eq!(number(body.state()), n, "a torn body");
        }
    }
    commits.join().unwrap();
}

/// The only slot is freed and gets another series. A reader finds the series of the commit that it saw, or none if that commit
/// is being overwritten.
fn a_slot_that_changes_hands_is_read_completely() {
    // The hash of both versions, and the key in the first and the third body; the second one is that of the removal.
    let memory = table_with(&[64, 68], &[6, (BODY + 56) / WORD + 6]);
    let mut writer = attach(&memory);
    commit(&mut writer, 1);
    let commits = thread::spawn(move || {
        commit_removal(&mut writer, SERIES);
        commit_series(&mut writer, "series-b", 3);
    });
    let table = TableReader::new(memory, 1);
    if let Some(record) = table.record()
        && let Some(front) = table.front(BodySlot(0), &record)
    {
        let expected = ["", SERIES, "", "series-b"][usize::try_from(record.commit.0).unwrap()];
        assert_eq!(front.key(), expected, "at commit {}", record.commit.0);
    }
    commits.join().unwrap();
}

/// A reader that sees the number of the last commit can read all of it.
fn a_finished_commit_is_readable() {
    let memory = table();
    let mut writer = attach(&memory);
    let commits = thread::spawn(move || commit(&mut writer, 1));
    let table = TableReader::new(memory, 1);
    let record = table.record().expect("a record is complete once its number is published");
    if record.commit.0 == 1 {
        assert_eq!(record.seq, Seq(101));
        assert_eq!(number(table.body(BodySlot(0), &record).expect("the body, too").state()), 1);
    }
    commits.join().unwrap();
}

/// The value of a seqlock cell is read completely while it is replaced: its two halves agree, and it never goes back.
fn a_seqlock_cell_is_read_completely() {
    // Two slots of 12 words. A value takes 12 bytes, so the modelled words after the head of a slot hold its two halves.
    let memory = Memory::new(32, [0, 8, 10, 11, 20, 22, 23]);
    let reader = thread::spawn({
        let memory = Arc::clone(&memory);
        move || {
            let mut cell = SeqlockReader::<_, [u8; 12]>::new(memory);
            let mut last = 0;
            for _ in 0..2 {
                if let Some(value) = cell.read() {
                    assert!(value.iter().all(|byte| *byte == value[0]), "a torn value: {value:?}");
                    assert!(value[0] >= last.max(1), "an older value after a newer one");
                    last = value[0];
                }
            }
        }
    });
    let mut cell = SeqlockWriter::new(memory);
    for n in 1..=3u8 {
        cell.publish(&[n; 12]).unwrap();
    }
    reader.join().unwrap();
}

type Model = fn();

const MODELS: &[(&str, Model)] = &[
    ("a tail is read completely", a_tail_is_read_completely),
    ("events arrive completely", events_arrive_completely),
    ("space is reused only after its release", space_is_reused_only_after_its_release),
    ("no wake-up is lost", no_wake_up_is_lost),
    ("two parked consumers are both notified", two_parked_consumers_are_both_notified),
    ("commits are read completely", commits_are_read_completely),
    ("a slot that changes hands is read completely", a_slot_that_changes_hands_is_read_completely),
    ("a finished commit is readable", a_finished_commit_is_readable),
    ("a seqlock cell is read completely", a_seqlock_cell_is_read_completely),
];

/// For each ordering, a model that fails without it.
const NEEDED_BY: &[(Site, Model)] = &[
    (Site::TailPublish, events_arrive_completely),
    (Site::TailOverwrite, a_tail_is_read_completely),
    (Site::TailRead, a_tail_is_read_completely),
    (Site::TailRecheck, a_tail_is_read_completely),
    (Site::PrepareWait, no_wake_up_is_lost),
    (Site::Wake, no_wake_up_is_lost),
    (Site::PrepareWait, two_parked_consumers_are_both_notified),
    (Site::Wake, two_parked_consumers_are_both_notified),
    (Site::CommitPublish, a_finished_commit_is_readable),
    (Site::CommitOverwrite, commits_are_read_completely),
    (Site::CommitRead, a_finished_commit_is_readable),
    (Site::CommitRecheck, commits_are_read_completely),
    (Site::BodyRecheck, commits_are_read_completely),
    (Site::SeqlockPublish, a_seqlock_cell_is_read_completely),
    (Site::SeqlockOverwrite, a_seqlock_cell_is_read_completely),
    (Site::SeqlockRead, a_seqlock_cell_is_read_completely),
    (Site::SeqlockRecheck, a_seqlock_cell_is_read_completely),
];

/// Explores a model. Returns the number of executions.
fn explore(model: Model) -> u64 {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    let runs = Arc::new(Plain::new(0));
    let counted = Arc::clone(&runs);
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        model();
    });
    runs.load(Ordering::Relaxed)
}

/// One test, because the weakened site is a global.
#[test]
fn the_models_hold_and_each_ordering_is_needed() {
    for (name, model) in MODELS {
        println!("{name}: holds in {} executions", explore(*model));
    }
    let mut unnoticed = Vec::new();
    for (site, model) in NEEDED_BY {
        weaken(Some(*site));
        let failed = catch_unwind(AssertUnwindSafe(|| explore(*model))).is_err();
        weaken(None);
        println!("without {site:?}: {}", if failed { "fails, as expected" } else { "NOT NOTICED" });
        if !failed {
            unnoticed.push(site);
        }
    }
    assert!(unnoticed.is_empty(), "no model notices that these were weakened: {unnoticed:?}");
}
