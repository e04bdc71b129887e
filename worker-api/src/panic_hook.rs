//! The panic hook: a panic on the main thread ends the process; a panic on another thread ends only its request or
//! task.

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

/// Installs the hook. Call it on the main thread.
pub(crate) fn install(out: Arc<Sender<FromWorker>>, log: Log) {
    let main = thread::current().id();
    backtrace::prepare();
    std::panic::set_hook(Box::new(move |panic| {
        // Cut first: the message may have megabytes, and readers accept only `MAX_TEXT` bytes.
        let message = cut(message(panic), MAX_TEXT);
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        if thread::current().id() != main {
            tracing::error!(location, "a request or task panicked: {message}");
            return;
        }
        // Send to the supervisor first: the steps that follow may be slow or may never finish.
        let panic_record = FromWorker::Panicked {
            message: message.to_owned(),
            location: cut(&location, MAX_TEXT).to_owned(),
            thread: "main".to_owned(),
        };
        let _ = out.send(&panic_record);
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
        .unwrap_or("(a panic without a message)")
}
