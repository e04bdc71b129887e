//! Deaths: why, and what comes next.

use super::bench::{ANALYTICS, API, Bench, PLAIN, SIGABRT, SIGKILL, SIGSEGV};
use crate::step::{
    Action, Event, Exit, Is, LogRecord, Next, Panic, Policy, PostMortem,
    policy::{HEALTHY_AFTER, IDLE_HEALTHY_AFTER, PROBE_EVERY, START_SPACING},
};
use bulkhead_proto::{
    shm::cursor::SignalInfo,
    wire::{
        cause::Cause,
        control::FromWorker,
        ids::{CrashId, Generation, Seq},
    },
};
use std::time::Duration;

/// Lets the analysis die of its first event until it is parked; its last generation.
fn park(bench: &mut Bench) -> Generation {
    let mut generation = Generation(2);
    loop {
        bench.dies(generation, SIGSEGV);
        if matches!(bench.is(ANALYTICS), Is::Parked { .. }) {
            return generation;
        }
        bring_up_next(bench);
        generation = bench.worker(ANALYTICS).generation;
    }
}

/// Waits until the analysis is spawned again, and lets it come up.
fn bring_up_next(bench: &mut Bench) {
    while matches!(bench.is(ANALYTICS), Is::Backoff { .. }) {
        bench.wait(START_SPACING);
    }
    bench.comes_up(bench.worker(ANALYTICS).generation);
}

#[test]
fn the_first_restart_is_at_once() {
    let mut bench = Bench::running();
    bench.wait(START_SPACING);
    bench.dies(Generation(2), SIGSEGV);
    assert_eq!(bench.death(), (Cause::Signal, "SIGSEGV".to_owned(), Next::RestartNow));
    assert_eq!(bench.spawns(), [Generation(4)]);
    assert!(bench.last.contains(&Action::KickBells));
}

#[test]
fn a_worker_that_dies_of_its_start_is_not_started_faster_than_the_spacing() {
    let mut bench = Bench::running();
    bench.dies(Generation(2), SIGSEGV);
    assert_eq!(bench.death().2, Next::RestartIn(START_SPACING));
}

#[test]
fn the_delay_grows_with_deaths_without_progress() {
    let mut bench = Bench::running();
    let mut delays = Vec::new();
    for _ in 0..6 {
        bench.wait(START_SPACING);
        bench.dies(bench.worker(ANALYTICS).generation, SIGSEGV);
        match bench.death().2 {
            Next::RestartNow => delays.push(Duration::ZERO),
            Next::RestartIn(delay) => delays.push(delay),
            other => panic!("{other}"),
        }
        bring_up_next(&mut bench);
    }
    assert!(delays.is_sorted(), "{delays:?}");
    assert!(delays[5] >= Duration::from_millis(200), "{delays:?}");
}

#[test]
fn ten_deaths_without_progress_park_it_and_it_is_probed() {
    let mut bench = Bench::running();
    let last = park(&mut bench);
    assert_eq!(last, Generation(12));
    let parked = bench
        .last
        .iter()
        .any(|action| matches!(action, Action::Log(LogRecord::WorkerParked { deaths: 10, .. })));
    assert!(parked, "{:?}", bench.last);
    bench.wait(PROBE_EVERY);
    assert_eq!(bench.spawns(), [Generation(13)]);
    bench.comes_up(Generation(13));
    bench.dies(Generation(13), SIGSEGV);
    assert!(matches!(bench.is(ANALYTICS), Is::Parked { .. }));
}

#[test]
fn a_probe_that_makes_progress_ends_the_parking() {
    let mut bench = Bench::running();
    park(&mut bench);
    bench.wait(PROBE_EVERY);
    bench.comes_up(Generation(13));
    bench.dies_at(Generation(13), SIGSEGV, Seq(5));
    assert!(matches!(bench.death().2, Next::RestartNow | Next::RestartIn(START_SPACING)));
    assert!(bench.last.iter().any(|action| matches!(action, Action::Log(LogRecord::WorkerRecovered(_)))));
}

#[test]
fn a_probe_that_stays_healthy_ends_the_parking() {
    let mut bench = Bench::running();
    park(&mut bench);
    bench.wait(PROBE_EVERY);
    bench.comes_up(Generation(13));
    bench.wait(HEALTHY_AFTER);
    assert!(bench.last.iter().any(|action| matches!(action, Action::Log(LogRecord::WorkerRecovered(_)))));
    assert!(!bench.worker(ANALYTICS).tally.probing);
}

#[test]
fn a_service_that_moves_on_never_parks() {
    let mut bench = Bench::running();
    for committed in 1..200 {
        bench.wait(START_SPACING);
        bench.dies_at(bench.worker(ANALYTICS).generation, SIGSEGV, Seq(committed));
        assert_eq!(bench.death().2, Next::RestartNow);
        bench.comes_up(bench.worker(ANALYTICS).generation);
    }
}

#[test]
fn an_api_that_accepts_events_between_its_deaths_never_parks() {
    let mut bench = Bench::running();
    for head in 1..200 {
        bench.wait(START_SPACING);
        let post_mortem = PostMortem { head: Seq(head), ..PostMortem::default() };
        bench.feed(Event::Died { generation: bench.worker(API).generation, exit: SIGSEGV, post_mortem });
        assert_eq!(bench.death().2, Next::RestartNow);
        bench.comes_up(bench.worker(API).generation);
    }
}

#[test]
fn an_idle_analysis_may_be_killed_for_ever_but_may_not_die_of_its_activation() {
    let mut bench = Bench::running();
    let idle = PostMortem { committed: Seq(9), head: Seq(9), ..PostMortem::default() };
    let mut dies = |exit, after| {
        bench.wait(after);
        let generation = bench.worker(ANALYTICS).generation;
        bench.feed(Event::Died { generation, exit, post_mortem: idle.clone() });
        let next = bench.death().2;
        bring_up_next(&mut bench);
        next
    };
    for _ in 0..30 {
        assert_eq!(dies(SIGKILL, START_SPACING), Next::RestartNow);
        assert_eq!(dies(SIGSEGV, IDLE_HEALTHY_AFTER), Next::RestartNow);
    }
    assert_eq!(dies(SIGSEGV, START_SPACING), Next::RestartNow);
    assert!(matches!(dies(SIGSEGV, START_SPACING), Next::RestartIn(_)));
}

#[test]
fn a_panic_is_told_with_its_place_whether_by_frame_or_by_last_words() {
    let panic = Panic { message: "boom".into(), location: "src/a.rs:1:2".into(), thread: "main".into() };
    let told = "\"boom\" at src/a.rs:1:2, thread main";

    let mut bench = Bench::running();
    let Panic { message, location, thread } = panic.clone();
    bench.says(Generation(2), FromWorker::Panicked { message, location, thread });
    bench.dies(Generation(2), Exit::Code(101));
    assert_eq!(bench.death().0, Cause::Panic);
    assert_eq!(bench.death().1, told);

    let mut bench = Bench::running();
    let post_mortem =
        PostMortem { in_hand: Some(Seq(7)), head: Seq(7), panic: Some(panic), ..PostMortem::default() };
    bench.feed(Event::Died { generation: Generation(2), exit: Exit::Code(101), post_mortem });
    assert_eq!(bench.death().1, told);
    let crash = bench.worker(ANALYTICS).last_crash.clone().unwrap();
    assert_eq!((crash.id, crash.cause, crash.seq), (CrashId(1), Cause::Panic, Some(Seq(7))));
}

#[test]
fn a_worker_that_cries_panic_and_is_killed_later_died_of_the_kill() {
    let mut bench = Bench::running();
    let frame = FromWorker::Panicked {
        message: "wolf".into(),
        location: "src/a.rs:1:2".into(),
        thread: "main".into(),
    };
    bench.says(Generation(2), frame);
    bench.dies(Generation(2), SIGKILL);
    assert_eq!(bench.death().0, Cause::Signal);
}

#[test]
fn an_abort_behind_a_fault_is_a_stack_overflow_and_behind_a_signal_that_was_sent_it_is_none() {
    // SEGV_MAPERR and SI_USER of sigaction(2).
    for (code, detail) in [(1, "SIGABRT behind a fault: a stack overflow"), (0, "SIGABRT")] {
        let mut bench = Bench::running();
        let signalled = Some(SignalInfo { number: 11, code, address: 8 });
        let post_mortem = PostMortem { signalled, ..PostMortem::default() };
        bench.feed(Event::Died { generation: Generation(2), exit: SIGABRT, post_mortem });
        assert_eq!(bench.death().1, detail);
    }
}

#[test]
fn exit_code_78_is_a_configuration_error_and_parks_at_once_for_good() {
    let mut bench = Bench::running();
    bench.dies(Generation(3), Exit::Code(78));
    assert_eq!(bench.death().0, Cause::Config);
    assert_eq!(*bench.is(PLAIN), Is::Parked { probe: None });
    bench.wait(10 * PROBE_EVERY);
    assert_eq!(bench.spawns(), []);
}

#[test]
fn a_death_of_a_generation_that_is_gone_means_nothing() {
    let mut bench = Bench::running();
    bench.wait(START_SPACING);
    bench.dies(Generation(2), SIGSEGV);
    let before = bench.state.clone();
    bench.dies(Generation(2), SIGSEGV);
    assert_eq!(bench.last, []);
    assert_eq!(bench.state, before);
}

#[test]
fn the_text_of_a_long_panic_is_cut_and_where_it_was_is_told_whole() {
    let max = crate::step::policy::MAX_DETAIL;
    for message in ["short", &"long ".repeat(200), &"\u{1b}[31m'ü".repeat(100), "\"\"", &"\"x".repeat(200)] {
        let panic = Panic { message: message.into(), location: "src/a.rs:1:2".into(), thread: "main".into() };
        let text = panic.text();
        assert!(text.len() <= max, "{text}");
        let quoted = text.strip_suffix(" at src/a.rs:1:2, thread main").unwrap();
        let shown =
            quoted.strip_suffix("…\"").map(|shown| shown.to_owned() + "\"").unwrap_or(quoted.to_owned());
        let whole = format!("{message:?}");
        assert!(whole.starts_with(shown.strip_suffix('"').unwrap()), "{shown}");
        assert_eq!(quoted == whole, whole.len() < 200, "{text}");
    }
}

#[test]
fn the_state_of_a_full_house_fits_the_ledger() {
    let specs = (0..64)
        .map(|number| crate::step::Spec {
            name: format!("{number:0>64}"),
            role: bulkhead_proto::wire::role::Role::Plain,
            stop_timeout: Duration::MAX,
            hang_timeout: Duration::MAX,
        })
        .collect();
    let identity = crate::step::Identity {
        pid: u32::MAX,
        next_generation: Generation(u64::MAX / 2),
        next_crash: CrashId(u64::MAX / 2),
        seed: 1,
    };
    let bench = Bench::new();
    let policy = Policy { limit: 64, ..Policy::default() };
    let mut state = crate::step::State::new(policy, specs, identity, bench.now);
    let text = "x".repeat(10_000);
    let process = {
        let mut process = Bench::running().is(API).process().unwrap().clone();
        process.panic = Some(
            Panic { message: text.clone(), location: text.clone(), thread: text.clone() }
                .cut(crate::step::policy::MAX_PANIC),
        );
        process.vigil = crate::step::Vigil::begin(crate::step::Millis(u64::MAX), Duration::MAX);
        process
    };
    for worker in &mut state.workers {
        let detail = text[..crate::step::policy::MAX_DETAIL].to_owned();
        let why = crate::step::Why::Condemned { cause: Cause::Protocol, detail: detail.clone(), retry: true };
        let full = Is::Stopping {
            process: process.clone(),
            why,
            stage: crate::step::Stage::Kill,
            deadline: Some(crate::step::Millis(u64::MAX)),
            since: crate::step::Millis(u64::MAX),
        };
        worker.main = full.clone();
        worker.successor = Some(full);
        worker.tally.recent = vec![crate::step::Millis(u64::MAX); 64];
        worker.last_crash = Some(bulkhead_proto::wire::status::CrashRow {
            id: CrashId(u64::MAX),
            cause: Cause::Protocol,
            detail,
            seq: Some(Seq(u64::MAX)),
            at_ms: u64::MAX,
        });
        worker.waiting = vec![
            crate::step::Waiter {
                client: crate::step::ClientId(u64::MAX),
                goal: crate::step::Goal::Running { after: Generation(u64::MAX) },
            };
            crate::step::policy::MAX_WAITING
        ];
    }
    let bytes = bincode::encode_to_vec(&state, bincode::config::standard()).unwrap();
    assert!(bytes.len() < crate::step::State::MAX_BYTES, "{}", bytes.len());
    let (back, _): (crate::step::State, usize) =
        bincode::decode_from_slice(&bytes, bincode::config::standard()).unwrap();
    assert_eq!(back, state);
}
