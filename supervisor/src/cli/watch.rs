//! `bulkhead status --watch`: polls once a second and shows changes.

use super::{
    lines::Style,
    output::{terminal_size, write_stdout},
    status_table,
};
use crate::control::protocol::StatusReport;
use std::{process::ExitCode, time::Duration};

/// How often the supervisor is polled. Between polls, the supervisor does no work for a watcher.
pub(super) const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The state of the output.
#[derive(Default)]
pub(super) struct Watch {
    json: bool,
    shown: Option<StatusReport>,
    /// The number of lines to overwrite.
    height: usize,
}

impl Watch {
    pub(super) fn new(json: bool) -> Self {
        Self { json, ..Self::default() }
    }

    /// Shows a report if it changed. Returns the exit code if output is no longer possible.
    pub(super) fn update(&mut self, report: &StatusReport) -> Option<ExitCode> {
        match terminal_size() {
            Some((_, height)) if !self.json => {
                let table = status_table::render(report, Style::for_stdout());
                write_stdout(&self.redraw(&table, height))
            }
            Some(_) | None => {
                let current = ignoring_time(report);
                if self.shown.as_ref() == Some(&current) {
                    return None;
                }
                self.shown = Some(current);
                write_stdout(&if self.json {
                    super::output::json_line(report) + "\n"
                } else {
                    status_table::render(report, Style::PLAIN) + "\n\n"
                })
            }
        }
    }

    /// The table, with escape sequences that overwrite the previous table. Truncated to the height of the terminal.
    fn redraw(&mut self, table: &str, height: usize) -> String {
        let lines: Vec<&str> = table.lines().take(height.saturating_sub(1)).collect();
        let up = if self.height > 0 { format!("\x1b[{}F", self.height) } else { String::new() };
        self.height = lines.len();
        let body: String = lines.iter().map(|line| format!("{line}\x1b[K\n")).collect();
        format!("{up}{body}\x1b[J")
    }
}

/// The report without values that change while nothing happens.
fn ignoring_time(report: &StatusReport) -> StatusReport {
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
    use crate::cli::status_table::tests::report;

    #[test]
    fn a_redraw_overwrites_the_last_table() {
        let mut watch = Watch::new(false);
        assert_eq!(watch.redraw("a\nb", 24), "a\x1b[K\nb\x1b[K\n\x1b[J");
        assert_eq!(watch.redraw("c", 24), "\x1b[2Fc\x1b[K\n\x1b[J");
        assert_eq!(watch.redraw("d", 24), "\x1b[1Fd\x1b[K\n\x1b[J");
    }

    #[test]
    fn a_table_is_truncated_to_the_height_of_the_terminal() {
        assert_eq!(Watch::new(false).redraw("a\nb\nc", 3), "a\x1b[K\nb\x1b[K\n\x1b[J");
    }

    #[test]
    fn a_new_pid_is_a_change_and_a_new_uptime_is_not() {
        let (before, mut after) = (report(), report());
        after.uptime_ms += 1000;
        after.workers[0].uptime_ms = Some(6000);
        after.workers[0].rss_bytes = Some(2);
        assert_eq!(ignoring_time(&before), ignoring_time(&after));
        after.workers[0].pid = Some(7);
        assert_ne!(ignoring_time(&before), ignoring_time(&after));
    }
}
