//! Bytes of any length in shared memory, whose seal (length and CRC) is one word elsewhere.

use super::{
    access::{ReadWords, WORD, index, words_for},
    sync::crc,
};

/// The seal of `bytes`. Never 0, unless there are no bytes.
pub(super) fn seal(bytes: &[u8]) -> u64 {
    ((bytes.len() as u64) << 32) | u64::from(crc(bytes))
}

/// Copies bytes out that begin at `word`. `None` if the seal says that there are more than `most` bytes, or does not match
/// the copy.
pub(super) fn read(memory: &impl ReadWords, word: usize, sealed: u64, most: usize) -> Option<Vec<u8>> {
    let length = index(sealed >> 32);
    if length > most {
        return None;
    }
    let mut bytes = vec![0; words_for(length) * WORD];
    memory.read_bytes(word, &mut bytes);
    bytes.truncate(length);
    (seal(&bytes) == sealed).then_some(bytes)
}
