//! The runtime that every worker shares: what it inherits from the supervisor, how it talks to the supervisor, and how it
//! records its own death.

pub mod alloc;
pub mod backtrace;
pub mod fault;
pub mod fds;
pub mod link;
pub mod pipe;
pub mod settings;
pub mod signals;
pub mod this_process;
