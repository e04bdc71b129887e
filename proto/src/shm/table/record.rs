//! The commit record: everything that a commit says about the ring and the table, with a checksum.

use super::{
    TRIES,
    index::IndexSpec,
    layout::{COMMIT, Geometry, RECORD_WORDS, RECORDS},
};
use crate::{
    shm::{
        access::{ReadWords, WORD, index},
        sync::{self, Ordering, Site, at, fence},
    },
    wire::ids::{Commit, Generation, Position, Seq},
};
use zerocopy::IntoBytes as _;

/// One commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommitRecord {
    /// The number of the commit; 0 if nothing was ever committed.
    pub commit: Commit,
    /// The generation that committed, as the analysis says. For people who look at the memory. Nothing depends on it, so a
    /// false value does no harm; the supervisor knows the active generation from its process.
    pub generation: Generation,
    /// The last event that is in the state, or was skipped.
    pub seq: Seq,
    /// The ring position after that event: the space before it is free.
    pub position: Position,
    /// The number of slots in use.
    pub slots: u32,
    /// The `VERSION` of the analysis that committed.
    pub version: u32,
    /// The number of events that were ever applied.
    pub analysed: u64,
    /// The number of events that were ever skipped because they are quarantined.
    pub skipped: u64,
    /// How often a series was reset because its slot did not verify.
    pub resets: u64,
    /// When the commit was made, in Unix milliseconds.
    pub at_ms: u64,
    /// The end of the part of the arena that can be in use, in bytes.
    pub arena_end: u64,
    /// The index in use.
    pub index: IndexSpec,
    /// The number of series: slots that are not free.
    pub series: u32,
    /// How often a slot got another series or became free, so that readers know when to look.
    pub reassigned: u64,
    /// The number of series that were ever removed on request.
    pub removed: u64,
    /// The number of series that ever expired.
    pub expired: u64,
}

const fn record_start(n: u64) -> usize {
    RECORDS + RECORD_WORDS * index(n & 1)
}

fn crc(words: &[u64; RECORD_WORDS]) -> u64 {
    sync::crc(words[..RECORD_WORDS - 1].as_bytes()).into()
}

impl CommitRecord {
    pub(super) fn store(&self, mut store: impl FnMut(usize, u64)) {
        let mut words = [0; RECORD_WORDS];
        words[..15].copy_from_slice(&[
            self.commit.0,
            self.generation.0,
            self.seq.0,
            self.position.0,
            u64::from(self.series) << 32 | u64::from(self.slots),
            self.version.into(),
            self.analysed,
            self.skipped,
            self.resets,
            self.at_ms,
            self.arena_end,
            self.index.to_word(),
            self.reassigned,
            self.removed,
            self.expired,
        ]);
        words[RECORD_WORDS - 1] = crc(&words);
        for (offset, word) in words.into_iter().enumerate() {
            store(record_start(self.commit.0) + offset, word);
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "each half of a word is wanted")]
    fn parse(words: &[u64; RECORD_WORDS]) -> Option<Self> {
        if words[RECORD_WORDS - 1] != crc(words) {
            return None;
        }
        Some(Self {
            commit: Commit(words[0]),
            generation: Generation(words[1]),
            seq: Seq(words[2]),
            position: Position(words[3]),
            slots: words[4] as u32,
            series: (words[4] >> 32) as u32,
            version: u32::try_from(words[5]).ok()?,
            analysed: words[6],
            skipped: words[7],
            resets: words[8],
            at_ms: words[9],
            arena_end: words[10],
            index: IndexSpec::from_word(words[11]),
            reassigned: words[12],
            removed: words[13],
            expired: words[14],
        })
    }

    /// Whether a table of this geometry can have such a record.
    const fn is_possible(&self, geometry: Geometry) -> bool {
        self.slots <= geometry.slots()
            && self.arena_end <= geometry.arena_bytes() as u64
            && self.index.is_possible(geometry)
    }

    /// Reads the newest record while the analysis may be committing. `None` if no record could be read completely, or it is
    /// impossible.
    pub(super) fn read(memory: &impl ReadWords, geometry: Geometry) -> Option<Self> {
        for _ in 0..TRIES {
            let n = memory.load(COMMIT, at(Site::CommitRead, Ordering::Acquire));
            if n == 0 {
                return Some(Self::default());
            }
            let mut bytes = [0; RECORD_WORDS * WORD];
            memory.read_bytes(record_start(n), &mut bytes);
            fence(Site::CommitRecheck, Ordering::Acquire);
            // The record of commit n is overwritten only after commit n + 1 was published.
            let unchanged = memory.load(COMMIT, Ordering::Relaxed) == n;
            let record = Self::parse(&zerocopy::transmute!(bytes));
            match record {
                Some(record) if unchanged && record.commit.0 == n => {
                    return Some(record).filter(|record| record.is_possible(geometry));
                }
                // The record is damaged and is not being written: another try cannot succeed.
                _ if unchanged => return None,
                _ => {}
            }
        }
        None
    }
}
