//! A client that posts.

use super::Context;
use crate::{
    fault_schedule::PoisonEvents,
    records::{Answer, PoisonEvent, Request, request_id},
};
use bulkhead_proto::wire::series::FAULT_PREFIX;
use bulkhead_tests::{
    event_id::EventId,
    http::{Client, RequestError, Response},
    injection_pacer::InjectionPacer,
};
use fastrand::Rng;
use std::{
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

/// The sizes of batches. Most are small, so that there are many requests; most events come in large ones.
const SIZES: [usize; 8] = [1, 1, 2, 3, 5, 8, 20, 60];

/// The wait before a request is sent again, unless the log gets a line first.
const RETRY: Duration = Duration::from_millis(10);

/// One writer. Its events are numbered in the order in which it sends them.
pub(super) struct Writer<'a> {
    number: usize,
    next: usize,
    due: Instant,
    client: Client,
    rng: Rng,
    poisons: &'a PoisonEvents,
    context: &'a Context<'a>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(number: usize, context: &'a Context<'a>, poisons: &'a PoisonEvents, rng: Rng) -> Self {
        Self {
            number,
            next: 0,
            due: Instant::now(),
            client: context.bulkhead.client(),
            rng,
            poisons,
            context,
        }
    }

    /// Posts `quota` events, one per `interval` on average. Calls `on_full` when the ring is full.
    pub(super) fn post_events(
        &mut self,
        quota: usize,
        interval: Duration,
        gate: &InjectionPacer,
        on_full: impl Fn(),
    ) {
        let end = self.next + quota;
        // The rate is a limit: a delay is not made up for.
        self.due = self.due.max(Instant::now());
        while self.next < end {
            let size = *self.rng.choice(&SIZES).unwrap();
            let count = size.min(end - self.next);
            thread::sleep(self.due.saturating_duration_since(Instant::now()));
            self.due += interval * u32::try_from(count).unwrap();
            gate.begin_work(count);
            self.post(count, &on_full);
            gate.end_work(count);
        }
    }

    fn post(&mut self, count: usize, on_full: impl Fn()) {
        let first = self.next;
        self.next += count;
        self.context.sent[self.number].store(self.next, Ordering::Relaxed);
        self.send(first, count, on_full);
    }

    /// Sends these events until they are accepted or the answer is lost. With a key, until they are accepted.
    pub(super) fn send(&mut self, first: usize, count: usize, on_full: impl Fn()) -> Answer {
        let ids = (first..first + count).map(|number| EventId { writer: self.number, number });
        let poison = |before: EventId| Some(PoisonEvent { before, kind: *self.poisons.get(&before)? });
        let poisons: Vec<PoisonEvent> = ids.clone().filter_map(poison).collect();
        let events = ids.flat_map(|id| poison(id).as_ref().map(poison_event).into_iter().chain([event(id)]));
        let (content_type, body) = body(&events.collect::<Vec<_>>(), self.rng.bool());
        let id = request_id(self.number, first);
        let key = self.rng.bool().then_some(&*id);
        loop {
            self.context.assert_in_time();
            let sent = Instant::now();
            let answer = self.client.post_events_with_id(&id, key, content_type, &body);
            let took = super::micros(sent.elapsed());
            let answer = answer_of(answer, count + poisons.len(), key.is_some());
            let (at, writer, poisons) = (self.context.us(sent), self.number, poisons.clone());
            let request = Request { at, took, writer, first, count, poisons, answer };
            self.context.requests.write(&request);
            if !request.answer.is_repeated() {
                return request.answer;
            }
            if request.answer == Answer::Full {
                on_full();
            }
            self.context.bulkhead.log().wait_for_change(RETRY);
        }
    }
}

/// Whether the answer says that the ring is full. No other reason for a 503 is right.
fn is_full(answer: &Response) -> bool {
    answer.status == 503
        && !answer.header("retry-after").is_empty()
        && answer.json()["type"] == "urn:bulkhead:problem:full"
}

fn answer_of(result: Result<Response, RequestError>, count: usize, keyed: bool) -> Answer {
    match result {
        Ok(answer) if answer.status == 202 => {
            let receipt = answer.json();
            match (receipt["accepted"].as_u64(), receipt["first_seq"].as_u64(), receipt["last_seq"].as_u64())
            {
                (Some(accepted), Some(first), Some(last)) if accepted == count as u64 => {
                    Answer::Accepted(first, last)
                }
                _ => Answer::Wrong(answer.body),
            }
        }
        Ok(answer) if is_full(&answer) => Answer::Full,
        Ok(answer) => Answer::Wrong(format!("{} {}", answer.status, answer.body)),
        Err(RequestError::Broken(why)) if keyed => Answer::Retried(why),
        Err(RequestError::Broken(why)) => Answer::Lost(why),
        Err(RequestError::Refused) => Answer::Wrong("connection refused".to_owned()),
    }
}

/// One of the two formats of a body.
fn body(events: &[String], array: bool) -> (&'static str, String) {
    if array {
        ("application/json", format!("[{}]", events.join(",")))
    } else {
        ("application/x-ndjson", events.join("\n"))
    }
}

fn event(id: EventId) -> String {
    format!(r#"{{"series":"{}","value":{}}}"#, id.series(), id.value())
}

fn poison_event(poison: &PoisonEvent) -> String {
    format!(r#"{{"series":"{FAULT_PREFIX}{}","value":1,"label":"{}"}}"#, poison.kind, poison.label())
}
