//! The API worker with the built-in routes only.
#![forbid(unsafe_code)]

use axum::Router;
use std::process::ExitCode;

fn main() -> ExitCode {
    bulkhead_worker_api::serve(Router::new())
}
