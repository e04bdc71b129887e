//! What a configuration comes to: a value that can only be executed.

use super::problem::Fault;
use crate::core::Policy;
use bulkhead_proto::{wire::role::Role, worker::settings::Limits};
use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};
use tracing::level_filters::LevelFilter;

/// Everything that a run needs to know; validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Where marks, lock and snapshot are kept.
    pub state_dir: PathBuf,
    /// How to log.
    pub log: LogPlan,
    /// Where the API listens.
    pub listen: Listen,
    /// The largest request body, in bytes.
    pub max_body: u64,
    /// What else the API allows its clients.
    pub limits: Limits,
    /// The file with the token that changing requests must bear; none are asked for it when there is none.
    pub token: Option<PathBuf>,
    /// Whether anybody beyond this machine may change things without a token.
    pub insecure: bool,
    /// The most series that the analysis keeps.
    pub max_series: u32,
    /// The size of the events ring, in bytes; a power of two.
    pub capacity: u64,
    /// Delays and limits of restarts, and whether faults may be induced.
    pub policy: Policy,
    /// The workers: the API, the analysis, then the plain ones in the order of the file.
    pub workers: Vec<WorkerPlan>,
}

impl Plan {
    /// The worker of this name, if there is one.
    #[must_use]
    pub fn worker(&self, name: &str) -> Option<&WorkerPlan> {
        self.workers.iter().find(|worker| worker.name == name)
    }
}

/// How to log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogPlan {
    /// The form of a line.
    pub format: LogFormat,
    /// The least important level that is shown.
    pub level: LevelFilter,
}

/// The form of a line of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Entries of the journal when it reads stderr, pretty on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Pretty,
    /// For machines.
    Json,
    /// Entries of systemd's journal, with fields of their own.
    Journald,
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Pretty => "pretty",
            Self::Json => "json",
            Self::Journald => "journald",
        })
    }
}

/// Where the API listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// An address and a port; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

impl Listen {
    /// What a listener is without a configuration.
    pub const DEFAULT: Self = Self::Tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080));

    /// Reads `127.0.0.1:8080`, `[::1]:8080` or `unix:/run/bulkhead/api.sock`.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let fault = |wanted: &str| Err(Fault::new(format!("{text:?} is not an address"), wanted));
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                _ if !path.starts_with('/') => fault("wanted unix: and a path that begins with /"),
                _ if path.len() > MAX_SOCKET_PATH => {
                    fault(&format!("wanted a path of at most {MAX_SOCKET_PATH} bytes"))
                }
                _ => Ok(Self::Unix(path.into())),
            };
        }
        match text.replace("localhost:", "127.0.0.1:").parse() {
            Ok(address) => Ok(Self::Tcp(address)),
            Err(_) => fault("wanted one such as \"127.0.0.1:8080\" or \"unix:/run/bulkhead/api.sock\""),
        }
    }

    /// Whether only this machine can reach it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }

    /// The URL by which programs on this machine reach the API.
    #[must_use]
    pub fn url(&self) -> String {
        match self {
            Self::Tcp(address) if address.ip().is_unspecified() => {
                format!("http://127.0.0.1:{}", address.port())
            }
            Self::Tcp(address) => format!("http://{address}"),
            Self::Unix(path) => format!("unix:{}", path.display()),
        }
    }
}

/// The longest path of a Unix socket, in bytes (`sun_path` in unix(7), less its final NUL).
pub const MAX_SOCKET_PATH: usize = 107;

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// One worker, ready to be spawned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerPlan {
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// Program and arguments; never empty. [`program`] says where the program is.
    pub command: Vec<String>,
    /// Variables that are set for it.
    pub env: BTreeMap<String, String>,
    /// Variables of the supervisor that it may see, beside the harmless ones that every worker sees.
    pub pass_env: Vec<String>,
    /// Its working directory; the supervisor's own when there is none.
    pub cwd: Option<PathBuf>,
    /// How long it may take to leave when asked to.
    pub stop_timeout: Duration,
    /// How much private memory it may take, in bytes (`RLIMIT_DATA` in getrlimit(2)); none stands for no limit.
    pub memory_limit: Option<u64>,
    /// So long without progress while there is work is a hang; plain workers are not watched.
    pub hang_timeout: Duration,
}

/// What the analysis may take, unless configured: far more than the built-in one ever needs, and less than would bring a
/// machine down.
pub const ANALYTICS_MEMORY: u64 = 1 << 30;

/// How long a worker may take to leave when asked to, unless configured: longer than any healthy drain, shorter than the
/// 90 s after which service managers kill the whole service.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an event may take, unless configured.
const HANG_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the API may take to answer the supervisor, unless configured: requests share its threads.
const API_HANG_TIMEOUT: Duration = Duration::from_secs(10);

impl WorkerPlan {
    /// A worker of that name and role with this command, and defaults.
    #[must_use]
    pub fn new(name: &str, role: Role, command: Vec<String>) -> Self {
        Self {
            name: name.to_owned(),
            role,
            command,
            env: BTreeMap::new(),
            pass_env: Vec::new(),
            cwd: None,
            stop_timeout: STOP_TIMEOUT,
            memory_limit: (role == Role::Analytics).then_some(ANALYTICS_MEMORY),
            hang_timeout: if role == Role::Api { API_HANG_TIMEOUT } else { HANG_TIMEOUT },
        }
    }
}

/// Where a worker's program is: a bare name is looked for beside the supervisor's own executable first, so that an
/// installation needs no `PATH`; if it is not there, exec searches `PATH`. Looked up at each start, so that a program may
/// be replaced meanwhile.
#[must_use]
pub fn program(name: &str, executable: &Path) -> PathBuf {
    if !name.contains('/')
        && let Some(beside) = executable.parent().map(|folder| folder.join(name))
        && beside.is_file()
    {
        return beside;
    }
    // A path relative to the supervisor's own directory must not change its meaning with the worker's `cwd`.
    if name.contains('/')
        && let Ok(absolute) = std::path::absolute(name)
    {
        return absolute;
    }
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_tcp_or_unix() {
        assert_eq!(Listen::parse("127.0.0.1:8080"), Ok(Listen::DEFAULT));
        assert_eq!(Listen::parse("localhost:8080"), Ok(Listen::DEFAULT));
        assert_eq!(Listen::parse("[::1]:1").unwrap().to_string(), "[::1]:1");
        assert_eq!(Listen::parse("unix:/run/x").unwrap(), Listen::Unix("/run/x".into()));
        for text in ["", "8080", "127.0.0.1", "example.org:80", "unix:run/x", "127.0.0.1:70000"] {
            assert!(Listen::parse(text).unwrap_err().found.contains(&format!("{text:?}")), "{text}");
        }
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
            assert_eq!(Listen::parse(text).unwrap().is_local(), local, "{text}");
        }
    }

    #[test]
    fn a_bare_program_name_is_looked_for_beside_the_supervisor_first() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("worker"), "").unwrap();
        let executable = folder.path().join("bulkhead");
        assert_eq!(program("worker", &executable), folder.path().join("worker"));
        assert_eq!(program("sh", &executable), Path::new("sh"));
        assert!(program("./worker", &executable).is_absolute());
    }
}
