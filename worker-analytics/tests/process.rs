//! The real program under a supervisor that is this test.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "clippy counts the helpers of a test as outside tests")]

use bulkhead_proto::{
    shm::{
        memory::SharedMemory,
        ring::{Batch, MIN_CAPACITY},
    },
    wire::{
        control::{FromWorker, PROTOCOL, RecoveryHints, ToWorker},
        event::Event,
        fault::FaultKind,
        ids::{Generation, Seq},
        role::Role,
    },
    worker::{
        fault::{self, Ending},
        fds::{FDS_VARIABLE, FdHandoff, FdName},
        link::ApiLink,
        pipe::{self, Received, Receiver, Sender},
        settings::{Limits, SETTINGS_VARIABLE, Settings},
    },
};
use command_fds::CommandFdExt;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::File,
    io::Read,
    os::unix::{fs::FileExt, process::ExitStatusExt},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
};

/// A service's memory and the API's end of it; the analysis is a process.
struct Service {
    memory: SharedMemory,
    api: ApiLink,
}

struct Worker {
    child: Child,
    to: Option<Sender<ToWorker>>,
    from: Receiver<FromWorker>,
}

impl Service {
    fn new() -> Self {
        let memory = SharedMemory::create(MIN_CAPACITY, 100, 1).unwrap();
        Self { api: ApiLink::open_in_process(&memory).unwrap(), memory }
    }

    fn start(&self, generation: u64) -> Worker {
        let mut worker = self.spawn(generation);
        assert!(matches!(worker.next(), Some(FromWorker::Hello { protocol: PROTOCOL, .. })));
        assert_eq!(worker.next(), Some(FromWorker::Ready));
        worker
    }

    fn spawn(&self, generation: u64) -> Worker {
        let ((their_in, our_out), (our_in, their_out)) = (pipe::pair().unwrap(), pipe::pair().unwrap());
        let mut bequest = FdHandoff::default();
        bequest.add(FdName::ControlIn, their_in);
        bequest.add(FdName::ControlOut, their_out);
        self.memory.pass_to_analytics(&mut bequest).unwrap();
        let settings = Settings {
            worker: "analytics".into(),
            role: Role::Analytics,
            generation: Generation(generation),
            faults: true,
            max_series: 100,
            max_body: 0,
            limits: Limits::default(),
            stop_timeout_ms: 5000,
            log: "info".into(),
        };
        let mut command = Command::new(env!("CARGO_BIN_EXE_bulkhead-analytics"));
        command.env(FDS_VARIABLE, bequest.variable()).env(SETTINGS_VARIABLE, settings.to_json().unwrap());
        command.env_remove("RUST_BACKTRACE").stdin(Stdio::null()).stderr(Stdio::piped());
        let child = command.preserved_fds(bequest.into_fds()).spawn().unwrap();
        drop(command);
        Worker { child, to: Some(Sender::new(our_out)), from: Receiver::new(our_in) }
    }

    /// Starts an analysis and makes it the active one.
    fn activate(&self, generation: u64) -> Worker {
        let worker = self.start(generation);
        worker.say(&ToWorker::Activate(RecoveryHints::default()));
        worker
    }

    fn append(&self, series: &str) {
        let mut batch = Batch::default();
        let event =
            Event { series, value: 1.0, ts_ms: 0, arrived_ms: 0, label: None, data: None, request_id: None };
        batch.push(&event).unwrap();
        self.api.append(&mut batch).unwrap();
    }

    /// Waits until all that was accepted is committed. Bounded by the runner's patience alone.
    fn wait_until_analysed(&self) {
        while self.api.stats().pending > 0 {
            thread::yield_now();
        }
    }
}

impl Worker {
    /// The next frame; none when the worker is gone.
    fn next(&mut self) -> Option<FromWorker> {
        match self.from.recv().unwrap() {
            Received::Frame(frame) => Some(frame),
            Received::Empty | Received::Closed => None,
        }
    }

    fn say(&self, frame: &ToWorker) {
        self.to.as_ref().unwrap().send(frame).unwrap();
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end; also what it logged.
    fn end(mut self) -> (ExitStatus, String) {
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (self.child.wait().unwrap(), log)
    }
}

#[test]
fn an_analysis_says_hello_works_when_it_is_activated_and_drains_when_told() {
    let service = Service::new();
    service.append("a");
    let worker = service.activate(1);
    service.wait_until_analysed();
    service.append("a");
    worker.say(&ToWorker::Drain);
    let (status, log) = worker.end();
    assert_eq!(status.code(), Some(0), "{log}");
    assert_eq!(service.api.stats().record.analysed, 2);
    assert_eq!(service.api.stats().record.generation, Generation(1));
}

#[test]
fn a_parked_analysis_wakes_for_an_event() {
    let service = Service::new();
    let worker = service.activate(1);
    for _ in 0..50 {
        service.append("a");
        service.wait_until_analysed();
    }
    worker.signal(Signal::TERM);
    assert_eq!(worker.end().0.code(), Some(0), "SIGTERM means drain, too");
}

#[test]
fn the_end_of_the_control_pipe_means_drain() {
    let service = Service::new();
    let mut worker = service.activate(1);
    service.append("a");
    worker.to = None;
    assert_eq!(worker.end().0.code(), Some(0));
    assert_eq!(service.api.stats().record.analysed, 1);
}

#[test]
fn one_that_stands_by_touches_nothing_and_leaves_when_told() {
    let service = Service::new();
    service.append("a");
    let standby = service.start(2);
    standby.say(&ToWorker::Drain);
    assert_eq!(standby.end().0.code(), Some(0));
    assert_eq!(service.api.stats().pending, 1);
}

#[test]
fn a_panic_is_told_in_a_frame_on_the_page_and_in_the_log() {
    let service = Service::new();
    let mut worker = service.activate(7);
    service.append("fine");
    service.append("__fault.panic");
    let Some(FromWorker::Panicked { message, location, thread }) = worker.next() else {
        panic!("no word of the panic");
    };
    let (status, log) = worker.end();
    assert_eq!(status.code(), Some(101));
    assert_eq!((message.as_str(), thread.as_str()), ("injected fault: panic", "main"));
    assert!(location.contains("fault.rs:"), "{location}");
    assert!(log.lines().any(|line| line.contains("\"level\":\"ERROR\"") && line.contains(&message)), "{log}");
    let found = service.memory.post_mortem();
    assert_eq!(found.in_flight, Some(Seq(2)));
    let words = found.panic_record.unwrap();
    assert_eq!((words.generation, words.message), (Generation(7), message));
}

#[test]
fn a_refusal_of_memory_is_noted_with_the_event_in_hand() {
    let service = Service::new();
    let worker = service.activate(7);
    service.append("fine");
    service.append("__fault.oom");
    let (status, log) = worker.end();
    assert_eq!(status.signal(), Some(6), "{log}");
    let found = service.memory.post_mortem();
    assert_eq!(
        (found.in_flight, found.allocation_failure.map(|refused| refused.generation)),
        (Some(Seq(2)), Some(Generation(7)))
    );
}

#[test]
fn faults_by_frame_end_it_in_their_way() {
    for &kind in FaultKind::ALL.iter().filter(|kind| !kind.is_lasting()) {
        let service = Service::new();
        let worker = service.activate(1);
        worker.say(&ToWorker::Fault(kind));
        let (status, log) = worker.end();
        let found = status.code().map(Ending::Code).or(status.signal().map(Ending::Signal));
        assert_eq!(found, Some(fault::ending(kind)), "{kind}: {log}");
    }
}

#[test]
fn whoever_is_killed_at_any_moment_every_event_counts_once() {
    let service = Service::new();
    let series = ["a", "b", "c"];
    for generation in 1..=30 {
        let worker = service.activate(generation);
        for event in 0..200 {
            service.append(series[event % 3]);
            // A moment that differs from turn to turn.
            if event as u64 == generation * 6 {
                worker.signal(Signal::KILL);
            }
        }
        worker.end();
    }
    let mut worker = service.activate(31);
    service.wait_until_analysed();
    worker.to = None;
    worker.end();
    let counts = series.map(|name| {
        let (public, _) = service.api.view().public(name).unwrap();
        let public: serde_json::Value = serde_json::from_slice(&public).unwrap();
        public["count"].as_u64().unwrap()
    });
    assert_eq!(counts, [30 * 67, 30 * 67, 30 * 66]);
    assert_eq!(service.api.stats().record.analysed, 6000);
}

#[test]
fn started_by_hand_it_says_how_it_should_be_started() {
    let output = Command::new(env!("CARGO_BIN_EXE_bulkhead-analytics")).output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(log.contains("this program is started by `bulkhead run`, not by hand"), "{log}");
}

#[test]
fn memory_of_another_layout_is_a_matter_of_configuration_and_never_guessed_at() {
    for segment in ["events", "producer", "cursor", "state"] {
        let service = Service::new();
        let mut bequest = FdHandoff::default();
        service.memory.pass_to_analytics(&mut bequest).unwrap();
        let variable = bequest.variable();
        let fd = variable.split(',').find_map(|item| item.strip_prefix(&format!("{segment}="))).unwrap();
        // Behind the eight bytes of magic stands the version of the layout; the fd names the very memory that the worker gets.
        let memory = File::options().write(true).open(format!("/proc/self/fd/{fd}")).unwrap();
        memory.write_all_at(&99_u32.to_ne_bytes(), 8).unwrap();
        let (status, log) = service.spawn(1).end();
        assert_eq!(status.code(), Some(78), "{log}");
        for text in [segment, "layout version is 0x63", "restart the whole service"] {
            assert!(log.contains(text), "no {text:?} in {log}");
        }
    }
}
