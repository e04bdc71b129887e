//! The record of a death, and the reason of each decision.

use super::fixture::{ANALYTICS, API, Fixture, PLAIN, SIGKILL, SIGSEGV, died};
use crate::core::{
    Command, DeathRecord, Event, Evidence, ExitStatus, GenerationRef, MAX_KILLS, Policy, PostMortem,
    QuarantineRequest, RestartDecision, Stack,
    policy::{HEALTHY_AFTER, START_SPACING},
};
use bulkhead_proto::{
    shm::cursor::SignalInfo,
    wire::{
        cause::{Cause, Operation},
        control::FromWorker,
        crash::{FatalSignal, OutputLine, Panic, Report, Resources},
        fault::FaultKind,
        ids::{CrashId, Generation, Seq},
        quarantine::EventView,
        role::Role,
    },
};
use std::{fs::File, sync::Arc, time::Duration};

impl Fixture {
    /// Lets the active analysis die, and starts the next one. Returns the report of the death.
    fn die_and_report(&mut self, exit: ExitStatus, post_mortem: PostMortem) -> Report {
        self.advance(START_SPACING);
        let generation = self.worker(ANALYTICS).generation;
        self.feed(died(generation, exit, post_mortem));
        let report = self.death_record().report;
        self.end_backoff();
        self.become_ready(self.worker(ANALYTICS).generation);
        report
    }
}

fn service() -> Fixture {
    Fixture::with(Policy { faults: true, ..Policy::default() }).up()
}

fn applying(seq: u64) -> PostMortem {
    let (committed, in_flight) = (Seq(seq - 1), Some(Seq(seq)));
    PostMortem { in_flight, committed, head: Seq(100), ..PostMortem::default() }
}

#[test]
fn a_record_has_the_crash_number_and_the_event_in_flight() {
    let mut fixture = service();
    let report = fixture.die_and_report(SIGSEGV, applying(7));
    assert_eq!((report.id, report.role, report.generation), (CrashId(1), Role::Analytics, Generation(2)));
    assert_eq!((report.cause, report.signal.unwrap().number), (Cause::Signal, 11));
    assert_eq!(
        (report.seq, report.during, report.attempts, report.max_attempts),
        (Some(Seq(7)), Some(Operation::Apply), Some(1), Some(2))
    );
    assert_eq!(report.decision, "restart now");
    let loading = PostMortem { loading: true, ..applying(8) };
    let report = fixture.die_and_report(SIGSEGV, loading);
    assert_eq!((report.id, report.during), (CrashId(2), Some(Operation::Load)));
}

#[test]
fn a_record_has_the_attempts_and_what_happens_to_the_event() {
    let mut fixture = service();
    let first = fixture.die_and_report(SIGSEGV, PostMortem { committed: Seq(0), ..applying(7) });
    assert_eq!(first.why, "event 7: attempt 1 of 2; tried again; first death without progress");
    let killed = fixture.die_and_report(SIGKILL, applying(7));
    assert_eq!((killed.attempts, killed.max_attempts), (Some(1), Some(MAX_KILLS)), "{killed:?}");
    let last = fixture.die_and_report(SIGSEGV, applying(7));
    assert_eq!((last.attempts, last.max_attempts), (Some(2), Some(2)));
    assert!(last.why.starts_with("event 7: attempt 2 of 2; quarantined next; "), "{}", last.why);
    let Report { worker, generation, pid, id: crash, cause, detail, .. } = last;
    let charge = QuarantineRequest {
        subject: GenerationRef { worker, generation, pid },
        seq: Seq(7),
        attempts: 3,
        during: Operation::Apply,
        crash,
        cause,
        detail,
    };
    fixture.feed(Event::Quarantined { request: charge, result: Err("the disk is full".into()) });
    let more = fixture.die_and_report(SIGSEGV, applying(7));
    assert!(more.why.starts_with("event 7: attempt 3 (limit 2); quarantined next"), "{}", more.why);
}

#[test]
fn a_death_in_a_commit_of_several_events_names_none() {
    let mut fixture = service();
    let committing =
        PostMortem { committing: Some(Seq(9)), committed: Seq(4), head: Seq(100), ..PostMortem::default() };
    let several = fixture.die_and_report(SIGSEGV, committing.clone());
    assert_eq!((several.seq, several.during, several.attempts), (None, Some(Operation::Commit), None));
    let report = fixture.die_and_report(SIGSEGV, PostMortem { committed: Seq(8), ..committing });
    assert_eq!((report.seq, report.during), (Some(Seq(9)), Some(Operation::Commit)));
}

#[test]
fn a_record_has_the_whole_panic_although_the_state_cuts_it() {
    let mut fixture = service();
    let message = "x".repeat(1000);
    let panic = Panic { message: message.clone(), location: "x.rs:1:2".into(), thread: "main".into() };
    let report =
        fixture.die_and_report(ExitStatus::Code(101), PostMortem { panic: Some(panic), ..applying(7) });
    assert_eq!(report.panic.unwrap().message, message);
    let frame =
        FromWorker::Panicked { message: "no".into(), location: "y.rs:1:2".into(), thread: "t".into() };
    fixture.receive(fixture.worker(ANALYTICS).generation, frame);
    let report = fixture.die_and_report(ExitStatus::Code(101), applying(7));
    assert_eq!(report.panic.unwrap().message, "no", "reported by frame only");
}

#[test]
fn a_requested_death_does_not_count() {
    let mut fixture = service();
    fixture.command(Command::Fault(ANALYTICS.to_owned(), FaultKind::Segv));
    let report = fixture.die_and_report(SIGSEGV, applying(7));
    assert_eq!((report.cause, report.attempts), (Cause::Requested, None));
    assert_eq!(report.seq, Some(Seq(7)), "the event was in flight, although the death was requested");
    assert_eq!(report.why, "the death was requested and does not count");
}

/// The record of the death of a worker's last generation.
fn record_of(fixture: &mut Fixture, worker: &str, exit: ExitStatus) -> DeathRecord {
    let generation = fixture.worker(worker).generation;
    fixture.feed(died(generation, exit, PostMortem::default()));
    fixture.death_record()
}

#[test]
fn an_orderly_stop_takes_a_crash_number_and_is_not_the_last_crash() {
    let mut fixture = service();
    let crash = fixture.die_and_report(SIGSEGV, applying(7)).id;
    fixture.command(Command::Stop(ANALYTICS.to_owned()));
    let stop = record_of(&mut fixture, ANALYTICS, ExitStatus::Code(0));
    assert_eq!((stop.orderly_stop, stop.report.id), (true, crash.next()));
    assert_eq!(fixture.worker(ANALYTICS).last_crash.as_ref().unwrap().id, crash);
}

#[test]
fn an_induced_fault_and_a_stop_by_sigkill_are_no_orderly_stops() {
    let mut fixture = service();
    fixture.command(Command::Fault(ANALYTICS.to_owned(), FaultKind::Segv));
    let fault = record_of(&mut fixture, ANALYTICS, SIGSEGV);
    assert_eq!((fault.report.cause, fault.orderly_stop), (Cause::Requested, false));

    fixture.command(Command::Stop(PLAIN.to_owned()));
    fixture.advance(Duration::from_secs(5));
    let killed = record_of(&mut fixture, PLAIN, SIGKILL);
    assert_eq!((killed.report.cause, killed.orderly_stop), (Cause::Requested, false));
    assert_eq!(fixture.worker(PLAIN).last_crash.as_ref().unwrap().id, killed.report.id);
}

#[test]
fn each_decision_has_its_reason() {
    let mut fixture = service();
    fixture.advance(HEALTHY_AFTER);
    assert_eq!(fixture.die_and_report(SIGSEGV, PostMortem::default()).why, "progress since the last death");

    fixture.command(Command::Stop(API.to_owned()));
    fixture.feed(died(Generation(1), ExitStatus::Code(0), PostMortem::default()));
    assert_eq!(fixture.death_record().report.why, "stopped by command");

    let generation = fixture.worker(ANALYTICS).generation;
    fixture.feed(died(generation, ExitStatus::Code(78), PostMortem::default()));
    assert_eq!(
        (fixture.death_record().next, fixture.death_record().report.why.as_str()),
        (RestartDecision::Parked(None), "a retry cannot help")
    );
}

#[test]
fn a_failed_spawn_has_a_record_without_exit_status() {
    let mut fixture = Fixture::new();
    fixture.feed(Event::Boot);
    fixture.feed(Event::SpawnFailed {
        generation: Generation(1),
        error: "no such file".into(),
        config: true,
    });
    let report = fixture.death_record().report;
    assert_eq!((report.exit_code, report.signal, report.pid), (None, None, None));
    assert_eq!(report.cause, Cause::Config);
}

#[test]
fn parking_has_its_reason() {
    let mut fixture = Fixture::with(Policy { limit: 1, ..Policy::default() }).up();
    let post_mortem = PostMortem { committed: Seq(0), ..applying(7) };
    fixture.feed(died(Generation(2), SIGSEGV, post_mortem));
    let why = fixture.death_record().report.why;
    assert!(why.ends_with("; 1 death without progress within 30.0 s"), "{why}");
}

#[test]
fn a_report_has_what_the_process_left() {
    let event = EventView {
        series: "s".into(),
        removal: false,
        value: Some(1.5),
        ts: String::new(),
        arrived: String::new(),
        label: None,
        data: None,
        data_bytes: None,
        request_id: Some("r-1".into()),
    };
    let output = vec![OutputLine { stream: "stderr".into(), text: "no".into() }];
    let evidence = Evidence {
        event: Some(event.clone()),
        resources: Some(Resources { peak_rss_bytes: 4096, user_ms: 3, system_ms: 0 }),
        output: output.clone(),
        output_dropped: 7,
        thread_dump: vec!["main: running".into()],
        ..Evidence::default()
    };
    let mut fixture = service();
    let started = fixture.now;
    let report = fixture.die_and_report(ExitStatus::Code(101), PostMortem { evidence, ..applying(7) });
    assert_eq!((report.event, report.request_id.as_deref()), (Some(event), Some("r-1")));
    assert_eq!(report.resources.unwrap().peak_rss_bytes, 4096);
    assert_eq!((report.output, report.output_dropped), (output, 7));
    assert_eq!(report.thread_dump, ["main: running"]);
    assert_eq!((report.exit_code, report.signal), (Some(101), None));
    assert_eq!((report.at.as_str(), report.uptime_ms), ("2023-11-14T22:13:20.020Z", 20), "{started:?}");
}

/// The signal in the report of a death by this signal.
fn reported_signal(number: i32, core: bool, signalled: Option<SignalInfo>) -> FatalSignal {
    let exit = ExitStatus::Signal { number, core };
    service().die_and_report(exit, PostMortem { signalled, ..applying(7) }).signal.unwrap()
}

#[test]
fn a_signal_has_its_name_if_there_is_one() {
    for (number, name) in [(11, Some("SIGSEGV")), (63, None)] {
        let signal = reported_signal(number, true, None);
        assert_eq!((signal.number, signal.name.as_deref(), signal.core), (number, name, true));
    }
}

#[test]
fn only_the_fatal_signal_has_a_code_and_only_a_kernel_signal_has_an_address() {
    let signal_of = |number, code| {
        let signal = reported_signal(11, false, Some(SignalInfo { number, code, address: 8 }));
        (signal.code, signal.address)
    };
    assert_eq!(signal_of(11, 1), (Some("SEGV_MAPERR".into()), Some("0x8".into())));
    assert_eq!(signal_of(11, 0), (Some("SI_USER".into()), None));
    assert_eq!(signal_of(11, 77), (Some("si_code 77".into()), Some("0x8".into())));
    assert_eq!(signal_of(7, 1), (None, None), "the record is of another signal");
}

#[test]
fn a_report_bounds_the_texts_of_a_panic() {
    let long = "x".repeat(4096);
    let panic = Panic { message: long.clone(), location: long.clone(), thread: long };
    let report =
        service().die_and_report(ExitStatus::Code(101), PostMortem { panic: Some(panic), ..applying(7) });
    let Panic { message, location, thread } = report.panic.unwrap();
    assert_eq!([message.len(), location.len(), thread.len()], [1024; 3]);
}

#[test]
fn each_signal_code_has_the_name_from_sigaction() {
    let names = [
        (11, 1, "SEGV_MAPERR"),
        (11, 2, "SEGV_ACCERR"),
        (7, 1, "BUS_ADRALN"),
        (7, 2, "BUS_ADRERR"),
        (8, 1, "FPE_INTDIV"),
        (4, 2, "ILL_ILLOPN"),
        (6, 0, "SI_USER"),
        (6, -6, "SI_TKILL"),
        (11, 128, "SI_KERNEL"),
        (8, 2, "si_code 2"),
    ];
    for (number, code, name) in names {
        let recorded = SignalInfo { number, code, address: 8 };
        assert_eq!(reported_signal(number, false, Some(recorded)).code.as_deref(), Some(name), "{number}");
    }
}

#[test]
fn stacks_are_equal_if_their_frames_are() {
    let stack = |frames: &[u64], program| Stack { program, frames: frames.to_vec() };
    let program = || Some(Arc::new(File::open("/proc/self/exe").unwrap()));
    assert_eq!(stack(&[1, 2], program()), stack(&[1, 2], None));
    assert_ne!(stack(&[1, 2], None), stack(&[1, 3], None));
}
