//! Renders crash reports for people.

use super::lines::{Style, escape_lines};
use crate::display::{self, format_size};
use bulkhead_proto::wire::{
    crash::{FatalSignal, Panic, Report},
    record_store::Page,
};
use std::time::Duration;

/// The newest reports, one line each.
pub(super) fn list(page: &Page<Report>, style: Style) -> String {
    if page.items.is_empty() {
        return "no crash reports".to_owned();
    }
    let mut lines: Vec<_> = page.items.iter().map(|report| style.line(&line(report))).collect();
    if page.next.is_some() {
        lines.push("there are older reports: -n N lists more, --worker and --cause select some".to_owned());
    }
    lines.join("\n")
}

fn line(report: &Report) -> String {
    let Report { id, at, worker, generation, cause, detail, seq, .. } = report;
    let in_flight = display::in_flight(*seq);
    format!("{id}  {at}  {worker} gen {generation}  {cause}{in_flight}: {detail}")
}

/// One complete report, each fact once.
pub(super) fn show(report: &Report) -> String {
    let Report { id, at, worker, generation, cause, detail, decision, why, .. } = report;
    let role = report.role.to_string();
    let role = if role == *worker { String::new() } else { format!(" ({role})") };
    let pid = report.pid.map(|pid| format!(" pid {pid}")).unwrap_or_default();
    let mut lines = vec![
        format!("crash {id}: {worker}{role} gen {generation}{pid}"),
        format!("time:      {at}, uptime {}", format_ms(report.uptime_ms)),
        format!("cause:     {cause}: {detail}"),
    ];
    lines.extend(exit_details(report).map(|exit| format!("status:    {exit}")));
    lines.extend(panic(report).map(|panic| format!("panic:     {panic}")));
    lines.extend(in_flight(report).map(|event| format!("in flight: {event}")));
    lines.extend(report.event.as_ref().map(|event| format!("event:     {event}")));
    lines.push(format!("decision:  {decision}: {why}"));
    lines.extend(report.resources.map(|used| {
        let (resident, user, system) =
            (format_size(used.peak_rss_bytes), format_ms(used.user_ms), format_ms(used.system_ms));
        format!("resources: peak RSS {resident}, CPU time {user} user, {system} system")
    }));
    push_section(&mut lines, "thread dump", &report.thread_dump);
    push_section(&mut lines, "backtrace", &report.backtrace);
    let output: Vec<_> = report.output.iter().map(|line| format!("{}: {}", line.stream, line.text)).collect();
    push_section(&mut lines, "last output", &output);
    if report.output_dropped > 0 {
        lines.push(format!("  ({} lines were dropped: output was too fast)", report.output_dropped));
    }
    escape_lines(lines)
}

fn push_section(text: &mut Vec<String>, name: &str, lines: &[String]) {
    if !lines.is_empty() {
        text.push(format!("{name}:"));
        text.extend(lines.iter().map(|line| format!("  {line}")));
    }
}

/// How the process ended, without what the detail already contains.
fn exit_details(report: &Report) -> Option<String> {
    let mut parts: Vec<_> = report.exit_code.map(|code| format!("exit code {code}")).into_iter().collect();
    if let Some(FatalSignal { number, name, code, address, core }) = &report.signal {
        parts.push(name.clone().unwrap_or_else(|| format!("signal {number}")));
        parts.extend(code.clone());
        parts.extend(address.as_ref().map(|address| format!("address {address}")));
        parts.extend(core.then(|| "core dumped".to_owned()));
    }
    parts.retain(|part| !report.detail.contains(part));
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// The panic, unless the detail contains it completely.
fn panic(report: &Report) -> Option<String> {
    let Panic { message, location, thread } = report.panic.as_ref()?;
    let in_detail = report.detail.contains(&format!("{message:?} at {location}, thread {thread}"));
    (!in_detail).then(|| format!("{message} at {location}, thread {thread}"))
}

/// The event in flight. The number of attempts is part of the decision.
fn in_flight(report: &Report) -> Option<String> {
    let during = report.during?;
    let Some(seq) = report.seq else { return Some(format!("several events, during {during}")) };
    let charged = if report.attempts.is_some() { "" } else { ", this death does not count as an attempt" };
    Some(format!("event {seq}, during {during}{charged}"))
}

fn format_ms(ms: u64) -> String {
    display::format_duration(Duration::from_millis(ms))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use bulkhead_proto::wire::{
        cause::{Cause, Operation},
        crash::{OutputLine, Resources},
        ids::{CrashId, Generation, Seq},
        quarantine::EventView,
        role::Role,
    };

    pub(in crate::cli) fn event() -> EventView {
        EventView {
            series: "orders".into(),
            removal: false,
            value: Some(1.5),
            ts: "2026-11-22T19:59:59.000Z".into(),
            arrived: "2026-11-22T19:59:59.000Z".into(),
            label: Some("tea".into()),
            data: None,
            data_bytes: None,
            request_id: Some("r-1".into()),
        }
    }

    pub(in crate::cli) fn report(id: u64) -> Report {
        Report {
            id: CrashId(id),
            at: "2026-11-22T20:00:00.000Z".into(),
            worker: "analytics".into(),
            role: Role::Analytics,
            generation: Generation(7),
            pid: Some(4711),
            uptime_ms: 1234,
            cause: Cause::Panic,
            detail: "\"no\\u{1b}[2J\" at src/x.rs:1:2, thread main".into(),
            panic: Some(Panic {
                message: "no\u{1b}[2J".into(),
                location: "src/x.rs:1:2".into(),
                thread: "main".into(),
            }),
            exit_code: Some(101),
            signal: None,
            seq: Some(Seq(42)),
            during: Some(Operation::Apply),
            event: Some(event()),
            request_id: Some("r-1".into()),
            attempts: Some(1),
            max_attempts: Some(2),
            decision: "restart now".into(),
            why: "event 42 was tried 1 of 2 times: to be tried again; first death without progress".into(),
            resources: Some(Resources { peak_rss_bytes: 5 << 20, user_ms: 12, system_ms: 3 }),
            output: vec![OutputLine {
                stream: "stderr".into(),
                text: "ERROR panicked at src/x.rs:1:2: no".into(),
            }],
            output_dropped: 3,
            thread_dump: Vec::new(),
            backtrace: vec!["analysis::apply at src/x.rs:1".into(), "0x1234".into()],
        }
    }

    #[test]
    fn the_list_has_one_line_per_report_and_points_to_older_ones() {
        assert_eq!(list(&Page { items: vec![], next: None }, Style::PLAIN), "no crash reports");
        let page = Page { items: vec![report(9), report(8)], next: Some(CrashId(8)) };
        let list = list(&page, Style::PLAIN);
        assert_eq!(list.lines().count(), 3, "{list}");
        assert!(list.lines().all(|line| line.chars().count() <= 80), "{list}");
        assert!(
            list.starts_with("9  2026-11-22T20:00:00.000Z  analytics gen 7  panic, event 42 in flight"),
            "{list}"
        );
        assert!(list.lines().last().unwrap().contains("older reports"), "{list}");
    }

    #[test]
    fn control_characters_in_a_report_are_escaped() {
        assert!(!show(&report(9)).contains('\u{1b}'));
    }

    #[test]
    fn a_panic_longer_than_the_detail_is_shown_separately() {
        let message = "no\n".repeat(300);
        let panic =
            Panic { message: message.clone(), location: "src/x.rs:1:2".into(), thread: "main".into() };
        let detail = format!("{:?}", &message[..200]);
        let shown = show(&Report { detail, panic: Some(panic), ..report(9) });
        assert!(shown.contains("\npanic:     no\\nno\\n"), "{shown}");
    }

    #[test]
    fn a_signal_is_shown_with_code_and_address() {
        let cause = Cause::Signal;
        let (name, code, address) = (Some("SIGSEGV".into()), Some("SEGV_MAPERR".into()), Some("0x8".into()));
        let signal = Some(FatalSignal { number: 11, name, code, address, core: false });
        let report =
            Report { cause, detail: "SIGSEGV".into(), exit_code: None, signal, panic: None, ..report(9) };
        let shown = show(&report);
        assert!(shown.contains("signal: SIGSEGV\nstatus:    SEGV_MAPERR, address 0x8\n"), "{shown}");
    }
}
