//! The control socket: how commands of the operator reach the supervisor.
//!
//! Both directions carry one JSON object per line; see [`protocol`]. Connections are served by small tasks beside the
//! event loop, so that a slow or silent client delays no other client.

pub mod client;
mod connect_error;
mod log_readers;
mod peer;
pub mod protocol;
pub mod server;
pub mod socket_path;
