//! Appends events.

use super::ApiHandle;
use crate::{
    http::{
        problem::{Problem, ProblemKind},
        request_id::RequestId,
    },
    parse::{self, check_reserved_series},
};
use axum::response::{IntoResponse, Response};
use bulkhead_proto::{
    shm::ring::{self, AppendOutcome, Appended, Batch, KeyedRequest},
    wire::{
        control::FromWorker,
        event::{Event, EventError, Removal},
        series::RESERVED_PREFIX,
        time::arrival_ms,
    },
};
use std::{cell::RefCell, sync::atomic::Ordering};

/// A thread keeps its batch buffer for the next request up to this size, in bytes. Larger buffers are freed.
const MAX_KEPT_BATCH: usize = 1 << 20;

/// The supervisor is notified when the seq passes a multiple of this: half of the 2^32 seqs that the supervisor
/// reserves at once.
const SEQ_MARK_INTERVAL: u64 = 1 << 31;

thread_local! {
    static BATCH: RefCell<Batch> = const { RefCell::new(Batch::new()) };
}

/// An event that a user's own route appends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NewEvent<'a> {
    series: &'a str,
    value: Option<f64>,
    ts_ms: Option<i64>,
    label: Option<&'a str>,
    data: Option<&'a str>,
}

impl<'a> NewEvent<'a> {
    /// An event of this series (1 to 128 bytes, not starting with `__`) with this finite value. Its time is now.
    #[must_use]
    pub const fn new(series: &'a str, value: f64) -> Self {
        Self { series, value: Some(value), ts_ms: None, label: None, data: None }
    }

    /// An event of this series with this [data](Self::data) and no value. Its time is now.
    #[must_use]
    pub const fn without_value(series: &'a str, json: &'a str) -> Self {
        Self { series, value: None, ts_ms: None, label: None, data: Some(json) }
    }

    /// Sets the label: at most 128 bytes.
    #[must_use]
    pub const fn label(mut self, label: &'a str) -> Self {
        self.label = Some(label);
        self
    }

    /// Sets the time of the event in Unix milliseconds, within the years 1 to 9999.
    #[must_use]
    pub const fn ts_ms(mut self, ms: i64) -> Self {
        self.ts_ms = Some(ms);
        self
    }

    /// Sets the data for the analysis: one JSON value as text, at most `api.max_event` long (64 KiB unless configured) and at
    /// most 64 levels deep.
    #[must_use]
    pub const fn data(mut self, json: &'a str) -> Self {
        self.data = Some(json);
        self
    }

    fn check(&self, api: &ApiHandle) -> Result<(), String> {
        if self.series.starts_with(RESERVED_PREFIX) {
            check_reserved_series(self.series, api.settings().faults)?;
        }
        if let Some(ms) = self.ts_ms {
            parse::check_ts(ms)?;
        }
        self.data.map_or(Ok(()), |data| parse::check_data(data, api.max_data()))
    }
}

/// Why no event was appended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// An event is out of bounds.
    #[error("event {index}: {reason}")]
    BadEvent {
        /// The index of the event, from 0.
        index: usize,
        /// What was expected and what was found.
        reason: String,
    },
    /// The ring refused the batch.
    #[error(transparent)]
    Ring(#[from] ring::AppendError),
}

impl From<AppendError> for Problem {
    fn from(error: AppendError) -> Self {
        use ring::AppendError::{Empty, Full, KeyReused, Lock, TooLarge};
        let kind = match &error {
            AppendError::BadEvent { index, reason } => return Self::bad_event(*index, reason),
            AppendError::Ring(Empty) => ProblemKind::BadEvent,
            AppendError::Ring(Full { .. }) => ProblemKind::Full,
            AppendError::Ring(TooLarge { .. }) => ProblemKind::BatchTooLarge,
            AppendError::Ring(KeyReused) => ProblemKind::IdempotencyKeyReused,
            AppendError::Ring(Lock(_)) => ProblemKind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

impl IntoResponse for AppendError {
    fn into_response(self) -> Response {
        Problem::from(self).into_response()
    }
}

impl ApiHandle {
    /// Appends all events or none. They carry the id of the request that the current task handles, if any.
    ///
    /// # Errors
    /// When an event is out of bounds, there is no event, or the ring has no space. As a response: 400, 413 or 503.
    pub fn append(&self, events: &[NewEvent<'_>]) -> Result<Appended, AppendError> {
        let request = RequestId::current();
        let arrived_ms = arrival_ms();
        let outcome = self.append_with(None, |batch| {
            for (index, new) in events.iter().enumerate() {
                let bad = |reason| AppendError::BadEvent { index, reason };
                new.check(self).map_err(bad)?;
                let event = Event {
                    series: new.series,
                    value: new.value,
                    ts_ms: new.ts_ms.unwrap_or(arrived_ms),
                    arrived_ms,
                    label: new.label,
                    data: new.data,
                    request_id: request.as_ref().map(RequestId::as_str),
                };
                batch.push(&event).map_err(|error| bad(error.to_string()))?;
            }
            Ok(())
        });
        outcome.map(AppendOutcome::appended)
    }

    /// Removes a series: its state after all events that were accepted before. The removal is accepted like an event. It takes
    /// effect with a commit of the analysis, also if the analysis is away now. A later event begins the series anew. If there is
    /// no such series, nothing changes.
    ///
    /// # Errors
    /// When the name has no or more than 128 bytes, or the ring has no space. As a response: 400 or 503.
    pub fn remove_series(&self, name: &str) -> Result<Appended, AppendError> {
        self.append_removal(None, name, || Ok(())).map(AppendOutcome::appended)
    }

    /// Appends the removal of a series, unless `check` fails or the `request` was appended before.
    pub(crate) fn append_removal<E: From<AppendError>>(
        &self,
        request: Option<KeyedRequest>,
        series: &str,
        check: impl FnOnce() -> Result<(), E>,
    ) -> Result<AppendOutcome, E> {
        let id = RequestId::current();
        let request_id = id.as_ref().map(RequestId::as_str);
        self.append_with(request, |batch| {
            check()?;
            let removal = Removal { series, arrived_ms: arrival_ms(), request_id };
            batch.push_removal(&removal).map_err(bad_event)?;
            Ok(())
        })
    }

    /// Clears a batch, lets `fill` fill it, and appends it unless `fill` fails. If the `request` was appended before,
    /// nothing is filled or appended.
    pub(crate) fn append_with<E: From<AppendError>>(
        &self,
        request: Option<KeyedRequest>,
        fill: impl FnOnce(&mut Batch) -> Result<(), E>,
    ) -> Result<AppendOutcome, E> {
        if let Some(request) = &request
            && let Some(earlier) = self.find_earlier(request)?
        {
            return Ok(AppendOutcome::Replayed(earlier));
        }
        with_batch(|batch| {
            fill(batch)?;
            let outcome = match request {
                None => self.0.link.append(batch).map(AppendOutcome::Appended),
                // The same request may have been appended meanwhile: `append_keyed` checks again.
                Some(request) => self.0.link.append_keyed(batch, request),
            };
            Ok(self.record_outcome(outcome)?)
        })
    }

    fn find_earlier(&self, request: &KeyedRequest) -> Result<Option<Appended>, AppendError> {
        let earlier = self.0.link.find(request)?;
        let unreadable = self.0.link.take_unreadable_keys();
        if unreadable > 0 {
            tracing::error!(
                unreadable,
                "{unreadable} remembered Idempotency-Keys cannot be read: a repeated request with such a key is appended again"
            );
        }
        Ok(earlier)
    }

    /// Records whether the ring was full, and reports passed seq marks.
    fn record_outcome(
        &self,
        outcome: Result<AppendOutcome, ring::AppendError>,
    ) -> Result<AppendOutcome, AppendError> {
        let full = matches!(outcome, Err(ring::AppendError::Full { .. }));
        // Load first: concurrent loads share the cache line, stores would move it between cores.
        if self.0.ring_full.load(Ordering::Relaxed) != full {
            self.0.ring_full.store(full, Ordering::Relaxed);
        }
        if full {
            self.counters().ring_full.count(|requests| {
                tracing::warn!(
                    requests,
                    "the ring is full; requests that got 503 since the last such line: {requests}; the analysis is away or too slow \
                     (see `bulkhead status`); link.capacity sets how much is accepted meanwhile"
                );
            });
        }
        let outcome = outcome?;
        if let AppendOutcome::Appended(appended) = outcome {
            self.report_seq_mark(appended);
        }
        Ok(outcome)
    }

    /// Notifies the supervisor when these events have passed a multiple of [`SEQ_MARK_INTERVAL`], so that it reserves
    /// seqs in time.
    fn report_seq_mark(&self, Appended { first, last }: Appended) {
        let passed = last.0 / SEQ_MARK_INTERVAL != first.0.saturating_sub(1) / SEQ_MARK_INTERVAL;
        if passed || self.0.seq_mark_due.load(Ordering::Relaxed) {
            let sent = self.supervisor().notify(&FromWorker::SeqMark(last.0));
            self.0.seq_mark_due.store(!sent, Ordering::Relaxed);
        }
    }
}

/// The only event of a batch is out of bounds.
pub(super) fn bad_event(error: EventError) -> AppendError {
    AppendError::BadEvent { index: 0, reason: error.to_string() }
}

/// Lends the thread's batch buffer, cleared.
fn with_batch<T>(work: impl FnOnce(&mut Batch) -> T) -> T {
    BATCH.with_borrow_mut(|batch| {
        batch.clear();
        let result = work(batch);
        if batch.bytes() > MAX_KEPT_BATCH {
            *batch = Batch::new();
        }
        result
    })
}
