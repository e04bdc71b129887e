//! Explains why a connection to a control socket fails, and what the operator can do.

use nix::unistd::{Gid, Group};
use std::{
    fs::{FileType, Metadata, metadata},
    io,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::Path,
};

/// Describes the failure of a connection to `path`.
pub(super) fn describe_connect_error(path: &Path, error: &io::Error) -> String {
    let found = metadata(path);
    match (error.kind(), found) {
        (_, Ok(found)) if !found.file_type().is_socket() => {
            format!("{}, not a socket", file_kind(found.file_type()))
        }
        (io::ErrorKind::NotFound, _) => "no such socket".to_owned(),
        (io::ErrorKind::ConnectionRefused, Ok(_)) => {
            "no process listens; the socket is left over from a killed supervisor".to_owned()
        }
        (io::ErrorKind::PermissionDenied, found) => {
            // The socket, or the nearest directory above it that can be examined.
            let inode = found.ok().or_else(|| path.ancestors().skip(1).find_map(|dir| metadata(dir).ok()));
            format!("permission denied{}", inode.map(|inode| access_hint(&inode)).unwrap_or_default())
        }
        _ => error.to_string(),
    }
}

fn access_hint(inode: &Metadata) -> String {
    let (group, gid) = (group_name(inode.gid()), inode.gid());
    match (gid, group) {
        (0, _) => "; only root has access: use sudo".to_owned(),
        (_, Some(group)) => {
            format!("; requires root or group {group} (usermod -aG {group} YOU, then log in again)")
        }
        (gid, None) => format!("; requires root or gid {gid}"),
    }
}

fn group_name(gid: u32) -> Option<String> {
    Some(Group::from_gid(Gid::from_raw(gid)).ok()??.name)
}

fn file_kind(found: FileType) -> &'static str {
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

    fn described(path: &Path) -> String {
        describe_connect_error(path, &UnixStream::connect(path).unwrap_err())
    }

    #[test]
    fn a_path_that_is_not_a_socket_is_described() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name| dir.path().join(name);
        assert_eq!(described(&path("none")), "no such socket");
        std::fs::write(path("file"), "").unwrap();
        assert_eq!(described(&path("file")), "a regular file, not a socket");
        mkfifo(&path("fifo"), Mode::S_IRWXU).unwrap();
        assert_eq!(described(&path("fifo")), "a FIFO, not a socket");
        assert_eq!(described(dir.path()), "a directory, not a socket");
    }

    #[test]
    fn a_stale_socket_differs_from_a_missing_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        drop(UnixListener::bind(&path).unwrap());
        assert!(described(&path).starts_with("no process listens; "), "{}", described(&path));
    }

    #[test]
    fn a_denied_connection_names_the_group_with_access() {
        let dir = tempfile::tempdir().unwrap();
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let path = dir.path().join("s");
        let _listener = UnixListener::bind(&path).unwrap();
        let gid = metadata(&path).unwrap().gid();
        let expected = match (gid, group_name(gid)) {
            (0, _) => "only root".to_owned(),
            (_, Some(group)) => format!("group {group}"),
            (gid, None) => format!("gid {gid}"),
        };
        assert!(
            describe_connect_error(&path, &denied).contains(&expected),
            "{}",
            describe_connect_error(&path, &denied)
        );
    }
}
