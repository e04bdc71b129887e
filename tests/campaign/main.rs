//! A fault campaign: events, reads and kills on the real binaries, all of it recorded, and then reconciled by id.
//!
//! Never: trusts a total where ids can be compared, judges while it runs, or signals a process that it did not start.
//! The run (`run`) only writes records, the checker (`check`) only reads them: it can be run again on those of any run.
//! Where to start reading: `bulkhead_tests::ids`, then `plan`, then `check::events`.
#![forbid(unsafe_code)]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a harness that cannot go on reports by panicking")]

mod check;
mod mix;
mod options;
mod plan;
mod records;
mod report;
mod run;

use clap::Parser;
use options::Options;
use plan::Plan;
use report::Report;
use std::process::ExitCode;

fn main() -> ExitCode {
    let options = Options::parse();
    let directory = options.directory();
    if options.check.is_none() {
        let plan = Plan::new(&options);
        println!("{plan}\nrecords: {}", directory.display());
        run::run(&options, &plan, &directory);
    }
    let records = records::load(&directory);
    let checks = check::all(&records);
    let report = Report::of(&records, &checks);
    report.save(&directory);
    println!("{report}");
    if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
