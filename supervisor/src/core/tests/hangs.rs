//! Hangs: which process is probed, what counts as progress, and how a hung process is ended.

use super::fixture::{ANALYTICS, API, Fixture, SIGKILL, specs};
use crate::core::{
    Action, Command, Event, ExitStatus, Millis, Probe, Progress, StopStage, WorkerSignal, next_deadline,
    policy::{ABORT_GRACE, COMMIT_GRACE, HEALTHY_AFTER},
};
use bulkhead_proto::wire::{
    cause::Cause,
    control::{FromWorker, ToWorker},
    fault::FaultKind,
    ids::{Generation, Seq},
    role::Role,
};
use std::time::Duration;

const API_GENERATION: Generation = Generation(1);
const ANALYSIS: Generation = Generation(2);
const ABORTED: ExitStatus = ExitStatus::Signal { number: 6, core: false };

/// The `hang_timeout` of the fixture's workers; probes come four times as often.
const TIMEOUT: Duration = Duration::from_secs(5);
const EVERY: Duration = Duration::from_millis(1250);

/// The probe of an analysis that has work, and had all the processor time since the last probe.
fn running(seq: u64, steps: u64, committed: u64) -> Probe {
    let progress = Progress { seq: Seq(seq), steps, committed: Seq(committed) };
    Probe { cpu_available: EVERY, pending: true, took_over: true, progress, backlog_pending: false }
}

/// Time passes until the next probe is due; it returns this result.
fn probe(fixture: &mut Fixture, generation: Generation, probe: Probe) {
    fixture.advance(EVERY);
    assert!(fixture.last.contains(&Action::Probe { generation }), "{:?}", fixture.last);
    fixture.feed(Event::Probed { generation, probe });
}

fn is_aborted(fixture: &Fixture, generation: Generation) -> bool {
    fixture.last.contains(&Action::Signal { generation, signal: WorkerSignal::Abort, group: false })
}

/// The number of probes until the process is aborted, at most `most`. `shows` makes the result of each probe
/// from its number.
fn probes_until_aborted(fixture: &mut Fixture, most: u64, shows: impl Fn(u64) -> Probe) -> Option<u64> {
    (0..most).find(|number| {
        probe(fixture, ANALYSIS, shows(*number));
        is_aborted(fixture, ANALYSIS)
    })
}

#[test]
fn an_idle_worker_is_not_probed_until_work_is_available() {
    let mut fixture = Fixture::idle();
    assert!(fixture.state.is_idle(Role::Analytics) && fixture.state.is_idle(Role::Api));
    assert_eq!(next_deadline(&fixture.state), None);
    fixture.feed(Event::WorkAvailable(Role::Analytics));
    assert_eq!(fixture.last, [], "the first probe is not due yet");
    assert!(!fixture.state.is_idle(Role::Analytics) && fixture.state.is_idle(Role::Api));
    assert_eq!(next_deadline(&fixture.state), Some(fixture.now.mono.after(EVERY)));
}

#[test]
fn a_process_without_progress_is_dumped_and_aborted() {
    let mut fixture = Fixture::running();
    let probes = probes_until_aborted(&mut fixture, 10, |_| running(7, 3, 6));
    assert_eq!(probes, Some(4), "the first probe only sets the baseline");
    let examined = fixture.last.iter().position(|action| matches!(action, Action::DumpThreads(_)));
    let signalled = fixture.last.iter().position(|action| matches!(action, Action::Signal { .. }));
    assert!(examined.unwrap() < signalled.unwrap(), "{:?}", fixture.last);
    fixture.die(ANALYSIS, ABORTED);
    assert_eq!(fixture.death().0, Cause::Hang);
    assert_eq!(fixture.death().1, "no progress for 5.0 s with work pending");
}

#[test]
fn a_process_that_survives_sigabrt_is_killed_with_its_group() {
    let mut fixture = Fixture::running();
    probes_until_aborted(&mut fixture, 10, |_| running(7, 3, 6)).unwrap();
    let stop = fixture.slot_state(ANALYTICS).process().unwrap().stop().unwrap();
    assert_eq!(stop.stage, StopStage::Abort);
    fixture.advance(ABORT_GRACE);
    assert!(fixture.last.contains(&Action::Signal {
        generation: ANALYSIS,
        signal: WorkerSignal::Kill,
        group: true
    }));
    fixture.die(ANALYSIS, SIGKILL);
    assert_eq!(fixture.death().0, Cause::Hang);
}

#[test]
fn a_process_that_advances_and_commits_does_not_hang() {
    let mut fixture = Fixture::running();
    assert_eq!(probes_until_aborted(&mut fixture, 50, |probe| running(probe / 3, 0, probe / 4)), None);
    assert_eq!(probes_until_aborted(&mut fixture, 50, |probe| running(20, probe / 3, 100 + probe / 8)), None);
}

#[test]
fn decreasing_values_are_no_progress() {
    let mut fixture = Fixture::running();
    let probes = probes_until_aborted(&mut fixture, 10, |probe| running(100 - probe, 100 - probe, 6));
    assert_eq!(probes, Some(4));
}

#[test]
fn a_process_that_advances_without_commits_hangs_after_the_commit_timeout() {
    let mut fixture = Fixture::running();
    let probes = probes_until_aborted(&mut fixture, 30, |probe| running(probe, probe, 0)).unwrap();
    let cpu_available = EVERY * u32::try_from(probes).unwrap();
    let commit_timeout = TIMEOUT * 2 + COMMIT_GRACE;
    assert!((commit_timeout..=commit_timeout + EVERY).contains(&cpu_available), "{cpu_available:?}");
    fixture.die(ANALYSIS, ABORTED);
    assert!(fixture.death().1.starts_with("no commit for"), "{}", fixture.death().1);
}

#[test]
fn a_commit_or_migration_that_advances_has_ten_times_the_commit_timeout() {
    let mut fixture = Fixture::running();
    let probes = probes_until_aborted(&mut fixture, 200, |probe| running(7, probe, 0)).unwrap();
    let cpu_available = EVERY * u32::try_from(probes).unwrap();
    let commit_timeout = (TIMEOUT * 2 + COMMIT_GRACE) * 10;
    assert!((commit_timeout..=commit_timeout + EVERY).contains(&cpu_available), "{cpu_available:?}");
}

#[test]
fn a_starved_successor_is_not_compared_with_its_predecessor() {
    let mut fixture = Fixture::running();
    probe(&mut fixture, ANALYSIS, Probe { took_over: false, ..running(90, 500, 6) });
    assert_eq!(probes_until_aborted(&mut fixture, 50, |probe| running(6, probe, 6)), None);
}

#[test]
fn a_process_that_never_takes_over_the_page_hangs_after_the_commit_timeout() {
    let mut fixture = Fixture::running();
    let not_taken_over = Probe { took_over: false, ..running(7, 3, 6) };
    let probes = probes_until_aborted(&mut fixture, 30, |_| not_taken_over).unwrap();
    assert!(EVERY * u32::try_from(probes).unwrap() >= TIMEOUT * 2);
}

#[test]
fn a_process_without_processor_time_does_not_hang() {
    let mut fixture = Fixture::running();
    let starved = Probe { cpu_available: EVERY / 100, ..running(7, 3, 6) };
    assert_eq!(probes_until_aborted(&mut fixture, 50, |_| starved), None);
}

#[test]
fn a_late_probe_counts_at_most_two_intervals() {
    let mut fixture = Fixture::running();
    let late = Probe { cpu_available: Duration::from_secs(3600), ..running(7, 3, 6) };
    probe(&mut fixture, ANALYSIS, late);
    probe(&mut fixture, ANALYSIS, late);
    assert!(!is_aborted(&fixture, ANALYSIS));
    probe(&mut fixture, ANALYSIS, late);
    assert!(is_aborted(&fixture, ANALYSIS));
}

#[test]
fn idle_time_between_two_pieces_of_work_does_not_count() {
    let mut fixture = Fixture::running();
    for _ in 0..20 {
        probe(&mut fixture, ANALYSIS, running(7, 3, 6));
        probe(&mut fixture, ANALYSIS, running(7, 3, 6));
        assert!(!is_aborted(&fixture, ANALYSIS));
        probe(&mut fixture, ANALYSIS, Probe { pending: false, ..running(7, 3, 6) });
        fixture.feed(Event::WorkAvailable(Role::Analytics));
    }
}

#[test]
fn a_lasting_fault_is_detected_without_work_and_counts_as_requested() {
    for kind in [FaultKind::Hang, FaultKind::Freeze] {
        let mut fixture = Fixture::idle();
        fixture.command(Command::Fault(ANALYTICS.to_owned(), kind));
        let probes = probes_until_aborted(&mut fixture, 10, |_| Probe { pending: false, ..running(7, 3, 7) });
        assert_eq!(probes, Some(4));
        fixture.die(ANALYSIS, ABORTED);
        let expected = format!("fault {kind}: no progress for 5.0 s with work pending");
        assert_eq!((fixture.death().0, fixture.death().1), (Cause::Requested, expected));
    }
}

#[test]
fn a_dropped_order_to_hang_is_forgotten_and_a_delivered_one_is_sent_once() {
    let idle = Probe { pending: false, ..running(7, 3, 7) };
    let order = ToWorker::Fault(FaultKind::Hang);
    let sent = Action::Send { generation: ANALYSIS, frame: order.clone() };
    let mut fixture = Fixture::idle();
    fixture.command(Command::Fault(ANALYTICS.to_owned(), FaultKind::Hang));
    assert!(fixture.last.contains(&sent), "{:?}", fixture.last);
    fixture.feed(Event::PipeFull { generation: ANALYSIS, frame: order });
    probe(&mut fixture, ANALYSIS, idle);
    assert!(fixture.state.is_idle(Role::Analytics));
    // The fault may be ordered again, and is delivered then.
    fixture.command(Command::Fault(ANALYTICS.to_owned(), FaultKind::Hang));
    assert!(fixture.last.contains(&sent), "{:?}", fixture.last);
    fixture.command(Command::Fault(ANALYTICS.to_owned(), FaultKind::Hang));
    assert!(!fixture.last.contains(&sent), "{:?}", fixture.last);
    assert!(probes_until_aborted(&mut fixture, 10, |_| idle).is_some());
}

#[test]
fn a_process_frozen_before_its_first_event_is_detected() {
    let mut fixture = Fixture::running();
    fixture.command(Command::Fault(ANALYTICS.to_owned(), FaultKind::Freeze));
    let not_taken_over = Probe { pending: false, took_over: false, ..running(7, 3, 7) };
    assert!(probes_until_aborted(&mut fixture, 30, |_| not_taken_over).is_some());
}

#[test]
fn freeze_sends_sigstop() {
    let mut fixture = Fixture::running();
    fixture.command(Command::Fault(API.to_owned(), FaultKind::Freeze));
    let signal = Action::Signal { generation: API_GENERATION, signal: WorkerSignal::Stop, group: false };
    assert!(fixture.last.contains(&signal), "{:?}", fixture.last);
}

/// Probes the API this many times; it answers or not.
fn ping(fixture: &mut Fixture, times: u64, answers: bool) {
    let cpu_available = Probe { cpu_available: EVERY, ..Probe::default() };
    for _ in 0..times {
        probe(fixture, API_GENERATION, cpu_available);
        let request = fixture.last.iter().find_map(|action| match action {
            Action::Send { generation: API_GENERATION, frame: ToWorker::Ping(number) } => Some(*number),
            _ => None,
        });
        if let (Some(number), true) = (request, answers) {
            fixture.receive(API_GENERATION, FromWorker::Pong { number, accept_polls: 0, busy: true });
        }
    }
}

#[test]
fn an_api_that_does_not_answer_pings_hangs() {
    let mut fixture = Fixture::running();
    ping(&mut fixture, 20, true);
    assert!(!is_aborted(&fixture, API_GENERATION));
    ping(&mut fixture, 4, false);
    assert!(!is_aborted(&fixture, API_GENERATION));
    ping(&mut fixture, 1, false);
    assert!(is_aborted(&fixture, API_GENERATION));
    fixture.die(API_GENERATION, ABORTED);
    assert_eq!(fixture.death().0, Cause::Hang);
}

/// The number of probes until an API is aborted that answers each ping while connections wait to be accepted.
fn probes_with_backlog(accept_polls: impl Fn(u64) -> u64) -> Option<u64> {
    let mut fixture = Fixture::running();
    (1..=50).find(|number| {
        // If the API becomes idle between two probes, the waiting connections report work at once.
        fixture.feed(Event::WorkAvailable(Role::Api));
        probe(
            &mut fixture,
            API_GENERATION,
            Probe { cpu_available: EVERY, backlog_pending: true, ..Probe::default() },
        );
        let aborted = is_aborted(&fixture, API_GENERATION);
        if !aborted {
            let (number, accept_polls) = (*number, accept_polls(*number));
            fixture.receive(API_GENERATION, FromWorker::Pong { number, accept_polls, busy: false });
        }
        aborted
    })
}

#[test]
fn an_api_that_answers_pings_but_accepts_no_connection_hangs() {
    let probes = probes_with_backlog(|_| 7).unwrap();
    let commit_timeout = TIMEOUT * 2 + COMMIT_GRACE;
    assert!(EVERY * u32::try_from(probes).unwrap() >= commit_timeout, "{probes}");
    assert_eq!(probes_with_backlog(|number| number / 3), None);
}

#[test]
fn an_api_without_connections_is_not_pinged() {
    let mut fixture = Fixture::idle();
    fixture.advance(TIMEOUT * 10);
    assert_eq!(fixture.last, []);
    fixture.receive(API_GENERATION, FromWorker::Busy);
    ping(&mut fixture, 3, true);
}

#[test]
fn a_pong_for_an_unsent_ping_violates_the_protocol_and_an_old_pong_does_not() {
    let mut fixture = Fixture::running();
    ping(&mut fixture, 3, true);
    fixture.receive(API_GENERATION, FromWorker::Pong { number: 1, accept_polls: 0, busy: true });
    assert_eq!(fixture.last, []);
    fixture.receive(API_GENERATION, FromWorker::Pong { number: 4, accept_polls: 0, busy: true });
    fixture.die(API_GENERATION, SIGKILL);
    assert_eq!(fixture.death().0, Cause::Protocol);
}

#[test]
fn the_death_of_the_api_counts_as_available_work() {
    let mut fixture = Fixture::idle();
    fixture.die(API_GENERATION, SIGKILL);
    assert!(
        !fixture.state.is_idle(Role::Analytics),
        "the API may have died before it notified the supervisor"
    );
}

#[test]
fn a_shorter_timeout_applies_at_once() {
    let mut fixture = Fixture::running();
    let specs = specs(Duration::from_millis(100));
    let policy = fixture.state.policy.clone();
    fixture.feed(Event::Configured { policy, specs });
    let Millis(now) = fixture.now.mono;
    assert_eq!(next_deadline(&fixture.state), Some(Millis(now + 25)));
}

#[test]
fn a_hang_is_charged_to_the_event_in_flight() {
    let mut fixture = Fixture::running();
    probes_until_aborted(&mut fixture, 10, |_| running(1, 3, 0)).unwrap();
    fixture.die(ANALYSIS, SIGKILL);
    let suspects = &fixture.worker(ANALYTICS).poison_tracker.suspects;
    assert_eq!(
        suspects.iter().map(|suspect| (suspect.seq, suspect.attempts, suspect.kills)).collect::<Vec<_>>(),
        [(Seq(1), 1, 0)]
    );
    assert!(fixture.last.iter().any(|action| matches!(action, Action::RecordDeath(_))));
}

#[test]
fn a_hung_process_was_not_healthy_however_long_it_ran() {
    let mut fixture = Fixture::running();
    probes_until_aborted(&mut fixture, 30, |probe| running(probe, probe, 0)).unwrap();
    assert!(fixture.now.mono.since(fixture.worker(ANALYTICS).started) > HEALTHY_AFTER);
    fixture.die(ANALYSIS, ABORTED);
    assert_eq!(fixture.worker(ANALYTICS).restart_budget.failures, 1, "the death counts");
}

#[test]
fn a_retry_that_may_be_hanging_does_not_end_parking() {
    let mut fixture = Fixture::running();
    fixture.worker_mut(ANALYTICS).restart_budget.on_probation = true;
    let probes = probes_until_aborted(&mut fixture, 30, |probe| {
        // The analysis advances, and commits nothing.
        running(probe, probe, 0)
    });
    assert!(probes.is_some() && fixture.worker(ANALYTICS).restart_budget.on_probation);

    let mut fixture = Fixture::running();
    fixture.worker_mut(ANALYTICS).restart_budget.on_probation = true;
    assert_eq!(probes_until_aborted(&mut fixture, 10, |number| running(number, 0, number)), None);
    fixture.advance(Duration::ZERO);
    assert!(!fixture.worker(ANALYTICS).restart_budget.on_probation, "the retry passed its probation");
}

#[test]
fn a_retry_without_a_commit_for_the_whole_timeout_does_not_end_parking() {
    let mut fixture = Fixture::running();
    fixture.worker_mut(ANALYTICS).restart_budget.on_probation = true;
    // The last of four probes without a commit comes 5 s after the last commit.
    for number in 0..7 {
        probe(&mut fixture, ANALYSIS, running(number, 0, number.min(2)));
    }
    fixture.advance(EVERY);
    assert!(fixture.now.mono >= fixture.worker(ANALYTICS).started.after(HEALTHY_AFTER));
    assert!(fixture.worker(ANALYTICS).restart_budget.on_probation);
}

#[test]
fn a_process_that_takes_over_advances_although_its_predecessor_was_further() {
    let mut fixture = Fixture::running();
    probe(&mut fixture, ANALYSIS, Probe { took_over: false, ..running(100, 100, 0) });
    assert_eq!(probes_until_aborted(&mut fixture, 7, |number| running(1 + number, 0, 0)), None);
}
