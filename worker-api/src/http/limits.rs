//! Limits on connections, memory and time, in one file so that they can be compared.
//!
//! The limit of a request body, `api.max_body`, is a setting: the supervisor's `config/sections.rs` has its default, and
//! `body.rs` enforces it.

use bulkhead_proto::worker::settings;
use std::time::Duration;

/// The limits of a server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The most connections at once. Each takes an fd and at least about 20 KiB.
    pub(crate) connections: usize,
    /// The most connections of one address. Clients on this machine and on Unix sockets are limited by `connections`
    /// alone.
    pub(crate) per_address: usize,
    /// How long a connection may be idle between requests.
    pub(crate) idle: Duration,
    /// How long a request's head may take, from its first byte to its last.
    pub(crate) head: Duration,
    /// How long a client may take to send the next [`BODY_PROGRESS`] bytes of a body, or to read any of its response.
    pub(crate) stall: Duration,
    /// How long a request may take until the head of its response, including the arrival of its body. Long enough to
    /// send `max_body` over a slow link, short enough that a slow client does not hold a connection without limit.
    pub(crate) request: Duration,
}

impl Limits {
    /// The limits of the settings, reduced to what the limit of open files allows.
    pub(crate) fn new(settings: &settings::Limits, open_files: u64) -> Self {
        let number = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let fds = usize::try_from(open_files.saturating_sub(RESERVED_FDS)).unwrap_or(usize::MAX);
        Self {
            connections: number(settings.max_connections).min(fds.max(MIN_CONNECTIONS)),
            per_address: match settings.max_connections_per_address {
                0 => usize::MAX,
                count => number(count),
            },
            request: Duration::from_millis(settings.request_timeout_ms),
            idle: Duration::from_millis(settings.idle_timeout_ms),
            head: STALL_TIMEOUT,
            stall: STALL_TIMEOUT,
        }
    }
}

/// How long a client may pause within a request. An outage of a mobile network is usually shorter.
const STALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Fds that are not connections: pipes, shared memory, those of a user's own routes.
const RESERVED_FDS: u64 = 64;

/// The connection limit is not reduced below this for lack of fds: the service would be useless. accept(2) then fails,
/// and the failure is logged.
const MIN_CONNECTIONS: usize = 16;

#[cfg(test)]
impl Default for Limits {
    fn default() -> Self {
        Self::new(&settings::Limits::default(), u64::MAX)
    }
}

/// Bytes of a body that count as progress. With a `stall` of 10 s, the slowest upload is 1.6 KiB/s.
pub(crate) const BODY_PROGRESS: usize = 16 << 10;

/// The most bytes of a request's head, and of one read. A longer head gets 431. hyper also answers 431 to more than 100
/// headers.
pub(crate) const MAX_HEAD: usize = 128 << 10;

/// The most bytes of path and query. Longer ones get 414. Common servers accept 8 KiB, so clients do not rely on more.
pub(crate) const MAX_URI: usize = 8 << 10;

/// The most bytes of large bodies in memory at once, or twice `max_body` if that is more. A body beyond it gets 503.
pub(crate) const MAX_BODY_MEMORY: u64 = 64 << 20;

/// A body up to this size, in bytes, needs no reservation, so that single events never wait for large batches. The
/// connection limit bounds their total.
pub(crate) const SMALL_BODY: usize = 16 << 10;
