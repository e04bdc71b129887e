//! What a plain worker started: the processes of its group, and those that left the group (setsid(2), daemon(3)).
//!
//! A process that left the group is found once it has lost its parent: it is then a child of the supervisor, which is
//! its subreaper, and its environment names the worker. A worker that clears the environment hides such a process; it
//! is ended when the supervisor stops.

use super::{Children, orphans::own_children, process::Child, spawn::WORKER_VARIABLE};
use crate::{
    core::{GenerationRef, LogRecord},
    log::lifecycle,
};
use bulkhead_proto::wire::ids::Generation;
use procfs::process::Process;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::ffi::OsStr;

/// The living processes that a worker started, as far as they are children of the supervisor.
#[derive(Debug, Default)]
struct Descendants {
    /// Whether any is in the worker's process group.
    in_group: bool,
    /// Those that left the group.
    escaped: Vec<Escaped>,
}

/// A process that left the group of its worker.
#[derive(Debug)]
struct Escaped {
    pid: Pid,
    leads_group: bool,
    command: String,
}

impl Escaped {
    /// Signals the process once, with the group that it may lead. The id is its own: it is our child, and not reaped yet.
    fn signal(&self, signal: Signal) {
        let _ = if self.leads_group {
            kill_process_group(self.pid, signal)
        } else {
            kill_process(self.pid, signal)
        };
    }
}

impl Descendants {
    fn is_empty(&self) -> bool {
        !self.in_group && self.escaped.is_empty()
    }
}

impl Children {
    fn descendants(&self, worker: &str, leader: Pid) -> Descendants {
        let mut found = Descendants::default();
        for pid in own_children() {
            let Ok(process) = Process::new(pid.as_raw_pid()) else { continue };
            let Ok(stat) = process.stat() else { continue };
            if pid == leader || matches!(stat.state, 'Z' | 'X') || self.preexisting.contains(pid) {
                continue;
            }
            if stat.pgrp == leader.as_raw_pid() {
                found.in_group = true;
            } else if named_worker(&process).as_deref() == Some(worker) {
                let leads_group = stat.pgrp == pid.as_raw_pid();
                found.escaped.push(Escaped { pid, leads_group, command: stat.comm });
            }
        }
        found
    }

    /// The first process of a plain worker has exited during a stop. Returns whether others remain. They may then use the
    /// rest of its `stop_timeout`: [`super::ChildEvent::Exited`] is reported when they are signalled to end.
    pub(in crate::runtime) fn wait_for_descendants(&mut self, generation: Generation) -> bool {
        let Some((worker, leader)) = self.plain_worker(generation) else { return false };
        let descendants = self.descendants(&worker, leader);
        let remain = !descendants.is_empty();
        self.ask_escaped(generation, &worker, leader, &descendants);
        if let Some(child) = self.get(generation) {
            child.waits_for_descendants = remain;
        }
        remain
    }

    /// The generations whose first process has exited, and whose descendants are waited for.
    pub(in crate::runtime) fn waiting_for_descendants(&self) -> Vec<Generation> {
        let waiting = self.live.iter().filter(|(_, child)| child.waits_for_descendants);
        waiting.map(|(generation, _)| *generation).collect()
    }

    /// Sends SIGTERM to what has left the group of a worker that is to stop, once to each process.
    pub(super) fn stop_escaped(&mut self, generation: Generation) {
        if let Some((worker, leader)) = self.plain_worker(generation) {
            let descendants = self.descendants(&worker, leader);
            self.ask_escaped(generation, &worker, leader, &descendants);
        }
    }

    fn ask_escaped(&mut self, generation: Generation, worker: &str, leader: Pid, found: &Descendants) {
        let Some(child) = self.get(generation) else { return };
        let new: Vec<_> = found.escaped.iter().filter(|escaped| child.asked.insert(escaped.pid)).collect();
        if !new.is_empty() {
            for escaped in &new {
                escaped.signal(Signal::TERM);
                escaped.signal(Signal::CONT);
            }
            warn(
                worker,
                generation,
                leader,
                format!("sent SIGTERM to {}, outside its process group", list(new)),
            );
        }
    }

    /// Kills what has left the group of a worker that has exited. `requested`: it was asked to stop.
    pub(in crate::runtime) fn kill_escaped(&self, generation: Generation, requested: bool) {
        let Some((worker, leader)) = self.plain_worker(generation) else { return };
        let escaped = self.descendants(&worker, leader).escaped;
        if escaped.is_empty() {
            return;
        }
        escaped.iter().for_each(|escaped| escaped.signal(Signal::KILL));
        let left = list(&escaped);
        let succeeded = self.live.get(&generation).is_some_and(Child::has_succeeded);
        let text = if succeeded && !requested {
            format!(
                "it seems to daemonize, and must run in the foreground: killed {left}, which it left behind"
            )
        } else {
            format!("killed {left}, outside its process group")
        };
        warn(&worker, generation, leader, text);
    }

    /// Name and first process of a plain worker.
    fn plain_worker(&self, generation: Generation) -> Option<(String, Pid)> {
        let child = self.live.get(&generation)?;
        Some((child.plain_worker.clone()?, child.pid()))
    }
}

/// The worker that the environment of a process names.
pub(super) fn named_worker(process: &Process) -> Option<String> {
    process.environ().ok()?.remove(OsStr::new(WORKER_VARIABLE))?.into_string().ok()
}

/// `sleep (pid 7), sleep (pid 9)`
fn list<'a>(escaped: impl IntoIterator<Item = &'a Escaped>) -> String {
    let shown = escaped.into_iter().map(|escaped| format!("{} (pid {})", escaped.command, escaped.pid));
    shown.collect::<Vec<_>>().join(", ")
}

fn warn(worker: &str, generation: Generation, leader: Pid, text: String) {
    let pid = Some(leader.as_raw_pid().unsigned_abs());
    let subject = GenerationRef { worker: worker.to_owned(), generation, pid };
    lifecycle::write(&LogRecord::WorkerWarning { subject, text });
}
