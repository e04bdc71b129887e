//! What operators and the API may do with events that were set aside. The heart has no part in it.

use super::{Shell, removal::Removal};
use crate::{
    control::protocol::{Ended, Quarantine, Reply},
    quarantine::Store,
    told::told,
};
use bulkhead_proto::{
    control::ToWorker,
    folder::Page,
    ids::{Generation, Seq},
    pipe::Sent,
    words::Role,
};
use std::{sync::Arc, thread};
use tokio::sync::oneshot;

/// So many a page: with a report each, they fit a reply.
const PAGE: usize = 20;

impl Shell {
    /// A command from the control socket.
    pub(super) fn quarantine(&mut self, what: Quarantine, reply: oneshot::Sender<Reply>) {
        match what {
            Quarantine::List(_) | Quarantine::Show(_) => {
                let store = Arc::clone(&self.quarantine);
                // The disk may take its time. A client that has left needs no reply, and one without a thread is told that
                // the supervisor leaves.
                let read = move || drop(reply.send(read(&store, what)));
                if let Err(error) = thread::Builder::new().name("quarantine".into()).spawn(read) {
                    tracing::error!("no thread to read what is set aside: {error}");
                }
            }
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

fn read(store: &Store, what: Quarantine) -> Reply {
    let found = match what {
        Quarantine::Show(seq) => {
            let entry = store.folder().and_then(|folder| Ok(folder.read(seq)?));
            match entry {
                Ok(None) => return Reply::new(Ended::NotFound, unknown(seq)),
                Ok(Some(entry)) => Ok(Page { items: vec![entry], next: None }),
                Err(error) => Err(error),
            }
        }
        Quarantine::List(after) | Quarantine::Replay(after) | Quarantine::Drop(after) => {
            store.folder().and_then(|folder| Ok(folder.page(Some(after), PAGE)?))
        }
    };
    match found {
        Ok(page) => Reply { quarantine: Some(Box::new(page)), ..Reply::new(Ended::Done, "") },
        Err(error) => Reply::new(Ended::Conflict, format!("it cannot be read: {}", told(&error))),
    }
}
