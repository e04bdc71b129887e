//! The inheritance of fds: the supervisor passes names and numbers in an environment variable.
//!
//! Fixed numbers would be simpler to read. But mapping an fd onto a fixed number can overwrite the pipe by which std learns
//! that exec failed.

use crate::wire::vocabulary::vocabulary;
use rustix::io::{Errno, FdFlags, fcntl_getfd, fcntl_setfd};
use std::{
    collections::HashMap,
    fmt::Write as _,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd},
};

/// The variable that names the inherited fds: `control_in=3,control_out=4,…`.
pub const FDS_VARIABLE: &str = "BULKHEAD_FDS";

vocabulary! {
    /// The purpose of an inherited fd. Its word is the name in [`FDS_VARIABLE`].
    FdName("fd") {
        /// The reading end of the pipe from the supervisor.
        ControlIn = "control_in",
        /// The writing end of the pipe to the supervisor.
        ControlOut = "control_out",
        /// The listening socket.
        Listener = "listener",
        /// The file with the bearer token for requests that change state.
        Token = "token",
        /// The events ring.
        Events = "events",
        /// The producer's page.
        Producer = "producer",
        /// The log of keyed requests.
        Keys = "keys",
        /// The cursor page.
        Cursor = "cursor",
        /// The state table.
        State = "state",
        /// The status page.
        StatusPage = "board",
        /// The directory of the quarantined events, for reading.
        Quarantine = "quarantine",
        /// The directory of the crash reports, for reading.
        Crashes = "crashes",
        /// The eventfd that wakes a parked analysis.
        AnalyticsWake = "bell", // prose: allow (the name is a contract)
        /// The supervisor's page: whether it is parked.
        SupervisorPage = "watch",
        /// The eventfd that wakes a parked supervisor when an event is accepted.
        SupervisorWake = "alarm",
    }
}

/// Why the inherited fds could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum FdError {
    /// The process was not started by a supervisor.
    #[error("{FDS_VARIABLE} is not set: this program is started by `bulkhead run`, not by hand")]
    Missing,
    /// The variable is not what a supervisor writes.
    #[error("{FDS_VARIABLE}: {0:?} is not of the form name=number with a known name")]
    Malformed(String),
    /// The fd was not passed, or was taken before.
    #[error("{FDS_VARIABLE}: no fd named {0:?} was passed, or it was taken already")]
    Absent(&'static str),
    /// The number is not an open fd.
    #[error("{FDS_VARIABLE}: fd {fd} ({name:?}) is not open: {source}")]
    Closed {
        /// The name of the fd.
        name: &'static str,
        /// The number of the fd.
        fd: RawFd,
        /// The error of the system.
        source: Errno,
    },
}

/// The fds that the supervisor passes to one worker.
#[derive(Debug, Default)]
pub struct FdHandoff {
    fds: Vec<(FdName, OwnedFd)>,
}

impl FdHandoff {
    /// Adds an fd under a name.
    pub fn add(&mut self, name: FdName, fd: OwnedFd) {
        self.fds.push((name, fd));
    }

    /// The value for [`FDS_VARIABLE`].
    #[must_use]
    pub fn variable(&self) -> String {
        let mut value = String::new();
        for (name, fd) in &self.fds {
            let comma = if value.is_empty() { "" } else { "," };
            // Writing to a String cannot fail.
            let _ = write!(value, "{comma}{}={}", name.as_str(), fd.as_raw_fd());
        }
        value
    }

    /// The fds, to be kept open across exec under their own numbers.
    #[must_use]
    pub fn into_fds(self) -> Vec<OwnedFd> {
        self.fds.into_iter().map(|(_, fd)| fd).collect()
    }
}

/// The fds that this process inherited.
#[derive(Debug)]
pub struct InheritedFds {
    fds: HashMap<FdName, OwnedFd>,
}

/// Within one process: for tests without worker processes.
impl From<FdHandoff> for InheritedFds {
    fn from(handoff: FdHandoff) -> Self {
        Self { fds: handoff.fds.into_iter().collect() }
    }
}

impl InheritedFds {
    /// Takes the fds that the environment names, and marks them close-on-exec. Call it once, at the start of `main`, before
    /// any other thread or fd exists.
    ///
    /// # Errors
    /// If the variable is missing or malformed, or names an fd that is not open.
    pub fn from_env() -> Result<Self, FdError> {
        let text = std::env::var(FDS_VARIABLE).map_err(|_| FdError::Missing)?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self, FdError> {
        let mut fds = HashMap::new();
        for item in text.split(',').filter(|item| !item.is_empty()) {
            let malformed = || FdError::Malformed(item.to_owned());
            let (name, number) = item.split_once('=').ok_or_else(malformed)?;
            let name = name.parse::<FdName>().map_err(|_| malformed())?;
            let number: RawFd = number.parse().ok().filter(|&fd| fd > 2).ok_or_else(malformed)?;
            if fds.contains_key(&name) || fds.values().any(|fd: &OwnedFd| fd.as_raw_fd() == number) {
                return Err(malformed());
            }
            let closed = |source| FdError::Closed { name: name.as_str(), fd: number, source };
            // SAFETY: the supervisor passes these fds to this process alone. The variable is read once, at the start of `main`,
            // and no number appears twice in it.
            let fd = unsafe { take_inherited(number) }.map_err(closed)?;
            fds.insert(name, fd);
        }
        Ok(Self { fds })
    }

    /// Returns the fd of that name, once.
    ///
    /// # Errors
    /// If it was not passed, or was taken before.
    pub fn take(&mut self, name: FdName) -> Result<OwnedFd, FdError> {
        self.take_optional(name).ok_or(FdError::Absent(name.as_str()))
    }

    /// Returns the fd of that name, once. `None` if the supervisor has not passed it: some fds are optional.
    pub fn take_optional(&mut self, name: FdName) -> Option<OwnedFd> {
        self.fds.remove(&name)
    }
}

/// Takes ownership of an fd that the parent process passed by number, and marks it close-on-exec.
///
/// # Errors
/// If the fd is not open.
///
/// # Safety
/// The parent passed the fd to this process alone, and nothing else in this process owns it or takes it again.
pub unsafe fn take_inherited(number: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: borrowed only for the two fcntl calls below, which return EBADF if the number is not open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    let flags = fcntl_getfd(borrowed)?;
    fcntl_setfd(borrowed, flags | FdFlags::CLOEXEC)?;
    // SAFETY: open (checked above), and owned by nothing else, as the caller promises.
    Ok(unsafe { std::os::fd::FromRawFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::IntoRawFd;

    fn open() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    #[test]
    fn a_passed_fd_is_inherited_once_under_its_name() {
        let mut handoff = FdHandoff::default();
        handoff.add(FdName::Events, open());
        handoff.add(FdName::AnalyticsWake, open());
        let text = handoff.variable();
        // As across exec: the numbers stay, and the old owner does not exist any more.
        let numbers: Vec<_> = handoff.into_fds().into_iter().map(IntoRawFd::into_raw_fd).collect();
        let mut inherited = InheritedFds::parse(&text).unwrap();
        assert_eq!(inherited.take(FdName::Events).unwrap().as_raw_fd(), numbers[0]);
        assert_eq!(inherited.take(FdName::AnalyticsWake).unwrap().as_raw_fd(), numbers[1]);
        assert!(matches!(inherited.take(FdName::AnalyticsWake), Err(FdError::Absent("bell")))); // prose: allow
    }

    #[test]
    fn a_malformed_variable_is_an_error_that_quotes_it() {
        for text in ["events", "events=", "events=x", "events=1", "events=-4", "nonsense=7"] {
            assert!(
                matches!(InheritedFds::parse(text), Err(FdError::Malformed(quoted)) if quoted == text),
                "{text}"
            );
        }
    }

    #[test]
    fn an_fd_that_is_not_open_is_an_error() {
        assert!(matches!(
            InheritedFds::parse("state=987654"),
            Err(FdError::Closed { name: "state", fd: 987_654, .. })
        ));
    }
}
