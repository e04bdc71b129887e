//! Reaps a child and returns its resource usage. No safe crate offers wait4(2) for a process that std did not start.

use bulkhead_proto::wire::crash::Resources;
use rustix::{io::Errno, process::Pid};
use std::{mem::MaybeUninit, ptr};

/// Reaps a child of this process if it has ended. Does not wait. `None` if the child is alive.
///
/// # Errors
/// If there is no such child.
pub fn wait_with_usage(child: Pid) -> Result<Option<Resources>, Errno> {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    let pid = child.as_raw_nonzero().get();
    // SAFETY: wait4(2) accepts a null status pointer, and writes at most one rusage, for which there is room.
    let reaped = unsafe { libc::wait4(pid, ptr::null_mut(), libc::WNOHANG, usage.as_mut_ptr()) };
    match reaped {
        0 => return Ok(None),
        -1 => return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::CHILD)),
        _ => {}
    }
    // SAFETY: rusage is plain integers; zeroes are valid values, and so is what the kernel wrote.
    let usage = unsafe { usage.assume_init() };
    let unsigned = |number: i64| u64::try_from(number).unwrap_or(0);
    let ms = |time: libc::timeval| unsigned(time.tv_sec).saturating_mul(1000) + unsigned(time.tv_usec) / 1000;
    // `ru_maxrss` is in KiB: getrusage(2).
    let peak_rss_bytes = unsigned(usage.ru_maxrss).saturating_mul(1024);
    Ok(Some(Resources { peak_rss_bytes, user_ms: ms(usage.ru_utime), system_ms: ms(usage.ru_stime) }))
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
    fn an_exited_child_is_reaped_once_with_its_usage() {
        let mut child = Command::new("true").spawn().unwrap();
        let pid = pid(&child);
        waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).unwrap();
        let usage = wait_with_usage(pid).unwrap().unwrap();
        assert!(usage.peak_rss_bytes > 0, "{usage:?}");
        assert_eq!(wait_with_usage(pid), Err(Errno::CHILD));
        assert!(child.wait().is_err(), "the child cannot be reaped again");
    }

    #[test]
    fn a_child_that_is_alive_is_not_reaped() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        assert_eq!(wait_with_usage(pid(&child)), Ok(None));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
