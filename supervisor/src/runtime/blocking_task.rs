//! Work that a slow or hung disk may delay: on a thread of its own, so that the event loop continues.

use std::{future::pending, io, thread, time::Duration};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until},
};

/// A task that takes longer than this is reported: the disk is slow, or hangs.
const STALL_WARNING_AFTER: Duration = Duration::from_secs(5);

/// A task in progress.
#[derive(Debug)]
pub(super) struct BlockingTask<T> {
    /// What the task does, for people.
    what: String,
    result: oneshot::Receiver<T>,
    fallback: T,
    /// When to report that the task is slow; `None` once reported.
    warn_at: Option<Instant>,
}

impl<T: Send + 'static> BlockingTask<T> {
    /// Starts the task. `name` is the name of its thread; `what` describes it for people; `fallback` is the
    /// result if the thread panics.
    ///
    /// # Errors
    /// If no thread can be started.
    pub(super) fn begin(
        name: &str,
        what: String,
        fallback: T,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, result) = oneshot::channel();
        // The receiver is gone once the supervisor has given up on its disk.
        thread::Builder::new().name(name.to_owned()).spawn(move || drop(sender.send(work())))?;
        Ok(Self { what, result, fallback, warn_at: Some(Instant::now() + STALL_WARNING_AFTER) })
    }

    /// Waits for the result; forever if there is no task.
    pub(super) async fn end(task: &mut Option<Self>) -> T {
        let result = match task {
            Some(task) => task.result().await,
            None => None,
        };
        match (result, task.take()) {
            (Some(result), _) => result,
            (None, Some(task)) => task.fallback,
            (None, None) => pending().await,
        }
    }
}

impl<T> BlockingTask<T> {
    /// The result; `None` if the thread panicked. A slow task is reported once.
    async fn result(&mut self) -> Option<T> {
        if let Some(warn_at) = self.warn_at {
            tokio::select! {
                result = &mut self.result => return result.ok(),
                () = sleep_until(warn_at) => {}
            }
            self.warn_at = None;
            let Self { what, .. } = self;
            tracing::error!(
                event_name = "disk_stalled",
                "{what} has taken more than {} s: the disk of state_dir is slow or does not respond; still waiting",
                STALL_WARNING_AFTER.as_secs()
            );
        }
        (&mut self.result).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_result_is_delivered_once() {
        let mut task = Some(BlockingTask::begin("task", String::new(), 1, || 2).unwrap());
        assert_eq!(BlockingTask::end(&mut task).await, 2);
        assert!(task.is_none());
    }

    #[tokio::test]
    async fn a_panicked_task_delivers_its_fallback() {
        let mut task = Some(
            BlockingTask::begin("task", String::new(), 1, || std::panic::resume_unwind(Box::new(())))
                .unwrap(),
        );
        assert_eq!(BlockingTask::end(&mut task).await, 1);
    }
}
