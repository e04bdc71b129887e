//! Messages arrive, and come back, over every transport that `make bench` compares.
//!
//! This test has its own harness, because the other side of a transport is this same program.
#![forbid(unsafe_code)]

use bulkhead_bench::{peer, transport};
use libtest_mimic::{Arguments, Trial};

fn main() -> anyhow::Result<()> {
    if let Some(role) = peer::role() {
        return peer::run_role(&role);
    }
    let trial = |name: &'static str| {
        let title = name.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        Trial::test(title, move || Ok(transport::check_transport(name)?))
    };
    libtest_mimic::run(&Arguments::from_args(), transport::names().into_iter().map(trial).collect()).exit();
}
