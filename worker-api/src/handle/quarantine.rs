//! Reads quarantined events from the supervisor's store, and replays them.

use super::{ApiHandle, append::bad_event};
use crate::{
    http::{
        idempotency::RESERVED_KEY_PREFIX,
        problem::{Problem, ProblemKind},
    },
    stores::PageQuery,
};
use bulkhead_proto::{
    shm::ring::{Batch, IdempotencyKey, KeyedRequest},
    wire::{
        control::{FromWorker, MAX_TEXT, Request},
        event::{Event, Input, Removal},
        ids::Seq,
        quarantine::{Entry, Filter},
        text::cut,
        time::arrival_ms,
    },
};

pub(crate) fn not_in_quarantine(seq: Seq) -> Problem {
    Problem::new(ProblemKind::NotFound, format!("event {seq} is not in quarantine"))
}

impl ApiHandle {
    /// Reads one quarantined event, with an excerpt of long data.
    async fn quarantined_event(&self, seq: Seq) -> Result<Entry, Problem> {
        let entry = self.read_store(|stores| &stores.quarantine, move |store| store.read(seq)).await?;
        entry.ok_or_else(|| not_in_quarantine(seq))
    }

    /// The quarantined events that a filter selects, in the order of their numbers.
    pub(crate) async fn quarantined(&self, filter: Filter) -> Result<Vec<Seq>, Problem> {
        let (mut selected, mut after) = (Vec::new(), None);
        loop {
            let page = self.read_page(|stores| &stores.quarantine, PageQuery { limit: None, after }).await?;
            selected.extend(page.items.iter().filter(|entry| filter.matches(entry)).map(|entry| entry.seq));
            after = match page.next {
                Some(next) => Some(next),
                None => return Ok(selected),
            };
        }
    }

    /// Appends a quarantined event again, and asks the supervisor to remove it from the quarantine. Returns its new
    /// seq. If the API or the supervisor dies meanwhile, a repeated replay does not append the event twice.
    pub(crate) async fn replay(&self, seq: Seq) -> Result<Seq, Problem> {
        let entry = self.quarantined_event(seq).await?;
        let new = self.append_replay(&entry)?;
        self.supervisor().request(Request::RemoveQuarantined { seq, replayed_as: Some(new) }).await?;
        Ok(new)
    }

    /// Like [`Self::replay`]. Reports a failure to the supervisor.
    pub(crate) async fn replay_for_operator(self, seq: Seq) {
        if let Err(problem) = self.replay(seq).await {
            let why = cut(problem.detail(), MAX_TEXT).to_owned();
            self.supervisor().notify(&FromWorker::ReplayFailed { seq, why });
        }
    }

    fn append_replay(&self, entry: &Entry) -> Result<Seq, Problem> {
        let Entry { seq, .. } = entry;
        let conflict = |reason: &str| Problem::new(ProblemKind::Conflict, format!("event {seq} {reason}"));
        if self.0.link.may_be_pending(*seq) {
            return Err(conflict("is not skipped yet: try again later"));
        }
        let payload = entry.payload().unwrap_or_default();
        let input =
            Input::decode(&payload).map_err(|_| conflict("cannot be decoded: it can only be dropped"))?;
        let name = format!("{RESERVED_KEY_PREFIX}replay-of-{seq}");
        let no_key = || conflict("has a seq that does not fit an Idempotency-Key");
        let key = IdempotencyKey::new(name.as_bytes()).ok_or_else(no_key)?;
        let request_id = format!("replay-of-{seq}");
        let (request_id, arrived_ms) = (Some(&*request_id), arrival_ms());
        let request = KeyedRequest { key, digest: seq.0.into() };
        let fill = |batch: &mut Batch| {
            let pushed = match input {
                Input::Event(event) => batch.push(&Event { request_id, arrived_ms, ..event }),
                Input::Removal(removal) => batch.push_removal(&Removal { request_id, arrived_ms, ..removal }),
            };
            pushed.map_err(bad_event)
        };
        Ok(self.append_with(Some(request), fill)?.appended().first)
    }
}
