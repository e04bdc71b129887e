//! The commit record: everything that a commit says about the ring and the table, with a checksum.

use super::{
    TRIES,
    layout::{COMMIT, RECORD_WORDS, RECORDS},
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
    /// A sum over the newest hashes and tags of all slots: it detects a wild write among them.
    pub sum: u64,
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
            self.slots.into(),
            self.version.into(),
            self.analysed,
            self.skipped,
            self.resets,
            self.at_ms,
            self.sum,
            self.series.into(),
            self.reassigned,
            self.removed,
            self.expired,
        ]);
        words[RECORD_WORDS - 1] = crc(&words);
        for (offset, word) in words.into_iter().enumerate() {
            store(record_start(self.commit.0) + offset, word);
        }
    }

    fn parse(words: &[u64; RECORD_WORDS]) -> Option<Self> {
        if words[RECORD_WORDS - 1] != crc(words) {
            return None;
        }
        Some(Self {
            commit: Commit(words[0]),
            generation: Generation(words[1]),
            seq: Seq(words[2]),
            position: Position(words[3]),
            slots: u32::try_from(words[4]).ok()?,
            version: u32::try_from(words[5]).ok()?,
            analysed: words[6],
            skipped: words[7],
            resets: words[8],
            at_ms: words[9],
            sum: words[10],
            series: u32::try_from(words[11]).ok()?,
            reassigned: words[12],
            removed: words[13],
            expired: words[14],
        })
    }

    /// Reads the newest record while the analysis may be committing. `None` if no record could be read completely.
    pub(super) fn read(memory: &impl ReadWords) -> Option<Self> {
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
                Some(record) if unchanged && record.commit.0 == n => return Some(record),
                // The record is damaged and is not being written: another try cannot succeed.
                _ if unchanged => return None,
                _ => {}
            }
        }
        None
    }
}
