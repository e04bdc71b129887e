//! Work that the disk may hold up, for ever perhaps: on a thread of its own, for the supervisor must go on hearing.

use std::{future::pending, io, thread, time::Duration};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until},
};

/// A disk that takes longer hangs, and somebody should know.
const SLOW: Duration = Duration::from_secs(5);

/// Something that is under way.
#[derive(Debug)]
pub(super) struct BlockingTask<T> {
    /// What it is, for people.
    what: String,
    told: oneshot::Receiver<T>,
    broken: T,
    /// When it is told of as slow, if that was not done yet.
    slow: Option<Instant>,
}

impl<T: Send + 'static> BlockingTask<T> {
    /// Begins it. `name` is the thread's; `what` tells people of it; `broken` is what comes of it when the thread breaks off.
    ///
    /// # Errors
    /// When there can be no further thread.
    pub(super) fn begin(
        name: &str,
        what: String,
        broken: T,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<Self> {
        let (tell, told) = oneshot::channel();
        // Nobody listens any more once the supervisor has given up on its disk.
        thread::Builder::new().name(name.to_owned()).spawn(move || drop(tell.send(work())))?;
        Ok(Self { what, told, broken, slow: Some(Instant::now() + SLOW) })
    }

    /// Waits for its end; for ever when there is none.
    pub(super) async fn end(task: &mut Option<Self>) -> T {
        let told = match task {
            Some(task) => task.told().await,
            None => None,
        };
        match (told, task.take()) {
            (Some(told), _) => told,
            (None, Some(task)) => task.broken,
            (None, None) => pending().await,
        }
    }
}

impl<T> BlockingTask<T> {
    /// What comes of it; none if it broke off. One that is slow is told of once.
    async fn told(&mut self) -> Option<T> {
        if let Some(slow) = self.slow {
            tokio::select! {
                told = &mut self.told => return told.ok(),
                () = sleep_until(slow) => {}
            }
            self.slow = None;
            let Self { what, .. } = self;
            tracing::error!(
                event_name = "disk_stalled",
                "{what} takes more than {} s: the disk under state_dir does not answer; still waiting for it",
                SLOW.as_secs()
            );
        }
        (&mut self.told).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_comes_of_it_is_told_once() {
        let mut task = Some(BlockingTask::begin("errand", String::new(), 1, || 2).unwrap());
        assert_eq!(BlockingTask::end(&mut task).await, 2);
        assert!(task.is_none());
    }

    #[tokio::test]
    async fn one_that_breaks_off_is_told_as_well() {
        let mut task = Some(
            BlockingTask::begin("errand", String::new(), 1, || std::panic::resume_unwind(Box::new(())))
                .unwrap(),
        );
        assert_eq!(BlockingTask::end(&mut task).await, 1);
    }
}
