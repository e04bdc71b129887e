//! The record stores that the supervisor writes and the API reads.

use bulkhead_proto::{
    wire::{
        crash, quarantine,
        record_store::{Record, RecordStore},
    },
    worker::fds::{FdName, InheritedFds},
};
use serde::Deserialize;

/// The default and the largest number of items on a page.
pub(crate) const PAGE_LIMIT: usize = 100;

/// The stores that the supervisor could open.
#[derive(Debug, Default)]
pub(crate) struct Stores {
    pub(crate) quarantine: Option<quarantine::EntryStore>,
    pub(crate) crashes: Option<crash::ReportStore>,
}

/// The query of a list request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, bound = "")]
pub(crate) struct PageQuery<T: Record> {
    pub(crate) limit: Option<usize>,
    pub(crate) after: Option<T::Number>,
}

impl Stores {
    pub(crate) fn take(inherited: &mut InheritedFds) -> Self {
        Self {
            quarantine: inherited.take_optional(FdName::Quarantine).map(RecordStore::from),
            crashes: inherited.take_optional(FdName::Crashes).map(RecordStore::from),
        }
    }
}
