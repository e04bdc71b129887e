//! Events that the analysis may have died of: charged, set aside, skipped.

use super::bench::{ANALYTICS, Bench, SIGKILL, SIGSEGV};
use crate::step::{
    Action, Charge, Command, Event, Exit, Fate, Is, LogRecord, MAX_KILLS, Next, Policy, PostMortem,
    policy::START_SPACING,
};
use bulkhead_proto::wire::{
    cause::{Cause, Operation},
    control::{MAX_HINTS, RecoveryHints, ToWorker},
    fault::FaultKind,
    ids::{Generation, Seq},
};

/// A service whose analysis is generation 2, and which sets aside after two attempts.
fn service() -> Bench {
    Bench::with(Policy { faults: true, ..Policy::default() }).up()
}

fn applying(seq: u64, committed: u64) -> PostMortem {
    let (committed, in_hand) = (Seq(committed), Some(Seq(seq)));
    PostMortem { in_hand, committed, head: Seq(100), ..PostMortem::default() }
}

fn committing(seq: u64, committed: u64) -> PostMortem {
    let (committed, committing) = (Seq(committed), Some(Seq(seq)));
    PostMortem { committing, committed, head: Seq(100), ..PostMortem::default() }
}

impl Bench {
    /// The analysis at work dies so; what is ordered to be set aside.
    fn ends(&mut self, exit: Exit, post_mortem: PostMortem) -> Option<Charge> {
        self.wait(START_SPACING);
        let generation = self.worker(ANALYTICS).generation;
        let actions = self.feed(Event::Died { generation, exit, post_mortem });
        actions.iter().find_map(|action| match action {
            Action::SetAside(charge) => Some(charge.clone()),
            _ => None,
        })
    }

    /// The next analysis comes up; the care that it is told to take, once it is activated.
    fn next(&mut self) -> Option<RecoveryHints> {
        while matches!(self.is(ANALYTICS), Is::Backoff { .. }) {
            self.wait(START_SPACING);
        }
        let generation = self.worker(ANALYTICS).generation;
        self.comes_up(generation);
        self.told()
    }

    fn told(&self) -> Option<RecoveryHints> {
        self.last.iter().find_map(|action| match action {
            Action::Send { frame: ToWorker::Activate(care), .. } => Some(care.clone()),
            _ => None,
        })
    }

    fn answers(&mut self, charge: Charge, result: Result<(), String>) {
        self.feed(Event::SetAside { charge, result });
    }
}

#[test]
fn a_successor_is_told_its_suspects() {
    let mut bench = service();
    assert_eq!(bench.ends(SIGSEGV, applying(7, 4)), None);
    assert_eq!(bench.next(), Some(RecoveryHints { suspects: vec![Seq(7)], ..RecoveryHints::default() }));
}

#[test]
fn an_event_that_kills_twice_is_stored_before_anybody_works_on_and_then_skipped() {
    let mut bench = service();
    bench.ends(SIGSEGV, applying(7, 4));
    bench.next();
    let charge = bench.ends(SIGSEGV, applying(7, 6)).expect("it is set aside");
    assert_eq!((charge.seq, charge.attempts, charge.during), (Seq(7), 2, Operation::Apply));
    assert_eq!((charge.cause, charge.detail.as_str(), charge.crash.0), (Cause::Signal, "SIGSEGV", 2));
    assert_eq!(bench.next(), None, "it stands by");
    assert!(matches!(bench.is(ANALYTICS), Is::Standby { .. }));
    bench.answers(charge, Ok(()));
    assert_eq!(bench.told(), Some(RecoveryHints { skip: vec![Seq(7)], ..RecoveryHints::default() }));
    assert!(bench.last.iter().any(|action| matches!(action, Action::Log(LogRecord::EventQuarantined(_)))));
}

#[test]
fn kills_from_outside_must_be_many_to_be_held_against_an_event() {
    let mut bench = service();
    for _ in 1..MAX_KILLS {
        assert_eq!(bench.ends(SIGKILL, applying(7, 6)), None);
        assert_eq!(bench.next(), Some(RecoveryHints { suspects: vec![Seq(7)], ..RecoveryHints::default() }));
    }
    let charge = bench.ends(SIGKILL, applying(7, 6)).expect("it is set aside");
    assert_eq!((charge.seq, charge.attempts), (Seq(7), MAX_KILLS));
}

#[test]
fn an_event_that_cannot_be_stored_is_not_skipped_and_storing_is_tried_again() {
    let mut bench = service();
    bench.ends(SIGSEGV, applying(7, 4));
    bench.next();
    let charge = bench.ends(SIGSEGV, applying(7, 6)).expect("it is set aside");
    bench.answers(charge, Err("disk full".to_owned()));
    let failed = |action: &Action| matches!(action, Action::Log(LogRecord::QuarantineFailed { why, .. }) if why == "disk full");
    assert!(bench.last.iter().any(failed), "{:?}", bench.last);
    assert_eq!(bench.next(), Some(RecoveryHints { suspects: vec![Seq(7)], ..RecoveryHints::default() }));
    assert_eq!(bench.ends(SIGSEGV, applying(7, 6)).expect("again").attempts, 3);
}

#[test]
fn an_answer_that_nobody_waits_for_means_nothing() {
    let mut bench = service();
    bench.ends(SIGSEGV, applying(7, 4));
    bench.next();
    let charge = bench.ends(SIGSEGV, applying(7, 6)).expect("it is set aside");
    bench.answers(charge.clone(), Ok(()));
    let before = bench.state.clone();
    bench.answers(charge, Err("late".to_owned()));
    assert_eq!((bench.last.len(), &bench.state), (0, &before));
}

#[test]
fn what_is_committed_is_no_suspect_any_more() {
    let mut bench = service();
    bench.ends(SIGSEGV, applying(7, 4));
    bench.next();
    assert_eq!(bench.ends(SIGSEGV, applying(8, 7)), None);
    assert_eq!(bench.next(), Some(RecoveryHints { suspects: vec![Seq(8)], ..RecoveryHints::default() }));
}

#[test]
fn a_death_that_was_ordered_and_one_with_nothing_in_hand_charge_nobody() {
    let mut bench = service();
    bench.command(Command::Fault(ANALYTICS.to_owned(), FaultKind::Kill));
    bench.ends(SIGKILL, applying(7, 4));
    assert_eq!(bench.next(), Some(RecoveryHints::default()));
    bench.command(Command::Stop(ANALYTICS.to_owned()));
    bench.ends(Exit::Code(0), applying(7, 4));
    bench.command(Command::Start(ANALYTICS.to_owned()));
    assert_eq!(bench.next(), Some(RecoveryHints::default()));
    bench.ends(SIGSEGV, PostMortem { in_hand: None, ..applying(7, 4) });
    assert_eq!(bench.next(), Some(RecoveryHints::default()));
}

#[test]
fn a_generation_that_was_not_activated_is_held_to_nothing() {
    let mut bench = service();
    bench.ends(SIGSEGV, applying(7, 4));
    bench.wait(START_SPACING);
    bench.ends(SIGSEGV, applying(7, 4));
    assert_eq!(bench.worker(ANALYTICS).suspicion.suspects[0].attempts, 1);
}

#[test]
fn a_death_in_a_commit_of_several_charges_nobody_but_the_next_ones_are_made_one_by_one() {
    let mut bench = service();
    assert_eq!(bench.ends(SIGSEGV, committing(9, 4)), None);
    assert_eq!(bench.next(), Some(RecoveryHints { single_commit_until: Seq(9), ..RecoveryHints::default() }));
}

#[test]
fn a_death_in_the_commit_of_one_event_charges_that_one() {
    let mut bench = service();
    bench.ends(SIGSEGV, committing(9, 4));
    bench.next();
    assert_eq!(bench.ends(SIGSEGV, committing(6, 5)), None);
    bench.next();
    let charge = bench.ends(SIGSEGV, committing(6, 5)).expect("it is set aside");
    assert_eq!((charge.seq, charge.attempts, charge.during), (Seq(6), 2, Operation::Commit));
}

#[test]
fn a_death_at_the_load_of_a_series_is_told_as_such() {
    let mut bench = service();
    let loading = PostMortem { loading: true, ..applying(7, 6) };
    bench.ends(SIGSEGV, loading.clone());
    bench.next();
    assert_eq!(bench.ends(SIGSEGV, loading).expect("it is set aside").during, Operation::Load);
}

#[test]
fn a_hundred_poison_events_in_a_row_park_nobody() {
    let mut bench = service();
    for seq in 1..=100 {
        assert_eq!(bench.ends(SIGSEGV, applying(seq, seq - 1)), None);
        bench.next();
        let charge = bench.ends(SIGSEGV, applying(seq, seq - 1)).expect("it is set aside");
        assert!(matches!(bench.death().2, Next::RestartNow | Next::RestartIn(_)), "{seq}");
        bench.answers(charge, Ok(()));
        bench.next();
    }
    assert!(bench.worker(ANALYTICS).suspicion.suspects.len() <= 2);
}

#[test]
fn a_parked_analysis_comes_back_when_what_it_died_of_is_set_aside() {
    let mut bench = Bench::with(Policy { limit: 2, max_attempts: 2, ..Policy::default() }).up();
    bench.ends(SIGSEGV, applying(1, 0));
    bench.next();
    let charge = bench.ends(SIGSEGV, applying(1, 0)).expect("it is set aside");
    assert!(matches!(bench.is(ANALYTICS), Is::Parked { .. }), "{:?}", bench.is(ANALYTICS));
    bench.answers(charge, Ok(()));
    assert_eq!(bench.next(), Some(RecoveryHints { skip: vec![Seq(1)], ..RecoveryHints::default() }));
}

#[test]
fn more_suspects_than_there_is_room_for_are_committed_one_by_one() {
    let mut bench = Bench::with(Policy { limit: 64, ..Policy::default() }).up();
    for seq in (10..).take(MAX_HINTS + 3) {
        bench.ends(SIGSEGV, applying(seq, 1));
        bench.next();
    }
    bench.ends(SIGSEGV, PostMortem { in_hand: None, ..applying(1, 1) });
    let care = bench.next().expect("it is activated");
    assert_eq!((care.suspects.len(), care.single_commit_until), (MAX_HINTS, Seq(12 + MAX_HINTS as u64)));
}

#[test]
fn what_an_earlier_run_had_stored_and_not_skipped_is_skipped_now() {
    let mut bench = Bench::new();
    bench.state.remember_set_aside([Seq(7)]);
    bench.feed(Event::Boot);
    bench.comes_up(Generation(1));
    bench.comes_up(Generation(2));
    assert_eq!(bench.told(), Some(RecoveryHints { skip: vec![Seq(7)], ..RecoveryHints::default() }));
    assert_eq!(bench.worker(ANALYTICS).suspicion.suspects[0].fate, Fate::Stored);
}

#[test]
fn one_that_is_skipped_is_charged_with_nothing_more() {
    let mut bench = service();
    bench.ends(SIGSEGV, applying(7, 4));
    bench.next();
    let charge = bench.ends(SIGSEGV, applying(7, 6)).expect("it is set aside");
    bench.answers(charge, Ok(()));
    bench.next();
    assert_eq!(bench.ends(SIGSEGV, committing(7, 6)), None);
    let told = |action: &Action| match action {
        Action::Report(facts) => Some(facts.attempts),
        _ => None,
    };
    assert_eq!(bench.last.iter().find_map(told), Some(None), "{:?}", bench.last);
    assert_eq!(bench.next(), Some(RecoveryHints { skip: vec![Seq(7)], ..RecoveryHints::default() }));
}

#[test]
fn the_log_the_board_and_the_report_name_the_same_event() {
    let mut bench = service();
    bench.ends(SIGSEGV, committing(7, 6));
    let told = bench.last.iter().filter_map(|action| match action {
        Action::Report(facts) => Some(facts.seq),
        Action::Log(LogRecord::WorkerDied { seq, .. }) => Some(*seq),
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), [Some(Seq(7)); 2]);
    assert_eq!(bench.worker(ANALYTICS).last_crash.as_ref().unwrap().seq, Some(Seq(7)));
}
