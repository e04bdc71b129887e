//! The loop of an active analysis. It applies events, and waits in one place for work and for control events.

use crate::{
    Analysis,
    control_events::{ControlEvent, ControlEvents},
    engine::{Engine, EngineError},
    supervisor_link::ControlPipes,
};
use bulkhead_proto::{
    wire::control::{FromWorker, SKIP_DELAY, Trial},
    worker::{
        fault,
        pipe::{PipeError, Sender},
    },
};
use std::time::{Duration, Instant};

/// The longest wait before the ring is checked again while a commit is pending but not due yet. Short enough
/// that the ring cannot fill up in this time.
const RING_CHECK_INTERVAL: Duration = Duration::from_millis(2);

/// The longest time that a drain spends on the events that are still in the ring. The successor applies the
/// rest.
const MAX_DRAIN: Duration = Duration::from_secs(2);

/// Why the loop ended although the supervisor did not ask for it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoopError {
    /// An event could not be applied, or a commit failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The supervisor's frames cannot be read.
    #[error(transparent)]
    Pipe(#[from] PipeError),
}

/// Applies events until the supervisor drains this worker, then commits everything that was applied.
///
/// `stop_timeout` is the time that the whole stop may take; applying the remaining events takes at most half
/// of it.
pub(crate) fn run_until_drained<A: Analysis>(
    engine: &mut Engine<A, ControlPipes>,
    control_events: &ControlEvents,
    stop_timeout: Duration,
) -> Result<(), LoopError> {
    loop {
        let event =
            if engine.advance()? { control_events.poll_now()? } else { wait_idle(engine, control_events)? };
        match event {
            ControlEvent::Continue | ControlEvent::Activate(_) | ControlEvent::IsolatedStored => {}
            ControlEvent::Fault(kind) => fault::execute(kind),
            ControlEvent::Drain => break,
        }
    }
    let deadline = Instant::now() + MAX_DRAIN.min(stop_timeout / 2);
    while Instant::now() < deadline && engine.advance()? {}
    engine.flush()?;
    Ok(())
}

/// Tries one event, commits nothing, reports success to the supervisor, and waits until the supervisor drains this
/// worker. If no event comes within [`SKIP_DELAY`], nothing speaks against the program.
pub(crate) fn run_trial<A: Analysis>(
    engine: &mut Engine<A, ControlPipes>,
    trial: Trial,
    control_events: &ControlEvents,
    supervisor: &Sender<FromWorker>,
) -> Result<(), LoopError> {
    let deadline = Instant::now() + SKIP_DELAY;
    while !engine.try_event(trial)? && Instant::now() < deadline {
        engine.count_step();
        match control_events.poll_for(RING_CHECK_INTERVAL)? {
            ControlEvent::Continue | ControlEvent::Activate(_) | ControlEvent::IsolatedStored => {}
            ControlEvent::Fault(kind) => fault::execute(kind),
            ControlEvent::Drain => return Ok(()),
        }
    }
    supervisor.send(&FromWorker::TrialPassed)?;
    control_events.wait_until(|_| None::<()>)?;
    Ok(())
}

/// Waits while the ring is empty. A pending commit is made as soon as it is due. Without one, the process
/// sleeps until the wake fd or the control pipe becomes readable. An idle worker has a timer only if series expire, for the
/// next one that can, and once after its last commit, to maintain the state table.
fn wait_idle<A: Analysis>(
    engine: &mut Engine<A, ControlPipes>,
    control_events: &ControlEvents,
) -> Result<ControlEvent, LoopError> {
    if let Some(due_in) = engine.commit_due_in() {
        if due_in.is_zero() {
            engine.commit()?;
        }
        engine.count_step();
        return Ok(control_events.poll_for(due_in.min(RING_CHECK_INTERVAL))?);
    }
    let sweep_due_in = engine.sweep();
    engine.rest()?;
    let rest_due_in = engine.rest_due_in();
    if engine.commit_due_in().is_some() || rest_due_in.is_some_and(|due_in| due_in.is_zero()) {
        return Ok(control_events.poll_now()?);
    }
    let event = if engine.prepare_wait() {
        control_events.wait_for_work(sweep_due_in.into_iter().chain(rest_due_in).min())
    } else {
        Ok(ControlEvent::Continue)
    };
    engine.cancel_wait();
    Ok(event?)
}
