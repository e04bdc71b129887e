//! The last lines of the log, kept for `bulkhead logs`: bounded in number and in bytes, allocated as they come.
//!
//! Readers have no queues. Each holds its place in these lines, and copies out what is there when it can take more; one
//! that is too slow finds that lines are gone, and is told how many. Nobody waits for a reader.

use super::Line;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;
use tracing::Level;

/// So many lines are kept at most…
const MAX_LINES: usize = 2_000;

/// …and so many bytes of them.
const MAX_BYTES: usize = 512 << 10;

/// How much a reader copies out at once, in bytes; at least one line.
const BATCH: usize = 32 << 10;

/// The last lines of the log.
#[derive(Clone, Debug)]
pub struct Recent(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    kept: Mutex<Kept>,
    /// Changes with every line; true once there will be no more.
    closed: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Kept {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// How many lines there were before the first of these.
    gone: u64,
}

#[derive(Debug)]
struct Entry {
    /// The worker that it speaks of, or comes from.
    worker: Option<Box<str>>,
    /// Whether the supervisor says it, and not a worker.
    own: bool,
    /// See [`Line::to_json`].
    json: Box<str>,
}

/// Which lines a reader wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All.
    All,
    /// The supervisor's own.
    Supervisor,
    /// Those of a worker, and the supervisor's about it.
    Worker(String),
}

/// A place in the lines.
#[derive(Debug)]
pub struct Reader {
    recent: Recent,
    wanted: Wanted,
    next: u64,
    closed: watch::Receiver<bool>,
}

impl Default for Recent {
    fn default() -> Self {
        Self(Arc::new(Shared { kept: Mutex::default(), closed: watch::channel(false).0 }))
    }
}

impl Recent {
    /// Keeps one more line; forgets the oldest ones that do not fit beside it.
    pub fn keep(&self, line: &Line) {
        let entry = Entry {
            worker: line.text("worker").map(String::into_boxed_str),
            own: !line.fields.contains_key("stream"),
            json: line.to_json().into_boxed_str(),
        };
        self.kept().push(entry);
        self.0.closed.send_modify(|_| {});
    }

    /// There will be no more lines.
    pub fn close(&self) {
        self.0.closed.send_replace(true);
    }

    /// A reader of the last so many of these lines, or of all that are kept, and of those to come.
    #[must_use]
    pub fn reader(&self, wanted: Wanted, last: Option<usize>) -> Reader {
        let closed = self.0.closed.subscribe();
        let next = self.kept().place(&wanted, last.unwrap_or(usize::MAX));
        Reader { recent: self.clone(), wanted, next, closed }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Nothing panics while it holds the lock; were it so, the lines would still be lines.
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn push(&mut self, entry: Entry) {
        self.bytes += entry.json.len();
        self.entries.push_back(entry);
        while self.entries.len() > MAX_LINES || self.bytes > MAX_BYTES {
            let Some(oldest) = self.entries.pop_front() else { return };
            self.bytes -= oldest.json.len();
            self.gone += 1;
        }
    }

    /// The number of the line at which the last so many begin.
    fn place(&self, wanted: &Wanted, last: usize) -> u64 {
        let backwards = self.entries.iter().enumerate().rev();
        let mut fitting = backwards.filter(|(_, entry)| wanted.fits(entry)).map(|(index, _)| index);
        let index = match last.checked_sub(1) {
            None => self.entries.len(),
            Some(before) => fitting.nth(before).unwrap_or(0),
        };
        self.gone.saturating_add(u64::try_from(index).unwrap_or(u64::MAX))
    }
}

impl Wanted {
    fn fits(&self, entry: &Entry) -> bool {
        match self {
            Self::All => true,
            Self::Supervisor => entry.own,
            Self::Worker(name) => entry.worker.as_deref() == Some(name),
        }
    }
}

impl Reader {
    /// The next lines, one JSON object each; none when there are none for now. What went by unread comes first, as a line
    /// of its own with their number in the field `lost`.
    #[must_use]
    pub fn read(&mut self) -> String {
        let kept = self.recent.kept();
        let mut text = String::new();
        let lost = kept.gone.saturating_sub(self.next);
        if lost > 0 {
            self.next = kept.gone;
            text = lost_lines(lost).to_json() + "\n";
        }
        let read = usize::try_from(self.next - kept.gone).unwrap_or(usize::MAX);
        for entry in kept.entries.iter().skip(read) {
            if text.len() >= BATCH {
                break;
            }
            self.next += 1;
            if self.wanted.fits(entry) {
                text.push_str(&entry.json);
                text.push('\n');
            }
        }
        text
    }

    /// Waits for more lines; says whether there may be any after those that can be read now.
    pub async fn wait(&mut self) -> bool {
        self.closed.changed().await.is_ok() && !*self.closed.borrow_and_update()
    }
}

fn lost_lines(lost: u64) -> Line {
    let message = format!("{lost} lines of the log went by unread: their reader was too slow");
    let mut line = Line::new(Level::WARN, message);
    line.fields.insert("lost".to_owned(), lost.into());
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(worker: Option<&str>, stream: bool, message: &str) -> Line {
        let mut line = Line::new(Level::INFO, message.to_owned());
        line.fields.extend(worker.map(|worker| ("worker".to_owned(), worker.into())));
        line.fields.extend(stream.then(|| ("stream".to_owned(), "stderr".into())));
        line
    }

    fn messages(text: &str) -> Vec<String> {
        text.lines().map(|line| Line::from_json(line).unwrap().message).collect()
    }

    fn with_lines(count: usize, message: &str) -> Recent {
        let recent = Recent::default();
        (0..count).for_each(|_| recent.keep(&line(None, false, message)));
        recent
    }

    #[test]
    fn the_last_lines_are_read_in_their_order_and_then_those_to_come() {
        let recent = Recent::default();
        for message in ["one", "two", "three"] {
            recent.keep(&line(None, false, message));
        }
        let mut reader = recent.reader(Wanted::All, Some(2));
        assert_eq!(messages(&reader.read()), ["two", "three"]);
        assert_eq!(reader.read(), "");
        recent.keep(&line(None, false, "four"));
        assert_eq!(messages(&reader.read()), ["four"]);
        assert_eq!(recent.reader(Wanted::All, Some(0)).read(), "");
        assert_eq!(messages(&recent.reader(Wanted::All, None).read()).len(), 4);
    }

    #[test]
    fn a_reader_gets_what_it_wants_and_counts_only_that() {
        let recent = Recent::default();
        recent.keep(&line(Some("api"), false, "api died"));
        recent.keep(&line(Some("api"), true, "api says"));
        recent.keep(&line(Some("host"), true, "host says"));
        recent.keep(&line(None, false, "stopping"));
        let read = |wanted, last| messages(&recent.reader(wanted, last).read());
        assert_eq!(read(Wanted::Worker("api".into()), None), ["api died", "api says"]);
        assert_eq!(read(Wanted::Worker("api".into()), Some(1)), ["api says"]);
        assert_eq!(read(Wanted::Supervisor, None), ["api died", "stopping"]);
    }

    /// How many lines are kept, their bytes, and how many are gone.
    fn sizes(recent: &Recent) -> (usize, usize, u64) {
        let kept = recent.kept();
        (kept.entries.len(), kept.bytes, kept.gone)
    }

    #[test]
    fn what_is_kept_is_bounded_in_lines() {
        let (lines, _, gone) = sizes(&with_lines(MAX_LINES + 10, "x"));
        assert_eq!((lines, gone), (MAX_LINES, 10));
    }

    #[test]
    fn what_is_kept_is_bounded_in_bytes() {
        let recent = with_lines(10, &"x".repeat(100 << 10));
        let (lines, bytes, gone) = sizes(&recent);
        assert!((lines, gone) == (5, 5) && bytes <= MAX_BYTES, "{lines} {bytes} {gone}");
        recent.keep(&line(None, false, &"x".repeat(MAX_BYTES)));
        assert_eq!(sizes(&recent), (0, 0, 11), "one that could never fit");
    }

    #[test]
    fn a_reader_that_is_too_slow_is_told_how_many_lines_it_has_lost() {
        let recent = with_lines(MAX_LINES, "x");
        let mut reader = recent.reader(Wanted::All, Some(1));
        (0..MAX_LINES + 4).for_each(|_| recent.keep(&line(None, false, "y")));
        let read = reader.read();
        let first = Line::from_json(read.lines().next().unwrap()).unwrap();
        assert_eq!(first.fields["lost"], 5);
        assert_eq!(messages(&read)[1], "y");
    }

    #[test]
    fn much_is_read_in_parts() {
        let recent = with_lines(100, &"x".repeat(1 << 10));
        let mut reader = recent.reader(Wanted::All, None);
        let (mut parts, mut lines) = (0, 0);
        loop {
            let text = reader.read();
            if text.is_empty() {
                break;
            }
            assert!(text.len() < BATCH + (2 << 10));
            parts += 1;
            lines += messages(&text).len();
        }
        assert_eq!((lines, parts > 1), (100, true));
    }

    #[test]
    fn a_reader_waits_until_there_is_more_or_will_be_none() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let recent = Recent::default();
            let mut reader = recent.reader(Wanted::All, None);
            recent.keep(&line(None, false, "x"));
            assert!(reader.wait().await);
            recent.close();
            assert!(!reader.wait().await);
            assert_eq!(messages(&reader.read()), ["x"]);
        });
    }
}
