//! The supervisor's log as a story that a test can wait for.

use serde_json::Value;
use std::{
    fmt::Write as _,
    io::{BufRead, BufReader, Read},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread,
    time::{Duration, Instant},
};

/// The longest that anything is waited for. Generous, since a loaded machine is no failure; it only ends a test that
/// would wait for ever.
pub const DEADLINE: Duration = Duration::from_secs(90);

/// One line of the log.
#[derive(Clone, Debug)]
pub struct Line {
    text: String,
    fields: Value,
    heard: Instant,
}

impl Line {
    fn parse(text: String) -> Self {
        let fields = serde_json::from_str(&text).unwrap_or(Value::Null);
        Self { text, fields, heard: Instant::now() }
    }

    /// The line as it was written.
    #[must_use]
    pub fn raw(&self) -> &str {
        &self.text
    }

    /// All its fields; none when it is no JSON.
    #[must_use]
    pub fn fields(&self) -> Option<&Value> {
        Some(&self.fields).filter(|fields| fields.is_object())
    }

    /// When the harness read it.
    #[must_use]
    pub const fn heard(&self) -> Instant {
        self.heard
    }

    /// A field's text; empty when it is absent.
    #[must_use]
    pub fn text(&self, field: &str) -> &str {
        self.fields[field].as_str().unwrap_or_default()
    }

    /// A field's number.
    #[must_use]
    pub fn number(&self, field: &str) -> Option<u64> {
        self.fields[field].as_u64()
    }

    /// The pid that the line speaks of.
    ///
    /// # Panics
    /// When it speaks of none.
    #[must_use]
    pub fn pid(&self) -> i32 {
        let pid = self.number("pid").unwrap_or_else(|| panic!("no pid in {}", self.text));
        i32::try_from(pid).unwrap()
    }

    /// Whether it tells this event.
    #[must_use]
    pub fn is(&self, event_name: &str) -> bool {
        self.text("event_name") == event_name
    }

    /// Whether it tells this event of this worker.
    #[must_use]
    pub fn tells(&self, event_name: &str, worker: &str) -> bool {
        self.is(event_name) && self.text("worker") == worker
    }

    /// Whether it tells this event of the generation of which the other line speaks.
    #[must_use]
    pub fn tells_of(&self, event_name: &str, other: &Self) -> bool {
        self.tells(event_name, other.text("worker"))
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

/// Everything that the supervisor has said so far; grows while it lives.
#[derive(Clone, Default)]
pub struct Log(Arc<Shared>);

impl Log {
    /// Follows a stream to its end, on a thread of its own.
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

    /// A reading that begins with the first line.
    #[must_use]
    pub fn from_start(&self) -> Reading {
        Reading { log: self.clone(), next: 0 }
    }

    /// A reading that begins with what has not been said yet.
    #[must_use]
    pub fn from_now(&self) -> Reading {
        Reading { log: self.clone(), next: self.lines().all.len() }
    }

    /// Waits until the stream is at its end, at most this long; whether it is.
    #[must_use]
    pub fn ends_within(&self, bound: Duration) -> bool {
        let (lines, _) =
            self.0.changed.wait_timeout_while(self.lines(), bound, |lines| !lines.ended).unwrap();
        lines.ended
    }

    /// Waits for the next line or this long, whichever comes first: the pace at which to ask again for something that
    /// nobody announces.
    pub fn pause(&self, bound: Duration) {
        let lines = self.lines();
        let seen = lines.all.len();
        let _ = self.0.changed.wait_timeout_while(lines, bound, |lines| lines.all.len() == seen).unwrap();
    }

    /// The lines so far for which this holds.
    #[must_use]
    pub fn all(&self, holds: impl Fn(&Line) -> bool) -> Vec<Line> {
        self.lines().all.iter().filter(|line| holds(line)).cloned().collect()
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

/// A reader's place in the log. What was read once is not found again, so that a test follows the story in its order; a
/// clone is another place, from where to look ahead.
#[derive(Clone)]
pub struct Reading {
    log: Log,
    next: usize,
}

impl Reading {
    /// Waits for the next line for which this holds, and goes on behind it.
    ///
    /// # Panics
    /// With the whole log, when the log ends or [`DEADLINE`] passes first.
    pub fn wait_for(&mut self, what: &str, holds: impl Fn(&Line) -> bool) -> Line {
        let deadline = Instant::now() + DEADLINE;
        let mut lines = self.log.lines();
        loop {
            while let Some(line) = lines.all.get(self.next) {
                self.next += 1;
                if holds(line) {
                    return line.clone();
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let why = if lines.ended { "the log ended" } else { "the deadline passed" };
            if lines.ended || left.is_zero() {
                drop(lines);
                panic!("{why} before {what}; the log:\n{}", self.log.dump());
            }
            lines = self.log.0.changed.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// Waits for this event of this worker.
    ///
    /// # Panics
    /// As [`Reading::wait_for`].
    pub fn wait_for_worker(&mut self, event_name: &str, worker: &str) -> Line {
        self.wait_for(&format!("{event_name} of {worker}"), |line| line.tells(event_name, worker))
    }

    /// Waits for the next start of a generation of this worker of whose death nothing is told yet.
    ///
    /// # Panics
    /// As [`Reading::wait_for`].
    pub fn wait_for_living(&mut self, worker: &str) -> Line {
        loop {
            let started = self.wait_for_worker("worker_started", worker);
            if self.log.all(|line| line.tells_of("worker_died", &started)).is_empty() {
                return started;
            }
        }
    }
}
