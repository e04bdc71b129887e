//! A snapshot file: it either loads to a complete memory that can be used and saved again, or is refused.

use crate::{
    honest::{SERIES, event},
    input::Input,
};
use bincode::Encode;
use bulkhead_proto::{
    shm::{
        memory::SharedMemory,
        ring::{AppendError, AppendOutcome, Consumer, IdempotencyKey, KeyedRequest},
        snapshot::{Summary, load, save},
    },
    wire::{
        codec,
        ids::{Commit, Generation, Seq},
    },
    worker::link::{AnalyticsLink, ApiLink},
};
use bulkhead_steps::{
    fixture,
    service::append,
    test_event::{SeriesTotal, batch},
};
use std::{
    fs,
    os::unix::fs::FileExt as _,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};
use tempfile::TempDir;

thread_local! {
    static FOLDER: TempDir = tempfile::tempdir().expect("a folder");
}

/// The items of the file, as the snapshot module of `bulkhead_proto` writes them.
#[derive(Encode)]
struct Head {
    commit: Commit,
    generation: Generation,
    seq: Seq,
    version: u32,
    counts: [u64; 4],
    next_seq: Seq,
    accepted: u64,
    series: u32,
    events: u64,
}

#[derive(Encode)]
struct Removals {
    removed: u64,
    expired: u64,
}

#[derive(Encode)]
struct Series {
    key: String,
    version: u32,
    state: Vec<u8>,
    public: Vec<u8>,
    last_arrival_ms: i64,
}

#[derive(Encode)]
struct Pending {
    seq: Seq,
    payload: Vec<u8>,
}

#[derive(Encode)]
struct Keyed {
    key: Vec<u8>,
    digest: u128,
    first: Seq,
    last: Seq,
}

/// The honest number in most cases, otherwise any number.
fn number(honest: u64, input: &mut Input<'_>) -> u64 {
    match input.byte() {
        1 => honest.wrapping_add(1),
        2 => honest.wrapping_sub(1),
        3 => input.number(),
        4 => u64::MAX - u64::from(input.byte()),
        5 => input.byte().into(),
        _ => honest,
    }
}

fn item(file: &mut Vec<u8>, item: &impl Encode, input: &mut Input<'_>) {
    let mut bytes = vec![0; 1 << 17];
    let length = codec::encode(item, &mut bytes).expect("it fits");
    let check = crc32c::crc32c(&bytes[..length]) ^ u32::from(input.byte() == 1);
    file.extend(u32::try_from(length).expect("short").to_le_bytes());
    file.extend(check.to_le_bytes());
    file.extend(&bytes[..length]);
}

/// A file with mostly valid checksums and any content.
fn file(input: &mut Input<'_>) -> Vec<u8> {
    const ANALYSED: u64 = 8;
    let mut file = b"bulkhead snap 04".to_vec();
    let (series, events) = (input.below(SERIES.len() + 3), input.below(24));
    let accepted = ANALYSED + events as u64;
    let head = Head {
        commit: Commit(number(3, input)),
        generation: Generation(number(2, input)),
        seq: Seq(number(ANALYSED, input)),
        version: 7,
        counts: [number(ANALYSED, input), number(0, input), 0, 5],
        next_seq: Seq(number(accepted + 1, input)),
        accepted: number(accepted, input),
        series: u32::try_from(number(series as u64, input) % 64).expect("small"),
        events: number(events as u64, input) % 1024,
    };
    item(&mut file, &head, input);
    item(&mut file, &Removals { removed: number(3, input), expired: number(0, input) }, input);
    for series in 0..series {
        let key = SERIES[(series + usize::from(input.byte() == 1)) % SERIES.len()].to_owned();
        let total = SeriesTotal { count: series as u64 + 1, sum: 9 };
        let (state, public) = (total.state(&key), total.public(&key));
        let last_arrival_ms = i64::try_from(number(5, input)).unwrap_or(i64::MAX);
        item(&mut file, &Series { key, version: 7, state, public, last_arrival_ms }, input);
    }
    for event_number in 0..events {
        let payload = input.bytes(300).to_vec();
        item(
            &mut file,
            &Pending { seq: Seq(number(ANALYSED + 1 + event_number as u64, input)), payload },
            input,
        );
    }
    keyed_requests(&mut file, accepted, input);
    file
}

/// More keyed requests than are remembered, mostly honest ones.
fn keyed_requests(file: &mut Vec<u8>, accepted: u64, input: &mut Input<'_>) {
    let keys = input.below(6) as u64;
    item(file, &(number(keys, input) % 1024), input);
    for key in 0..keys {
        let text =
            if input.byte() == 1 { input.bytes(80).to_vec() } else { format!("key-{key}").into_bytes() };
        let (first, last) = (number(1, input), number(accepted, input));
        item(file, &Keyed { key: text, digest: key.into(), first: Seq(first), last: Seq(last) }, input);
    }
}

/// Loads a snapshot that is made from the input, or the input itself.
pub(super) fn alone(bytes: &[u8]) {
    FOLDER.with(|folder| {
        let path = folder.path().join("snapshot");
        let mut input = Input::new(bytes);
        let file = if input.byte().is_multiple_of(4) { input.rest().to_vec() } else { file(&mut input) };
        fs::write(&path, file).expect("a file");
        check(&path);
    });
}

/// Loads while a second thread writes other bytes into the file.
pub(super) fn concurrent(bytes: &[u8]) {
    FOLDER.with(|folder| {
        let path = folder.path().join("snapshot");
        let mut input = Input::new(bytes);
        let honest = file(&mut input);
        fs::write(&path, &honest).expect("a file");
        let done = &AtomicBool::new(false);
        thread::scope(|scope| {
            let (path, honest) = (&path, &honest);
            let writer = scope.spawn(move || {
                let file = fs::File::options().write(true).open(path).expect("the file");
                for round in 0.. {
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                    let at = (round * 37 + bytes.len()) % honest.len();
                    for byte in [!honest[at], honest[at]] {
                        file.write_at(&[byte], at as u64).expect("room");
                    }
                }
            });
            struct SetOnDrop<'a>(&'a AtomicBool);
            impl Drop for SetOnDrop<'_> {
                fn drop(&mut self) {
                    self.0.store(true, Ordering::Relaxed);
                }
            }
            let guard = SetOnDrop(done);
            (0..3).for_each(|_| check(path));
            drop(guard);
            writer.join().expect("the writer thread does not panic");
        });
    });
}

fn check(path: &Path) {
    let memory = fixture::memory().expect("memory");
    let Ok(Some(summary)) = load(&memory, path) else { return };
    check_usable(&memory, &summary);
    // What was loaded can be saved and loaded again, and is the same.
    let second_path = path.with_extension("again");
    let saved = save(&memory, &second_path).expect("it can be saved");
    assert_eq!((saved.damage, saved.damaged_series.len()), (None, 0));
    let second = fixture::memory().expect("memory");
    let loaded = load(&second, &second_path).expect("it loads again").expect("it is there");
    assert_eq!(loaded, summary);
    let first = fs::read(&second_path).expect("the file");
    save(&second, &second_path).expect("it can be saved again");
    assert_eq!(first, fs::read(&second_path).expect("the file"));
    check_continues(&second, &summary);
}

/// All pending events are there, and the counters describe the same events.
fn check_usable(memory: &SharedMemory, summary: &Summary) {
    let stats = ApiLink::open_in_process(memory).expect("a link").stats();
    assert_eq!(stats.tail.next_seq, summary.next_seq);
    assert_eq!(stats.pending, summary.pending, "{stats:?}");
    let record = memory.record().expect("a record that verifies");
    assert_eq!(stats.record, record, "the counters do not match the record");
    let AnalyticsLink { events, producer, .. } = AnalyticsLink::open_in_process(memory).expect("a link");
    let mut consumer = Consumer::attach(events, producer, record.position, record.seq).expect("a place");
    let mut payload = Vec::new();
    for _ in 0..summary.pending {
        assert!(consumer.next(&mut payload).expect("whole").is_some());
    }
    assert_eq!(consumer.next(&mut payload), Ok(None));
}

/// New events follow all accepted ones, and a keyed request is appended once.
fn check_continues(memory: &SharedMemory, summary: &Summary) {
    let api = ApiLink::open_in_process(memory).expect("a link");
    match append(&api, &[event(0)]).expect("an event") {
        Ok(appended) => assert_eq!(appended.first, summary.next_seq),
        Err(error) => assert!(matches!(error, AppendError::Full { .. }), "{error}"),
    }
    let request = KeyedRequest { key: IdempotencyKey::new(b"mine").expect("a key"), digest: 5 };
    let append_once = || api.append_keyed(&mut batch(&[event(1)]).expect("an event"), request);
    match append_once() {
        Ok(AppendOutcome::Appended(first)) => assert_eq!(append_once(), Ok(AppendOutcome::Replayed(first))),
        // By chance, the key of another request.
        Ok(AppendOutcome::Replayed(_)) | Err(AppendError::KeyReused) => {}
        Err(error) => assert!(matches!(error, AppendError::Full { .. }), "{error}"),
    }
    assert_eq!(api.take_unreadable_keys(), 0, "loaded keys can be read");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_corruption_loads() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("snapshot");
        fs::write(&path, file(&mut Input::new(&[4, 0, 3]))).expect("a file");
        let memory = fixture::memory().expect("memory");
        let summary = load(&memory, &path).expect("it loads").expect("it is there");
        assert_eq!((summary.series, summary.pending), (4, 3));
    }
}
