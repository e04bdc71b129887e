//! HTTP on the listening socket that the supervisor owns.
//!
//! Where to start reading: [`server`] starts and drains; [`acceptor`] accepts connections; [`conn_limits`] grants each
//! a permit; [`timed_stream`] enforces the timeouts of one connection; [`service`] wraps every request.

mod acceptor;
pub(crate) mod body;
mod conn_limits;
mod conn_state;
pub(crate) mod encoding;
mod framing;
pub(crate) mod host;
pub(crate) mod idempotency;
pub(crate) mod limits;
pub(crate) mod listener;
pub(crate) mod origin;
pub(crate) mod problem;
pub(crate) mod request_id;
pub(crate) mod server;
pub(crate) mod service;
mod timed_stream;
pub(crate) mod token;

#[cfg(test)]
mod tests;
