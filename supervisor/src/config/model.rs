//! The validated configuration.

use super::problem::Issue;
use crate::core::Policy;
use bulkhead_proto::{
    wire::{role::Role, vocabulary::vocabulary},
    worker::settings::{Access, Limits},
};
use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};
use tracing::level_filters::LevelFilter;

/// Everything a run needs, validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The directory in which the supervisor was started. Relative paths begin there, also after the directory was
    /// deleted or renamed. Empty if it did not exist at the start.
    pub start_dir: PathBuf,
    /// Directory of the high-water marks, the lock, the snapshot, crash reports and quarantined events.
    pub state_dir: PathBuf,
    /// Log format and level.
    pub log: LogConfig,
    /// The address of the API.
    pub listen: ListenAddr,
    /// The largest request body, in bytes.
    pub max_body: u64,
    /// Connection and request limits of the API.
    pub limits: Limits,
    /// Host names and web origins that requests to the API may have.
    pub access: Access,
    /// Bearer-token file for requests that change state; `None`: no token needed.
    pub token_file: Option<PathBuf>,
    /// Whether an address that other machines can reach is allowed without a token.
    pub insecure: bool,
    /// The most series that the analysis keeps.
    pub max_series: u32,
    /// A series that gets no event for this long is removed; `None`: never.
    pub expire: Option<Duration>,
    /// The size of the event ring, in bytes; a power of two.
    pub ring_capacity: u64,
    /// Restart delays and limits, and whether faults may be induced.
    pub policy: Policy,
    /// The workers: the API, the analysis, then the plain workers in the order of the file.
    pub workers: Vec<WorkerConfig>,
}

impl Config {
    /// Makes all paths absolute, once: the directory of the start may be deleted while the supervisor runs. The programs
    /// of workers follow in [`resolve_program`].
    #[must_use]
    pub(super) fn in_directory(mut self, start_dir: &Path) -> Self {
        let workers = self.workers.iter_mut().filter_map(|worker| worker.cwd.as_mut());
        for path in [&mut self.state_dir].into_iter().chain(&mut self.token_file).chain(workers) {
            *path = absolute(start_dir, path);
        }
        Self { start_dir: start_dir.to_owned(), ..self }
    }

    /// The worker with this name.
    #[must_use]
    pub fn worker(&self, name: &str) -> Option<&WorkerConfig> {
        self.workers.iter().find(|worker| worker.name == name)
    }
}

/// Log format and level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// The format.
    pub format: LogFormat,
    /// The least important level that is logged.
    pub level: LevelFilter,
}

vocabulary! {
    /// The format of the log.
    LogFormat("log format") {
        /// Journald if stderr is connected to the journal, pretty on a terminal, otherwise JSON.
        Auto = "auto",
        /// For people.
        Pretty = "pretty",
        /// For machines.
        Json = "json",
        /// Entries of the systemd journal, with structured fields.
        Journald = "journald",
    }
}

/// The address of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddr {
    /// An IP address and a port. For port 0 the kernel chooses a port.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl ListenAddr {
    /// The default of `api.listen`.
    pub const DEFAULT: Self = Self::Tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080));

    /// Parses `127.0.0.1:8080`, `[::1]:8080` or `unix:/run/bulkhead/api.sock`.
    ///
    /// # Errors
    /// The text has none of these forms.
    pub fn parse(text: &str) -> Result<Self, Issue> {
        let issue = |expected: &str| Err(Issue::new(format!("{text:?} is not an address"), expected));
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                _ if !path.starts_with('/') => issue("expected an absolute path after \"unix:\""),
                _ if path.len() > MAX_SOCKET_PATH => {
                    issue(&format!("expected a path of at most {MAX_SOCKET_PATH} bytes"))
                }
                _ => Ok(Self::Unix(path.into())),
            };
        }
        match text.replace("localhost:", "127.0.0.1:").parse() {
            Ok(address) => Ok(Self::Tcp(address)),
            Err(_) => {
                issue("expected an address such as \"127.0.0.1:8080\" or \"unix:/run/bulkhead/api.sock\"")
            }
        }
    }

    /// Whether only programs on this machine can connect.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }

    /// The URL of the API for programs on this machine.
    #[must_use]
    pub fn url(&self) -> String {
        match self {
            Self::Tcp(address) if address.ip().is_unspecified() => {
                format!("http://127.0.0.1:{}", address.port())
            }
            Self::Tcp(_) | Self::Unix(_) => self.listening_url(),
        }
    }

    /// The URL with the address itself, which may stand for all addresses of this machine.
    #[must_use]
    pub fn listening_url(&self) -> String {
        match self {
            Self::Tcp(address) => format!("http://{address}"),
            Self::Unix(path) => format!("unix:{}", path.display()),
        }
    }
}

/// The longest path of a Unix socket, in bytes: `sun_path` of unix(7) without the final NUL.
pub const MAX_SOCKET_PATH: usize = 107;

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The configuration of one worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerConfig {
    /// The name.
    pub name: String,
    /// The role.
    pub role: Role,
    /// Program and arguments; never empty. [`resolve_program`] finds the program.
    pub command: Vec<String>,
    /// Variables to set.
    pub env: BTreeMap<String, String>,
    /// Variables of the supervisor to pass on, in addition to those that every worker gets.
    pub pass_env: Vec<String>,
    /// The working directory; `None`: that of the supervisor.
    pub cwd: Option<PathBuf>,
    /// How long the worker may take to stop before it is killed.
    pub stop_timeout: Duration,
    /// Limit of private memory, in bytes (`RLIMIT_DATA` of getrlimit(2)); `None`: no limit.
    pub memory_limit: Option<u64>,
    /// A worker without progress for this long, while there is work, hangs. Plain workers are not monitored.
    pub hang_timeout: Duration,
}

/// Default of `analytics.memory_limit`: far more than the built-in analysis needs, less than would exhaust a machine.
pub const DEFAULT_ANALYTICS_MEMORY: u64 = 1 << 30;

/// Default of `stop_timeout`: longer than a healthy drain, shorter than the 90 s after which service managers kill the
/// whole service.
pub const DEFAULT_STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Default of `analytics.hang_timeout`: the longest time for one event.
const DEFAULT_HANG_TIMEOUT: Duration = Duration::from_secs(5);

/// Default of `api.hang_timeout`: longer than for the analysis, because requests share the threads that answer the
/// supervisor.
const DEFAULT_API_HANG_TIMEOUT: Duration = Duration::from_secs(10);

impl WorkerConfig {
    /// A worker with defaults for all other keys.
    #[must_use]
    pub fn new(name: &str, role: Role, command: Vec<String>) -> Self {
        Self {
            name: name.to_owned(),
            role,
            command,
            env: BTreeMap::new(),
            pass_env: Vec::new(),
            cwd: None,
            stop_timeout: DEFAULT_STOP_TIMEOUT,
            memory_limit: (role == Role::Analytics).then_some(DEFAULT_ANALYTICS_MEMORY),
            hang_timeout: if role == Role::Api { DEFAULT_API_HANG_TIMEOUT } else { DEFAULT_HANG_TIMEOUT },
        }
    }
}

/// The path as seen from `dir`. It stays relative if `dir` is unknown: its use then fails, and the error names it.
pub(crate) fn absolute(dir: &Path, path: &Path) -> PathBuf {
    std::path::absolute(dir.join(path)).unwrap_or_else(|_| path.to_owned())
}

/// Finds the program of a worker. A name without `/` is searched beside the supervisor's executable first, so that an
/// installation needs no `PATH`. If it is not there, the name is returned and exec searches `PATH`. A relative path begins
/// at `start_dir`, whatever the worker's `cwd` is. Called at each start, because a program may be replaced while the
/// supervisor runs.
#[must_use]
pub fn resolve_program(name: &str, executable: &Path, start_dir: &Path) -> PathBuf {
    if !name.contains('/')
        && let Some(beside) = executable.parent().map(|dir| dir.join(name))
        && beside.is_file()
    {
        return beside;
    }
    if name.contains('/') { absolute(start_dir, Path::new(name)) } else { name.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_tcp_or_unix() {
        assert_eq!(ListenAddr::parse("127.0.0.1:8080"), Ok(ListenAddr::DEFAULT));
        assert_eq!(ListenAddr::parse("localhost:8080"), Ok(ListenAddr::DEFAULT));
        assert_eq!(ListenAddr::parse("[::1]:1").unwrap().to_string(), "[::1]:1");
        assert_eq!(ListenAddr::parse("unix:/run/x").unwrap(), ListenAddr::Unix("/run/x".into()));
        for text in ["", "8080", "127.0.0.1", "example.org:80", "unix:run/x", "127.0.0.1:70000"] {
            assert!(ListenAddr::parse(text).unwrap_err().found.contains(&format!("{text:?}")), "{text}");
        }
    }

    #[test]
    fn all_addresses_are_shown_as_such_and_reached_by_loopback() {
        let all = ListenAddr::parse("0.0.0.0:80").unwrap();
        assert_eq!((&*all.listening_url(), &*all.url()), ("http://0.0.0.0:80", "http://127.0.0.1:80"));
        let unix = ListenAddr::parse("unix:/run/x").unwrap();
        assert_eq!((&*unix.listening_url(), &*unix.url()), ("unix:/run/x", "unix:/run/x"));
    }

    #[test]
    fn only_loopback_and_unix_sockets_are_local() {
        for (text, local) in [
            ("127.0.0.1:1", true),
            ("[::1]:1", true),
            ("unix:/x", true),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
        ] {
            assert_eq!(ListenAddr::parse(text).unwrap().is_local(), local, "{text}");
        }
    }

    #[test]
    fn a_program_name_is_searched_beside_the_supervisor_first() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("worker"), "").unwrap();
        let executable = dir.path().join("bulkhead");
        let resolve = |name| resolve_program(name, &executable, Path::new("/start"));
        assert_eq!(resolve("worker"), dir.path().join("worker"));
        assert_eq!(resolve("sh"), Path::new("sh"));
        assert_eq!(resolve("./worker"), Path::new("/start/worker"));
        assert_eq!(resolve("/bin/worker"), Path::new("/bin/worker"));
    }
}
