//! Work that the disk may hold up, for ever perhaps: on a thread of its own, for the supervisor must go on hearing.

use std::{future::pending, io, thread};
use tokio::sync::oneshot;

/// Something that is under way.
#[derive(Debug)]
pub(super) struct Errand<T> {
    told: oneshot::Receiver<T>,
    broken: T,
}

impl<T: Send + 'static> Errand<T> {
    /// Begins it. `name` is the thread's; `broken` is what comes of it when the thread breaks off.
    ///
    /// # Errors
    /// When there can be no further thread.
    pub(super) fn begin(
        name: &str,
        broken: T,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<Self> {
        let (tell, told) = oneshot::channel();
        // Nobody listens any more once the supervisor has given up on its disk.
        thread::Builder::new().name(name.to_owned()).spawn(move || drop(tell.send(work())))?;
        Ok(Self { told, broken })
    }

    /// Waits for its end; for ever when there is none.
    pub(super) async fn end(errand: &mut Option<Self>) -> T {
        let told = match errand {
            Some(errand) => (&mut errand.told).await.ok(),
            None => None,
        };
        match (told, errand.take()) {
            (Some(told), _) => told,
            (None, Some(errand)) => errand.broken,
            (None, None) => pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_comes_of_it_is_told_once() {
        let mut errand = Some(Errand::begin("errand", 1, || 2).unwrap());
        assert_eq!(Errand::end(&mut errand).await, 2);
        assert!(errand.is_none());
    }

    #[tokio::test]
    async fn one_that_breaks_off_is_told_as_well() {
        let mut errand =
            Some(Errand::begin("errand", 1, || std::panic::resume_unwind(Box::new(()))).unwrap());
        assert_eq!(Errand::end(&mut errand).await, 1);
    }
}
