//! Notifies systemd of the state of the service: sd_notify(3). Does nothing without systemd.
//!
//! A message is a datagram, sent without blocking. A status that systemd does not accept is sent again with the next
//! state.

pub mod socket_activation;
mod status_text;

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

/// Sends notifications to systemd, and watchdog keep-alives if systemd expects them.
#[derive(Debug, Default)]
pub struct Notifier {
    socket: Option<UnixDatagram>,
    watchdog: Option<Interval>,
    /// Whether systemd has accepted `READY=1`.
    ready: bool,
    /// The last status that systemd accepted.
    last_status: String,
}

/// Added to every timeout, for a busy machine.
const SLACK: Duration = Duration::from_secs(10);

/// Lowest expected rate at which shared memory is allocated, in bytes per second.
const MIN_MEMORY_RATE: u64 = 256 << 20;

/// Lowest expected rate at which a snapshot is read from disk, in bytes per second.
const MIN_DISK_RATE: u64 = 10 << 20;

impl Notifier {
    /// Configured by the environment: `NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`. Must be called within a tokio
    /// runtime.
    #[must_use]
    pub fn new(variable: &dyn Fn(&str) -> Option<String>) -> Self {
        let Some(address) = variable("NOTIFY_SOCKET").filter(|address| !address.is_empty()) else {
            return Self::default();
        };
        match connect(&address) {
            Ok(socket) => Self { socket: Some(socket), watchdog: watchdog(variable), ..Self::default() },
            Err(error) => {
                tracing::warn!("cannot notify systemd: NOTIFY_SOCKET={address:?}: {error}");
                Self::default()
            }
        }
    }

    /// Extends systemd's start timeout: no notification is possible while `memory` bytes are allocated and `saved`
    /// bytes are restored from disk.
    pub fn notify_preparing(&self, memory: u64, saved: u64) {
        let timeout = SLACK + Duration::from_secs(memory / MIN_MEMORY_RATE + saved / MIN_DISK_RATE);
        self.send(&format!("STATUS=restoring the state ({saved} bytes)\n{}", extend_timeout(timeout)));
    }

    /// Notifies systemd of changes since the last call: the status, readiness, and the stop.
    pub fn notify_state(&mut self, state: &State) {
        if self.socket.is_none() {
            return;
        }
        let status = status_text::status_text(state);
        let ready = self.ready || api_is_running(state);
        if status == self.last_status && ready == self.ready {
            return;
        }
        let mut message = format!("STATUS={status}\n");
        if ready && !self.ready {
            message.push_str("READY=1\n");
        }
        if let Some(timeout) = stop_timeout(state) {
            message.push_str("STOPPING=1\n");
            message.push_str(&extend_timeout(timeout));
        }
        if self.send(&message) {
            (self.last_status, self.ready) = (status, ready);
        }
    }

    /// Announces a reload. `now` is the time of the monotonic clock. systemd compares it with the time of its request;
    /// a time that is rounded down would belong to an earlier request.
    pub fn notify_reloading(&self, now: Millis) {
        if self.ready {
            self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}\n", u128::from(now.0) * 1000 + 999));
        }
    }

    /// Announces the end of a reload, whether the configuration was applied or refused. If systemd does not accept the
    /// message now, the next status repeats it.
    pub fn notify_reloaded(&mut self) {
        self.ready = self.ready && self.send("READY=1\n");
    }

    /// Waits until the next watchdog notification is due; forever without a watchdog. Cancel safe.
    pub async fn watchdog_due(&mut self) {
        match &mut self.watchdog {
            Some(watchdog) => {
                watchdog.tick().await;
            }
            None => std::future::pending().await,
        }
    }

    /// Sends the watchdog keep-alive.
    pub fn notify_watchdog(&self) {
        self.send("WATCHDOG=1\n");
    }

    /// Returns whether systemd accepted the message, or there is no systemd.
    fn send(&self, message: &str) -> bool {
        self.socket.as_ref().is_none_or(|socket| socket.send(message.as_bytes()).is_ok())
    }
}

/// `address` is a path or, after "@", an abstract name.
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

/// A timer with half the watchdog period of systemd, as sd_watchdog_enabled(3) recommends.
fn watchdog(variable: &dyn Fn(&str) -> Option<String>) -> Option<Interval> {
    let other = variable("WATCHDOG_PID").is_some_and(|pid| pid != std::process::id().to_string());
    let limit = variable("WATCHDOG_USEC").filter(|_| !other)?.parse().ok().map(Duration::from_micros)?;
    let period = Some(limit / 2).filter(|period| !period.is_zero())?;
    let mut interval = interval_at(Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    Some(interval)
}

fn api_is_running(state: &State) -> bool {
    state.workers.iter().any(|worker| worker.role == Role::Api && worker.running().is_some())
}

/// Timeout of the current step of an orderly stop; `None` if the service is not stopping.
fn stop_timeout(state: &State) -> Option<Duration> {
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

fn extend_timeout(timeout: Duration) -> String {
    format!("EXTEND_TIMEOUT_USEC={}\n", timeout.as_micros())
}

#[cfg(test)]
mod tests;
