//! What happens at a panic: one on the main thread ends the process, any other costs its own request or task.

use crate::log::Log;
use bulkhead_proto::{
    wire::{
        control::{FromWorker, MAX_TEXT},
        exit_code::EXIT_PANIC,
        text::cut,
    },
    worker::{backtrace, pipe::Sender},
};
use std::{panic::PanicHookInfo, process, sync::Arc, thread};

/// Installs the hook; to be called on the main thread, which decides over the process's life.
pub(crate) fn install(out: Arc<Sender<FromWorker>>, log: Log) {
    let main = thread::current().id();
    backtrace::prepare();
    std::panic::set_hook(Box::new(move |panic| {
        // Cut before anything is done with it: there may be megabytes, and nobody reads more.
        let message = cut(message(panic), MAX_TEXT);
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        if thread::current().id() != main {
            tracing::error!(location, "a request or task panicked: {message}");
            return;
        }
        // The supervisor first: what follows may be slow, or never come to its end.
        let last_words = FromWorker::Panicked {
            message: message.to_owned(),
            location: cut(&location, MAX_TEXT).to_owned(),
            thread: "main".to_owned(),
        };
        let _ = out.send(&last_words);
        let mut frames = Vec::with_capacity(bulkhead_proto::wire::control::MAX_BACKTRACE);
        backtrace::capture(&mut frames);
        if !frames.is_empty() {
            let _ = out.send(&FromWorker::Backtrace { frames });
        }
        tracing::error!(location, "panicked: {message}");
        log.flush();
        process::exit(EXIT_PANIC.into());
    }));
}

fn message<'p>(panic: &'p PanicHookInfo<'_>) -> &'p str {
    let payload = panic.payload();
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(a panic without a text)")
}
