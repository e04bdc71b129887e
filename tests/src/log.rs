//! The supervisor's log, line by line, with readers that wait for lines.

use serde_json::Value;
use std::{
    fmt::Write as _,
    io::{BufRead, BufReader, Read},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread,
    time::{Duration, Instant},
};

/// The bound of each wait. It is long, since a loaded machine is not a failure: it only ends a test that would wait
/// without limit.
pub const DEADLINE: Duration = Duration::from_secs(90);

/// The maximum interval at which [`eventually`] checks its condition.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// One line of the log.
#[derive(Clone, Debug)]
pub struct Line {
    text: String,
    fields: Value,
    read_at: Instant,
}

impl Line {
    fn parse(text: String) -> Self {
        let fields = serde_json::from_str(&text).unwrap_or(Value::Null);
        Self { text, fields, read_at: Instant::now() }
    }

    /// The line as it was written.
    #[must_use]
    pub fn raw(&self) -> &str {
        &self.text
    }

    /// All fields; `None` if the line is not a JSON object.
    #[must_use]
    pub fn fields(&self) -> Option<&Value> {
        Some(&self.fields).filter(|fields| fields.is_object())
    }

    /// The time when the harness read the line.
    #[must_use]
    pub const fn read_at(&self) -> Instant {
        self.read_at
    }

    /// The text of a field; empty if the field is absent.
    #[must_use]
    pub fn text(&self, field: &str) -> &str {
        self.fields[field].as_str().unwrap_or_default()
    }

    /// The number in a field.
    #[must_use]
    pub fn number(&self, field: &str) -> Option<u64> {
        self.fields[field].as_u64()
    }

    /// The pid in the line.
    ///
    /// # Panics
    /// If the line has no pid.
    #[must_use]
    pub fn pid(&self) -> i32 {
        let pid = self.number("pid").unwrap_or_else(|| panic!("no pid in {}", self.text));
        i32::try_from(pid).unwrap()
    }

    /// Whether the line has this `event_name`.
    #[must_use]
    pub fn is(&self, event_name: &str) -> bool {
        self.text("event_name") == event_name
    }

    /// Whether the line has this `event_name` and this worker.
    #[must_use]
    pub fn is_worker_event(&self, event_name: &str, worker: &str) -> bool {
        self.is(event_name) && self.text("worker") == worker
    }

    /// Whether the line has this `event_name` and the worker and generation of the other line.
    #[must_use]
    pub fn is_generation_event(&self, event_name: &str, other: &Self) -> bool {
        self.is_worker_event(event_name, other.text("worker"))
            && self.number("generation") == other.number("generation")
    }
}

#[derive(Default)]
struct Lines {
    all: Vec<Line>,
    ended: bool,
}

#[derive(Default)]
struct Shared {
    lines: Mutex<Lines>,
    changed: Condvar,
}

/// All lines that the supervisor has written so far.
#[derive(Clone, Default)]
pub struct Log(Arc<Shared>);

impl Log {
    /// Reads a stream to its end on a separate thread.
    pub fn follow(stream: impl Read + Send + 'static) -> Self {
        let log = Self::default();
        let writer = log.clone();
        thread::spawn(move || writer.read_all(stream));
        log
    }

    fn read_all(&self, stream: impl Read) {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            let line = Line::parse(String::from_utf8_lossy(&line).into_owned());
            self.lines().all.push(line);
            self.0.changed.notify_all();
        }
        self.lines().ended = true;
        self.0.changed.notify_all();
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lines.lock().unwrap()
    }

    /// A reader at the first line.
    #[must_use]
    pub fn from_start(&self) -> LogReader {
        LogReader { log: self.clone(), next: 0 }
    }

    /// A reader at the next line to be written.
    #[must_use]
    pub fn from_now(&self) -> LogReader {
        LogReader { log: self.clone(), next: self.lines().all.len() }
    }

    /// Waits for the end of the stream, at most for `bound`. Returns whether the stream has ended.
    #[must_use]
    pub fn ends_within(&self, bound: Duration) -> bool {
        let (lines, _) =
            self.0.changed.wait_timeout_while(self.lines(), bound, |lines| !lines.ended).unwrap();
        lines.ended
    }

    /// Waits for the next line, at most for `bound`: the interval between two checks of a condition that no line
    /// announces.
    pub fn wait_for_change(&self, bound: Duration) {
        let lines = self.lines();
        let seen = lines.all.len();
        let _ = self.0.changed.wait_timeout_while(lines, bound, |lines| lines.all.len() == seen).unwrap();
    }

    /// The lines so far that match.
    #[must_use]
    pub fn matching(&self, matches: impl Fn(&Line) -> bool) -> Vec<Line> {
        self.lines().all.iter().filter(|line| matches(line)).cloned().collect()
    }

    /// The whole text so far.
    #[must_use]
    pub fn dump(&self) -> String {
        self.lines().all.iter().fold(String::new(), |mut text, line| {
            let _ = writeln!(text, "  | {}", line.text);
            text
        })
    }
}

/// A position in the log. A reader finds each line once, so that a test checks the order of lines. A clone is an
/// independent position, from which a test can look ahead.
#[derive(Clone)]
pub struct LogReader {
    log: Log,
    next: usize,
}

impl LogReader {
    /// Waits for the next line that matches, and moves the position after it.
    ///
    /// # Panics
    /// With the whole log, if the log ends or [`DEADLINE`] passes first.
    pub fn wait_for(&mut self, what: &str, matches: impl Fn(&Line) -> bool) -> Line {
        let deadline = Instant::now() + DEADLINE;
        let mut lines = self.log.lines();
        loop {
            while let Some(line) = lines.all.get(self.next) {
                self.next += 1;
                if matches(line) {
                    return line.clone();
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let reason = if lines.ended { "the log ended" } else { "the deadline passed" };
            if lines.ended || left.is_zero() {
                drop(lines);
                panic!("{reason} before {what}; the log:\n{}", self.log.dump());
            }
            lines = self.log.0.changed.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// Waits for this event of this worker.
    ///
    /// # Panics
    /// As [`LogReader::wait_for`].
    pub fn wait_for_worker(&mut self, event_name: &str, worker: &str) -> Line {
        self.wait_for(&format!("{event_name} of {worker}"), |line| line.is_worker_event(event_name, worker))
    }

    /// Waits for the next start of a generation of this worker whose death is not in the log.
    ///
    /// # Panics
    /// As [`LogReader::wait_for`].
    pub fn wait_for_live_generation(&mut self, worker: &str) -> Line {
        loop {
            let started = self.wait_for_worker("worker_started", worker);
            if self.log.matching(|line| line.is_generation_event("worker_died", &started)).is_empty() {
                return started;
            }
        }
    }
}

/// Waits until a condition holds that no line of the log announces.
///
/// # Panics
/// With the log, if [`DEADLINE`] passes first.
pub fn eventually(log: &Log, what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "timed out waiting for {what}; the log:\n{}", log.dump());
        log.wait_for_change(POLL_INTERVAL);
    }
}
