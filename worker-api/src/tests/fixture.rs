//! An API with real shared memory within one process. The test acts as the supervisor and as the analysis.

use crate::{
    handle::ApiHandle,
    http::{
        limits::Limits,
        service::{AccessRules, ApiService},
        token::BearerToken,
    },
    routes,
    stores::Stores,
    supervisor_client::SupervisorClient,
};
use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderValue},
    response::Response,
};
use bulkhead_proto::{
    shm::{
        memory::SharedMemory,
        ring::{Consumer, MIN_CAPACITY},
        seqlock::SeqlockWriter,
        state_memory::StateMemory,
        table::{CommitRecord, Content, TableWriter},
    },
    wire::{
        control::FromWorker,
        event::{Event, Input, Removal},
        ids::{Generation, Position, Seq},
        record_store::RecordStore,
        role::Role,
        status::Status,
        time::now_ms,
    },
    worker::{
        link::{AnalyticsLink, ApiLink},
        pipe::{self, Receiver, Sender},
        settings::{self, Settings},
    },
};
use http_body_util::BodyExt;
use std::sync::Arc;

/// `max_body` of an [`ApiFixture`], in bytes.
pub(crate) const MAX_BODY: u64 = 6 << 20;

/// `max_series` of an [`ApiFixture`].
const MAX_SERIES: u32 = 100;

/// The generation of an [`ApiFixture`]'s worker.
pub(crate) const GENERATION: Generation = Generation(5);

pub(crate) struct ApiFixture {
    pub(crate) memory: SharedMemory,
    pub(crate) handle: ApiHandle,
    pub(crate) supervisor_client: Arc<SupervisorClient>,
    /// The frames that the worker sends to the supervisor.
    pub(crate) sent_frames: Receiver<FromWorker>,
    /// The directory of quarantined events.
    pub(crate) quarantine_dir: tempfile::TempDir,
    /// The directory of crash reports.
    pub(crate) crashes_dir: tempfile::TempDir,
    service: ApiService,
    writer: TableWriter<StateMemory>,
}

/// A response with its body.
pub(crate) struct TestResponse {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl TestResponse {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text).unwrap()
    }
}

impl ApiFixture {
    pub(crate) fn new() -> Self {
        Self::with(false, Router::new())
    }

    pub(crate) fn with(faults: bool, user_routes: Router<ApiHandle>) -> Self {
        Self::build(faults, user_routes, None)
    }

    /// A fixture whose routes require this token to change state.
    pub(crate) fn with_token(token: BearerToken, user_routes: Router<ApiHandle>) -> Self {
        Self::build(true, user_routes, Some(token))
    }

    fn build(faults: bool, user_routes: Router<ApiHandle>, token: Option<BearerToken>) -> Self {
        let memory = SharedMemory::create(MIN_CAPACITY, MAX_SERIES, 1).unwrap();
        let settings = Settings {
            worker: "api".into(),
            role: Role::Api,
            generation: GENERATION,
            faults,
            max_series: MAX_SERIES,
            expire_ms: None,
            max_body: MAX_BODY,
            limits: settings::Limits::default(),
            access: settings::Access::default(),
            stop_timeout_ms: 1000,
            log: "off".into(),
        };
        let (read, write) = pipe::pair().unwrap();
        let out = Arc::new(Sender::new(write));
        out.set_nonblocking(true).unwrap();
        let supervisor_client = Arc::new(SupervisorClient::new(out));
        let (quarantine_dir, crashes_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let stores = Stores {
            quarantine: Some(RecordStore::open(quarantine_dir.path()).unwrap()),
            crashes: Some(RecordStore::open(crashes_dir.path()).unwrap()),
        };
        let handle = ApiHandle::new(
            ApiLink::open_in_process(&memory).unwrap(),
            settings,
            token,
            stores,
            Arc::clone(&supervisor_client),
        );
        let service = ApiService::new(
            routes::router(user_routes, handle.clone()),
            GENERATION,
            &Limits::default(),
            AccessRules::default(),
            Arc::clone(handle.counters()),
        );
        let mut writer = {
            let state = AnalyticsLink::open_in_process(&memory).unwrap().state;
            TableWriter::attach(state, memory.table().slots()).unwrap()
        };
        writer.activate();
        let sent_frames = Receiver::new(read);
        sent_frames.set_nonblocking(true).unwrap();
        Self { memory, quarantine_dir, crashes_dir, handle, supervisor_client, sent_frames, service, writer }
    }

    /// Handles a request as the server would.
    pub(crate) async fn send(&self, mut request: Request) -> TestResponse {
        request.headers_mut().entry("host").or_insert(HeaderValue::from_static("localhost"));
        let response: Response = self.service.handle(request).await;
        let (head, body) = response.into_parts();
        let text = body.collect().await.unwrap().to_bytes();
        TestResponse {
            status: head.status.as_u16(),
            headers: head.headers,
            text: String::from_utf8(text.into()).unwrap(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> TestResponse {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, media: &str, body: impl Into<Body>) -> TestResponse {
        let request = Request::post(path).header("content-type", media).header("x-request-id", "test");
        self.send(request.body(body.into()).unwrap()).await
    }

    pub(crate) async fn post_json(&self, body: impl Into<Body>) -> TestResponse {
        self.post("/v1/events", "application/json", body).await
    }

    /// The events in the ring after the last commit, each as `series value label request_id`, or `remove series request_id`, and
    /// the position of their end.
    pub(crate) fn pending(&self) -> (Vec<String>, Position) {
        let mut events = Vec::new();
        let end = self.read_pending(|input| {
            events.push(match input {
                Input::Event(Event { series, value, label, request_id, .. }) => {
                    let [label, request] = [label, request_id].map(Option::unwrap_or_default);
                    let value = value.map_or_else(|| "-".to_owned(), |value| value.to_string());
                    format!("{series} {value} {label} {request}")
                }
                Input::Removal(Removal { series, request_id, .. }) => {
                    format!("remove {series} {}", request_id.unwrap_or_default())
                }
            });
        });
        (events, end)
    }

    /// Reads the events in the ring after the last commit. Returns the position of their end.
    pub(crate) fn read_pending(&self, mut read: impl FnMut(Input<'_>)) -> Position {
        let link = AnalyticsLink::open_in_process(&self.memory).unwrap();
        let record = self.writer.record();
        let mut consumer = Consumer::attach(link.events, link.producer, record.position, record.seq).unwrap();
        let mut bytes = Vec::new();
        while consumer.next(&mut bytes).unwrap().is_some() {
            read(Input::decode(&bytes).unwrap());
        }
        consumer.position()
    }

    /// Commits all pending events, with these public parts.
    pub(crate) fn commit(&mut self, series: &[(&str, &str)]) {
        let (events, position) = self.pending();
        let record = *self.writer.record();
        for (name, public) in series {
            let slot = self.writer.find(name).or_else(|| self.writer.assign(name)).unwrap();
            let content = Content { key: name, version: 1, public: public.as_bytes(), ..Content::default() };
            self.writer.stage(slot, content).unwrap();
        }
        let analysed = events.len() as u64;
        let next = CommitRecord {
            seq: Seq(record.seq.0 + analysed),
            position,
            analysed: record.analysed + analysed,
            at_ms: now_ms(),
            ..CommitRecord::default()
        };
        self.writer.commit(next).unwrap();
    }

    /// Commits the removal of a series.
    pub(crate) fn remove_series(&mut self, name: &str) {
        self.writer.stage_removal(self.writer.find(name).unwrap(), name).unwrap();
        let record = *self.writer.record();
        self.writer.commit(CommitRecord { removed: record.removed + 1, ..record }).unwrap();
    }

    /// Publishes a status as the supervisor does.
    pub(crate) fn publish(&self, status: &Status) {
        SeqlockWriter::new(self.memory.status_page().unwrap()).publish(status).unwrap();
    }
}
