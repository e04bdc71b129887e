//! The real `bulkhead-analytics` program. The test acts as its supervisor.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "clippy does not count the helpers of a test as test code")]

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
        settings::{Access, Limits, SETTINGS_VARIABLE, Settings},
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

/// The shared memory of a service and the API's end of it; the analytics worker is a process.
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

    fn start_standby(&self, generation: u64) -> Worker {
        let mut worker = self.spawn(generation);
        assert!(matches!(worker.next_frame(), Some(FromWorker::Hello { protocol: PROTOCOL, .. })));
        assert_eq!(worker.next_frame(), Some(FromWorker::Ready));
        worker
    }

    fn spawn(&self, generation: u64) -> Worker {
        let ((worker_in, to_worker), (from_worker, worker_out)) =
            (pipe::pair().unwrap(), pipe::pair().unwrap());
        let mut handoff = FdHandoff::default();
        handoff.add(FdName::ControlIn, worker_in);
        handoff.add(FdName::ControlOut, worker_out);
        self.memory.pass_to_analytics(&mut handoff).unwrap();
        let settings = Settings {
            worker: "analytics".into(),
            role: Role::Analytics,
            generation: Generation(generation),
            faults: true,
            max_series: 100,
            expire_ms: None,
            max_body: 0,
            limits: Limits::default(),
            access: Access::default(),
            stop_timeout_ms: 5000,
            log: "info".into(),
        };
        let mut command = Command::new(env!("CARGO_BIN_EXE_bulkhead-analytics"));
        command.env(FDS_VARIABLE, handoff.variable()).env(SETTINGS_VARIABLE, settings.to_json().unwrap());
        command.env_remove("RUST_BACKTRACE").stdin(Stdio::null()).stderr(Stdio::piped());
        let child = command.preserved_fds(handoff.into_fds()).spawn().unwrap();
        drop(command);
        Worker { child, to: Some(Sender::new(to_worker)), from: Receiver::new(from_worker) }
    }

    /// Starts a worker and activates it.
    fn activate(&self, generation: u64) -> Worker {
        let worker = self.start_standby(generation);
        worker.send(&ToWorker::Activate(RecoveryHints::default()));
        worker
    }

    fn append(&self, series: &str) {
        let mut batch = Batch::default();
        batch.push(&Event::new(series, 1.0)).unwrap();
        self.api.append(&mut batch).unwrap();
    }

    /// Waits until every accepted event is committed. Only the timeout of the test runner bounds this wait.
    fn wait_until_committed(&self) {
        while self.api.stats().pending > 0 {
            thread::yield_now();
        }
    }
}

impl Worker {
    /// The next frame; `None` after the worker has exited.
    fn next_frame(&mut self) -> Option<FromWorker> {
        match self.from.recv().unwrap() {
            Received::Frame(frame) => Some(frame),
            Received::Empty | Received::Closed => None,
        }
    }

    fn send(&self, frame: &ToWorker) {
        self.to.as_ref().unwrap().send(frame).unwrap();
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the exit; returns the status and the log.
    fn wait_for_exit(mut self) -> (ExitStatus, String) {
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (self.child.wait().unwrap(), log)
    }
}

#[test]
fn a_worker_sends_hello_applies_events_once_activated_and_drains_on_request() {
    let service = Service::new();
    service.append("a");
    let worker = service.activate(1);
    service.wait_until_committed();
    service.append("a");
    worker.send(&ToWorker::Drain);
    let (status, log) = worker.wait_for_exit();
    assert_eq!(status.code(), Some(0), "{log}");
    assert_eq!(service.api.stats().record.analysed, 2);
    assert_eq!(service.api.stats().record.generation, Generation(1));
}

#[test]
fn a_waiting_worker_wakes_for_an_event() {
    let service = Service::new();
    let worker = service.activate(1);
    for _ in 0..50 {
        service.append("a");
        service.wait_until_committed();
    }
    worker.signal(Signal::TERM);
    assert_eq!(worker.wait_for_exit().0.code(), Some(0), "SIGTERM must drain the worker");
}

#[test]
fn the_end_of_the_control_pipe_means_drain() {
    let service = Service::new();
    let mut worker = service.activate(1);
    service.append("a");
    worker.to = None;
    assert_eq!(worker.wait_for_exit().0.code(), Some(0));
    assert_eq!(service.api.stats().record.analysed, 1);
}

#[test]
fn a_standby_applies_nothing_and_exits_on_drain() {
    let service = Service::new();
    service.append("a");
    let standby = service.start_standby(2);
    standby.send(&ToWorker::Drain);
    assert_eq!(standby.wait_for_exit().0.code(), Some(0));
    assert_eq!(service.api.stats().pending, 1);
}

#[test]
fn a_panic_is_reported_by_a_frame_a_panic_record_and_the_log() {
    let service = Service::new();
    let mut worker = service.activate(7);
    service.append("fine");
    service.append("__fault.panic");
    let Some(FromWorker::Panicked { message, location, thread }) = worker.next_frame() else {
        panic!("the worker sent no panic frame");
    };
    let (status, log) = worker.wait_for_exit();
    assert_eq!(status.code(), Some(101));
    assert_eq!((message.as_str(), thread.as_str()), ("injected fault: panic", "main"));
    assert!(location.contains("fault.rs:"), "{location}");
    assert!(log.lines().any(|line| line.contains("\"level\":\"ERROR\"") && line.contains(&message)), "{log}");
    let found = service.memory.claims();
    assert_eq!(found.in_flight, Some(Seq(2)));
    let record = found.panic_record.unwrap();
    assert_eq!((record.generation, record.message), (Generation(7), message));
}

#[test]
fn a_refused_allocation_is_recorded_with_the_event_in_flight() {
    let service = Service::new();
    let worker = service.activate(7);
    service.append("fine");
    service.append("__fault.oom");
    let (status, log) = worker.wait_for_exit();
    assert_eq!(status.signal(), Some(6), "{log}");
    let found = service.memory.claims();
    assert_eq!(
        (found.in_flight, found.allocation_failure.map(|refused| refused.generation)),
        (Some(Seq(2)), Some(Generation(7)))
    );
}

#[test]
fn a_fault_frame_ends_the_process_as_that_fault_does() {
    for &kind in FaultKind::ALL.iter().filter(|kind| !kind.is_lasting()) {
        let service = Service::new();
        let worker = service.activate(1);
        worker.send(&ToWorker::Fault(kind));
        let (status, log) = worker.wait_for_exit();
        let found = status.code().map(Ending::Code).or(status.signal().map(Ending::Signal));
        assert_eq!(found, Some(fault::ending(kind)), "{kind}: {log}");
    }
}

#[test]
fn every_event_counts_once_whenever_the_worker_is_killed() {
    let service = Service::new();
    let series = ["a", "b", "c"];
    for generation in 1..=30 {
        let worker = service.activate(generation);
        for event in 0..200 {
            service.append(series[event % 3]);
            // The moment of the kill differs from generation to generation.
            if event as u64 == generation * 6 {
                worker.signal(Signal::KILL);
            }
        }
        worker.wait_for_exit();
    }
    let mut worker = service.activate(31);
    service.wait_until_committed();
    worker.to = None;
    worker.wait_for_exit();
    let counts = series.map(|name| {
        let public = service.api.view().public(name).public().unwrap();
        let public: serde_json::Value = serde_json::from_slice(&public).unwrap();
        public["count"].as_u64().unwrap()
    });
    assert_eq!(counts, [30 * 67, 30 * 67, 30 * 66]);
    assert_eq!(service.api.stats().record.analysed, 6000);
}

#[test]
fn without_a_supervisor_the_error_says_how_to_start_the_program() {
    let output = Command::new(env!("CARGO_BIN_EXE_bulkhead-analytics")).output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(log.contains("this program is started by `bulkhead run`, not by hand"), "{log}");
}

#[test]
fn memory_of_another_layout_is_refused_with_exit_code_78() {
    for segment in ["events", "producer", "cursor", "state"] {
        let service = Service::new();
        let mut handoff = FdHandoff::default();
        service.memory.pass_to_analytics(&mut handoff).unwrap();
        let variable = handoff.variable();
        let fd = variable.split(',').find_map(|item| item.strip_prefix(&format!("{segment}="))).unwrap();
        // The layout version follows the eight bytes of magic. The fd refers to the memory that the worker
        // will get.
        let memory = File::options().write(true).open(format!("/proc/self/fd/{fd}")).unwrap();
        memory.write_all_at(&99_u32.to_ne_bytes(), 8).unwrap();
        let (status, log) = service.spawn(1).wait_for_exit();
        assert_eq!(status.code(), Some(78), "{log}");
        for text in [segment, "layout version is 0x63", "restart the whole service"] {
            assert!(log.contains(text), "no {text:?} in {log}");
        }
    }
}
