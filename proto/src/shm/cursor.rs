//! The cursor page: what the analysis has in flight, its panic record, and records of a failed allocation and of a
//! fault signal. Word 8 is the park epoch ([`wake`](super::wake)).
//!
//! Only the active analysis writes it. All readers treat it as untrusted.

use crate::{
    shm::{
        access::{ReadWords, WORD, WriteWords},
        sealed,
        sync::Ordering,
    },
    wire::{
        codec,
        ids::{Generation, Position, Seq},
        text::cut,
    },
};
use bincode::{Decode, Encode};
use std::sync::atomic::compiler_fence;

/// The size of the page, in words.
pub const CURSOR_WORDS: usize = 512;

/// Seq and activity in one word, so that a death cannot tear them.
const IN_FLIGHT: usize = 0;
/// The position up to which the ring was read before the event in flight: where its record begins.
const READ_POSITION: usize = 1;
/// The generation that owns the page.
const OWNER: usize = 2;
/// The last failed allocation: its size in bytes, the generation, and the value of [`IN_FLIGHT`] at that time.
const FAILED_BYTES: usize = 5;
const FAILED_GENERATION: usize = 6;
const FAILED_IN_FLIGHT: usize = 7;
/// The number of steps of the owner: see [`count_step`].
const STEPS: usize = 3;
/// Length and CRC of the panic record; 0 if there is none. Readers usually read it after the death of its writer, when all
/// stores are visible; the CRC protects readers that read it earlier.
const PANIC_SEAL: usize = 16;
const PANIC_BYTES: usize = 17;

/// The last fault signal: number and code, address, and generation. The panic record ends before them.
const SIGNAL: usize = CURSOR_WORDS - 3;
const SIGNAL_ADDRESS: usize = CURSOR_WORDS - 2;
const SIGNAL_GENERATION: usize = CURSOR_WORDS - 1;

/// The room for the panic record, in bytes.
const PANIC_ROOM: usize = (SIGNAL - PANIC_BYTES) * WORD;

/// The longest text in the panic record, in bytes. Three texts of this length fit the page.
const MAX_PANIC_TEXT: usize = 1024;

/// What the analysis is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Activity {
    /// It waits, or reads the ring.
    Idle = 0,
    /// It applies an event.
    Apply = 1,
    /// It commits.
    Commit = 2,
    /// It loads the state of a series.
    Load = 3,
}

/// What the analysis has in flight. Unchecked: untrusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// What the analysis is doing.
    pub activity: Activity,
    /// The event that the analysis works on. If it is idle: the event that it worked on last.
    pub seq: Seq,
}

/// A panic, recorded in shared memory so that it survives if the control frame is lost.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PanicRecord {
    /// The generation that panicked.
    pub generation: Generation,
    /// The message, cut to 1 KiB.
    pub message: String,
    /// `file:line:column`.
    pub location: String,
    /// The name of the thread.
    pub thread: String,
}

/// An allocation that the system refused. The event that was in flight then is still in flight. Unchecked: untrusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocationFailure {
    /// The generation that allocated.
    pub generation: Generation,
    /// The size of the allocation, in bytes.
    pub bytes: u64,
}

/// A fault signal ([`signals`](crate::worker::signals)), as the handler saw it. Unchecked: untrusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalInfo {
    /// The number of the signal.
    pub number: i32,
    /// Why the signal was sent: `si_code` of sigaction(2).
    pub code: i32,
    /// The address of the failed access. Valid only if the code says that the kernel sent the signal.
    pub address: u64,
}

/// Records what the analysis is doing, and with which event.
pub fn set_in_flight(page: &impl WriteWords, activity: Activity, seq: Seq) {
    // The process can die between any two instructions. These compiler fences, which cost no instruction, keep the
    // compiler from moving work across the store. So the page of a dead process names the work that was under way.
    compiler_fence(Ordering::SeqCst);
    page.store(IN_FLIGHT, (seq.0 << 2) | u64::from(activity as u8), Ordering::Relaxed);
    compiler_fence(Ordering::SeqCst);
}

/// Counts a step: a series was loaded, migrated, or encoded for a commit.
pub fn count_step(page: &impl WriteWords) {
    page.store(STEPS, page.load(STEPS, Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

/// The number of steps that the owner counted. Unchecked: untrusted.
#[must_use]
pub fn steps(page: &impl ReadWords) -> u64 {
    page.load(STEPS, Ordering::Relaxed)
}

/// Records the position up to which the ring was read before the next event. Call it before [`set_in_flight`], and only
/// while nothing is in flight: then position and event agree if the process dies with an event in flight.
pub fn set_read_position(page: &impl WriteWords, position: Position) {
    page.store(READ_POSITION, position.0, Ordering::Relaxed);
}

/// Takes the page over: nothing is in flight after `committed`. The owner is stored last: if this process dies earlier,
/// the page still names the predecessor. So no event is attributed to two generations.
pub fn take_over(page: &impl WriteWords, generation: Generation, committed: Seq) {
    clear_panic_record(page);
    set_in_flight(page, Activity::Idle, committed);
    page.store(STEPS, 0, Ordering::Relaxed);
    page.store(OWNER, generation.0, Ordering::Release);
}

/// The generation that took the page over last. Unchecked: untrusted.
#[must_use]
pub fn owner(page: &impl ReadWords) -> Generation {
    Generation(page.load(OWNER, Ordering::Relaxed))
}

/// What the analysis says it is doing. Unchecked: untrusted.
#[must_use]
pub fn read_in_flight(page: &impl ReadWords) -> InFlight {
    let word = page.load(IN_FLIGHT, Ordering::Relaxed);
    let activity = match word & 3 {
        0 => Activity::Idle,
        1 => Activity::Apply,
        2 => Activity::Commit,
        _ => Activity::Load,
    };
    InFlight { activity, seq: Seq(word >> 2) }
}

/// Where the analysis says the record of the event in flight begins. Unchecked: untrusted.
#[must_use]
pub fn read_position(page: &impl ReadWords) -> Position {
    Position(page.load(READ_POSITION, Ordering::Relaxed))
}

/// Records that the system refused an allocation of `bytes` bytes. Neither allocates nor panics: an allocator calls it.
pub fn record_allocation_failure(page: &impl WriteWords, generation: Generation, bytes: u64) {
    page.store(FAILED_BYTES, bytes, Ordering::Relaxed);
    page.store(FAILED_GENERATION, generation.0, Ordering::Relaxed);
    page.store(FAILED_IN_FLIGHT, page.load(IN_FLIGHT, Ordering::Relaxed), Ordering::Relaxed);
}

/// The last failed allocation, if the same event is still in flight. Otherwise the analysis has survived the failure.
#[must_use]
pub fn allocation_failure(page: &impl ReadWords) -> Option<AllocationFailure> {
    let [bytes, generation, failed_in_flight, in_flight] =
        [FAILED_BYTES, FAILED_GENERATION, FAILED_IN_FLIGHT, IN_FLIGHT]
            .map(|word| page.load(word, Ordering::Relaxed));
    // There is no generation 0.
    (generation != 0 && failed_in_flight == in_flight)
        .then_some(AllocationFailure { generation: Generation(generation), bytes })
}

/// Records a fault signal. Makes only stores: a signal handler calls it.
pub fn record_signal(page: &impl WriteWords, generation: Generation, signal: SignalInfo) {
    let SignalInfo { number, code, address } = signal;
    let packed = u64::from(number.cast_unsigned()) << 32 | u64::from(code.cast_unsigned());
    page.store(SIGNAL, packed, Ordering::Relaxed);
    page.store(SIGNAL_ADDRESS, address, Ordering::Relaxed);
    page.store(SIGNAL_GENERATION, generation.0, Ordering::Relaxed);
}

/// The signal that was recorded last, and the generation that recorded it.
#[must_use]
pub fn recorded_signal(page: &impl ReadWords) -> Option<(Generation, SignalInfo)> {
    let [packed, address, generation] =
        [SIGNAL, SIGNAL_ADDRESS, SIGNAL_GENERATION].map(|word| page.load(word, Ordering::Relaxed));
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is what is wanted")]
    let (number, code) = ((packed >> 32) as u32, packed as u32);
    let signal = SignalInfo { number: number.cast_signed(), code: code.cast_signed(), address };
    // There is no generation 0.
    (generation != 0).then_some((Generation(generation), signal))
}

/// Writes a panic record. For a panic hook.
pub fn write_panic_record(page: &impl WriteWords, record: &PanicRecord) {
    let record = PanicRecord {
        generation: record.generation,
        message: cut(&record.message, MAX_PANIC_TEXT).to_owned(),
        location: cut(&record.location, MAX_PANIC_TEXT).to_owned(),
        thread: cut(&record.thread, MAX_PANIC_TEXT).to_owned(),
    };
    let mut bytes = [0; PANIC_ROOM];
    if let Ok(length) = codec::encode(&record, &mut bytes) {
        page.write_bytes(PANIC_BYTES, &bytes[..length]);
        page.store(PANIC_SEAL, sealed::seal(&bytes[..length]), Ordering::Relaxed);
    }
}

/// Removes the panic record of an earlier generation.
pub fn clear_panic_record(page: &impl WriteWords) {
    page.store(PANIC_SEAL, 0, Ordering::Relaxed);
}

/// The panic record, if there is one and it is complete.
#[must_use]
pub fn panic_record(page: &impl ReadWords) -> Option<PanicRecord> {
    let sealed = page.load(PANIC_SEAL, Ordering::Relaxed);
    // Without a record there are no bytes, and no bytes are not a record.
    codec::decode(&sealed::read(page, PANIC_BYTES, sealed, PANIC_ROOM)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{shm::memory::SharedMemory, worker::link::AnalyticsLink};

    #[test]
    fn the_longest_panic_record_and_a_signal_record_do_not_overlap() {
        let memory = SharedMemory::create(crate::shm::ring::MIN_CAPACITY, 1, 1).unwrap();
        let page = AnalyticsLink::open_in_process(&memory).unwrap().cursor;
        assert_eq!(recorded_signal(&page), None);
        let text = "x".repeat(MAX_PANIC_TEXT);
        let record = PanicRecord {
            generation: Generation(u64::MAX),
            message: text.clone(),
            location: text.clone(),
            thread: text,
        };
        let signal = SignalInfo { number: 11, code: -6, address: u64::MAX };
        record_signal(&page, Generation(7), signal);
        write_panic_record(&page, &record);
        assert_eq!(panic_record(&page), Some(record));
        assert_eq!(recorded_signal(&page), Some((Generation(7), signal)));
    }

    #[test]
    fn an_allocation_failure_is_ignored_when_another_event_is_in_flight() {
        let memory = SharedMemory::create(crate::shm::ring::MIN_CAPACITY, 1, 1).unwrap();
        let page = AnalyticsLink::open_in_process(&memory).unwrap().cursor;
        take_over(&page, Generation(7), Seq(0));
        assert_eq!(allocation_failure(&page), None);
        set_in_flight(&page, Activity::Apply, Seq(1));
        record_allocation_failure(&page, Generation(7), 4096);
        assert_eq!(
            allocation_failure(&page),
            Some(AllocationFailure { generation: Generation(7), bytes: 4096 })
        );
        set_in_flight(&page, Activity::Apply, Seq(2));
        assert_eq!(allocation_failure(&page), None);
    }
}
