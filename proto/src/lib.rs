//! What Bulkhead's processes share: ids, control messages, events, memory segments, the events ring, the state
//! table, and the inheritance of fds.
//!
//! This crate never starts a process and never serves a socket. Unsafe code lives in the files named in
//! `ARCHITECTURE.md`, and nowhere else.

pub mod codec;
pub mod control;
pub mod event;
pub mod fds;
pub mod ids;
pub mod pipe;
pub mod settings;
pub mod status;
pub mod words;
