//! A client that reads.

use super::{Stage, stats_of};
use crate::{
    plan::WRITERS,
    records::{Got, Read},
};
use bulkhead_tests::{
    http::{Client, Failure},
    ids::{Counted, EventId},
};
use fastrand::Rng;
use serde_json::Value;
use std::{
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

/// A reader reads this often, whether or not the answer before came in time: else a slow answer would hide the others
/// that were to be asked for meanwhile.
const INTERVAL: Duration = Duration::from_millis(4);

/// Reads stats, single series and short lists until it is over.
pub(super) fn read(reader: usize, stage: &Stage<'_>, mut rng: Rng) {
    let client = stage.bulkhead.client();
    let mut due = Instant::now();
    while !stage.over.load(Ordering::Relaxed) {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let path = path(stage, &mut rng);
        let (before, sent) = (stage.window(), Instant::now());
        let got = ask(&client, &path);
        let took = super::micros(sent.elapsed());
        let window = before.filter(|_| stage.window() == before);
        let (at, late) = (stage.us(due), super::micros(sent.saturating_duration_since(due)));
        stage.reads.write(&Read { at, late, took, reader, window, got });
        due += INTERVAL;
    }
}

/// What to ask for: figures, a series that some writer has begun, or the series that follow it.
fn path(stage: &Stage<'_>, rng: &mut Rng) -> String {
    let writer = rng.usize(..WRITERS);
    let number = rng.usize(..=stage.begun[writer].load(Ordering::Relaxed));
    let series = EventId { writer, number }.series();
    match rng.u8(..10) {
        0..4 => "/v1/stats".to_owned(),
        4..9 => format!("/v1/series/{series}"),
        _ => format!("/v1/series?limit=5&after={series}"),
    }
}

fn ask(client: &Client, path: &str) -> Got {
    let answer = match client.get(path) {
        Ok(answer) => answer,
        Err(Failure::Broken(why)) => return Got::Lost(why),
        Err(Failure::Refused) => return Got::Wrong(format!("{path}: connection refused")),
    };
    match (answer.status, path.strip_prefix("/v1/series/")) {
        (200, _) => understood(&answer.json()),
        (404, Some(series)) => Got::Absent(series.to_owned()),
        _ => Got::Wrong(format!("{path}: {} {}", answer.status, answer.body)),
    }
}

fn understood(answer: &Value) -> Got {
    match answer["items"].as_array() {
        Some(items) => Got::Series(items.iter().map(Counted::of).collect()),
        None if answer["accepted"].is_u64() => Got::Stats(stats_of(answer)),
        None => Got::Series(vec![Counted::of(answer)]),
    }
}
