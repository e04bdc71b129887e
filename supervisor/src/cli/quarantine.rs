//! Events that were set aside, for people.

use super::{
    crashes::{deaths, told},
    table::{Look, cut},
};
use crate::log::escape_controls;
use bulkhead_proto::wire::quarantine::Entry;

/// A line for each.
pub(super) fn list(entries: &[Entry], look: Look) -> String {
    if entries.is_empty() {
        return "no event is set aside".to_owned();
    }
    entries.iter().map(|entry| cut(&escape_controls(&line(entry)), look.width)).collect::<Vec<_>>().join("\n")
}

fn line(entry: &Entry) -> String {
    let Entry { seq, at, attempts, cause, detail, .. } = entry;
    let series = entry.event.as_ref().map_or("(not an event)", |event| &event.series);
    format!("{seq}  {at}  {series}  {}, {cause}: {detail}", deaths(*attempts))
}

/// All of one.
pub(super) fn show(entry: &Entry) -> String {
    let Entry { seq, at, worker, generation, crash, cause, detail, during, attempts, .. } = entry;
    let mut lines = vec![
        format!("event {seq}, set aside {at} after {} of {worker}", deaths(*attempts)),
        format!("last death: crash {crash}, generation {generation}, during {during}: {cause}: {detail}"),
    ];
    match &entry.event {
        None => lines.push("its bytes are no event".to_owned()),
        Some(event) => lines.push(told(event)),
    }
    lines.iter().map(|line| escape_controls(line).into_owned()).collect::<Vec<_>>().join("\n")
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
    fn a_list_has_a_line_for_each_without_control_characters() {
        assert_eq!(list(&[], Look::PLAIN), "no event is set aside");
        let list = list(&[entry(), entry()], Look::PLAIN);
        assert_eq!(list.lines().count(), 2);
        assert!(!list.contains('\u{1b}') && list.contains("2 deaths, signal: SIGSEGV"), "{list}");
    }

    #[test]
    fn one_is_shown_with_all_that_is_known_of_it() {
        let shown = show(&entry());
        for part in
            ["event 4711", "crash 3, generation 7, during apply: signal: SIGSEGV", "label tea", "request r-1"]
        {
            assert!(shown.contains(part), "{part}: {shown}");
        }
    }
}
