//! Commands from the control socket: answered here, or passed to the core.

use super::{blocking, event_loop::Supervisor, status};
use crate::{
    control::{
        protocol::{CommandOutcome, ControlCommand, CrashList, CrashQuery, Reply, SUPERVISOR},
        server::ClientRequest,
    },
    core::{ClientId, Command, Event, Worker},
    store::crashes::CrashStore,
};
use bulkhead_proto::wire::record_store::Page;
use std::sync::Arc;

/// Most reports on a page: they fit a reply.
const PAGE_LIMIT: usize = 20;

impl Supervisor {
    pub(super) fn on_client_request(&mut self, request: ClientRequest) {
        let ClientRequest { command, reply } = request;
        let worker = command.worker().map(str::to_owned);
        let command = match command {
            // A client that has disconnected needs no reply.
            ControlCommand::Status => return drop(reply.send(self.status())),
            ControlCommand::Logs(logs) => return drop(reply.send(self.has_logs(logs.of.as_deref()))),
            ControlCommand::Reload => return self.reload("by command".to_owned(), Some(reply)),
            ControlCommand::Quarantine(what) => return self.quarantine(what, reply),
            ControlCommand::Crashes(query) => {
                let store = Arc::clone(&self.storage.stores.crashes);
                return blocking::answer("crashes", reply, move || read_crashes(&store, query));
            }
            ControlCommand::Start(worker) => Command::Start(worker),
            ControlCommand::Stop(worker) => Command::Stop(worker),
            ControlCommand::Restart(worker) => Command::Restart(worker),
            ControlCommand::Fault(worker, kind) => Command::Fault(worker, kind),
        };
        for client in self.control.take_closed() {
            self.drive(Event::ClientGone { client });
        }
        let client = self.control.add(worker, reply);
        self.drive(Event::Command { client, command });
    }

    fn status(&self) -> Reply {
        let config = self.configuration.active.current();
        let report = status::collect(config, &self.children, &self.state, &self.memory);
        Reply { report: Some(report), ..Reply::new(CommandOutcome::Done, "") }
    }

    /// Replies whether this worker can have lines in the log.
    fn has_logs(&self, worker: Option<&str>) -> Reply {
        match worker {
            Some(name) if name != SUPERVISOR && self.state.worker(name).is_none() => Reply::new(
                CommandOutcome::NotFound,
                format!("{}, {SUPERVISOR}", self.state.unknown_worker(name)),
            ),
            Some(_) | None => Reply::new(CommandOutcome::Done, ""),
        }
    }

    /// The core has answered a command.
    pub(super) fn answer(&mut self, client: ClientId, answer: Reply) {
        if self.on_reload_answer(client, &answer) {
            return;
        }
        if let Some((worker, reply)) = self.control.take(client) {
            let worker = worker.and_then(|worker| self.state.worker(&worker));
            let generation = worker.and_then(Worker::running).map(|process| process.generation);
            let _ = reply.send(Reply { generation, ..answer });
        }
    }
}

fn read_crashes(store: &CrashStore, query: CrashQuery) -> Reply {
    let found = store.records().and_then(|records| match &query {
        CrashQuery::List(CrashList { filter, after, limit }) => {
            Ok(records.page(*after, PAGE_LIMIT.min(*limit), |report| filter.matches(report))?)
        }
        CrashQuery::Show(id) => Ok(Page { items: records.read(*id)?.into_iter().collect(), next: None }),
    });
    match (found, query) {
        (Ok(page), CrashQuery::Show(id)) if page.items.is_empty() => {
            let text = format!(
                "no report of crash {id}: it is not among the newest, or was an orderly stop; `bulkhead crashes` lists the newest reports"
            );
            Reply::new(CommandOutcome::NotFound, text)
        }
        (Ok(page), _) => Reply { crashes: Some(Box::new(page)), ..Reply::new(CommandOutcome::Done, "") },
        (Err(error), _) => blocking::unreadable(&error),
    }
}
