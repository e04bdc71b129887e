//! Appending events.

use super::{Bulkhead, arrival_ms};
use crate::{
    RequestId,
    parse::{self, admit_reserved},
    problem::{Kind, Problem},
};
use axum::response::{IntoResponse, Response};
use bulkhead_proto::{
    shm::ring::{self, AppendOutcome, Appended, Batch, KeyedRequest},
    wire::{control::FromWorker, event::Event, series::RESERVED_PREFIX},
    worker::pipe::Sent,
};
use std::{cell::RefCell, sync::atomic::Ordering};

/// A thread's batch is kept for the next request up to this size, in bytes: the usual batches, not the largest.
const KEPT_BATCH: usize = 1 << 20;

/// The supervisor is told whenever the seq passes a multiple of this. It reserves blocks of 2^32 and begins a new one
/// when half of one is used.
const MARK: u64 = 1 << 31;

thread_local! {
    static BATCH: RefCell<Batch> = const { RefCell::new(Batch::new()) };
}

/// An event to be appended by a user's own route.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NewEvent<'a> {
    series: &'a str,
    value: f64,
    ts_ms: Option<i64>,
    label: Option<&'a str>,
    data: Option<&'a str>,
}

impl<'a> NewEvent<'a> {
    /// An event of that series (1 to 128 bytes, not beginning with `__`), with that finite value, happening now.
    #[must_use]
    pub const fn new(series: &'a str, value: f64) -> Self {
        Self { series, value, ts_ms: None, label: None, data: None }
    }

    /// With a label of at most 128 bytes.
    #[must_use]
    pub const fn label(mut self, label: &'a str) -> Self {
        self.label = Some(label);
        self
    }

    /// That happened at this time: Unix milliseconds, within the years 1 to 9999.
    #[must_use]
    pub const fn ts_ms(mut self, ms: i64) -> Self {
        self.ts_ms = Some(ms);
        self
    }

    /// With data for the analysis: one JSON value, as its text of at most 4,096 bytes, nested at most 64 deep.
    #[must_use]
    pub const fn data(mut self, json: &'a str) -> Self {
        self.data = Some(json);
        self
    }

    fn check(&self, faults: bool) -> Result<(), String> {
        if self.series.starts_with(RESERVED_PREFIX) {
            admit_reserved(self.series, faults)?;
        }
        if let Some(ms) = self.ts_ms {
            parse::check_ts(ms)?;
        }
        self.data.map_or(Ok(()), parse::check_data)
    }
}

/// Why events were not appended: none of the request's were.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// An event is out of its bounds.
    #[error("event {index}: {why}")]
    Bad {
        /// Which one, from 0.
        index: usize,
        /// What was wanted, and what was found.
        why: String,
    },
    /// The ring says no.
    #[error(transparent)]
    Ring(#[from] ring::AppendError),
}

impl From<AppendError> for Problem {
    fn from(error: AppendError) -> Self {
        use ring::AppendError::{Empty, Full, KeyReused, Lock, TooLarge};
        let kind = match &error {
            AppendError::Bad { index, why } => return Self::bad_event(*index, why),
            AppendError::Ring(Empty) => Kind::BadEvent,
            AppendError::Ring(Full { .. }) => Kind::Full,
            AppendError::Ring(TooLarge { .. }) => Kind::BatchTooLarge,
            AppendError::Ring(KeyReused) => Kind::IdempotencyKeyReused,
            AppendError::Ring(Lock(_)) => Kind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

impl IntoResponse for AppendError {
    fn into_response(self) -> Response {
        Problem::from(self).into_response()
    }
}

impl Bulkhead {
    /// Appends all of these events or none. They carry the id of the request that the calling task answers, if any.
    ///
    /// # Errors
    /// When an event is out of its bounds, there is none, or the ring has no room. As an answer: 400, 413 or 503.
    pub fn append(&self, events: &[NewEvent<'_>]) -> Result<Appended, AppendError> {
        let request = RequestId::current();
        let arrived_ms = arrival_ms();
        self.append_with(|batch| {
            for (index, new) in events.iter().enumerate() {
                let bad = |why| AppendError::Bad { index, why };
                new.check(self.settings().faults).map_err(bad)?;
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
        })
    }

    /// Lets `fill` fill a batch and appends it, unless `fill` fails.
    pub(crate) fn append_with<E: From<AppendError>>(
        &self,
        fill: impl FnOnce(&mut Batch) -> Result<(), E>,
    ) -> Result<Appended, E> {
        with_batch(|batch| {
            fill(batch)?;
            Ok(self.note(self.0.link.append(batch))?)
        })
    }

    /// As [`Self::append_with`], unless this request was carried out before: then nothing is filled in or appended.
    pub(crate) fn append_once<E: From<AppendError>>(
        &self,
        request: KeyedRequest,
        fill: impl FnOnce(&mut Batch) -> Result<(), E>,
    ) -> Result<AppendOutcome, E> {
        if let Some(before) = self.find(&request)? {
            return Ok(AppendOutcome::Replayed(before));
        }
        with_batch(|batch| {
            fill(batch)?;
            // The same request may have been carried out meanwhile: the link looks once more.
            match self.0.link.append_keyed(batch, request) {
                Ok(AppendOutcome::Replayed(before)) => Ok(AppendOutcome::Replayed(before)),
                Ok(AppendOutcome::Appended(appended)) => {
                    Ok(AppendOutcome::Appended(self.note(Ok(appended))?))
                }
                Err(error) => Ok(AppendOutcome::Appended(self.note(Err(error))?)),
            }
        })
    }

    fn find(&self, request: &KeyedRequest) -> Result<Option<Appended>, AppendError> {
        let before = self.0.link.find(request)?;
        let unreadable = self.0.link.take_unreadable_keys();
        if unreadable > 0 {
            tracing::error!(
                unreadable,
                "{unreadable} of the remembered Idempotency-Keys cannot be read: their repeats are taken for new requests"
            );
        }
        Ok(before)
    }

    /// Takes note of what became of an append.
    fn note(&self, outcome: Result<Appended, ring::AppendError>) -> Result<Appended, AppendError> {
        let full = matches!(outcome, Err(ring::AppendError::Full { .. }));
        // Loads are cheap on every core at once; stores would take the line from one to the other.
        if self.0.full.load(Ordering::Relaxed) != full {
            self.0.full.store(full, Ordering::Relaxed);
        }
        let appended = outcome?;
        self.mark(appended);
        Ok(appended)
    }

    /// Tells the supervisor when the seqs that it reserved are half used up.
    fn mark(&self, Appended { first, last }: Appended) {
        let passed = last.0 / MARK != first.0.saturating_sub(1) / MARK;
        if passed || self.0.mark_due.load(Ordering::Relaxed) {
            let told = self.0.out.send(&FromWorker::SeqMark(last.0));
            self.0.mark_due.store(!matches!(told, Ok(Sent::Done)), Ordering::Relaxed);
        }
    }
}

/// Lends the thread's batch, emptied.
fn with_batch<T>(work: impl FnOnce(&mut Batch) -> T) -> T {
    BATCH.with_borrow_mut(|batch| {
        batch.clear();
        let result = work(batch);
        if batch.bytes() > KEPT_BATCH {
            *batch = Batch::new();
        }
        result
    })
}
