//! Limits on the number of connections, in total and per address.
//!
//! When no permit is left for a new connection, the connection whose client has kept the server waiting longest is
//! evicted: idle connections first, then connections with a slow client. Therefore neither forgotten connections nor
//! thousands of slow uploads keep a reader out. A connection whose request was received and not yet answered is never
//! evicted.
//!
//! Clients on this machine have no limit of their own, because one of them may be a reverse proxy for many clients.

use super::{
    conn_state::{ConnPhase, ConnState},
    limits::Limits,
};
use crate::counters::Counters;
use bulkhead_proto::{
    wire::control::FromWorker,
    worker::pipe::{Sender, Sent},
};
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

/// How long a client may keep the server waiting before its connection may be evicted: long enough for a new connection
/// to send its request.
const EVICTION_GRACE: Duration = Duration::from_millis(100);

/// Client addresses that share one limit: an IPv4 address, or a /64 network, which one IPv6 host usually has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct AddressGroup(IpAddr);

impl AddressGroup {
    /// The group of an address; `None` for a loopback address.
    pub(super) fn of(address: IpAddr) -> Option<Self> {
        match address.to_canonical() {
            local if local.is_loopback() => None,
            IpAddr::V6(v6) => Some(Self(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into())),
            v4 @ IpAddr::V4(_) => Some(Self(v4)),
        }
    }
}

/// The address group has reached its limit, and none of its connections can be evicted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooManyFromAddress;

/// Grants a permit to each connection.
#[derive(Debug)]
pub(super) struct ConnLimits {
    limits: Limits,
    counters: Arc<Counters>,
    permits: Mutex<PermitState>,
    freed: Notify,
    /// How many times a permit was requested or accept(2) failed. The answer to a ping carries it, so that the
    /// supervisor sees that the acceptor is not stuck.
    accept_progress: AtomicU64,
}

#[derive(Debug, Default)]
struct PermitState {
    next_id: u64,
    connections: HashMap<u64, Owner>,
    groups: HashMap<AddressGroup, usize>,
    /// Set while the supervisor's last information is "no connections": the sender that reports the next connection.
    idle_reported_to: Option<Arc<Sender<FromWorker>>>,
}

#[derive(Debug)]
struct Owner {
    group: Option<AddressGroup>,
    state: Arc<ConnState>,
}

/// The right to one connection. Dropping it frees it for another.
#[derive(Debug)]
pub(super) struct ConnPermit {
    limits: Arc<ConnLimits>,
    id: u64,
    state: Arc<ConnState>,
}

impl ConnLimits {
    pub(super) fn new(limits: Limits, counters: Arc<Counters>) -> Self {
        Self {
            limits,
            counters,
            permits: Mutex::default(),
            freed: Notify::new(),
            accept_progress: AtomicU64::new(0),
        }
    }

    /// Waits for a permit for a new connection. Safe to cancel.
    ///
    /// # Errors
    /// When the address group has reached its limit.
    pub(super) async fn acquire(
        self: &Arc<Self>,
        group: Option<AddressGroup>,
    ) -> Result<ConnPermit, TooManyFromAddress> {
        loop {
            self.note_accept_progress();
            // Created before the search: a permit that is freed during the search is not missed.
            let freed = self.freed.notified();
            if self.make_room_in_group(group).is_err() {
                return Err(TooManyFromAddress);
            }
            if self.make_room() {
                return Ok(self.acquire_over_limit(group));
            }
            // A connection that becomes idle notifies nothing, so the search is repeated.
            let _ = timeout(EVICTION_GRACE, freed).await;
        }
    }

    /// Grants a permit beyond the limits: for a connection that is already accepted while the server drains.
    pub(super) fn acquire_over_limit(self: &Arc<Self>, group: Option<AddressGroup>) -> ConnPermit {
        let state = Arc::new(ConnState::new());
        let mut permits = self.lock();
        let id = permits.next_id;
        permits.next_id += 1;
        if let Some(group) = group {
            *permits.groups.entry(group).or_default() += 1;
        }
        permits.connections.insert(id, Owner { group, state: Arc::clone(&state) });
        if let Some(supervisor) = permits.idle_reported_to.take()
            && matches!(supervisor.send(&FromWorker::Busy), Ok(Sent::Full))
        {
            // The control pipe is full: report the next connection instead.
            permits.idle_reported_to = Some(supervisor);
        }
        drop(permits);
        ConnPermit { limits: Arc::clone(self), id, state }
    }

    /// Counts one step of the acceptor.
    pub(super) fn note_accept_progress(&self) {
        self.accept_progress.fetch_add(1, Ordering::Relaxed);
    }

    /// Answers a ping. `Pong` and `Busy` are sent under one lock, so the supervisor gets them in order: its last
    /// information is right.
    pub(super) fn answer_ping(&self, number: u64, supervisor: Arc<Sender<FromWorker>>) {
        let mut permits = self.lock();
        let (busy, accept_polls) =
            (!permits.connections.is_empty(), self.accept_progress.load(Ordering::Relaxed));
        // The send never blocks. If the pipe is full the answer is lost, and the next ping is answered.
        let _ = supervisor.send(&FromWorker::Pong { number, accept_polls, busy });
        permits.idle_reported_to = (!busy).then_some(supervisor);
    }

    /// Evicts the connection whose client has kept the server waiting longest. Returns whether there was one.
    pub(super) fn evict_one(&self) -> bool {
        self.evict(&mut self.lock(), |_| true)
    }

    fn evict(&self, permits: &mut PermitState, eligible: impl Fn(&Owner) -> bool) -> bool {
        let evicted = permits.evict(eligible);
        if evicted {
            let limit = self.limits.connections;
            self.counters.evicted.count(|connections| {
                tracing::warn!(
                    connections,
                    "idle or slow connections that were closed to make room since the last such line: {connections}; \
                     the limit is {limit} (api.max_connections, api.max_connections_per_address, or open files)"
                );
            });
        }
        evicted
    }

    fn make_room(&self) -> bool {
        let mut permits = self.lock();
        permits.connections.len() < self.limits.connections || self.evict(&mut permits, |_| true)
    }

    fn make_room_in_group(&self, group: Option<AddressGroup>) -> Result<(), TooManyFromAddress> {
        let mut permits = self.lock();
        let Some(group) = group else { return Ok(()) };
        let below_limit = permits.groups.get(&group).is_none_or(|&count| count < self.limits.per_address);
        if below_limit || self.evict(&mut permits, |owner| owner.group == Some(group)) {
            Ok(())
        } else {
            Err(TooManyFromAddress)
        }
    }

    fn lock(&self) -> MutexGuard<'_, PermitState> {
        self.permits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PermitState {
    /// Scans all connections. This happens only when no permit is free, and it is cheap compared with accept(2).
    fn evict(&mut self, eligible: impl Fn(&Owner) -> bool) -> bool {
        let now = Instant::now();
        let candidates = self.connections.iter().filter_map(|(&id, owner)| {
            let snapshot = owner.state.snapshot();
            let rank = match snapshot.phase {
                ConnPhase::Idle => 0,
                ConnPhase::ReadingHead | ConnPhase::ReadingBody | ConnPhase::WriteBlocked => 1,
                ConnPhase::Responding | ConnPhase::Upgraded | ConnPhase::Evicted => return None,
            };
            let evictable = snapshot.since + EVICTION_GRACE <= now && eligible(owner);
            evictable.then_some((rank, snapshot, id))
        });
        let Some((_, snapshot, id)) =
            candidates.min_by_key(|&(rank, snapshot, id)| (rank, snapshot.since, id))
        else {
            return false;
        };
        let evicted = self.connections.get(&id).is_some_and(|owner| owner.state.evict_if_unchanged(snapshot));
        if evicted {
            self.release(id);
        }
        evicted
    }

    /// Frees the place of a connection, unless its eviction has freed it before.
    fn release(&mut self, id: u64) {
        if let Some(Owner { group: Some(group), .. }) = self.connections.remove(&id)
            && let Some(count) = self.groups.get_mut(&group)
        {
            *count -= 1;
            if *count == 0 {
                self.groups.remove(&group);
            }
        }
    }
}

impl ConnPermit {
    pub(super) const fn state(&self) -> &Arc<ConnState> {
        &self.state
    }
}

impl Drop for ConnPermit {
    fn drop(&mut self) {
        self.limits.lock().release(self.id);
        self.limits.freed.notify_one();
    }
}
