//! Clients that read the log through the control socket. Each may read slowly; their number is limited.

use super::protocol::{LogQuery, SUPERVISOR};
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

/// The most log readers. Half of the clients, so that the others can always send commands.
const MAX_READERS: u32 = 8;

/// How long an exiting supervisor waits for followers to read the last lines.
const FINAL_LINES_TIMEOUT: Duration = Duration::from_millis(200);

/// The log, and permits to read it.
#[derive(Clone, Debug)]
pub(super) struct LogReaders {
    buffer: LogBuffer,
    permits: Arc<Semaphore>,
}

/// The lines for one client.
pub(super) struct LogStream {
    reader: LogReader,
    follow: bool,
    _permit: OwnedSemaphorePermit,
}

impl LogReaders {
    pub(super) fn new(buffer: LogBuffer) -> Self {
        Self { buffer, permits: Arc::new(Semaphore::new(usize::try_from(MAX_READERS).unwrap_or(1))) }
    }

    /// Opens a stream of the lines that the query selects.
    ///
    /// # Errors
    /// Text for the client if there are too many readers.
    pub(super) fn admit(&self, query: &LogQuery) -> Result<LogStream, String> {
        let permit = Arc::clone(&self.permits).try_acquire_owned().map_err(|_| {
            format!("{MAX_READERS} clients already read the log; close one of them and try again")
        })?;
        let selection = match query.of.as_deref() {
            None => LogSelection::All,
            Some(SUPERVISOR) => LogSelection::Supervisor,
            Some(worker) => LogSelection::Worker(worker.to_owned()),
        };
        let last = query.last.map(|last| usize::try_from(last).unwrap_or(usize::MAX));
        Ok(LogStream { reader: self.buffer.reader(selection, last), follow: query.follow, _permit: permit })
    }

    /// Ends all followers after the last lines. Waits at most [`FINAL_LINES_TIMEOUT`] for them.
    pub(super) async fn finish(&self) {
        self.buffer.close();
        let _ = timeout(FINAL_LINES_TIMEOUT, self.permits.acquire_many(MAX_READERS)).await;
    }
}

impl LogStream {
    /// Writes lines until there are no more or the client closes the connection.
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
                    // A client that follows the log sends nothing more: it has closed, or sends invalid data.
                    _ = stream.read_u8() => return,
                }
            } else {
                return;
            }
        }
    }
}
