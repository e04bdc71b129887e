//! The last lines that a worker wrote, of both its streams, for its crash report.

use crate::log::worker_output::{Output, display_line};
use bulkhead_proto::{
    control::cut,
    crash::{Line, MAX_LINE, MAX_LINES},
};
use std::collections::VecDeque;

/// What stands at the end of a line that was cut.
const MORE: &str = "…";

/// They take at most 50 KiB.
#[derive(Debug, Default)]
pub(super) struct Tail {
    lines: VecDeque<Line>,
    dropped: u64,
}

impl Tail {
    /// Keeps what the log was given.
    pub(super) fn keep(&mut self, stream: &str, output: &Output) {
        let text = match output {
            Output::Dropped(lines) => {
                self.dropped = self.dropped.saturating_add(*lines);
                return;
            }
            Output::Line(line, 0) => display_line(line),
            Output::Line(line, _) => display_line(line) + MORE,
        };
        if text.is_empty() {
            return;
        }
        if self.lines.len() == MAX_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(Line { stream: stream.to_owned(), text: bounded(text) });
    }

    /// The lines in the order in which they came, and how many others were dropped.
    pub(super) fn into_lines(self) -> (Vec<Line>, u64) {
        (self.lines.into(), self.dropped)
    }
}

fn bounded(text: String) -> String {
    if text.len() <= MAX_LINE { text } else { cut(&text, MAX_LINE - MORE.len()).to_owned() + MORE }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &[u8]) -> Output {
        Output::Line(text.to_vec(), 0)
    }

    #[test]
    fn the_last_lines_of_both_streams_are_kept_in_order_and_the_dropped_ones_counted() {
        let mut tail = Tail::default();
        for number in 0..60 {
            let stream = if number % 2 == 0 { "stdout" } else { "stderr" };
            tail.keep(stream, &line(number.to_string().as_bytes()));
        }
        tail.keep("stderr", &line(b" "));
        tail.keep("stderr", &Output::Dropped(7));
        let (lines, dropped) = tail.into_lines();
        let texts: Vec<_> = lines.iter().map(|line| line.text.parse::<u32>().unwrap()).collect();
        assert_eq!((texts, dropped), ((10..60).collect(), 7));
        assert_eq!((lines[0].stream.as_str(), lines[1].stream.as_str()), ("stdout", "stderr"));
    }

    #[test]
    fn a_long_line_is_cut_at_a_character_and_says_so() {
        let mut tail = Tail::default();
        tail.keep("stdout", &line("ä".repeat(4000).as_bytes()));
        tail.keep("stdout", &Output::Line(b"short".to_vec(), 1));
        let (lines, _) = tail.into_lines();
        assert!(lines[0].text.len() <= MAX_LINE && lines[0].text.ends_with("ä…"), "{:?}", lines[0]);
        assert_eq!(lines[1].text, "short…");
    }

    #[test]
    fn what_could_trouble_a_terminal_is_shown_and_not_kept() {
        let mut tail = Tail::default();
        tail.keep("stderr", &line(b"\x1b[2J\xff"));
        assert_eq!(tail.into_lines().0[0].text, "\\u{1b}[2J\\xff");
    }
}
