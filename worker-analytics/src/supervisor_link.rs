//! What an active analysis requests from the supervisor and reports to it between two commits.

use crate::control_events::{ControlEvent, ControlEvents};
use bulkhead_proto::{
    wire::{control::FromWorker, ids::Seq},
    worker::pipe::{PipeError, Sender},
};
use std::{rc::Rc, sync::Arc};

/// What the engine needs of the supervisor; tests implement it as well.
pub(crate) trait SupervisorLink {
    /// Has the pending events of isolated series up to this one stored. `false`: the process was asked to stop meanwhile, and
    /// they may not be stored.
    fn store_isolated(&self, through: Seq) -> Result<bool, PipeError>;

    /// Reports that an event of a watched series was applied and committed.
    fn series_applied(&self, series: String) -> Result<(), PipeError>;
}

/// The control pipes.
pub(crate) struct ControlPipes {
    pub(crate) supervisor: Arc<Sender<FromWorker>>,
    pub(crate) control_events: Rc<ControlEvents>,
}

impl SupervisorLink for ControlPipes {
    fn store_isolated(&self, through: Seq) -> Result<bool, PipeError> {
        self.supervisor.send(&FromWorker::StoreIsolated { through })?;
        let stored = |event| (event == ControlEvent::IsolatedStored).then_some(());
        Ok(self.control_events.wait_until(stored)?.is_some())
    }

    fn series_applied(&self, series: String) -> Result<(), PipeError> {
        self.supervisor.send(&FromWorker::SeriesApplied(series)).map(drop)
    }
}
