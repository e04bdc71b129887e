//! What Bulkhead's processes share.
//!
//! - [`wire`]: the data that the processes exchange and store: ids, events, control messages, reports, and their
//!   encoding.
//! - [`shm`]: the memory that they share: segments, the events ring, the state table, seqlock cells, the snapshot. It uses
//!   the encodings of [`wire`] and holds no policy.
//! - [`worker`]: the runtime of a worker: inherited fds, control pipes, settings, signal handlers, the allocator.
//! - [`splitmix64`]: pseudo-random numbers, for all of them.
//!
//! Imports run one way: `worker` uses `shm` and `wire`, `shm` uses `wire`, `wire` uses neither. This crate never starts a
//! process and never serves a socket. `ARCHITECTURE.md` names the files that contain unsafe code.

pub mod shm;
pub mod splitmix64;
pub mod wire;
pub mod worker;

// Positions and lengths in shared memory are 64 bits wide. `shm::access::index` converts them to `usize`.
const _: () = assert!(size_of::<usize>() == 8, "Bulkhead needs a 64-bit machine");
