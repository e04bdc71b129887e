//! Deaths for want of memory, and those that only look like it.

use super::bench::{ANALYTICS, Bench, SIGABRT, SIGKILL, SIGSEGV};
use crate::step::{
    Action, Command, Event, Exit, Panic, PostMortem, Refusal,
    policy::{MAX_DETAIL, START_SPACING},
};
use bulkhead_proto::wire::{
    cause::Cause,
    fault::FaultKind,
    ids::{Generation, Seq},
};

fn refused(limit: Option<u64>) -> PostMortem {
    PostMortem { refused: Some(Refusal { bytes: 16 << 20, limit }), ..PostMortem::default() }
}

fn killed_by_the_kernel() -> PostMortem {
    let (in_hand, head) = (Some(Seq(1)), Seq(1));
    PostMortem { in_hand, head, out_of_memory: true, ..PostMortem::default() }
}

/// The cause and the detail of a death of the analysis.
fn death(exit: Exit, post_mortem: PostMortem) -> (Cause, String) {
    let mut bench = Bench::running();
    bench.feed(Event::Died { generation: Generation(2), exit, post_mortem });
    let (cause, detail, _) = bench.death();
    (cause, detail)
}

#[test]
fn an_abort_upon_a_refusal_is_a_want_of_memory_and_names_the_limit() {
    let limited = "16MiB more were refused: memory_limit is 1GiB".to_owned();
    assert_eq!(death(SIGABRT, refused(Some(1 << 30))), (Cause::Oom, limited));
    let unlimited = "16MiB more were refused: the system has no more, or does not give it".to_owned();
    assert_eq!(death(SIGABRT, refused(None)), (Cause::Oom, unlimited));
}

#[test]
fn a_refusal_that_was_got_over_does_not_explain_a_death_of_another_kind() {
    let ends = [(SIGSEGV, Cause::Signal), (SIGKILL, Cause::Signal), (Exit::Code(1), Cause::Exit)];
    for (exit, cause) in ends {
        assert_eq!(death(exit, refused(None)).0, cause, "{exit:?}");
    }
    let panic = Some(Panic { message: "boom".to_owned(), ..Panic::default() });
    assert_eq!(death(SIGABRT, PostMortem { panic, ..refused(None) }).0, Cause::Panic);
    assert_eq!(death(SIGABRT, PostMortem::default()), (Cause::Signal, "SIGABRT".to_owned()));
}

#[test]
fn whatever_size_a_liar_names_the_detail_is_short() {
    let refused = Some(Refusal { bytes: u64::MAX, limit: Some(u64::MAX) });
    let (cause, detail) = death(SIGABRT, PostMortem { refused, ..PostMortem::default() });
    assert!(cause == Cause::Oom && detail.len() <= MAX_DETAIL, "{detail}");
}

#[test]
fn a_kill_of_the_kernels_is_told_from_other_kills() {
    let text = "killed by the kernel for want of memory".to_owned();
    assert_eq!(death(SIGKILL, killed_by_the_kernel()), (Cause::Oom, text));
    assert_eq!(death(SIGSEGV, killed_by_the_kernel()).0, Cause::Signal);
}

#[test]
fn a_kill_of_the_kernels_counts_as_an_attempt_in_full() {
    let mut bench = Bench::running();
    bench.state.policy.max_attempts = 2;
    for last in [false, true] {
        bench.wait(START_SPACING);
        let generation = bench.worker(ANALYTICS).generation;
        bench.feed(Event::Died { generation, exit: SIGKILL, post_mortem: killed_by_the_kernel() });
        let set_aside = bench.last.iter().any(|action| matches!(action, Action::SetAside(_)));
        assert_eq!(set_aside, last);
        bench.comes_up(bench.worker(ANALYTICS).generation);
    }
}

#[test]
fn the_fault_is_told_with_what_was_refused() {
    let mut bench = Bench::running();
    bench.command(Command::Fault(ANALYTICS.to_owned(), FaultKind::Oom));
    let (generation, post_mortem) = (Generation(2), refused(Some(1 << 30)));
    bench.feed(Event::Died { generation, exit: SIGABRT, post_mortem });
    let (cause, detail, _) = bench.death();
    let text = "fault oom: 16MiB more were refused: memory_limit is 1GiB";
    assert_eq!((cause, detail.as_str()), (Cause::Requested, text));
}
