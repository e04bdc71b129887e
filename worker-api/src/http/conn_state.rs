//! The phase of a connection and when it began. The connection's own task writes it; the acceptor reads it to select a
//! connection for eviction.

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::Instant;

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

const PHASES: [ConnPhase; 7] = [
    ConnPhase::Idle,
    ConnPhase::ReadingHead,
    ConnPhase::ReadingBody,
    ConnPhase::WriteBlocked,
    ConnPhase::Responding,
    ConnPhase::Upgraded,
    ConnPhase::Evicted,
];

/// The phase is in the low bits of the word, its start in milliseconds in the others.
const PHASE_BITS: u32 = 3;

/// One atomic read of a [`ConnState`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ConnSnapshot(u64);

impl ConnSnapshot {
    pub(super) fn phase(self) -> ConnPhase {
        let bits = usize::try_from(self.0 & ((1 << PHASE_BITS) - 1)).unwrap_or_default();
        PHASES.get(bits).copied().unwrap_or(ConnPhase::Evicted)
    }

    /// When the phase began or last made progress, in milliseconds since the epoch of the [`ConnState`].
    pub(super) const fn since_ms(self) -> u64 {
        self.0 >> PHASE_BITS
    }
}

/// A connection's phase. Phase and start share one word, so a reader never sees one without the other.
#[derive(Debug)]
pub(super) struct ConnState {
    /// When the server started.
    epoch: Instant,
    word: AtomicU64,
    /// Whether a handler runs or its response is being written, whatever the phase.
    responding: AtomicBool,
    /// How many requests were passed to a handler.
    started: AtomicU64,
    /// How many requests were received completely. A client may send the next request before it has the response.
    received: AtomicU64,
}

impl ConnState {
    /// The state of a new connection: idle from now on.
    pub(super) fn new(epoch: Instant) -> Self {
        let (word, started, received) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        let state = Self { epoch, word, responding: AtomicBool::new(false), started, received };
        state.enter(ConnPhase::Idle);
        state
    }

    pub(super) fn snapshot(&self) -> ConnSnapshot {
        ConnSnapshot(self.word.load(Ordering::Relaxed))
    }

    pub(super) fn phase(&self) -> ConnPhase {
        self.snapshot().phase()
    }

    /// Begins a phase, or records progress in it. Returns whether the connection may continue: an eviction is final.
    pub(super) fn enter(&self, phase: ConnPhase) -> bool {
        let ms = u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or_default();
        let next = ms << PHASE_BITS | phase as u64;
        let mut snapshot = self.snapshot();
        while snapshot.phase() != ConnPhase::Evicted {
            match self.word.compare_exchange_weak(snapshot.0, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(other) => snapshot = ConnSnapshot(other),
            }
        }
        false
    }

    /// Sets how many requests were received completely.
    pub(super) fn set_received(&self, requests: u64) {
        self.received.store(requests, Ordering::Relaxed);
    }

    /// Whether a completely received request is being answered, so that the server does not wait for the client.
    pub(super) fn response_pending(&self) -> bool {
        self.responding.load(Ordering::Relaxed) && self.request_phase() == ConnPhase::Responding
    }

    /// The phase of the request that is being answered: `ReadingBody` until its body is complete.
    fn request_phase(&self) -> ConnPhase {
        let is_received = self.started.load(Ordering::Relaxed) <= self.received.load(Ordering::Relaxed);
        if is_received { ConnPhase::Responding } else { ConnPhase::ReadingBody }
    }

    /// Ends `WriteBlocked`: the client has read again.
    pub(super) fn unblock(&self) {
        self.enter(if self.responding.load(Ordering::Relaxed) {
            self.request_phase()
        } else {
            ConnPhase::Idle
        });
    }

    /// Evicts the connection unless its state has changed since the snapshot.
    pub(super) fn evict_if_unchanged(&self, snapshot: ConnSnapshot) -> bool {
        let next = ConnPhase::Evicted as u64;
        self.word.compare_exchange(snapshot.0, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// The instant `timeout` after the start of the snapshot's phase.
    pub(super) fn deadline(&self, snapshot: ConnSnapshot, timeout: Duration) -> Instant {
        self.epoch + Duration::from_millis(snapshot.since_ms()) + timeout
    }
}

/// One request, from the call of its handler until the last byte of its response is written.
pub(super) struct RequestGuard(Arc<ConnState>);

impl RequestGuard {
    pub(super) fn begin(state: &Arc<ConnState>) -> Self {
        state.responding.store(true, Ordering::Relaxed);
        state.started.fetch_add(1, Ordering::Relaxed);
        // `TimedStream` has usually set the phase already, except when the request arrived in one read with its
        // predecessor or its successor.
        let next = state.request_phase();
        if matches!(state.phase(), ConnPhase::Idle | ConnPhase::ReadingHead | ConnPhase::ReadingBody)
            && state.phase() != next
        {
            state.enter(next);
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
        self.0.responding.store(false, Ordering::Relaxed);
        match self.0.phase() {
            ConnPhase::Responding | ConnPhase::ReadingBody => {
                self.0.enter(ConnPhase::Idle);
            }
            ConnPhase::Idle
            | ConnPhase::ReadingHead
            | ConnPhase::WriteBlocked
            | ConnPhase::Upgraded
            | ConnPhase::Evicted => {}
        }
    }
}

/// A response body that holds the [`RequestGuard`] until it is written.
pub(super) struct GuardedBody {
    pub(super) body: Body,
    pub(super) _guard: RequestGuard,
}

impl HttpBody for GuardedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_snapshot_holds_the_phase_and_its_start() {
        let state = ConnState::new(Instant::now());
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
            assert_eq!((state.phase(), state.snapshot().since_ms()), (phase, 1500));
        }
    }

    #[test]
    fn only_an_unchanged_connection_is_evicted_and_an_eviction_is_final() {
        let state = ConnState::new(Instant::now());
        let before = state.snapshot();
        state.enter(ConnPhase::Responding);
        assert!(!state.evict_if_unchanged(before), "a request arrived after the snapshot");
        assert!(state.evict_if_unchanged(state.snapshot()));
        assert!(!state.enter(ConnPhase::Responding));
        assert_eq!(state.phase(), ConnPhase::Evicted);
    }
}
