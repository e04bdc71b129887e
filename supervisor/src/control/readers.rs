//! Those who read the log over the control socket: as slowly as they like, but only so many.

use super::protocol::{Logs, SUPERVISOR};
use crate::log::{
    LogBuffer,
    buffer::{LogReader, LogSelection},
};
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// So many at once: half of the clients, so that the others can always command.
const MAX_READERS: u32 = 8;

/// How long the end of the supervisor waits for them to take its last lines.
const LAST_LINES: Duration = Duration::from_millis(200);

/// What they read, and how many more there may be.
#[derive(Clone, Debug)]
pub(super) struct Readers {
    recent: LogBuffer,
    places: Arc<Semaphore>,
}

/// One that was admitted.
pub(super) struct Admitted {
    reader: LogReader,
    follow: bool,
    _place: OwnedSemaphorePermit,
}

impl Readers {
    pub(super) fn new(recent: LogBuffer) -> Self {
        Self { recent, places: Arc::new(Semaphore::new(usize::try_from(MAX_READERS).unwrap_or(1))) }
    }

    /// Lets one more begin to read, from now on.
    ///
    /// # Errors
    /// Text for the client, when there are too many.
    pub(super) fn admit(&self, logs: &Logs) -> Result<Admitted, String> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            format!("{MAX_READERS} clients read the log already: end one of them, and try again")
        })?;
        let wanted = match logs.of.as_deref() {
            None => LogSelection::All,
            Some(SUPERVISOR) => LogSelection::Supervisor,
            Some(worker) => LogSelection::Worker(worker.to_owned()),
        };
        let last = logs.last.map(|last| usize::try_from(last).unwrap_or(usize::MAX));
        Ok(Admitted { reader: self.recent.reader(wanted, last), follow: logs.follow, _place: place })
    }

    /// Lets those that follow have the last lines, and go; waits a little for them.
    pub(super) async fn finish(&self) {
        self.recent.close();
        let _ = timeout(LAST_LINES, self.places.acquire_many(MAX_READERS)).await;
    }
}

impl Admitted {
    /// Writes the lines until there are no more, or the client leaves.
    pub(super) async fn serve(mut self, stream: &mut BufReader<UnixStream>) {
        loop {
            let lines = self.reader.read();
            if !lines.is_empty() {
                if stream.get_mut().write_all(lines.as_bytes()).await.is_err() {
                    return;
                }
            } else if self.follow {
                tokio::select! {
                    more = self.reader.wait() => self.follow = more,
                    // It has nothing more to say: this is its end, or nonsense.
                    _ = stream.read_u8() => return,
                }
            } else {
                return;
            }
        }
    }
}
