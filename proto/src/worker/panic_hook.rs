//! What happens when a thread of a worker panics: the panic is recorded in shared memory, reported to the supervisor and
//! logged, and the process exits.
//!
//! The record in shared memory comes first: it survives when the control pipe is full and the frame is lost.

use super::{backtrace, log, pipe::Sender, this_process};
use crate::{
    shm::cursor::{self, PanicRecord},
    wire::{
        control::{FromWorker, MAX_BACKTRACE, MAX_TEXT},
        exit_code::EXIT_PANIC,
        ids::Generation,
        text::cut,
    },
};
use std::{
    backtrace::{Backtrace, BacktraceStatus},
    cell::RefCell,
    panic::{self, AssertUnwindSafe, PanicHookInfo},
    process,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// Set by the first fatal panic; its thread ends the process. There is room for one panic record, so every later thread
/// waits for the exit.
static PANICKED: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Whether [`catch`] is running in this thread, and what the caught panic was.
    static CAUGHT: RefCell<Option<Option<PanicRecord>>> = const { RefCell::new(None) };
}

/// Runs code of a user whose panic is no reason to end the process. The error is the message of the panic and where it
/// happened. What the code changes must not be used after a panic.
///
/// # Errors
/// If it panics.
pub fn catch<T>(code: impl FnOnce() -> T) -> Result<T, String> {
    CAUGHT.set(Some(None));
    let result = panic::catch_unwind(AssertUnwindSafe(code));
    let caught = CAUGHT.take().flatten();
    result.map_err(|_| match caught {
        Some(PanicRecord { message, location, .. }) => format!("{message:?} at {location}"),
        None => "the panic hook of Bulkhead is not installed".to_owned(),
    })
}

/// Which panics end the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FatalPanics {
    /// Those of any thread.
    AnyThread,
    /// Those of the thread that installs the hook. A panic of another thread ends its request or task, and is logged.
    ThisThread,
}

/// Sends the backtrace of the calling thread to the supervisor, as bare addresses, which are captured within microseconds.
#[derive(Debug)]
pub struct BacktraceSender {
    supervisor: Arc<Sender<FromWorker>>,
    /// Allocated in advance: a SIGABRT can interrupt an allocation, and then no other one is possible.
    frame: Mutex<FromWorker>,
}

impl BacktraceSender {
    fn new(supervisor: Arc<Sender<FromWorker>>) -> Self {
        backtrace::prepare();
        let frames = Vec::with_capacity(MAX_BACKTRACE);
        Self { supervisor, frame: Mutex::new(FromWorker::Backtrace { frames }) }
    }

    /// Sends the backtrace of this thread. Neither allocates nor waits, so that a signal handler may call it.
    pub fn send_backtrace(&self) {
        // Only another call of this function can hold the lock: then that call sends its backtrace.
        let Ok(mut frame) = self.frame.try_lock() else { return };
        if let FromWorker::Backtrace { frames } = &mut *frame {
            backtrace::capture(frames);
        }
        let _ = self.supervisor.send(&frame);
    }
}

/// Installs the panic hook. A process without a cursor page ([`this_process`]), as a standby, writes no panic record.
pub fn install(fatal: FatalPanics, supervisor: Arc<Sender<FromWorker>>) -> Arc<BacktraceSender> {
    let backtraces = Arc::new(BacktraceSender::new(Arc::clone(&supervisor)));
    let (hook_backtraces, installer) = (Arc::clone(&backtraces), thread::current().id());
    panic::set_hook(Box::new(move |info| {
        let (page, generation) = this_process::cursor_page().unzip();
        let record = panic_record(generation.unwrap_or_default(), info);
        if CAUGHT.with_borrow(Option::is_some) {
            CAUGHT.set(Some(Some(record)));
            return;
        }
        if fatal == FatalPanics::ThisThread && thread::current().id() != installer {
            let PanicRecord { message, location, .. } = record;
            tracing::error!(location, "a request or task panicked: {message}");
            return;
        }
        if PANICKED.swap(true, Ordering::Relaxed) {
            park_forever();
        }
        if let Some(page) = page {
            cursor::write_panic_record(page, &record);
        }
        // The pipe is non-blocking: if it is full, the record in shared memory must suffice.
        let _ = supervisor.send(&FromWorker::Panicked {
            message: record.message.clone(),
            location: cut(&record.location, MAX_TEXT).to_owned(),
            thread: cut(&record.thread, MAX_TEXT).to_owned(),
        });
        hook_backtraces.send_backtrace();
        log_panic(&record);
        log::flush();
        process::exit(EXIT_PANIC.into());
    }));
    backtraces
}

fn park_forever() -> ! {
    loop {
        thread::park();
    }
}

fn panic_record(generation: Generation, info: &PanicHookInfo<'_>) -> PanicRecord {
    PanicRecord {
        generation,
        // Cut first: the message may have megabytes, of which no more than MAX_TEXT bytes are ever shown.
        message: cut(info.payload_as_str().unwrap_or("the panic payload is not a string"), MAX_TEXT)
            .to_owned(),
        location: info.location().map(ToString::to_string).unwrap_or_default(),
        thread: thread::current().name().unwrap_or("unnamed").to_owned(),
    }
}

/// Runs last, because symbolising a backtrace (only if `RUST_BACKTRACE` asks for one) takes tens of
/// milliseconds.
fn log_panic(record: &PanicRecord) {
    let PanicRecord { message, location, thread, .. } = record;
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(location, thread, backtrace, "panicked at {location}: {message}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::pipe::{Received, Receiver, pair};
    use std::{
        env, io,
        os::fd::AsFd as _,
        process::{Command, Stdio},
        sync::Barrier,
    };

    /// The number of threads that panic at the same time.
    const THREADS: usize = 8;

    const CHILD: &str = "BULKHEAD_TEST_PANICS";

    /// Runs in a child process of the test, whose standard output is the control pipe.
    fn panic_in_all_threads() {
        let supervisor = Sender::new(io::stdout().as_fd().try_clone_to_owned().unwrap());
        install(FatalPanics::AnyThread, Arc::new(supervisor));
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

    /// Runs the test again as a child process, and counts the panics that the child reports.
    fn reported_panics() -> usize {
        let (read, write) = pair().unwrap();
        let mut child = Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                "worker::panic_hook::tests::when_several_threads_panic_at_once_one_panic_is_reported",
                "--nocapture",
            ])
            .env(CHILD, "1")
            .stdout(write)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let frames = Receiver::<FromWorker>::new(read);
        let mut panics = 0;
        loop {
            // The test runner writes to the same pipe; its lines are not frames.
            match frames.recv() {
                Ok(Received::Closed) => break,
                Ok(Received::Frame(FromWorker::Panicked { .. })) => panics += 1,
                Ok(Received::Frame(_) | Received::Empty) | Err(_) => {}
            }
        }
        assert_eq!(child.wait().unwrap().code(), Some(EXIT_PANIC.into()));
        panics
    }

    #[test]
    fn when_several_threads_panic_at_once_one_panic_is_reported() {
        if env::var_os(CHILD).is_some() {
            panic_in_all_threads();
        }
        assert_eq!(reported_panics(), 1);
    }
}
