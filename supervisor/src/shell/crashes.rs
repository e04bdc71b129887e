//! Crash reports: handed in, and shown to operators.

use super::Shell;
use crate::{
    control::protocol::{Crashes, Ended, Reply},
    crashes::Store,
    step::Facts,
    told::told,
};
use bulkhead_proto::folder::Page;
use std::{sync::Arc, thread};
use tokio::sync::oneshot;

/// So many are listed: they fit a screen, and a reply.
const NEWEST: usize = 20;

impl Shell {
    /// Hands the report of a death in. Of one that was never spawned there are no remains.
    pub(super) fn report(&mut self, facts: Box<Facts>) {
        let remains = self.remains.take_if(|(generation, _)| *generation == facts.who.generation);
        if let Some(desk) = &mut self.crash_desk {
            desk.take(facts, remains.map(|(_, remains)| remains).unwrap_or_default());
        }
    }

    /// A command from the control socket. The disk may take its time. A client that has left needs no reply, and one without
    /// a thread is told that the supervisor leaves.
    pub(super) fn show_crashes(&self, what: Crashes, reply: oneshot::Sender<Reply>) {
        let store = Arc::clone(&self.crashes);
        let read = move || drop(reply.send(read(&store, what)));
        if let Err(error) = thread::Builder::new().name("crashes".into()).spawn(read) {
            tracing::error!("no thread to read crash reports: {error}");
        }
    }
}

fn read(store: &Store, what: Crashes) -> Reply {
    let found = store.folder().and_then(|folder| match what {
        Crashes::List => Ok(folder.page(None, NEWEST)?),
        Crashes::Show(id) => Ok(Page { items: folder.read(id)?.into_iter().collect(), next: None }),
    });
    match (found, what) {
        (Ok(page), Crashes::Show(id)) if page.items.is_empty() => {
            let text = format!("there is no report of crash {id}; `bulkhead crashes` lists the newest");
            Reply::new(Ended::NotFound, text)
        }
        (Ok(page), _) => Reply { crashes: Some(Box::new(page)), ..Reply::new(Ended::Done, "") },
        (Err(error), _) => Reply::new(Ended::Conflict, format!("it cannot be read: {}", told(&error))),
    }
}
