//! Reading the configuration again: what has changed is applied, and only that. `begin` and `end` are where a reload begins
//! and ends, however it goes.
//!
//! Each worker that needs another process is asked for by a command of the heart, on behalf of a client that stands for the
//! reload; the answer says what became of it. So whatever crosses a reload is met as it is met by a command.

mod row;

use super::{Shell, clock, spec, specs};
use crate::{
    config::{self, Change, InForce, Plan, WorkerChange},
    control::protocol::{self, Ended, How, Reply},
    display::error_chain,
    step::{ClientId, Command, Event},
};
use std::collections::BTreeMap;
use tokio::sync::oneshot;

/// Where the answer to a client goes.
type ReplyTo = oneshot::Sender<Reply>;

/// A reload that is under way.
pub(super) struct Reload {
    /// Who waits for its end, if it was asked for by command.
    reply: Option<ReplyTo>,
    /// What was in force before.
    former: InForce,
    /// The workers whose changes take their time.
    waiting: BTreeMap<ClientId, (String, WorkerChange)>,
    /// What has come of it so far.
    done: Vec<protocol::Change>,
}

impl Shell {
    /// Reloads on behalf of a client, or of this signal's sender. Signals during a reload come to one more after it.
    pub(super) fn reload(&mut self, origin: String, reply: Option<ReplyTo>) {
        match (self.state.not_now(), &self.reload, reply) {
            (None, None, reply) => self.begin(&origin, reply),
            (None, Some(_), None) => self.reload_again = Some(origin),
            (None, Some(_), Some(reply)) => {
                let why = "a reload is under way: wait for its end, then reload again";
                let _ = reply.send(Reply::new(Ended::Conflict, why));
            }
            (Some(why), _, Some(reply)) => drop(reply.send(Reply::new(Ended::Conflict, why))),
            (Some(why), _, None) => tracing::warn!("nothing is reloaded for {origin}: {why}"),
        }
    }

    /// Between two turns: a signal has come during the last reload.
    pub(super) fn catch_up_on_reloads(&mut self) {
        if self.reload.is_none()
            && let Some(origin) = self.reload_again.take()
        {
            self.reload(origin, None);
        }
    }

    fn begin(&mut self, origin: &str, reply: Option<ReplyTo>) {
        self.notifier.notify_reloading(clock::now().mono);
        tracing::info!(event_name = "reloading", "reading the configuration again: {origin}");
        let plan = match config::load(self.option.as_deref(), &|name| std::env::var_os(name)) {
            Ok((plan, _)) => self.safe(plan).map_err(|problem| (problem.clone(), problem)),
            Err(diagnosis) => Err((diagnosis.to_string().replace('\n', " | "), diagnosis.render(false))),
        };
        match plan {
            Ok(plan) => self.apply(plan, reply),
            Err((problem, explained)) => {
                let text = "the configuration is wrong; the one in force stays";
                tracing::error!(event_name = "reload_failed", "{text}: {problem}");
                self.end(reply, Reply::new(Ended::Invalid, format!("{text}\n{}", explained.trim_end())));
            }
        }
    }

    fn end(&mut self, reply: Option<ReplyTo>, answer: Reply) {
        self.notifier.notify_reloaded();
        // A client that has left needs no reply.
        if let Some(reply) = reply {
            let _ = reply.send(answer);
        }
    }

    /// A plan that is safe for where it wants to listen may be unsafe for where the service does listen until it is started
    /// again.
    fn safe(&self, plan: Plan) -> Result<Plan, String> {
        let address = &self.spawner.address;
        if address.is_local() || plan.token.is_some() || plan.insecure {
            return Ok(plan);
        }
        Err(format!(
            "the API listens on {address} until the next start of the service, and without a token anybody there may change \
             things; keep api.token_file, or set api.insecure = true, until then"
        ))
    }

    fn apply(&mut self, mut plan: Plan, reply: Option<ReplyTo>) {
        let changes = self.config.changes(&plan);
        let mut reload =
            Reload { reply, former: self.config.clone(), waiting: BTreeMap::new(), done: Vec::new() };
        let log = self.log.reconfigure(plan.log).map_err(|error| error_chain(&error));
        if log.is_err() {
            // What is not in force is tried, and told of, by the next reload again.
            plan.log = self.config.plan().log;
        }
        self.config.adopt(plan);
        let plan = self.config.plan();
        let configured = Event::Configured { policy: plan.policy.clone(), specs: specs(plan) };
        self.spawner.filter = self.log.filter();
        self.take(configured);
        for change in changes {
            match change {
                Change::Setting(setting) => reload.done.push(row::of_setting(setting, &log)),
                Change::Worker(name, change) => {
                    reload.waiting.insert(self.new_client(), (name, change));
                }
            }
        }
        let commands: Vec<_> =
            reload.waiting.iter().map(|(client, change)| (*client, self.command(change))).collect();
        self.reload = Some(reload);
        for (client, command) in commands {
            self.take(Event::Command { client, command });
        }
        self.end_when_done();
    }

    /// What brings a worker's change about.
    fn command(&self, (name, change): &(String, WorkerChange)) -> Command {
        match (change, self.config.worker(name)) {
            (WorkerChange::Added, Some((_, plan))) => Command::Add(spec(plan)),
            (WorkerChange::Replaced(_), _) => Command::Replace(name.clone()),
            (WorkerChange::Added | WorkerChange::Removed, _) => Command::Remove(name.clone()),
        }
    }

    /// Whether this answer was for the reload. If so, it says what became of one of the changes.
    pub(super) fn reload_takes(&mut self, client: ClientId, answer: &Reply) -> bool {
        let Some(reload) = &mut self.reload else { return false };
        let Some((name, change)) = reload.waiting.remove(&client) else { return false };
        let worker = self.state.worker(&name);
        let row = row::of_worker(&name, &change, worker, answer);
        let keeps = match change {
            WorkerChange::Replaced(_) => worker.is_some_and(|worker| worker.running().is_some()),
            WorkerChange::Added => worker.is_none(),
            WorkerChange::Removed => false,
        };
        // One that works on as it did would also be started again so; one that was refused is still to be added.
        if row.how == How::Failed && keeps {
            self.config.revert(&name, &reload.former);
        }
        reload.done.push(row);
        self.end_when_done();
        true
    }

    fn end_when_done(&mut self) {
        if let Some(reload) = self.reload.take_if(|reload| reload.waiting.is_empty()) {
            row::tell(&reload.done);
            self.end(reload.reply, row::reply(reload.done));
        }
    }
}
