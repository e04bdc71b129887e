//! Deaths caused by a lack of memory, and deaths that resemble them but have another cause.

use super::fixture::{ANALYTICS, Fixture, SIGABRT, SIGKILL, SIGSEGV, died};
use crate::core::{
    Action, Command, ExitStatus, PostMortem, RefusedAllocation,
    policy::{MAX_DETAIL, START_SPACING},
};
use bulkhead_proto::wire::{
    cause::Cause,
    crash::Panic,
    fault::FaultKind,
    ids::{Generation, Seq},
};

fn refused(limit: Option<u64>) -> PostMortem {
    PostMortem { refused: Some(RefusedAllocation { bytes: 16 << 20, limit }), ..PostMortem::default() }
}

fn killed_by_the_kernel() -> PostMortem {
    let (in_flight, head) = (Some(Seq(1)), Seq(1));
    PostMortem { in_flight, head, out_of_memory: true, ..PostMortem::default() }
}

/// The cause and the detail of a death of the analysis.
fn death(exit: ExitStatus, post_mortem: PostMortem) -> (Cause, String) {
    let mut fixture = Fixture::running();
    fixture.feed(died(Generation(2), exit, post_mortem));
    let (cause, detail, _) = fixture.death();
    (cause, detail)
}

#[test]
fn an_abort_after_a_refused_allocation_is_oom_and_names_the_limit() {
    let limited = "an allocation of 16MiB failed: memory_limit is 1GiB".to_owned();
    assert_eq!(death(SIGABRT, refused(Some(1 << 30))), (Cause::Oom, limited));
    let unlimited = "an allocation of 16MiB failed: the system refused the memory".to_owned();
    assert_eq!(death(SIGABRT, refused(None)), (Cause::Oom, unlimited));
}

#[test]
fn a_refused_allocation_does_not_explain_a_death_of_another_kind() {
    let ends = [(SIGSEGV, Cause::Signal), (SIGKILL, Cause::Signal), (ExitStatus::Code(1), Cause::Exit)];
    for (exit, cause) in ends {
        assert_eq!(death(exit, refused(None)).0, cause, "{exit:?}");
    }
    let panic = Some(Panic { message: "boom".to_owned(), ..Panic::default() });
    assert_eq!(death(SIGABRT, PostMortem { panic, ..refused(None) }).0, Cause::Panic);
    assert_eq!(death(SIGABRT, PostMortem::default()), (Cause::Signal, "SIGABRT".to_owned()));
}

#[test]
fn the_detail_is_short_for_any_recorded_size() {
    let refused = Some(RefusedAllocation { bytes: u64::MAX, limit: Some(u64::MAX) });
    let (cause, detail) = death(SIGABRT, PostMortem { refused, ..PostMortem::default() });
    assert!(cause == Cause::Oom && detail.len() <= MAX_DETAIL, "{detail}");
}

#[test]
fn an_oom_kill_is_distinguished_from_other_kills() {
    let text = "killed by the kernel: out of memory".to_owned();
    assert_eq!(death(SIGKILL, killed_by_the_kernel()), (Cause::Oom, text));
    assert_eq!(death(SIGSEGV, killed_by_the_kernel()).0, Cause::Signal);
}

#[test]
fn an_oom_kill_counts_as_an_attempt() {
    let mut fixture = Fixture::running();
    fixture.state.policy.max_attempts = 2;
    for last in [false, true] {
        fixture.advance(START_SPACING);
        let generation = fixture.worker(ANALYTICS).generation;
        fixture.feed(died(generation, SIGKILL, killed_by_the_kernel()));
        let set_aside = fixture.last.iter().any(|action| matches!(action, Action::Quarantine(_)));
        assert_eq!(set_aside, last);
        fixture.become_ready(fixture.worker(ANALYTICS).generation);
    }
}

#[test]
fn the_oom_fault_is_reported_with_the_refused_size() {
    let mut fixture = Fixture::running();
    fixture.command(Command::Fault(ANALYTICS.to_owned(), FaultKind::Oom));
    let (generation, post_mortem) = (Generation(2), refused(Some(1 << 30)));
    fixture.feed(died(generation, SIGABRT, post_mortem));
    let (cause, detail, _) = fixture.death();
    let text = "fault oom: an allocation of 16MiB failed: memory_limit is 1GiB";
    assert_eq!((cause, detail.as_str()), (Cause::Requested, text));
}
