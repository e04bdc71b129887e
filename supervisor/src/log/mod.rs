//! The supervisor's log: one line per event, as text for people, JSON, or entries of systemd's journal. The latest
//! lines are kept in memory for `bulkhead logs`.

pub mod buffer;
mod escape;
mod format;
mod journald;
pub mod lifecycle;
mod line;
mod structured;
#[cfg(test)]
pub(crate) mod test_capture;
pub mod worker_output;

pub use buffer::LogBuffer;
pub use escape::escape_controls;
pub use format::{Format, colours};
pub use line::LogLine;

use crate::config::{LogConfig, LogFormat};
use anyhow::Context as _;
use std::{
    io::{self, IsTerminal as _, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};
use tracing::{Event, Subscriber};
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    Registry,
    filter::{Filtered, Targets},
    layer::{Context, Layer, SubscriberExt as _},
    registry, reload,
    util::SubscriberInitExt as _,
};

/// Logs an event whose level is known only at run time; tracing needs it at compile time.
macro_rules! event_at {
    ($level:expr, $($event:tt)+) => {
        match $level {
            tracing::Level::ERROR => tracing::error!($($event)+),
            tracing::Level::WARN => tracing::warn!($($event)+),
            tracing::Level::INFO => tracing::info!($($event)+),
            tracing::Level::DEBUG => tracing::debug!($($event)+),
            tracing::Level::TRACE => tracing::trace!($($event)+),
        }
    };
}
pub(crate) use event_at;

/// Lines that may wait for a slow reader; further lines are dropped. More than any expected burst; at 200 bytes per
/// line less than 1 MiB.
const QUEUE_LINES: usize = 4096;

/// The running log. Dropping the last clone writes the queued lines, for about one second at most.
#[must_use]
#[derive(Clone)]
pub struct Log {
    /// The latest lines.
    pub buffer: LogBuffer,
    handle: reload::Handle<Filtered<Sink, Targets, Registry>, Registry>,
    active: Arc<Mutex<ActiveConfig>>,
}

/// The configuration that is active now.
struct ActiveConfig {
    config: LogConfig,
    filter: String,
    guard: WorkerGuard,
}

/// Starts logging. A separate thread writes: a slow or stopped reader must not block the supervisor. `RUST_LOG`
/// overrides the level in `config`.
///
/// # Errors
/// `RUST_LOG` is not a valid filter, the journal is configured but not available, or logging was started before.
pub fn start(config: LogConfig) -> anyhow::Result<Log> {
    let (filter, parsed) = filter(config)?;
    let (encoding, (writer, guard)) = open_output(config.format)?;
    let buffer = LogBuffer::default();
    let sink = Sink { encoding, writer, buffer: buffer.clone() };
    let (layer, handle) = reload::Layer::new(sink.with_filter(parsed));
    registry().with(layer).try_init().map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))?;
    Ok(Log { buffer, handle, active: Arc::new(Mutex::new(ActiveConfig { config, filter, guard })) })
}

impl Log {
    /// The active filter. Workers use the same one.
    #[must_use]
    pub fn filter(&self) -> String {
        self.active().filter.clone()
    }

    /// Applies a new configuration to all later lines.
    ///
    /// # Errors
    /// The filter is invalid, or the journal is configured but not available. The active configuration then stays.
    pub fn reconfigure(&self, config: LogConfig) -> anyhow::Result<()> {
        let mut active = self.active();
        let (filter, parsed) = filter(config)?;
        let output =
            if config.format == active.config.format { None } else { Some(open_output(config.format)?) };
        let (output, guard) = output.map(|(encoding, (writer, guard))| ((encoding, writer), guard)).unzip();
        self.handle.modify(|layer| {
            *layer.filter_mut() = parsed;
            if let Some((encoding, writer)) = output {
                (layer.inner_mut().encoding, layer.inner_mut().writer) = (encoding, writer);
            }
        })?;
        (active.config, active.filter) = (config, filter);
        if let Some(guard) = guard {
            // Dropping the previous guard writes the lines in the previous queue.
            active.guard = guard;
        }
        Ok(())
    }

    fn active(&self) -> MutexGuard<'_, ActiveConfig> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether `RUST_LOG` overrides the configured level.
#[must_use]
pub fn is_overridden() -> bool {
    filter_from_environment().is_some()
}

fn filter_from_environment() -> Option<String> {
    std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty())
}

/// The filter, as text and parsed.
fn filter(config: LogConfig) -> anyhow::Result<(String, Targets)> {
    let filter = filter_from_environment().unwrap_or_else(|| config.level.to_string().to_lowercase());
    let parsed = filter.parse().map_err(|error| {
        anyhow::anyhow!("RUST_LOG: expected a filter such as \"debug\", found {filter:?}: {error}")
    })?;
    Ok((filter, parsed))
}

/// Writes every line to the output, in the configured encoding, and to the buffer.
struct Sink {
    encoding: Encoding,
    writer: NonBlocking,
    buffer: LogBuffer,
}

#[derive(Clone, Copy)]
enum Encoding {
    Text(Format),
    /// An entry of systemd's journal.
    JournalEntry,
}

impl<S: Subscriber> Layer<S> for Sink {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let line = LogLine::from_event(event);
        let bytes = match self.encoding {
            Encoding::Text(format) => format.render(&line).into_bytes(),
            Encoding::JournalEntry => journald::encode(&line),
        };
        // Never fails: the writer drops a line that does not fit into its queue.
        let _ = self.writer.clone().write_all(&bytes);
        self.buffer.push(&line);
    }
}

/// Opens the output for a configured format, and chooses the encoding.
fn open_output(format: LogFormat) -> anyhow::Result<(Encoding, (NonBlocking, WorkerGuard))> {
    let terminal = io::stderr().is_terminal();
    let format = match format {
        LogFormat::Journald => {
            let journal = journald::Journal::open().context(
                "log.format = \"journald\": cannot connect to systemd's journal; set another log.format",
            )?;
            return Ok((Encoding::JournalEntry, background_writer(journal)?));
        }
        LogFormat::Auto if journald::reads_stderr() => match journald::Journal::open() {
            Ok(journal) => return Ok((Encoding::JournalEntry, background_writer(journal)?)),
            // The journal still reads stderr.
            Err(_) => Format::Json,
        },
        LogFormat::Auto if terminal => Format::Pretty { colour: colours(true) },
        LogFormat::Pretty => Format::Pretty { colour: colours(terminal) },
        LogFormat::Auto | LogFormat::Json => Format::Json,
    };
    Ok((Encoding::Text(format), background_writer(io::stderr())?))
}

/// A bounded queue and the thread that writes it out. Each write is one line. A line that cannot be written is dropped.
fn background_writer(writer: impl Write + Send + 'static) -> anyhow::Result<(NonBlocking, WorkerGuard)> {
    // `finish` panics if it cannot start its thread.
    let started = thread::Builder::new().name("log".to_owned()).spawn(|| {});
    let _ = started.context("cannot start the thread of the log")?.join();
    let builder = NonBlockingBuilder::default().buffered_lines_limit(QUEUE_LINES).lossy(true);
    Ok(builder.thread_name("log").finish(writer))
}
