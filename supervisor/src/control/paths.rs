//! Where the control socket is (DESIGN 7).

use std::path::{Path, PathBuf};

/// The socket's name in whatever directory.
const NAME: &str = "control.sock";

/// Looks up the environment.
pub type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Where the daemon listens: `--socket`, else `$RUNTIME_DIRECTORY`, else `$XDG_RUNTIME_DIR/bulkhead`, else `state_dir`.
#[must_use]
pub fn daemon(option: Option<&Path>, variable: Variable<'_>, state_dir: &Path) -> PathBuf {
    match option {
        Some(path) => path.to_owned(),
        None => usual(variable).into_iter().next().unwrap_or_else(|| state_dir.join(NAME)),
    }
}

/// Where a client looks, in this order. A socket that was named by `--socket` or `$BULKHEAD_SOCKET` is the only one: a
/// command meant for one supervisor must not reach another.
#[must_use]
pub fn client(option: Option<&Path>, variable: Variable<'_>, state_dir: &Path) -> Vec<PathBuf> {
    let named = option.map(Path::to_owned).or_else(|| set(variable, "BULKHEAD_SOCKET").map(PathBuf::from));
    if let Some(path) = named {
        return vec![path];
    }
    let mut paths = vec![Path::new("/run/bulkhead").join(NAME)];
    paths.extend(usual(variable));
    paths.push(state_dir.join(NAME));
    paths.dedup();
    paths
}

fn usual(variable: Variable<'_>) -> Vec<PathBuf> {
    // systemd may name several directories, separated by colons: the first is ours.
    let runtime =
        set(variable, "RUNTIME_DIRECTORY").and_then(|list| list.split(':').next().map(PathBuf::from));
    let user = set(variable, "XDG_RUNTIME_DIR").map(|path| Path::new(&path).join("bulkhead"));
    runtime.into_iter().chain(user).map(|folder| folder.join(NAME)).collect()
}

fn set(variable: Variable<'_>, name: &str) -> Option<String> {
    variable(name).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing(_: &str) -> Option<String> {
        None
    }

    fn both(name: &str) -> Option<String> {
        match name {
            "RUNTIME_DIRECTORY" => Some("/run/one:/run/two".into()),
            "XDG_RUNTIME_DIR" => Some("/run/user/7".into()),
            _ => None,
        }
    }

    #[test]
    fn the_daemon_takes_the_first_place_that_there_is() {
        let state = Path::new("/s");
        assert_eq!(daemon(Some(Path::new("/o")), &both, state), Path::new("/o"));
        assert_eq!(daemon(None, &both, state), Path::new("/run/one/control.sock"));
        let user = |name: &str| both(name).filter(|_| name == "XDG_RUNTIME_DIR");
        assert_eq!(daemon(None, &user, state), Path::new("/run/user/7/bulkhead/control.sock"));
        assert_eq!(daemon(None, &nothing, state), Path::new("/s/control.sock"));
    }

    #[test]
    fn a_client_tries_every_place_where_a_daemon_may_be() {
        let state = Path::new("/s");
        assert_eq!(
            client(None, &both, state),
            [
                "/run/bulkhead/control.sock",
                "/run/one/control.sock",
                "/run/user/7/bulkhead/control.sock",
                "/s/control.sock"
            ]
            .map(PathBuf::from)
        );
        assert!(client(None, &both, state).contains(&daemon(None, &both, state)));
        assert!(client(None, &nothing, state).contains(&daemon(None, &nothing, state)));
    }

    #[test]
    fn a_client_that_names_a_socket_tries_no_other() {
        let named = |name: &str| (name == "BULKHEAD_SOCKET").then(|| "/named".to_owned());
        assert_eq!(client(None, &named, Path::new("/s")), [Path::new("/named")]);
        assert_eq!(client(Some(Path::new("/o")), &named, Path::new("/s")), [Path::new("/o")]);
    }
}
