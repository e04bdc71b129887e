//! Events that are not replayed, replayed twice or out of order, or replayed and not counted.

use super::deploy_fixture::{expect_finding_with, last, last_mut};
use crate::{
    deploy_schedule::WrongProgram::{Every, Half, Series},
    records::{LogLine, ReadResult, Stats},
};
use serde_json::json;

#[test]
fn events_that_are_not_replayed_once_in_order_are_found() {
    let what = "events replayed after bad deploys";
    for program in [Half, Series] {
        expect_finding_with(program, what, |records| {
            drop(records.log.remove(last(records, "event_replayed")));
        });
        expect_finding_with(program, what, |records| {
            records.log.push(records.log[last(records, "event_replayed")].clone());
        });
        expect_finding_with(program, what, |records| records.deploys[0].replayed += 1);
        expect_finding_with(program, what, |records| {
            last_mut(records, "event_replayed").fields["seq"] = 11.into();
        });
    }
    // Out of order: in the log, or in the ring.
    expect_finding_with(Series, what, |records| {
        let index = last(records, "event_replayed");
        records.log.swap(index - 1, index);
    });
    expect_finding_with(Series, what, |records| {
        let index = last(records, "event_replayed");
        records.log[index - 1].fields["replayed_as"] = 21.into();
        records.log[index].fields["replayed_as"] = 20.into();
    });
    expect_finding_with(Series, what, |records| {
        last_mut(records, "event_replayed").fields["replayed_as"] = 20.into();
    });
    // Before the right program is active, or although nothing was quarantined.
    for (program, index) in [(Half, 0), (Every, usize::MAX)] {
        expect_finding_with(program, what, |records| {
            let fields = json!({ "event_name": "event_replayed", "seq": 16, "replayed_as": 19 });
            let index = index.min(records.log.len());
            records.log.insert(index, LogLine { at: 350, fields });
        });
    }
}

#[test]
fn events_that_are_replayed_but_not_counted_or_counted_twice_are_found() {
    expect_finding_with(Half, "events answered 2xx", |records| {
        records.series.retain(|series| series.series != "w0-000-15");
    });
    expect_finding_with(Series, "events answered 2xx", |records| {
        let series = records.series.last_mut().unwrap();
        (series.count, series.sum) = (2, Some(3));
    });
    // It was applied, and then replayed.
    expect_finding_with(Half, "series whose count and sum", |records| {
        let series = records.series.iter_mut().find(|series| series.series == "w0-000-15").unwrap();
        (series.count, series.sum) = (2, series.sum.map(|sum| 2 * sum));
    });
}

#[test]
fn totals_and_seqs_without_the_replayed_events_are_found() {
    expect_finding_with(Half, "totals", |records| records.run.stats.accepted -= 1);
    expect_finding_with(Half, "totals", |records| records.run.stats.quarantined -= 1);
    expect_finding_with(Half, "totals", |records| {
        last_mut(records, "event_replayed").fields["replayed_as"] = 20.into();
    });
    expect_finding_with(Half, "seqs in answers", |records| {
        last_mut(records, "event_replayed").fields["replayed_as"] = 18.into();
    });
    // The stats contain the replayed event before it was replayed, or not after it.
    for (at, accepted) in [(339, 19), (361, 13)] {
        expect_finding_with(Half, "stats read", |records| {
            let read = records.reads.last_mut().unwrap();
            read.at = at;
            read.got = ReadResult::Stats(Stats { accepted, analysed: accepted, ..Stats::default() });
        });
    }
}
