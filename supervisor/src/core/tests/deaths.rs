//! Deaths: their causes, and what happens next.

use super::fixture::{ANALYTICS, API, Fixture, PLAIN, SIGABRT, SIGKILL, SIGSEGV, died};
use crate::core::{
    Action, Command, ExitStatus, GenerationState, LogRecord, Policy, PostMortem, RestartDecision,
    policy::{HEALTHY_AFTER, IDLE_HEALTHY_AFTER, PARKED_RETRY_INTERVAL, START_SPACING, TERM_GRACE},
};
use bulkhead_proto::{
    shm::cursor::SignalInfo,
    wire::{
        cause::Cause,
        codec,
        control::FromWorker,
        crash::Panic,
        exit_code::EXIT_PANIC,
        fault::FaultKind,
        ids::{CrashId, Generation, Seq},
    },
};
use std::time::Duration;

/// Lets the analysis die of its first event until it is parked. Returns its last generation.
fn park(fixture: &mut Fixture) -> Generation {
    let mut generation = Generation(2);
    for _ in 0..100 {
        fixture.die(generation, SIGSEGV);
        if matches!(fixture.slot_state(ANALYTICS), GenerationState::Parked { .. }) {
            return generation;
        }
        start_next(fixture);
        generation = fixture.worker(ANALYTICS).generation;
    }
    unreachable!("the analysis is never parked");
}

/// Waits until the analysis is spawned again, and makes it ready.
fn start_next(fixture: &mut Fixture) {
    fixture.end_backoff();
    fixture.become_ready(fixture.worker(ANALYTICS).generation);
}

#[test]
fn the_first_restart_is_at_once() {
    let mut fixture = Fixture::running();
    fixture.advance(START_SPACING);
    fixture.die(Generation(2), SIGSEGV);
    assert_eq!(fixture.death(), (Cause::Signal, "SIGSEGV".to_owned(), RestartDecision::RestartNow));
    assert_eq!(fixture.spawns(), [Generation(4)]);
    assert!(fixture.last.contains(&Action::WakeAnalytics));
}

#[test]
fn a_worker_that_dies_at_start_is_not_started_faster_than_the_spacing() {
    let mut fixture = Fixture::running();
    fixture.die(Generation(2), SIGSEGV);
    assert_eq!(fixture.death().2, RestartDecision::RestartIn(START_SPACING));
}

#[test]
fn the_delay_grows_with_deaths_without_progress() {
    let mut fixture = Fixture::running();
    let mut delays = Vec::new();
    for _ in 0..6 {
        fixture.advance(START_SPACING);
        fixture.die(fixture.worker(ANALYTICS).generation, SIGSEGV);
        match fixture.death().2 {
            RestartDecision::RestartNow => delays.push(Duration::ZERO),
            RestartDecision::RestartIn(delay) => delays.push(delay),
            other => panic!("{other}"),
        }
        start_next(&mut fixture);
    }
    assert!(delays.is_sorted(), "{delays:?}");
    assert!(delays[5] >= Duration::from_millis(200), "{delays:?}");
}

#[test]
fn ten_deaths_without_progress_park_the_worker_and_it_is_retried() {
    let mut fixture = Fixture::running();
    let last = park(&mut fixture);
    assert_eq!(last, Generation(12));
    let parked = fixture
        .last
        .iter()
        .any(|action| matches!(action, Action::Log(LogRecord::WorkerParked { deaths: 10, .. })));
    assert!(parked, "{:?}", fixture.last);
    fixture.advance(PARKED_RETRY_INTERVAL);
    assert_eq!(fixture.spawns(), [Generation(13)]);
    fixture.become_ready(Generation(13));
    fixture.die(Generation(13), SIGSEGV);
    assert!(matches!(fixture.slot_state(ANALYTICS), GenerationState::Parked { .. }));
}

#[test]
fn a_retry_that_makes_progress_ends_parking() {
    let mut fixture = Fixture::running();
    park(&mut fixture);
    fixture.advance(PARKED_RETRY_INTERVAL);
    fixture.become_ready(Generation(13));
    fixture.die_at(Generation(13), SIGSEGV, Seq(5));
    assert!(matches!(
        fixture.death().2,
        RestartDecision::RestartNow | RestartDecision::RestartIn(START_SPACING)
    ));
    assert!(fixture.last.iter().any(|action| matches!(action, Action::Log(LogRecord::WorkerRecovered(_)))));
}

#[test]
fn a_retry_that_stays_healthy_ends_parking() {
    let mut fixture = Fixture::running();
    park(&mut fixture);
    fixture.advance(PARKED_RETRY_INTERVAL);
    fixture.become_ready(Generation(13));
    fixture.advance(HEALTHY_AFTER);
    assert!(fixture.last.iter().any(|action| matches!(action, Action::Log(LogRecord::WorkerRecovered(_)))));
    assert!(!fixture.worker(ANALYTICS).restart_budget.on_probation);
}

#[test]
fn an_analysis_that_makes_progress_is_never_parked() {
    let mut fixture = Fixture::running();
    for committed in 1..200 {
        fixture.advance(START_SPACING);
        fixture.die_at(fixture.worker(ANALYTICS).generation, SIGSEGV, Seq(committed));
        assert_eq!(fixture.death().2, RestartDecision::RestartNow);
        fixture.become_ready(fixture.worker(ANALYTICS).generation);
    }
}

#[test]
fn an_api_that_accepts_events_between_its_deaths_is_never_parked() {
    let mut fixture = Fixture::running();
    for head in 1..200 {
        fixture.advance(START_SPACING);
        let post_mortem = PostMortem { head: Seq(head), ..PostMortem::default() };
        fixture.feed(died(fixture.worker(API).generation, SIGSEGV, post_mortem));
        assert_eq!(fixture.death().2, RestartDecision::RestartNow);
        fixture.become_ready(fixture.worker(API).generation);
    }
}

#[test]
fn sigkills_of_an_idle_analysis_do_not_count_but_deaths_at_activation_do() {
    let mut fixture = Fixture::running();
    let idle = PostMortem { committed: Seq(9), head: Seq(9), ..PostMortem::default() };
    let mut die = |exit, after| {
        fixture.advance(after);
        let generation = fixture.worker(ANALYTICS).generation;
        fixture.feed(died(generation, exit, idle.clone()));
        let next = fixture.death().2;
        start_next(&mut fixture);
        next
    };
    for _ in 0..30 {
        assert_eq!(die(SIGKILL, START_SPACING), RestartDecision::RestartNow);
        assert_eq!(die(SIGSEGV, IDLE_HEALTHY_AFTER), RestartDecision::RestartNow);
    }
    assert_eq!(die(SIGSEGV, START_SPACING), RestartDecision::RestartNow);
    assert!(matches!(die(SIGSEGV, START_SPACING), RestartDecision::RestartIn(_)));
}

#[test]
fn a_panic_is_reported_with_its_location_by_frame_or_by_panic_record() {
    let panic = Panic { message: "boom".into(), location: "src/a.rs:1:2".into(), thread: "main".into() };
    let detail = "\"boom\" at src/a.rs:1:2, thread main";

    let mut fixture = Fixture::running();
    let Panic { message, location, thread } = panic.clone();
    fixture.receive(Generation(2), FromWorker::Panicked { message, location, thread });
    fixture.die(Generation(2), ExitStatus::Code(101));
    assert_eq!(fixture.death().0, Cause::Panic);
    assert_eq!(fixture.death().1, detail);

    let mut fixture = Fixture::running();
    let post_mortem =
        PostMortem { in_flight: Some(Seq(7)), head: Seq(7), panic: Some(panic), ..PostMortem::default() };
    fixture.feed(died(Generation(2), ExitStatus::Code(101), post_mortem));
    assert_eq!(fixture.death().1, detail);
    let crash = fixture.worker(ANALYTICS).last_crash.clone().unwrap();
    assert_eq!((crash.id, crash.cause, crash.seq), (CrashId(1), Cause::Panic, Some(Seq(7))));
}

#[test]
fn a_worker_that_reported_a_panic_and_was_killed_later_died_of_the_kill() {
    let mut fixture = Fixture::running();
    let frame = FromWorker::Panicked {
        message: "wolf".into(),
        location: "src/a.rs:1:2".into(),
        thread: "main".into(),
    };
    fixture.receive(Generation(2), frame);
    fixture.die(Generation(2), SIGKILL);
    assert_eq!(fixture.death().0, Cause::Signal);
}

#[test]
fn an_abort_after_a_fault_is_a_stack_overflow_and_after_a_sent_signal_it_is_not() {
    // SEGV_MAPERR and SI_USER of sigaction(2).
    for (code, detail) in [(1, "SIGABRT after SIGSEGV: stack overflow"), (0, "SIGABRT")] {
        let mut fixture = Fixture::running();
        let signalled = Some(SignalInfo { number: 11, code, address: 8 });
        let post_mortem = PostMortem { signalled, ..PostMortem::default() };
        fixture.feed(died(Generation(2), SIGABRT, post_mortem));
        assert_eq!(fixture.death().1, detail);
    }
}

#[test]
fn a_configuration_error_is_not_taken_for_the_fault_exit() {
    for (code, cause) in [(1, Cause::Requested), (78, Cause::Config)] {
        let mut fixture = Fixture::running();
        fixture.command(Command::Fault(API.to_owned(), FaultKind::Exit));
        fixture.die(Generation(1), ExitStatus::Code(code));
        assert_eq!(fixture.death().0, cause);
    }
}

#[test]
fn exit_code_78_is_a_configuration_error_and_parks_at_once_for_good() {
    let mut fixture = Fixture::running();
    fixture.die(Generation(3), ExitStatus::Code(78));
    assert_eq!(fixture.death().0, Cause::Config);
    assert_eq!(*fixture.slot_state(PLAIN), GenerationState::Parked { retry_at: None });
    fixture.advance(10 * PARKED_RETRY_INTERVAL);
    assert_eq!(fixture.spawns(), []);
}

#[test]
fn the_death_of_an_unknown_generation_is_ignored() {
    let mut fixture = Fixture::running();
    fixture.advance(START_SPACING);
    fixture.die(Generation(2), SIGSEGV);
    let before = fixture.state.clone();
    fixture.die(Generation(2), SIGSEGV);
    assert_eq!(fixture.last, []);
    assert_eq!(fixture.state, before);
}

#[test]
fn a_long_panic_message_is_cut_and_its_location_is_not() {
    let max = crate::core::policy::MAX_DETAIL;
    let suffix = " at src/a.rs:1:2, thread main";
    // Quoted, this one fills the text.
    let longest = "x".repeat(max - suffix.len() - 2);
    let escaped = ["\u{1b}[31m'ü".repeat(100), "\"x".repeat(200)];
    for message in ["short", &longest, &(longest.clone() + "x"), "\"\"", &escaped[0], &escaped[1]] {
        let panic = Panic { message: message.into(), location: "src/a.rs:1:2".into(), thread: "main".into() };
        let text = crate::core::describe_panic(&panic);
        assert!(text.len() <= max, "{text}");
        let quoted = text.strip_suffix(suffix).unwrap();
        let shown =
            quoted.strip_suffix("…\"").map(|shown| shown.to_owned() + "\"").unwrap_or(quoted.to_owned());
        let full = format!("{message:?}");
        assert!(full.starts_with(shown.strip_suffix('"').unwrap()), "{shown}");
        assert_eq!(quoted == full, full.len() + suffix.len() <= max, "{text}");
        // A character is cut as a whole; the longest one here is `\u{1b}`.
        assert!(quoted == full || text.len() > max - 6, "{text}");
        assert!(message != longest.clone() + "x" || text.len() == max, "{text}");
    }
}

#[test]
fn the_largest_state_fits_the_ledger() {
    let specs = (0..64)
        .map(|number| crate::core::WorkerSpec {
            name: format!("{number:0>64}"),
            role: bulkhead_proto::wire::role::Role::Plain,
            stop_timeout: Duration::MAX,
            hang_timeout: Duration::MAX,
        })
        .collect();
    let identity = crate::core::Identity {
        pid: u32::MAX,
        next_generation: Generation(u64::MAX / 2),
        next_crash: CrashId(u64::MAX / 2),
        seed: 1,
    };
    let fixture = Fixture::new();
    let policy = Policy { limit: 64, ..Policy::default() };
    let mut state = crate::core::State::new(policy, specs, identity, fixture.now);
    let text = "x".repeat(10_000);
    let process = {
        let mut process = Fixture::running().slot_state(API).process().unwrap().clone();
        process.panic = Some(crate::core::cut_panic(
            &Panic { message: text.clone(), location: text.clone(), thread: text.clone() },
            crate::core::policy::MAX_PANIC,
        ));
        process.hang_detector =
            crate::core::HangDetector::begin(crate::core::Millis(u64::MAX), Duration::MAX);
        process
    };
    for worker in &mut state.workers {
        let detail = text[..crate::core::policy::MAX_DETAIL].to_owned();
        let why =
            crate::core::StopReason::Killed { cause: Cause::Protocol, detail: detail.clone(), retry: true };
        let full = GenerationState::Live(Box::new(crate::core::Process {
            phase: crate::core::ProcessPhase::Stopping(crate::core::Stop {
                why,
                stage: crate::core::StopStage::Kill,
                deadline: Some(crate::core::Millis(u64::MAX)),
                since: crate::core::Millis(u64::MAX),
            }),
            ..process.clone()
        }));
        worker.main = full.clone();
        worker.successor = full;
        worker.restart_budget.recent = vec![crate::core::Millis(u64::MAX); 64];
        worker.last_crash = Some(bulkhead_proto::wire::status::CrashRow {
            id: CrashId(u64::MAX),
            cause: Cause::Protocol,
            detail,
            seq: Some(Seq(u64::MAX)),
            at_ms: u64::MAX,
        });
        worker.waiters = vec![
            crate::core::Waiter {
                client: crate::core::ClientId(u64::MAX),
                goal: crate::core::Goal::Running { after: Generation(u64::MAX) },
            };
            crate::core::policy::MAX_WAITERS
        ];
    }
    // Only one worker, the analysis, has a standby.
    state.workers[0].standby = state.workers[0].main.clone();
    let mut page = vec![0; crate::core::State::MAX_BYTES];
    let length = codec::encode(&state, &mut page).unwrap();
    let back: crate::core::State = codec::decode(&page[..length]).unwrap();
    assert_eq!(back, state);
}

#[test]
fn the_exit_code_of_a_panic_means_a_panic_even_without_a_message() {
    let mut fixture = Fixture::running();
    fixture.die(Generation(2), ExitStatus::Code(i32::from(EXIT_PANIC)));
    assert_eq!((fixture.death().0, fixture.death().1.as_str()), (Cause::Panic, "no message: exit code 101"));
}

#[test]
fn a_process_that_panics_in_one_thread_and_exits_in_order_did_not_die_of_the_panic() {
    let mut fixture = Fixture::running();
    let text = |text: &str| text.to_owned();
    let panic =
        FromWorker::Panicked { message: text("no"), location: text("a.rs:1"), thread: text("worker") };
    fixture.receive(Generation(2), panic);
    fixture.die(Generation(2), ExitStatus::Code(0));
    assert_eq!(fixture.death().0, Cause::Exit);
}

#[test]
fn a_stop_that_reached_sigterm_explains_a_death_by_sigterm_only() {
    let cause_of = |number| {
        let mut fixture = Fixture::running();
        fixture.command(Command::Stop(ANALYTICS.to_owned()));
        fixture.advance(Duration::from_secs(5));
        fixture.die(Generation(2), ExitStatus::Signal { number, core: false });
        fixture.death().0
    };
    assert_eq!([15, 11, 9].map(cause_of), [Cause::Requested, Cause::Signal, Cause::Signal]);
}

#[test]
fn an_ordered_panic_may_end_in_an_abort_or_in_the_exit_code_of_a_panic() {
    for exit in [SIGABRT, ExitStatus::Code(i32::from(EXIT_PANIC))] {
        let mut fixture = Fixture::running();
        fixture.command(Command::Fault(ANALYTICS.to_owned(), FaultKind::Panic));
        fixture.die(Generation(2), exit);
        assert_eq!(fixture.death().0, Cause::Requested, "{exit:?}");
    }
}

#[test]
fn an_ordered_exit_does_not_explain_a_panic() {
    let mut fixture = Fixture::running();
    fixture.command(Command::Fault(ANALYTICS.to_owned(), FaultKind::Exit));
    fixture.die(Generation(2), ExitStatus::Code(1));
    assert_eq!(fixture.death().0, Cause::Requested);

    let mut fixture = Fixture::running();
    fixture.command(Command::Fault(ANALYTICS.to_owned(), FaultKind::Exit));
    let text = |text: &str| text.to_owned();
    let panic =
        FromWorker::Panicked { message: text("no"), location: text("a.rs:1"), thread: text("worker") };
    fixture.receive(Generation(2), panic);
    fixture.die(Generation(2), ExitStatus::Code(i32::from(EXIT_PANIC)));
    assert_eq!(fixture.death().0, Cause::Panic);
}

#[test]
fn a_stop_that_reached_sigkill_explains_a_death_by_sigterm_or_sigkill_only() {
    let cause_of = |number| {
        let mut fixture = Fixture::running();
        fixture.command(Command::Stop(ANALYTICS.to_owned()));
        fixture.advance(Duration::from_secs(5));
        fixture.advance(TERM_GRACE);
        fixture.die(Generation(2), ExitStatus::Signal { number, core: false });
        fixture.death().0
    };
    assert_eq!([15, 9, 11].map(cause_of), [Cause::Requested, Cause::Requested, Cause::Signal]);
}

#[test]
fn only_a_worker_that_was_parked_and_made_progress_recovers() {
    let recovers = |fixture: &Fixture| {
        fixture.last.iter().any(|action| matches!(action, Action::Log(LogRecord::WorkerRecovered(_))))
    };
    let mut fixture = Fixture::running();
    fixture.die_at(Generation(2), SIGSEGV, Seq(5));
    assert!(!recovers(&fixture), "it was not parked");

    let mut fixture = Fixture::running();
    park(&mut fixture);
    fixture.advance(PARKED_RETRY_INTERVAL);
    fixture.become_ready(Generation(13));
    fixture.die(Generation(13), SIGSEGV);
    assert!(!recovers(&fixture), "it made no progress");
}

#[test]
fn an_oom_kill_of_an_idle_analysis_counts_and_a_kill_from_outside_does_not() {
    let third_death = |out_of_memory| {
        let mut fixture = Fixture::running();
        let idle = PostMortem { committed: Seq(9), head: Seq(9), out_of_memory, ..PostMortem::default() };
        let deaths = [(); 3].map(|()| {
            fixture.advance(START_SPACING);
            fixture.feed(died(fixture.worker(ANALYTICS).generation, SIGKILL, idle.clone()));
            let next = fixture.death().2;
            start_next(&mut fixture);
            next
        });
        deaths[2]
    };
    assert_eq!(third_death(false), RestartDecision::RestartNow);
    assert!(matches!(third_death(true), RestartDecision::RestartIn(_)));
}

#[test]
fn a_death_one_period_ago_no_longer_counts() {
    let policy = Policy { limit: 2, period: Duration::from_secs(5), ..Policy::default() };
    for (span, parked) in [(policy.period - START_SPACING, true), (policy.period, false)] {
        let mut fixture = Fixture::with(policy.clone()).up();
        fixture.die(Generation(2), SIGSEGV);
        let first = fixture.now.mono;
        start_next(&mut fixture);
        fixture.advance(span - fixture.now.mono.since(first));
        fixture.die(Generation(4), SIGSEGV);
        assert_eq!(matches!(fixture.death().2, RestartDecision::Parked(_)), parked, "{span:?}");
    }
}
