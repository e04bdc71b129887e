//! Renders quarantined events for people.

use super::lines::{Style, escape_lines};
use crate::display::format_count;
use bulkhead_proto::wire::quarantine::Entry;

/// One line per event.
pub(super) fn list(entries: &[Entry], style: Style) -> String {
    if entries.is_empty() {
        return "no quarantined events".to_owned();
    }
    entries.iter().map(|entry| style.line(&line(entry))).collect::<Vec<_>>().join("\n")
}

fn line(entry: &Entry) -> String {
    let Entry { seq, at, attempts, cause, detail, .. } = entry;
    let series = entry.event.as_ref().map_or("(undecodable)", |event| &event.series);
    format!("{seq}  {at}  {series}  {}, {cause}: {detail}", format_count(*attempts, "death"))
}

/// All details of one event.
pub(super) fn show(entry: &Entry) -> String {
    let Entry { seq, at, worker, generation, crash, cause, detail, during, attempts, event, .. } = entry;
    let undecodable = || "the stored bytes cannot be decoded as an event; it can only be dropped".to_owned();
    escape_lines([
        format!("event {seq}, quarantined {at} after {} of {worker}", format_count(*attempts, "death")),
        format!("last death: crash {crash}, generation {generation}, during {during}: {cause}: {detail}"),
        event.as_ref().map_or_else(undecodable, ToString::to_string),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::crashes;
    use bulkhead_proto::wire::{
        cause::{Cause, Operation},
        ids::{CrashId, Generation, Seq},
        quarantine::EventView,
    };

    fn entry() -> Entry {
        Entry {
            seq: Seq(4711),
            at: "2026-11-22T20:00:00Z".into(),
            worker: "analytics".into(),
            generation: Generation(7),
            crash: CrashId(3),
            cause: Cause::Signal,
            detail: "SIGSEGV".into(),
            during: Operation::Apply,
            attempts: 2,
            event: Some(EventView { series: "orders\u{1b}[2J".into(), ..crashes::tests::event() }),
            bytes: "00".into(),
        }
    }

    #[test]
    fn the_list_has_one_line_per_event_without_control_characters() {
        assert_eq!(list(&[], Style::PLAIN), "no quarantined events");
        let list = list(&[entry(), entry()], Style::PLAIN);
        assert_eq!(list.lines().count(), 2);
        assert!(!list.contains('\u{1b}') && list.contains("2 deaths, signal: SIGSEGV"), "{list}");
    }

    #[test]
    fn an_event_is_shown_with_all_details() {
        let shown = show(&entry());
        for part in
            ["event 4711", "crash 3, generation 7, during apply: signal: SIGSEGV", "label tea", "request r-1"]
        {
            assert!(shown.contains(part), "{part}: {shown}");
        }
    }
}
