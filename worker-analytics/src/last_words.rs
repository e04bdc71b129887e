//! What a panicking analysis does: leave its last words where no lost frame loses them, tell the supervisor, log, and end.

use bulkhead_proto::{
    control::{FromWorker, MAX_TEXT, cut},
    cursor::{self, LastWords},
    ids::Generation,
    own_page,
    pipe::Sender,
    trace,
    words::EXIT_PANIC,
};
use std::{
    backtrace::{Backtrace, BacktraceStatus},
    panic::{self, PanicHookInfo},
    process,
    sync::Arc,
    thread,
};

/// Makes every panic, in whatever thread, end the process in this way. One that is not active yet has no page.
pub(crate) fn install(generation: Generation, supervisor: Arc<Sender<FromWorker>>) {
    panic::set_hook(Box::new(move |info| {
        let words = words(generation, info);
        if let Some((page, _)) = own_page::get() {
            cursor::leave_last_words(page, &words);
        }
        // The pipe is non-blocking: when nobody reads, the words on the page must do.
        let _ = supervisor.send(&FromWorker::Panicked {
            message: words.message.clone(),
            location: cut(&words.location, MAX_TEXT).to_owned(),
            thread: cut(&words.thread, MAX_TEXT).to_owned(),
        });
        tell_where(&supervisor);
        log(&words);
        crate::log::flush();
        process::exit(EXIT_PANIC.into());
    }));
}

/// Tells the supervisor where this thread is, as bare numbers: in microseconds.
pub(crate) fn tell_where(supervisor: &Sender<FromWorker>) {
    let frames = trace::frames();
    if !frames.is_empty() {
        let _ = supervisor.send(&FromWorker::Backtrace { frames });
    }
}

fn words(generation: Generation, info: &PanicHookInfo<'_>) -> LastWords {
    LastWords {
        generation,
        // Cut before anything is done with it: there may be megabytes, and nobody reads more.
        message: cut(info.payload_as_str().unwrap_or("a payload that is no text"), MAX_TEXT).to_owned(),
        location: info.location().map(ToString::to_string).unwrap_or_default(),
        thread: thread::current().name().unwrap_or("unnamed").to_owned(),
    }
}

/// Last of all, for symbolising a backtrace (if `RUST_BACKTRACE` asks for one) takes tens of milliseconds.
fn log(words: &LastWords) {
    let LastWords { message, location, thread, .. } = words;
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(location, thread, backtrace, "panicked at {location}: {message}");
}
