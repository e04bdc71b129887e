//! The control socket: how the operator's commands reach the supervisor.
//!
//! One JSON object a line, in either direction; see [`protocol`]. Served beside the event loop, by small tasks that no
//! slow or silent client can make anybody else wait for.

pub mod client;
mod explain;
pub mod paths;
mod peer;
pub mod protocol;
mod readers;
pub mod server;
