//! The heart of the supervisor under simulation: virtual time, simulated processes that are slow, lie, die at any
//! phase and do not leave, operators whose commands cross deaths, clocks that jump. The same seed is the same run.
//!
//! `SEED=…` begins elsewhere, `SEEDS=…` runs more: `SEED=1 SEEDS=1000000 cargo test --test simulation`.

mod demand;
mod judge;
#[cfg(feature = "mutants")]
mod mutants;
mod operator;
mod prng;
mod process;
mod record;
mod watched;
mod weather;
mod world;

use std::{
    env,
    num::NonZero,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};
use world::World;

/// In `make test`.
const SEEDS: u64 = 10_000;

/// So much of a broken run's story is shown.
const LINES: usize = 80;

fn number(variable: &str, otherwise: u64) -> u64 {
    env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// The first seed that breaks an invariant, and which; or how many turns all took.
fn first_broken(seeds: impl Iterator<Item = u64>) -> Result<u64, (u64, String)> {
    let mut turns = 0;
    for seed in seeds {
        let mut world = World::new(seed, false);
        if let Err(broken) = world.run() {
            return Err((seed, broken));
        }
        turns += u64::from(world.turns);
    }
    Ok(turns)
}

/// Runs it again, and tells what happened.
fn story(seed: u64) -> String {
    let mut world = World::new(seed, true);
    let broken = world.run().err().unwrap_or_default();
    let story = world.story.unwrap_or_default();
    let tail = story[story.len().saturating_sub(LINES)..].join("\n");
    format!(
        "{tail}\n\nSEED={seed}: {broken}\n{:?}\nagain: SEED={seed} SEEDS=1 cargo test --test simulation",
        world.weather
    )
}

#[test]
fn no_seed_breaks_an_invariant() {
    let (first, seeds) = (number("SEED", 1), number("SEEDS", SEEDS));
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let found = AtomicBool::new(false);
    let run_lane = |lane| {
        let mine = (first..first.saturating_add(seeds)).skip(lane).step_by(threads);
        let result = first_broken(mine.take_while(|_| !found.load(Ordering::Relaxed)));
        found.fetch_or(result.is_err(), Ordering::Relaxed);
        result
    };
    let run_lane = &run_lane;
    let results: Vec<_> = thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|lane| scope.spawn(move || run_lane(lane))).collect();
        running.into_iter().map(|thread| thread.join().expect("a run does not panic")).collect()
    });
    if let Some((seed, _)) = results.iter().filter_map(|result| result.as_ref().err()).min() {
        panic!("{}", story(*seed));
    }
    let turns: u64 = results.into_iter().filter_map(Result::ok).sum();
    println!("{seeds} seeds, {turns} turns: every invariant held");
}

#[test]
fn the_same_seed_is_the_same_run() {
    let tell = |seed| {
        let mut world = World::new(seed, true);
        let result = world.run();
        (result, world.story, world.state)
    };
    for seed in 1..20 {
        assert_eq!(tell(seed), tell(seed));
    }
}

/// A simulator that never comes to the dark corners proves nothing about them.
#[test]
fn nothing_is_left_untried() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 1..=500 {
        let mut world = World::new(seed, false);
        world.run().expect("no invariant is broken");
        seen.extend(world.seen);
    }
    let lines = [
        "worker_started worker_ready worker_activated worker_stopping worker_signalled worker_given_up worker_died",
        "worker_parked worker_probed worker_recovered worker_warning event_quarantined quarantine_failed",
        "supervisor_started supervisor_stopping supervisor_stopped",
        "panic signal exit oom hang handshake protocol config requested",
    ];
    let decisions =
        ["restart now", "restart in", "successor", "predecessor", "parked for a time", "parked for good"];
    let words = lines.iter().flat_map(|line| line.split(' ')).chain(decisions).chain(["stopped", "shutdown"]);
    let missing: Vec<&str> = words.filter(|word| !seen.contains(word)).collect();
    assert!(missing.is_empty(), "never seen: {missing:?}");
}
