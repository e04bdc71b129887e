//! The supervisor's log: one line an event, for people, for machines, or for systemd's journal; the last ones are kept for
//! `bulkhead logs`.

mod escape;
mod format;
mod journald;
pub mod lifecycle;
mod line;
pub mod recent;
#[cfg(test)]
pub(crate) mod testing;
pub mod worker;

pub use escape::visible;
pub use format::{Format, colours};
pub use line::Line;
pub use recent::Recent;

use crate::config::{LogConfig, LogFormat};
use anyhow::Context as _;
use std::{
    io::{self, IsTerminal as _, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tracing::{Event, Subscriber};
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    EnvFilter, Registry,
    filter::Filtered,
    layer::{Context, Layer, SubscriberExt as _},
    registry, reload,
    util::SubscriberInitExt as _,
};

/// How many lines may wait for a slow reader before further ones are dropped: enough for any burst, and at 200 bytes a line
/// less than 1 MiB.
const WAITING_LINES: usize = 4096;

/// Keeps the log going; dropping it writes what still waits, for at most about a second.
#[must_use]
#[derive(Clone)]
pub struct Log {
    /// The last lines.
    pub recent: Recent,
    handle: reload::Handle<Filtered<Sink, EnvFilter, Registry>, Registry>,
    writing: Arc<Mutex<Writing>>,
}

/// How it is written at present.
struct Writing {
    plan: LogConfig,
    filter: String,
    guard: WorkerGuard,
}

/// Starts logging, through a thread of its own: whoever reads slowly, or not at all, must not stop the supervisor.
/// `RUST_LOG` overrides the plan's level.
///
/// # Errors
/// When `RUST_LOG` is not a filter, the journal is asked for and not there, or logging was started before.
pub fn start(plan: LogConfig) -> anyhow::Result<Log> {
    let (filter, parsed) = filter(plan)?;
    let (form, (writer, guard)) = outlet(plan.format)?;
    let recent = Recent::default();
    let sink = Sink { form, writer, recent: recent.clone() };
    let (layer, handle) = reload::Layer::new(sink.with_filter(parsed));
    registry().with(layer).try_init().map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))?;
    Ok(Log { recent, handle, writing: Arc::new(Mutex::new(Writing { plan, filter, guard })) })
}

impl Log {
    /// The filter in force, for the workers to use as well.
    #[must_use]
    pub fn filter(&self) -> String {
        self.writing().filter.clone()
    }

    /// Logs by this plan from here on.
    ///
    /// # Errors
    /// When the journal is asked for and not there; then all stays as it is.
    pub fn change(&self, plan: LogConfig) -> anyhow::Result<()> {
        let mut writing = self.writing();
        let (filter, parsed) = filter(plan)?;
        let other = if plan.format == writing.plan.format { None } else { Some(outlet(plan.format)?) };
        let (outlet, guard) = other.map(|(form, (writer, guard))| ((form, writer), guard)).unzip();
        self.handle.modify(|layer| {
            *layer.filter_mut() = parsed;
            if let Some((form, writer)) = outlet {
                (layer.inner_mut().form, layer.inner_mut().writer) = (form, writer);
            }
        })?;
        (writing.plan, writing.filter) = (plan, filter);
        if let Some(guard) = guard {
            // What waits in the former queue is written when its guard goes.
            writing.guard = guard;
        }
        Ok(())
    }

    fn writing(&self) -> MutexGuard<'_, Writing> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the environment sets the level, whatever the configuration says.
#[must_use]
pub fn is_overridden() -> bool {
    overriding().is_some()
}

fn overriding() -> Option<String> {
    std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty())
}

/// The filter, as text and parsed.
fn filter(plan: LogConfig) -> anyhow::Result<(String, EnvFilter)> {
    let filter = overriding().unwrap_or_else(|| plan.level.to_string().to_lowercase());
    let parsed = filter.parse().map_err(|error| {
        anyhow::anyhow!("RUST_LOG: wanted a filter such as \"debug\", found {filter:?}: {error}")
    })?;
    Ok((filter, parsed))
}

/// Where every line goes: out, in one form, and to those that are kept.
struct Sink {
    form: Form,
    writer: NonBlocking,
    recent: Recent,
}

#[derive(Clone, Copy)]
enum Form {
    Text(Format),
    /// An entry of the journal.
    Entry,
}

impl<S: Subscriber> Layer<S> for Sink {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let line = Line::of(event);
        let bytes = match self.form {
            Form::Text(format) => format.render(&line).into_bytes(),
            Form::Entry => journald::encode(&line),
        };
        // Lossy: what does not fit into the queue is dropped there.
        let _ = self.writer.clone().write_all(&bytes);
        self.recent.keep(&line);
    }
}

/// Where the lines go out, and in which form.
fn outlet(format: LogFormat) -> anyhow::Result<(Form, (NonBlocking, WorkerGuard))> {
    let terminal = io::stderr().is_terminal();
    let format = match format {
        LogFormat::Journald => {
            let journal =
                journald::Journal::open().context("log.format = \"journald\": no journal at hand")?;
            return Ok((Form::Entry, queue(journal)));
        }
        LogFormat::Auto if journald::reads_stderr() => match journald::Journal::open() {
            Ok(journal) => return Ok((Form::Entry, queue(journal))),
            // It reads stderr all the same.
            Err(_) => Format::Json,
        },
        LogFormat::Auto if terminal => Format::Pretty { colour: colours(true) },
        LogFormat::Pretty => Format::Pretty { colour: colours(terminal) },
        LogFormat::Auto | LogFormat::Json => Format::Json,
    };
    Ok((Form::Text(format), queue(io::stderr())))
}

/// A queue with a thread behind it that writes; each write is one line.
fn queue(writer: impl Write + Send + 'static) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default()
        .buffered_lines_limit(WAITING_LINES)
        .lossy(true)
        .thread_name("log")
        .finish(writer)
}
