//! A commit, stopped after every single store: from each state a successor recovers a committed prefix, and continues with
//! a batch that differs from the unfinished one.

use super::{
    body::HEAD_BYTES,
    layout::{COMMIT, RECORD_WORDS, RECORDS},
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
    rc::Rc,
};

/// The memory of a table. It counts every store, and ignores stores after a given number, as a death does.
#[derive(Debug)]
struct Recorder {
    words: RefCell<Vec<u64>>,
    stores: Cell<usize>,
    dies_after: Cell<usize>,
}

impl Recorder {
    fn new(slots: u32) -> Self {
        Self::from(vec![0; Geometry::new(slots).bytes() / WORD])
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
    let view = SeriesView::new(memory);
    let record = view.record();
    let names = view.names("", None, usize::MAX);
    let public =
        |name: &str| String::from_utf8(view.public(name).unwrap().0.to_vec()).unwrap().to_lowercase();
    (record, names.iter().map(|name| (name.to_string(), public(name))).collect())
}

/// What a successor finds, by its slots.
fn load_all(writer: &TableWriter<&Recorder>) -> Model {
    let slots = (0..writer.record().slots).map(BodySlot);
    let bodies = slots.map(|slot| writer.load(slot).expect("every committed slot verifies"));
    let bodies: Vec<_> = bodies.filter(|body| !body.is_free()).collect();
    assert_eq!(writer.record().series as usize, bodies.len());
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
    let memory = Recorder::new(6);
    let mut model = Model::new();
    let mut writer = TableWriter::attach(&memory).unwrap();
    writer.activate();
    for batch in batches {
        commit(&mut writer, batch);
        apply(&mut model, batch);
    }
    drop(writer);
    (memory, model)
}

/// The worst state that a death can leave: every store of a commit except the last one.
fn torn() -> (Recorder, Model) {
    let (memory, model) = table(FIRST);
    let unfinished = |memory: &Recorder| {
        let mut writer = TableWriter::attach(memory).unwrap();
        writer.activate();
        commit(&mut writer, STOPPED);
    };
    let whole = Recorder::from(memory.image());
    unfinished(&whole);
    let torn = Recorder::from(memory.image());
    torn.dies_after.set(whole.stores.get() - 1);
    unfinished(&torn);
    (Recorder::from(torn.image()), model)
}

/// Like [`torn`], after a commit of a successor. Bodies of the unfinished commit verify, and have the number of that commit.
fn continued() -> (Recorder, Model) {
    let (memory, mut model) = torn();
    let mut writer = TableWriter::attach(&memory).unwrap();
    writer.activate();
    commit(&mut writer, AFTER[0]);
    apply(&mut model, AFTER[0]);
    drop(writer);
    (memory, model)
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

#[test]
fn a_commit_stopped_at_any_store_is_complete_or_absent() {
    let (memory, before) = table(FIRST);
    let mut after = before.clone();
    apply(&mut after, STOPPED);
    let n = FIRST.len() as u64;
    let stopped = |memory: &Recorder| {
        let mut writer = TableWriter::attach(memory).unwrap();
        writer.activate();
        commit(&mut writer, STOPPED);
    };
    let stores = at_every_store(&memory.image(), stopped, |memory, stop, done| {
        // Only the last store makes the commit take effect.
        let (commit_now, mut model) = if done { (n + 1, after.clone()) } else { (n, before.clone()) };
        let (record, found) = read_all(&memory);
        assert_eq!((record.commit, record.seq), (Commit(commit_now), Seq(10 * commit_now)), "store {stop}");
        assert_eq!(found, model, "a reader, store {stop}");

        let mut writer = TableWriter::attach(&memory).unwrap();
        assert!(!writer.activate().repaired, "store {stop}");
        assert_eq!(load_all(&writer), model, "a successor, store {stop}");
        for batch in AFTER {
            commit(&mut writer, batch);
            apply(&mut model, batch);
            assert_eq!(load_all(&writer), model, "the successor's commits, store {stop}");
            assert_eq!(read_all(&memory).1, model, "a reader of the successor's commits, store {stop}");
        }
    });
    assert!(stores > 40, "four bodies, their tags twice, hashes, a record and the commit: {stores} stores");
}

#[test]
fn a_scrub_stopped_at_any_store_can_be_repeated() {
    let (torn, before) = torn();
    let copy = Recorder::from(torn.image());
    assert_eq!(TableWriter::attach(&copy).unwrap().activate().scrubbed, 4);
    let scrub = |memory: &Recorder| {
        TableWriter::attach(memory).unwrap().activate();
    };
    let stores = at_every_store(&torn.image(), scrub, |memory, stop, _| {
        let mut writer = TableWriter::attach(&memory).unwrap();
        writer.activate();
        let mut model = before.clone();
        assert_eq!(load_all(&writer), model, "store {stop}");
        for batch in AFTER {
            commit(&mut writer, batch);
            apply(&mut model, batch);
            assert_eq!(
                (load_all(&writer), read_all(&memory).1),
                (model.clone(), model.clone()),
                "store {stop}"
            );
        }
    });
    assert_eq!(stores, 4, "one for each tag of the unfinished commit");
}

#[test]
fn a_wild_write_to_any_word_of_the_front_is_repaired_or_harmless() {
    for (memory, model) in [table(FIRST), continued()] {
        let image = memory.image();
        let commit = TableWriter::attach(&memory).unwrap().record().commit;
        let values = [0, 1, 2, commit.0, u64::MAX];
        let front = Geometry::new(6).front_bytes() / WORD;
        for (word, value) in (0..front).flat_map(|word| values.map(|value| (word, value))) {
            let mut damaged = image.clone();
            damaged[word] = value;
            let memory = Recorder::from(damaged);
            read_without_panic(&memory);
            let Some(mut writer) = TableWriter::attach(&memory) else { continue };
            if writer.record().commit != commit {
                // The commit number itself went back to a number whose record verifies, or to 0.
                assert_eq!(word, 0, "only the commit word can do that");
                continue;
            }
            writer.activate();
            assert_eq!(load_all(&writer), model, "commit {commit}, word {word} = {value:#x}");
        }
    }
}

fn read_without_panic(memory: &Recorder) {
    let view = SeriesView::new(memory);
    for name in view.names("", None, usize::MAX) {
        view.public(&name);
    }
}

#[test]
fn a_damaged_body_does_not_verify_and_the_reader_falls_back_to_the_last_good_copy() {
    let (memory, _) = table(FIRST);
    let view = SeriesView::new(&memory);
    assert_eq!(&*view.public("BOS").unwrap().0, b"B3");
    let slot = TableWriter::attach(&memory)
        .map(|mut writer| (writer.activate(), writer.find("BOS").unwrap()))
        .unwrap()
        .1;
    for version in [0, 1] {
        memory.put(Geometry::new(6).body(slot, version) + HEAD_BYTES / WORD, 0);
    }
    let mut writer = TableWriter::attach(&memory).unwrap();
    writer.activate();
    assert_eq!(writer.load(slot), None);
    assert_eq!(writer.raw_slot(slot).len(), 2 * BODY_BYTES);
    assert_eq!(&*view.public("BOS").unwrap().0, b"B3");
    assert_eq!(&*SeriesView::new(&memory).public("ATL").unwrap().0, b"A2");
}

#[test]
fn a_state_that_is_too_large_is_refused_with_its_name_and_not_staged() {
    let (memory, model) = table(FIRST);
    let mut writer = TableWriter::attach(&memory).unwrap();
    writer.activate();
    let slot = writer.find("ATL").unwrap();
    let error = writer.stage(slot, content("ATL", &vec![0; BODY_BYTES], b"{}")).unwrap_err();
    assert!(error.to_string().contains("series \"ATL\" does not fit"), "{error}");
    writer.commit(header(4)).unwrap();
    assert_eq!(load_all(&writer), model);
}

#[test]
fn a_full_table_assigns_no_further_slot() {
    let memory = Recorder::new(2);
    let mut writer = TableWriter::attach(&memory).unwrap();
    writer.activate();
    assert_eq!(
        [writer.assign("a"), writer.assign("b"), writer.assign("c")],
        [Some(BodySlot(0)), Some(BodySlot(1)), None]
    );
}

#[test]
fn a_slot_is_assigned_again_after_its_series_was_removed() {
    let memory = Recorder::new(2);
    let mut writer = TableWriter::attach(&memory).unwrap();
    writer.activate();
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
    let mut successor = TableWriter::attach(&memory).unwrap();
    assert!(!successor.activate().repaired);
    assert_eq!([successor.find("a"), successor.find("c")], [None, Some(slot)]);
    assert_eq!(successor.assign("d"), None);
}

#[test]
fn a_successor_assigns_free_slots_first_and_each_of_them_once() {
    let memory = Recorder::new(4);
    let mut writer = TableWriter::attach(&memory).unwrap();
    writer.activate();
    commit(&mut writer, &[("a", "1"), ("b", "1"), ("c", "1")]);
    commit(&mut writer, &[("a", REMOVED), ("b", REMOVED)]);
    let mut writer = TableWriter::attach(&memory).unwrap();
    writer.activate();
    let assigned = ["d", "e", "f", "g"].map(|key| writer.assign(key).map(|slot| slot.0));
    assert_eq!(assigned, [Some(0), Some(1), Some(3), None]);
}

#[test]
fn a_series_can_be_created_and_removed_in_one_commit() {
    let memory = Recorder::new(2);
    let mut writer = TableWriter::attach(&memory).unwrap();
    writer.activate();
    let slot = writer.assign("a").unwrap();
    writer.stage_removal(slot, "a").unwrap();
    let record = writer.commit(header(1)).unwrap();
    assert_eq!((record.series, record.slots), (0, 1));
    assert_eq!((read_all(&memory).1, writer.find("a"), writer.assign("b")), (Model::new(), None, Some(slot)));
}

#[test]
fn a_view_follows_removals_and_slots_that_change_hands() {
    let memory = Recorder::new(3);
    let mut writer = TableWriter::attach(&memory).unwrap();
    writer.activate();
    let view = SeriesView::new(&memory);
    let seen = || {
        let names = view.names("", None, 9);
        names
            .iter()
            .map(|name| format!("{name}={}", String::from_utf8_lossy(&view.public(name).unwrap().0)))
            .collect::<Vec<_>>()
    };
    commit(&mut writer, &[("a", "1"), ("b", "1"), ("c", "1")]);
    assert_eq!(seen(), ["a=1", "b=1", "c=1"]);
    commit(&mut writer, &[("a", REMOVED), ("b", REMOVED)]);
    assert_eq!(seen(), ["c=1"]);
    assert_eq!(view.public("a"), None);
    assert!(!view.is_unreadable("a"), "it does not exist, for certain");
    // The view misses the first of these commits: both slots change hands twice.
    commit(&mut writer, &[("b", "2"), ("d", "2")]);
    commit(&mut writer, &[("b", REMOVED), ("d", REMOVED)]);
    commit(&mut writer, &[("a", "3"), ("b", "3")]);
    assert_eq!(seen(), ["a=3", "b=3", "c=1"]);
    assert_eq!((view.public("d"), view.record().series), (None, 3));
}

#[test]
fn a_good_copy_of_a_removed_series_is_not_served_for_the_next_series_of_its_slot() {
    let memory = Recorder::new(1);
    let mut writer = TableWriter::attach(&memory).unwrap();
    writer.activate();
    let view = SeriesView::new(&memory);
    commit(&mut writer, &[("a", "1")]);
    assert_eq!(&*view.public("a").unwrap().0, b"1");
    commit(&mut writer, &[("a", REMOVED)]);
    commit(&mut writer, &[("b", "2")]);
    view.record();
    for version in [0, 1] {
        memory.put(Geometry::new(1).body(BodySlot(0), version) + HEAD_BYTES / WORD, 0);
    }
    assert_eq!(&*view.public("b").unwrap().0, b"", "nothing is known of it");
    assert!(view.is_unreadable("b"));
    assert_eq!(view.public("a"), None);
}

#[test]
fn the_time_of_the_last_event_is_stored_with_the_series() {
    let (memory, _) = table(FIRST);
    let mut writer = TableWriter::attach(&memory).unwrap();
    writer.activate();
    let slot = writer.find("ATL").unwrap();
    assert_eq!((writer.last_arrival_ms(slot), writer.load(slot).unwrap().last_arrival_ms), (Some(70), 70));
    assert_eq!(writer.last_arrival_ms(BodySlot(3)), None, "the slot is free");
    assert_eq!(writer.last_arrival_ms(BodySlot(4)), None, "the slot was never used");
}

#[test]
fn no_name_has_the_hash_of_a_free_slot() {
    assert_eq!(repair::hash_of(""), layout::FREE);
    assert!(["a", "ATL", "__overflow__"].iter().all(|key| repair::hash_of(key) != layout::FREE));
}

#[test]
fn names_are_listed_in_order_by_prefix_and_page() {
    let (memory, _) = table(&[FIRST, AFTER].concat());
    let view = SeriesView::new(&memory);
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
fn the_geometry_follows_from_the_size() {
    for slots in iter::once(0).chain([1, 2, 255, 256, 4096, 4097, 65_536]) {
        let geometry = Geometry::new(slots);
        assert_eq!(Geometry::of(geometry.bytes() / WORD), geometry);
    }
}

#[test]
fn the_words_of_the_front_do_not_overlap_and_reach_its_last_page() {
    for slots in [1, 6, 255, 4096] {
        let geometry = Geometry::new(slots);
        let of_slot = |slot| {
            [0, 1].map(|version| [Geometry::hash(slot, version), Geometry::tag(slot, version)]).concat()
        };
        let records = RECORDS..RECORDS + 2 * RECORD_WORDS;
        let mut words: Vec<usize> =
            Geometry::all(slots).flat_map(of_slot).chain(records).chain([COMMIT]).collect();
        words.sort_unstable();
        assert!(words.windows(2).all(|pair| pair[0] < pair[1]), "{slots} slots");
        let (end, front) = ((words[words.len() - 1] + 1) * WORD, geometry.front_bytes());
        assert!((front - 4095..=front).contains(&end), "{slots} slots: {end} of {front} bytes");
    }
}

fn encoded(key: &str, state: usize, public: usize) -> Result<Vec<u8>, BodyTooLarge> {
    let mut bytes = Vec::new();
    let (state, public) = (vec![1; state], vec![2; public]);
    let content = content(key, &state, &public);
    Body::encode(&mut bytes, (BodySlot(0), 1), content).map(|()| bytes)
}

#[test]
fn a_body_may_fill_its_slot_to_the_last_byte() {
    let (key, room) = ("k".repeat(MAX_KEY), BODY_BYTES - HEAD_BYTES);
    assert_eq!(encoded(&key, 1000, room - MAX_KEY - 1000).unwrap().len(), BODY_BYTES);
    assert!(encoded(&key, 1000, room - MAX_KEY - 999).is_err());
    assert!(encoded(&(key + "k"), 0, 0).is_err());
}

#[test]
fn a_body_with_an_impossible_length_or_of_another_slot_does_not_verify() {
    let bytes = encoded("ATL", 8, 8).unwrap();
    assert_eq!(Body::parse(bytes.clone(), BodySlot(0)).unwrap().key(), "ATL");
    assert_eq!(Body::parse(bytes.clone(), BodySlot(1)), None);
    assert_eq!(Body::length(&bytes), Some(bytes.len()));
    // The lengths of key and state.
    for (offset, length) in [(20, MAX_KEY + 1), (24, BODY_BYTES)] {
        let mut damaged = bytes.clone();
        damaged[offset..offset + 4].copy_from_slice(&u32::try_from(length).unwrap().to_ne_bytes());
        assert_eq!(Body::length(&damaged), None);
    }
}

#[test]
fn a_body_of_another_commit_than_its_tag_does_not_verify() {
    let (memory, _) = table(FIRST);
    let slot = BodySlot(0);
    let reader = TableReader::new(&memory);
    let record = reader.record().unwrap();
    assert_eq!(reader.body(slot, &record).unwrap().state(), b"a2");
    let tag = [0, 1]
        .map(|version| Geometry::tag(slot, version))
        .into_iter()
        .find(|word| memory.image()[*word] == 2);
    memory.put(tag.unwrap(), 3);
    assert_eq!(reader.body(slot, &record), None);
}

#[test]
fn a_commit_number_without_its_record_does_not_verify() {
    let (memory, _) = table(FIRST);
    assert_eq!(TableReader::new(&memory).record().unwrap().commit, Commit(3));
    // The record of commit 5 would be in the same place as that of commit 3.
    memory.put(COMMIT, 5);
    assert_eq!(TableReader::new(&memory).record(), None);
}

#[test]
fn a_series_is_unreadable_only_if_its_slot_may_be_the_one_that_does_not_verify() {
    let empty = Recorder::new(6);
    assert!(!SeriesView::new(&empty).is_unreadable("ATL"), "an empty table can be read");
    let (memory, _) = table(FIRST);
    let image = memory.image();
    let view = SeriesView::new(&memory);
    view.record();
    assert!(!view.is_unreadable("XYZ"));
    memory.put(COMMIT, 5);
    assert!(!view.is_unreadable("XYZ"), "the last good record is known");
    assert!(SeriesView::new(&memory).is_unreadable("XYZ"), "nothing is known");

    // The body of the first slot, which is ATL, does not verify.
    let memory = Recorder::from(image.clone());
    let bodies = [0, 1].map(|version| Geometry::new(6).body(BodySlot(0), version) + HEAD_BYTES / WORD);
    bodies.into_iter().for_each(|word| memory.put(word, 0));
    let view = SeriesView::new(&memory);
    assert_eq!(view.public("ATL"), None);
    assert!(view.is_unreadable("ATL") && view.is_unreadable("XYZ"), "it may be either");
    bodies.into_iter().for_each(|word| memory.put(word, image[word]));
    assert!(view.is_unreadable("ATL") && !view.is_unreadable("XYZ"), "the slot is that of ATL");
}

#[test]
fn the_finisher_is_that_of_splitmix64() {
    // The first output of splitmix64 with the seed 0.
    assert_eq!(finish(0x9e37_79b9_7f4a_7c15), 0xe220_a839_7b1d_cdaf);
}

#[test]
fn a_restored_table_continues_with_the_number_of_its_snapshot() {
    let memory = Recorder::new(2);
    let mut writer = TableWriter::attach(&memory).unwrap();
    writer.activate();
    writer.resume_numbers(Commit(9));
    assert_eq!(commit(&mut writer, FIRST[0]).commit, Commit(9));
}

#[test]
fn two_slots_without_their_last_versions_are_given_up_and_the_others_are_kept() {
    let (memory, _) = table(FIRST);
    let geometry = Geometry::new(6);
    let image = memory.image();
    // The last version of ATL is of commit 2, that of BOS of commit 3. CLT has one version only.
    for (slot, last) in [(BodySlot(0), 2), (BodySlot(1), 3)] {
        let version =
            [0, 1].into_iter().find(|&version| image[Geometry::tag(slot, version)] == last).unwrap();
        memory.put(Geometry::tag(slot, version), 0);
        memory.put(geometry.body(slot, version) + HEAD_BYTES / WORD, 0);
    }
    let mut writer = TableWriter::attach(&memory).unwrap();
    assert!(writer.activate().repaired);
    let slots = [0, 1, 2].map(|slot| writer.load(BodySlot(slot)).map(|body| body.key().to_owned()));
    assert_eq!(slots, [None, None, Some("CLT".to_owned())]);
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
    let record = CommitRecord::read(&Overtaken(&memory, Cell::new(true))).unwrap();
    assert_eq!(record.commit, Commit(3));
}

/// A memory in which something happens when the commit number is loaded the second time.
struct Interrupted {
    memory: Recorder,
    loads: Cell<usize>,
    then: RefCell<Option<Box<dyn FnOnce()>>>,
}

impl ReadWords for Interrupted {
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

impl TableMemory for Interrupted {
    fn store(&self, word: usize, value: u64, order: Ordering) {
        self.memory.store(word, value, order);
    }

    fn write_body(&self, word: usize, bytes: &[u8]) -> io::Result<()> {
        self.memory.write_body(word, bytes)
    }
}

#[test]
fn a_reader_of_an_older_commit_does_not_undo_what_another_one_has_learnt() {
    let memory =
        Rc::new(Interrupted { memory: Recorder::new(4), loads: Cell::new(0), then: RefCell::new(None) });
    let mut writer = TableWriter::attach(Rc::clone(&memory)).unwrap();
    writer.activate();
    let slot = writer.assign("A").unwrap();
    writer.stage(slot, content("A", b"", b"{}")).unwrap();
    writer.commit(header(1)).unwrap();
    writer.stage_removal(slot, "A").unwrap();
    writer.commit(header(2)).unwrap();
    let view = Rc::new(SeriesView::new(Rc::clone(&memory)));
    assert_eq!(view.public("A"), None);
    // While one thread reads commit 2, C gets the free slot, and another thread reads it.
    let other = Rc::clone(&view);
    memory.then.replace(Some(Box::new(move || {
        let slot = writer.assign("C").unwrap();
        writer.stage(slot, content("C", b"", b"{}")).unwrap();
        writer.commit(header(3)).unwrap();
        assert!(other.public("C").is_some());
    })));
    memory.loads.set(0);
    view.public("C");
    assert!(view.public("C").is_some(), "names: {:?}", view.names("", None, 9));
}
