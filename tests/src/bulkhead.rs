//! A running supervisor with its workers.

use crate::{
    CliOutput, Fixture, eventually,
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

/// How long a clean stop may take when a test is over. Then the harness kills all processes.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// Time between two signals that force a stop.
const FORCE_INTERVAL: Duration = Duration::from_millis(100);

/// How the harness starts the supervisor.
#[derive(Clone, Copy)]
pub(crate) enum Launcher {
    /// The supervisor is a child of the harness.
    Direct,
    /// The supervisor is a child of `unshare`.
    Unshare,
}

/// A running supervisor. Dropping it ends the supervisor and all processes that the supervisor started.
pub struct Bulkhead {
    fixture: Option<Fixture>,
    child: Child,
    pid: i32,
    log: Log,
    /// `None` if the API listens on a Unix socket.
    address: Option<SocketAddr>,
}

/// What a supervisor that has ended leaves.
pub struct Stopped {
    /// Its state and configuration.
    pub fixture: Fixture,
    /// Its exit status.
    pub status: ExitStatus,
    /// Its whole log.
    pub log: Log,
}

impl Bulkhead {
    /// Runs `command` and waits until both workers are active.
    pub(crate) fn start(fixture: Fixture, command: Command, launcher: Launcher) -> Self {
        let mut bulkhead = Self::launch(fixture, command);
        for worker in ["api", "analytics"] {
            bulkhead.log.from_start().wait_for_worker("worker_activated", worker);
        }
        if let Launcher::Unshare = launcher {
            bulkhead.pid =
                process::tree(bulkhead.pid).get(1).map_or(bulkhead.pid, |supervisor| supervisor.pid());
        }
        bulkhead
    }

    /// Runs `command` and waits until the supervisor listens.
    pub(crate) fn launch(fixture: Fixture, mut command: Command) -> Self {
        fixture.add_run_arguments(&mut command);
        let mut child = command.spawn().unwrap();
        let log = Log::follow(child.stderr.take().unwrap());
        let pid = i32::try_from(child.id()).unwrap();
        // The log is JSON or text.
        let announced = |line: &Line| line.is("listening") || line.raw().contains(" listening: ");
        let listening = log.from_start().wait_for("the listening address", announced);
        let address =
            listening.raw().split_once("http://").and_then(|(_, rest)| rest.split(',').next()?.parse().ok());
        Self { fixture: Some(fixture), child, pid, log, address }
    }

    /// The log of the supervisor.
    #[must_use]
    pub const fn log(&self) -> &Log {
        &self.log
    }

    /// The HTTP address.
    ///
    /// # Panics
    /// If the API listens on a Unix socket.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address.unwrap()
    }

    /// A client with its own connection.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(self.address())
    }

    /// The fixture in which the supervisor runs.
    ///
    /// # Panics
    /// Never: only [`Bulkhead::stop`] takes the fixture.
    #[must_use]
    pub const fn fixture(&self) -> &Fixture {
        self.fixture.as_ref().unwrap()
    }

    /// Runs an operator's command to its end.
    #[must_use]
    pub fn cli(&self, arguments: &[&str]) -> CliOutput {
        self.fixture().cli(arguments)
    }

    /// The supervisor's pid in the pid namespace of the harness.
    #[must_use]
    pub const fn pid(&self) -> i32 {
        self.pid
    }

    /// Runs a shell script in the supervisor's mount namespace; `paths` are `$0` and `$1`. Needs root, and a supervisor
    /// with its own mount namespace.
    ///
    /// # Panics
    /// If the script fails.
    pub fn run_in_mount_namespace(&self, script: &str, paths: &[&Path]) {
        let mut nsenter = Command::new("nsenter");
        nsenter.arg(format!("--mount=/proc/{}/ns/mnt", self.pid())).args(["sh", "-c", script]).args(paths);
        let status = nsenter.status().unwrap();
        assert!(status.success(), "{nsenter:?}: {status}");
    }

    /// Sends a signal to a worker. Does nothing if the pid is free or belongs to another process by now.
    pub fn signal_worker(&self, pid: i32, signal: Signal) {
        if process::parent(pid) == Some(self.pid) {
            process::signal(pid, signal);
        }
    }

    /// The last log line with this event and this worker.
    ///
    /// # Panics
    /// If there is no such line.
    #[must_use]
    pub fn last_line(&self, event_name: &str, worker: &str) -> Line {
        let lines = self.log.matching(|line| line.is_worker_event(event_name, worker));
        lines.last().unwrap_or_else(|| panic!("no {event_name} of {worker} in\n{}", self.log.dump())).clone()
    }

    /// The pid of the worker's generation that was started last.
    #[must_use]
    pub fn worker_pid(&self, worker: &str) -> i32 {
        self.last_line("worker_started", worker).pid()
    }

    /// Waits until every accepted event is committed. Returns the stats at that time.
    ///
    /// # Panics
    /// With the log, if [`DEADLINE`] passes first.
    pub fn wait_until_committed(&self) -> Value {
        let client = self.client();
        let mut stats = Value::Null;
        eventually(&self.log, "all accepted events to be committed", || {
            stats = client.get_json("/v1/stats");
            stats["pending"] == 0
        });
        stats
    }

    /// Waits until the report of the last death in the log is stored.
    ///
    /// # Panics
    /// With the log, if [`DEADLINE`] passes first.
    pub fn wait_for_crash_reports(&self) {
        // An orderly stop has no report.
        let has_report =
            |line: &Line| line.is("worker_died") && line.text("message").contains("; crash report ");
        let deaths = self.log.matching(has_report);
        let Some(crash) = deaths.last().and_then(|line| line.number("crash")) else { return };
        let client = self.client();
        eventually(&self.log, "the last crash report", || {
            client.get(&format!("/v1/crashes/{crash}")).is_ok_and(|response| response.status == 200)
        });
    }

    /// Sends a signal to the supervisor and waits for its end.
    ///
    /// # Panics
    /// With the log, if the supervisor does not end.
    #[must_use]
    pub fn stop(mut self, signal: Signal) -> Stopped {
        process::signal(self.pid(), signal);
        let status = self.wait();
        Stopped { fixture: self.fixture.take().unwrap(), status, log: self.log.clone() }
    }

    /// Repeats a signal until the supervisor ends. Returns false if it does not.
    fn force_stop(&self, signal: Signal) -> bool {
        let deadline = Instant::now() + STOP_TIMEOUT;
        while Instant::now() < deadline {
            process::signal(self.pid(), signal);
            if self.log.ends_within(FORCE_INTERVAL) {
                return true;
            }
        }
        false
    }

    /// Repeats a signal until the supervisor kills everything at once.
    ///
    /// # Panics
    /// With the log, if the supervisor does not end.
    #[must_use]
    pub fn force(mut self, signal: Signal) -> Stopped {
        assert!(self.force_stop(signal), "the supervisor does not end; its log:\n{}", self.log.dump());
        let status = self.wait();
        Stopped { fixture: self.fixture.take().unwrap(), status, log: self.log.clone() }
    }

    /// Waits for the end of the supervisor.
    ///
    /// # Panics
    /// With the log, if the supervisor does not end.
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
        if !self.force_stop(Signal::SIGTERM) {
            eprintln!("the supervisor did not stop and is killed; its log:\n{}", self.log.dump());
            for process in tree.iter().filter(|process| process.is_alive()) {
                process::signal(process.pid(), Signal::SIGKILL);
            }
        }
        let _ = self.child.wait();
    }
}
