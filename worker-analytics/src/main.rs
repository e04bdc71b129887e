//! The analytics worker with the built-in analysis.
#![forbid(unsafe_code)]

use bulkhead_worker_analytics::{Statistics, run};
use std::process::ExitCode;

fn main() -> ExitCode {
    run(Statistics)
}
