//! The HTTP API worker, as a library: accepts events into the ring, answers from the state table, and waits for nobody.
//!
//! A program of your own with further routes is this much:
//!
//! ```no_run
//! use axum::{Router, extract::State, http::StatusCode, routing::post};
//! use bulkhead_worker_api::{AppendError, Authorized, Bulkhead, NewEvent, serve};
//!
//! async fn tick(_: Authorized, State(bulkhead): State<Bulkhead>) -> Result<StatusCode, AppendError> {
//!     bulkhead.append(&[NewEvent::new("ticks", 1.0)])?;
//!     Ok(StatusCode::ACCEPTED)
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     serve(Router::new().route("/tick", post(tick)))
//! }
//! ```
//!
//! It is started by the supervisor: `[api] command = ["…"]`. Routes that change things take [`Authorized`], so that they need
//! the token of `api.token_file` when there is one.
#![forbid(unsafe_code)]

mod body;
mod bulkhead;
mod desk;
mod folders;
mod front;
mod idempotency;
mod inbox;
mod limits;
mod listener;
mod log;
mod mutant;
mod panic;
mod parse;
mod problem;
mod request_id;
mod routes;
mod server;
#[cfg(test)]
mod testing;
mod token;
mod worker;

pub use axum;
pub use bulkhead::{AnalyticsRow, AppendError, Appended, Bulkhead, NewEvent, RingUse, Stats};
pub use problem::{Kind, Problem};
pub use request_id::RequestId;
pub use token::Authorized;

use axum::Router;
use std::process::ExitCode;

/// Serves our routes and `own` ones, until the supervisor says otherwise. To be returned from `main`.
///
/// The exit code is 0 after a drain, 78 when what the supervisor handed down cannot be used, 101 after a panic of the
/// main thread, else 1.
#[must_use]
pub fn serve(own: Router<Bulkhead>) -> ExitCode {
    match worker::Worker::boot().and_then(|worker| worker.run(own)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("bulkhead-api: {failure}");
            failure.exit_code()
        }
    }
}
