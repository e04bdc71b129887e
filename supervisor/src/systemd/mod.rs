//! What systemd is told of the service: sd_notify(3). Without systemd, nothing of it happens.
//!
//! A message is a datagram that is never waited for. One that systemd does not take now is told again at the next turn.

mod status;

use crate::core::{Millis, State, SupervisorPhase, policy};
use bulkhead_proto::wire::role::Role;
use std::{
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
    time::Duration,
};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// Messages to systemd that nobody listens to any more are sent for nothing, but harm nobody.
#[derive(Debug, Default)]
pub struct Notifier {
    socket: Option<UnixDatagram>,
    watchdog: Option<Interval>,
    /// Whether systemd knows that the service is ready.
    ready: bool,
    /// The last status that systemd knows.
    told: String,
}

/// What any step may take beyond its own limits: a busy machine.
const SLACK: Duration = Duration::from_secs(10);

/// The slowest machine that makes the shared memory, in bytes a second.
const SLOWEST_MEMORY: u64 = 256 << 20;

/// The slowest disk from which a state is restored, in bytes a second.
const SLOWEST_DISK: u64 = 10 << 20;

impl Notifier {
    /// As the environment says (`NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`); to be called within the runtime.
    #[must_use]
    pub fn new(variable: &dyn Fn(&str) -> Option<String>) -> Self {
        let Some(address) = variable("NOTIFY_SOCKET").filter(|address| !address.is_empty()) else {
            return Self::default();
        };
        match connect(&address) {
            Ok(socket) => Self { socket: Some(socket), watchdog: watchdog(variable), ..Self::default() },
            Err(error) => {
                tracing::warn!("NOTIFY_SOCKET: nothing can be told at {address:?}: {error}");
                Self::default()
            }
        }
    }

    /// Before so many bytes of memory are made, and so many restored from disk: nothing else can be told meanwhile.
    pub fn preparing(&self, memory: u64, saved: u64) {
        let patience = SLACK + Duration::from_secs(memory / SLOWEST_MEMORY + saved / SLOWEST_DISK);
        self.send(&format!("STATUS=restoring the state ({saved} bytes)\n{}", extend(patience)));
    }

    /// Tells what is new since the last time: that the service is ready, its status, that it stops.
    pub fn tell(&mut self, state: &State) {
        if self.socket.is_none() {
            return;
        }
        let status = status::line(state);
        let ready = self.ready || serves(state);
        if status == self.told && ready == self.ready {
            return;
        }
        let mut message = format!("STATUS={status}\n");
        if ready && !self.ready {
            message.push_str("READY=1\n");
        }
        if let Some(patience) = patience(state) {
            message.push_str("STOPPING=1\n");
            message.push_str(&extend(patience));
        }
        if self.send(&message) {
            (self.told, self.ready) = (status, ready);
        }
    }

    /// The configuration is read again. `now` is of the monotonic clock: systemd tells by it which request is meant, and would
    /// take one that was rounded down for an answer to an earlier one.
    pub fn reloading(&self, now: Millis) {
        if self.ready {
            self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}\n", u128::from(now.0) * 1000 + 999));
        }
    }

    /// It was read again, and is in force, or was refused. That is told with the status if systemd does not take it now.
    pub fn reloaded(&mut self) {
        self.ready = self.ready && self.send("READY=1\n");
    }

    /// Waits until systemd wants to hear that the service lives; for ever, if it does not watch.
    pub async fn watchdog_due(&mut self) {
        match &mut self.watchdog {
            Some(watchdog) => {
                watchdog.tick().await;
            }
            None => std::future::pending().await,
        }
    }

    /// It lives.
    pub fn alive(&self) {
        self.send("WATCHDOG=1\n");
    }

    /// Whether systemd took it.
    fn send(&self, message: &str) -> bool {
        self.socket.as_ref().is_none_or(|socket| socket.send(message.as_bytes()).is_ok())
    }
}

/// The socket may have a path or, after "@", an abstract name.
fn connect(address: &str) -> io::Result<UnixDatagram> {
    let address = match address.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(address)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Twice as often as systemd wants to hear (sd_watchdog_enabled(3)).
fn watchdog(variable: &dyn Fn(&str) -> Option<String>) -> Option<Interval> {
    let other = variable("WATCHDOG_PID").is_some_and(|pid| pid != std::process::id().to_string());
    let limit = variable("WATCHDOG_USEC").filter(|_| !other)?.parse().ok().map(Duration::from_micros)?;
    let period = Some(limit / 2).filter(|period| !period.is_zero())?;
    let mut interval = interval_at(Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    Some(interval)
}

/// Whether an API generation is at work.
fn serves(state: &State) -> bool {
    state.workers.iter().any(|worker| worker.role == Role::Api && worker.running().is_some())
}

/// How long the present step of the stop may take, while the service stops.
fn patience(state: &State) -> Option<Duration> {
    match state.phase {
        SupervisorPhase::New | SupervisorPhase::Up => None,
        SupervisorPhase::Stopping(role) => {
            let workers = state.workers.iter().filter(|worker| worker.role == role);
            let drain = workers.map(|worker| worker.stop_timeout).max().unwrap_or_default();
            Some(drain + policy::TERM_GRACE + policy::KILL_GRACE + SLACK)
        }
        SupervisorPhase::Saving { .. } => Some(policy::SAVE_TIMEOUT + SLACK),
        SupervisorPhase::Gone => Some(SLACK),
    }
}

fn extend(patience: Duration) -> String {
    format!("EXTEND_TIMEOUT_USEC={}\n", patience.as_micros())
}

#[cfg(test)]
mod tests;
