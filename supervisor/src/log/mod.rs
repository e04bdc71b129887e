//! The supervisor's log: one line an event on stderr, for people or for machines.

mod escape;
mod format;
pub mod lifecycle;
pub mod worker;

pub use escape::visible;

use crate::config::{LogFormat, LogPlan};
use format::Format;
use std::io::IsTerminal as _;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// How many lines may wait for a slow reader of stderr before further ones are dropped: enough for any burst, and at
/// 200 bytes a line less than 1 MiB.
const WAITING_LINES: usize = 4096;

/// Keeps the log going; dropping it writes what still waits, for at most about a second.
#[must_use]
pub struct Log {
    /// The filter in force, for the workers to use as well.
    pub filter: String,
    _guard: WorkerGuard,
}

/// Starts logging to stderr, through a thread of its own: whoever reads stderr slowly, or not at all, must not stop the
/// supervisor. `RUST_LOG` overrides the plan's level.
///
/// # Errors
/// When `RUST_LOG` is not a filter, or logging was started before.
pub fn start(plan: LogPlan) -> anyhow::Result<Log> {
    let filter = std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty());
    let filter = filter.unwrap_or_else(|| plan.level.to_string().to_lowercase());
    let parsed: EnvFilter = filter.parse().map_err(|error| {
        anyhow::anyhow!("RUST_LOG: wanted a filter such as \"debug\", found {filter:?}: {error}")
    })?;
    let terminal = std::io::stderr().is_terminal();
    let format = match plan.format {
        LogFormat::Pretty => Format::pretty(terminal),
        LogFormat::Auto if terminal => Format::pretty(true),
        LogFormat::Auto | LogFormat::Json => Format::json(),
    };
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(WAITING_LINES)
        .lossy(true)
        .thread_name("log")
        .finish(std::io::stderr());
    tracing_subscriber::fmt()
        .with_env_filter(parsed)
        .with_writer(writer)
        .event_format(format)
        .try_init()
        .map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))?;
    Ok(Log { filter, _guard: guard })
}
