//! Sockets that a service manager hands over at the start of a process: sd_listen_fds(3).
#![forbid(unsafe_code)]

use crate::fds::own;
use rustix::io::Errno;
use std::os::fd::{OwnedFd, RawFd};

/// The first of them; the others follow without a gap.
const FIRST: RawFd = 3;

/// More than anybody configures: a number beyond it is a slip, or nonsense.
const MOST: RawFd = 1024;

/// Why what was handed over could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum ListenFdsError {
    /// The variable is not what a service manager writes.
    #[error("LISTEN_FDS: wanted the number of sockets handed over, found {0:?}")]
    Malformed(String),
    /// The number is not an open fd.
    #[error("LISTEN_FDS: fd {fd} is said to be handed over, which is not open: {source}")]
    Closed {
        /// Its number.
        fd: RawFd,
        /// What the system says.
        source: Errno,
    },
}

/// Takes over all of them, with their names (`FileDescriptorName=` in systemd.socket(5); empty where there is none), and
/// makes them close-on-exec, which they are not when they come. To be called once, before any other fd is opened. `variable`
/// looks up the environment; what is meant for another process is left alone.
///
/// # Errors
/// When the variables are malformed, or name an fd that is not open.
pub fn take(variable: &dyn Fn(&str) -> Option<String>) -> Result<Vec<(String, OwnedFd)>, ListenFdsError> {
    let meant_for_us = variable("LISTEN_PID").is_some_and(|pid| pid == std::process::id().to_string());
    let Some(number) = variable("LISTEN_FDS").filter(|_| meant_for_us) else { return Ok(Vec::new()) };
    let Some(count) = number.parse().ok().filter(|count| (0..=MOST).contains(count)) else {
        return Err(ListenFdsError::Malformed(number));
    };
    let names = variable("LISTEN_FDNAMES").unwrap_or_default();
    let names = names.split(':').map(str::to_owned).chain(std::iter::repeat_with(String::new));
    (FIRST..FIRST + count)
        .zip(names)
        .map(|(fd, name)| Ok((name, own(fd).map_err(|source| ListenFdsError::Closed { fd, source })?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handed(pid: u32, fds: &str) -> Result<Vec<(String, OwnedFd)>, ListenFdsError> {
        take(&|name| match name {
            "LISTEN_PID" => Some(pid.to_string()),
            "LISTEN_FDS" => Some(fds.to_owned()),
            _ => None,
        })
    }

    #[test]
    fn what_is_meant_for_another_process_is_left_alone() {
        assert!(handed(1, "1").unwrap().is_empty());
        assert!(take(&|_| None).unwrap().is_empty());
        assert!(handed(std::process::id(), "0").unwrap().is_empty());
    }

    #[test]
    fn a_malformed_number_is_an_error_that_quotes_it() {
        for text in ["", "x", "-1", "1000000"] {
            let error = handed(std::process::id(), text).unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }
}
