//! The service under a real systemd, which boots in a container: see `machine`.
//!
//! A harness of its own, so that where no such container can be, the tests count as skipped and not as passed.
#![forbid(unsafe_code)]
#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests report by panicking, as tests do")]

mod load;
mod machine;
mod package;
mod tests;

use libtest_mimic::{Arguments, Trial};

fn main() {
    let obstacle = machine::obstacle();
    if let Some(obstacle) = &obstacle {
        eprintln!("SKIPPED: the tests under systemd: {obstacle}");
    }
    let trial = |(name, test): &(&'static str, fn())| {
        let test = *test;
        let run = move || {
            test();
            Ok(())
        };
        Trial::test(*name, run).with_ignored_flag(obstacle.is_some())
    };
    libtest_mimic::run(&Arguments::from_args(), tests::ALL.iter().map(trial).collect()).exit();
}
