//! Environment variables that set or override configuration keys.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

/// Looks up an environment variable by name. Values need not be UTF-8.
pub type EnvLookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Values from the environment. They replace a key of the file, or its default.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `BULKHEAD_API_LISTEN`; replaces `api.listen`.
    pub listen: Option<String>,
    /// `BULKHEAD_STATE_DIR`; replaces `state_dir`.
    pub state_dir: Option<PathBuf>,
    /// `STATE_DIRECTORY` (set by systemd); the default of `state_dir`.
    pub default_state_dir: Option<PathBuf>,
    /// The systemd credential `token`; the default of `api.token_file`.
    pub default_token: Option<PathBuf>,
}

impl Overrides {
    /// Reads the overrides. `env` must return `None` for empty variables.
    pub(super) fn from_env(env: EnvLookup<'_>) -> Self {
        Self {
            listen: env("BULKHEAD_API_LISTEN").map(|listen| listen.to_string_lossy().into_owned()),
            state_dir: env("BULKHEAD_STATE_DIR").map(PathBuf::from),
            // systemd may list several directories, separated by colons. The first one is used.
            default_state_dir: env("STATE_DIRECTORY").and_then(|list| std::env::split_paths(&list).next()),
            default_token: env("CREDENTIALS_DIRECTORY")
                .map(|dir| Path::new(&dir).join("token"))
                .filter(|path| path.exists()),
        }
    }
}
