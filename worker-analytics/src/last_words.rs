//! What a panicking analysis does: leave its last words where no lost frame loses them, tell the supervisor, log, and end.

use bulkhead_proto::{
    control::{FromWorker, MAX_TEXT, cut},
    cursor::{self, LastWords},
    ids::Generation,
    own_page,
    pipe::Sender,
    trace::{self, MAX_FRAMES},
    words::EXIT_PANIC,
};
use std::{
    backtrace::{Backtrace, BacktraceStatus},
    panic::{self, PanicHookInfo},
    process,
    sync::{Arc, Mutex},
    thread,
};

/// What a thread says of where it is: bare numbers, had in microseconds.
pub(crate) struct Whereabouts {
    supervisor: Arc<Sender<FromWorker>>,
    /// Made beforehand: who is aborted may be in the midst of an allocation, and could not make another.
    frame: Mutex<FromWorker>,
}

impl Whereabouts {
    fn new(supervisor: Arc<Sender<FromWorker>>) -> Self {
        trace::prepare();
        let frames = Vec::with_capacity(MAX_FRAMES);
        Self { supervisor, frame: Mutex::new(FromWorker::Backtrace { frames }) }
    }

    /// Tells the supervisor where this thread is. Neither allocates nor waits.
    pub(crate) fn tell(&self) {
        // Taken only by one that tells just now.
        let Ok(mut frame) = self.frame.try_lock() else { return };
        if let FromWorker::Backtrace { frames } = &mut *frame {
            trace::frames(frames);
        }
        let _ = self.supervisor.send(&frame);
    }
}

/// Makes every panic, in whatever thread, end the process in this way. One that is not active yet has no page.
pub(crate) fn install(generation: Generation, supervisor: Arc<Sender<FromWorker>>) -> Arc<Whereabouts> {
    let whereabouts = Arc::new(Whereabouts::new(Arc::clone(&supervisor)));
    let of_panics = Arc::clone(&whereabouts);
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
        of_panics.tell();
        log(&words);
        crate::log::flush();
        process::exit(EXIT_PANIC.into());
    }));
    whereabouts
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
