//! A commit, stopped after every single store: from each state a successor recovers a committed prefix, and continues with
//! a batch that differs from the unfinished one.

use super::{
    body::{HEAD_BYTES, Lengths},
    layout::{COMMIT, RECORD_WORDS, RECORDS, TOUCHED},
    line::{Place, Version, hash_of, newest},
    *,
};
use crate::{
    shm::{
        access::{ReadWords, WORD},
        sync::Ordering,
    },
    splitmix64::finish,
    wire::ids::{Commit, Generation, Position, Seq},
};
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    io, iter,
};

/// A table with a small arena: 64 segments of 256 bytes.
fn geometry(slots: u32) -> Geometry {
    Geometry::with_arena(slots, 64 * 256)
}

/// The memory of a table. It counts every store, and ignores stores after a given number, as a death does.
#[derive(Debug)]
struct Recorder {
    words: RefCell<Vec<u64>>,
    stores: Cell<usize>,
    dies_after: Cell<usize>,
}

impl Recorder {
    fn new(slots: u32) -> Self {
        Self::from(vec![0; geometry(slots).bytes() / WORD])
    }

    fn put(&self, word: usize, value: u64) {
        if self.stores.get() < self.dies_after.get() {
            self.words.borrow_mut()[word] = value;
        }
        self.stores.set(self.stores.get() + 1);
    }

    fn image(&self) -> Vec<u64> {
        self.words.borrow().clone()
    }
}

impl From<Vec<u64>> for Recorder {
    fn from(words: Vec<u64>) -> Self {
        Self { words: RefCell::new(words), stores: Cell::new(0), dies_after: Cell::new(usize::MAX) }
    }
}

impl ReadWords for Recorder {
    fn words(&self) -> usize {
        self.words.borrow().len()
    }

    fn load(&self, word: usize, _: Ordering) -> u64 {
        self.words.borrow()[word]
    }

    fn read_bytes(&self, word: usize, into: &mut [u8]) {
        let words = self.words.borrow();
        for (chunk, word) in into.chunks_mut(WORD).zip(&words[word..]) {
            chunk.copy_from_slice(&word.to_ne_bytes()[..chunk.len()]);
        }
    }
}

impl TableMemory for Recorder {
    fn store(&self, word: usize, value: u64, _: Ordering) {
        self.put(word, value);
    }

    fn write_body(&self, word: usize, bytes: &[u8]) -> io::Result<()> {
        for (offset, chunk) in bytes.chunks(WORD).enumerate() {
            let mut padded = [0; WORD];
            padded[..chunk.len()].copy_from_slice(chunk);
            self.put(word + offset, u64::from_ne_bytes(padded));
        }
        Ok(())
    }

    fn release(&self, word: usize, words: usize) {
        (word..word + words).for_each(|word| self.put(word, 0));
    }
}

const SLOTS: u32 = 6;

fn attach(memory: &Recorder) -> TableWriter<&Recorder> {
    TableWriter::attach(memory, SLOTS).unwrap()
}

/// A successor that has taken over.
fn successor(memory: &Recorder) -> TableWriter<&Recorder> {
    let mut writer = attach(memory);
    writer.activate();
    writer
}

fn view(memory: &Recorder) -> SeriesView<&Recorder> {
    SeriesView::new(memory, SLOTS)
}

fn public(view: &SeriesView<impl ReadWords>, name: &str) -> Option<String> {
    match view.public(name) {
        FoundSeries::Public(public, _) => Some(String::from_utf8(public.to_vec()).unwrap()),
        FoundSeries::Missing(_) => None,
        FoundSeries::Unreadable(_) => Some("unreadable".to_owned()),
    }
}

/// The expected content: one state per series.
type Model = BTreeMap<String, String>;
type Batch = &'static [(&'static str, &'static str)];

fn header(n: u64) -> CommitRecord {
    CommitRecord {
        generation: Generation(n),
        seq: Seq(10 * n),
        position: Position(100 * n),
        version: 7,
        analysed: 10 * n,
        at_ms: n,
        ..CommitRecord::default()
    }
}

/// In a batch: the series is removed.
const REMOVED: &str = "-";

fn content<'a>(key: &'a str, state: &'a [u8], public: &'a [u8]) -> Content<'a> {
    Content { key, version: 7, last_arrival_ms: 70, state, public }
}

/// Commits a batch. States are strings; the public part is the same string in capitals.
fn commit(writer: &mut TableWriter<&Recorder>, batch: Batch) -> CommitRecord {
    for (key, state) in batch {
        if *state == REMOVED {
            writer.stage_removal(writer.find(key).unwrap(), key).unwrap();
        } else {
            let slot = writer.find(key).or_else(|| writer.assign(key)).unwrap();
            let public = state.to_uppercase();
            writer.stage(slot, content(key, state.as_bytes(), public.as_bytes())).unwrap();
        }
    }
    let n = writer.record().commit.0 + 1;
    writer.commit(header(n)).unwrap()
}

fn apply(model: &mut Model, batch: Batch) {
    model.extend(batch.iter().map(|(key, state)| ((*key).to_owned(), (*state).to_owned())));
    model.retain(|_, state| state != REMOVED);
}

/// What a reader finds, by the names of the series.
fn read_all(memory: &Recorder) -> (CommitRecord, Model) {
    let view = view(memory);
    let record = view.record();
    let names = view.names("", None, usize::MAX);
    let state = |name: &str| public(&view, name).unwrap().to_lowercase();
    (record, names.iter().map(|name| (name.to_string(), state(name))).collect())
}

/// What a successor finds, by its slots.
fn load_all(writer: &TableWriter<&Recorder>) -> Model {
    let slots = (0..writer.record().slots).map(BodySlot);
    let bodies = slots.map(|slot| writer.load(slot).expect("every committed slot verifies"));
    let bodies: Vec<_> = bodies.filter(|body| !body.is_free()).collect();
    assert_eq!(writer.record().series as usize, bodies.len());
    bodies
        .iter()
        .for_each(|body| assert!(writer.find(body.key()).is_some(), "{} is not in the index", body.key()));
    bodies
        .iter()
        .map(|body| (body.key().to_owned(), String::from_utf8(body.state().to_vec()).unwrap()))
        .collect()
}

const FIRST: &[Batch] = &[
    &[("ATL", "a1"), ("BOS", "b1")],
    &[
        ("ATL", "a2"),
        ("CLT", "c2, a state of several words, so that a death can tear its body"),
        ("XNA", "x2"),
    ],
    &[("BOS", "b3"), ("XNA", REMOVED)],
];
/// The batch that is stopped, and the batches of a successor, which continues with other series and then returns to the
/// same ones.
const STOPPED: Batch = &[
    ("ATL", "a4!"),
    // Takes the slot of the series that was removed.
    ("DTW", "d4! and a long tail of bytes that may be torn anywhere"),
    ("BOS", "b4!"),
    ("CLT", REMOVED),
];
const AFTER: &[Batch] = &[
    &[("CLT", "c4"), ("EWR", "e4"), ("BOS", REMOVED)],
    &[("ATL", "a5"), ("DTW", "d5")],
    &[("BOS", "b6"), ("EWR", "e6")],
];

fn table(batches: &[Batch]) -> (Recorder, Model) {
    let memory = Recorder::new(SLOTS);
    let mut model = Model::new();
    let mut writer = successor(&memory);
    for batch in batches {
        commit(&mut writer, batch);
        apply(&mut model, batch);
    }
    drop(writer);
    (memory, model)
}

/// The worst state that a death can leave: every store of a commit up to the one that publishes it.
fn torn() -> (Recorder, Model) {
    let (memory, model) = table(FIRST);
    let image = memory.image();
    for stop in 0.. {
        let memory = Recorder::from(image.clone());
        memory.dies_after.set(stop);
        commit(&mut successor(&memory), STOPPED);
        if memory.image()[COMMIT] > FIRST.len() as u64 {
            let torn = Recorder::from(image);
            torn.dies_after.set(stop - 1);
            commit(&mut successor(&torn), STOPPED);
            return (Recorder::from(torn.image()), model);
        }
    }
    unreachable!("the commit is published");
}

/// Like [`torn`], after a commit of a successor. Bodies of the unfinished commit verify, and have the number of that commit.
fn continued() -> (Recorder, Model) {
    let (memory, mut model) = torn();
    commit(&mut successor(&memory), AFTER[0]);
    apply(&mut model, AFTER[0]);
    (Recorder::from(memory.image()), model)
}

/// Runs `work` on copies of `image`, stopped after every store, and calls `check` with the resulting memory.
fn at_every_store(
    image: &[u64],
    work: impl Fn(&Recorder),
    mut check: impl FnMut(Recorder, usize, bool),
) -> usize {
    let whole = Recorder::from(image.to_vec());
    work(&whole);
    let stores = whole.stores.get();
    for stop in 0..=stores {
        let memory = Recorder::from(image.to_vec());
        memory.dies_after.set(stop);
        work(&memory);
        check(Recorder::from(memory.image()), stop, stop == stores);
    }
    stores
}

/// A successor continues with other batches, and does its maintenance. Everything is right after each commit.
fn continue_from(memory: &Recorder, mut model: Model, context: &str) {
    let mut writer = successor(memory);
    assert_eq!(load_all(&writer), model, "a successor, {context}");
    for (number, batch) in AFTER.iter().enumerate() {
        commit(&mut writer, batch);
        apply(&mut model, batch);
        assert_eq!(load_all(&writer), model, "the successor's commits, {context}");
        assert_eq!(read_all(memory).1, model, "a reader of the successor's commits, {context}");
        if number == 1 {
            while writer.maintain(Effort::Idle).unwrap() {}
            assert_eq!((load_all(&writer), read_all(memory).1), (model.clone(), model.clone()), "{context}");
        }
    }
}

#[test]
fn a_commit_stopped_at_any_store_is_complete_or_absent() {
    let (memory, before) = table(FIRST);
    let mut after = before.clone();
    apply(&mut after, STOPPED);
    let n = FIRST.len() as u64;
    let stopped = |memory: &Recorder| {
        commit(&mut successor(memory), STOPPED);
    };
    let mut published = 0;
    let stores = at_every_store(&memory.image(), stopped, |memory, stop, done| {
        // One store makes the commit take effect. The ones after it clear what was replaced.
        let is_after = memory.image()[COMMIT] > n;
        published += usize::from(is_after);
        assert!(is_after || !done);
        let (commit_now, model) = if is_after { (n + 1, &after) } else { (n, &before) };
        let (record, found) = read_all(&memory);
        assert_eq!((record.commit, record.seq), (Commit(commit_now), Seq(10 * commit_now)), "store {stop}");
        assert_eq!(&found, model, "a reader, store {stop}");
        continue_from(&memory, model.clone(), &format!("store {stop}"));
    });
    assert!(stores > 60 && (10..stores / 2).contains(&published), "{published} of {stores} stores");
}

#[test]
fn a_takeover_stopped_at_any_store_can_be_repeated() {
    let (torn, before) = torn();
    let copy = Recorder::from(torn.image());
    let activated = attach(&copy).activate();
    assert_eq!((activated.scrubbed, activated.searched), (4, false));
    let takeover = |memory: &Recorder| drop(successor(memory));
    let stores = at_every_store(&torn.image(), takeover, |memory, stop, _| {
        continue_from(&memory, before.clone(), &format!("store {stop}"));
    });
    assert!(stores > 4, "four words for each version of the unfinished commit");
}

#[test]
fn a_takeover_after_a_finished_commit_looks_at_no_slot() {
    let (memory, _) = table(FIRST);
    assert_eq!(memory.image()[TOUCHED + 1], 0, "the list is empty");
    let copy = Recorder::from(memory.image());
    assert_eq!(attach(&copy).activate(), Activated::default());
    assert_eq!(copy.stores.get(), 0);
}

#[test]
fn a_takeover_without_a_valid_list_searches_all_slots() {
    for word in [TOUCHED, TOUCHED + 1, TOUCHED + 2, geometry(SLOTS).touched(1)] {
        let (torn, before) = torn();
        torn.put(word, 77);
        let copy = Recorder::from(torn.image());
        let activated = attach(&copy).activate();
        assert_eq!((activated.scrubbed, activated.searched), (4, true));
        continue_from(&Recorder::from(torn.image()), before, &format!("word {word}"));
    }
}

#[test]
fn a_wild_write_to_any_word_of_the_front_is_repaired_or_harmless() {
    for (memory, model) in [table(FIRST), continued()] {
        let image = memory.image();
        let commit = attach(&memory).record().commit;
        let values = [0, 1, 2, commit.0, commit.0 + 1, 1 << 32, u64::MAX];
        let front = geometry(SLOTS).front_bytes() / WORD;
        for (word, value) in (0..front).flat_map(|word| values.map(|value| (word, value))) {
            let mut damaged = image.clone();
            damaged[word] = value;
            let memory = Recorder::from(damaged);
            read_without_panic(&memory);
            let Some(mut writer) = TableWriter::attach(&memory, SLOTS) else { continue };
            if writer.record().commit != commit {
                // The commit number itself went back to a number whose record verifies, or to 0.
                assert_eq!(word, 0, "only the commit word can do that");
                continue;
            }
            writer.activate();
            while writer.maintain(Effort::Busy).unwrap() {}
            assert_eq!(load_all(&writer), model, "commit {commit}, word {word} = {value:#x}");
            drop(writer);
            assert_eq!(read_all(&memory).1, model, "a reader, commit {commit}, word {word} = {value:#x}");
        }
    }
}

fn read_without_panic(memory: &Recorder) {
    let view = view(memory);
    for name in view.names("", None, usize::MAX) {
        view.public(&name);
    }
}

/// Overwrites a word in the body of a slot.
fn damage_body(memory: &Recorder, slot: BodySlot) {
    let writer = attach(memory);
    let place = newest(&memory, slot, writer.record().commit.0).unwrap().content.place;
    memory.put(geometry(SLOTS).arena(place.byte()) + HEAD_BYTES / WORD, 0);
}

#[test]
fn a_damaged_body_does_not_verify_and_the_others_can_be_read() {
    let (memory, _) = table(FIRST);
    let slot = successor(&memory).find("BOS").unwrap();
    damage_body(&memory, slot);
    let writer = successor(&memory);
    assert_eq!(writer.load(slot), None);
    assert_eq!(writer.find("BOS"), Some(slot), "its series still has the slot");
    assert_eq!(writer.raw_slot(slot).len(), 64 + 56, "the line, and the body");
    let (bytes, _) = TableReader::new(&memory, SLOTS).raw_slot(slot);
    assert_eq!(bytes, writer.raw_slot(slot));
    assert_eq!(public(&view(&memory), "BOS").unwrap(), "unreadable");
    assert_eq!(public(&view(&memory), "ATL").unwrap(), "A2");
    assert_eq!(public(&view(&memory), "XYZ"), None, "it does not exist, for certain");
}

#[test]
fn a_state_that_is_too_large_is_refused_with_its_name_and_not_staged() {
    let (memory, model) = table(FIRST);
    let mut writer = successor(&memory);
    let slot = writer.find("ATL").unwrap();
    let error = writer.stage(slot, content("ATL", &vec![0; MAX_CONTENT], b"{}")).unwrap_err();
    assert!(error.to_string().contains("series \"ATL\" is too large"), "{error}");
    writer.commit(header(4)).unwrap();
    assert_eq!(load_all(&writer), model);
}

#[test]
fn a_full_table_assigns_no_further_slot() {
    let memory = Recorder::new(2);
    let mut writer = TableWriter::attach(&memory, 2).unwrap();
    writer.activate();
    let assigned = ["a", "b", "c"].map(|key| writer.assign(key));
    assert_eq!(assigned, [Some(BodySlot(0)), Some(BodySlot(1)), None]);
}

#[test]
fn a_full_arena_refuses_the_commit_and_the_last_one_stays() {
    let (memory, mut model) = table(FIRST);
    let mut writer = successor(&memory);
    let slot = writer.find("ATL").unwrap();
    writer.stage(slot, content("ATL", &[0; 64 * 256], b"{}")).unwrap();
    let error = writer.commit(header(4)).unwrap_err();
    assert!(error.to_string().contains("the arena of the state table is full"), "{error}");
    assert_eq!(read_all(&memory).1, model);
    // A successor goes on with what fits.
    commit(&mut successor(&memory), AFTER[0]);
    apply(&mut model, AFTER[0]);
    assert_eq!((load_all(&successor(&memory)), read_all(&memory).1), (model.clone(), model));
}

#[test]
fn a_slot_is_assigned_again_after_its_series_was_removed() {
    let memory = Recorder::new(2);
    let attach = || {
        let mut writer = TableWriter::attach(&memory, 2).unwrap();
        assert!(!writer.activate().searched);
        writer
    };
    let mut writer = attach();
    commit(&mut writer, &[("a", "1"), ("b", "1")]);
    let slot = writer.find("a").unwrap();
    writer.stage_removal(slot, "a").unwrap();
    assert_eq!(writer.assign("c"), None, "the removal is not committed");
    writer.commit(header(2)).unwrap();
    assert_eq!(writer.find("a"), None);
    assert_eq!((writer.record().series, writer.record().reassigned), (1, 1));
    assert_eq!(writer.assign("c"), Some(slot));
    assert_eq!(writer.assign("d"), None);
    commit(&mut writer, &[("c", "3")]);
    assert_eq!((writer.record().series, writer.record().reassigned), (2, 2));
    // A successor finds the same.
    let mut successor = attach();
    assert_eq!([successor.find("a"), successor.find("c")], [None, Some(slot)]);
    assert_eq!(successor.assign("d"), None);
}

#[test]
fn a_successor_finds_the_free_slots_and_assigns_each_of_them_once() {
    let memory = Recorder::new(SLOTS);
    let mut writer = successor(&memory);
    commit(&mut writer, &[("a", "1"), ("b", "1"), ("c", "1")]);
    commit(&mut writer, &[("a", REMOVED), ("b", REMOVED)]);
    let mut writer = successor(&memory);
    let mut assigned = ["d", "e", "f", "g", "h", "i"].map(|key| writer.assign(key).map(|slot| slot.0));
    assigned.sort_unstable();
    assert_eq!(assigned, [None, Some(0), Some(1), Some(3), Some(4), Some(5)]);
}

#[test]
fn a_series_can_be_created_and_removed_in_one_commit() {
    let memory = Recorder::new(SLOTS);
    let mut writer = successor(&memory);
    let slot = writer.assign("a").unwrap();
    writer.stage_removal(slot, "a").unwrap();
    let record = writer.commit(header(1)).unwrap();
    assert_eq!((record.series, record.slots), (0, 1));
    assert_eq!((read_all(&memory).1, writer.find("a"), writer.assign("b")), (Model::new(), None, Some(slot)));
}

#[test]
fn a_view_follows_removals_and_slots_that_change_hands() {
    let memory = Recorder::new(SLOTS);
    let mut writer = successor(&memory);
    let view = view(&memory);
    let seen = || {
        let names = view.names("", None, 9);
        names.iter().map(|name| format!("{name}={}", public(&view, name).unwrap())).collect::<Vec<_>>()
    };
    commit(&mut writer, &[("a", "1"), ("b", "1"), ("c", "1")]);
    assert_eq!(seen(), ["a=1", "b=1", "c=1"]);
    commit(&mut writer, &[("a", REMOVED), ("b", REMOVED)]);
    assert_eq!(seen(), ["c=1"]);
    assert_eq!(public(&view, "a"), None, "it does not exist, for certain");
    // The view misses the first of these commits: both slots change hands twice.
    commit(&mut writer, &[("b", "2"), ("d", "2")]);
    commit(&mut writer, &[("b", REMOVED), ("d", REMOVED)]);
    commit(&mut writer, &[("a", "3"), ("b", "3")]);
    assert_eq!(seen(), ["a=3", "b=3", "c=1"]);
    assert_eq!((public(&view, "d"), view.record().series), (None, 3));
}

#[test]
fn the_time_of_the_last_event_is_stored_with_the_series() {
    let (memory, _) = table(FIRST);
    let writer = successor(&memory);
    let slot = writer.find("ATL").unwrap();
    assert_eq!((writer.last_arrival_ms(slot), writer.load(slot).unwrap().last_arrival_ms), (Some(70), 70));
    assert_eq!(writer.last_arrival_ms(BodySlot(3)), None, "the slot is free");
    assert_eq!(writer.last_arrival_ms(BodySlot(4)), None, "the slot was never used");
}

#[test]
fn no_name_has_the_hash_of_a_free_slot() {
    assert_eq!(hash_of(""), layout::FREE);
    assert!(["a", "ATL", "__overflow__"].iter().all(|key| hash_of(key) != layout::FREE));
}

/// The names of many series, more than the smallest index has room for.
fn many(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("series {number}")).collect()
}

#[test]
fn the_index_grows_and_finds_every_series_at_any_store() {
    let slots = 500;
    let geometry = Geometry::with_arena(slots, 1 << 20);
    let memory = Recorder::from(vec![0; geometry.bytes() / WORD]);
    fn attach(memory: &Recorder, slots: u32) -> TableWriter<&Recorder> {
        let mut writer = TableWriter::attach(memory, slots).unwrap();
        writer.activate();
        writer
    }
    let put = |writer: &mut TableWriter<&Recorder>, names: &[String]| {
        for name in names {
            let slot = writer.find(name).or_else(|| writer.assign(name)).unwrap();
            writer.stage(slot, content(name, b"s", b"{}")).unwrap();
        }
        writer.commit(header(writer.record().commit.0 + 1)).unwrap()
    };
    let names = many(400);
    let mut writer = attach(&memory, slots);
    let before = put(&mut writer, &names[..380]).index;
    drop(writer);
    let image = memory.image();
    let add = |memory: &Recorder| {
        put(&mut attach(memory, slots), &names[380..]);
    };
    let whole = Recorder::from(image.clone());
    add(&whole);
    assert_ne!(attach(&whole, slots).record().index.half, before.half, "the index was built anew");
    let check = |memory: &Recorder, context: usize| {
        let view = SeriesView::new(memory, slots);
        let found = if view.record().series == 400 { 400 } else { 380 };
        for (number, name) in names.iter().enumerate() {
            let expected = (number < found).then(|| "{}".to_owned());
            assert_eq!(public(&view, name), expected, "{name}, store {context}");
        }
    };
    for stop in (0..whole.stores.get()).step_by(7) {
        let memory = Recorder::from(image.clone());
        memory.dies_after.set(stop);
        add(&memory);
        let memory = Recorder::from(memory.image());
        check(&memory, stop);
        add(&memory);
        check(&memory, stop);
        assert!(names.iter().all(|name| attach(&memory, slots).find(name).is_some()));
    }
}

#[test]
fn removed_series_do_not_fill_the_index() {
    let memory = Recorder::new(SLOTS);
    let mut writer = successor(&memory);
    for name in many(2000) {
        let slot = writer.assign(&name).unwrap();
        writer.stage(slot, content(&name, b"", b"{}")).unwrap();
        writer.commit(header(writer.record().commit.0 + 1)).unwrap();
        assert_eq!(writer.find(&name), Some(slot));
        writer.stage_removal(slot, &name).unwrap();
        writer.commit(header(writer.record().commit.0 + 1)).unwrap();
        assert_eq!(writer.find(&name), None);
    }
    assert!(!writer.record().index.is_full() && writer.record().slots == 1);
}

#[test]
fn the_space_of_replaced_bodies_is_reused_also_by_successors() {
    let memory = Recorder::new(SLOTS);
    let mut model = Model::new();
    // Far more than the arena holds, from several generations.
    for generation in 0..30 {
        let mut writer = successor(&memory);
        for round in 0..20 {
            let states = ["x", "yy", "zzz"].map(|part| part.repeat(40 + (7 * round + generation) % 50));
            for (key, state) in ["ATL", "BOS", "CLT"].into_iter().zip(states) {
                let slot = writer.find(key).or_else(|| writer.assign(key)).unwrap();
                writer.stage(slot, content(key, state.as_bytes(), state.to_uppercase().as_bytes())).unwrap();
                model.insert(key.to_owned(), state);
            }
            writer.commit(header(writer.record().commit.0 + 1)).unwrap();
            writer.maintain(Effort::Busy).unwrap();
        }
        assert_eq!((load_all(&writer), &read_all(&memory).1), (model.clone(), &model));
    }
}

#[test]
fn bodies_move_out_of_sparse_segments_and_free_memory_is_given_back() {
    let slots = 2000;
    let memory = Recorder::from(vec![0; Geometry::with_arena(slots, 64 << 20).bytes() / WORD]);
    let mut writer = TableWriter::attach(&memory, slots).unwrap();
    writer.activate();
    let state = vec![7; 8000];
    let names = many(1500);
    for name in &names {
        let slot = writer.assign(name).unwrap();
        writer.stage(slot, content(name, &state, b"{}")).unwrap();
    }
    writer.commit(header(1)).unwrap();
    // Of each segment of eight bodies, one stays.
    for name in names.iter().enumerate().filter(|(number, _)| number % 8 != 0).map(|(_, name)| name) {
        writer.stage_removal(writer.find(name).unwrap(), name).unwrap();
    }
    writer.commit(header(2)).unwrap();
    let (bytes, used) = (writer.space.bytes(), writer.space.used_bytes());
    assert!(used > 7 * bytes, "{used} bytes of segments for {bytes} bytes");
    // What readers saw before can be read at any time.
    while writer.maintain(Effort::Idle).unwrap() {
        let view = SeriesView::new(&memory, slots);
        for (number, name) in names.iter().enumerate() {
            assert_eq!(public(&view, name), (number % 8 == 0).then(|| "{}".to_owned()));
        }
    }
    let allowed = writer.space.bytes() / 4 * 5 + (2 << 20);
    assert!(writer.space.used_bytes() <= allowed && writer.space.held_bytes() <= 1 << 20);
}

#[test]
fn names_are_listed_in_order_by_prefix_and_page() {
    let (memory, _) = table(&[FIRST, AFTER].concat());
    let view = view(&memory);
    let names = |prefix, after, limit| {
        view.names(prefix, after, limit).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(names("", None, 9), ["ATL", "BOS", "CLT", "DTW", "EWR"]);
    assert_eq!(names("", Some("BOS"), 2), ["CLT", "DTW"]);
    assert_eq!(names("C", None, 9), ["CLT"]);
    assert_eq!(names("B", Some("A"), 9), ["BOS"]);
    assert_eq!(names("B", Some("Z"), 9), Vec::<String>::new());
}

#[test]
fn the_geometry_follows_from_the_size_and_the_number_of_slots() {
    for slots in iter::once(0).chain([1, 2, 255, 256, 4096, 4097, 65_536, 4_000_001]) {
        let geometry = Geometry::new(slots);
        assert_eq!(Geometry::of(slots, geometry.bytes() / WORD), Some(geometry));
    }
    assert_eq!(Geometry::of(4096, 64), None);
}

#[test]
fn the_words_of_the_front_do_not_overlap_and_reach_its_last_page() {
    for slots in [1, 6, 255, 4096] {
        let geometry = geometry(slots);
        let lines = (0..slots).flat_map(|slot| [0, 1].map(|version| Geometry::version(slot, version)));
        let lines = lines.flat_map(|word| word..word + 4);
        let list = (0..slots as usize).map(|item| geometry.touched(item));
        let halves = [0, 1].map(|half| geometry.index(half));
        let index = halves.into_iter().flat_map(|start| start..start + (1 << geometry.max_index_bits()));
        let records =
            (RECORDS..RECORDS + 2 * RECORD_WORDS).chain([COMMIT, TOUCHED, TOUCHED + 1, TOUCHED + 2]);
        let mut words: Vec<usize> = lines.chain(list).chain(index).chain(records).collect();
        words.sort_unstable();
        assert!(words.windows(2).all(|pair| pair[0] < pair[1]), "{slots} slots");
        let (end, front) = ((words[words.len() - 1] + 1) * WORD, geometry.front_bytes());
        assert!((front - 4095..=front).contains(&end), "{slots} slots: {end} of {front} bytes");
    }
}

fn encoded(key: &str, state: usize, public: usize) -> Result<Vec<u8>, BodyTooLarge> {
    let mut bytes = Vec::new();
    let (state, public) = (vec![1; state], vec![2; public]);
    Body::encode(&mut bytes, (BodySlot(0), 1), content(key, &state, &public)).map(|()| bytes)
}

#[test]
fn state_and_public_part_may_have_16_mib_together() {
    let key = "k".repeat(MAX_KEY);
    let bytes = encoded(&key, 1000, MAX_CONTENT - 1000).unwrap();
    assert_eq!(bytes.len(), (HEAD_BYTES + MAX_KEY + MAX_CONTENT).next_multiple_of(WORD));
    assert!(encoded(&key, 1000, MAX_CONTENT - 999).is_err());
    assert!(encoded(&(key + "k"), 0, 0).is_err());
    assert!(Place::new(0, bytes.len()).length() == bytes.len(), "a place can hold this length");
}

#[test]
fn a_front_with_an_impossible_length_or_of_another_slot_does_not_verify() {
    let bytes = encoded("ATL", 8, 8).unwrap();
    let lengths = Lengths::read(&bytes).unwrap();
    let front = || bytes[..lengths.front].to_vec();
    assert_eq!(BodyFront::parse(front(), BodySlot(0)).unwrap().key(), "ATL");
    assert_eq!(BodyFront::parse(front(), BodySlot(1)), None);
    assert!((lengths.front + lengths.state).next_multiple_of(WORD) == bytes.len());
    // The lengths of key, public part and state.
    for (offset, length) in [(32, MAX_KEY + 1), (36, MAX_CONTENT), (40, MAX_CONTENT)] {
        let mut damaged = bytes.clone();
        damaged[offset..offset + 4].copy_from_slice(&u32::try_from(length).unwrap().to_ne_bytes());
        assert!(Lengths::read(&damaged).is_none(), "{offset}");
    }
}

#[test]
fn any_wrong_byte_of_a_body_shows() {
    let bytes = encoded("ATL", 9, 8).unwrap();
    let Lengths { front, state } = Lengths::read(&bytes).unwrap();
    let parse = |bytes: &[u8]| {
        Body::parse(
            BodyFront::parse(bytes[..front].to_vec(), BodySlot(0))?,
            bytes[front..front + state].to_vec(),
        )
    };
    assert!(parse(&bytes).is_some());
    for at in 0..front + state {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        let whole = Lengths::read(&damaged).is_some_and(|found| (found.front, found.state) == (front, state));
        assert!(!whole || parse(&damaged).is_none(), "byte {at}");
    }
}

#[test]
fn a_body_of_another_commit_than_its_tag_does_not_verify() {
    let (memory, _) = table(FIRST);
    let (slot, reader) = (BodySlot(0), TableReader::new(&memory, SLOTS));
    let record = reader.record().unwrap();
    assert_eq!(reader.body(slot, &record).unwrap().state(), b"a2");
    let found = newest(&&memory, slot, 3).unwrap();
    let Version { hash, place, tag, .. } = found.content;
    Version::new(slot, hash, place, tag + 1).store(&&memory, slot, found.version);
    assert_eq!(reader.body(slot, &record), None);
}

#[test]
fn a_commit_number_without_its_record_does_not_verify() {
    let (memory, _) = table(FIRST);
    assert_eq!(TableReader::new(&memory, SLOTS).record().unwrap().commit, Commit(3));
    // The record of commit 5 would be in the same place as that of commit 3.
    memory.put(COMMIT, 5);
    assert_eq!(TableReader::new(&memory, SLOTS).record(), None);
}

#[test]
fn nothing_is_known_while_no_record_verifies_and_afterwards_the_last_one_that_did_counts() {
    let empty = Recorder::new(SLOTS);
    assert_eq!(public(&view(&empty), "ATL"), None, "an empty table can be read");
    let (memory, _) = table(FIRST);
    let before = view(&memory);
    before.record();
    memory.put(COMMIT, 5);
    assert_eq!(public(&before, "ATL").unwrap(), "A2", "the last good record is known");
    assert_eq!(public(&before, "XYZ").unwrap(), "unreadable", "it may have been created since");
    assert_eq!(public(&view(&memory), "ATL").unwrap(), "unreadable");
}

#[test]
fn the_finisher_is_that_of_splitmix64() {
    // The first output of splitmix64 with the seed 0.
    assert_eq!(finish(0x9e37_79b9_7f4a_7c15), 0xe220_a839_7b1d_cdaf);
}

#[test]
fn a_restored_table_continues_with_the_number_of_its_snapshot() {
    let memory = Recorder::new(SLOTS);
    let mut writer = successor(&memory);
    writer.resume_numbers(Commit(9));
    assert_eq!(commit(&mut writer, FIRST[0]).commit, Commit(9));
}

#[test]
fn a_slot_whose_line_is_wrong_in_two_words_is_given_up_and_the_others_are_kept() {
    let (memory, _) = table(FIRST);
    for slot in [BodySlot(0), BodySlot(1)] {
        let found = newest(&&memory, slot, 3).unwrap();
        let word = Geometry::version(slot.0, found.version);
        memory.put(word + line::TAG, 0);
        memory.put(word + line::PLACE, 0);
    }
    let writer = successor(&memory);
    let slots = [0, 1, 2].map(|slot| writer.load(BodySlot(slot)).map(|body| body.key().to_owned()));
    assert_eq!(slots, [None, None, Some("CLT".to_owned())]);
    assert_eq!(writer.find("ATL"), Some(BodySlot(0)), "its series begins anew there");
}

/// A memory whose commit number is read as 1 at first: two commits follow while the record of commit 1 is read.
struct Overtaken<'a>(&'a Recorder, Cell<bool>);

impl ReadWords for Overtaken<'_> {
    fn words(&self) -> usize {
        self.0.words()
    }

    fn load(&self, word: usize, order: Ordering) -> u64 {
        if word == COMMIT && self.1.replace(false) { 1 } else { self.0.load(word, order) }
    }

    fn read_bytes(&self, word: usize, into: &mut [u8]) {
        self.0.read_bytes(word, into);
    }
}

#[test]
fn a_record_that_is_overwritten_while_it_is_read_is_read_again() {
    let (memory, _) = table(FIRST);
    let record = CommitRecord::read(&Overtaken(&memory, Cell::new(true)), geometry(SLOTS)).unwrap();
    assert_eq!(record.commit, Commit(3));
}

/// A memory in which something happens when the commit number is loaded the second time.
struct Interrupted<'a> {
    memory: &'a Recorder,
    loads: Cell<usize>,
    then: RefCell<Option<Box<dyn FnOnce() + 'a>>>,
}

impl ReadWords for Interrupted<'_> {
    fn words(&self) -> usize {
        self.memory.words()
    }

    fn load(&self, word: usize, order: Ordering) -> u64 {
        let value = self.memory.load(word, order);
        if word == COMMIT {
            self.loads.set(self.loads.get() + 1);
            if self.loads.get() == 2
                && let Some(then) = self.then.take()
            {
                then();
            }
        }
        value
    }

    fn read_bytes(&self, word: usize, into: &mut [u8]) {
        self.memory.read_bytes(word, into);
    }
}

#[test]
fn a_reader_that_is_overtaken_by_commits_reads_again() {
    let memory = Recorder::new(SLOTS);
    let mut writer = successor(&memory);
    commit(&mut writer, &[("a", "1"), ("b", "1")]);
    // While a view reads, the series that it looks for is created, or moves to another slot and body.
    for (batches, name, expected) in [
        (&[&[("c", "2")] as Batch, &[("c", "3")]], "c", "3"),
        (&[&[("a", REMOVED)], &[("a", "4")]], "a", "4"),
    ] {
        let interrupted = Interrupted { memory: &memory, loads: Cell::new(0), then: RefCell::default() };
        let view = SeriesView::new(&interrupted, SLOTS);
        let writer = RefCell::new(&mut writer);
        interrupted.then.replace(Some(Box::new(move || {
            for batch in batches {
                commit(&mut writer.borrow_mut(), batch);
            }
        })));
        assert_eq!(public(&view, name).unwrap(), expected);
    }
}
