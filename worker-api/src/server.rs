//! Accepting and serving connections, and ending that without losing a request.
//!
//! On hyper itself, not on `axum::serve` (no header timeout, no bounded stop) and not on `axum-server`, which
//! - drops unanswered a connection that it accepted in the instant of its graceful stop: a hand-over between two
//!   generations must not cost a request;
//! - limits connections only after it accepted them: ours wait in the backlog, for this generation or the next.
//!
//! Where to start reading: `door` accepts, `places` finds room, `line` watches a connection, `framing` its messages.

mod door;
mod framing;
mod line;
mod places;
mod pulse;

use crate::{front::Front, limits::Limits, listener::Listener};
use bulkhead_proto::{wire::control::FromWorker, worker::pipe::Sender};
use door::Door;
use places::Places;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    task::{JoinError, JoinHandle},
    time::{Instant, timeout_at},
};

/// How long a leaving server keeps idle connections, hoping that each makes one more request and learns from its
/// answer (`Connection: close`) to go elsewhere. Closing at once would cross with requests that are on their way.
const LINGER: Duration = Duration::from_millis(250);

/// What connections are told about the server's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Serving,
    /// Accept no more.
    Lingering,
    /// Close what is idle.
    Closing,
}

/// A server at work.
#[derive(Debug)]
pub(crate) struct Server {
    front: Arc<Front>,
    places: Arc<Places>,
    /// Every connection, and the door, holds a receiver: when there are none left, all is over.
    phase: watch::Sender<Phase>,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Begins to accept and to serve.
    pub(crate) fn start(listener: Listener, front: Front, limits: Limits) -> Self {
        let front = Arc::new(front);
        let (phase, watched) = watch::channel(Phase::Serving);
        let door = Door::new(listener, Arc::clone(&front), limits, watched);
        let places = Arc::clone(&door.places);
        Self { front, places, phase, accepting: tokio::spawn(door.run()) }
    }

    /// Answers a ping of the supervisor on the threads that answer requests: if these are stuck, it is not answered.
    pub(crate) fn pong(&self, number: u64, out: Arc<Sender<FromWorker>>) {
        let places = Arc::clone(&self.places);
        drop(tokio::spawn(async move { places.pong(number, out) }));
    }

    /// Resolves if accepting ends, which it does only by a panic.
    pub(crate) async fn broken(&mut self) -> JoinError {
        loop {
            if let Err(error) = (&mut self.accepting).await {
                return error;
            }
        }
    }

    /// Stops accepting at once, answers what is on its way, and comes back when all connections have ended or `budget`
    /// is used up. Says how many connections were left.
    pub(crate) async fn drain(self, budget: Duration) -> usize {
        let start = Instant::now();
        self.front.leave();
        // No one left to tell is as good as told.
        let _ = self.phase.send(Phase::Lingering);
        if timeout_at(start + LINGER.min(budget), self.phase.closed()).await.is_err() {
            let _ = self.phase.send(Phase::Closing);
            let _ = timeout_at(start + budget, self.phase.closed()).await;
        }
        self.phase.receiver_count()
    }
}

#[cfg(test)]
mod tests;
