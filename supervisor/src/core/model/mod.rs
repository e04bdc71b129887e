//! The supervisor's data: state, events, actions, and the records that come out. The lowest layer of the core.

mod action;
mod brake;
mod death_record;
mod event;
mod exit;
mod generation_ref;
mod liveness;
mod log_record;
mod panic;
mod poison;
pub mod policy;
mod post_mortem;
mod process;
mod slot;
mod state;
mod time;
mod worker;

pub use action::{Action, WorkerSignal};
pub use brake::{
    BRAKE_WINDOW, Brake, FailingSeries, IsolatedSeries, MAX_ROW, MAX_SERIES_ROW, MAX_TRIALS, MIN_FAILED,
};
pub use death_record::DeathRecord;
pub use event::{ClientId, Command, Event, WorkerSpec};
pub use exit::{ExitStatus, signal_name};
pub(in crate::core) use exit::{SIGABRT, SIGBUS, SIGKILL, SIGSEGV, SIGTERM};
pub use generation_ref::GenerationRef;
pub use liveness::{HangDetector, Pings, Probe, Progress, ProgressTracker};
pub use log_record::{LogRecord, RestartDecision};
pub(in crate::core) use panic::{cut_panic, describe_panic};
pub use poison::{MAX_KILLS, PoisonTracker, QuarantineRequest, SuspectEvent, SuspectState};
pub use policy::Policy;
pub use post_mortem::{Evidence, PostMortem, RefusedAllocation, Stack};
pub(in crate::core) use process::never_greeted;
pub use process::{
    GenerationState, PendingFault, Process, ProcessPhase, Stop, StopReason, StopRequest, StopStage,
};
pub(in crate::core) use slot::{WorkerId, WorkerSlot, WorkerSlotId};
pub use state::{Identity, State, SupervisorPhase};
pub use time::{Millis, Now};
pub use worker::{DesiredState, Goal, Replacement, RestartBudget, Waiter, Worker};
