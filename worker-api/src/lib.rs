//! The HTTP API worker as a library: appends events to the ring and answers queries from the state table. It never
//! waits for the analysis.
//!
//! A program with its own routes:
//!
//! ```no_run
//! use axum::{Router, extract::State, http::StatusCode, routing::post};
//! use bulkhead_worker_api::{ApiHandle, AppendError, Authorized, NewEvent, serve};
//!
//! async fn tick(_: Authorized, State(api): State<ApiHandle>) -> Result<StatusCode, AppendError> {
//!     api.append(&[NewEvent::new("ticks", 1.0)])?;
//!     Ok(StatusCode::ACCEPTED)
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     serve(Router::new().route("/tick", post(tick)))
//! }
//! ```
//!
//! The supervisor starts this program: `[api] command = ["…"]`. Routes that change state take [`Authorized`], so that
//! they require the token of `api.token_file` if one is configured.
#![forbid(unsafe_code)]

mod control_events;
mod counters;
mod handle;
mod http;
mod parse;
mod process;
mod routes;
mod stores;
mod supervisor_client;
#[cfg(test)]
mod tests;

pub use axum;
pub use handle::{AnalyticsRow, ApiHandle, AppendError, Appended, NewEvent, RingUse, Stats};
pub use http::{
    problem::{Problem, ProblemKind},
    request_id::RequestId,
};
pub use routes::authorized::Authorized;

use axum::Router;
use bulkhead_proto::worker::{
    boot::{self, Program},
    panic_hook::FatalPanics,
};
use std::process::ExitCode;

const PROGRAM: Program =
    Program { name: "bulkhead-api", log_targets: true, fatal_panics: FatalPanics::ThisThread };

/// Serves the built-in routes and `user_routes` until the supervisor stops this process. `main` returns its result.
///
/// The exit code is 0 after a drain, 78 if the inherited settings, fds or memory cannot be used, 101 after a panic of
/// the main thread, otherwise 1.
#[must_use]
pub fn serve(user_routes: Router<ApiHandle>) -> ExitCode {
    boot::run(PROGRAM, |inherited| process::ApiProcess::new(inherited)?.run(user_routes))
}
