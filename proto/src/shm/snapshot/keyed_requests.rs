//! The keyed requests in a snapshot: a repeated request is recognised after an orderly stop.

use super::{
    SnapshotError,
    file::{Sink, Source, Version},
};
use crate::{
    shm::{
        ring::{Appended, IdempotencyKey, KeyLog, KeyedBatch, KeyedRequest, Tail},
        segment::ReadWrite,
    },
    wire::ids::Seq,
};
use bincode::{Decode, Encode};

#[derive(Encode, Decode)]
struct Keyed {
    key: Vec<u8>,
    digest: u128,
    first: Seq,
    last: Seq,
}

impl Keyed {
    fn new(batch: &KeyedBatch) -> Self {
        let KeyedBatch { request: KeyedRequest { key, digest }, appended: Appended { first, last } } = *batch;
        Self { key: key.as_bytes().to_vec(), digest, first, last }
    }

    fn batch(&self) -> Option<KeyedBatch> {
        let request = KeyedRequest { key: IdempotencyKey::new(&self.key)?, digest: self.digest };
        Some(KeyedBatch { request, appended: Appended { first: self.first, last: self.last } })
    }
}

/// Saves the valid entries that can be read. Returns the number of saved entries, and of entries that could not be
/// read.
pub(super) fn save(
    log: &KeyLog<ReadWrite>,
    tail: &Tail,
    file: &mut Sink,
) -> Result<(u64, u64), SnapshotError> {
    let numbers = log.numbers(tail);
    let all = numbers.end - numbers.start;
    let batches: Vec<_> = numbers.filter_map(|number| log.read(number, tail)).collect();
    let readable = batches.len() as u64;
    file.item(&readable)?;
    batches.iter().try_for_each(|batch| file.item(&Keyed::new(batch)))?;
    Ok((readable, all - readable))
}

/// Loads the entries into a log that is not in use yet. Returns their number. If there are more than the window, the last
/// ones are remembered.
pub(super) fn load(file: &mut Source, log: &KeyLog<ReadWrite>, tail: &Tail) -> Result<u64, SnapshotError> {
    let count = if file.version >= Version::WithKeys { file.item()? } else { 0 };
    for number in 0..count {
        let batch = file.item::<Keyed>()?.batch().filter(|batch| batch.is_before(tail));
        let batch = batch.ok_or_else(|| file.damaged(format!("keyed request {number} is impossible")))?;
        log.write(number, &batch);
    }
    Ok(count)
}
