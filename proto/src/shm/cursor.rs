//! The consumer's page: what the analysis has in hand, where it sleeps, and its last words.
//!
//! Written by the active analysis alone; the others read it as hostile.

use crate::{
    shm::{
        access::{ReadWords, WORD, WriteWords, index, words_for},
        sync::{Ordering, crc},
    },
    wire::{
        codec,
        ids::{Generation, Position, Seq},
        text::cut,
    },
};
use bincode::{Decode, Encode};
use std::sync::atomic::compiler_fence;

/// The page, in words.
pub const CURSOR_WORDS: usize = 512;

/// Seq in hand and phase, in one word so that no death tears them.
const HAND: usize = 0;
/// The position up to which the ring was read before the event in hand: where its record begins.
const READ: usize = 1;
/// The generation whose hand it is.
const OWNER: usize = 2;
/// The bytes that the system refused last, to which generation, and what that one had in hand ([`HAND`]).
const REFUSED: usize = 5;
const REFUSED_TO: usize = 6;
const REFUSED_WITH: usize = 7;
/// What its owner has done where an event takes many steps.
const STEPS: usize = 3;
/// Length and CRC of the last words; 0 when there are none. They are read after their writer's death, by when all its
/// stores are there; the CRC tells if they are looked at earlier.
const SEAL: usize = 16;
const WORDS: usize = 17;

/// The signal of a fault and its code, its address, and whose it was; the last words end before it.
const SIGNAL: usize = CURSOR_WORDS - 3;
const ADDRESS: usize = CURSOR_WORDS - 2;
const SIGNALLED: usize = CURSOR_WORDS - 1;

/// The longest text of the last words, in bytes; with the other two, it fits the page.
const MAX_LAST_WORD: usize = 1024;

/// What the analysis was activity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Activity {
    /// Waiting, or reading the ring.
    Idle = 0,
    /// Applying an event.
    Apply = 1,
    /// Committing.
    Commit = 2,
    /// Loading the state of a series.
    Load = 3,
}

/// What the analysis had in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// What it was activity.
    pub activity: Activity,
    /// With which event; the last one, when it was activity nothing with it any more. Not to be believed unchecked.
    pub seq: Seq,
}

/// A panic's text, left in shared memory so that no lost frame loses it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PanicRecord {
    /// Whose words they are.
    pub generation: Generation,
    /// The message, cut to 1 KiB.
    pub message: String,
    /// `file:line:column`.
    pub location: String,
    /// The thread's name.
    pub thread: String,
}

/// Memory that the system refused, and what it was wanted for is still in hand. Not to be believed unchecked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocationFailure {
    /// Who wanted it.
    pub generation: Generation,
    /// How much more, in bytes.
    pub bytes: u64,
}

/// The signal of a fault, as its handler saw it. Not to be believed unchecked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalInfo {
    /// Its number.
    pub number: i32,
    /// Why it was sent: `si_code` of sigaction(2).
    pub code: i32,
    /// The address that was meant, if the code says that the kernel has sent it.
    pub address: u64,
}

/// Says what the analysis is activity, with which event.
pub fn set_in_flight(page: &impl WriteWords, activity: Activity, seq: Seq) {
    // For whoever looks behind a death, which falls between two instructions: it costs none to keep the compiler from moving
    // across this store what is done before it, or behind it.
    compiler_fence(Ordering::SeqCst);
    page.store(HAND, (seq.0 << 2) | u64::from(activity as u8), Ordering::Relaxed);
    compiler_fence(Ordering::SeqCst);
}

/// Counts a step: a series that was loaded, migrated, or made ready for a commit.
pub fn count_step(page: &impl WriteWords) {
    page.store(STEPS, page.load(STEPS, Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

/// So many steps were counted. Not to be believed unchecked.
#[must_use]
pub fn steps(page: &impl ReadWords) -> u64 {
    page.load(STEPS, Ordering::Relaxed)
}

/// Says up to where the ring was read before the event that is taken in hand next. To be said before [`set_in_flight`], and while
/// nothing is in hand: so the two agree at every death with an event in hand.
pub fn set_read_position(page: &impl WriteWords, position: Position) {
    page.store(READ, position.0, Ordering::Relaxed);
}

/// Takes the page over: nothing is in hand behind `committed`. A death before the last store leaves the predecessor's
/// hand under the predecessor's name, so that no event is held against two generations.
pub fn take_over(page: &impl WriteWords, generation: Generation, committed: Seq) {
    clear_panic_record(page);
    set_in_flight(page, Activity::Idle, committed);
    page.store(STEPS, 0, Ordering::Relaxed);
    page.store(OWNER, generation.0, Ordering::Release);
}

/// The generation that took the page over last. Not to be believed unchecked.
#[must_use]
pub fn owner(page: &impl ReadWords) -> Generation {
    Generation(page.load(OWNER, Ordering::Relaxed))
}

/// What the analysis says that it is activity. Not to be believed unchecked.
#[must_use]
pub fn read_in_flight(page: &impl ReadWords) -> InFlight {
    let word = page.load(HAND, Ordering::Relaxed);
    let activity = match word & 3 {
        0 => Activity::Idle,
        1 => Activity::Apply,
        2 => Activity::Commit,
        _ => Activity::Load,
    };
    InFlight { activity, seq: Seq(word >> 2) }
}

/// Where the analysis says that the record of the event in hand begins. Not to be believed unchecked.
#[must_use]
pub fn read_position(page: &impl ReadWords) -> Position {
    Position(page.load(READ, Ordering::Relaxed))
}

/// Notes that the system refused so many bytes. Neither allocates nor panics: it is called by an allocator.
pub fn record_allocation_failure(page: &impl WriteWords, generation: Generation, bytes: u64) {
    page.store(REFUSED, bytes, Ordering::Relaxed);
    page.store(REFUSED_TO, generation.0, Ordering::Relaxed);
    page.store(REFUSED_WITH, page.load(HAND, Ordering::Relaxed), Ordering::Relaxed);
}

/// What the system refused last, unless the analysis got over it: then it has something else in hand by now.
#[must_use]
pub fn allocation_failure(page: &impl ReadWords) -> Option<AllocationFailure> {
    let [bytes, to, with, hand] =
        [REFUSED, REFUSED_TO, REFUSED_WITH, HAND].map(|word| page.load(word, Ordering::Relaxed));
    // There is no generation 0.
    (to != 0 && with == hand).then_some(AllocationFailure { generation: Generation(to), bytes })
}

/// Notes the signal of a fault. Called by a signal handler: it stores, and does nothing else.
pub fn record_signal(page: &impl WriteWords, generation: Generation, signal: SignalInfo) {
    let SignalInfo { number, code, address } = signal;
    let packed = u64::from(number.cast_unsigned()) << 32 | u64::from(code.cast_unsigned());
    page.store(SIGNAL, packed, Ordering::Relaxed);
    page.store(ADDRESS, address, Ordering::Relaxed);
    page.store(SIGNALLED, generation.0, Ordering::Relaxed);
}

/// The signal of a fault that was noted last, and whose it was.
#[must_use]
pub fn recorded_signal(page: &impl ReadWords) -> Option<(Generation, SignalInfo)> {
    let [packed, address, generation] =
        [SIGNAL, ADDRESS, SIGNALLED].map(|word| page.load(word, Ordering::Relaxed));
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is what is wanted")]
    let (number, code) = ((packed >> 32) as u32, packed as u32);
    let signal = SignalInfo { number: number.cast_signed(), code: code.cast_signed(), address };
    // There is no generation 0.
    (generation != 0).then_some((Generation(generation), signal))
}

/// Leaves last words: to be called from a panic hook.
pub fn write_panic_record(page: &impl WriteWords, words: &PanicRecord) {
    let words = PanicRecord {
        generation: words.generation,
        message: cut(&words.message, MAX_LAST_WORD).to_owned(),
        location: cut(&words.location, MAX_LAST_WORD).to_owned(),
        thread: cut(&words.thread, MAX_LAST_WORD).to_owned(),
    };
    let mut bytes = [0; (SIGNAL - WORDS) * WORD];
    if let Ok(length) = codec::encode(&words, &mut bytes) {
        page.write_bytes(WORDS, &bytes[..length]);
        page.store(SEAL, seal(&bytes[..length]), Ordering::Relaxed);
    }
}

/// Forgets the last words of an earlier generation.
pub fn clear_panic_record(page: &impl WriteWords) {
    page.store(SEAL, 0, Ordering::Relaxed);
}

/// The last words, if there are any and they are whole.
#[must_use]
pub fn panic_record(page: &impl ReadWords) -> Option<PanicRecord> {
    let sealed = page.load(SEAL, Ordering::Relaxed);
    let length = index(sealed >> 32);
    if sealed == 0 || length > (SIGNAL - WORDS) * WORD {
        return None;
    }
    let mut bytes = vec![0; words_for(length) * WORD];
    page.read_bytes(WORDS, &mut bytes);
    bytes.truncate(length);
    if seal(&bytes) == sealed { codec::decode(&bytes).ok() } else { None }
}

fn seal(bytes: &[u8]) -> u64 {
    ((bytes.len() as u64) << 32) | u64::from(crc(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{shm::memory::SharedMemory, worker::link::AnalyticsLink};

    #[test]
    fn the_longest_last_words_and_a_signal_stand_side_by_side() {
        let memory = SharedMemory::create(crate::shm::ring::MIN_CAPACITY, 1, 1).unwrap();
        let page = AnalyticsLink::open_in_process(&memory).unwrap().cursor;
        assert_eq!(recorded_signal(&page), None);
        let text = "x".repeat(MAX_LAST_WORD);
        let words = PanicRecord {
            generation: Generation(u64::MAX),
            message: text.clone(),
            location: text.clone(),
            thread: text,
        };
        let signal = SignalInfo { number: 11, code: -6, address: u64::MAX };
        record_signal(&page, Generation(7), signal);
        write_panic_record(&page, &words);
        assert_eq!(panic_record(&page), Some(words));
        assert_eq!(recorded_signal(&page), Some((Generation(7), signal)));
    }

    #[test]
    fn a_refusal_is_forgotten_when_something_else_is_in_hand() {
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
