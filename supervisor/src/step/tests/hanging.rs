//! Hangs: who is looked at, what counts as progress, and how one that hangs is ended.

use super::bench::{ANALYTICS, API, Bench, SIGKILL, specs};
use crate::step::{
    Action, Command, Event, Exit, Is, LogRecord, Look, Mark, Millis, Signal, Stage, next_deadline,
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
const ABORTED: Exit = Exit::Signal { number: 6, core: false };

/// As the bench's workers have it; looks come every quarter of it.
const TIMEOUT: Duration = Duration::from_secs(5);
const EVERY: Duration = Duration::from_millis(1250);

/// What a look shows of an analysis that has work, and had all the time since the last look.
fn at_work(seq: u64, steps: u64, committed: u64) -> Look {
    let mark = Mark { seq: Seq(seq), steps, committed: Seq(committed) };
    Look { had: EVERY, pending: true, took_over: true, mark, knocking: false }
}

/// Time passes until the next look is due; then this is seen.
fn look(bench: &mut Bench, generation: Generation, look: Look) {
    bench.wait(EVERY);
    assert!(bench.last.contains(&Action::Look { generation }), "{:?}", bench.last);
    bench.feed(Event::Looked { generation, look });
}

fn is_aborted(bench: &Bench, generation: Generation) -> bool {
    bench.last.contains(&Action::Signal { generation, signal: Signal::Abort, group: false })
}

/// How many looks it takes, at most, until it is ended; what they show is told by their number.
fn looks_until_aborted(bench: &mut Bench, most: u64, shows: impl Fn(u64) -> Look) -> Option<u64> {
    (0..most).find(|number| {
        look(bench, ANALYSIS, shows(*number));
        is_aborted(bench, ANALYSIS)
    })
}

#[test]
fn who_has_no_work_is_not_looked_at_until_there_is_some() {
    let mut bench = Bench::at_rest();
    assert!(bench.state.rests(Role::Analytics) && bench.state.rests(Role::Api));
    assert_eq!(next_deadline(&bench.state), None);
    bench.feed(Event::Rung(Role::Analytics));
    assert!(!bench.state.rests(Role::Analytics) && bench.state.rests(Role::Api));
    assert_eq!(next_deadline(&bench.state), Some(bench.now.mono.after(EVERY)));
}

#[test]
fn one_that_stands_still_while_there_is_work_is_examined_and_aborted() {
    let mut bench = Bench::running();
    let looks = looks_until_aborted(&mut bench, 10, |_| at_work(7, 3, 6));
    assert_eq!(looks, Some(4), "the first look only shows where it is");
    let examined = bench.last.iter().position(|action| matches!(action, Action::Examine(_)));
    let signalled = bench.last.iter().position(|action| matches!(action, Action::Signal { .. }));
    assert!(examined.unwrap() < signalled.unwrap(), "{:?}", bench.last);
    bench.dies(ANALYSIS, ABORTED);
    assert_eq!(bench.death().0, Cause::Hang);
    assert_eq!(bench.death().1, "no progress for 5.0 s while there was work");
}

#[test]
fn one_that_does_not_die_of_sigabrt_is_killed_with_its_group() {
    let mut bench = Bench::running();
    looks_until_aborted(&mut bench, 10, |_| at_work(7, 3, 6)).unwrap();
    assert!(matches!(bench.is(ANALYTICS), Is::Stopping { stage: Stage::Abort, .. }));
    bench.wait(ABORT_GRACE);
    assert!(bench.last.contains(&Action::Signal { generation: ANALYSIS, signal: Signal::Kill, group: true }));
    bench.dies(ANALYSIS, SIGKILL);
    assert_eq!(bench.death().0, Cause::Hang);
}

#[test]
fn one_that_moves_on_and_commits_is_left_alone() {
    let mut bench = Bench::running();
    assert_eq!(looks_until_aborted(&mut bench, 50, |look| at_work(look / 3, 0, look / 4)), None);
    assert_eq!(looks_until_aborted(&mut bench, 50, |look| at_work(20, look / 3, 100 + look / 8)), None);
}

#[test]
fn what_runs_backwards_stands_still() {
    let mut bench = Bench::running();
    let looks = looks_until_aborted(&mut bench, 10, |look| at_work(100 - look, 100 - look, 6));
    assert_eq!(looks, Some(4));
}

#[test]
fn one_that_moves_on_and_never_commits_is_ended_later() {
    let mut bench = Bench::running();
    let looks = looks_until_aborted(&mut bench, 30, |look| at_work(look, look, 0)).unwrap();
    let had = EVERY * u32::try_from(looks).unwrap();
    let driest = TIMEOUT * 2 + COMMIT_GRACE;
    assert!((driest..=driest + EVERY).contains(&had), "{had:?}");
    bench.dies(ANALYSIS, ABORTED);
    assert!(bench.death().1.starts_with("no commit for"), "{}", bench.death().1);
}

#[test]
fn a_long_commit_or_migration_has_ten_times_as_long_while_it_moves_on_and_no_longer() {
    let mut bench = Bench::running();
    let looks = looks_until_aborted(&mut bench, 200, |look| at_work(7, look, 0)).unwrap();
    let had = EVERY * u32::try_from(looks).unwrap();
    let driest = (TIMEOUT * 2 + COMMIT_GRACE) * 10;
    assert!((driest..=driest + EVERY).contains(&had), "{had:?}");
}

#[test]
fn a_successor_that_was_starved_is_not_measured_by_what_its_predecessor_did() {
    let mut bench = Bench::running();
    look(&mut bench, ANALYSIS, Look { took_over: false, ..at_work(90, 500, 6) });
    assert_eq!(looks_until_aborted(&mut bench, 50, |look| at_work(6, look, 6)), None);
}

#[test]
fn one_that_never_takes_its_page_over_is_ended_as_if_it_never_committed() {
    let mut bench = Bench::running();
    let stranger = Look { took_over: false, ..at_work(7, 3, 6) };
    let looks = looks_until_aborted(&mut bench, 30, |_| stranger).unwrap();
    assert!(EVERY * u32::try_from(looks).unwrap() >= TIMEOUT * 2);
}

#[test]
fn one_that_got_no_time_does_not_hang() {
    let mut bench = Bench::running();
    let starved = Look { had: EVERY / 100, ..at_work(7, 3, 6) };
    assert_eq!(looks_until_aborted(&mut bench, 50, |_| starved), None);
}

#[test]
fn a_look_that_comes_late_counts_for_little() {
    let mut bench = Bench::running();
    let late = Look { had: Duration::from_secs(3600), ..at_work(7, 3, 6) };
    look(&mut bench, ANALYSIS, late);
    look(&mut bench, ANALYSIS, late);
    assert!(!is_aborted(&bench, ANALYSIS));
    look(&mut bench, ANALYSIS, late);
    assert!(is_aborted(&bench, ANALYSIS));
}

#[test]
fn a_pause_between_two_pieces_of_work_does_not_add_up() {
    let mut bench = Bench::running();
    for _ in 0..20 {
        look(&mut bench, ANALYSIS, at_work(7, 3, 6));
        look(&mut bench, ANALYSIS, at_work(7, 3, 6));
        assert!(!is_aborted(&bench, ANALYSIS));
        look(&mut bench, ANALYSIS, Look { pending: false, ..at_work(7, 3, 6) });
        bench.feed(Event::Rung(Role::Analytics));
    }
}

#[test]
fn a_fault_that_lasts_is_found_out_without_any_work_and_was_asked_for() {
    for kind in [FaultKind::Hang, FaultKind::Freeze] {
        let mut bench = Bench::at_rest();
        bench.command(Command::Fault(ANALYTICS.to_owned(), kind));
        let looks = looks_until_aborted(&mut bench, 10, |_| Look { pending: false, ..at_work(7, 3, 7) });
        assert_eq!(looks, Some(4));
        bench.dies(ANALYSIS, ABORTED);
        let expected = format!("fault {kind}: no progress for 5.0 s while there was work");
        assert_eq!((bench.death().0, bench.death().1), (Cause::Requested, expected));
    }
}

#[test]
fn one_that_an_order_to_hang_did_not_reach_is_not_ended_for_it_and_one_that_it_reached_is_told_once() {
    let idle = Look { pending: false, ..at_work(7, 3, 7) };
    let order = ToWorker::Fault(FaultKind::Hang);
    let sent = Action::Send { generation: ANALYSIS, frame: order.clone() };
    let mut bench = Bench::at_rest();
    bench.command(Command::Fault(ANALYTICS.to_owned(), FaultKind::Hang));
    assert!(bench.last.contains(&sent), "{:?}", bench.last);
    bench.feed(Event::PipeFull { generation: ANALYSIS, frame: order });
    look(&mut bench, ANALYSIS, idle);
    assert!(bench.state.rests(Role::Analytics));
    // It may be ordered once more, and then comes.
    bench.command(Command::Fault(ANALYTICS.to_owned(), FaultKind::Hang));
    assert!(bench.last.contains(&sent), "{:?}", bench.last);
    bench.command(Command::Fault(ANALYTICS.to_owned(), FaultKind::Hang));
    assert!(!bench.last.contains(&sent), "{:?}", bench.last);
    assert!(looks_until_aborted(&mut bench, 10, |_| idle).is_some());
}

#[test]
fn one_that_was_frozen_before_it_began_is_found_out_too() {
    let mut bench = Bench::running();
    bench.command(Command::Fault(ANALYTICS.to_owned(), FaultKind::Freeze));
    let stranger = Look { pending: false, took_over: false, ..at_work(7, 3, 7) };
    assert!(looks_until_aborted(&mut bench, 30, |_| stranger).is_some());
}

#[test]
fn the_process_is_frozen_by_a_signal() {
    let mut bench = Bench::running();
    bench.command(Command::Fault(API.to_owned(), FaultKind::Freeze));
    let signal = Action::Signal { generation: API_GENERATION, signal: Signal::Stop, group: false };
    assert!(bench.last.contains(&signal), "{:?}", bench.last);
}

/// Looks at the API for so many times; it answers or not.
fn ping(bench: &mut Bench, times: u64, answers: bool) {
    let had = Look { had: EVERY, ..Look::default() };
    for _ in 0..times {
        look(bench, API_GENERATION, had);
        let asked = bench.last.iter().find_map(|action| match action {
            Action::Send { generation: API_GENERATION, frame: ToWorker::Ping(number) } => Some(*number),
            _ => None,
        });
        if let (Some(number), true) = (asked, answers) {
            bench.says(API_GENERATION, FromWorker::Pong { number, accept_polls: 0, busy: true });
        }
    }
}

#[test]
fn an_api_that_does_not_answer_pings_hangs() {
    let mut bench = Bench::running();
    ping(&mut bench, 20, true);
    assert!(!is_aborted(&bench, API_GENERATION));
    ping(&mut bench, 4, false);
    assert!(!is_aborted(&bench, API_GENERATION));
    ping(&mut bench, 1, false);
    assert!(is_aborted(&bench, API_GENERATION));
    bench.dies(API_GENERATION, ABORTED);
    assert_eq!(bench.death().0, Cause::Hang);
}

/// How many looks it takes, at most, until an API is ended that answers each ping while connections wait to be accepted.
fn looks_while_some_wait(turns: impl Fn(u64) -> u64) -> Option<u64> {
    let mut bench = Bench::running();
    (1..=50).find(|number| {
        // If it rests meanwhile, those who wait end that at once.
        bench.feed(Event::Rung(Role::Api));
        look(&mut bench, API_GENERATION, Look { had: EVERY, knocking: true, ..Look::default() });
        let aborted = is_aborted(&bench, API_GENERATION);
        if !aborted {
            let (number, turns) = (*number, turns(*number));
            bench.says(API_GENERATION, FromWorker::Pong { number, accept_polls: turns, busy: false });
        }
        aborted
    })
}

#[test]
fn an_api_that_answers_and_accepts_nobody_hangs_and_one_that_accepts_does_not() {
    let looks = looks_while_some_wait(|_| 7).unwrap();
    let driest = TIMEOUT * 2 + COMMIT_GRACE;
    assert!(EVERY * u32::try_from(looks).unwrap() >= driest, "{looks}");
    assert_eq!(looks_while_some_wait(|number| number / 3), None);
}

#[test]
fn an_api_without_connections_is_not_pinged_until_it_has_one() {
    let mut bench = Bench::at_rest();
    bench.wait(TIMEOUT * 10);
    assert_eq!(bench.last, []);
    bench.says(API_GENERATION, FromWorker::Busy);
    ping(&mut bench, 3, true);
}

#[test]
fn an_answer_to_a_ping_that_was_never_sent_is_a_breach_and_an_old_one_is_none() {
    let mut bench = Bench::running();
    ping(&mut bench, 3, true);
    bench.says(API_GENERATION, FromWorker::Pong { number: 1, accept_polls: 0, busy: true });
    assert_eq!(bench.last, []);
    bench.says(API_GENERATION, FromWorker::Pong { number: 4, accept_polls: 0, busy: true });
    bench.dies(API_GENERATION, SIGKILL);
    assert_eq!(bench.death().0, Cause::Protocol);
}

#[test]
fn the_death_of_an_api_is_word_of_work() {
    let mut bench = Bench::at_rest();
    bench.dies(API_GENERATION, SIGKILL);
    assert!(!bench.state.rests(Role::Analytics), "it may have died before it could ring");
}

#[test]
fn a_shorter_timeout_counts_from_now_on() {
    let mut bench = Bench::running();
    let specs = specs(Duration::from_millis(100));
    let policy = bench.state.policy.clone();
    bench.feed(Event::Configured { policy, specs });
    let Millis(now) = bench.now.mono;
    assert_eq!(next_deadline(&bench.state), Some(Millis(now + 25)));
}

#[test]
fn a_hang_is_charged_to_the_event_in_hand() {
    let mut bench = Bench::running();
    looks_until_aborted(&mut bench, 10, |_| at_work(1, 3, 0)).unwrap();
    bench.dies(ANALYSIS, SIGKILL);
    let suspects = &bench.worker(ANALYTICS).suspicion.suspects;
    assert_eq!(
        suspects.iter().map(|one| (one.seq, one.attempts, one.kills)).collect::<Vec<_>>(),
        [(Seq(1), 1, 0)]
    );
    let told = bench.last.iter().any(|action| matches!(action, Action::Log(LogRecord::WorkerDied { .. })));
    assert!(told);
}

#[test]
fn one_that_hung_was_not_well_however_long_it_was_there() {
    let mut bench = Bench::running();
    looks_until_aborted(&mut bench, 30, |look| at_work(look, look, 0)).unwrap();
    assert!(bench.now.mono.since(bench.worker(ANALYTICS).started) > HEALTHY_AFTER);
    bench.dies(ANALYSIS, ABORTED);
    assert_eq!(bench.worker(ANALYTICS).tally.streak, 1, "it counts");
}

#[test]
fn a_probe_that_may_be_hanging_ends_no_parking() {
    let mut bench = Bench::running();
    bench.worker_mut(ANALYTICS).tally.probing = true;
    let looks = looks_until_aborted(&mut bench, 30, |look| {
        // Moving on, and committing nothing.
        at_work(look, look, 0)
    });
    assert!(looks.is_some() && bench.worker(ANALYTICS).tally.probing);

    let mut bench = Bench::running();
    bench.worker_mut(ANALYTICS).tally.probing = true;
    assert_eq!(looks_until_aborted(&mut bench, 10, |number| at_work(number, 0, number)), None);
    bench.wait(Duration::ZERO);
    assert!(!bench.worker(ANALYTICS).tally.probing, "it has proved itself");
}
