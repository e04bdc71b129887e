//! Places for connections: so many in all, so many an address. This machine's own clients have no limit of their own: a
//! reverse proxy among them speaks for many.
//!
//! When there is none left for a newcomer, the connection whose client has kept us waiting longest makes room: idle ones
//! first, then those that crawl. So neither forgotten connections nor thousands of slow uploads keep a reader out.
//! A connection whose request we have and have not answered keeps its place.

use super::pulse::{Phase, Pulse};
use crate::limits::Limits;
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
    task::AbortHandle,
    time::{Instant, timeout},
};

/// How long a connection may keep us waiting before it may have to make room: long enough for a newcomer to say what it
/// wants.
const GRACE: Duration = Duration::from_millis(100);

/// Where connections come from that share a limit: an IPv4 address, or the /64 network that one IPv6 host usually has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Origin(IpAddr);

impl Origin {
    /// None for this machine itself.
    pub(super) fn of(address: IpAddr) -> Option<Self> {
        match address.to_canonical() {
            local if local.is_loopback() => None,
            IpAddr::V6(v6) => Some(Self(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into())),
            v4 @ IpAddr::V4(_) => Some(Self(v4)),
        }
    }
}

/// Why there is no place, however long one waits.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany;

/// All places.
#[derive(Debug)]
pub(super) struct Places {
    limits: Limits,
    zero: Instant,
    taken: Mutex<Taken>,
    freed: Notify,
    /// How often a connection was accepted, or a place looked for: the supervisor is told that the door is not stuck.
    turns: AtomicU64,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    connections: HashMap<u64, Holder>,
    origins: HashMap<Origin, usize>,
    /// The supervisor was told that there are no connections: the next one is told of, this way.
    quiet: Option<Arc<Sender<FromWorker>>>,
}

#[derive(Debug)]
struct Holder {
    origin: Option<Origin>,
    pulse: Arc<Pulse>,
    task: Option<AbortHandle>,
}

/// A place; free again when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    pulse: Arc<Pulse>,
}

impl Places {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            zero: Instant::now(),
            taken: Mutex::default(),
            freed: Notify::new(),
            turns: AtomicU64::new(0),
        }
    }

    /// A place for a newcomer, as soon as there is one. Can be abandoned.
    ///
    /// # Errors
    /// When its address has as many as it may.
    pub(super) async fn find(self: &Arc<Self>, origin: Option<Origin>) -> Result<Place, TooMany> {
        loop {
            self.turn();
            // Asked for before looking: what is freed in between is not missed.
            let freed = self.freed.notified();
            if self.make_room_of(origin).is_err() {
                return Err(TooMany);
            }
            if self.make_room() {
                return Ok(self.take(origin));
            }
            // Whoever comes to rest meanwhile tells nobody, so it is looked for.
            let _ = timeout(GRACE, freed).await;
        }
    }

    /// A place over and above the limits: for a connection that was accepted already when there will be no other to
    /// wait for.
    pub(super) fn take(self: &Arc<Self>, origin: Option<Origin>) -> Place {
        let pulse = Arc::new(Pulse::new(self.zero));
        let mut taken = self.taken();
        let number = taken.next;
        taken.next += 1;
        if let Some(origin) = origin {
            *taken.origins.entry(origin).or_default() += 1;
        }
        taken.connections.insert(number, Holder { origin, pulse: Arc::clone(&pulse), task: None });
        if let Some(supervisor) = taken.quiet.take()
            && matches!(supervisor.send(&FromWorker::Busy), Ok(Sent::Full))
        {
            // Nobody reads at this time: the next one is told of.
            taken.quiet = Some(supervisor);
        }
        drop(taken);
        Place { places: Arc::clone(self), number, pulse }
    }

    /// Notes which task holds a place, so that it can be ended.
    pub(super) fn seat(&self, number: u64, task: AbortHandle) {
        match self.taken().connections.get_mut(&number) {
            Some(holder) => holder.task = Some(task),
            // It was evicted already, or has ended.
            None => task.abort(),
        }
    }

    /// The door has moved on.
    pub(super) fn turn(&self) {
        self.turns.fetch_add(1, Ordering::Relaxed);
    }

    /// Answers a ping. What it says of connections holds until the next word: both are said under one lock, and in order.
    pub(super) fn pong(&self, number: u64, supervisor: Arc<Sender<FromWorker>>) {
        let mut taken = self.taken();
        let (busy, turns) = (!taken.connections.is_empty(), self.turns.load(Ordering::Relaxed));
        // It never waits. What is lost in a full pipe is asked for again by the next ping.
        let _ = supervisor.send(&FromWorker::Pong { number, accept_polls: turns, busy });
        taken.quiet = (!busy).then_some(supervisor);
    }

    /// Ends the connection that has kept us waiting longest; whether there was one.
    pub(super) fn evict(&self) -> bool {
        self.taken().evict(self.now_ms(), |_| true)
    }

    fn make_room(&self) -> bool {
        let mut taken = self.taken();
        taken.connections.len() < self.limits.connections || taken.evict(self.now_ms(), |_| true)
    }

    fn make_room_of(&self, origin: Option<Origin>) -> Result<(), TooMany> {
        let mut taken = self.taken();
        let Some(origin) = origin else { return Ok(()) };
        let few = taken.origins.get(&origin).is_none_or(|&count| count < self.limits.per_address);
        if few || taken.evict(self.now_ms(), |holder| holder.origin == Some(origin)) {
            Ok(())
        } else {
            Err(TooMany)
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.zero.elapsed().as_millis()).unwrap_or_default()
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Looks at every one: only in a shortage, and then it is cheap beside accepting a connection.
    fn evict(&mut self, now_ms: u64, whose: impl Fn(&Holder) -> bool) -> bool {
        let grace = u64::try_from(GRACE.as_millis()).unwrap_or_default();
        let ripe = self.connections.iter().filter_map(|(&number, holder)| {
            let beat = holder.pulse.beat();
            let waits = match beat.phase() {
                Phase::Idle => 0,
                Phase::Head | Phase::Body | Phase::Blocked => 1,
                Phase::Answering | Phase::Upgraded | Phase::Evicted => return None,
            };
            let ripe = beat.since_ms() + grace <= now_ms && whose(holder);
            ripe.then_some((waits, beat.since_ms(), number, beat))
        });
        let Some((_, _, number, beat)) = ripe.min_by_key(|&(waits, since, number, _)| (waits, since, number))
        else {
            return false;
        };
        let evicted = self.connections.get(&number).is_some_and(|holder| holder.pulse.evict(beat));
        if evicted && let Some(task) = self.leave(number) {
            task.abort();
        }
        evicted
    }

    fn leave(&mut self, number: u64) -> Option<AbortHandle> {
        let holder = self.connections.remove(&number)?;
        if let Some(origin) = holder.origin
            && let Some(count) = self.origins.get_mut(&origin)
        {
            *count -= 1;
            if *count == 0 {
                self.origins.remove(&origin);
            }
        }
        holder.task
    }
}

impl Place {
    pub(super) const fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }

    pub(super) const fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken().leave(self.number);
        self.places.freed.notify_one();
    }
}
