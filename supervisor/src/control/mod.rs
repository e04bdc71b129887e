//! The control socket: how the operator's commands reach the supervisor.
//!
//! One JSON object a line, in either direction; see [`protocol`]. Served beside the event loop, by small tasks that no
//! slow or silent client can make anybody else wait for.

pub mod client;
pub mod paths;
pub mod protocol;
pub mod server;
