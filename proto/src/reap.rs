//! Reaping a child together with what it has used: no safe crate has wait4(2) for a process that was not started by it.

use rustix::{io::Errno, process::Pid};
use std::{mem::MaybeUninit, ptr, time::Duration};

/// What a process had used when it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The most memory that it had resident, in bytes.
    pub peak_rss: u64,
    /// CPU time in user mode.
    pub user: Duration,
    /// CPU time in the kernel.
    pub system: Duration,
}

/// Reaps a child of this process that has ended, without waiting. None when it has not ended yet.
///
/// # Errors
/// When there is no such child.
pub fn reap(child: Pid) -> Result<Option<Usage>, Errno> {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    let pid = child.as_raw_nonzero().get();
    // SAFETY: wait4(2) accepts null for a status that nobody wants, and writes at most one rusage, which there is room for.
    let reaped = unsafe { libc::wait4(pid, ptr::null_mut(), libc::WNOHANG, usage.as_mut_ptr()) };
    match reaped {
        0 => return Ok(None),
        -1 => return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::CHILD)),
        _ => {}
    }
    // SAFETY: plain integers, for which the zeroes of before are values as good as those that were written.
    let usage = unsafe { usage.assume_init() };
    let unsigned = |number: i64| u64::try_from(number).unwrap_or(0);
    let time = |time: libc::timeval| {
        Duration::from_secs(unsigned(time.tv_sec)) + Duration::from_micros(unsigned(time.tv_usec))
    };
    // In KiB: getrusage(2).
    let peak_rss = unsigned(usage.ru_maxrss).saturating_mul(1024);
    Ok(Some(Usage { peak_rss, user: time(usage.ru_utime), system: time(usage.ru_stime) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    use std::process::{Command, Stdio};

    fn pid(child: &std::process::Child) -> Pid {
        Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap()
    }

    #[test]
    fn one_that_has_ended_is_reaped_once_with_what_it_used() {
        let mut child = Command::new("true").spawn().unwrap();
        let pid = pid(&child);
        waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).unwrap();
        let usage = reap(pid).unwrap().unwrap();
        assert!(usage.peak_rss > 0, "{usage:?}");
        assert_eq!(reap(pid), Err(Errno::CHILD));
        assert!(child.wait().is_err(), "nobody reaps it again");
    }

    #[test]
    fn one_that_lives_is_left_alone() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        assert_eq!(reap(pid(&child)), Ok(None));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
