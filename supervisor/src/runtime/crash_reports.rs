//! Crash reports: queued for storage, and shown to operators.

use super::{blocking, event_loop::Supervisor};
use crate::{
    control::protocol::{CommandOutcome, CrashQuery, Reply},
    core::DeathRecord,
    store::crashes::CrashStore,
};
use bulkhead_proto::wire::record_store::Page;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Number of reports in a list: they fit a screen and a reply.
const LIST_LIMIT: usize = 20;

impl Supervisor {
    /// Queues the report of a death. A worker that never spawned has no exit artifacts.
    pub(super) fn report(&mut self, death_record: Box<DeathRecord>) {
        let exit_artifacts =
            self.exit_artifacts.take_if(|(generation, _)| *generation == death_record.subject.generation);
        if let Some(queue) = &mut self.report_queue {
            queue.submit(
                death_record,
                exit_artifacts.map(|(_, exit_artifacts)| exit_artifacts).unwrap_or_default(),
            );
        }
    }

    /// Handles the `crashes` command.
    pub(super) fn show_crashes(&self, query: CrashQuery, reply: oneshot::Sender<Reply>) {
        let store = Arc::clone(&self.crashes);
        blocking::answer("crashes", reply, move || read(&store, query));
    }
}

fn read(store: &CrashStore, query: CrashQuery) -> Reply {
    let found = store.records().and_then(|records| match query {
        CrashQuery::List => Ok(records.page(None, LIST_LIMIT)?),
        CrashQuery::Show(id) => Ok(Page { items: records.read(id)?.into_iter().collect(), next: None }),
    });
    match (found, query) {
        (Ok(page), CrashQuery::Show(id)) if page.items.is_empty() => {
            let text = format!("no report of crash {id}; `bulkhead crashes` lists the newest reports");
            Reply::new(CommandOutcome::NotFound, text)
        }
        (Ok(page), _) => Reply { crashes: Some(Box::new(page)), ..Reply::new(CommandOutcome::Done, "") },
        (Err(error), _) => blocking::unreadable(&error),
    }
}
