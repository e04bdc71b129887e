//! Reads the record stores that the supervisor writes.

use super::ApiHandle;
use crate::{
    http::problem::{Problem, ProblemKind},
    stores::{PAGE_LIMIT, PageQuery, Stores},
};
use bulkhead_proto::wire::record_store::{Page, Record, RecordStore};
use std::io;
use tokio::task::spawn_blocking;

impl ApiHandle {
    /// Reads one of the stores on a blocking thread, so that other requests are not delayed.
    pub(crate) async fn read_store<F: 'static, T: Send + 'static>(
        &self,
        select: impl FnOnce(&Stores) -> &Option<RecordStore<F>> + Send + 'static,
        read: impl FnOnce(&RecordStore<F>) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Problem> {
        let api = self.clone();
        let read = spawn_blocking(move || match select(api.stores()) {
            Some(store) => read(store).map_err(|error| error.to_string()),
            None => Err("the supervisor could not open the directory".to_owned()),
        });
        let unreadable = |reason: String| {
            Problem::new(ProblemKind::Unavailable, format!("cannot read the supervisor's records: {reason}"))
        };
        read.await.map_err(|error| unreadable(error.to_string()))?.map_err(unreadable)
    }

    /// Reads one page of a store.
    pub(crate) async fn read_page<F: Record<Number: Send> + Send + 'static>(
        &self,
        select: impl FnOnce(&Stores) -> &Option<RecordStore<F>> + Send + 'static,
        PageQuery { limit, after }: PageQuery<F>,
    ) -> Result<Page<F>, Problem> {
        let limit = check_limit(limit.unwrap_or(PAGE_LIMIT), PAGE_LIMIT)?;
        self.read_store(select, move |store| store.page(after, limit, |_| true)).await
    }
}

/// Checks the number of items that a list request asks for.
pub(crate) fn check_limit(limit: usize, max: usize) -> Result<usize, Problem> {
    if (1..=max).contains(&limit) {
        return Ok(limit);
    }
    let detail = format!("expected a limit of 1 to {max}; found {limit}");
    Err(Problem::new(ProblemKind::BadRequest, detail))
}
