//! A supervisor at work, with its workers.

use crate::{
    Home, Said,
    http::Client,
    log::{DEADLINE, Line, Log},
    process::{self, Signal},
};
use serde_json::Value;
use std::{
    net::SocketAddr,
    path::Path,
    process::{Child, Command, ExitStatus},
    time::{Duration, Instant},
};

/// How often something is asked that nobody announces, at the least.
const PACE: Duration = Duration::from_millis(10);

/// The time that an orderly stop may take when a test is over; then it is ended by force.
const STOP_BOUND: Duration = Duration::from_secs(20);

/// What stands between the harness and the supervisor.
#[derive(Clone, Copy)]
pub(crate) enum Above {
    /// Nothing: the supervisor is the harness's child.
    Nothing,
    /// `unshare`, whose child the supervisor is.
    Unshare,
}

/// A running supervisor. Dropping it ends it and all that it started.
pub struct Bulkhead {
    home: Option<Home>,
    child: Child,
    pid: i32,
    log: Log,
    /// None when it is a socket in the file system.
    address: Option<SocketAddr>,
}

/// What is left of a supervisor that has left.
pub struct Stopped {
    /// Its state and configuration.
    pub home: Home,
    /// How it ended.
    pub status: ExitStatus,
    /// All that it said.
    pub log: Log,
}

impl Bulkhead {
    pub(crate) fn spawn(home: Home, command: Command, above: Above) -> Self {
        let mut bulkhead = Self::begin(home, command);
        for worker in ["api", "analytics"] {
            bulkhead.log.from_start().wait_for_worker("worker_activated", worker);
        }
        if let Above::Unshare = above {
            bulkhead.pid =
                process::tree(bulkhead.pid).get(1).map_or(bulkhead.pid, |supervisor| supervisor.pid());
        }
        bulkhead
    }

    pub(crate) fn begin(home: Home, mut command: Command) -> Self {
        home.run_here(&mut command);
        let mut child = command.spawn().unwrap();
        let log = Log::follow(child.stderr.take().unwrap());
        let pid = i32::try_from(child.id()).unwrap();
        // In either form of the log.
        let announced = |line: &Line| line.is("listening") || line.raw().contains(" listening: ");
        let listening = log.from_start().wait_for("the address that it listens on", announced);
        let address =
            listening.raw().split_once("http://").and_then(|(_, rest)| rest.split(',').next()?.parse().ok());
        Self { home: Some(home), child, pid, log, address }
    }

    /// Its log.
    #[must_use]
    pub const fn log(&self) -> &Log {
        &self.log
    }

    /// Where it serves HTTP.
    ///
    /// # Panics
    /// When it does so at a socket in the file system.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address.unwrap()
    }

    /// A client with a connection of its own.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(self.address())
    }

    /// The place where it runs.
    ///
    /// # Panics
    /// Never: it is there until the end.
    #[must_use]
    pub const fn home(&self) -> &Home {
        self.home.as_ref().unwrap()
    }

    /// Runs a command of the operator.
    #[must_use]
    pub fn say(&self, arguments: &[&str]) -> Said {
        self.home().say(arguments)
    }

    /// The supervisor's pid, as the harness sees it.
    #[must_use]
    pub const fn pid(&self) -> i32 {
        self.pid
    }

    /// Runs a script, these paths its `$0` and `$1`, where the file systems are mounted as this supervisor alone sees them.
    /// Needs root, and a supervisor that was started with a file system of its own.
    ///
    /// # Panics
    /// When the script fails.
    pub fn among_its_mounts(&self, script: &str, paths: &[&Path]) {
        let mut nsenter = Command::new("nsenter");
        nsenter.arg(format!("--mount=/proc/{}/ns/mnt", self.pid())).args(["sh", "-c", script]).args(paths);
        let status = nsenter.status().unwrap();
        assert!(status.success(), "{nsenter:?}: {status}");
    }

    /// Sends a signal to a worker; a number that belongs to nobody, or to another process by now, is left alone.
    pub fn signal_worker(&self, pid: i32, signal: Signal) {
        if process::parent(pid) == Some(self.pid) {
            process::signal(pid, signal);
        }
    }

    /// The last line that tells this event of this worker.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn last(&self, event_name: &str, worker: &str) -> Line {
        let lines = self.log.all(|line| line.tells(event_name, worker));
        lines.last().unwrap_or_else(|| panic!("no {event_name} of {worker} in\n{}", self.log.dump())).clone()
    }

    /// The pid of the generation of this worker that was started last.
    #[must_use]
    pub fn pid_of(&self, worker: &str) -> i32 {
        self.last("worker_started", worker).pid()
    }

    /// Waits until every accepted event is committed, and gives the stats that say so.
    ///
    /// # Panics
    /// With the log, when the deadline passes first.
    pub fn settled(&self) -> Value {
        let client = self.client();
        let mut stats = Value::Null;
        eventually(&self.log, "all accepted events to be committed", || {
            stats = client.json("/v1/stats");
            stats["pending"] == 0
        });
        stats
    }

    /// Asks it to stop by this signal and waits for its end.
    ///
    /// # Panics
    /// With its log, when it does not end.
    #[must_use]
    pub fn stop(mut self, signal: Signal) -> Stopped {
        process::signal(self.pid(), signal);
        let status = self.wait();
        Stopped { home: self.home.take().unwrap(), status, log: self.log.clone() }
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// With its log, when it does not end.
    pub fn wait(&mut self) -> ExitStatus {
        assert!(self.log.ends_within(DEADLINE), "the supervisor does not end; its log:\n{}", self.log.dump());
        self.child.wait().unwrap()
    }
}

impl Drop for Bulkhead {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        let tree = process::tree(self.pid());
        // Two signals, and different ones lest they merge: the second means "at once".
        process::signal(self.pid(), Signal::SIGTERM);
        process::signal(self.pid(), Signal::SIGINT);
        if !self.log.ends_within(STOP_BOUND) {
            eprintln!("the supervisor had to be ended by force; its log:\n{}", self.log.dump());
            for process in tree.iter().filter(|process| process.is_alive()) {
                process::signal(process.pid(), Signal::SIGKILL);
            }
        }
        let _ = self.child.wait();
    }
}

/// Asks until it holds: for what no line of the log announces.
///
/// # Panics
/// With the log, when [`DEADLINE`] passes first.
pub fn eventually(log: &Log, what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain for {what}; the log:\n{}", log.dump());
        log.pause(PACE);
    }
}
