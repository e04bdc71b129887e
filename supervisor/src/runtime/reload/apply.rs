//! Reload of the configuration: only what changed is applied. Every reload begins in `begin` and ends in
//! `end`.
//!
//! Each worker that needs a new process is changed by a command to the core, on behalf of a client that
//! stands for the reload; the answer is the result of the change. So events during a reload are handled like
//! events during a command.

use super::{change_report, in_progress::Reload};
use crate::{
    config::{self, Change, Config, ProblemReport, Source, WorkerChange},
    control::protocol::{ChangeOutcome, CommandOutcome, Reply},
    core::{ClientId, Command, Event},
    display::{error_chain, format_size},
    runtime::{clock, control_plane::ReplyTo, event_loop::Supervisor, spec, specs},
};
use bulkhead_proto::wire::text::cut;
use std::collections::BTreeMap;

/// Longest explanation of the problems of a configuration in a reply, in bytes; much shorter than the longest reply. The
/// log has all problems, one line each.
const MAX_EXPLANATION: usize = 64 << 10;

fn bounded(explanation: &str) -> String {
    cut(explanation, MAX_EXPLANATION).to_owned()
}

impl Supervisor {
    /// Reloads on behalf of a client, or of the sender of a signal. Signals during a reload cause one more
    /// reload after it.
    pub(in crate::runtime) fn reload(&mut self, origin: String, reply: Option<ReplyTo>) {
        match (self.state.refusal(), &self.configuration.reload, reply) {
            (None, None, reply) => self.begin(&origin, reply),
            (None, Some(_), None) => self.configuration.queued_reload = Some(origin),
            (None, Some(_), Some(reply)) => {
                let why = "a reload is in progress: wait until it is done, then reload again";
                let _ = reply.send(Reply::new(CommandOutcome::Conflict, why));
            }
            (Some(why), _, Some(reply)) => drop(reply.send(Reply::new(CommandOutcome::Conflict, why))),
            (Some(why), _, None) => tracing::warn!("{origin}: not reloading: {why}"),
        }
    }

    /// Starts a reload for a signal that came during the last one.
    pub(in crate::runtime) fn start_queued_reload(&mut self) {
        if self.configuration.reload.is_none()
            && let Some(origin) = self.configuration.queued_reload.take()
        {
            self.reload(origin, None);
        }
    }

    fn begin(&mut self, origin: &str, reply: Option<ReplyTo>) {
        self.notifier.notify_reloading(clock::now().mono);
        tracing::info!(event_name = "reloading", "reloading the configuration: {origin}");
        let (path, executable) = (self.configuration.path.as_deref(), &self.children.spawner.executable);
        let start_dir = &self.configuration.active.current().start_dir;
        let (config, report) = config::check(path, &|name| std::env::var_os(name), executable, start_dir);
        if config.is_some() && !report.is_empty() {
            tracing::warn!("{}", report.to_string().replace('\n', " | "));
        }
        let config = match config {
            Some(config) => self.check_new(config, &report).map_err(|problem| (problem.clone(), problem)),
            None => Err((report.to_string().replace('\n', " | "), report.render(false))),
        };
        match config {
            Ok(config) => self.apply(config, bounded(&report.render(false)), reply),
            Err((problem, explained)) => {
                let text = "the configuration is invalid; the active one stays";
                tracing::error!(event_name = "reload_failed", "{text}: {problem}");
                let explained = bounded(explained.trim_end());
                self.end(reply, Reply::new(CommandOutcome::Invalid, format!("{text}\n{explained}")));
            }
        }
    }

    fn end(&mut self, reply: Option<ReplyTo>, answer: Reply) {
        self.notifier.notify_reloaded();
        // A client that has disconnected needs no reply.
        if let Some(reply) = reply {
            let _ = reply.send(answer);
        }
    }

    /// Checks a valid configuration against the one in use.
    fn check_new(&self, config: Config, report: &ProblemReport) -> Result<Config, String> {
        if !report.has_keys() && !self.configuration.active.changes(&config).is_empty() {
            let found = match report.source() {
                Source::File(path) => format!("{} has no key", path.display()),
                Source::Defaults => "there is no configuration file any more".to_owned(),
            };
            return Err(format!(
                "{found}: a full disk, or an editor that is saving, may be the reason; to change all keys to their defaults, \
                 write at least one key with its default into the file"
            ));
        }
        self.check_ring(&config)?;
        self.check_exposure(config)
    }

    /// Checks the new configuration against the ring of this run. It may be valid for its own ring, which is created at the
    /// next start of the service.
    fn check_ring(&self, config: &Config) -> Result<(), String> {
        let (max_event, capacity) =
            (config.limits.max_event, self.configuration.active.current().ring_capacity);
        let needed = config::ring_capacity_for(max_event);
        if capacity >= needed {
            return Ok(());
        }
        let [max_event, capacity, needed] = [max_event.into(), capacity, needed].map(format_size);
        Err(format!(
            "api.max_event {max_event:?} needs a link.capacity of {needed:?} or more, and the ring has {capacity:?} until the \
             next start of the service: keep api.max_event until then, or restart the service"
        ))
    }

    /// Checks the new configuration against the address in use. A configuration may be safe for its own
    /// address, and unsafe for the one that the service listens on until its next start.
    fn check_exposure(&self, config: Config) -> Result<Config, String> {
        let address = &self.children.spawner.listener.address;
        if address.is_local() || config.token_file.is_some() || config.insecure {
            return Ok(config);
        }
        Err(format!(
            "the API listens on {address} until the next start of the service; without a token, anyone who reaches \
             this address may change state: keep api.token_file, or set api.insecure = true, until then"
        ))
    }

    fn apply(&mut self, mut config: Config, warnings: String, reply: Option<ReplyTo>) {
        let changes = self.configuration.active.changes(&config);
        let mut reload = Reload {
            reply,
            warnings,
            previous: self.configuration.active.clone(),
            pending: BTreeMap::new(),
            done: Vec::new(),
        };
        let log = self.configuration.log.reconfigure(config.log).map_err(|error| error_chain(&error));
        if log.is_err() {
            // The next reload reports and tries the difference again.
            config.log = self.configuration.active.current().log;
        }
        self.configuration.active.adopt(config);
        let config = self.configuration.active.current();
        let configured = Event::Configured { policy: config.policy.clone(), specs: specs(config) };
        self.children.spawner.filter = self.configuration.log.filter();
        let listener = &self.children.spawner.listener;
        let inherited = Some(&listener.address).filter(|_| listener.is_inherited());
        for change in changes {
            match change {
                Change::Setting(setting) => {
                    reload.done.push(change_report::setting(setting, &log, inherited));
                }
                Change::Worker(name, change) => {
                    reload.pending.insert(self.control.new_client(), (name, change));
                }
            }
        }
        let commands: Vec<_> =
            reload.pending.iter().map(|(client, change)| (*client, self.command(change))).collect();
        self.configuration.reload = Some(reload);
        for (client, command) in commands {
            self.drive(Event::Command { client, command });
        }
        // After the commands: a braked worker that is replaced is started once, with its new program.
        self.drive(configured);
        self.end_when_done();
    }

    /// The command that carries out the change of a worker.
    fn command(&self, (name, change): &(String, WorkerChange)) -> Command {
        match (change, self.configuration.active.worker(name)) {
            (WorkerChange::Added, Some((_, config))) => Command::Add(spec(config)),
            (WorkerChange::Replaced(_), _) => Command::Replace(name.clone()),
            (WorkerChange::Added | WorkerChange::Removed, _) => Command::Remove(name.clone()),
        }
    }

    /// Takes an answer that belongs to the reload, and records the result of the change.
    pub(in crate::runtime) fn on_reload_answer(&mut self, client: ClientId, answer: &Reply) -> bool {
        let Some(reload) = &mut self.configuration.reload else { return false };
        let Some((name, change)) = reload.pending.remove(&client) else { return false };
        let worker = self.state.worker(&name);
        let row = change_report::worker_change(&name, &change, worker, answer);
        let keeps_old = match change {
            WorkerChange::Replaced(_) => worker.is_some_and(|worker| worker.running().is_some()),
            WorkerChange::Added => worker.is_none(),
            WorkerChange::Removed => false,
        };
        // The worker keeps its old configuration; the next reload reports the difference again. An added
        // worker that was refused is still to be added.
        if row.how == ChangeOutcome::Failed && keeps_old {
            self.configuration.active.revert(&name, &reload.previous);
        }
        reload.done.push(row);
        self.end_when_done();
        true
    }

    fn end_when_done(&mut self) {
        if let Some(reload) = self.configuration.reload.take_if(|reload| reload.pending.is_empty()) {
            change_report::log_changes(&reload.done);
            let Reload { reply, warnings, done, .. } = reload;
            self.end(reply, Reply { warnings, ..change_report::reply(done) });
        }
    }
}
