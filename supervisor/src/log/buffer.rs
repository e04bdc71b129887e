//! The latest log lines, kept in memory for `bulkhead logs`. Bounded in number and in bytes; allocated as lines arrive.
//!
//! Readers have no queues. A reader holds a position in the buffer, and copies lines out when its client can take more.
//! If it is too slow, it skips the lines that were removed and reports their number. The log never waits for a reader.

use super::line::LogLine;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;
use tracing::Level;

/// Maximum number of lines.
const MAX_LINES: usize = 2_000;

/// Maximum size of all lines, in bytes of JSON.
const MAX_BYTES: usize = 512 << 10;

/// A read stops at the first line that reaches this size, in bytes.
const READ_SIZE: usize = 32 << 10;

/// The latest log lines. Clones share them.
#[derive(Clone, Debug)]
pub struct LogBuffer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    lines: Mutex<Lines>,
    /// Notifies readers of every line; true after the last line.
    closed: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Lines {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Number of lines removed so far, which is the position of the first entry.
    removed: u64,
}

#[derive(Debug)]
struct Entry {
    /// The worker that the line is about or comes from.
    worker: Option<Box<str>>,
    /// Whether the supervisor wrote the line, not a worker.
    from_supervisor: bool,
    /// See [`LogLine::to_json`].
    json: Box<str>,
}

/// Which lines a reader gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogSelection {
    /// All lines.
    All,
    /// The supervisor's own lines.
    Supervisor,
    /// The lines of this worker, and the supervisor's lines about it.
    Worker(String),
}

/// A position in the log lines.
#[derive(Debug)]
pub struct LogReader {
    buffer: LogBuffer,
    selection: LogSelection,
    /// Position of the next line to read.
    next: u64,
    closed: watch::Receiver<bool>,
}

impl Default for LogBuffer {
    fn default() -> Self {
        Self(Arc::new(Shared { lines: Mutex::default(), closed: watch::channel(false).0 }))
    }
}

impl LogBuffer {
    /// Appends a line; removes the oldest lines that exceed a bound.
    pub fn push(&self, line: &LogLine) {
        let entry = Entry {
            worker: line.text("worker").map(String::into_boxed_str),
            from_supervisor: !line.fields.contains_key("stream"),
            json: line.to_json().into_boxed_str(),
        };
        self.lines().push(entry);
        self.0.closed.send_modify(|_| {});
    }

    /// Tells all readers that there are no more lines.
    pub fn close(&self) {
        self.0.closed.send_replace(true);
    }

    /// A reader of the `last` buffered lines of a selection (`None`: all of them), and of all later lines.
    #[must_use]
    pub fn reader(&self, selection: LogSelection, last: Option<usize>) -> LogReader {
        let closed = self.0.closed.subscribe();
        let next = self.lines().position(&selection, last.unwrap_or(usize::MAX));
        LogReader { buffer: self.clone(), selection, next, closed }
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        // The lines are valid even after a panic of a thread that held the lock.
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    fn push(&mut self, entry: Entry) {
        self.bytes += entry.json.len();
        self.entries.push_back(entry);
        while self.entries.len() > MAX_LINES || self.bytes > MAX_BYTES {
            let Some(oldest) = self.entries.pop_front() else { return };
            self.bytes -= oldest.json.len();
            self.removed += 1;
        }
    }

    /// Position of the first of the `last` lines of a selection.
    fn position(&self, selection: &LogSelection, last: usize) -> u64 {
        let backwards = self.entries.iter().enumerate().rev();
        let mut selected = backwards.filter(|(_, entry)| selection.contains(entry)).map(|(index, _)| index);
        let index = match last.checked_sub(1) {
            None => self.entries.len(),
            Some(before) => selected.nth(before).unwrap_or(0),
        };
        self.removed.saturating_add(u64::try_from(index).unwrap_or(u64::MAX))
    }
}

impl LogSelection {
    fn contains(&self, entry: &Entry) -> bool {
        match self {
            Self::All => true,
            Self::Supervisor => entry.from_supervisor,
            Self::Worker(name) => entry.worker.as_deref() == Some(name),
        }
    }
}

impl LogReader {
    /// The next lines, one JSON object each; empty if there are none yet. If lines were removed unread, a line with
    /// their number in the field `lost` comes first.
    #[must_use]
    pub fn read(&mut self) -> String {
        let lines = self.buffer.lines();
        let mut text = String::new();
        let lost = lines.removed.saturating_sub(self.next);
        if lost > 0 {
            self.next = lines.removed;
            text = lost_lines(lost).to_json() + "\n";
        }
        let read = usize::try_from(self.next - lines.removed).unwrap_or(usize::MAX);
        for entry in lines.entries.iter().skip(read) {
            if text.len() >= READ_SIZE {
                break;
            }
            self.next += 1;
            if self.selection.contains(entry) {
                text.push_str(&entry.json);
                text.push('\n');
            }
        }
        text
    }

    /// Waits for more lines. Returns `false` if the buffer is closed: [`LogReader::read`] then returns the last lines.
    /// Cancel safe.
    pub async fn wait(&mut self) -> bool {
        self.closed.changed().await.is_ok() && !*self.closed.borrow_and_update()
    }
}

fn lost_lines(lost: u64) -> LogLine {
    let message = format!("{lost} log lines are missing here: this reader was too slow");
    let mut line = LogLine::new(Level::WARN, message);
    line.fields.insert("lost".to_owned(), lost.into());
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(worker: Option<&str>, stream: bool, message: &str) -> LogLine {
        let mut line = LogLine::new(Level::INFO, message.to_owned());
        line.fields.extend(worker.map(|worker| ("worker".to_owned(), worker.into())));
        line.fields.extend(stream.then(|| ("stream".to_owned(), "stderr".into())));
        line
    }

    fn messages(text: &str) -> Vec<String> {
        text.lines().map(|line| LogLine::from_json(line).unwrap().message).collect()
    }

    fn with_lines(count: usize, message: &str) -> LogBuffer {
        let buffer = LogBuffer::default();
        (0..count).for_each(|_| buffer.push(&line(None, false, message)));
        buffer
    }

    #[test]
    fn a_reader_gets_the_last_lines_in_order_and_then_new_lines() {
        let buffer = LogBuffer::default();
        for message in ["one", "two", "three"] {
            buffer.push(&line(None, false, message));
        }
        let mut reader = buffer.reader(LogSelection::All, Some(2));
        assert_eq!(messages(&reader.read()), ["two", "three"]);
        assert_eq!(reader.read(), "");
        buffer.push(&line(None, false, "four"));
        assert_eq!(messages(&reader.read()), ["four"]);
        assert_eq!(buffer.reader(LogSelection::All, Some(0)).read(), "");
        assert_eq!(messages(&buffer.reader(LogSelection::All, None).read()).len(), 4);
    }

    #[test]
    fn a_reader_gets_and_counts_only_its_selection() {
        let buffer = LogBuffer::default();
        buffer.push(&line(Some("api"), false, "api died"));
        buffer.push(&line(Some("api"), true, "api says"));
        buffer.push(&line(Some("host"), true, "host says"));
        buffer.push(&line(None, false, "stopping"));
        let read = |selection, last| messages(&buffer.reader(selection, last).read());
        assert_eq!(read(LogSelection::Worker("api".into()), None), ["api died", "api says"]);
        assert_eq!(read(LogSelection::Worker("api".into()), Some(1)), ["api says"]);
        assert_eq!(read(LogSelection::Supervisor, None), ["api died", "stopping"]);
    }

    /// Number of buffered lines, their size in bytes, and number of removed lines.
    fn sizes(buffer: &LogBuffer) -> (usize, usize, u64) {
        let lines = buffer.lines();
        (lines.entries.len(), lines.bytes, lines.removed)
    }

    #[test]
    fn the_buffer_is_bounded_in_lines() {
        let (lines, _, removed) = sizes(&with_lines(MAX_LINES + 10, "x"));
        assert_eq!((lines, removed), (MAX_LINES, 10));
    }

    #[test]
    fn the_buffer_is_bounded_in_bytes() {
        let buffer = with_lines(10, &"x".repeat(100 << 10));
        let (lines, bytes, removed) = sizes(&buffer);
        assert!((lines, removed) == (5, 5) && bytes <= MAX_BYTES, "{lines} {bytes} {removed}");
        buffer.push(&line(None, false, &"x".repeat(MAX_BYTES)));
        assert_eq!(sizes(&buffer), (0, 0, 11), "a line larger than the buffer");
    }

    #[test]
    fn a_reader_that_is_too_slow_gets_the_number_of_lost_lines() {
        let buffer = with_lines(MAX_LINES, "x");
        let mut reader = buffer.reader(LogSelection::All, Some(1));
        (0..MAX_LINES + 4).for_each(|_| buffer.push(&line(None, false, "y")));
        let read = reader.read();
        let first = LogLine::from_json(read.lines().next().unwrap()).unwrap();
        assert_eq!(first.fields["lost"], 5);
        assert_eq!(messages(&read)[1], "y");
    }

    #[test]
    fn many_lines_are_read_in_several_parts() {
        let buffer = with_lines(100, &"x".repeat(1 << 10));
        let mut reader = buffer.reader(LogSelection::All, None);
        let (mut parts, mut lines) = (0, 0);
        loop {
            let text = reader.read();
            if text.is_empty() {
                break;
            }
            assert!(text.len() < READ_SIZE + (2 << 10));
            parts += 1;
            lines += messages(&text).len();
        }
        assert_eq!((lines, parts > 1), (100, true));
    }

    #[test]
    fn a_reader_waits_until_a_line_arrives_or_the_buffer_is_closed() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let buffer = LogBuffer::default();
            let mut reader = buffer.reader(LogSelection::All, None);
            buffer.push(&line(None, false, "x"));
            assert!(reader.wait().await);
            buffer.close();
            assert!(!reader.wait().await);
            assert_eq!(messages(&reader.read()), ["x"]);
        });
    }
}
