//! Starts the real `bulkhead` in a directory of its own and reads its log.

use bulkhead_proto::wire::control::PROTOCOL;
use command_fds::{CommandFdExt as _, FdMapping};
use serde_json::Value;
use std::{
    io::{BufRead as _, BufReader},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Much longer than any operation takes. Only a failure waits until then.
const DEADLINE: Duration = Duration::from_secs(60);

/// Time between two signals that force a stop.
const FORCE_INTERVAL: Duration = Duration::from_millis(100);

/// `bulkhead` without the variables that would direct it to another supervisor.
pub(crate) fn bulkhead(dir: &Path) -> Command {
    isolated(dir, env!("CARGO_BIN_EXE_bulkhead"))
}

fn isolated(dir: &Path, program: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir(dir);
    for name in
        ["BULKHEAD_CONFIG", "BULKHEAD_SOCKET", "BULKHEAD_STATE_DIR", "BULKHEAD_API_LISTEN", "RUST_LOG"]
    {
        command.env_remove(name);
    }
    for name in ["RUNTIME_DIRECTORY", "STATE_DIRECTORY", "XDG_RUNTIME_DIR"] {
        command.env_remove(name);
    }
    command
}

/// Whether a process exists and is not a zombie.
pub(crate) fn is_alive(pid: &str) -> bool {
    state(pid).is_some_and(|state| !['Z', 'X'].contains(&state))
}

/// The state of a process in proc_pid_stat(5); `None` if it does not exist.
fn state(pid: &str) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

/// Sends a signal, by its name without SIG. `kill` is a builtin of the shell: its program is in a package of its own.
pub(crate) fn send_signal(child: &Child, signal: &str) {
    let script = ["-c", "kill -$0 $1", signal, &child.id().to_string()];
    assert!(Command::new("bash").args(script).status().unwrap().success());
}

/// A stub of the API and of the analysis: sends `Hello` and `Ready`, and exits when its control pipe closes.
fn stub_worker() -> String {
    let hello = format!(r"\000\{PROTOCOL:03o}\001x");
    format!(
        r"IFS=,; for fd in $BULKHEAD_FDS; do declare $fd; done
printf '{hello}' >&$control_out; printf '\001' >&$control_out; cat <&$control_in >/dev/null"
    )
}

/// Waits until a killed process is gone. This takes time, and the kernel notifies only the parent.
pub(crate) fn wait_until_gone(pid: &str) {
    let deadline = Instant::now() + DEADLINE;
    while is_alive(pid) {
        assert!(Instant::now() < deadline, "process {pid} still exists");
        std::thread::yield_now();
    }
}

/// Waits until a signal has stopped a process.
pub(crate) fn wait_until_stopped(pid: &str) {
    let deadline = Instant::now() + DEADLINE;
    while state(pid) != Some('T') {
        assert!(Instant::now() < deadline, "process {pid} is not stopped");
        std::thread::yield_now();
    }
}

/// A supervisor with stub workers and one plain worker, `one`.
pub(crate) struct Service {
    dir: TempDir,
    child: Option<Child>,
    log: Option<Receiver<Value>>,
    read: Vec<Value>,
    next: usize,
}

impl Service {
    pub(crate) fn prepare(command: &[&str], more: &str, stop_timeout: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let command = serde_json::to_string(command).unwrap();
        let stub_worker = serde_json::to_string(&["bash", "-c", &stub_worker()]).unwrap();
        let text = format!(
            "{more}\napi.listen = \"127.0.0.1:0\"\napi.command = {stub_worker}\n\
             analytics.command = {stub_worker}\nlink.capacity = \"4MiB\"\n\
             [[worker]]\nname = \"one\"\ncommand = {command}\nstop_timeout = \"{stop_timeout}\"\n"
        );
        std::fs::write(dir.path().join("c.toml"), text).unwrap();
        Self { dir, child: None, log: None, read: Vec::new(), next: 0 }
    }

    pub(crate) fn start(command: &[&str], more: &str) -> Self {
        let mut service = Self::prepare(command, more, "1m");
        service.launch();
        service
    }

    pub(crate) fn launch(&mut self) {
        self.launch_in(&self.path(""));
    }

    /// A path in the directory of the service.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts the supervisor in this directory.
    pub(crate) fn launch_in(&mut self, start_dir: &Path) {
        let mut command = self.run();
        command.current_dir(start_dir);
        self.launch_command(command);
    }

    /// Starts the supervisor by a program that replaces itself with it.
    pub(crate) fn launch_by(&mut self, launcher: &[&str]) {
        let command = self.run_by(launcher);
        self.launch_command(command);
    }

    /// Starts the supervisor with a socket from a service manager.
    pub(crate) fn launch_with_socket(&mut self, socket: OwnedFd) {
        let mut command = self.run_by(&["sh", "-c", "LISTEN_PID=$$ exec \"$@\"", "sh"]);
        command.env("LISTEN_FDS", "1");
        command.fd_mappings(vec![FdMapping { parent_fd: socket, child_fd: 3 }]).unwrap();
        self.launch_command(command);
    }

    /// Starts a supervisor that ends at once, as [`Self::launch_by`]. Returns its output.
    pub(crate) fn output_by(&self, launcher: &[&str]) -> Output {
        self.run_by(launcher).output().unwrap()
    }

    fn run_by(&self, launcher: &[&str]) -> Command {
        let run = self.run();
        let mut command = isolated(self.dir.path(), launcher[0]);
        command.args(&launcher[1..]).arg(run.get_program()).args(run.get_args());
        command
    }

    fn launch_command(&mut self, mut command: Command) {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (lines, log) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if lines.send(value).is_err() {
                    return;
                }
            }
        });
        self.child = Some(child);
        self.log = Some(log);
        self.wait_for_line(|line| line["event_name"] == "listening");
    }

    fn run(&self) -> Command {
        let mut command = bulkhead(self.dir.path());
        command.arg("--socket").arg(self.socket()).arg("run").arg("--config").arg(self.path("c.toml"));
        command
    }

    /// Starts another supervisor in the same directory; returns its output.
    pub(crate) fn run_again(&self) -> Output {
        self.run().output().unwrap()
    }

    /// Runs the supervisor with this variable set; returns its output.
    pub(crate) fn run_with(&self, name: &str, value: &str) -> Output {
        self.run().env(name, value).output().unwrap()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("s")
    }

    /// Runs a command against this supervisor.
    pub(crate) fn command(&self, arguments: &[&str]) -> Output {
        bulkhead(self.dir.path()).arg("--socket").arg(self.socket()).args(arguments).output().unwrap()
    }

    /// Starts a command that continues to print.
    pub(crate) fn start_command(&self, arguments: &[&str]) -> Child {
        let mut command = bulkhead(self.dir.path());
        command.arg("--socket").arg(self.socket()).args(arguments).stdout(Stdio::piped()).spawn().unwrap()
    }

    /// `status --json`.
    pub(crate) fn status(&self) -> Value {
        let output = self.command(&["status", "--json"]);
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// A worker's row in `status --json`.
    pub(crate) fn row(&self, worker: &str) -> Value {
        let report = self.status();
        let rows = report["workers"].as_array().unwrap();
        rows.iter().find(|row| row["name"] == worker).unwrap().clone()
    }

    /// All log lines read until now.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.read.clone()
    }

    /// Waits for this event of this worker. Lines before the last match are not examined again.
    pub(crate) fn wait_for(&mut self, event_name: &str, worker: &str) -> Value {
        self.wait_for_line(|line| line["event_name"] == event_name && line["worker"] == worker)
    }

    /// Waits for a line that satisfies `matches`. Lines before the last match are not examined again.
    pub(crate) fn wait_for_line(&mut self, matches: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + DEADLINE;
        loop {
            while self.next < self.read.len() {
                self.next += 1;
                if matches(&self.read[self.next - 1]) {
                    return self.read[self.next - 1].clone();
                }
            }
            let timeout = deadline.saturating_duration_since(Instant::now());
            match self.log.as_ref().unwrap().recv_timeout(timeout) {
                Ok(line) => self.read.push(line),
                Err(error) => panic!("{error}: no such line; the log:\n{:#?}", self.read),
            }
        }
    }

    pub(crate) fn signal(&self, signal: &str) {
        send_signal(self.child.as_ref().unwrap(), signal);
    }

    /// Repeats a signal until the supervisor exits. Returns the exit code.
    pub(crate) fn force_stop(&mut self, signal: &str) -> Option<i32> {
        let log = self.log.take().unwrap();
        loop {
            self.signal(signal);
            match log.recv_timeout(FORCE_INTERVAL) {
                Ok(line) => self.read.push(line),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.next = self.read.len();
        self.child.take().unwrap().wait().unwrap().code()
    }

    /// Sends a signal and waits for the supervisor to exit.
    pub(crate) fn stop(&mut self, signal: &str) -> Option<i32> {
        self.signal(signal);
        self.wait()
    }

    /// Waits for the supervisor to exit and reads the rest of the log. Returns the exit code.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.read.extend(self.log.take().unwrap());
        self.next = self.read.len();
        self.child.take().unwrap().wait().unwrap().code()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if self.child.is_some() && self.log.is_some() {
            self.force_stop("TERM");
        }
    }
}
