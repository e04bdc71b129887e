//! The last output lines of a worker, of both streams, for its crash report.

use crate::log::worker_output::{Output, display_line};
use bulkhead_proto::wire::{
    crash::{MAX_LINE, MAX_LINES, OutputLine},
    text::cut,
};
use std::collections::VecDeque;

/// The end of a line that was cut.
const ELLIPSIS: &str = "…";

/// The lines; at most 50 KiB.
#[derive(Debug, Default)]
pub(in crate::runtime) struct OutputTail {
    lines: VecDeque<OutputLine>,
    dropped: u64,
}

impl OutputTail {
    /// Keeps what was given to the log.
    pub(in crate::runtime) fn keep(&mut self, stream: &str, output: &Output) {
        let text = match output {
            Output::Dropped(lines) => {
                self.dropped = self.dropped.saturating_add(*lines);
                return;
            }
            Output::Line(line, 0) => display_line(line),
            Output::Line(line, _) => display_line(line) + ELLIPSIS,
        };
        if text.is_empty() {
            return;
        }
        if self.lines.len() == MAX_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(OutputLine { stream: stream.to_owned(), text: bounded(text) });
    }

    /// The lines in order, and the number of dropped lines.
    pub(in crate::runtime) fn into_lines(self) -> (Vec<OutputLine>, u64) {
        (self.lines.into(), self.dropped)
    }
}

fn bounded(text: String) -> String {
    if text.len() <= MAX_LINE { text } else { cut(&text, MAX_LINE - ELLIPSIS.len()).to_owned() + ELLIPSIS }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &[u8]) -> Output {
        Output::Line(text.to_vec(), 0)
    }

    #[test]
    fn the_last_lines_of_both_streams_are_kept_in_order_and_dropped_lines_are_counted() {
        let mut output_tail = OutputTail::default();
        for number in 0..60 {
            let stream = if number % 2 == 0 { "stdout" } else { "stderr" };
            output_tail.keep(stream, &line(number.to_string().as_bytes()));
        }
        output_tail.keep("stderr", &line(b" "));
        output_tail.keep("stderr", &Output::Dropped(7));
        let (lines, dropped) = output_tail.into_lines();
        let texts: Vec<_> = lines.iter().map(|line| line.text.parse::<u32>().unwrap()).collect();
        assert_eq!((texts, dropped), ((10..60).collect(), 7));
        assert_eq!((lines[0].stream.as_str(), lines[1].stream.as_str()), ("stdout", "stderr"));
    }

    #[test]
    fn a_long_line_is_cut_at_a_character_boundary_and_marked() {
        let mut output_tail = OutputTail::default();
        output_tail.keep("stdout", &line("ä".repeat(4000).as_bytes()));
        output_tail.keep("stdout", &Output::Line(b"short".to_vec(), 1));
        let (lines, _) = output_tail.into_lines();
        assert!(lines[0].text.len() <= MAX_LINE && lines[0].text.ends_with("ä…"), "{:?}", lines[0]);
        assert_eq!(lines[1].text, "short…");
    }

    #[test]
    fn control_characters_are_escaped() {
        let mut output_tail = OutputTail::default();
        output_tail.keep("stderr", &line(b"\x1b[2J\xff"));
        assert_eq!(output_tail.into_lines().0[0].text, "\\u{1b}[2J\\xff");
    }
}
