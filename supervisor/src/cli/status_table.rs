//! `bulkhead status` for people: a table of the workers, a line for each last crash, and a line for the link. Fits 80
//! columns.

use super::lines::{Style, truncate};
use crate::{
    control::protocol::{SeriesStatus, StatusReport},
    display::{format_duration, format_size, in_flight},
    log::escape_controls,
};
use bulkhead_proto::{
    shm::ring::is_nearly_full,
    wire::{
        series::OVERFLOW_SERIES,
        status::{CrashRow, WorkerState, WorkerStatus},
        time::now_ms,
    },
};
use std::time::Duration;

/// The longest name on a terminal of 80 columns; wider terminals show more.
const NAME_WIDTH: usize = 20;

const HEADER: [&str; 8] = ["NAME", "ROLE", "STATE", "GEN", "PID", "RESTARTS", "UPTIME", "LAST CRASH"];

/// The right-aligned columns.
const NUMERIC_COLUMNS: std::ops::Range<usize> = 3..7;

fn name_width(style: Style) -> usize {
    NAME_WIDTH.max((NAME_WIDTH + style.width).saturating_sub(Style::PLAIN.width))
}

/// Renders several lines, without a final newline.
pub(super) fn render(report: &StatusReport, style: Style) -> String {
    render_at(report, style, now_ms())
}

pub(super) fn render_at(report: &StatusReport, style: Style, now_ms: u64) -> String {
    let mut rows = vec![HEADER.map(str::to_owned)];
    rows.extend(report.workers.iter().map(|row| cells(row, style)));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 8] = std::array::from_fn(width);
    let mut lines: Vec<String> = rows.iter().map(|row| truncate(&align(row, widths), style.width)).collect();
    if style.colour {
        for (line, row) in lines.iter_mut().skip(1).zip(&report.workers) {
            *line = colour_state(line, row.state);
        }
    }
    let crashes = report.workers.iter().filter_map(|row| Some((row, row.last_crash.as_ref()?)));
    lines.extend(crashes.map(|(row, crash)| style.line(&last_crash_line(row, crash, now_ms))));
    let braked = report.workers.iter().filter_map(|row| Some((row, row.brake.as_ref()?)));
    lines.extend(braked.flat_map(|(row, why)| brake_lines(row, why).map(|line| style.line(&line))));
    let isolated = report.workers.iter().flat_map(|row| row.isolated.iter().map(move |series| (row, series)));
    lines.extend(isolated.map(|(row, series)| style.line(&isolated_line(row, series))));
    lines
        .extend(report.outside_group.iter().map(|(worker, &count)| style.line(&outside_line(worker, count))));
    if report.orphans > 0 {
        lines.push(style.line(&orphans_line(report.orphans)));
    }
    lines.push(truncate(&link_line(report), style.width));
    if is_nearly_full(report.link.ring.used_bytes, report.link.ring.capacity_bytes) {
        lines.extend(full_lines(report.link.ring.capacity_bytes).map(|line| style.line(&line)));
    }
    let SeriesStatus { count, max } = report.link.series;
    if count > max {
        lines.extend(merged_lines(max).map(|line| style.line(&line)));
    }
    lines.join("\n")
}

/// One row of the table.
fn align(row: &[String; 8], widths: [usize; 8]) -> String {
    let aligned = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
        match NUMERIC_COLUMNS.contains(&column) {
            true => format!("{cell:>width$}"),
            false => format!("{cell:<width$}"),
        }
    });
    aligned.collect::<Vec<_>>().join("  ").trim_end().to_owned()
}

/// Colours the state in a row, if it is visible. Called after the row is truncated, because escape sequences have no width.
/// The first column that follows two spaces and is a state is the column STATE.
fn colour_state(line: &str, state: WorkerState) -> String {
    line.replacen(&format!("  {state}"), &format!("  {}{state}\x1b[0m", state_colour(state)), 1)
}

/// Green: running. Yellow: temporary. Red: needs the operator.
fn state_colour(state: WorkerState) -> &'static str {
    match state {
        WorkerState::Running => "\x1b[32m",
        WorkerState::Starting | WorkerState::Standby | WorkerState::Stopping | WorkerState::Backoff => {
            "\x1b[33m"
        }
        WorkerState::Parked => "\x1b[1;31m",
        WorkerState::Stopped => "\x1b[2m",
    }
}

fn cells(row: &WorkerStatus, style: Style) -> [String; 8] {
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    [
        truncate(&escape_controls(&row.name), name_width(style)),
        row.role.to_string(),
        row.state.to_string(),
        row.generation.to_string(),
        or_dash(row.pid.map(|pid| pid.to_string())),
        row.restarts.to_string(),
        or_dash(row.uptime_ms.map(|ms| format_duration(Duration::from_millis(ms)))),
        or_dash(row.last_crash.as_ref().map(|crash| crash.cause.to_string())),
    ]
}

/// Details that do not fit the column LAST CRASH.
fn last_crash_line(row: &WorkerStatus, crash: &CrashRow, now_ms: u64) -> String {
    let since = format_duration(Duration::from_millis(now_ms.saturating_sub(crash.at_ms)));
    let in_flight = in_flight(crash.seq);
    format!("crash {} of {} {since} ago{in_flight}: {}", crash.id, row.name, crash.detail)
}

/// Why the brake parked a worker, and the way back.
fn brake_lines(row: &WorkerStatus, why: &str) -> [String; 2] {
    let way_back = format!("correct the program of {0}, then run `bulkhead start {0}`", row.name);
    [format!("brake of {}: {why}", row.name), way_back]
}

fn isolated_line(row: &WorkerStatus, series: &str) -> String {
    format!("series {series} is isolated: its events go to quarantine until `bulkhead restart {}`", row.name)
}

fn outside_line(worker: &str, count: u32) -> String {
    format!("{} outside of the process group of {worker}; ended when it stops", processes(count))
}

fn orphans_line(count: u32) -> String {
    format!("{} left behind by a worker; killed when the supervisor stops", processes(count))
}

fn processes(count: u32) -> String {
    if count == 1 { "1 process is".to_owned() } else { format!("{count} processes are") }
}

/// What it means that there is no room for further series, and the key to change.
fn merged_lines(max: u32) -> [String; 2] {
    [
        format!("there are {max} series: events of further ones count in {OVERFLOW_SERIES}"),
        "remove series, or raise analytics.max_series and restart the service".to_owned(),
    ]
}

/// What a nearly full ring means, and the key to change.
fn full_lines(capacity_bytes: u64) -> [String; 2] {
    let key = format!(
        "link.capacity ({}) sets how much is accepted while the analysis is away",
        format_size(capacity_bytes)
    );
    ["the ring is nearly full: requests whose events do not fit get 503".to_owned(), key]
}

fn link_line(report: &StatusReport) -> String {
    let link = &report.link;
    let quarantined = if link.quarantined > 0 {
        format!(", {} quarantined", group_digits(link.quarantined))
    } else {
        String::new()
    };
    let percent = link.ring.used_bytes.saturating_mul(100).checked_div(link.ring.capacity_bytes).unwrap_or(0);
    format!(
        "link: {} accepted, {} analysed, {} pending{quarantined}; ring {percent}% of {} used",
        group_digits(link.accepted),
        group_digits(link.analysed),
        group_digits(link.pending),
        format_size(link.ring.capacity_bytes)
    )
}

/// `1234567` as `1,234,567`.
fn group_digits(number: u64) -> String {
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::control::protocol::{LinkStatus, RingStatus};
    use bulkhead_proto::wire::{
        cause::Cause,
        ids::{CrashId, Generation, Seq},
        role::Role,
    };
    use std::collections::BTreeMap;

    pub(in crate::cli) fn report() -> StatusReport {
        let row = |name: &str, role, crash| WorkerStatus {
            name: name.to_owned(),
            role,
            state: WorkerState::Running,
            generation: Generation(3),
            pid: Some(4_194_304),
            restarts: 12,
            uptime_ms: Some(5_000),
            rss_bytes: Some(1),
            last_crash: crash,
            brake: None,
            isolated: Vec::new(),
        };
        let crash = CrashRow {
            id: CrashId(1),
            cause: Cause::Panic,
            detail: "\"a long message\u{1b}[2J\" at src/some/file.rs:1:2".into(),
            seq: Some(Seq(4711)),
            at_ms: 0,
        };
        StatusReport {
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
            outside_group: BTreeMap::new(),
            orphans: 0,
            link: LinkStatus {
                accepted: 1_234_567,
                analysed: 1_234_500,
                quarantined: 0,
                pending: 67,
                committed_seq: Seq(1),
                ring: RingStatus { used_bytes: 1 << 20, capacity_bytes: 64 << 20 },
                series: SeriesStatus { count: 9, max: 4096 },
            },
        }
    }

    #[test]
    fn the_table_fits_80_columns() {
        let text = render(&report(), Style::PLAIN);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn the_table_uses_the_width_of_the_terminal() {
        for width in [40, 80, 120, 200] {
            let text = render(&report(), Style { width, colour: false });
            let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(widest <= width, "{text}");
            assert_eq!(text.contains(&"x".repeat(64)), width >= 200, "{text}");
        }
    }

    #[test]
    fn only_states_are_coloured_on_a_terminal() {
        let coloured = render(&report(), Style { width: 80, colour: true });
        assert_eq!(coloured.matches("\x1b[32mrunning\x1b[0m  ").count(), 3, "{coloured}");
        let plain = coloured.replace("\x1b[32m", "").replace("\x1b[0m", "");
        assert_eq!(plain, render(&report(), Style::PLAIN));
    }

    #[test]
    fn each_last_crash_has_its_own_line() {
        let text = render_at(&report(), Style::PLAIN, 3_000);
        let crash = text.lines().nth(4).unwrap();
        let expected = "crash 1 of analytics 3.0 s ago, event 4711 in flight: \"a long message";
        assert!(crash.starts_with(expected), "{text}");
    }

    #[test]
    fn an_engaged_brake_has_its_reason_and_the_way_back() {
        let mut report = report();
        report.workers[1].brake = Some("8 events in a row failed".into());
        let text = render(&report, Style::PLAIN);
        let expected = "\nbrake of analytics: 8 events in a row failed\n\
                        correct the program of analytics, then run `bulkhead start analytics`\n";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn processes_outside_of_their_group_are_counted_on_lines_of_their_own() {
        let mut report = report();
        report.outside_group = [("collector".to_owned(), 2)].into();
        report.orphans = 1;
        let text = render(&report, Style::PLAIN);
        let expected = "\n2 processes are outside of the process group of collector; ended when it stops\n\
                        1 process is left behind by a worker; killed when the supervisor stops\nlink: ";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn merged_series_are_said_with_the_key_to_change() {
        let mut report = report();
        report.link.series.count = 4096;
        assert!(!render(&report, Style::PLAIN).contains("max_series"));
        report.link.series.count = 4097;
        let text = render(&report, Style::PLAIN);
        let expected = "\nthere are 4096 series: events of further ones count in __overflow__\n\
                        remove series, or raise analytics.max_series and restart the service";
        assert!(text.ends_with(expected), "{text}");
    }

    #[test]
    fn a_nearly_full_ring_is_said_with_the_key_to_change() {
        let mut report = report();
        report.link.ring.used_bytes = 55 << 20;
        assert!(!render(&report, Style::PLAIN).contains("link.capacity"));
        report.link.ring.used_bytes = 56 << 20;
        let text = render(&report, Style::PLAIN);
        let expected = "ring 87% of 64MiB used\n\
                        the ring is nearly full: requests whose events do not fit get 503\n\
                        link.capacity (64MiB) sets how much is accepted while the analysis is away";
        assert!(text.ends_with(expected), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn the_last_line_describes_the_link() {
        let text = render(&report(), Style::PLAIN);
        assert_eq!(
            text.lines().last().unwrap(),
            "link: 1,234,567 accepted, 1,234,500 analysed, 67 pending; ring 1% of 64MiB used"
        );
    }

    #[test]
    fn a_missing_value_is_a_dash() {
        let mut report = report();
        report.workers.truncate(1);
        report.workers[0].pid = None;
        report.workers[0].uptime_ms = None;
        let text = render(&report, Style::PLAIN);
        let row: Vec<_> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(row, ["api", "api", "running", "3", "-", "12", "-", "-"]);
    }
}
