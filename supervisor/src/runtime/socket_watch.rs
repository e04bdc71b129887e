//! Notices by inotify(7), without polling, that the file of a socket was removed.

use super::async_fd::{drained, watch};
use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
use std::{future::pending, os::fd::OwnedFd, path::Path, time::Duration};
use tokio::{
    io::unix::AsyncFd,
    time::{Instant, sleep_until},
};

/// Time from a change to its check: a program that removes a directory with the file can finish.
const CHECK_AFTER: Duration = Duration::from_secs(1);

/// A removal changes the number of links, which is an attribute. The inode exists as long as the socket.
const REMOVAL: WatchFlags = WatchFlags::ATTRIB.union(WatchFlags::MOVE_SELF).union(WatchFlags::DELETE_SELF);

/// Watches the files of sockets.
#[derive(Debug)]
pub(super) struct SocketWatch {
    /// `None`: the kernel refused. Files are then checked at SIGHUP only.
    inotify: Option<AsyncFd<OwnedFd>>,
    /// A file has changed and is to be checked.
    check_at: Option<Instant>,
}

impl SocketWatch {
    pub(super) fn new() -> Self {
        let inotify = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC);
        let inotify = inotify.map_err(std::io::Error::from).and_then(watch).map_err(|error| {
            tracing::warn!("cannot watch the files of sockets, a removed one is noticed at SIGHUP: {error}");
        });
        Self { inotify: inotify.ok(), check_at: None }
    }

    pub(super) fn add(&self, path: &Path) {
        if let Some(inotify) = &self.inotify
            && let Err(error) = add_watch(inotify, path, REMOVAL)
        {
            tracing::warn!("cannot watch {}, its removal is noticed at SIGHUP: {error}", path.display());
        }
    }

    /// Waits until a file may have been removed. Cancel safe.
    pub(super) async fn changed(&mut self) {
        let Some(inotify) = &self.inotify else { return pending().await };
        while self.check_at.is_none() {
            // An error does not end the wait: SIGHUP is left.
            drop(inotify.readable().await);
            let mut events = [0; 1024];
            while rustix::io::read(inotify, &mut events).is_ok_and(|length| length > 0) {}
            drained(inotify);
            self.check_at = Some(Instant::now() + CHECK_AFTER);
        }
        if let Some(check_at) = self.check_at {
            sleep_until(check_at).await;
            self.check_at = None;
        }
    }
}
