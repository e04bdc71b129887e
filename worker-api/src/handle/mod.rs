//! The handle through which routes, built-in and a user's own, append events and read state.

mod append;
mod last_good;
mod quarantine;
pub(crate) mod records;
pub(crate) mod series;
mod stats;

pub use append::{AppendError, NewEvent};
pub use bulkhead_proto::shm::ring::Appended;
pub(crate) use quarantine::not_in_quarantine;
pub use stats::{AnalyticsRow, RingUse, Stats};

use crate::{
    counters::Counters,
    http::{body::BodyMemory, token::BearerToken},
    stores::Stores,
    supervisor_client::SupervisorClient,
};
use bulkhead_proto::{
    wire::status::Status,
    worker::{link::ApiLink, settings::Settings},
};
use last_good::LastGoodSeries;
use std::sync::{Arc, atomic::AtomicBool};

/// Appends events and reads state. Cheap to clone: pass it as axum's `State`.
///
/// No method waits for the analysis.
#[derive(Clone, Debug)]
pub struct ApiHandle(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    link: ApiLink,
    last_good: LastGoodSeries,
    token: Option<BearerToken>,
    stores: Stores,
    body_memory: BodyMemory,
    counters: Arc<Counters>,
    supervisor: Arc<SupervisorClient>,
    /// The ring refused the last batch for lack of space.
    ring_full: AtomicBool,
    /// A passed seq mark could not be sent to the supervisor yet.
    seq_mark_due: AtomicBool,
}

impl ApiHandle {
    pub(crate) fn new(
        link: ApiLink,
        settings: Settings,
        token: Option<BearerToken>,
        stores: Stores,
        supervisor: Arc<SupervisorClient>,
    ) -> Self {
        Self(Arc::new(Inner {
            body_memory: BodyMemory::new(settings.max_body),
            counters: Arc::default(),
            settings,
            token,
            stores,
            link,
            last_good: LastGoodSeries::default(),
            supervisor,
            ring_full: AtomicBool::new(false),
            seq_mark_due: AtomicBool::new(false),
        }))
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// The longest `data` of an event, in bytes.
    pub(crate) fn max_data(&self) -> usize {
        usize::try_from(self.0.settings.limits.max_event).unwrap_or(usize::MAX)
    }

    pub(crate) fn token(&self) -> Option<&BearerToken> {
        self.0.token.as_ref()
    }

    pub(crate) fn stores(&self) -> &Stores {
        &self.0.stores
    }

    pub(crate) fn body_memory(&self) -> &BodyMemory {
        &self.0.body_memory
    }

    pub(crate) fn counters(&self) -> &Arc<Counters> {
        &self.0.counters
    }

    pub(crate) fn supervisor(&self) -> &SupervisorClient {
        &self.0.supervisor
    }

    /// The status that the supervisor published last; empty before it published any.
    pub(crate) fn status(&self) -> Status {
        self.0.link.status().unwrap_or_default()
    }
}
