//! The supervisor's log: one line an event, for people, for machines, or for systemd's journal.

mod escape;
mod format;
mod journald;
pub mod lifecycle;
pub mod worker;

pub use escape::visible;

use crate::config::{LogFormat, LogPlan};
use anyhow::Context as _;
use format::Format;
use std::io::{IsTerminal as _, Write};
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    EnvFilter, Layer, Registry, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

/// How many lines may wait for a slow reader before further ones are dropped: enough for any burst, and at 200 bytes a line
/// less than 1 MiB.
const WAITING_LINES: usize = 4096;

/// Keeps the log going; dropping it writes what still waits, for at most about a second.
#[must_use]
pub struct Log {
    /// The filter in force, for the workers to use as well.
    pub filter: String,
    _guard: WorkerGuard,
}

/// Starts logging, through a thread of its own: whoever reads slowly, or not at all, must not stop the supervisor.
/// `RUST_LOG` overrides the plan's level.
///
/// # Errors
/// When `RUST_LOG` is not a filter, the journal is asked for and not there, or logging was started before.
pub fn start(plan: LogPlan) -> anyhow::Result<Log> {
    let filter = std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty());
    let filter = filter.unwrap_or_else(|| plan.level.to_string().to_lowercase());
    let parsed: EnvFilter = filter.parse().map_err(|error| {
        anyhow::anyhow!("RUST_LOG: wanted a filter such as \"debug\", found {filter:?}: {error}")
    })?;
    let (layer, guard) = sink(plan.format)?;
    tracing_subscriber::registry()
        .with(layer.with_filter(parsed))
        .try_init()
        .map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))?;
    Ok(Log { filter, _guard: guard })
}

/// Where the lines go, and in which form.
fn sink(format: LogFormat) -> anyhow::Result<(Box<dyn Layer<Registry> + Send + Sync>, WorkerGuard)> {
    let terminal = std::io::stderr().is_terminal();
    let format = match format {
        LogFormat::Journald => return journal().context("log.format = \"journald\": no journal at hand"),
        LogFormat::Auto if journald::reads_stderr() => match journal() {
            Ok(sink) => return Ok(sink),
            // It reads stderr all the same.
            Err(_) => Format::json(),
        },
        LogFormat::Auto if terminal => Format::pretty(true),
        LogFormat::Pretty => Format::pretty(terminal),
        LogFormat::Auto | LogFormat::Json => Format::json(),
    };
    let (writer, guard) = queue(std::io::stderr());
    Ok((tracing_subscriber::fmt::layer().with_writer(writer).event_format(format).boxed(), guard))
}

fn journal() -> std::io::Result<(Box<dyn Layer<Registry> + Send + Sync>, WorkerGuard)> {
    let (writer, guard) = queue(journald::Journal::open()?);
    Ok((journald::Entries::new(writer).boxed(), guard))
}

/// A queue with a thread behind it that writes; each write is one line.
fn queue(writer: impl Write + Send + 'static) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default()
        .buffered_lines_limit(WAITING_LINES)
        .lossy(true)
        .thread_name("log")
        .finish(writer)
}
