//! Folders of files that the supervisor alone writes, for reading.

use crate::{
    Bulkhead,
    problem::{Kind, Problem},
};
use bulkhead_proto::{
    wire::{
        crash, quarantine,
        record_store::{Page, Record, RecordStore},
    },
    worker::fds::{FdName, InheritedFds},
};
use serde::Deserialize;
use std::io;
use tokio::task::spawn_blocking;

/// How many items a page has unless the client says otherwise, and the most.
const PAGE: usize = 100;

/// Those that the supervisor could open.
#[derive(Debug, Default)]
pub(crate) struct Folders {
    pub(crate) quarantine: Option<quarantine::EntryStore>,
    pub(crate) crashes: Option<crash::ReportStore>,
}

/// The query of a list.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields, bound = "")]
pub(crate) struct Wanted<T: Record> {
    limit: usize,
    after: Option<T::Number>,
}

impl<T: Record> Default for Wanted<T> {
    fn default() -> Self {
        Self { limit: PAGE, after: None }
    }
}

impl Folders {
    pub(crate) fn take(inherited: &mut InheritedFds) -> Self {
        Self {
            quarantine: inherited.take_optional(FdName::Quarantine).map(RecordStore::from),
            crashes: inherited.take_optional(FdName::Crashes).map(RecordStore::from),
        }
    }
}

impl Bulkhead {
    /// Reads one of them, away from the threads that answer others.
    pub(crate) async fn read<F: 'static, T: Send + 'static>(
        &self,
        which: impl FnOnce(&Folders) -> &Option<RecordStore<F>> + Send + 'static,
        read: impl FnOnce(&RecordStore<F>) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Problem> {
        let bulkhead = self.clone();
        let read = spawn_blocking(move || match which(bulkhead.folders()) {
            Some(folder) => read(folder).map_err(|error| error.to_string()),
            None => Err("the supervisor could not open it".to_owned()),
        });
        let unreadable = |why: String| {
            Problem::new(Kind::Unavailable, format!("the supervisor's files cannot be read: {why}"))
        };
        read.await.map_err(|error| unreadable(error.to_string()))?.map_err(unreadable)
    }

    /// A page of one of them.
    pub(crate) async fn page<F: Record<Number: Send> + Send + 'static>(
        &self,
        which: impl FnOnce(&Folders) -> &Option<RecordStore<F>> + Send + 'static,
        Wanted { limit, after }: Wanted<F>,
    ) -> Result<Page<F>, Problem> {
        if !(1..=PAGE).contains(&limit) {
            let detail = format!("a limit of 1 to {PAGE} is wanted; found {limit}");
            return Err(Problem::new(Kind::BadRequest, detail));
        }
        self.read(which, move |folder| folder.page(after, limit)).await
    }
}
