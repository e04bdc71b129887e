//! Removal of quarantined events: one at a time, each on a thread of its own, because the disk may be slow.

use super::removal_queue::Removal;
use crate::{
    control::protocol::Reply,
    display::error_chain,
    runtime::{blocking_task::BlockingTask, event_loop::Supervisor},
    store::quarantine::QuarantineStore,
};
use bulkhead_proto::wire::{
    control::{MAX_TEXT, RequestOutcome, ToWorker},
    ids::Seq,
    text::cut,
};
use std::sync::Arc;

/// Maximum number of queued removals: more than the operators and a correct API have in progress at once.
const MAX_QUEUED: usize = 64;

impl Supervisor {
    /// Removes an event, and answers the clients and the worker that wait for it.
    pub(in crate::runtime) fn remove(&mut self, removal: Removal) {
        let seq = removal.seq;
        if self.state.is_quarantining(seq) && self.memory.record().unwrap_or_default().seq < seq {
            // If the service stopped now, only the file would keep the event from being applied.
            let why = format!("event {seq} is not skipped yet: try again when it is");
            return self.finish(removal, RequestOutcome::Conflict(why));
        }
        if self.storage.removals.queue.len() >= MAX_QUEUED {
            let why = format!("{MAX_QUEUED} removals are queued: try again later");
            return self.finish(removal, RequestOutcome::Conflict(why));
        }
        self.storage.removals.queue.push_back(removal);
        if self.storage.removals.queue.len() == 1 {
            self.remove_next();
        }
    }

    /// The removal in progress succeeded or failed.
    pub(in crate::runtime) fn on_removed(&mut self, outcome: RequestOutcome) {
        if let Some(removal) = self.storage.removals.queue.pop_front() {
            self.finish(removal, outcome);
        }
        self.remove_next();
    }

    fn remove_next(&mut self) {
        while let Some(removal) = self.storage.removals.queue.front() {
            let (store, seq) = (Arc::clone(&self.storage.stores.quarantine), removal.seq);
            let panicked = RequestOutcome::Conflict("the removing thread panicked".to_owned());
            match BlockingTask::begin("quarantine", format!("removing event {seq}"), panicked, move || {
                remove(&store, seq)
            }) {
                Ok(task) => return self.storage.removals.task = Some(task),
                Err(error) => {
                    if let Some(removal) = self.storage.removals.queue.pop_front() {
                        self.finish(removal, RequestOutcome::Conflict(error.to_string()));
                    }
                }
            }
        }
    }

    fn finish(&mut self, removal: Removal, outcome: RequestOutcome) {
        let Removal { seq, replayed_as, requester, operators } = removal;
        let outcome = match (outcome, replayed_as) {
            // The event was removed by another request, but it is appended all the same.
            (RequestOutcome::NotFound(_), Some(_)) => RequestOutcome::Done,
            (RequestOutcome::Conflict(why), Some(new)) => {
                let why =
                    format!("event {seq} was replayed as event {new}, but remains in quarantine: {why}");
                RequestOutcome::Conflict(cut(&why, MAX_TEXT).to_owned())
            }
            (outcome, _) => outcome,
        };
        if outcome == RequestOutcome::Done {
            log(seq, replayed_as);
        }
        for reply in operators {
            let text = match (&outcome, replayed_as) {
                (RequestOutcome::Done, None) => format!("event {seq} dropped"),
                (RequestOutcome::Done, Some(new)) => format!("event {seq} replayed as event {new}"),
                (RequestOutcome::NotFound(why) | RequestOutcome::Conflict(why), _) => why.clone(),
            };
            // A client that has disconnected needs no reply.
            let _ = reply.send(Reply::from_outcome(&outcome, text));
        }
        let Some((requester, id)) = requester else { return };
        if let Some(full) = self.children.send(requester, ToWorker::Answer { id, outcome }) {
            self.drive(full);
        }
    }
}

fn remove(store: &QuarantineStore, seq: Seq) -> RequestOutcome {
    match store.remove(seq) {
        Ok(true) => RequestOutcome::Done,
        Ok(false) => RequestOutcome::NotFound(unknown_event(seq)),
        // The text must fit a frame.
        Err(error) => RequestOutcome::Conflict(cut(&error_chain(&error), MAX_TEXT).to_owned()),
    }
}

fn log(seq: Seq, replayed_as: Option<Seq>) {
    match replayed_as {
        Some(new) => tracing::info!(
            event_name = "event_replayed",
            seq = seq.0,
            replayed_as = new.0,
            "event {seq} replayed from quarantine as event {new}"
        ),
        None => {
            tracing::info!(event_name = "event_dropped", seq = seq.0, "event {seq} dropped from quarantine");
        }
    }
}

pub(in crate::runtime) fn unknown_event(seq: Seq) -> String {
    format!("event {seq} is not in quarantine; `bulkhead quarantine list` shows the quarantined events")
}
