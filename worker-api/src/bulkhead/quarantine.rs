//! Events that were set aside: read from the supervisor's files, appended once more, dropped by the supervisor.

use super::{AppendError, Bulkhead, arrival_ms};
use crate::{
    idempotency::OWN,
    mutant::{self, Mutant},
    problem::{Kind, Problem},
};
use bulkhead_proto::{
    shm::ring::{AppendOutcome, Batch, IdempotencyKey, KeyedRequest},
    wire::{
        control::{FromWorker, MAX_TEXT, Request},
        event::{Event, EventError},
        ids::Seq,
        quarantine::Entry,
        text::cut,
    },
};

impl Bulkhead {
    /// One event that was set aside.
    pub(crate) async fn set_aside(&self, seq: Seq) -> Result<Entry, Problem> {
        let entry = self.read(|folders| &folders.quarantine, move |folder| folder.read(seq)).await?;
        entry.ok_or_else(|| Problem::new(Kind::NotFound, format!("event {seq} is not set aside")))
    }

    /// Appends an event once more, and has the supervisor remove it from those that are set aside. Its new number. Whoever
    /// dies meanwhile: done again, it is not appended again.
    pub(crate) async fn replay(&self, seq: Seq) -> Result<Seq, Problem> {
        let entry = self.set_aside(seq).await?;
        let new = self.append_again(&entry)?;
        self.desk().ask(Request::RemoveQuarantined { seq, replayed_as: Some(new) }).await?;
        Ok(new)
    }

    /// As [`Self::replay`]; the supervisor is told when nothing comes of it.
    pub(crate) async fn replay_for_the_operator(self, seq: Seq) {
        if let Err(problem) = self.replay(seq).await {
            let why = cut(problem.detail(), MAX_TEXT).to_owned();
            let _ = self.0.out.send(&FromWorker::ReplayFailed { seq, why });
        }
    }

    fn append_again(&self, entry: &Entry) -> Result<Seq, Problem> {
        let Entry { seq, .. } = entry;
        let conflict = |why: &str| Problem::new(Kind::Conflict, format!("event {seq} {why}"));
        if self.0.link.may_be_pending(*seq) && !mutant::is(Mutant::ReplayUnskipped) {
            return Err(conflict("is not skipped yet: try again when it is"));
        }
        let payload = entry.payload().unwrap_or_default();
        let event =
            Event::decode(&payload).map_err(|_| conflict("cannot be read: it can only be dropped"))?;
        let name = format!("{OWN}replay-of-{seq}");
        let own = || conflict("has a number that no key holds");
        let key = IdempotencyKey::new(name.as_bytes()).ok_or_else(own)?;
        let request_id = format!("replay-of-{seq}");
        let request_id = Some(&*request_id).filter(|_| !mutant::is(Mutant::ReplayNameless));
        let again = Event { request_id, arrived_ms: arrival_ms(), ..event };
        let request = KeyedRequest { key, digest: seq.0.into() };
        let fill = |batch: &mut Batch| {
            let bad = |error: EventError| AppendError::Bad { index: 0, why: error.to_string() };
            batch.push(&again).map_err(bad)
        };
        let outcome = if mutant::is(Mutant::ReplayWithoutKey) {
            self.append_with(fill).map(AppendOutcome::Appended)
        } else {
            self.append_once(request, fill)
        };
        let (AppendOutcome::Appended(appended) | AppendOutcome::Replayed(appended)) =
            outcome.map_err(Problem::from)?;
        Ok(appended.first)
    }
}
