//! Hangs: who is looked at, what counts as progress, and how one that hangs is ended.

use super::fixture::{ANALYTICS, API, Fixture, SIGKILL, specs};
use crate::core::{
    Action, Command, Event, ExitStatus, GenerationState, LogRecord, Millis, Probe, Progress, StopStage,
    WorkerSignal, next_deadline,
    policy::{ABORT_GRACE, COMMIT_GRACE, HEALTHY_AFTER},
};
use bulkhead_proto::{
    control::{FromWorker, ToWorker},
    ids::{Generation, Seq},
    words::{Cause, FaultKind, Role},
};
use std::time::Duration;

const API_GENERATION: Generation = Generation(1);
const ANALYSIS: Generation = Generation(2);
const ABORTED: ExitStatus = ExitStatus::Signal { number: 6, core: false };

/// As the bench's workers have it; probes come every quarter of it.
const TIMEOUT: Duration = Duration::from_secs(5);
const EVERY: Duration = Duration::from_millis(1250);

/// What a look shows of an analysis that has work, and had all the time since the last look.
fn running(seq: u64, steps: u64, committed: u64) -> Probe {
    let progress = Progress { seq: Seq(seq), steps, committed: Seq(committed) };
    Probe { cpu_available: EVERY, pending: true, took_over: true, progress, backlog_pending: false }
}

/// Time passes until the next look is due; then this is seen.
fn probe(fixture: &mut Fixture, generation: Generation, probe: Probe) {
    fixture.advance(EVERY);
    assert!(fixture.last.contains(&Action::Probe { generation }), "{:?}", fixture.last);
    fixture.feed(Event::Probed { generation, probe });
}

fn is_aborted(fixture: &Fixture, generation: Generation) -> bool {
    fixture.last.contains(&Action::Signal { generation, signal: WorkerSignal::Abort, group: false })
}

/// How many probes it takes, at most, until it is ended; what they show is told by their number.
fn probes_until_aborted(fixture: &mut Fixture, most: u64, shows: impl Fn(u64) -> Probe) -> Option<u64> {
    (0..most).find(|number| {
        probe(fixture, ANALYSIS, shows(*number));
        is_aborted(fixture, ANALYSIS)
    })
}

#[test]
fn who_has_no_work_is_not_looked_at_until_there_is_some() {
    let mut fixture = Fixture::at_rest();
    assert!(fixture.state.is_idle(Role::Analytics) && fixture.state.is_idle(Role::Api));
    assert_eq!(next_deadline(&fixture.state), None);
    fixture.feed(Event::WorkAvailable(Role::Analytics));
    assert!(!fixture.state.is_idle(Role::Analytics) && fixture.state.is_idle(Role::Api));
    assert_eq!(next_deadline(&fixture.state), Some(fixture.now.mono.after(EVERY)));
}

#[test]
fn one_that_stands_still_while_there_is_work_is_examined_and_aborted() {
    let mut fixture = Fixture::running();
    let probes = probes_until_aborted(&mut fixture, 10, |_| running(7, 3, 6));
    assert_eq!(probes, Some(4), "the first look only shows where it is");
    let examined = fixture.last.iter().position(|action| matches!(action, Action::DumpThreads(_)));
    let signalled = fixture.last.iter().position(|action| matches!(action, Action::Signal { .. }));
    assert!(examined.unwrap() < signalled.unwrap(), "{:?}", fixture.last);
    fixture.dies(ANALYSIS, ABORTED);
    assert_eq!(fixture.death().0, Cause::Hang);
    assert_eq!(fixture.death().1, "no progress for 5.0 s while there was work");
}

#[test]
fn one_that_does_not_die_of_sigabrt_is_killed_with_its_group() {
    let mut fixture = Fixture::running();
    probes_until_aborted(&mut fixture, 10, |_| running(7, 3, 6)).unwrap();
    assert!(matches!(
        fixture.slot_state(ANALYTICS),
        GenerationState::Stopping { stage: StopStage::Abort, .. }
    ));
    fixture.advance(ABORT_GRACE);
    assert!(fixture.last.contains(&Action::Signal {
        generation: ANALYSIS,
        signal: WorkerSignal::Kill,
        group: true
    }));
    fixture.dies(ANALYSIS, SIGKILL);
    assert_eq!(fixture.death().0, Cause::Hang);
}

#[test]
fn one_that_moves_on_and_commits_is_left_alone() {
    let mut fixture = Fixture::running();
    assert_eq!(probes_until_aborted(&mut fixture, 50, |probe| running(probe / 3, 0, probe / 4)), None);
    assert_eq!(probes_until_aborted(&mut fixture, 50, |probe| running(20, probe / 3, 100 + probe / 8)), None);
}

#[test]
fn what_runs_backwards_stands_still() {
    let mut fixture = Fixture::running();
    let probes = probes_until_aborted(&mut fixture, 10, |probe| running(100 - probe, 100 - probe, 6));
    assert_eq!(probes, Some(4));
}

#[test]
fn one_that_moves_on_and_never_commits_is_ended_later() {
    let mut fixture = Fixture::running();
    let probes = probes_until_aborted(&mut fixture, 30, |probe| running(probe, probe, 0)).unwrap();
    let cpu_available = EVERY * u32::try_from(probes).unwrap();
    let commit_timeout = TIMEOUT * 2 + COMMIT_GRACE;
    assert!((commit_timeout..=commit_timeout + EVERY).contains(&cpu_available), "{cpu_available:?}");
    fixture.dies(ANALYSIS, ABORTED);
    assert!(fixture.death().1.starts_with("no commit for"), "{}", fixture.death().1);
}

#[test]
fn a_long_commit_or_migration_has_ten_times_as_long_while_it_moves_on_and_no_longer() {
    let mut fixture = Fixture::running();
    let probes = probes_until_aborted(&mut fixture, 200, |probe| running(7, probe, 0)).unwrap();
    let cpu_available = EVERY * u32::try_from(probes).unwrap();
    let commit_timeout = (TIMEOUT * 2 + COMMIT_GRACE) * 10;
    assert!((commit_timeout..=commit_timeout + EVERY).contains(&cpu_available), "{cpu_available:?}");
}

#[test]
fn a_successor_that_was_starved_is_not_measured_by_what_its_predecessor_did() {
    let mut fixture = Fixture::running();
    probe(&mut fixture, ANALYSIS, Probe { took_over: false, ..running(90, 500, 6) });
    assert_eq!(probes_until_aborted(&mut fixture, 50, |probe| running(6, probe, 6)), None);
}

#[test]
fn one_that_never_takes_its_page_over_is_ended_as_if_it_never_committed() {
    let mut fixture = Fixture::running();
    let stranger = Probe { took_over: false, ..running(7, 3, 6) };
    let probes = probes_until_aborted(&mut fixture, 30, |_| stranger).unwrap();
    assert!(EVERY * u32::try_from(probes).unwrap() >= TIMEOUT * 2);
}

#[test]
fn one_that_got_no_time_does_not_hang() {
    let mut fixture = Fixture::running();
    let starved = Probe { cpu_available: EVERY / 100, ..running(7, 3, 6) };
    assert_eq!(probes_until_aborted(&mut fixture, 50, |_| starved), None);
}

#[test]
fn a_look_that_comes_late_counts_for_little() {
    let mut fixture = Fixture::running();
    let late = Probe { cpu_available: Duration::from_secs(3600), ..running(7, 3, 6) };
    probe(&mut fixture, ANALYSIS, late);
    probe(&mut fixture, ANALYSIS, late);
    assert!(!is_aborted(&fixture, ANALYSIS));
    probe(&mut fixture, ANALYSIS, late);
    assert!(is_aborted(&fixture, ANALYSIS));
}

#[test]
fn a_pause_between_two_pieces_of_work_does_not_add_up() {
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
fn a_fault_that_lasts_is_found_out_without_any_work_and_was_asked_for() {
    for kind in [FaultKind::Hang, FaultKind::Freeze] {
        let mut fixture = Fixture::at_rest();
        fixture.command(Command::Fault(ANALYTICS.to_owned(), kind));
        let probes = probes_until_aborted(&mut fixture, 10, |_| Probe { pending: false, ..running(7, 3, 7) });
        assert_eq!(probes, Some(4));
        fixture.dies(ANALYSIS, ABORTED);
        let expected = format!("fault {kind}: no progress for 5.0 s while there was work");
        assert_eq!((fixture.death().0, fixture.death().1), (Cause::Requested, expected));
    }
}

#[test]
fn one_that_an_order_to_hang_did_not_reach_is_not_ended_for_it_and_one_that_it_reached_is_told_once() {
    let idle = Probe { pending: false, ..running(7, 3, 7) };
    let order = ToWorker::Fault(FaultKind::Hang);
    let sent = Action::Send { generation: ANALYSIS, frame: order.clone() };
    let mut fixture = Fixture::at_rest();
    fixture.command(Command::Fault(ANALYTICS.to_owned(), FaultKind::Hang));
    assert!(fixture.last.contains(&sent), "{:?}", fixture.last);
    fixture.feed(Event::PipeFull { generation: ANALYSIS, frame: order });
    probe(&mut fixture, ANALYSIS, idle);
    assert!(fixture.state.is_idle(Role::Analytics));
    // It may be ordered once more, and then comes.
    fixture.command(Command::Fault(ANALYTICS.to_owned(), FaultKind::Hang));
    assert!(fixture.last.contains(&sent), "{:?}", fixture.last);
    fixture.command(Command::Fault(ANALYTICS.to_owned(), FaultKind::Hang));
    assert!(!fixture.last.contains(&sent), "{:?}", fixture.last);
    assert!(probes_until_aborted(&mut fixture, 10, |_| idle).is_some());
}

#[test]
fn one_that_was_frozen_before_it_began_is_found_out_too() {
    let mut fixture = Fixture::running();
    fixture.command(Command::Fault(ANALYTICS.to_owned(), FaultKind::Freeze));
    let stranger = Probe { pending: false, took_over: false, ..running(7, 3, 7) };
    assert!(probes_until_aborted(&mut fixture, 30, |_| stranger).is_some());
}

#[test]
fn the_process_is_frozen_by_a_signal() {
    let mut fixture = Fixture::running();
    fixture.command(Command::Fault(API.to_owned(), FaultKind::Freeze));
    let signal = Action::Signal { generation: API_GENERATION, signal: WorkerSignal::Stop, group: false };
    assert!(fixture.last.contains(&signal), "{:?}", fixture.last);
}

/// Looks at the API for so many times; it answers or not.
fn ping(fixture: &mut Fixture, times: u64, answers: bool) {
    let cpu_available = Probe { cpu_available: EVERY, ..Probe::default() };
    for _ in 0..times {
        probe(fixture, API_GENERATION, cpu_available);
        let asked = fixture.last.iter().find_map(|action| match action {
            Action::Send { generation: API_GENERATION, frame: ToWorker::Ping(number) } => Some(*number),
            _ => None,
        });
        if let (Some(number), true) = (asked, answers) {
            fixture.says(API_GENERATION, FromWorker::Pong { number, turns: 0, busy: true });
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
    fixture.dies(API_GENERATION, ABORTED);
    assert_eq!(fixture.death().0, Cause::Hang);
}

/// How many probes it takes, at most, until an API is ended that answers each ping while connections wait to be accepted.
fn probes_with_backlog(turns: impl Fn(u64) -> u64) -> Option<u64> {
    let mut fixture = Fixture::running();
    (1..=50).find(|number| {
        // If it rests meanwhile, those who wait end that at once.
        fixture.feed(Event::WorkAvailable(Role::Api));
        probe(
            &mut fixture,
            API_GENERATION,
            Probe { cpu_available: EVERY, backlog_pending: true, ..Probe::default() },
        );
        let aborted = is_aborted(&fixture, API_GENERATION);
        if !aborted {
            let (number, turns) = (*number, turns(*number));
            fixture.says(API_GENERATION, FromWorker::Pong { number, turns, busy: false });
        }
        aborted
    })
}

#[test]
fn an_api_that_answers_and_accepts_nobody_hangs_and_one_that_accepts_does_not() {
    let probes = probes_with_backlog(|_| 7).unwrap();
    let commit_timeout = TIMEOUT * 2 + COMMIT_GRACE;
    assert!(EVERY * u32::try_from(probes).unwrap() >= commit_timeout, "{probes}");
    assert_eq!(probes_with_backlog(|number| number / 3), None);
}

#[test]
fn an_api_without_connections_is_not_pinged_until_it_has_one() {
    let mut fixture = Fixture::at_rest();
    fixture.advance(TIMEOUT * 10);
    assert_eq!(fixture.last, []);
    fixture.says(API_GENERATION, FromWorker::Busy);
    ping(&mut fixture, 3, true);
}

#[test]
fn an_answer_to_a_ping_that_was_never_sent_is_a_breach_and_an_old_one_is_none() {
    let mut fixture = Fixture::running();
    ping(&mut fixture, 3, true);
    fixture.says(API_GENERATION, FromWorker::Pong { number: 1, turns: 0, busy: true });
    assert_eq!(fixture.last, []);
    fixture.says(API_GENERATION, FromWorker::Pong { number: 4, turns: 0, busy: true });
    fixture.dies(API_GENERATION, SIGKILL);
    assert_eq!(fixture.death().0, Cause::Protocol);
}

#[test]
fn the_death_of_an_api_is_word_of_work() {
    let mut fixture = Fixture::at_rest();
    fixture.dies(API_GENERATION, SIGKILL);
    assert!(!fixture.state.is_idle(Role::Analytics), "it may have died before it could ring");
}

#[test]
fn a_shorter_timeout_counts_from_now_on() {
    let mut fixture = Fixture::running();
    let specs = specs(Duration::from_millis(100));
    let policy = fixture.state.policy.clone();
    fixture.feed(Event::Configured { policy, specs });
    let Millis(now) = fixture.now.mono;
    assert_eq!(next_deadline(&fixture.state), Some(Millis(now + 25)));
}

#[test]
fn a_hang_is_charged_to_the_event_in_hand() {
    let mut fixture = Fixture::running();
    probes_until_aborted(&mut fixture, 10, |_| running(1, 3, 0)).unwrap();
    fixture.dies(ANALYSIS, SIGKILL);
    let suspects = &fixture.worker(ANALYTICS).poison_tracker.suspects;
    assert_eq!(
        suspects.iter().map(|one| (one.seq, one.attempts, one.kills)).collect::<Vec<_>>(),
        [(Seq(1), 1, 0)]
    );
    let told = fixture.last.iter().any(|action| matches!(action, Action::Log(LogRecord::WorkerDied { .. })));
    assert!(told);
}

#[test]
fn one_that_hung_was_not_well_however_long_it_was_there() {
    let mut fixture = Fixture::running();
    probes_until_aborted(&mut fixture, 30, |probe| running(probe, probe, 0)).unwrap();
    assert!(fixture.now.mono.since(fixture.worker(ANALYTICS).started) > HEALTHY_AFTER);
    fixture.dies(ANALYSIS, ABORTED);
    assert_eq!(fixture.worker(ANALYTICS).restart_budget.failures, 1, "it counts");
}

#[test]
fn a_probe_that_may_be_hanging_ends_no_parking() {
    let mut fixture = Fixture::running();
    fixture.worker_mut(ANALYTICS).restart_budget.on_probation = true;
    let probes = probes_until_aborted(&mut fixture, 30, |probe| {
        // Moving on, and committing nothing.
        running(probe, probe, 0)
    });
    assert!(probes.is_some() && fixture.worker(ANALYTICS).restart_budget.on_probation);

    let mut fixture = Fixture::running();
    fixture.worker_mut(ANALYTICS).restart_budget.on_probation = true;
    assert_eq!(probes_until_aborted(&mut fixture, 10, |number| running(number, 0, number)), None);
    fixture.advance(Duration::ZERO);
    assert!(!fixture.worker(ANALYTICS).restart_budget.on_probation, "it has proved itself");
}
