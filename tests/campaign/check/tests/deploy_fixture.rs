//! Valid records with a bad deploy.

use super::{
    fault_fixture::remove_shutdown,
    fixture::{death_line, expect_finding, findings_after, log_line, shutdown_lines, start_lines},
};
use crate::{
    deploy_schedule::{WrongProgram, series_writer},
    records::{Answer, Deploy, LogLine, Read, ReadResult, Records, Request, Stats},
};
use bulkhead_proto::wire::quarantine::Entry;
use bulkhead_tests::event_id::{EventId, SeriesTotals};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The seqs of the events that are posted during the deploy. At two of them the program fails until they are stored.
pub(super) const SEQS: [u64; 3] = [16, 17, 18];

pub(super) const REPLACED: [&str; 2] = ["requested", "its settings changed; exit code 0"];
pub(super) const PANIC: [&str; 2] = ["panic", r#""the program is wrong" at x.rs:1:2, thread main"#];
const TOO_LARGE: [&str; 2] =
    ["exit", r#"exit code 1: series "s" does not fit its slot: key 1, state 9 bytes"#];

/// The log while it is written.
struct Writer<'a> {
    records: &'a mut Records,
    generation: u64,
    crash: u64,
    how: [&'static str; 2],
}

impl Writer<'_> {
    fn event(&mut self, level: &str, event: &str, fields: Value) {
        let mut line = log_line(320, event, "analytics", self.generation);
        line.fields["level"] = level.into();
        let Value::Object(fields) = fields else { panic!("no fields: {fields}") };
        line.fields.as_object_mut().unwrap().extend(fields);
        self.records.log.push(line);
    }

    fn plain(&mut self, event: &str, fields: Value) {
        self.event("INFO", event, fields);
        let line = self.records.log.last_mut().unwrap().fields.as_object_mut().unwrap();
        line.retain(|field, _| !["worker", "generation"].contains(&field.as_str()));
    }

    fn start(&mut self) {
        self.generation += 1;
        self.records.log.extend(start_lines(310, "analytics", self.generation));
    }

    fn die(&mut self, how: [&str; 2], seq: Option<u64>) {
        self.crash += 1;
        let mut line = death_line(315, "analytics", self.generation, self.crash, how);
        line.fields["seq"] = seq.into();
        self.records.log.push(line);
    }

    /// The program fails at an event, which is stored. Returns the entry.
    fn fail_at(&mut self, seq: u64) -> Entry {
        for attempt in 0..2 {
            self.die(self.how, Some(seq));
            if attempt == 0 {
                self.start();
            }
        }
        let [cause, detail] = self.how;
        let fields =
            json!({ "seq": seq, "attempts": 2, "crash": self.crash, "cause": cause, "detail": detail });
        self.event("WARN", "event_quarantined", fields);
        let entry = self.entry(seq, 2, detail);
        self.start();
        entry
    }

    fn entry(&self, seq: u64, attempts: u32, detail: &str) -> Entry {
        let request = self.records.requests.iter().find(|request| request.answer.first_seq() == Some(seq));
        let (id, request) = (request.unwrap().ids().next().unwrap(), request.unwrap().id());
        let event = json!({
            "series": id.series(), "value": id.value(), "ts": "then", "arrived": "then", "request_id": request,
        });
        let entry = json!({
            "seq": seq, "at": "later", "worker": "analytics", "generation": self.generation, "crash": self.crash,
            "cause": self.how[0], "detail": detail, "during": "apply", "attempts": attempts, "event": event,
        });
        serde_json::from_value(entry).unwrap()
    }
}

fn id_of(program: WrongProgram, index: usize) -> EventId {
    if program == WrongProgram::Series {
        EventId::in_one_series(series_writer(0), index)
    } else {
        EventId { writer: 0, number: 15 + index }
    }
}

/// Posts three events, which are counted in the end, and reads the stats.
fn add_clients(records: &mut Records, program: WrongProgram) {
    let mut sums: BTreeMap<String, u64> = BTreeMap::new();
    for (index, seq) in SEQS.into_iter().enumerate() {
        let id = id_of(program, index);
        *sums.entry(id.series()).or_default() += id.value();
        records.requests.push(Request {
            at: 310,
            took: 5,
            writer: id.writer,
            first: id.number,
            count: 1,
            poisons: Vec::new(),
            answer: Answer::Accepted(seq, seq),
        });
    }
    let totals = |(series, sum): (String, u64)| SeriesTotals {
        series,
        count: sum.count_ones().into(),
        sum: Some(sum),
    };
    records.series.extend(sums.into_iter().map(totals));
    let stats = Stats { accepted: 18, analysed: 15, quarantined: 0, pending: 3 };
    let got = ReadResult::Stats(stats);
    records.reads.push(Read { at: 330, late: 0, took: 10, reader: 0, window: Some(0), got });
    records.run.events += SEQS.len();
}

/// Deploys this program. It fails at the first and the second event. Then it is parked at the third one, or the series is
/// isolated.
pub(super) fn add_deploy(records: &mut Records, program: WrongProgram) {
    let (generation, crash) = remove_shutdown(records);
    add_clients(records, program);
    let how = if program == WrongProgram::Grows { TOO_LARGE } else { PANIC };
    let series = id_of(program, 0).series();
    let mut log = Writer { records, generation, crash, how };
    log.plain("reloading", json!({}));
    log.die(REPLACED, None);
    log.start();
    log.plain("reloaded", json!({}));
    let message = format!("panicked at x.rs:1:2: the program is wrong; {}", how[1]);
    let message = message.trim_end_matches(&format!("; {}", PANIC[1]));
    log.event("ERROR", "", json!({ "stream": "stderr", "message": message }));
    let mut quarantined = vec![log.fail_at(SEQS[0]), log.fail_at(SEQS[1])];
    if program.is_parked() {
        log.die(how, Some(SEQS[2]));
        log.event("ERROR", "worker_braked", json!({}));
        quarantined.truncate(usize::from(program == WrongProgram::Half));
        let released = format!("{} events returned from quarantine", 2 - quarantined.len());
        log.plain("events_released", json!({ "message": released }));
        log.plain("reloading", json!({}));
    } else {
        log.event("ERROR", "series_isolated", json!({ "message": format!("series {series:?} is isolated") }));
        quarantined.push(log.entry(SEQS[2], 0, &format!("the series is isolated: {}", how[1])));
        log.plain("reloading", json!({}));
        log.die(REPLACED, None);
    }
    log.start();
    log.plain("reloaded", json!({}));
    for (entry, new) in quarantined.iter().zip(19..) {
        log.plain("event_replayed", json!({ "seq": entry.seq.0, "replayed_as": new }));
    }
    let (generation, crash) = (log.generation, log.crash);
    records.log.extend(shutdown_lines(crash, generation));
    let replayed = quarantined.len() as u64;
    let series = Some(series).filter(|_| !program.is_parked());
    let (at, mended, replay) = (300, 340, (350, 360));
    records.run.deploys += 1;
    records.run.stats =
        Stats { accepted: 18 + replayed, analysed: 18, quarantined: replayed, ..Stats::default() };
    records.deploys.push(Deploy { program, at, mended, series, quarantined, replay, replayed });
}

/// The index of the log line with this event name, after the other lines of that name.
pub(super) fn last(records: &Records, event: &str) -> usize {
    records.log.iter().rposition(|line| line.is(event)).unwrap()
}

/// The line with this event name that comes last.
pub(super) fn last_mut<'a>(records: &'a mut Records, event: &str) -> &'a mut LogLine {
    let index = last(records, event);
    &mut records.log[index]
}

/// Expects the finding in records with a bad deploy of this program.
#[track_caller]
pub(super) fn expect_finding_with(program: WrongProgram, what: &str, corrupt: impl FnOnce(&mut Records)) {
    expect_finding(what, |records| {
        add_deploy(records, program);
        corrupt(records);
    });
}

#[test]
fn correctly_logged_bad_deploys_yield_no_finding() {
    for program in [WrongProgram::Every, WrongProgram::Half, WrongProgram::Grows, WrongProgram::Series] {
        let findings = findings_after(|records| add_deploy(records, program));
        assert_eq!(findings, Vec::<&str>::new(), "{program:?}");
    }
}
