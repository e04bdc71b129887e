//! Fds that a process was born with and knows nothing of must not be passed on to its children.

use std::io;

/// Marks every fd but the three standard ones close-on-exec, whoever opened it: shells, CI runners and service managers
/// leave fds open without that mark.
///
/// # Errors
/// On kernels before 5.11, which do not know how (close_range(2)).
pub fn mark_all() -> io::Result<()> {
    const FIRST: libc::c_uint = 3;
    const CLOEXEC: libc::c_uint = libc::CLOSE_RANGE_CLOEXEC;
    // SAFETY: takes numbers only and touches no memory; with this flag no fd is closed, so nobody loses one.
    let answer = unsafe { libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, CLOEXEC) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

    #[test]
    fn a_stray_fd_is_not_passed_on() {
        let stray = std::fs::File::open("/dev/null").unwrap();
        fcntl_setfd(&stray, FdFlags::empty()).unwrap();
        mark_all().unwrap();
        assert!(fcntl_getfd(&stray).unwrap().contains(FdFlags::CLOEXEC));
        assert!(!fcntl_getfd(rustix::stdio::stderr()).unwrap().contains(FdFlags::CLOEXEC));
    }
}
