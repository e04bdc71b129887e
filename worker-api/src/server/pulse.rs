//! What a connection is doing, and since when: written by its own task, read by the door that looks for a place.

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

/// Whom a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The client: its next request.
    Idle,
    /// The client: the rest of a head.
    Head,
    /// The client: more of a body.
    Body,
    /// The client: to take more of its answer.
    Blocked,
    /// Us.
    Answering,
    /// Nobody: it no longer speaks HTTP.
    Upgraded,
    /// Its end: its place was given to another.
    Evicted,
}

const PHASES: [Phase; 7] = [
    Phase::Idle,
    Phase::Head,
    Phase::Body,
    Phase::Blocked,
    Phase::Answering,
    Phase::Upgraded,
    Phase::Evicted,
];

/// A phase takes the low bits of the word, its beginning in milliseconds the others.
const PHASE_BITS: u32 = 3;

/// One reading of a [`Pulse`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Beat(u64);

impl Beat {
    pub(super) fn phase(self) -> Phase {
        let bits = usize::try_from(self.0 & ((1 << PHASE_BITS) - 1)).unwrap_or_default();
        PHASES.get(bits).copied().unwrap_or(Phase::Evicted)
    }

    /// When the phase began, or last made progress, in milliseconds of the pulse's clock.
    pub(super) const fn since_ms(self) -> u64 {
        self.0 >> PHASE_BITS
    }
}

/// A connection's phase. A single word: no reader sees a phase with another's beginning.
#[derive(Debug)]
pub(super) struct Pulse {
    /// When the server started.
    zero: Instant,
    word: AtomicU64,
    /// Whether a request is being answered, whatever the phase.
    turn: AtomicBool,
    /// How many requests were begun to be answered.
    begun: AtomicU64,
    /// How many requests have come whole. A client need not wait for one's answer to send the next.
    whole: AtomicU64,
}

impl Pulse {
    /// The pulse of a new connection: idle from now on.
    pub(super) fn new(zero: Instant) -> Self {
        let (word, begun, whole) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        let pulse = Self { zero, word, turn: AtomicBool::new(false), begun, whole };
        pulse.enter(Phase::Idle);
        pulse
    }

    pub(super) fn beat(&self) -> Beat {
        Beat(self.word.load(Ordering::Relaxed))
    }

    pub(super) fn phase(&self) -> Phase {
        self.beat().phase()
    }

    /// Begins a phase, or makes progress in it. An eviction is not undone; says whether the connection may go on.
    pub(super) fn enter(&self, phase: Phase) -> bool {
        let ms = u64::try_from(self.zero.elapsed().as_millis()).unwrap_or_default();
        let next = ms << PHASE_BITS | phase as u64;
        let mut beat = self.beat();
        while beat.phase() != Phase::Evicted {
            match self.word.compare_exchange_weak(beat.0, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(other) => beat = Beat(other),
            }
        }
        false
    }

    /// So many requests have come whole.
    pub(super) fn came(&self, requests: u64) {
        self.whole.store(requests, Ordering::Relaxed);
    }

    /// Whether a request that has come whole is being answered, so that nobody waits for the client.
    pub(super) fn owes(&self) -> bool {
        self.turn.load(Ordering::Relaxed) && self.phase_of_turn() == Phase::Answering
    }

    /// Whom the request waits for that is being answered.
    fn phase_of_turn(&self) -> Phase {
        let has_come = self.begun.load(Ordering::Relaxed) <= self.whole.load(Ordering::Relaxed);
        if has_come { Phase::Answering } else { Phase::Body }
    }

    /// The client took what was stuck.
    pub(super) fn unblock(&self) {
        self.enter(if self.turn.load(Ordering::Relaxed) { self.phase_of_turn() } else { Phase::Idle });
    }

    /// Ends the connection, unless something happened on it since that beat.
    pub(super) fn evict(&self, beat: Beat) -> bool {
        let next = Phase::Evicted as u64;
        self.word.compare_exchange(beat.0, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// The instant so long after a beat.
    pub(super) fn after(&self, beat: Beat, patience: Duration) -> Instant {
        self.zero + Duration::from_millis(beat.since_ms()) + patience
    }
}

/// A request being answered: from the call of its handler until the last of its answer was taken.
pub(super) struct Turn(Arc<Pulse>);

impl Turn {
    pub(super) fn begin(pulse: &Arc<Pulse>) -> Self {
        pulse.turn.store(true, Ordering::Relaxed);
        pulse.begun.fetch_add(1, Ordering::Relaxed);
        // As a rule its bytes have told already. These came together with a former request's, or a later one's.
        let next = pulse.phase_of_turn();
        if matches!(pulse.phase(), Phase::Idle | Phase::Head | Phase::Body) && pulse.phase() != next {
            pulse.enter(next);
        }
        Self(Arc::clone(pulse))
    }

    /// The answer ends HTTP on this connection.
    pub(super) fn upgrade(&self) {
        self.0.enter(Phase::Upgraded);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.turn.store(false, Ordering::Relaxed);
        match self.0.phase() {
            Phase::Answering | Phase::Body => {
                self.0.enter(Phase::Idle);
            }
            Phase::Idle | Phase::Head | Phase::Blocked | Phase::Upgraded | Phase::Evicted => {}
        }
    }
}

/// An answer's body, which ends its turn.
pub(super) struct Answer {
    pub(super) body: Body,
    pub(super) _turn: Turn,
}

impl HttpBody for Answer {
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
    async fn a_phase_is_read_back_with_its_beginning() {
        let pulse = Pulse::new(Instant::now());
        tokio::time::advance(Duration::from_millis(1500)).await;
        for phase in
            [Phase::Head, Phase::Body, Phase::Blocked, Phase::Answering, Phase::Upgraded, Phase::Idle]
        {
            assert!(pulse.enter(phase));
            assert_eq!((pulse.phase(), pulse.beat().since_ms()), (phase, 1500));
        }
    }

    #[test]
    fn only_what_stands_still_is_evicted_and_that_for_good() {
        let pulse = Pulse::new(Instant::now());
        let before = pulse.beat();
        pulse.enter(Phase::Answering);
        assert!(!pulse.evict(before), "a request came meanwhile");
        assert!(pulse.evict(pulse.beat()));
        assert!(!pulse.enter(Phase::Answering));
        assert_eq!(pulse.phase(), Phase::Evicted);
    }
}
