//! Why a connection to a control socket fails, and what to do, as a person needs it said.

use nix::unistd::{Gid, Group};
use std::{
    fs::{FileType, Metadata, metadata},
    io,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::Path,
};

/// Explains the failure of a connection to this path.
pub(super) fn explain(path: &Path, error: &io::Error) -> String {
    let found = metadata(path);
    match (error.kind(), found) {
        (_, Ok(found)) if !found.file_type().is_socket() => {
            format!("is {}, not a socket", kind(found.file_type()))
        }
        (io::ErrorKind::NotFound, _) => "is not there".to_owned(),
        (io::ErrorKind::ConnectionRefused, Ok(_)) => {
            "nobody listens; a supervisor that was killed has left it behind".to_owned()
        }
        (io::ErrorKind::PermissionDenied, found) => {
            // The socket itself, or else the first folder on the way to it that may be looked at.
            let gate =
                found.ok().or_else(|| path.ancestors().skip(1).find_map(|folder| metadata(folder).ok()));
            format!("permission denied{}", gate.map(|gate| who_may(&gate)).unwrap_or_default())
        }
        _ => error.to_string(),
    }
}

fn who_may(gate: &Metadata) -> String {
    let (group, gid) = (name(gate.gid()), gate.gid());
    match (gid, group) {
        (0, _) => "; only root may: try sudo".to_owned(),
        (_, Some(group)) => {
            format!("; be root, or in group {group} (usermod -aG {group} YOU, then log in again)")
        }
        (gid, None) => format!("; be root, or in group {gid}"),
    }
}

fn name(gid: u32) -> Option<String> {
    Some(Group::from_gid(Gid::from_raw(gid)).ok()??.name)
}

fn kind(found: FileType) -> &'static str {
    match found {
        found if found.is_dir() => "a directory",
        found if found.is_fifo() => "a FIFO",
        found if found.is_file() => "a regular file",
        _ => "a device",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::{sys::stat::Mode, unistd::mkfifo};
    use std::os::unix::net::{UnixListener, UnixStream};

    fn explained(path: &Path) -> String {
        explain(path, &UnixStream::connect(path).unwrap_err())
    }

    #[test]
    fn what_is_no_socket_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name| folder.path().join(name);
        assert_eq!(explained(&path("none")), "is not there");
        std::fs::write(path("file"), "").unwrap();
        assert_eq!(explained(&path("file")), "is a regular file, not a socket");
        mkfifo(&path("fifo"), Mode::S_IRWXU).unwrap();
        assert_eq!(explained(&path("fifo")), "is a FIFO, not a socket");
        assert_eq!(explained(folder.path()), "is a directory, not a socket");
    }

    #[test]
    fn a_socket_that_was_left_behind_is_told_from_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        drop(UnixListener::bind(&path).unwrap());
        assert!(explained(&path).starts_with("nobody listens; "), "{}", explained(&path));
    }

    #[test]
    fn who_is_denied_is_told_which_group_would_do() {
        let folder = tempfile::tempdir().unwrap();
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let path = folder.path().join("s");
        let _listener = UnixListener::bind(&path).unwrap();
        let gid = metadata(&path).unwrap().gid();
        let wanted = if gid == 0 { "root".to_owned() } else { format!("in group {}", name(gid).unwrap()) };
        assert!(explain(&path, &denied).contains(&wanted), "{}", explain(&path, &denied));
    }
}
