//! Requests of operators and of the API for quarantined events.

use super::{removal::unknown_event, removal_queue::Removal};
use crate::{
    control::protocol::{CommandOutcome, QuarantineCommand, Reply},
    runtime::{blocking, control_plane::ReplyTo, event_loop::Supervisor},
    store::quarantine::QuarantineStore,
};
use bulkhead_proto::wire::{
    control::ToWorker,
    ids::{Generation, Seq},
    quarantine::Entry,
    record_store::Page,
    role::Role,
};
use std::sync::Arc;

/// Number of events on a page: with a report each, they fit a reply.
const PAGE: usize = 20;

impl Supervisor {
    /// Handles the `quarantine` command.
    pub(in crate::runtime) fn quarantine(&mut self, command: QuarantineCommand, reply: ReplyTo) {
        let store = Arc::clone(&self.storage.stores.quarantine);
        match command {
            QuarantineCommand::List(after) => {
                blocking::answer("quarantine", reply, move || list(&store, after));
            }
            QuarantineCommand::Show(seq) => blocking::answer("quarantine", reply, move || show(&store, seq)),
            QuarantineCommand::Drop(seq) => {
                let operators = vec![reply];
                self.remove(Removal { seq, replayed_as: None, requester: None, operators });
            }
            QuarantineCommand::Replay(seq) => self.replay(seq, reply),
        }
    }

    /// Handles a request of the API. If the API has replayed the event, the clients that wait for the replay
    /// wait for the removal now, so they are answered even if the API dies meanwhile.
    pub(in crate::runtime) fn remove_for_api(
        &mut self,
        requester: Generation,
        id: u64,
        seq: Seq,
        replayed_as: Option<Seq>,
    ) {
        let operators = if replayed_as.is_some() { self.control.take_replays(seq) } else { Vec::new() };
        self.remove(Removal { seq, replayed_as, requester: Some((requester, id)), operators });
    }

    /// Nothing was appended: answers the clients that wait for the replay.
    pub(in crate::runtime) fn replay_failed(&mut self, seq: Seq, why: &str) {
        for reply in self.control.take_replays(seq) {
            let _ = reply.send(Reply::new(CommandOutcome::Conflict, why));
        }
    }

    /// The API died, and with it the replays that it was to append.
    pub(in crate::runtime) fn fail_replays_of(&mut self, dead: Generation) {
        for reply in self.control.take_replays_by(dead) {
            let text = "the API died meanwhile: try again; an event is never appended twice";
            let _ = reply.send(Reply::new(CommandOutcome::Conflict, text));
        }
    }

    /// The API appends the event, because only the API writes to the ring.
    fn replay(&mut self, seq: Seq, reply: ReplyTo) {
        let mut apis = self.state.workers.iter().filter(|worker| worker.role == Role::Api);
        let Some(api) = apis.find_map(|worker| Some(worker.running()?.generation)) else {
            let text = "no API is running to append the event: try again when one is";
            return drop(reply.send(Reply::new(CommandOutcome::Conflict, text)));
        };
        self.control.add_replay(seq, api, reply);
        if let Some(full) = self.children.send(api, ToWorker::Replay(seq)) {
            self.drive(full);
        }
    }
}

fn list(store: &QuarantineStore, after: Seq) -> Reply {
    match store.records().and_then(|records| Ok(records.page(Some(after), PAGE, |_| true)?)) {
        Ok(page) => page_reply(page),
        Err(error) => blocking::unreadable(&error),
    }
}

fn show(store: &QuarantineStore, seq: Seq) -> Reply {
    match store.records().and_then(|records| Ok(records.read(seq)?)) {
        Ok(Some(entry)) => page_reply(Page { items: vec![entry], next: None }),
        Ok(None) => Reply::new(CommandOutcome::NotFound, unknown_event(seq)),
        Err(error) => blocking::unreadable(&error),
    }
}

fn page_reply(page: Page<Entry>) -> Reply {
    Reply { quarantine: Some(Box::new(page)), ..Reply::new(CommandOutcome::Done, "") }
}
