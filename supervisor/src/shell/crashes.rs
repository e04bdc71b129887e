//! Crash reports: handed in, and shown to operators.

use super::{Shell, from_disk};
use crate::{
    control::protocol::{Crashes, Ended, Reply},
    step::Facts,
    store::crashes::CrashStore,
};
use bulkhead_proto::folder::Page;
use std::sync::Arc;
use tokio::sync::oneshot;

/// So many are listed: they fit a screen, and a reply.
const NEWEST: usize = 20;

impl Shell {
    /// Hands the report of a death in. Of one that was never spawned there are no remains.
    pub(super) fn report(&mut self, facts: Box<Facts>) {
        let remains = self.remains.take_if(|(generation, _)| *generation == facts.who.generation);
        if let Some(desk) = &mut self.crash_desk {
            desk.submit(facts, remains.map(|(_, remains)| remains).unwrap_or_default());
        }
    }

    /// A command from the control socket.
    pub(super) fn show_crashes(&self, what: Crashes, reply: oneshot::Sender<Reply>) {
        let store = Arc::clone(&self.crashes);
        from_disk::answer("crashes", reply, move || read(&store, what));
    }
}

fn read(store: &CrashStore, what: Crashes) -> Reply {
    let found = store.records().and_then(|folder| match what {
        Crashes::List => Ok(folder.page(None, NEWEST)?),
        Crashes::Show(id) => Ok(Page { items: folder.read(id)?.into_iter().collect(), next: None }),
    });
    match (found, what) {
        (Ok(page), Crashes::Show(id)) if page.items.is_empty() => {
            let text = format!("there is no report of crash {id}; `bulkhead crashes` lists the newest");
            Reply::new(Ended::NotFound, text)
        }
        (Ok(page), _) => Reply { crashes: Some(Box::new(page)), ..Reply::new(Ended::Done, "") },
        (Err(error), _) => from_disk::unreadable(&error),
    }
}
