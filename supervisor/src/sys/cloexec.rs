//! Keeps the supervisor's inherited fds away from its children.

use std::io;

/// Marks every fd except the three standard ones close-on-exec. Interactive shells, CI runners and service managers
/// leave fds open without that mark.
///
/// # Errors
/// On kernels before 5.11, which lack `CLOSE_RANGE_CLOEXEC` (close_range(2)).
pub fn mark_all() -> io::Result<()> {
    const FIRST_FD: libc::c_uint = 3;
    const CLOEXEC: libc::c_uint = libc::CLOSE_RANGE_CLOEXEC;
    // SAFETY: takes numbers and touches no memory. With this flag the call closes no fd.
    let result = unsafe { libc::syscall(libc::SYS_close_range, FIRST_FD, libc::c_uint::MAX, CLOEXEC) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

    #[test]
    fn an_open_fd_is_marked_and_stderr_is_not() {
        let file = std::fs::File::open("/dev/null").unwrap();
        fcntl_setfd(&file, FdFlags::empty()).unwrap();
        mark_all().unwrap();
        assert!(fcntl_getfd(&file).unwrap().contains(FdFlags::CLOEXEC));
        assert!(!fcntl_getfd(rustix::stdio::stderr()).unwrap().contains(FdFlags::CLOEXEC));
    }
}
