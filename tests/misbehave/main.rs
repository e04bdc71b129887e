//! A worker that misbehaves in the way that its first argument names. It stands in for the API, the analysis or a plain
//! worker, where a test asks what the supervisor and the other workers make of that.
#![forbid(unsafe_code)]
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a stand-in for broken programs; where it fails, its test does"
)]

mod allocate;
mod brittle;
mod flood;
mod hang;
mod loud;
mod scribble;
mod sign;

use bulkhead_proto::{
    wire::{
        codec,
        control::{FromWorker, MAX_FRAME, PROTOCOL, Request, ToWorker},
        fault::FaultKind,
    },
    worker::{
        fds::{FdName, InheritedFds},
        pipe::{Received, Receiver},
    },
};
use std::{fs::File, io::Write as _, process::ExitCode, thread};

fn main() -> ExitCode {
    let way = std::env::args().nth(1).unwrap_or_default();
    if way == "floods-its-output" {
        flood::flood();
    }
    if way == "dies-loudly" {
        return loud::die_loudly();
    }
    if way == "is-brittle" {
        return bulkhead_worker_analytics::run(brittle::Brittle);
    }
    if way == "applies-slowly" {
        return bulkhead_worker_analytics::run(hang::Slow);
    }
    if way == "allocates" {
        return bulkhead_worker_analytics::run(allocate::Allocating);
    }
    let mut fds = InheritedFds::from_env().unwrap();
    let supervisor = Supervisor::take(&mut fds);
    match way.as_str() {
        "says-nothing" => {}
        "accepts-nobody" => {
            let supervisor = supervisor.wait_for_activation();
            while let Ok(Received::Frame(frame)) = supervisor.from.recv() {
                if let ToWorker::Ping(number) = frame {
                    supervisor.say(&FromWorker::Pong { number, accept_polls: 0, busy: false });
                }
            }
        }
        "is-deaf" => {
            let _open = supervisor.wait_for_activation();
            for_ever()
        }
        "spins" | "deadlocks" | "freezes" | "drips" | "runs-ahead" | "runs-backwards" | "stays-parked" => {
            hang::for_ever(&way, supervisor.wait_for_activation(), &mut fds)
        }
        "says-hello-and-no-more" => supervisor.say(&hello(PROTOCOL)),
        "speaks-another-version" => supervisor.say(&hello(PROTOCOL + 1)),
        "is-ready-before-its-hello" => supervisor.say(&FromWorker::Ready),
        "greets-twice" => [hello(PROTOCOL), hello(PROTOCOL)].iter().for_each(|frame| supervisor.say(frame)),
        "sends-half-a-frame" => supervisor.send(&[0]),
        "sends-garbage-at-work" => supervisor.wait_for_activation().send(&[0xff; 700]),
        // The kernel makes packets of it, of MAX_FRAME bytes each.
        "sends-too-much-at-work" => supervisor.wait_for_activation().send(&[0; 4 * MAX_FRAME]),
        "asks-what-it-may-not" => supervisor.wait_for_activation().say(&request()),
        "closes-all-pipes-at-work" => supervisor.wait_for_activation().leave(),
        "scribbles" => scribble::for_ever(supervisor.wait_for_activation(), fds),
        "signs-as-another" => {
            sign::as_another(&supervisor.wait_for_activation(), fds);
            return ExitCode::SUCCESS;
        }
        "scribbles-and-dies" => scribble::and_die(supervisor.wait_for_activation(), fds),
        other => panic!("no such way to misbehave: {other:?}"),
    }
    for_ever()
}

/// Stays until it is killed.
fn for_ever() -> ! {
    loop {
        thread::park();
    }
}

fn hello(protocol: u16) -> FromWorker {
    FromWorker::Hello { protocol, build: "misbehave 1".to_owned() }
}

fn request() -> FromWorker {
    let request = Request::Fault { worker: "api".to_owned(), kind: FaultKind::Kill };
    FromWorker::Request { id: 1, request }
}

/// The control pipes, unguarded.
struct Supervisor {
    from: Receiver<ToWorker>,
    to: File,
}

impl Supervisor {
    fn take(fds: &mut InheritedFds) -> Self {
        let from = Receiver::new(fds.take(FdName::ControlIn).unwrap());
        Self { from, to: fds.take(FdName::ControlOut).unwrap().into() }
    }

    fn say(&self, frame: &FromWorker) {
        let mut packet = [0; MAX_FRAME];
        let length = codec::encode(frame, &mut packet).unwrap();
        self.send(&packet[..length]);
    }

    /// Sends whatever bytes.
    fn send(&self, bytes: &[u8]) {
        // The supervisor may have ended this already.
        let _ = (&self.to).write_all(bytes);
    }

    /// Behaves until it is at work.
    fn wait_for_activation(self) -> Self {
        self.say(&hello(PROTOCOL));
        self.say(&FromWorker::Ready);
        while !matches!(self.from.recv().unwrap(), Received::Frame(ToWorker::Activate(_))) {}
        self
    }

    /// Closes all that connects it with the supervisor, and lives on.
    fn leave(self) {
        let null = File::options().write(true).open("/dev/null").unwrap();
        nix::unistd::dup2_stdout(&null).unwrap();
        nix::unistd::dup2_stderr(&null).unwrap();
    }
}
