//! What Bulkhead's processes share: ids, control messages, events, memory segments, the events ring, the state
//! table, and the inheritance of fds.
//!
//! This crate never starts a process and never serves a socket. Unsafe code lives in the files named in
//! `ARCHITECTURE.md`, and nowhere else.

pub mod bell;
pub mod board;
pub mod cloexec;
pub mod codec;
pub mod control;
pub mod crash;
pub mod cursor;
pub mod event;
pub mod fault;
pub mod fds;
pub mod folder;
pub mod ids;
pub mod link;
pub mod listen_fds;
mod mutant;
pub mod noting;
pub mod own_page;
pub mod pipe;
pub mod quarantine;
pub mod reap;
pub mod ring;
pub mod segment;
pub mod settings;
pub mod shared;
pub mod signals;
pub mod snapshot;
pub mod state_memory;
pub mod status;

pub mod sync;
pub mod table;
pub mod trace;
pub mod visible;
pub mod words;

// Positions and lengths in shared memory are 64 bits wide, as indices are.
const _: () = assert!(size_of::<usize>() == 8, "Bulkhead needs a 64-bit machine");
