//! The output of workers, logged line by line with its origin. All of it is untrusted: length and rate are bounded,
//! control characters are escaped, and no line can imitate a line of the supervisor.

use super::{
    escape::{decode, escape_controls},
    event_at,
    line::unquoted,
    structured::parse_structured,
};
use crate::display::{format_count, format_size};
use bulkhead_proto::wire::ids::Generation;
use serde_json::{Map, Value};
use std::{
    borrow::Cow,
    mem,
    time::{Duration, Instant},
};
use tracing::Level;

/// Longest line that is logged, in bytes. The rest of a longer line is dropped.
const MAX_LINE: usize = 8 << 10;

/// Lines that may arrive in one burst.
const BURST: u32 = 2_000;

/// Lines per second that are logged in the long run. More lines would make the log unreadable.
const LINES_PER_SECOND: u32 = 500;

/// Bytes of a stream that are processed per [`WINDOW`]. The reader of the stream discards further bytes and passes them
/// to [`LineSplitter::skip`].
pub const BYTES_PER_WINDOW: usize = 1 << 20;

/// See [`BYTES_PER_WINDOW`].
pub const WINDOW: Duration = Duration::from_millis(100);

/// The source of a line.
#[derive(Clone, Debug)]
pub struct OutputOrigin {
    /// The worker's name.
    pub worker: String,
    /// Its generation.
    pub generation: Generation,
    /// `stdout` or `stderr`.
    pub stream: &'static str,
}

/// Splits a stream of bytes into lines, bounded in length and rate.
#[derive(Debug)]
pub struct LineSplitter {
    /// The start of the current line.
    part: Vec<u8>,
    /// Bytes of the current line that are beyond [`MAX_LINE`], or were skipped.
    cut: u64,
    /// Lines that may be logged now (a token bucket).
    allowance: u32,
    refilled: Instant,
    /// Lines dropped since the last [`Output::Dropped`].
    dropped: u64,
    /// The start of the current line was skipped.
    start_skipped: bool,
}

/// A result of splitting a stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// A line, and the number of bytes cut off at its end.
    Line(Vec<u8>, u64),
    /// Number of lines dropped because they came too fast.
    Dropped(u64),
}

impl LineSplitter {
    /// A splitter for a new stream.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { part: Vec::new(), cut: 0, allowance: BURST, refilled: now, dropped: 0, start_skipped: false }
    }

    /// Processes bytes. Passes every line that they complete to `sink`.
    pub fn feed(&mut self, bytes: &[u8], now: Instant, mut sink: impl FnMut(Output)) {
        self.refill(now);
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let (text, complete) = match piece.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (piece, false),
            };
            // After a cut, later bytes of the line are dropped too.
            let room = if self.cut > 0 { 0 } else { MAX_LINE - self.part.len() };
            let fits = &text[..text.len().min(room)];
            self.part.extend_from_slice(fits);
            self.cut += u64::try_from(text.len() - fits.len()).unwrap_or(u64::MAX);
            if complete {
                self.complete_line(&mut sink);
            }
        }
    }

    /// Skips bytes that exceed the rate. Lines that begin in them count as dropped; a line that began before is cut.
    pub fn skip(&mut self, bytes: &[u8], mut sink: impl FnMut(Output)) {
        let mut rest = bytes;
        if !self.part.is_empty() && !self.start_skipped {
            let end = memchr::memchr(b'\n', bytes);
            let cut = end.unwrap_or(bytes.len());
            self.cut = self.cut.saturating_add(u64::try_from(cut).unwrap_or(u64::MAX));
            if end.is_none() {
                return;
            }
            self.complete_line(&mut sink);
            rest = &bytes[cut + 1..];
        }
        let ends = memchr::memchr_iter(b'\n', rest).count();
        self.dropped = self.dropped.saturating_add(u64::try_from(ends).unwrap_or(u64::MAX));
        self.start_skipped = rest.last().map_or(self.start_skipped, |last| *last != b'\n');
    }

    /// Ends the stream: passes the last line without a newline, and the last number of dropped lines, to `sink`.
    pub fn finish(&mut self, mut sink: impl FnMut(Output)) {
        if !self.part.is_empty() || self.start_skipped {
            self.complete_line(&mut sink);
        }
        self.report_dropped(&mut sink);
    }

    fn complete_line(&mut self, sink: &mut impl FnMut(Output)) {
        let (line, cut) = (mem::take(&mut self.part), mem::take(&mut self.cut));
        let start_skipped = mem::take(&mut self.start_skipped);
        match self.allowance.checked_sub(1).filter(|_| !start_skipped) {
            Some(left) => {
                self.allowance = left;
                sink(Output::Line(line, cut));
            }
            None => self.dropped += 1,
        }
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.refilled);
        let grown = passed.as_millis() * u128::from(LINES_PER_SECOND) / 1000;
        if grown > 0 {
            self.allowance = self.allowance.saturating_add(u32::try_from(grown).unwrap_or(BURST)).min(BURST);
            self.refilled = now;
        }
    }

    /// Whether lines were dropped that no [`Output::Dropped`] has counted.
    #[must_use]
    pub const fn has_dropped(&self) -> bool {
        self.dropped > 0
    }

    /// Passes the number of dropped lines to `sink`, if there are any. The caller decides when: not for each piece of a flood.
    pub fn report_dropped(&mut self, mut sink: impl FnMut(Output)) {
        if self.dropped > 0 {
            sink(Output::Dropped(mem::take(&mut self.dropped)));
        }
    }
}

/// Logs one line of a worker, or the number of lines that were dropped.
pub fn write_to_log(origin: &OutputOrigin, output: &Output) {
    match output {
        Output::Line(line, cut) => write_line(origin, line, *cut),
        Output::Dropped(lines) => {
            let (worker, generation, stream) = (origin.worker.as_str(), origin.generation.0, origin.stream);
            tracing::warn!(
                worker,
                generation,
                stream,
                "{} dropped: the output exceeds {LINES_PER_SECOND} lines per second for {:?}, or {} per {WINDOW:?}",
                format_count(*lines, "line"),
                Duration::from_secs(u64::from(BURST / LINES_PER_SECOND)),
                format_size(BYTES_PER_WINDOW as u64)
            );
        }
    }
}

fn write_line(origin: &OutputOrigin, line: &[u8], cut: u64) {
    let text = decode(line);
    let (level, message, fields) = match parse_structured(&text) {
        Some((level, message, fields)) => (level, Cow::Owned(message), fields),
        None => (Level::INFO, escape_controls(text.trim_end()), Map::new()),
    };
    let merged = (!fields.is_empty()).then(|| Value::Object(fields).to_string());
    if message.is_empty() && merged.is_none() {
        return;
    }
    let (worker, generation, stream) = (origin.worker.as_str(), origin.generation.0, origin.stream);
    let cut_bytes = (cut > 0).then_some(cut);
    event_at!(level, worker, generation, stream, cut_bytes, merged, "{message}");
}

/// A worker's line as text for people, without its origin. Empty for a blank line.
#[must_use]
pub fn display_line(line: &[u8]) -> String {
    let text = decode(line);
    let Some((level, message, fields)) = parse_structured(&text) else {
        return escape_controls(text.trim_end()).into_owned();
    };
    let mut shown = format!("{level} {message}");
    for (name, value) in fields.iter().filter(|(name, _)| *name != "target") {
        shown = shown + " " + name + "=" + &unquoted(value);
    }
    escape_controls(&shown).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::test_capture::{capture_json, capture_lines, capture_pretty};

    fn feed(lines: &mut LineSplitter, bytes: &[u8], now: Instant) -> Vec<Output> {
        let mut all = Vec::new();
        lines.feed(bytes, now, |output| all.push(output));
        all
    }

    fn origin() -> OutputOrigin {
        OutputOrigin { worker: "analytics".into(), generation: Generation(3), stream: "stderr" }
    }

    #[test]
    fn lines_are_complete_however_the_bytes_are_split() {
        let now = Instant::now();
        let mut lines = LineSplitter::new(now);
        assert_eq!(feed(&mut lines, b"one\ntw", now), [Output::Line(b"one".to_vec(), 0)]);
        assert_eq!(
            feed(&mut lines, b"o\n\nrest", now),
            [Output::Line(b"two".to_vec(), 0), Output::Line(vec![], 0)]
        );
        let mut last = Vec::new();
        lines.finish(|output| last.push(output));
        assert_eq!(last, [Output::Line(b"rest".to_vec(), 0)]);
    }

    #[test]
    fn a_line_without_end_is_cut_and_its_memory_is_bounded() {
        let now = Instant::now();
        let mut lines = LineSplitter::new(now);
        for _ in 0..100 {
            assert_eq!(feed(&mut lines, &[b'x'; 1000], now), []);
            assert!(lines.part.len() <= MAX_LINE);
        }
        let output = feed(&mut lines, b"\nnext\n", now);
        assert_eq!(output[0], Output::Line(vec![b'x'; MAX_LINE], 100_000 - 8192));
        assert_eq!(output[1], Output::Line(b"next".to_vec(), 0));
    }

    #[test]
    fn a_flood_is_dropped_and_counted() {
        let now = Instant::now();
        let mut lines = LineSplitter::new(now);
        let flood = b"x\n".repeat(5_000);
        assert_eq!(feed(&mut lines, &flood, now).len(), 2_000);
        let later = now + Duration::from_millis(10);
        assert_eq!(feed(&mut lines, b"y\n", later), [Output::Line(b"y".to_vec(), 0)]);
        assert!(lines.has_dropped());
        let mut dropped = Vec::new();
        lines.report_dropped(|output| dropped.push(output));
        assert_eq!((dropped, lines.has_dropped()), (vec![Output::Dropped(3_000)], false));
    }

    #[test]
    fn no_part_of_a_skipped_line_is_logged_and_each_is_counted() {
        let now = Instant::now();
        let mut lines = LineSplitter::new(now);
        assert_eq!(feed(&mut lines, b"whole\nbegun", now), [Output::Line(b"whole".to_vec(), 0)]);
        let mut cut = Vec::new();
        lines.skip(b"x", |output| cut.push(output));
        assert_eq!(feed(&mut lines, b" on", now), []);
        lines.skip(b"\ny\nz", |output| cut.push(output));
        lines.skip(b"", |output| cut.push(output));
        assert_eq!(cut, [Output::Line(b"begun".to_vec(), 4)]);
        let later = now + Duration::from_millis(10);
        let next = [Output::Line(b"next".to_vec(), 0)];
        assert_eq!(feed(&mut lines, b" ended\nnext\n", later), next);
        lines.skip(b"a\n", |_| unreachable!("the line begins in the skipped bytes"));
        let mut last = Vec::new();
        lines.finish(|output| last.push(output));
        assert_eq!(last, [Output::Dropped(3)], "one before and two after \"next\"");
    }

    #[test]
    fn a_line_is_logged_with_its_origin() {
        let line =
            capture_pretty(|| write_to_log(&origin(), &Output::Line(b"hello \x1b[2J \xff".to_vec(), 0)));
        assert_eq!(line, " INFO analytics gen 3 stderr: hello \\u{1b}[2J \\xff\n");
    }

    #[test]
    fn a_structured_line_keeps_its_level_and_fields() {
        let text = br#"{"timestamp":"x","level":"ERROR","fields":{"message":"lost","series":"a"},"worker":"api","event_name":"worker_died"}"#;
        let line = capture_json(|| write_to_log(&origin(), &Output::Line(text.to_vec(), 0)));
        assert_eq!(
            (&line["level"], &line["message"], &line["series"]),
            (&"ERROR".into(), &"lost".into(), &"a".into())
        );
        assert_eq!(line["worker"], "analytics", "a worker cannot forge its origin");
        for reserved in
            ["worker_died", "supervisor_started", "event_quarantined", "crash_report_failed", "seq_gap"]
        {
            let text = format!(r#"{{"level":"ERROR","message":"x","event_name":"{reserved}"}}"#).into_bytes();
            let line = capture_json(|| write_to_log(&origin(), &Output::Line(text, 0)));
            assert_eq!(
                line.get("event_name"),
                None,
                "{reserved}: only the supervisor writes lifecycle lines"
            );
        }
    }

    #[test]
    fn display_line_shows_level_message_and_fields_without_the_origin() {
        let line = br#"{"timestamp":"x","level":"ERROR","fields":{"message":"lost\u001b[2J","series":"a"},"target":"t"}"#;
        assert_eq!(display_line(line), "ERROR lost\\u{1b}[2J series=a");
        assert_eq!(display_line(b"plain \xff "), "plain \\xff");
        assert_eq!(display_line(b" "), "");
    }

    #[test]
    fn blank_lines_are_not_logged() {
        assert_eq!(capture_lines(|| write_to_log(&origin(), &Output::Line(b"  ".to_vec(), 0))), []);
    }
}
