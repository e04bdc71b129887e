//! System calls that no safe crate offers, or that need raw fd numbers. The only module of this crate with unsafe
//! code: each unsafe block is one call, with its reason.
#![expect(unsafe_code, reason = "wait4(2), close_range(2), and fds that are passed as numbers")]

pub mod cloexec;
pub mod listen_fds;
pub mod wait;
