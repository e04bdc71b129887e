//! What operators and the API may do with events that were set aside. The heart has no part in it.

use super::{Shell, from_disk, removal::Removal};
use crate::{
    control::protocol::{Ended, Quarantine, Reply},
    store::quarantine::QuarantineStore,
};
use bulkhead_proto::{
    control::ToWorker,
    folder::Page,
    ids::{Generation, Seq},
    pipe::Sent,
    quarantine::Entry,
    words::Role,
};
use std::sync::Arc;
use tokio::sync::oneshot;

/// So many a page: with a report each, they fit a reply.
const PAGE: usize = 20;

impl Shell {
    /// A command from the control socket.
    pub(super) fn quarantine(&mut self, what: Quarantine, reply: oneshot::Sender<Reply>) {
        let store = Arc::clone(&self.quarantine);
        match what {
            Quarantine::List(after) => {
                from_disk::answer("quarantine", reply, move || list(&store, after));
            }
            Quarantine::Show(seq) => from_disk::answer("quarantine", reply, move || show(&store, seq)),
            Quarantine::Drop(seq) => {
                let operators = vec![reply];
                self.remove(Removal { seq, replayed_as: None, worker: None, operators });
            }
            Quarantine::Replay(seq) => self.replay(seq, reply),
        }
    }

    /// A request of the API. Where it has appended the event once more, those who wait for that wait for this now: also if
    /// the API dies meanwhile.
    pub(super) fn drop_for(&mut self, asker: Generation, id: u64, seq: Seq, replayed_as: Option<Seq>) {
        let operators = if replayed_as.is_some() { self.who_replay(seq) } else { Vec::new() };
        self.remove(Removal { seq, replayed_as, worker: Some((asker, id)), operators });
    }

    /// Nothing was appended: tells those who wait for it.
    pub(super) fn not_replayed(&mut self, seq: Seq, why: &str) {
        for reply in self.who_replay(seq) {
            let _ = reply.send(Reply::new(Ended::Conflict, why));
        }
    }

    fn who_replay(&mut self, seq: Seq) -> Vec<oneshot::Sender<Reply>> {
        self.replays.extract_if(.., |(of, ..)| *of == seq).map(|(.., reply)| reply).collect()
    }

    /// An API is gone, and with it what it was to append.
    pub(super) fn abandon_replays(&mut self, gone: Generation) {
        for (.., reply) in self.replays.extract_if(.., |(_, api, _)| *api == gone) {
            let text = "the API died meanwhile: try again; nothing is ever appended twice";
            let _ = reply.send(Reply::new(Ended::Conflict, text));
        }
    }

    /// The API appends, for it alone writes to the ring.
    fn replay(&mut self, seq: Seq, reply: oneshot::Sender<Reply>) {
        let api = self.state.workers.iter().filter(|worker| worker.role == Role::Api);
        let api = api.filter_map(|worker| Some(worker.running()?.generation)).next();
        let Some(api) = api.filter(|api| {
            let child = self.children.get(*api);
            child.is_some_and(|child| matches!(child.send(&ToWorker::Replay(seq)), Ok(Sent::Done)))
        }) else {
            let text = "no API is at work that could append it: try again when one is";
            return drop(reply.send(Reply::new(Ended::Conflict, text)));
        };
        self.replays.retain(|(.., reply)| !reply.is_closed());
        self.replays.push((seq, api, reply));
    }
}

pub(super) fn unknown(seq: Seq) -> String {
    format!("event {seq} is not set aside; `bulkhead quarantine list` shows those that are")
}

fn list(store: &QuarantineStore, after: Seq) -> Reply {
    match store.records().and_then(|folder| Ok(folder.page(Some(after), PAGE)?)) {
        Ok(page) => shown(page),
        Err(error) => from_disk::unreadable(&error),
    }
}

fn show(store: &QuarantineStore, seq: Seq) -> Reply {
    match store.records().and_then(|folder| Ok(folder.read(seq)?)) {
        Ok(Some(entry)) => shown(Page { items: vec![entry], next: None }),
        Ok(None) => Reply::new(Ended::NotFound, unknown(seq)),
        Err(error) => from_disk::unreadable(&error),
    }
}

fn shown(page: Page<Entry>) -> Reply {
    Reply { quarantine: Some(Box::new(page)), ..Reply::new(Ended::Done, "") }
}
