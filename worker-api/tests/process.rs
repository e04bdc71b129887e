//! The real binary. The test acts as its supervisor.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use bulkhead_proto::{
    shm::{memory::SharedMemory, ring::MIN_CAPACITY},
    wire::{
        control::{FromWorker, PROTOCOL, RecoveryHints, Request, RequestOutcome, ToWorker},
        fault::FaultKind,
        ids::Generation,
        role::Role,
    },
    worker::{
        fault::{self, Ending},
        fds::{FDS_VARIABLE, FdHandoff, FdName},
        pipe::{self, Received, Receiver, Sender},
        settings::{Access, Limits, SETTINGS_VARIABLE, Settings},
    },
};
use command_fds::CommandFdExt;
use std::{
    fs::File,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::{fs::FileExt, process::ExitStatusExt},
    process::{Child, Command, ExitStatus, Stdio},
};

/// A worker process and what its supervisor holds.
struct Worker {
    child: Child,
    control: Option<Sender<ToWorker>>,
    frames: Receiver<FromWorker>,
    socket: TcpListener,
    memory: SharedMemory,
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Fails if the worker has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn settings() -> Settings {
    Settings {
        worker: "api".into(),
        role: Role::Api,
        generation: Generation(1),
        faults: true,
        max_series: 4,
        expire_ms: None,
        max_body: 1 << 20,
        limits: Limits::default(),
        access: Access::default(),
        stop_timeout_ms: 10_000,
        log: "info".into(),
    }
}

impl Worker {
    fn spawn() -> Self {
        Self::spawn_by(Command::new(env!("CARGO_BIN_EXE_bulkhead-api")))
    }

    fn spawn_by(command: Command) -> Self {
        Self::spawn_with(command, SharedMemory::create(MIN_CAPACITY, 4, 1).unwrap())
    }

    fn spawn_with(mut command: Command, memory: SharedMemory) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let (control_in, control) = pipe::pair().unwrap();
        let (frames, control_out) = pipe::pair().unwrap();
        let mut handoff = FdHandoff::default();
        handoff.add(FdName::ControlIn, control_in);
        handoff.add(FdName::ControlOut, control_out);
        handoff.add(FdName::Listener, socket.try_clone().unwrap().into());
        memory.pass_to_api(&mut handoff).unwrap();
        command
            .env(FDS_VARIABLE, handoff.variable())
            .env(SETTINGS_VARIABLE, settings().to_json().unwrap())
            .stderr(Stdio::piped())
            .preserved_fds(handoff.into_fds());
        let child = command.spawn().unwrap();
        // The command holds copies of the worker's pipe ends. While they are open, neither side sees the other close.
        drop(command);
        Self { child, control: Some(Sender::new(control)), frames: Receiver::new(frames), socket, memory }
    }

    /// Spawns a worker, checks its hello and activates it.
    fn start() -> Self {
        Self::spawn().activate()
    }

    fn activate(self) -> Self {
        self.expect_hello();
        self.send(&ToWorker::Activate(RecoveryHints::default()));
        self
    }

    fn expect_hello(&self) {
        let Received::Frame(FromWorker::Hello { protocol, build }) = self.frames.recv().unwrap() else {
            panic!("expected a hello first")
        };
        assert_eq!(protocol, PROTOCOL);
        assert!(build.starts_with("bulkhead-api "), "{build}");
        assert_eq!(self.frames.recv().unwrap(), Received::Frame(FromWorker::Ready));
    }

    fn send(&self, frame: &ToWorker) {
        self.control.as_ref().unwrap().send(frame).unwrap();
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(self.socket.local_addr().unwrap()).unwrap()
    }

    fn post_event(&self) -> TcpStream {
        let mut stream = self.connect();
        let body = r#"{"series":"s","value":1}"#;
        write!(
            stream,
            "POST /v1/events HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        stream
    }

    fn wait_for_exit(&mut self) -> (ExitStatus, String) {
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (self.child.wait().unwrap(), log)
    }
}

fn read_response(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn the_worker_says_hello_and_serves_once_activated() {
    let worker = Worker::spawn();
    worker.expect_hello();
    let early = worker.post_event();
    assert_eq!(worker.memory.tail().accepted, 0);
    worker.send(&ToWorker::Activate(RecoveryHints::default()));
    let text = read_response(early);
    assert!(text.starts_with("HTTP/1.1 202"), "{text}");
    assert!(text.ends_with(r#"{"accepted":1,"first_seq":1,"last_seq":1}"#), "{text}");
    assert!(text.contains("x-request-id: g1-1"), "{text}");
    assert_eq!(worker.memory.tail().accepted, 1);
}

#[test]
fn the_worker_drains_on_request_on_a_closed_pipe_and_on_sigterm() {
    let ways: [fn(&mut Worker); 3] = [
        |worker| worker.send(&ToWorker::Drain),
        |worker| drop(worker.control.take()),
        |worker| {
            let pid = rustix::process::Pid::from_child(&worker.child);
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        },
    ];
    for way in ways {
        let mut worker = Worker::start();
        assert!(read_response(worker.post_event()).starts_with("HTTP/1.1 202"));
        way(&mut worker);
        let (status, log) = worker.wait_for_exit();
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(log.contains("drained"), "{log}");
        assert_eq!(worker.frames.recv().unwrap(), Received::Closed);
    }
}

#[test]
fn a_worker_that_was_never_activated_exits_at_once() {
    let mut worker = Worker::spawn();
    worker.expect_hello();
    worker.send(&ToWorker::Drain);
    assert_eq!(worker.wait_for_exit().0.code(), Some(0));
}

#[test]
fn on_a_loopback_address_foreign_hosts_and_pages_are_refused() {
    let mut worker = Worker::start();
    for (request, status) in [
        ("GET /v1/series HTTP/1.1\r\nhost: evil.example\r\n", 421),
        ("GET /v1/series HTTP/1.1\r\nhost: localhost\r\n", 200),
        ("POST /v1/faults/api/flood HTTP/1.1\r\nhost: localhost\r\norigin: http://evil.example\r\n", 403),
        ("POST /v1/faults/api/flood HTTP/1.1\r\nhost: localhost\r\n", 404),
        ("GET /v1/series HTTP/1.1\r\nhost: other.example\r\n", 421),
    ] {
        let mut client = worker.connect();
        write!(client, "{request}connection: close\r\ncontent-length: 0\r\n\r\n").unwrap();
        let text = read_response(client);
        assert!(text.starts_with(&format!("HTTP/1.1 {status}")), "{request:?}: {text}");
    }
    worker.send(&ToWorker::Drain);
    let (_, log) = worker.wait_for_exit();
    for (key, named) in [("api.allowed_hosts", "evil.example"), ("api.cors_origins", "http://evil.example")] {
        let lines: Vec<_> = log.lines().filter(|line| line.contains(key)).collect();
        assert!(lines.len() == 1 && lines[0].contains(named), "one line with {key} and {named}: {log}");
    }
}

#[test]
fn each_fault_ends_the_worker_as_defined() {
    for &kind in FaultKind::ALL.iter().filter(|kind| !kind.is_lasting()) {
        let mut worker = Worker::start();
        worker.send(&ToWorker::Fault(kind));
        let (status, log) = worker.wait_for_exit();
        let found = status.code().map(Ending::Code).or(status.signal().map(Ending::Signal));
        assert_eq!(found, Some(fault::ending(kind)), "{kind}: {log}");
    }
}

#[test]
fn the_request_that_induces_a_fault_is_answered_first() {
    let outcome_frame = |id| ToWorker::Answer { id, outcome: RequestOutcome::Done };
    let fault = |_| ToWorker::Fault(FaultKind::Exit);
    let orders: [[&dyn Fn(u64) -> ToWorker; 2]; 2] = [[&outcome_frame, &fault], [&fault, &outcome_frame]];
    for order in orders {
        let mut worker = Worker::start();
        let mut client = worker.connect();
        write!(client, "POST /v1/faults/api/exit HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n")
            .unwrap();
        let Received::Frame(FromWorker::Request { id, request }) = worker.frames.recv().unwrap() else {
            panic!("expected a request")
        };
        assert_eq!(request, Request::Fault { worker: "api".into(), kind: FaultKind::Exit });
        for frame in order {
            worker.send(&frame(id));
        }
        let text = read_response(client);
        assert!(text.starts_with("HTTP/1.1 202"), "{text}");
        assert_eq!(worker.wait_for_exit().0.code(), Some(3));
    }
}

#[test]
fn a_panic_is_reported_before_the_process_ends() {
    let mut worker = Worker::start();
    worker.send(&ToWorker::Fault(FaultKind::Panic));
    let Received::Frame(FromWorker::Panicked { message, location, thread }) = worker.frames.recv().unwrap()
    else {
        panic!("expected a panic record")
    };
    assert_eq!((message.as_str(), thread.as_str()), (fault::FAULT_PANIC, "main"));
    assert!(location.contains("fault.rs:"), "{location}");
    let (status, log) = worker.wait_for_exit();
    assert_eq!(status.code(), Some(101));
    let line = log.lines().find(|line| line.contains("panicked")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["level"], "ERROR");
}

#[test]
fn without_free_fds_the_worker_closes_idle_connections_and_keeps_serving() {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 24 && exec \"$0\"", env!("CARGO_BIN_EXE_bulkhead-api")]);
    let mut worker = Worker::spawn_by(command).activate();
    let idle: Vec<_> = (0..40).map(|_| worker.connect()).collect();
    assert!(read_response(worker.post_event()).starts_with("HTTP/1.1 202"));
    drop(idle);
    worker.send(&ToWorker::Drain);
    let (status, log) = worker.wait_for_exit();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("cannot accept connections"), "{log}");
    assert!(log.lines().count() < 20, "the failure is logged once: {log}");
}

#[test]
fn a_worker_without_a_supervisor_says_how_to_start_it() {
    let ended = Command::new(env!("CARGO_BIN_EXE_bulkhead-api")).output().unwrap();
    assert_eq!(ended.status.code(), Some(78));
    let text = String::from_utf8(ended.stderr).unwrap();
    assert!(text.contains("started by `bulkhead run`"), "{text}");
}

#[test]
fn memory_of_another_layout_version_is_a_configuration_error() {
    for segment in ["events", "producer", "cursor", "state", "board"] {
        let memory = SharedMemory::create(MIN_CAPACITY, 4, 1).unwrap();
        let mut handoff = FdHandoff::default();
        memory.pass_to_api(&mut handoff).unwrap();
        let variable = handoff.variable();
        let fd = variable.split(',').find_map(|item| item.strip_prefix(&format!("{segment}="))).unwrap();
        // The layout version follows the eight magic bytes. The fd names the memory that the worker will map.
        let file = File::options().write(true).open(format!("/proc/self/fd/{fd}")).unwrap();
        file.write_all_at(&99_u32.to_ne_bytes(), 8).unwrap();
        let (status, log) =
            Worker::spawn_with(Command::new(env!("CARGO_BIN_EXE_bulkhead-api")), memory).wait_for_exit();
        assert_eq!(status.code(), Some(78), "{log}");
        for text in [segment, "layout version is 0x63", "restart the whole service"] {
            assert!(log.contains(text), "no {text:?} in {log}");
        }
    }
}
