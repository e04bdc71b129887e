//! The service under a real systemd in a container: see `machine`.
//!
//! This test target has its own `main`, so that the tests count as skipped, and not as passed, if no container can be
//! booted.
#![forbid(unsafe_code)]
#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests report by panicking, as tests do")]

mod load;
mod machine;
mod package;
mod tests;

use libtest_mimic::{Arguments, Trial};

fn main() {
    let skip_reason = machine::skip_reason();
    if let Some(reason) = &skip_reason {
        eprintln!("SKIPPED: the tests under systemd: {reason}");
    }
    let trial = |(name, test): &(&'static str, fn())| {
        let test = *test;
        let run = move || {
            test();
            Ok(())
        };
        Trial::test(*name, run).with_ignored_flag(skip_reason.is_some())
    };
    libtest_mimic::run(&Arguments::from_args(), tests::ALL.iter().map(trial).collect()).exit();
}
