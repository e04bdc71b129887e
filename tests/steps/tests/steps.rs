//! Runs every scenario at every step.

use bulkhead_steps::{runner, scenarios};
use std::path::Path;

const CHILD: &str = env!("CARGO_BIN_EXE_bulkhead-steps-child");

/// Runs the scenarios whose names begin with `prefix`; there must be at least one.
fn run_all(prefix: &str) {
    let mut found_any = false;
    for scenario in scenarios::all().into_iter().filter(|scenario| scenario.name().starts_with(prefix)) {
        let counts = runner::run(Path::new(CHILD), scenario).expect("the scenario passes at every step");
        println!(
            "{:28} {:7} steps {:4} images {:4} torn",
            scenario.name(),
            counts.steps,
            counts.images,
            counts.torn
        );
        found_any = true;
    }
    assert!(found_any, "no scenario begins with {prefix}");
}

#[test]
fn an_api_that_dies_while_it_appends_leaves_the_whole_batch_or_nothing() {
    run_all("append");
}

#[test]
fn an_analysis_that_dies_while_it_reads_and_applies_changes_nothing_that_was_committed() {
    run_all("consume");
}

#[test]
fn the_successor_of_a_consumer_that_dies_while_it_parks_is_woken() {
    run_all("park");
}

#[test]
fn a_panic_record_is_complete_or_absent() {
    run_all("panic_record");
}

#[test]
fn an_analysis_that_dies_while_it_commits_leaves_the_whole_commit_or_nothing() {
    run_all("commit");
}

#[test]
fn a_successor_that_dies_while_it_takes_over_changes_nothing_that_was_committed() {
    run_all("takeover");
    run_all("scrub");
}

#[test]
fn a_successor_that_dies_while_it_repairs_the_index_leaves_a_repairable_index() {
    run_all("repair");
}

#[test]
fn a_supervisor_that_dies_while_it_publishes_leaves_one_complete_value() {
    run_all("publish");
}

#[test]
fn a_supervisor_that_dies_while_it_handles_deaths_counts_them_before_a_successor_is_active() {
    run_all("attempt");
}

#[test]
fn each_faulty_scenario_is_found_at_a_step() {
    for scenario in scenarios::faulty_scenarios() {
        let error = runner::run(Path::new(CHILD), scenario).expect_err(scenario.name());
        let text = format!("{error:#}");
        println!("{text}");
        assert!(
            text.contains("after step"),
            "{}: the error was not found at a step: {text}",
            scenario.name()
        );
    }
}
