//! Reads series by their names. It follows the commits of the analysis, and never goes back.

use super::{CommitRecord, TRIES, TableReader, names::SeriesNames, read::Found};
use crate::shm::access::ReadWords;
use std::sync::{Arc, Mutex, PoisonError};

/// What a read of a series found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FoundSeries {
    /// Its public part, as rendered at or before this commit.
    Public(Arc<[u8]>, CommitRecord),
    /// There is no such series.
    Missing(CommitRecord),
    /// Its state, or whether it exists, is unknown: the memory does not verify.
    Unreadable(CommitRecord),
}

impl FoundSeries {
    /// The public part, if it could be read.
    #[must_use]
    pub fn public(self) -> Option<Arc<[u8]>> {
        match self {
            Self::Public(public, _) => Some(public),
            Self::Missing(_) | Self::Unreadable(_) => None,
        }
    }
}

/// A reader of a table that another process writes, by the names of the series.
#[derive(Debug)]
pub struct SeriesView<M> {
    table: TableReader<M>,
    /// The last record that could be read.
    last: Mutex<CommitRecord>,
    names: SeriesNames,
}

impl<M: ReadWords> SeriesView<M> {
    /// Attaches to a table with `slots` slots.
    pub fn new(memory: M, slots: u32) -> Self {
        Self { table: TableReader::new(memory, slots), last: Mutex::default(), names: SeriesNames::default() }
    }

    /// The last commit; if it cannot be read, the last one that could. Never goes back.
    pub fn record(&self) -> CommitRecord {
        let found = self.table.record();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = found.filter(|found| found.commit > last.commit) {
            *last = found;
        }
        *last
    }

    /// Reads a series.
    pub fn public(&self, name: &str) -> FoundSeries {
        let mut record = self.record();
        for _ in 0..TRIES {
            match self.table.find(name, &record) {
                Found::Slot(slot) => match self.table.front(slot, &record) {
                    Some(front) if front.key() == name => {
                        return FoundSeries::Public(front.public().into(), record);
                    }
                    // Another series with the same hash.
                    Some(_) => return FoundSeries::Missing(record),
                    None => {}
                },
                Found::Nowhere if !self.table.is_overtaken(&record) => return FoundSeries::Missing(record),
                Found::Nowhere | Found::Unknown(_) => {}
            }
            record = self.record();
        }
        FoundSeries::Unreadable(record)
    }

    /// Whether there is such a series, or may be one.
    pub fn may_contain(&self, name: &str) -> bool {
        !matches!(self.public(name), FoundSeries::Missing(_))
    }

    /// The names of at most `limit` series that begin with `prefix` and follow `after`, in the order of their bytes. The first
    /// call reads the names of all series.
    pub fn names(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<Arc<str>> {
        let mut names = Vec::new();
        for _ in 0..TRIES {
            let record = self.record();
            let complete;
            (names, complete) = self.names.list(&self.table, &record, (prefix, after, limit));
            // A name that is being replaced is read with the next commit.
            if complete || !self.table.is_overtaken(&record) {
                break;
            }
        }
        names
    }
}
