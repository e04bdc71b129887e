//! Every scenario, at every step.

use bulkhead_steps::{rig, scenarios};
use std::path::Path;

const CHILD: &str = env!("CARGO_BIN_EXE_bulkhead-steps-child");

/// Runs the scenarios whose names begin so; at least one must.
fn every(begins: &str) {
    let mut any = false;
    for scenario in scenarios::all().into_iter().filter(|scenario| scenario.name().starts_with(begins)) {
        let tally = rig::run(Path::new(CHILD), scenario).expect("right at every step");
        println!(
            "{:28} {:7} steps {:4} images {:4} torn",
            scenario.name(),
            tally.steps,
            tally.images,
            tally.torn
        );
        any = true;
    }
    assert!(any, "no scenario begins with {begins}");
}

#[test]
fn an_api_that_dies_while_it_appends_leaves_the_whole_batch_or_nothing() {
    every("append");
}

#[test]
fn an_analysis_that_dies_while_it_reads_and_applies_changes_nothing_that_was_committed() {
    every("consume");
}

#[test]
fn a_consumer_that_dies_while_it_parks_leaves_a_successor_that_is_woken() {
    every("park");
}

#[test]
fn last_words_are_whole_or_none() {
    every("last_words");
}

#[test]
fn an_analysis_that_dies_while_it_commits_leaves_the_whole_commit_or_nothing() {
    every("commit");
}

#[test]
fn a_successor_that_dies_while_it_takes_over_leaves_what_it_found() {
    every("take_over");
    every("scrub");
}

#[test]
fn a_successor_that_dies_while_it_repairs_the_index_leaves_what_can_be_repaired() {
    every("repair");
}

#[test]
fn a_supervisor_that_dies_while_it_publishes_leaves_one_whole_board() {
    every("publish");
}

#[test]
fn a_supervisor_that_dies_while_it_takes_in_deaths_has_charged_them_before_a_successor_works() {
    every("charge");
}

#[test]
fn each_planted_fault_is_found_at_a_step() {
    for plant in scenarios::planted() {
        let wrong = rig::run(Path::new(CHILD), plant).expect_err(plant.name());
        let found = format!("{wrong:#}");
        println!("{found}");
        assert!(found.contains("behind step"), "{}: not found by a step: {found}", plant.name());
    }
}
