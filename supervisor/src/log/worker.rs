//! Workers' own output, passed on line by line with its origin. Everything in it is hostile: bounded in length and
//! rate, and shown so that it can forge nothing.

use super::{
    escape::{decode, visible},
    line::plain,
};
use crate::config::units::format_size;
use bulkhead_proto::wire::ids::Generation;
use serde_json::{Map, Value};
use std::{
    borrow::Cow,
    mem,
    time::{Duration, Instant},
};
use tracing::Level;

/// The longest line that is passed on, in bytes; the rest of a longer one is dropped.
const MAX_LINE: usize = 8 << 10;

/// So many lines may come at once…
const BURST: u32 = 2_000;

/// …and so many a second for ever. A log that nobody can read helps nobody.
const LINES_PER_SECOND: u32 = 500;

/// So many bytes of a stream are passed on within…
pub const BUDGET: usize = 1 << 20;

/// …this time: its reader throws away what is beyond, and tells [`Lines::skip`].
pub const WINDOW: Duration = Duration::from_millis(100);

/// Where a line comes from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The worker's name.
    pub worker: String,
    /// Its generation.
    pub generation: Generation,
    /// `stdout` or `stderr`.
    pub stream: &'static str,
}

/// Splits a stream of bytes into lines, bounded in length and rate.
#[derive(Debug)]
pub struct Lines {
    part: Vec<u8>,
    /// Bytes of the present line that are beyond [`MAX_LINE`], or were skipped.
    cut: u64,
    allowance: u32,
    refilled: Instant,
    dropped: u64,
    /// A part of the present line was skipped.
    torn: bool,
}

/// One thing to pass on.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// A line, and how many bytes of it were cut off.
    Line(Vec<u8>, u64),
    /// So many lines came too fast and were dropped.
    Dropped(u64),
}

impl Lines {
    /// Begins a stream.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { part: Vec::new(), cut: 0, allowance: BURST, refilled: now, dropped: 0, torn: false }
    }

    /// Takes in bytes and hands on every line that they complete.
    pub fn feed(&mut self, bytes: &[u8], now: Instant, mut sink: impl FnMut(Output)) {
        self.refill(now, &mut sink);
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let (text, complete) = match piece.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (piece, false),
            };
            // Behind what was cut off, nothing belongs to the beginning any more.
            let room = if self.cut > 0 { 0 } else { MAX_LINE - self.part.len() };
            let fits = &text[..text.len().min(room)];
            self.part.extend_from_slice(fits);
            self.cut += u64::try_from(text.len() - fits.len()).unwrap_or(u64::MAX);
            if complete {
                self.line(&mut sink);
            }
        }
    }

    /// Passes over bytes of a flood; the lines that begin among them count as dropped. One that had begun before is cut.
    pub fn skip(&mut self, bytes: &[u8], mut sink: impl FnMut(Output)) {
        let mut rest = bytes;
        if !self.part.is_empty() && !self.torn {
            let end = memchr::memchr(b'\n', bytes);
            let cut = end.unwrap_or(bytes.len());
            self.cut = self.cut.saturating_add(u64::try_from(cut).unwrap_or(u64::MAX));
            if end.is_none() {
                return;
            }
            self.line(&mut sink);
            rest = &bytes[cut + 1..];
        }
        let ends = memchr::memchr_iter(b'\n', rest).count();
        self.dropped = self.dropped.saturating_add(u64::try_from(ends).unwrap_or(u64::MAX));
        self.torn = rest.last().map_or(self.torn, |last| *last != b'\n');
    }

    /// Hands on what is left at the end of the stream.
    pub fn end(&mut self, mut sink: impl FnMut(Output)) {
        if !self.part.is_empty() || self.torn {
            self.line(&mut sink);
        }
        self.report(&mut sink);
    }

    fn line(&mut self, sink: &mut impl FnMut(Output)) {
        let (line, cut) = (mem::take(&mut self.part), mem::take(&mut self.cut));
        let torn = mem::take(&mut self.torn);
        match self.allowance.checked_sub(1).filter(|_| !torn) {
            Some(left) => {
                self.allowance = left;
                sink(Output::Line(line, cut));
            }
            None => self.dropped += 1,
        }
    }

    fn refill(&mut self, now: Instant, sink: &mut impl FnMut(Output)) {
        let passed = now.saturating_duration_since(self.refilled);
        let grown = passed.as_millis() * u128::from(LINES_PER_SECOND) / 1000;
        if grown > 0 {
            self.allowance = self.allowance.saturating_add(u32::try_from(grown).unwrap_or(BURST)).min(BURST);
            self.refilled = now;
            self.report(sink);
        }
    }

    fn report(&mut self, sink: &mut impl FnMut(Output)) {
        if self.dropped > 0 {
            sink(Output::Dropped(mem::take(&mut self.dropped)));
        }
    }
}

/// Writes one output of a worker to the log.
pub fn write(origin: &Origin, output: &Output) {
    match output {
        Output::Line(line, cut) => write_line(origin, line, *cut),
        Output::Dropped(lines) => {
            let (worker, generation, stream) = (origin.worker.as_str(), origin.generation.0, origin.stream);
            tracing::warn!(
                worker,
                generation,
                stream,
                "{lines} line{} dropped: more than {LINES_PER_SECOND} a second for {:?} and longer, or {} in {WINDOW:?}",
                if *lines == 1 { "" } else { "s" },
                Duration::from_secs(u64::from(BURST / LINES_PER_SECOND)),
                format_size(BUDGET as u64)
            );
        }
    }
}

fn write_line(origin: &Origin, line: &[u8], cut: u64) {
    let text = decode(line);
    let (level, message, fields) = match structured(&text) {
        Some((level, message, fields)) => (level, Cow::Owned(message), fields),
        None => (Level::INFO, visible(text.trim_end()), Map::new()),
    };
    let merged = (!fields.is_empty()).then(|| Value::Object(fields).to_string());
    if message.is_empty() && merged.is_none() {
        return;
    }
    let (worker, generation, stream) = (origin.worker.as_str(), origin.generation.0, origin.stream);
    let cut_bytes = (cut > 0).then_some(cut);
    // The level of a tracing call must be known at compile time.
    macro_rules! line {
        ($level:expr) => {
            tracing::event!($level, worker, generation, stream, cut_bytes, merged, "{message}")
        };
    }
    match level {
        Level::ERROR => line!(Level::ERROR),
        Level::WARN => line!(Level::WARN),
        Level::INFO => line!(Level::INFO),
        Level::DEBUG => line!(Level::DEBUG),
        Level::TRACE => line!(Level::TRACE),
    }
}

/// A worker's line for people, without its origin: as the log shows it. Empty when there is nothing to see.
#[must_use]
pub fn text(line: &[u8]) -> String {
    let text = decode(line);
    let Some((level, message, fields)) = structured(&text) else {
        return visible(text.trim_end()).into_owned();
    };
    let mut shown = format!("{level} {message}");
    for (name, value) in fields.iter().filter(|(name, _)| *name != "target") {
        shown = shown + " " + name + "=" + &plain(value);
    }
    visible(&shown).into_owned()
}

/// How the names of events begin of which the supervisor alone can tell.
const OURS: [&str; 12] = [
    "worker_",
    "supervisor_",
    "event_",
    "crash_",
    "quarantine_",
    "disk_",
    "marks_",
    "seq_",
    "reload",
    "listening",
    "state_saved",
    "state_restored",
];

/// A line that is a JSON object with a `level`: its level, its message, and its other members, to be merged into the line
/// (see [`super::line::MERGED`]). It cannot pretend to be one of the supervisor's lifecycle lines.
fn structured(text: &str) -> Option<(Level, String, Map<String, Value>)> {
    if !text.starts_with('{') {
        return None;
    }
    let mut object: Map<String, Value> = serde_json::from_str(text).ok()?;
    let level = object.remove("level")?.as_str()?.parse().ok()?;
    if let Some(Value::Object(fields)) = object.remove("fields") {
        object.extend(fields);
    }
    let message = match object.remove("message") {
        Some(Value::String(message)) => message,
        Some(_) | None => String::new(),
    };
    // The origin is known here, and the time is when the line arrived.
    for ours in ["timestamp", "worker", "generation", "pid", "stream"] {
        object.remove(ours);
    }
    let lifecycle = |name: &str| OURS.iter().any(|ours| name.starts_with(ours));
    if object.get("event_name").and_then(Value::as_str).is_none_or(lifecycle) {
        object.remove("event_name");
    }
    Some((level, message, object))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::testing::{json, lines as logged, pretty};

    fn fed(lines: &mut Lines, bytes: &[u8], now: Instant) -> Vec<Output> {
        let mut all = Vec::new();
        lines.feed(bytes, now, |output| all.push(output));
        all
    }

    fn origin() -> Origin {
        Origin { worker: "analytics".into(), generation: Generation(3), stream: "stderr" }
    }

    #[test]
    fn lines_arrive_whole_however_the_bytes_are_cut() {
        let now = Instant::now();
        let mut lines = Lines::new(now);
        assert_eq!(fed(&mut lines, b"one\ntw", now), [Output::Line(b"one".to_vec(), 0)]);
        assert_eq!(
            fed(&mut lines, b"o\n\nrest", now),
            [Output::Line(b"two".to_vec(), 0), Output::Line(vec![], 0)]
        );
        let mut last = Vec::new();
        lines.end(|output| last.push(output));
        assert_eq!(last, [Output::Line(b"rest".to_vec(), 0)]);
    }

    #[test]
    fn a_line_without_end_is_cut_and_takes_no_more_memory() {
        let now = Instant::now();
        let mut lines = Lines::new(now);
        for _ in 0..100 {
            assert_eq!(fed(&mut lines, &[b'x'; 1000], now), []);
            assert!(lines.part.len() <= MAX_LINE);
        }
        let output = fed(&mut lines, b"\nnext\n", now);
        assert_eq!(output[0], Output::Line(vec![b'x'; MAX_LINE], 100_000 - 8192));
        assert_eq!(output[1], Output::Line(b"next".to_vec(), 0));
    }

    #[test]
    fn a_flood_is_dropped_and_counted() {
        let now = Instant::now();
        let mut lines = Lines::new(now);
        let flood = b"x\n".repeat(5_000);
        assert_eq!(fed(&mut lines, &flood, now).len(), 2_000);
        let later = now + Duration::from_millis(10);
        assert_eq!(fed(&mut lines, b"y\n", later), [Output::Dropped(3_000), Output::Line(b"y".to_vec(), 0)]);
    }

    #[test]
    fn of_what_is_skipped_no_part_of_a_line_is_passed_on_and_each_is_counted() {
        let now = Instant::now();
        let mut lines = Lines::new(now);
        assert_eq!(fed(&mut lines, b"whole\nbegun", now), [Output::Line(b"whole".to_vec(), 0)]);
        let mut cut = Vec::new();
        lines.skip(b"x", |output| cut.push(output));
        assert_eq!(fed(&mut lines, b" on", now), []);
        lines.skip(b"\ny\nz", |output| cut.push(output));
        lines.skip(b"", |output| cut.push(output));
        assert_eq!(cut, [Output::Line(b"begun".to_vec(), 4)]);
        let later = now + Duration::from_millis(10);
        let next = [Output::Dropped(1), Output::Line(b"next".to_vec(), 0)];
        assert_eq!(fed(&mut lines, b" ended\nnext\n", later), next);
        lines.skip(b"a\n", |_| unreachable!("it begins among what is skipped"));
        let mut last = Vec::new();
        lines.end(|output| last.push(output));
        assert_eq!(last, [Output::Dropped(2)]);
    }

    #[test]
    fn a_line_is_shown_with_its_origin() {
        let line = pretty(|| write(&origin(), &Output::Line(b"hello \x1b[2J \xff".to_vec(), 0)));
        assert_eq!(line, " INFO analytics gen 3 stderr: hello \\u{1b}[2J \\xff\n");
    }

    #[test]
    fn a_structured_line_keeps_its_level_and_fields() {
        let text = br#"{"timestamp":"x","level":"ERROR","fields":{"message":"lost","series":"a"},"worker":"api","event_name":"worker_died"}"#;
        let line = json(|| write(&origin(), &Output::Line(text.to_vec(), 0)));
        assert_eq!(
            (&line["level"], &line["message"], &line["series"]),
            (&"ERROR".into(), &"lost".into(), &"a".into())
        );
        assert_eq!(line["worker"], "analytics", "its origin cannot be forged");
        for ours in
            ["worker_died", "supervisor_started", "event_quarantined", "crash_report_failed", "seq_gap"]
        {
            let text = format!(r#"{{"level":"ERROR","message":"x","event_name":"{ours}"}}"#).into_bytes();
            let line = json(|| write(&origin(), &Output::Line(text, 0)));
            assert_eq!(line.get("event_name"), None, "{ours}: lifecycle lines are the supervisor's alone");
        }
    }

    #[test]
    fn a_line_of_its_own_is_text_without_its_origin() {
        let line = br#"{"timestamp":"x","level":"ERROR","fields":{"message":"lost\u001b[2J","series":"a"},"target":"t"}"#;
        assert_eq!(text(line), "ERROR lost\\u{1b}[2J series=a");
        assert_eq!(text(b"plain \xff "), "plain \\xff");
        assert_eq!(text(b" "), "");
    }

    #[test]
    fn empty_lines_are_left_out() {
        assert_eq!(logged(|| write(&origin(), &Output::Line(b"  ".to_vec(), 0))), []);
    }
}
