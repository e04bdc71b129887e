//! Sockets that a service manager passes to this process at its start: sd_listen_fds(3).

use bulkhead_proto::worker::fds::take_inherited;
use rustix::io::Errno;
use std::os::fd::{OwnedFd, RawFd};

/// The first passed fd. The others follow without a gap.
const FIRST_FD: RawFd = 3;

/// The most sockets that are accepted. A larger number is a mistake in the configuration.
const MAX_FDS: RawFd = 1024;

/// Why the passed sockets could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum ListenFdsError {
    /// The variable is not what a service manager writes.
    #[error("LISTEN_FDS: wanted the number of passed sockets, found {0:?}")]
    Malformed(String),
    /// A passed fd is not open.
    #[error("LISTEN_FDS: fd {fd} should be a passed socket, but it is not open: {source}")]
    Closed {
        /// The number of the fd.
        fd: RawFd,
        /// The error of the system.
        source: Errno,
    },
}

/// Takes all passed sockets with their names (`FileDescriptorName=` in systemd.socket(5); empty if there is none), and
/// marks them close-on-exec: systemd passes them without that mark. Call it once, before any other fd is opened.
/// `variable` looks up an environment variable. Sockets for another process are ignored.
///
/// # Errors
/// If the variables are malformed or name an fd that is not open.
pub fn take(variable: &dyn Fn(&str) -> Option<String>) -> Result<Vec<(String, OwnedFd)>, ListenFdsError> {
    let meant_for_us = variable("LISTEN_PID").is_some_and(|pid| pid == std::process::id().to_string());
    let Some(number) = variable("LISTEN_FDS").filter(|_| meant_for_us) else { return Ok(Vec::new()) };
    let Some(count) = number.parse().ok().filter(|count| (0..=MAX_FDS).contains(count)) else {
        return Err(ListenFdsError::Malformed(number));
    };
    let names = variable("LISTEN_FDNAMES").unwrap_or_default();
    let names = names.split(':').map(str::to_owned).chain(std::iter::repeat_with(String::new));
    // SAFETY: the service manager passed these fds to this process alone, and they are taken once.
    let take_fd = |fd| unsafe { take_inherited(fd) };
    (FIRST_FD..FIRST_FD + count)
        .zip(names)
        .map(|(fd, name)| Ok((name, take_fd(fd).map_err(|source| ListenFdsError::Closed { fd, source })?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(pid: u32, fds: &str) -> Result<Vec<(String, OwnedFd)>, ListenFdsError> {
        take(&|name| match name {
            "LISTEN_PID" => Some(pid.to_string()),
            "LISTEN_FDS" => Some(fds.to_owned()),
            _ => None,
        })
    }

    #[test]
    fn sockets_for_another_process_are_ignored() {
        assert!(passed(1, "1").unwrap().is_empty());
        assert!(take(&|_| None).unwrap().is_empty());
        assert!(passed(std::process::id(), "0").unwrap().is_empty());
    }

    #[test]
    fn a_malformed_number_is_an_error_that_quotes_it() {
        for text in ["", "x", "-1", "1000000"] {
            let error = passed(std::process::id(), text).unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }
}
