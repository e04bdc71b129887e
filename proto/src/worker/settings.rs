//! What a worker of ours is told about itself at its start, through its environment. No secrets.

use crate::wire::{ids::Generation, role::Role};
use serde::{Deserialize, Serialize};

/// The variable that carries [`Settings`] as JSON.
pub const SETTINGS_VARIABLE: &str = "BULKHEAD_SETTINGS";

/// All that a worker of role `api` or `analytics` needs to know, apart from its fds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The worker's name.
    pub worker: String,
    /// Its role.
    pub role: Role,
    /// Its generation.
    pub generation: Generation,
    /// Whether faults are enabled.
    pub faults: bool,
    /// The most series that the analysis keeps; further ones count under [`crate::wire::series::OVERFLOW_SERIES`].
    pub max_series: u32,
    /// The largest request body, in bytes.
    pub max_body: u64,
    /// What the HTTP server allows its clients, beside `max_body`.
    #[serde(default)]
    pub limits: Limits,
    /// How long a worker may take to drain, in milliseconds.
    pub stop_timeout_ms: u64,
    /// The log filter (`tracing_subscriber::EnvFilter` syntax).
    pub log: String,
}

/// What the HTTP server allows its clients; the defaults are those of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// The most connections at once, from 1.
    pub max_connections: u32,
    /// The most connections at once from one IP address, this machine's own excepted; 0 stands for no such limit. Unix
    /// sockets have no addresses.
    pub max_connections_per_address: u32,
    /// How long a request may take, its body's arrival included, in milliseconds.
    pub request_timeout_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_connections: 4096, max_connections_per_address: 1024, request_timeout_ms: 30_000 }
    }
}

/// Why the settings could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Not started by a supervisor.
    #[error("{SETTINGS_VARIABLE} is not set: this program is started by `bulkhead run`, not by hand")]
    Missing,
    /// Not what a supervisor of this version writes.
    #[error("{SETTINGS_VARIABLE} is not understood: {0}")]
    Malformed(#[from] serde_json::Error),
}

impl Settings {
    /// Reads the settings that the supervisor left in the environment.
    ///
    /// # Errors
    /// When there are none, or they are malformed.
    pub fn from_env() -> Result<Self, SettingsError> {
        let text = std::env::var(SETTINGS_VARIABLE).map_err(|_| SettingsError::Missing)?;
        Ok(serde_json::from_str(&text)?)
    }

    /// The value for [`SETTINGS_VARIABLE`].
    ///
    /// # Errors
    /// Never in practice: every field has a JSON form.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}
