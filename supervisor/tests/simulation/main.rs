//! The pure core of the supervisor in a deterministic simulation. Time is virtual. Simulated processes are
//! slow, violate the protocol, die in any phase or ignore signals; operators send commands while workers die;
//! clocks jump. The same seed gives the same run.
//!
//! `SEED=N` sets the first seed, `SEEDS=N` the number of seeds: `SEED=1 SEEDS=1000000 cargo test --test
//! simulation`.

mod checker;
mod ensure;
mod fault_profile;
mod operator;
mod prng;
mod process;
mod progress;
mod record;
mod simulator;

use simulator::Simulation;
use std::{
    env,
    num::NonZero,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

/// The number of seeds that `make test` runs.
const SEEDS: u64 = 10_000;

/// The last lines of a failed run's trace that are printed.
const MAX_TRACE_LINES: usize = 80;

fn number(variable: &str, default: u64) -> u64 {
    env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Runs the seeds in order. Returns the first seed that violates an invariant, with the violation, or the
/// total number of transitions.
fn first_violation(seeds: impl Iterator<Item = u64>) -> Result<u64, (u64, String)> {
    let mut transitions = 0;
    for seed in seeds {
        let mut simulation = Simulation::new(seed, false);
        if let Err(violation) = simulation.run() {
            return Err((seed, violation));
        }
        transitions += u64::from(simulation.transitions);
    }
    Ok(transitions)
}

/// Runs the seed again with tracing on. Returns the end of the trace, the violation and the command that
/// repeats the run.
fn replay(seed: u64) -> String {
    let mut simulation = Simulation::new(seed, true);
    let violation = simulation.run().err().unwrap_or_default();
    let trace = simulation.trace.unwrap_or_default();
    let tail = trace[trace.len().saturating_sub(MAX_TRACE_LINES)..].join("\n");
    format!(
        "{tail}\n\nSEED={seed}: {violation}\n{:?}\nrun again with: SEED={seed} SEEDS=1 cargo test --test simulation",
        simulation.faults
    )
}

#[test]
fn no_seed_breaks_an_invariant() {
    let (first, seeds) = (number("SEED", 1), number("SEEDS", SEEDS));
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let stop = AtomicBool::new(false);
    let run_share = |thread| {
        let share = (first..first.saturating_add(seeds)).skip(thread).step_by(threads);
        let result = first_violation(share.take_while(|_| !stop.load(Ordering::Relaxed)));
        stop.fetch_or(result.is_err(), Ordering::Relaxed);
        result
    };
    let run_share = &run_share;
    let results: Vec<_> = thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || run_share(thread))).collect();
        running.into_iter().map(|handle| handle.join().expect("the simulation does not panic")).collect()
    });
    if let Some((seed, _)) = results.iter().filter_map(|result| result.as_ref().err()).min() {
        panic!("{}", replay(*seed));
    }
    let transitions: u64 = results.into_iter().filter_map(Result::ok).sum();
    println!("{seeds} seeds, {transitions} transitions: every invariant held");
}

#[test]
fn the_same_seed_replays_the_same_run() {
    let run_traced = |seed| {
        let mut simulation = Simulation::new(seed, true);
        let result = simulation.run();
        (result, simulation.trace, simulation.state)
    };
    for seed in 1..20 {
        assert_eq!(run_traced(seed), run_traced(seed));
    }
}

/// The simulator must reach every log event, cause and restart decision; otherwise it proves nothing about
/// them.
#[test]
fn the_seeds_cover_every_cause_and_decision() {
    let mut covered = std::collections::BTreeSet::new();
    for seed in 1..=500 {
        let mut simulation = Simulation::new(seed, false);
        simulation.run().expect("no invariant is violated");
        covered.extend(simulation.covered);
    }
    let log_words = [
        "worker_started worker_ready worker_activated worker_stopping worker_signalled worker_given_up worker_died",
        "worker_parked worker_braked series_isolated events_released worker_probed worker_recovered worker_warning event_quarantined quarantine_failed",
        "supervisor_started supervisor_stopping supervisor_stopped",
        "panic signal exit oom hang handshake protocol config requested",
    ];
    let decisions = [
        "restart now",
        "restart in",
        "successor",
        "predecessor",
        "next standby",
        "parked for a time",
        "parked for good",
    ];
    let words =
        log_words.iter().flat_map(|line| line.split(' ')).chain(decisions).chain(["stopped", "shutdown"]);
    let missing: Vec<&str> = words.filter(|word| !covered.contains(word)).collect();
    assert!(missing.is_empty(), "the seeds never reached: {missing:?}");
}
