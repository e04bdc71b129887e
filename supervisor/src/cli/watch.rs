//! `bulkhead status --watch`: asked once a second, shown when something has changed.

use super::{
    output::{put, terminal},
    table::{self, Look},
};
use crate::control::protocol::Report;
use std::{process::ExitCode, time::Duration};

/// How often the supervisor is asked. Nothing wakes it up for it while nobody watches.
pub(super) const PACE: Duration = Duration::from_secs(1);

/// What was shown last.
#[derive(Default)]
pub(super) struct Watch {
    json: bool,
    shown: Option<Report>,
    /// The height of what is to be drawn over, in lines.
    height: usize,
}

impl Watch {
    pub(super) fn new(json: bool) -> Self {
        Self { json, ..Self::default() }
    }

    /// Shows a report, unless it says nothing new. Says how the command ends when nothing more can be shown.
    pub(super) fn show(&mut self, report: &Report) -> Option<ExitCode> {
        match terminal() {
            Some((width, height)) if !self.json => {
                let table = table::render(report, Look { width, colour: crate::log::colours(true) });
                put(&self.redrawn(&table, height))
            }
            Some(_) | None => {
                let news = timeless(report);
                if self.shown.as_ref() == Some(&news) {
                    return None;
                }
                self.shown = Some(news);
                put(&if self.json {
                    super::output::json(report) + "\n"
                } else {
                    table::render(report, Look::PLAIN) + "\n\n"
                })
            }
        }
    }

    /// The table, over the former one; as much of it as the terminal is high.
    fn redrawn(&mut self, table: &str, height: usize) -> String {
        let lines: Vec<&str> = table.lines().take(height.saturating_sub(1)).collect();
        let up = if self.height > 0 { format!("\x1b[{}F", self.height) } else { String::new() };
        self.height = lines.len();
        let body: String = lines.iter().map(|line| format!("{line}\x1b[K\n")).collect();
        format!("{up}{body}\x1b[J")
    }
}

/// A report without what changes while nothing happens.
fn timeless(report: &Report) -> Report {
    let mut report = report.clone();
    report.uptime_ms = 0;
    for row in &mut report.workers {
        row.uptime_ms = None;
        row.rss_bytes = None;
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::table::tests::report;

    #[test]
    fn what_is_shown_again_is_drawn_over_what_was_there() {
        let mut watch = Watch::new(false);
        assert_eq!(watch.redrawn("a\nb", 24), "a\x1b[K\nb\x1b[K\n\x1b[J");
        assert_eq!(watch.redrawn("c", 24), "\x1b[2Fc\x1b[K\n\x1b[J");
        assert_eq!(watch.redrawn("d", 24), "\x1b[1Fd\x1b[K\n\x1b[J");
    }

    #[test]
    fn what_is_higher_than_the_terminal_is_cut() {
        assert_eq!(Watch::new(false).redrawn("a\nb\nc", 3), "a\x1b[K\nb\x1b[K\n\x1b[J");
    }

    #[test]
    fn the_passing_of_time_is_no_news_and_a_new_process_is() {
        let (before, mut after) = (report(), report());
        after.uptime_ms += 1000;
        after.workers[0].uptime_ms = Some(6000);
        after.workers[0].rss_bytes = Some(2);
        assert_eq!(timeless(&before), timeless(&after));
        after.workers[0].pid = Some(7);
        assert_ne!(timeless(&before), timeless(&after));
    }
}
