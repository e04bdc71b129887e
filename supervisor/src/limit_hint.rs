//! Names the limit that an error of the system comes from. The text of the error rarely does.

use rustix::io::Errno;
use std::{error::Error, io};

/// The limit of this process that explains the error, if any does: its name, and where it is set.
pub(crate) fn limit_hint(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let errno = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::raw_os_error)
        .or_else(|| error.downcast_ref::<Errno>().map(|errno| errno.raw_os_error()))?;
    Some(match Errno::from_raw_os_error(errno) {
        Errno::FBIG => "the limit of file sizes is too low: see `ulimit -f`, or LimitFSIZE= of systemd",
        Errno::MFILE => "the limit of open files is too low: see `ulimit -n`, or LimitNOFILE= of systemd",
        Errno::AGAIN => {
            "the limit of processes is probably too low: see `ulimit -u`, or LimitNPROC= and TasksMax= of systemd"
        }
        Errno::NOMEM => "memory is short, or limited: see `ulimit -v`, or LimitAS= of systemd",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_a_limit_names_it_and_others_name_none() {
        let hint = |errno: Errno| limit_hint(&io::Error::from(errno)).unwrap_or_default();
        for (errno, option) in
            [(Errno::FBIG, "-f"), (Errno::MFILE, "-n"), (Errno::AGAIN, "-u"), (Errno::NOMEM, "-v")]
        {
            assert!(hint(errno).contains(&format!("`ulimit {option}`")), "{errno}");
        }
        assert_eq!(hint(Errno::NOENT), "");
        assert_eq!(limit_hint(&Errno::FBIG), Some(hint(Errno::FBIG)));
    }
}
