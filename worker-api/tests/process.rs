//! The real binary, with the test as its supervisor.
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
        settings::{Limits, SETTINGS_VARIABLE, Settings},
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

/// A worker, and all that its supervisor holds.
struct Worker {
    child: Child,
    control: Option<Sender<ToWorker>>,
    said: Receiver<FromWorker>,
    socket: TcpListener,
    memory: SharedMemory,
}

impl Drop for Worker {
    fn drop(&mut self) {
        // A worker that has ended by now cannot be killed, which is as well.
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
        max_body: 1 << 20,
        limits: Limits::default(),
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
        let (said, control_out) = pipe::pair().unwrap();
        let mut bequest = FdHandoff::default();
        bequest.add(FdName::ControlIn, control_in);
        bequest.add(FdName::ControlOut, control_out);
        bequest.add(FdName::Listener, socket.try_clone().unwrap().into());
        memory.pass_to_api(&mut bequest).unwrap();
        command
            .env(FDS_VARIABLE, bequest.variable())
            .env(SETTINGS_VARIABLE, settings().to_json().unwrap())
            .stderr(Stdio::piped())
            .preserved_fds(bequest.into_fds());
        let child = command.spawn().unwrap();
        // It holds copies of the worker's ends: while they live, neither side would ever see the other's end.
        drop(command);
        Self { child, control: Some(Sender::new(control)), said: Receiver::new(said), socket, memory }
    }

    /// Spawned, greeted and activated.
    fn start() -> Self {
        Self::spawn().activated()
    }

    fn activated(self) -> Self {
        self.greeted();
        self.say(&ToWorker::Activate(RecoveryHints::default()));
        self
    }

    fn greeted(&self) {
        let Received::Frame(FromWorker::Hello { protocol, build }) = self.said.recv().unwrap() else {
            panic!("a hello is expected first")
        };
        assert_eq!(protocol, PROTOCOL);
        assert!(build.starts_with("bulkhead-api "), "{build}");
        assert_eq!(self.said.recv().unwrap(), Received::Frame(FromWorker::Ready));
    }

    fn say(&self, frame: &ToWorker) {
        self.control.as_ref().unwrap().send(frame).unwrap();
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(self.socket.local_addr().unwrap()).unwrap()
    }

    fn ask(&self) -> TcpStream {
        let mut stream = self.connect();
        let body = r#"{"series":"s","value":1}"#;
        write!(
            stream,
            "POST /v1/events HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        stream
    }

    fn end(&mut self) -> (ExitStatus, String) {
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (self.child.wait().unwrap(), log)
    }
}

fn answer(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn it_greets_and_serves_when_it_is_activated() {
    let worker = Worker::spawn();
    worker.greeted();
    let early = worker.ask();
    assert_eq!(worker.memory.tail().accepted, 0);
    worker.say(&ToWorker::Activate(RecoveryHints::default()));
    let text = answer(early);
    assert!(text.starts_with("HTTP/1.1 202"), "{text}");
    assert!(text.ends_with(r#"{"accepted":1,"first_seq":1,"last_seq":1}"#), "{text}");
    assert!(text.contains("x-request-id: g1-1"), "{text}");
    assert_eq!(worker.memory.tail().accepted, 1);
}

#[test]
fn it_drains_when_it_is_told_to_when_it_is_alone_and_on_sigterm() {
    let ways: [fn(&mut Worker); 3] = [
        |worker| worker.say(&ToWorker::Drain),
        |worker| drop(worker.control.take()),
        |worker| {
            let pid = rustix::process::Pid::from_child(&worker.child);
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        },
    ];
    for way in ways {
        let mut worker = Worker::start();
        assert!(answer(worker.ask()).starts_with("HTTP/1.1 202"));
        way(&mut worker);
        let (status, log) = worker.end();
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(log.contains("drained"), "{log}");
        assert_eq!(worker.said.recv().unwrap(), Received::Closed);
    }
}

#[test]
fn it_leaves_at_once_when_it_was_never_activated() {
    let mut worker = Worker::spawn();
    worker.greeted();
    worker.say(&ToWorker::Drain);
    assert_eq!(worker.end().0.code(), Some(0));
}

#[test]
fn it_dies_as_it_is_told_to() {
    for &kind in FaultKind::ALL.iter().filter(|kind| !kind.is_lasting()) {
        let mut worker = Worker::start();
        worker.say(&ToWorker::Fault(kind));
        let (status, log) = worker.end();
        let found = status.code().map(Ending::Code).or(status.signal().map(Ending::Signal));
        assert_eq!(found, Some(fault::ending(kind)), "{kind}: {log}");
    }
}

#[test]
fn who_asks_for_its_death_over_http_is_answered_first() {
    let answered = |id| ToWorker::Answer { id, outcome: RequestOutcome::Done };
    let fault = |_| ToWorker::Fault(FaultKind::Exit);
    let orders: [[&dyn Fn(u64) -> ToWorker; 2]; 2] = [[&answered, &fault], [&fault, &answered]];
    for order in orders {
        let mut worker = Worker::start();
        let mut client = worker.connect();
        write!(client, "POST /v1/faults/api/exit HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n").unwrap();
        let Received::Frame(FromWorker::Request { id, request }) = worker.said.recv().unwrap() else {
            panic!("a request is expected")
        };
        assert_eq!(request, Request::Fault { worker: "api".into(), kind: FaultKind::Exit });
        for frame in order {
            worker.say(&frame(id));
        }
        let text = answer(client);
        assert!(text.starts_with("HTTP/1.1 202"), "{text}");
        assert_eq!(worker.end().0.code(), Some(3));
    }
}

#[test]
fn a_panic_is_reported_before_the_end() {
    let mut worker = Worker::start();
    worker.say(&ToWorker::Fault(FaultKind::Panic));
    let Received::Frame(FromWorker::Panicked { message, location, thread }) = worker.said.recv().unwrap()
    else {
        panic!("a report is expected")
    };
    assert_eq!((message.as_str(), thread.as_str()), (fault::FAULT_PANIC, "main"));
    assert!(location.contains("fault.rs:"), "{location}");
    let (status, log) = worker.end();
    assert_eq!(status.code(), Some(101));
    let line = log.lines().find(|line| line.contains("panicked")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["level"], "ERROR");
}

#[test]
fn without_fds_for_more_connections_it_closes_idle_ones_and_goes_on() {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 24 && exec \"$0\"", env!("CARGO_BIN_EXE_bulkhead-api")]);
    let mut worker = Worker::spawn_by(command).activated();
    let idle: Vec<_> = (0..40).map(|_| worker.connect()).collect();
    assert!(answer(worker.ask()).starts_with("HTTP/1.1 202"));
    drop(idle);
    worker.say(&ToWorker::Drain);
    let (status, log) = worker.end();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("cannot accept connections"), "{log}");
    assert!(log.lines().count() < 20, "it does not go on about it: {log}");
}

#[test]
fn started_by_hand_it_says_what_to_do() {
    let ended = Command::new(env!("CARGO_BIN_EXE_bulkhead-api")).output().unwrap();
    assert_eq!(ended.status.code(), Some(78));
    let text = String::from_utf8(ended.stderr).unwrap();
    assert!(text.contains("started by `bulkhead run`"), "{text}");
}

#[test]
fn memory_of_another_layout_is_a_matter_of_configuration_and_never_guessed_at() {
    for segment in ["events", "producer", "cursor", "state", "board"] {
        let memory = SharedMemory::create(MIN_CAPACITY, 4, 1).unwrap();
        let mut bequest = FdHandoff::default();
        memory.pass_to_api(&mut bequest).unwrap();
        let variable = bequest.variable();
        let fd = variable.split(',').find_map(|item| item.strip_prefix(&format!("{segment}="))).unwrap();
        // Behind the eight bytes of magic stands the version of the layout; the fd names the very memory that the worker gets.
        let file = File::options().write(true).open(format!("/proc/self/fd/{fd}")).unwrap();
        file.write_all_at(&99_u32.to_ne_bytes(), 8).unwrap();
        let (status, log) =
            Worker::spawn_with(Command::new(env!("CARGO_BIN_EXE_bulkhead-api")), memory).end();
        assert_eq!(status.code(), Some(78), "{log}");
        for text in [segment, "layout version is 0x63", "restart the whole service"] {
            assert!(log.contains(text), "no {text:?} in {log}");
        }
    }
}
