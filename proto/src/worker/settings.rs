//! The settings that the supervisor gives to a worker at its start, through the environment. They contain no secrets.

use crate::wire::{ids::Generation, role::Role};
use serde::{Deserialize, Serialize};

/// The variable that carries [`Settings`] as JSON.
pub const SETTINGS_VARIABLE: &str = "BULKHEAD_SETTINGS";

/// Everything that a worker of role `api` or `analytics` must know, except its fds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The name of the worker.
    pub worker: String,
    /// The role of the worker.
    pub role: Role,
    /// The generation of the worker.
    pub generation: Generation,
    /// Whether faults are enabled.
    pub faults: bool,
    /// The most series in the state table. Further series are counted under
    /// [`OVERFLOW_SERIES`](crate::wire::series::OVERFLOW_SERIES).
    pub max_series: u32,
    /// A series that gets no event for this long is removed, in milliseconds; `None`: never.
    #[serde(default)]
    pub expire_ms: Option<u64>,
    /// The largest request body, in bytes.
    pub max_body: u64,
    /// The limits of the API, besides `max_body`.
    #[serde(default)]
    pub limits: Limits,
    /// The host names and web origins that requests may have.
    #[serde(default)]
    pub access: Access,
    /// The time that the worker may take to drain, in milliseconds.
    pub stop_timeout_ms: u64,
    /// The log filter (the syntax of `tracing_subscriber::filter::Targets`).
    pub log: String,
}

/// The limits of the API for its clients. The defaults are those of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// The most connections at once, at least 1.
    pub max_connections: u32,
    /// The most connections at once from one IP address, except from this machine; 0 means no limit. Unix sockets have no
    /// addresses.
    pub max_connections_per_address: u32,
    /// The time that a request may take, including the arrival of its body, in milliseconds.
    pub request_timeout_ms: u64,
    /// How long a connection may be idle between two requests, in milliseconds.
    pub idle_timeout_ms: u64,
    /// The longest `data` of an event, in bytes of JSON text, at most [`MAX_DATA`](crate::wire::event::MAX_DATA).
    pub max_event: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 4096,
            max_connections_per_address: 1024,
            request_timeout_ms: 30_000,
            // Longer than the 60 s after which load balancers usually close their own idle connections: the side that
            // closes first never sends a request on a connection that the other side is closing.
            idle_timeout_ms: 75_000,
            max_event: 64 << 10,
        }
    }
}

/// The host names and web origins that requests may have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Access {
    /// Host names, in lower case, that requests may have in `Host` besides IP addresses and `localhost`. Empty: on a
    /// loopback address none, elsewhere any.
    pub allowed_hosts: Vec<String>,
    /// Origins of other web sites whose pages may use the API, such as `https://app.example`.
    pub cors_origins: Vec<String>,
}

/// Why the settings could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The process was not started by a supervisor.
    #[error("{SETTINGS_VARIABLE} is not set: this program is started by `bulkhead run`, not by hand")]
    Missing,
    /// The variable is not what a supervisor of this version writes.
    #[error("{SETTINGS_VARIABLE} is malformed: {0}")]
    Malformed(#[from] serde_json::Error),
}

impl Settings {
    /// The number of slots of the state table: one for each series, and one for the overflow series.
    #[must_use]
    pub const fn slots(&self) -> u32 {
        self.max_series.saturating_add(1)
    }

    /// Reads the settings that the supervisor put into the environment.
    ///
    /// # Errors
    /// If there are none, or they are malformed.
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
