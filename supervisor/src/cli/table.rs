//! `bulkhead status` for people: a table that fits 80 columns, a line for each last crash, and one about the link.

use super::output::terminal;
use crate::{
    control::protocol::{Crash, Report, Row},
    core::span,
    display::format_size,
    log::{colours, escape_controls},
};
use bulkhead_proto::wire::status::WorkerState;
use std::{fmt::Write as _, time::Duration};

/// The longest that a name is shown, unless the terminal is wider than an ordinary one.
const NAME_WIDTH: usize = 20;

const HEAD: [&str; 8] = ["NAME", "ROLE", "STATE", "GEN", "PID", "RESTARTS", "UPTIME", "LAST CRASH"];

/// The column of states.
const STATE: usize = 2;

/// The columns that are aligned as numbers are.
const NUMBERS: std::ops::Range<usize> = 3..7;

/// How a table may look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// The longest line, in characters.
    pub(super) width: usize,
    /// Whether states are coloured.
    pub(super) colour: bool,
}

impl Look {
    /// For what is no terminal: as on an ordinary one, without colours.
    pub(super) const PLAIN: Self = Self { width: 80, colour: false };

    /// For stdout.
    pub(super) fn of_stdout() -> Self {
        terminal().map_or(Self::PLAIN, |(width, _)| Self { width, colour: colours(true) })
    }

    fn name_width(self) -> usize {
        NAME_WIDTH.max((NAME_WIDTH + self.width).saturating_sub(Self::PLAIN.width))
    }
}

/// Renders it; several lines, without a final newline.
pub(super) fn render(report: &Report, look: Look) -> String {
    render_at(report, look, jiff::Timestamp::now())
}

pub(super) fn render_at(report: &Report, look: Look, now: jiff::Timestamp) -> String {
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(report.workers.iter().map(|row| cells(row, look)));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 8] = std::array::from_fn(width);
    let states = std::iter::once(None).chain(report.workers.iter().map(|row| Some(row.state)));
    let mut text: String =
        rows.iter().zip(states).map(|(row, state)| line(row, widths, state, look) + "\n").collect();
    for row in &report.workers {
        if let Some(crash) = &row.last_crash {
            text = text + &cut(&told(row, crash, now), look.width) + "\n";
        }
    }
    text + &cut(&link(report), look.width)
}

/// One row. Only the state is coloured, behind the cut: escapes take no room.
fn line(row: &[String; 8], widths: [usize; 8], state: Option<WorkerState>, look: Look) -> String {
    let (mut before, mut behind) = (String::new(), String::new());
    for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
        let part = if column < STATE { &mut before } else { &mut behind };
        // Writing to a String cannot fail.
        let _ = match NUMBERS.contains(&column) {
            true => write!(part, "{cell:>width$}  "),
            false => write!(part, "{cell:<width$}  "),
        };
    }
    let line = cut((before.clone() + &behind).trim_end(), look.width);
    let Some(state) = state.filter(|_| look.colour) else { return line };
    match line.strip_prefix(&before).and_then(|rest| rest.strip_prefix(state.as_str())) {
        Some(rest) => format!("{before}{}{state}\x1b[0m{rest}", colour(state)),
        None => line,
    }
}

/// Green is well, yellow will pass, red needs somebody.
fn colour(state: WorkerState) -> &'static str {
    match state {
        WorkerState::Running => "\x1b[32m",
        WorkerState::Starting | WorkerState::Standby | WorkerState::Stopping | WorkerState::Backoff => {
            "\x1b[33m"
        }
        WorkerState::Parked => "\x1b[1;31m",
        WorkerState::Stopped => "\x1b[2m",
    }
}

fn cells(row: &Row, look: Look) -> [String; 8] {
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    [
        cut(&escape_controls(&row.name), look.name_width()),
        row.role.to_string(),
        row.state.to_string(),
        row.generation.to_string(),
        or_dash(row.pid.map(|pid| pid.to_string())),
        row.restarts.to_string(),
        or_dash(row.uptime_ms.map(|ms| span(Duration::from_millis(ms)))),
        or_dash(row.last_crash.as_ref().map(|crash| crash.cause.to_string())),
    ]
}

/// The column has no room for when it was, and for what matters most.
fn told(row: &Row, crash: &Crash, now: jiff::Timestamp) -> String {
    let since = span(Duration::try_from(now.duration_since(crash.at)).unwrap_or_default());
    let seq = crash.seq.map(|seq| format!(", event {seq} in hand")).unwrap_or_default();
    escape_controls(&format!("crash {} of {} {since} ago{seq}: {}", crash.id, row.name, crash.detail))
        .into_owned()
}

fn link(report: &Report) -> String {
    let link = &report.link;
    let set_aside = if link.quarantined > 0 {
        format!(", {} set aside", grouped(link.quarantined))
    } else {
        String::new()
    };
    let percent = link.ring.used_bytes.saturating_mul(100).checked_div(link.ring.capacity_bytes).unwrap_or(0);
    format!(
        "link: {} accepted, {} analysed, {} pending{set_aside}; ring {percent} % of {}",
        grouped(link.accepted),
        grouped(link.analysed),
        grouped(link.pending),
        format_size(link.ring.capacity_bytes)
    )
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

pub(super) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::control::protocol::{Link, Ring};
    use bulkhead_proto::wire::{
        cause::Cause,
        ids::{CrashId, Generation, Seq},
        role::Role,
    };

    pub(in crate::cli) fn report() -> Report {
        let row = |name: &str, role, crash| Row {
            name: name.to_owned(),
            role,
            state: WorkerState::Running,
            generation: Generation(3),
            pid: Some(4_194_304),
            restarts: 12,
            uptime_ms: Some(5_000),
            rss_bytes: Some(1),
            last_crash: crash,
        };
        let crash = Crash {
            id: CrashId(1),
            cause: Cause::Panic,
            detail: "\"a long message\u{1b}[2J\" at src/some/file.rs:1:2".into(),
            seq: Some(Seq(4711)),
            at: jiff::Timestamp::UNIX_EPOCH,
        };
        Report {
            version: "0".into(),
            pid: 1,
            uptime_ms: 1,
            listen: "127.0.0.1:8080".into(),
            state_dir: "/s".into(),
            faults: false,
            workers: vec![
                row("api", Role::Api, None),
                row("analytics", Role::Analytics, Some(crash)),
                row(&"x".repeat(64), Role::Plain, None),
            ],
            link: Link {
                accepted: 1_234_567,
                analysed: 1_234_500,
                quarantined: 0,
                pending: 67,
                committed_seq: Seq(1),
                ring: Ring { used_bytes: 1 << 20, capacity_bytes: 64 << 20 },
            },
        }
    }

    #[test]
    fn the_table_fits_an_ordinary_terminal_whatever_it_has_to_show() {
        let text = render(&report(), Look::PLAIN);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn a_wider_terminal_shows_more_and_a_narrow_one_is_not_overrun() {
        for width in [40, 80, 120, 200] {
            let text = render(&report(), Look { width, colour: false });
            let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(widest <= width, "{text}");
            assert_eq!(text.contains(&"x".repeat(64)), width >= 200, "{text}");
        }
    }

    #[test]
    fn on_a_terminal_states_are_coloured_and_nothing_else() {
        let coloured = render(&report(), Look { width: 80, colour: true });
        assert_eq!(coloured.matches("\x1b[32mrunning\x1b[0m  ").count(), 3, "{coloured}");
        let plain = coloured.replace("\x1b[32m", "").replace("\x1b[0m", "");
        assert_eq!(plain, render(&report(), Look::PLAIN));
    }

    #[test]
    fn a_last_crash_is_told_on_a_line_of_its_own() {
        let now = jiff::Timestamp::from_second(3).unwrap();
        let text = render_at(&report(), Look::PLAIN, now);
        let crash = text.lines().nth(4).unwrap();
        let told = "crash 1 of analytics 3.0 s ago, event 4711 in hand: \"a long message";
        assert!(crash.starts_with(told), "{text}");
    }

    #[test]
    fn the_last_line_tells_of_the_link() {
        let text = render(&report(), Look::PLAIN);
        assert_eq!(
            text.lines().last().unwrap(),
            "link: 1,234,567 accepted, 1,234,500 analysed, 67 pending; ring 1 % of 64MiB"
        );
    }

    #[test]
    fn what_there_is_not_is_a_dash() {
        let mut report = report();
        report.workers.truncate(1);
        report.workers[0].pid = None;
        report.workers[0].uptime_ms = None;
        let text = render(&report, Look::PLAIN);
        let row: Vec<_> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(row, ["api", "api", "running", "3", "-", "12", "-", "-"]);
    }
}
