//! What operators and the API may do with events that were set aside. The heart has no part in it.

use super::Shell;
use crate::{
    control::protocol::{Ended, Quarantine, Reply},
    quarantine::Store,
    told::told,
};
use bulkhead_proto::{
    control::{Outcome, ToWorker},
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
                let outcome = self.remove(seq, None);
                let text = text(&outcome, || format!("event {seq} is dropped"));
                let _ = reply.send(Reply::decided(&outcome, text));
            }
            Quarantine::Replay(seq) => self.replay(seq, reply),
        }
    }

    /// Removes one, and answers all that wait for it.
    pub(super) fn drop_for(&mut self, asker: Generation, id: u64, seq: Seq, replayed_as: Option<Seq>) {
        let outcome = self.remove(seq, replayed_as);
        if let Some(new) = replayed_as {
            let text = text(&outcome, || format!("event {seq} is appended once more, as event {new}"));
            self.answer_replays(seq, &outcome, &text);
        }
        if let Some(child) = self.children.get(asker)
            && let Err(error) = child.send(&ToWorker::Answer { id, outcome })
        {
            tracing::error!(generation = asker.0, "an answer cannot be sent: {error}");
        }
    }

    /// Tells those who wait for a replay what came of it.
    pub(super) fn answer_replays(&mut self, seq: Seq, outcome: &Outcome, text: &str) {
        for (_, _, reply) in self.replays.extract_if(.., |(of, ..)| *of == seq) {
            let _ = reply.send(Reply::decided(outcome, text.to_owned()));
        }
    }

    /// An API is gone, and with it what it was to append.
    pub(super) fn abandon_replays(&mut self, gone: Generation) {
        for (.., reply) in self.replays.extract_if(.., |(_, api, _)| *api == gone) {
            let text = "the API died meanwhile: try again; nothing is ever appended twice";
            let _ = reply.send(Reply::new(Ended::Conflict, text));
        }
    }

    fn remove(&self, seq: Seq, replayed_as: Option<Seq>) -> Outcome {
        let committed = self.memory.record().unwrap_or_default().seq;
        if committed < seq && seq < self.memory.tail().next_seq {
            // Its file is what keeps it from being applied, should we stop now.
            return Outcome::Conflict(format!("event {seq} is not skipped yet: try again when it is"));
        }
        match (self.quarantine.remove(seq), replayed_as) {
            (Ok(false), _) => Outcome::NotFound(unknown(seq)),
            (Err(error), _) => Outcome::Conflict(told(&error)),
            (Ok(true), Some(new)) => {
                tracing::info!(
                    event_name = "event_replayed",
                    seq = seq.0,
                    replayed_as = new.0,
                    "event {seq} is no longer set aside: it was appended once more, as event {new}"
                );
                Outcome::Done
            }
            (Ok(true), None) => {
                tracing::info!(
                    event_name = "event_dropped",
                    seq = seq.0,
                    "event {seq} was set aside, and is dropped for good"
                );
                Outcome::Done
            }
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

fn text(outcome: &Outcome, done: impl FnOnce() -> String) -> String {
    match outcome {
        Outcome::Done => done(),
        Outcome::NotFound(why) | Outcome::Conflict(why) => why.clone(),
    }
}

fn unknown(seq: Seq) -> String {
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
