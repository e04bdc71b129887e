//! The runtime that every worker shares: what it inherits from the supervisor, how it talks to the supervisor, and how it
//! records its own death. [`boot`] is where a worker begins.

pub mod alloc;
pub mod backtrace;
pub mod boot;
pub mod fault;
pub mod fds;
pub mod link;
pub mod log;
pub mod panic_hook;
pub mod pipe;
pub mod settings;
pub mod signals;
pub mod this_process;
pub mod token_file;
