//! A fault campaign: events, reads and kills on the real binaries. Everything is recorded, and then
//! reconciled by event id.
//!
//! The campaign must never compare totals where it can compare ids, judge results while it runs, or signal a
//! process that it did not start. The run (`run`) only writes records and the checker (`check`) only reads
//! them, so the checker can be run again on the records of any run. Where to start reading:
//! `bulkhead_tests::event_id`, then `plan`, then `check::events`.
#![forbid(unsafe_code)]
#![allow(clippy::panic, clippy::unwrap_used, reason = "the campaign reports its own failures by panicking")]

mod check;
mod deploy_schedule;
mod fault_schedule;
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
