//! The phase of a connection and when it began. The connection's own task writes it; the acceptor reads it to select a
//! connection for eviction.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::{sync::Notify, time::Instant};

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnPhase {
    /// Waits for the client to send its next request.
    Idle,
    /// Waits for the client to send the rest of a head.
    ReadingHead,
    /// Waits for the client to send more of a body.
    ReadingBody,
    /// Waits for the client to read more of its response.
    WriteBlocked,
    /// Waits for the server to respond.
    Responding,
    /// No longer speaks HTTP. The server does not wait.
    Upgraded,
    /// Its permit was given to another connection. The connection ends.
    Evicted,
}

/// A phase, and when it began or last made progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ConnSnapshot {
    pub(super) phase: ConnPhase,
    pub(super) since: Instant,
}

/// The state of one connection.
#[derive(Debug)]
pub(super) struct ConnState {
    progress: Mutex<Progress>,
    evicted: Notify,
}

#[derive(Debug)]
struct Progress {
    snapshot: ConnSnapshot,
    /// Whether a handler runs or its response is being written, whatever the phase.
    responding: bool,
    /// How many requests were passed to a handler.
    started: u64,
    /// How many requests were received completely. A client may send the next request before it has the response.
    received: u64,
}

impl Progress {
    fn enter(&mut self, phase: ConnPhase) -> bool {
        let may_continue = self.snapshot.phase != ConnPhase::Evicted;
        if may_continue {
            self.snapshot = ConnSnapshot { phase, since: Instant::now() };
        }
        may_continue
    }

    /// The phase of the request that is being answered: `ReadingBody` until its body is complete.
    const fn request_phase(&self) -> ConnPhase {
        if self.started <= self.received { ConnPhase::Responding } else { ConnPhase::ReadingBody }
    }
}

impl ConnState {
    /// The state of a new connection: idle from now on.
    pub(super) fn new() -> Self {
        let snapshot = ConnSnapshot { phase: ConnPhase::Idle, since: Instant::now() };
        let progress = Progress { snapshot, responding: false, started: 0, received: 0 };
        Self { progress: Mutex::new(progress), evicted: Notify::new() }
    }

    pub(super) fn snapshot(&self) -> ConnSnapshot {
        self.lock().snapshot
    }

    pub(super) fn phase(&self) -> ConnPhase {
        self.snapshot().phase
    }

    /// Begins a phase, or records progress in it. Returns whether the connection may continue: an eviction is final.
    pub(super) fn enter(&self, phase: ConnPhase) -> bool {
        self.lock().enter(phase)
    }

    /// Sets how many requests were received completely.
    pub(super) fn set_received(&self, requests: u64) {
        self.lock().received = requests;
    }

    /// Whether a completely received request is being answered, so that the server does not wait for the client.
    pub(super) fn response_pending(&self) -> bool {
        let progress = self.lock();
        progress.responding && progress.request_phase() == ConnPhase::Responding
    }

    /// Ends `WriteBlocked`: the client has read again.
    pub(super) fn unblock(&self) {
        let mut progress = self.lock();
        let phase = if progress.responding { progress.request_phase() } else { ConnPhase::Idle };
        progress.enter(phase);
    }

    /// Evicts the connection unless its phase has changed or made progress since the snapshot.
    pub(super) fn evict_if_unchanged(&self, snapshot: ConnSnapshot) -> bool {
        let mut progress = self.lock();
        let evicted = progress.snapshot == snapshot && progress.enter(ConnPhase::Evicted);
        if evicted {
            self.evicted.notify_one();
        }
        evicted
    }

    /// Waits until the connection is evicted.
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request, from the call of its handler until the last byte of its response is written.
pub(super) struct RequestGuard(Arc<ConnState>);

impl RequestGuard {
    pub(super) fn begin(state: &Arc<ConnState>) -> Self {
        let mut progress = state.lock();
        progress.responding = true;
        progress.started += 1;
        // `TimedStream` has usually set the phase already, except when the request arrived in one read with its
        // predecessor or its successor.
        let next = progress.request_phase();
        let phase = progress.snapshot.phase;
        if matches!(phase, ConnPhase::Idle | ConnPhase::ReadingHead | ConnPhase::ReadingBody) && phase != next
        {
            progress.enter(next);
        }
        Self(Arc::clone(state))
    }

    /// Ends the timeouts: after this response, the connection no longer speaks HTTP.
    pub(super) fn upgrade(&self) {
        self.0.enter(ConnPhase::Upgraded);
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        let mut progress = self.0.lock();
        progress.responding = false;
        if matches!(progress.snapshot.phase, ConnPhase::Responding | ConnPhase::ReadingBody) {
            progress.enter(ConnPhase::Idle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_snapshot_holds_the_phase_and_its_start() {
        let state = ConnState::new();
        tokio::time::advance(Duration::from_millis(1500)).await;
        for phase in [
            ConnPhase::ReadingHead,
            ConnPhase::ReadingBody,
            ConnPhase::WriteBlocked,
            ConnPhase::Responding,
            ConnPhase::Upgraded,
            ConnPhase::Idle,
        ] {
            assert!(state.enter(phase));
            assert_eq!(state.snapshot(), ConnSnapshot { phase, since: Instant::now() });
        }
    }

    #[test]
    fn only_an_unchanged_connection_is_evicted_and_an_eviction_is_final() {
        let state = ConnState::new();
        let before = state.snapshot();
        state.enter(ConnPhase::Responding);
        assert!(!state.evict_if_unchanged(before), "a request arrived after the snapshot");
        assert!(state.evict_if_unchanged(state.snapshot()));
        assert!(!state.enter(ConnPhase::Responding));
        assert_eq!(state.phase(), ConnPhase::Evicted);
    }
}
