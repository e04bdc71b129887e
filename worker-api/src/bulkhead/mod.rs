//! The handle through which routes, ours and a user's, append events and read state.

mod append;
mod quarantine;
mod series;
mod stats;

pub use append::{AppendError, NewEvent};
pub use bulkhead_proto::shm::ring::Appended;
pub use stats::{AnalyticsRow, RingUse, Stats};

use crate::{body::BodyMemory, desk::Desk, folders::Folders, token::Secret};
use bulkhead_proto::{
    wire::{control::FromWorker, status::Status},
    worker::{link::ApiLink, pipe::Sender, settings::Settings},
};
use series::Checked;
use std::{
    sync::{Arc, atomic::AtomicBool},
    time::{SystemTime, UNIX_EPOCH},
};

/// Appends events and reads state. A cheap clone, for axum's `State`.
///
/// Nothing here waits for the analysis, whatever it is doing.
#[derive(Clone, Debug)]
pub struct Bulkhead(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    link: ApiLink,
    checked: Checked,
    token: Option<Secret>,
    folders: Folders,
    body_memory: BodyMemory,
    desk: Arc<Desk>,
    out: Arc<Sender<FromWorker>>,
    /// The ring refused the last batch for want of space.
    full: AtomicBool,
    /// The supervisor could not be told that a mark was passed.
    mark_due: AtomicBool,
}

impl Bulkhead {
    pub(crate) fn new(
        link: ApiLink,
        settings: Settings,
        token: Option<Secret>,
        folders: Folders,
        desk: Arc<Desk>,
        out: Arc<Sender<FromWorker>>,
    ) -> Self {
        Self(Arc::new(Inner {
            body_memory: BodyMemory::new(settings.max_body),
            settings,
            token,
            folders,
            link,
            checked: Checked::default(),
            desk,
            out,
            full: AtomicBool::new(false),
            mark_due: AtomicBool::new(false),
        }))
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    pub(crate) fn token(&self) -> Option<&Secret> {
        self.0.token.as_ref()
    }

    pub(crate) fn folders(&self) -> &Folders {
        &self.0.folders
    }

    pub(crate) fn body_memory(&self) -> &BodyMemory {
        &self.0.body_memory
    }

    pub(crate) fn desk(&self) -> &Desk {
        &self.0.desk
    }

    /// What the supervisor published last; empty if it has published nothing yet.
    pub(crate) fn status(&self) -> Status {
        self.0.link.status().unwrap_or_default()
    }
}

/// Now, in Unix milliseconds.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Now, as events carry it.
pub(crate) fn arrival_ms() -> i64 {
    i64::try_from(now_ms()).unwrap_or(i64::MAX)
}
