//! What a panicking analysis does: leave its last words where no lost frame loses them, tell the supervisor, log, and end.

use bulkhead_proto::{
    shm::cursor::{self, PanicRecord},
    wire::{
        control::{FromWorker, MAX_BACKTRACE, MAX_TEXT},
        exit_code::EXIT_PANIC,
        ids::Generation,
        text::cut,
    },
    worker::{backtrace, pipe::Sender, this_process},
};
use std::{
    backtrace::{Backtrace, BacktraceStatus},
    panic::{self, PanicHookInfo},
    process,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// A thread has panicked, and ends the process. The page has room for one: who comes second waits for that end.
static PANICKED: AtomicBool = AtomicBool::new(false);

/// What a thread says of where it is: bare numbers, had in microseconds.
pub(crate) struct Whereabouts {
    supervisor: Arc<Sender<FromWorker>>,
    /// Made beforehand: who is aborted may be in the midst of an allocation, and could not make another.
    frame: Mutex<FromWorker>,
}

impl Whereabouts {
    fn new(supervisor: Arc<Sender<FromWorker>>) -> Self {
        backtrace::prepare();
        let frames = Vec::with_capacity(MAX_BACKTRACE);
        Self { supervisor, frame: Mutex::new(FromWorker::Backtrace { frames }) }
    }

    /// Tells the supervisor where this thread is. Neither allocates nor waits.
    pub(crate) fn tell(&self) {
        // Taken only by one that tells just now.
        let Ok(mut frame) = self.frame.try_lock() else { return };
        if let FromWorker::Backtrace { frames } = &mut *frame {
            backtrace::capture(frames);
        }
        let _ = self.supervisor.send(&frame);
    }
}

/// Makes every panic, in whatever thread, end the process in this way. One that is not active yet has no page.
pub(crate) fn install(generation: Generation, supervisor: Arc<Sender<FromWorker>>) -> Arc<Whereabouts> {
    let whereabouts = Arc::new(Whereabouts::new(Arc::clone(&supervisor)));
    let of_panics = Arc::clone(&whereabouts);
    panic::set_hook(Box::new(move |info| {
        if PANICKED.swap(true, Ordering::Relaxed) {
            park_for_ever();
        }
        let words = words(generation, info);
        if let Some((page, _)) = this_process::cursor_page() {
            cursor::write_panic_record(page, &words);
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

fn park_for_ever() -> ! {
    loop {
        thread::park();
    }
}

fn words(generation: Generation, info: &PanicHookInfo<'_>) -> PanicRecord {
    PanicRecord {
        generation,
        // Cut before anything is done with it: there may be megabytes, and nobody reads more.
        message: cut(info.payload_as_str().unwrap_or("a payload that is no text"), MAX_TEXT).to_owned(),
        location: info.location().map(ToString::to_string).unwrap_or_default(),
        thread: thread::current().name().unwrap_or("unnamed").to_owned(),
    }
}

/// Last of all, for symbolising a backtrace (if `RUST_BACKTRACE` asks for one) takes tens of milliseconds.
fn log(words: &PanicRecord) {
    let PanicRecord { message, location, thread, .. } = words;
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(location, thread, backtrace, "panicked at {location}: {message}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkhead_proto::worker::pipe::{Received, Receiver, pair};
    use std::{
        env, io,
        os::fd::AsFd as _,
        process::{Command, Stdio},
        sync::Barrier,
    };

    /// So many threads panic.
    const THREADS: usize = 8;

    const CHILD: &str = "BULKHEAD_TEST_PANICS";

    /// In a child of the test: its standard output is the pipe.
    fn panic_at_once() {
        install(Generation(7), Arc::new(Sender::new(io::stdout().as_fd().try_clone_to_owned().unwrap())));
        let start = Barrier::new(THREADS);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    start.wait();
                    panic!("at once");
                });
            }
        });
    }

    /// Runs the test again as a child, and counts the panics that it tells of.
    fn panics_told() -> usize {
        let (read, write) = pair().unwrap();
        let mut child = Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                "last_words::tests::of_threads_that_panic_at_once_one_leaves_last_words",
                "--nocapture",
            ])
            .env(CHILD, "1")
            .stdout(write)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let told = Receiver::<FromWorker>::new(read);
        let mut panics = 0;
        loop {
            // What the test's runner says there is no frame.
            match told.recv() {
                Ok(Received::Closed) => break,
                Ok(Received::Frame(FromWorker::Panicked { .. })) => panics += 1,
                Ok(Received::Frame(_) | Received::Empty) | Err(_) => {}
            }
        }
        assert_eq!(child.wait().unwrap().code(), Some(EXIT_PANIC.into()));
        panics
    }

    #[test]
    fn of_threads_that_panic_at_once_one_leaves_last_words() {
        if env::var_os(CHILD).is_some() {
            panic_at_once();
        }
        assert_eq!(panics_told(), 1);
    }
}
