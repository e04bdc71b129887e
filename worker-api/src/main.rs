//! The API worker without any route of a user's own.
#![forbid(unsafe_code)]

use axum::Router;
use std::process::ExitCode;

fn main() -> ExitCode {
    bulkhead_worker_api::serve(Router::new())
}
