//! A client that reads.

use super::{Context, stats_of};
use crate::{
    plan::WRITERS,
    records::{Read, ReadResult},
};
use bulkhead_tests::{
    event_id::{EventId, SeriesTotals},
    http::{Client, RequestError},
};
use fastrand::Rng;
use serde_json::Value;
use std::{
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

/// The interval between reads, whether or not the previous answer arrived in time. Otherwise a slow answer
/// would hide the reads that were due meanwhile.
const INTERVAL: Duration = Duration::from_millis(4);

/// Reads stats, single series and short lists until the run ends.
pub(super) fn run(reader: usize, context: &Context<'_>, mut rng: Rng) {
    let client = context.bulkhead.client();
    let mut due = Instant::now();
    while !context.stop_readers.load(Ordering::Relaxed) {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let path = random_path(context, &mut rng);
        let (before, sent) = (context.window(), Instant::now());
        let got = send(&client, &path);
        let took = super::micros(sent.elapsed());
        let window = before.filter(|_| context.window() == before);
        let (at, late) = (context.us(due), super::micros(sent.saturating_duration_since(due)));
        context.reads.write(&Read { at, late, took, reader, window, got });
        due += INTERVAL;
    }
}

/// A random request: the stats, a series to which a writer has posted, or the series that follow it.
fn random_path(context: &Context<'_>, rng: &mut Rng) -> String {
    let writer = rng.usize(..WRITERS);
    let number = rng.usize(..=context.sent[writer].load(Ordering::Relaxed));
    let series = EventId { writer, number }.series();
    match rng.u8(..10) {
        0..4 => "/v1/stats".to_owned(),
        4..9 => format!("/v1/series/{series}"),
        _ => format!("/v1/series?limit=5&after={series}"),
    }
}

fn send(client: &Client, path: &str) -> ReadResult {
    let answer = match client.get(path) {
        Ok(answer) => answer,
        Err(RequestError::Broken(why)) => return ReadResult::Lost(why),
        Err(RequestError::Refused) => return ReadResult::Wrong(format!("{path}: connection refused")),
    };
    match (answer.status, path.strip_prefix("/v1/series/")) {
        (200, _) => parse(&answer.json()),
        (404, Some(series)) => ReadResult::Absent(series.to_owned()),
        _ => ReadResult::Wrong(format!("{path}: {} {}", answer.status, answer.body)),
    }
}

fn parse(answer: &Value) -> ReadResult {
    match answer["items"].as_array() {
        Some(items) => ReadResult::Series(items.iter().map(SeriesTotals::of).collect()),
        None if answer["accepted"].is_u64() => ReadResult::Stats(stats_of(answer)),
        None => ReadResult::Series(vec![SeriesTotals::of(answer)]),
    }
}
