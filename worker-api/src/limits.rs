//! How much of everything a client may take, and for how long. One place, so that they can be judged together.

use bulkhead_proto::worker::settings;
use std::time::Duration;

/// The limits that a server keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The most connections at once. Each costs an fd, and some 20 KiB at least.
    pub(crate) connections: usize,
    /// The most connections of one address; of this machine's own clients, and of Unix sockets', as many as there are
    /// places.
    pub(crate) per_address: usize,
    /// How long a connection may be idle between requests.
    pub(crate) idle: Duration,
    /// How long a request's head may take from its first byte to its last.
    pub(crate) head: Duration,
    /// How long a client may keep us waiting for the next [`PIECE`] of its body, or take nothing of its answer.
    pub(crate) stall: Duration,
    /// How long a request may take until the head of its answer, its body's arrival included: long enough for
    /// `max_body` over a poor line, short enough that a slow client does not hold a connection for ever.
    pub(crate) request: Duration,
}

impl Limits {
    /// What the settings say, as far as the files that may be open allow it.
    pub(crate) fn new(settings: &settings::Limits, open_files: u64) -> Self {
        let number = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let fds = usize::try_from(open_files.saturating_sub(OTHER_FILES)).unwrap_or(usize::MAX);
        Self {
            connections: number(settings.max_connections).min(fds.max(MIN_CONNECTIONS)),
            per_address: match settings.max_connections_per_address {
                0 => usize::MAX,
                some => number(some),
            },
            request: Duration::from_millis(settings.request_timeout_ms),
            idle: IDLE,
            head: STALL,
            stall: STALL,
        }
    }
}

/// How long idle connections are kept: longer than clients' own pools pause between two polls, as a rule.
const IDLE: Duration = Duration::from_secs(60);

/// How long a client may stop in the middle of something: an outage of a mobile network is no longer, as a rule.
const STALL: Duration = Duration::from_secs(10);

/// Files that are open beside connections: pipes, memory, what a user's own routes need.
const OTHER_FILES: u64 = 64;

/// With fewer there is no service to speak of, and it is better to fail at accepting, loudly.
const MIN_CONNECTIONS: usize = 16;

#[cfg(test)]
impl Default for Limits {
    fn default() -> Self {
        Self::new(&settings::Limits::default(), u64::MAX)
    }
}

/// What counts as progress of a body, in bytes: with [`Limits::stall`], 1.6 KiB a second is the slowest upload.
pub(crate) const PIECE: usize = 16 << 10;

/// The most bytes of a request's head: 431 beyond. The most headers are hyper's 100: 431 too. Also the most that is read
/// at once.
pub(crate) const MAX_HEAD: usize = 128 << 10;

/// The most bytes of path and query: 414 beyond. Every server of note takes 8 KiB, so clients rely on no more.
pub(crate) const MAX_URI: usize = 8 << 10;

/// The most bytes of large bodies in memory at once, unless two bodies of `max_body` need more: 503 beyond.
pub(crate) const MAX_BODIES: u64 = 64 << 20;

/// A body up to this size, in bytes, always finds room, so that single events never wait behind large batches. What that
/// may add up to is bounded by the connections.
pub(crate) const SMALL_BODY: usize = 16 << 10;
