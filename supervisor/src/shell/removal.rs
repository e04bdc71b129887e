//! Removing an event that was set aside: one after the other, each on a thread of its own, for the disk may take its time.

use super::{Shell, errand::Errand, set_aside::unknown};
use crate::{control::protocol::Reply, display::error_chain, store::quarantine::QuarantineStore};
use bulkhead_proto::{
    control::{MAX_TEXT, Outcome, ToWorker, cut},
    ids::{Generation, Seq},
};
use std::{collections::VecDeque, sync::Arc};
use tokio::sync::oneshot;

/// So many wait at most: more than the operators and the API have under way at once, unless the API lies.
const WAITING: usize = 64;

/// What is to be removed, and who waits for it.
#[derive(Debug)]
pub(super) struct Removal {
    pub(super) seq: Seq,
    /// The number under which it was appended once more, if it was.
    pub(super) replayed_as: Option<Seq>,
    /// The worker that asks for it, and its request.
    pub(super) worker: Option<(Generation, u64)>,
    pub(super) operators: Vec<oneshot::Sender<Reply>>,
}

/// Those that wait; the first of them is under way.
#[derive(Debug, Default)]
pub(super) struct Removals {
    queue: VecDeque<Removal>,
    errand: Option<Errand<Outcome>>,
}

impl Removals {
    /// What comes of the one that is under way; waits for ever when there is none.
    pub(super) async fn end(&mut self) -> Outcome {
        Errand::end(&mut self.errand).await
    }
}

impl Shell {
    /// Removes one, and tells those who wait for it.
    pub(super) fn remove(&mut self, removal: Removal) {
        let seq = removal.seq;
        if self.state.sets_aside(seq) && self.memory.record().unwrap_or_default().seq < seq {
            // Its file is what keeps it from being applied, should we stop now.
            let why = format!("event {seq} is not skipped yet: try again when it is");
            return self.tell(removal, Outcome::Conflict(why));
        }
        if self.removals.queue.len() >= WAITING {
            let why = format!("{WAITING} others are to be removed first: try again later");
            return self.tell(removal, Outcome::Conflict(why));
        }
        self.removals.queue.push_back(removal);
        if self.removals.queue.len() == 1 {
            self.remove_next();
        }
    }

    /// The one that was under way is removed, or cannot be.
    pub(super) fn removed(&mut self, outcome: Outcome) {
        if let Some(removal) = self.removals.queue.pop_front() {
            self.tell(removal, outcome);
        }
        self.remove_next();
    }

    fn remove_next(&mut self) {
        while let Some(removal) = self.removals.queue.front() {
            let (store, seq) = (Arc::clone(&self.quarantine), removal.seq);
            let broken = Outcome::Conflict("the thread that removes broke off".to_owned());
            match Errand::begin("quarantine", format!("removing event {seq}"), broken, move || {
                remove(&store, seq)
            }) {
                Ok(errand) => return self.removals.errand = Some(errand),
                Err(error) => {
                    if let Some(removal) = self.removals.queue.pop_front() {
                        self.tell(removal, Outcome::Conflict(error.to_string()));
                    }
                }
            }
        }
    }

    fn tell(&mut self, removal: Removal, outcome: Outcome) {
        let Removal { seq, replayed_as, worker, operators } = removal;
        let outcome = match (outcome, replayed_as) {
            // Somebody else has removed it meanwhile; it is appended all the same.
            (Outcome::NotFound(_), Some(_)) => Outcome::Done,
            (Outcome::Conflict(why), Some(new)) => {
                let why =
                    format!("event {seq} is appended once more, as event {new}, but stays listed: {why}");
                Outcome::Conflict(cut(&why, MAX_TEXT).to_owned())
            }
            (outcome, _) => outcome,
        };
        if outcome == Outcome::Done {
            log(seq, replayed_as);
        }
        for reply in operators {
            let text = match (&outcome, replayed_as) {
                (Outcome::Done, None) => format!("event {seq} is dropped"),
                (Outcome::Done, Some(new)) => format!("event {seq} is appended once more, as event {new}"),
                (Outcome::NotFound(why) | Outcome::Conflict(why), _) => why.clone(),
            };
            // A client that has left needs none.
            let _ = reply.send(Reply::decided(&outcome, text));
        }
        let Some((asker, id)) = worker else { return };
        if let Some(child) = self.children.get(asker)
            && let Err(error) = child.send(&ToWorker::Answer { id, outcome })
        {
            tracing::error!(generation = asker.0, "an answer cannot be sent: {error}");
        }
    }
}

fn remove(store: &QuarantineStore, seq: Seq) -> Outcome {
    match store.remove(seq) {
        Ok(true) => Outcome::Done,
        Ok(false) => Outcome::NotFound(unknown(seq)),
        // It must fit a frame.
        Err(error) => Outcome::Conflict(cut(&error_chain(&error), MAX_TEXT).to_owned()),
    }
}

fn log(seq: Seq, replayed_as: Option<Seq>) {
    match replayed_as {
        Some(new) => tracing::info!(
            event_name = "event_replayed",
            seq = seq.0,
            replayed_as = new.0,
            "event {seq} is no longer set aside: it was appended once more, as event {new}"
        ),
        None => tracing::info!(
            event_name = "event_dropped",
            seq = seq.0,
            "event {seq} was set aside, and is dropped for good"
        ),
    }
}
