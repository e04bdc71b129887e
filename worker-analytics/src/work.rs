//! The loop of an active analysis: one place to wait, one place to handle.

use crate::{
    Analysis,
    engine::{Engine, Fatal},
    inbox::{Inbox, Wake},
};
use bulkhead_proto::worker::{fault, pipe::PipeError};
use std::time::{Duration, Instant};

/// While a commit is owed but not due, the ring is looked at so often: in this time no ring fills up.
const GLANCE: Duration = Duration::from_millis(2);

/// An analysis that is to leave works on what is in the ring for at most this long; the rest is its successor's.
const DRAIN: Duration = Duration::from_secs(2);

/// Why the loop ended without being asked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// The work itself.
    #[error(transparent)]
    Work(#[from] Fatal),
    /// The supervisor sends nonsense.
    #[error(transparent)]
    Pipe(#[from] PipeError),
}

/// Works until the analysis is to leave, and leaves nothing uncommitted. `stop` is how long leaving may take.
pub(crate) fn work<A: Analysis>(engine: &mut Engine<A>, inbox: &Inbox, stop: Duration) -> Result<(), Broken> {
    loop {
        let wake = if engine.advance()? { inbox.look()? } else { rest(engine, inbox)? };
        match wake {
            Wake::Work | Wake::Activate(_) => {}
            Wake::Fault(kind) => fault::execute(kind),
            Wake::Drain => break,
        }
    }
    let until = Instant::now() + DRAIN.min(stop / 2);
    while Instant::now() < until && engine.advance()? {}
    engine.settle()?;
    Ok(())
}

/// The ring is empty: commit what is owed as soon as that is due, then sleep until the bell rings. At idle nothing wakes us.
fn rest<A: Analysis>(engine: &mut Engine<A>, inbox: &Inbox) -> Result<Wake, Broken> {
    if let Some(due) = engine.owes() {
        if due.is_zero() {
            engine.commit()?;
        }
        return Ok(inbox.linger(due.min(GLANCE))?);
    }
    let wake = if engine.announce_park() { inbox.park() } else { Ok(Wake::Work) };
    engine.retract_park();
    Ok(wake?)
}
