//! Where the control socket is.

use crate::config::EnvLookup;
use std::{
    env::split_paths,
    ffi::OsString,
    path::{Path, PathBuf},
};

/// The file name of the socket in every directory.
const FILE_NAME: &str = "control.sock";

/// Where the supervisor listens: `--socket`, else `$RUNTIME_DIRECTORY`, else `$XDG_RUNTIME_DIR/bulkhead`, else
/// `state_dir`.
#[must_use]
pub fn server_path(socket: Option<&Path>, env: EnvLookup<'_>, state_dir: &Path) -> PathBuf {
    match socket {
        Some(path) => path.to_owned(),
        None => runtime_paths(env).into_iter().next().unwrap_or_else(|| state_dir.join(FILE_NAME)),
    }
}

/// The sockets that a client tries, in order. A socket named by `--socket` or `$BULKHEAD_SOCKET` is the only one: a
/// command for one supervisor must not reach another.
#[must_use]
pub fn client_paths(socket: Option<&Path>, env: EnvLookup<'_>, state_dir: &Path) -> Vec<PathBuf> {
    let named = socket.map(Path::to_owned).or_else(|| non_empty(env, "BULKHEAD_SOCKET").map(PathBuf::from));
    if let Some(path) = named {
        return vec![path];
    }
    let mut paths = vec![Path::new("/run/bulkhead").join(FILE_NAME)];
    paths.extend(runtime_paths(env));
    paths.push(state_dir.join(FILE_NAME));
    paths.dedup();
    paths
}

fn runtime_paths(env: EnvLookup<'_>) -> Vec<PathBuf> {
    // systemd may list several directories, separated by colons. The first one is used.
    let runtime = non_empty(env, "RUNTIME_DIRECTORY").and_then(|list| split_paths(&list).next());
    let user = non_empty(env, "XDG_RUNTIME_DIR").map(|path| Path::new(&path).join("bulkhead"));
    runtime.into_iter().chain(user).map(|dir| dir.join(FILE_NAME)).collect()
}

fn non_empty(env: EnvLookup<'_>, name: &str) -> Option<OsString> {
    env(name).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing(_: &str) -> Option<OsString> {
        None
    }

    fn both(name: &str) -> Option<OsString> {
        match name {
            "RUNTIME_DIRECTORY" => Some("/run/one:/run/two".into()),
            "XDG_RUNTIME_DIR" => Some("/run/user/7".into()),
            _ => None,
        }
    }

    #[test]
    fn the_server_uses_the_first_directory_that_is_set() {
        let state = Path::new("/s");
        assert_eq!(server_path(Some(Path::new("/o")), &both, state), Path::new("/o"));
        assert_eq!(server_path(None, &both, state), Path::new("/run/one/control.sock"));
        let user = |name: &str| both(name).filter(|_| name == "XDG_RUNTIME_DIR");
        assert_eq!(server_path(None, &user, state), Path::new("/run/user/7/bulkhead/control.sock"));
        assert_eq!(server_path(None, &nothing, state), Path::new("/s/control.sock"));
    }

    #[test]
    fn a_client_tries_every_path_a_server_may_use() {
        let state = Path::new("/s");
        assert_eq!(
            client_paths(None, &both, state),
            [
                "/run/bulkhead/control.sock",
                "/run/one/control.sock",
                "/run/user/7/bulkhead/control.sock",
                "/s/control.sock"
            ]
            .map(PathBuf::from)
        );
        assert!(client_paths(None, &both, state).contains(&server_path(None, &both, state)));
        assert!(client_paths(None, &nothing, state).contains(&server_path(None, &nothing, state)));
    }

    #[test]
    fn a_client_with_a_named_socket_tries_no_other() {
        let named = |name: &str| (name == "BULKHEAD_SOCKET").then(|| "/named".into());
        assert_eq!(client_paths(None, &named, Path::new("/s")), [Path::new("/named")]);
        assert_eq!(client_paths(Some(Path::new("/o")), &named, Path::new("/s")), [Path::new("/o")]);
    }
}
