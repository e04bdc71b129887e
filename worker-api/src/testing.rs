//! A whole link within one process: real memory, a supervisor and an analysis played by the test.

use crate::{Bulkhead, desk::Desk, folders::Folders, front::Front, limits::Limits, routes, token::Secret};
use axum::{Router, body::Body, extract::Request, http::HeaderMap, response::Response};
use bulkhead_proto::{
    shm::{
        memory::SharedMemory,
        ring::{Consumer, MIN_CAPACITY},
        seqlock::SeqlockWriter,
        state_memory::StateMemory,
        table::{CommitHeader, TableWriter},
    },
    wire::{
        control::FromWorker,
        event::Event,
        ids::{Generation, Position, Seq},
        record_store::RecordStore,
        role::Role,
        status::Status,
    },
    worker::{
        link::{AnalyticsLink, ApiLink},
        pipe::{self, Receiver, Sender},
        settings::{self, Settings},
    },
};
use http_body_util::BodyExt;
use std::sync::Arc;

/// The largest body that a [`Rig`] takes, in bytes.
pub(crate) const MAX_BODY: u64 = 6 << 20;

/// The most series that a [`Rig`] has room for.
const MAX_SERIES: u32 = 100;

/// The generation of a [`Rig`]'s API.
pub(crate) const GENERATION: Generation = Generation(5);

pub(crate) struct Rig {
    pub(crate) memory: SharedMemory,
    pub(crate) bulkhead: Bulkhead,
    pub(crate) desk: Arc<Desk>,
    /// What the worker says to its supervisor.
    pub(crate) said: Receiver<FromWorker>,
    /// Where events are that were set aside.
    pub(crate) folder: tempfile::TempDir,
    /// Where crash reports are.
    pub(crate) crashes: tempfile::TempDir,
    front: Front,
    writer: TableWriter<StateMemory>,
}

/// An answer with its body read.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text).unwrap()
    }
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(false, Router::new())
    }

    pub(crate) fn with(faults: bool, own: Router<Bulkhead>) -> Self {
        Self::build(faults, own, None)
    }

    /// One whose changing routes need this token.
    pub(crate) fn with_token(token: Secret, own: Router<Bulkhead>) -> Self {
        Self::build(true, own, Some(token))
    }

    fn build(faults: bool, own: Router<Bulkhead>, token: Option<Secret>) -> Self {
        let memory = SharedMemory::create(MIN_CAPACITY, MAX_SERIES, 1).unwrap();
        let settings = Settings {
            worker: "api".into(),
            role: Role::Api,
            generation: GENERATION,
            faults,
            max_series: MAX_SERIES,
            max_body: MAX_BODY,
            limits: settings::Limits::default(),
            stop_timeout_ms: 1000,
            log: "off".into(),
        };
        let (read, write) = pipe::pair().unwrap();
        let out = Arc::new(Sender::new(write));
        out.set_nonblocking(true).unwrap();
        let desk = Arc::new(Desk::new(Arc::clone(&out)));
        let (folder, crashes) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let folders = Folders {
            quarantine: Some(RecordStore::open(folder.path()).unwrap()),
            crashes: Some(RecordStore::open(crashes.path()).unwrap()),
        };
        let bulkhead = Bulkhead::new(
            ApiLink::open_in_process(&memory).unwrap(),
            settings,
            token,
            folders,
            Arc::clone(&desk),
            out,
        );
        let front = Front::new(routes::router(own, bulkhead.clone()), GENERATION, &Limits::default());
        let mut writer = TableWriter::attach(AnalyticsLink::open_in_process(&memory).unwrap().state).unwrap();
        writer.activate();
        let said = Receiver::new(read);
        said.set_nonblocking(true).unwrap();
        Self { memory, folder, crashes, bulkhead, desk, said, front, writer }
    }

    /// Whatever the client does with this, it goes the way of a real request.
    pub(crate) async fn send(&self, request: Request) -> Answer {
        let response: Response = self.front.answer(request).await;
        let (head, body) = response.into_parts();
        let text = body.collect().await.unwrap().to_bytes();
        Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            text: String::from_utf8(text.into()).unwrap(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, media: &str, body: impl Into<Body>) -> Answer {
        let request = Request::post(path).header("content-type", media).header("x-request-id", "test");
        self.send(request.body(body.into()).unwrap()).await
    }

    pub(crate) async fn post_json(&self, body: impl Into<Body>) -> Answer {
        self.post("/v1/events", "application/json", body).await
    }

    /// The events in the ring behind the last commit, each as `series value label request`, and where they end.
    pub(crate) fn pending(&self) -> (Vec<String>, Position) {
        let link = AnalyticsLink::open_in_process(&self.memory).unwrap();
        let record = self.writer.record();
        let mut consumer = Consumer::attach(link.events, link.producer, record.position, record.seq).unwrap();
        let (mut events, mut bytes) = (Vec::new(), Vec::new());
        while consumer.next(&mut bytes).unwrap().is_some() {
            let Event { series, value, label, request_id, .. } = Event::decode(&bytes).unwrap();
            let [label, request] = [label, request_id].map(Option::unwrap_or_default);
            events.push(format!("{series} {value} {label} {request}"));
        }
        (events, consumer.position())
    }

    /// Commits all that is pending, with these public parts.
    pub(crate) fn commit(&mut self, series: &[(&str, &str)]) {
        let (events, position) = self.pending();
        let record = *self.writer.record();
        for (name, public) in series {
            let slot = self.writer.find(name).or_else(|| self.writer.assign(name)).unwrap();
            self.writer.stage(slot, 1, name, b"", public.as_bytes()).unwrap();
        }
        let analysed = events.len() as u64;
        let checkpoint = CommitHeader {
            seq: Seq(record.seq.0 + analysed),
            position,
            analysed: record.analysed + analysed,
            at_ms: crate::bulkhead::now_ms(),
            ..CommitHeader::default()
        };
        self.writer.commit(checkpoint).unwrap();
    }

    /// Publishes what the supervisor says of everyone.
    pub(crate) fn publish(&self, status: &Status) {
        SeqlockWriter::new(self.memory.status_page().unwrap()).publish(status).unwrap();
    }
}
