//! Wraps every request, whichever route handles it: host, origin, request id, timeout, panic.
//!
//! This is one function instead of a stack of `tower-http` layers, which takes more code and more time for each request.

use super::{
    host::HostRule,
    limits::{Limits, MAX_URI},
    origin::OriginRule,
    problem::{Problem, ProblemKind},
    request_id::{self, RequestId, RequestIds},
};
use crate::counters::Counters;
use axum::{
    Router,
    body::{Body, HttpBody},
    extract::Request,
    http::{HeaderMap, HeaderValue, Uri, header},
    response::{IntoResponse, Response},
};
use bulkhead_proto::wire::ids::Generation;
use bytes::Bytes;
use futures_util::FutureExt;
use std::{
    error::Error,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tower::Service as _;

/// The router with its wrapper.
#[derive(Debug)]
pub(crate) struct ApiService {
    router: Router,
    ids: RequestIds,
    /// The most time from the start of a request to the head of its response.
    timeout: Duration,
    access: AccessRules,
    counters: Arc<Counters>,
    draining: AtomicBool,
}

/// Which hosts and origins requests may have. The default accepts all.
#[derive(Clone, Debug, Default)]
pub(crate) struct AccessRules {
    pub(crate) hosts: HostRule,
    pub(crate) origins: OriginRule,
}

impl ApiService {
    pub(crate) fn new(
        router: Router,
        generation: Generation,
        limits: &Limits,
        access: AccessRules,
        counters: Arc<Counters>,
    ) -> Self {
        let ids = RequestIds::new(generation);
        Self { router, ids, timeout: limits.request, access, counters, draining: AtomicBool::new(false) }
    }

    pub(super) const fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// From now on, each response closes its connection, so that clients reconnect to the next generation.
    pub(crate) fn start_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Handles one request. Always returns a response, also when the handler panics or takes too long.
    pub(crate) async fn handle<B>(&self, request: Request<B>) -> Response
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let id = self.ids.accept_or_generate(request.headers());
        let header = id.header();
        let origin = self.access.origins.allowed_origin(request.headers());
        let mut response = match self.answer_early(&request, origin.is_some()) {
            Some(response) => response,
            None => self.call_router(request, id).await,
        };
        self.access.origins.mark(&mut response, origin);
        self.finish(response, header)
    }

    /// The response to a request that does not reach the router.
    fn answer_early<B>(&self, request: &Request<B>, allowed_origin: bool) -> Option<Response> {
        let AccessRules { hosts, origins } = &self.access;
        let (method, headers) = (request.method(), request.headers());
        let checked = check_uri(request.uri())
            .and_then(|()| hosts.check(request))
            .and_then(|()| check_transfer_coding(headers))
            .and_then(|()| if allowed_origin { Ok(()) } else { origins.check(method, headers) });
        match checked {
            Ok(()) if allowed_origin => OriginRule::preflight(method, headers),
            Ok(()) => None,
            Err(problem) => {
                self.count_refused(&problem);
                Some(problem.into_response())
            }
        }
    }

    /// Counts a request whose `Host` or origin is not allowed. The detail names it, and the key to change.
    fn count_refused(&self, problem: &Problem) {
        let kind = problem.kind();
        let counter = if kind == ProblemKind::HostNotAllowed {
            &self.counters.host_not_allowed
        } else if kind == ProblemKind::CrossOrigin {
            &self.counters.cross_origin
        } else {
            return;
        };
        counter.count(|requests| {
            let (status, detail) = (kind.status().as_u16(), problem.detail());
            tracing::warn!(
                requests,
                "requests that were refused with {status} since the last such line: {requests}; the last one: {detail}"
            );
        });
    }

    /// Lets the router handle a request, within the timeout.
    async fn call_router<B>(&self, request: Request<B>, id: RequestId) -> Response
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let header = id.header();
        let handler = id.scope(self.router.clone().call(request.map(Body::new)));
        // A handler that panics can only damage state that it shares, and our locks stay usable after a panic.
        let guarded = AssertUnwindSafe(handler).catch_unwind();
        match tokio::time::timeout(self.timeout, guarded).await {
            Ok(Ok(Ok(response))) => response,
            Ok(Ok(Err(never))) => match never {},
            Ok(Err(_panic)) => panic_response(&header),
            Err(_elapsed) => self.timeout_response(),
        }
    }

    /// Refuses the request of a client that has too many connections, and closes this connection.
    pub(crate) fn refuse<B>(&self, request: &Request<B>) -> Response {
        let detail = "this address has too many connections; close some, or reuse them";
        let mut response = Problem::new(ProblemKind::TooManyConnections, detail).into_response();
        close_connection(&mut response);
        self.finish(response, self.ids.accept_or_generate(request.headers()).header())
    }

    fn timeout_response(&self) -> Response {
        let timeout = self.timeout;
        self.counters.timed_out.count(|requests| {
            tracing::warn!(
                requests,
                "requests that were not answered within {timeout:?} (api.request_timeout) since the last such line: {requests}"
            );
        });
        let detail = format!("the request was not received and answered within {timeout:?}");
        let mut response = Problem::new(ProblemKind::Timeout, detail).into_response();
        // The rest of the request body may still arrive.
        close_connection(&mut response);
        response
    }

    fn finish(&self, mut response: Response, header: HeaderValue) -> Response {
        response.headers_mut().insert(request_id::HEADER, header);
        if self.draining.load(Ordering::Relaxed) {
            close_connection(&mut response);
        }
        response
    }
}

/// The panic hook has logged the panic with its location.
fn panic_response(id: &HeaderValue) -> Response {
    let detail = format!("the handler panicked; see the log for request id {id:?}");
    Problem::new(ProblemKind::Internal, detail).into_response()
}

fn check_uri(uri: &Uri) -> Result<(), Problem> {
    let found = uri.path_and_query().map_or(0, |text| text.as_str().len());
    if found <= MAX_URI {
        return Ok(());
    }
    let detail = format!("path and query may have at most {MAX_URI} bytes; found {found}");
    Err(Problem::new(ProblemKind::UriTooLong, detail))
}

/// hyper ignores every transfer coding but the last, which must be `chunked`: a compressed body would be taken as it is.
fn check_transfer_coding(headers: &HeaderMap) -> Result<(), Problem> {
    let mut found = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (found.next(), found.next()) {
        (None, _) => Ok(()),
        (Some(only), None) if only.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        (Some(_), _) => Err(Problem::new(
            ProblemKind::UnsupportedTransferCoding,
            "the only Transfer-Encoding that is supported is \"chunked\"; announce compression in Content-Encoding",
        )),
    }
}

fn close_connection(response: &mut Response) {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RequestId;
    use axum::routing::get;
    use http_body_util::BodyExt;
    use std::future::pending;

    fn service() -> ApiService {
        let router = Router::new()
            .route("/id", get(async || RequestId::current().unwrap().as_str().to_owned()))
            .route("/panic", get(async || -> () { panic!("on purpose") }))
            .route("/hang", get(pending::<()>));
        ApiService::new(router, Generation(3), &Limits::default(), AccessRules::default(), Arc::default())
    }

    async fn send(service: &ApiService, path: &str, id: &str) -> Response {
        let request = Request::get(path).header("host", "x").header("x-request-id", id);
        service.handle(request.body(Body::empty()).unwrap()).await
    }

    #[tokio::test]
    async fn the_request_id_of_the_client_reaches_the_handler_and_the_response() {
        let response = send(&service(), "/id", "mine-1").await;
        assert_eq!(response.headers()["x-request-id"], "mine-1");
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "mine-1");
    }

    #[tokio::test]
    async fn a_request_without_an_id_gets_a_generated_one_in_error_responses_too() {
        let response = send(&service(), "/nowhere", "").await;
        assert_eq!(
            (response.status().as_u16(), response.headers()["x-request-id"].as_bytes()),
            (404, &b"g3-1"[..])
        );
    }

    #[tokio::test]
    async fn a_panic_fails_its_own_request_only() {
        let service = service();
        let response = send(&service, "/panic", "p").await;
        assert_eq!(
            (response.status().as_u16(), &response.headers()["x-request-id"]),
            (500, &HeaderValue::from_static("p"))
        );
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(send(&service, "/id", "q").await.status(), 200);
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_that_hangs_times_out_with_408() {
        let response = send(&service(), "/hang", "h").await;
        assert_eq!(
            (response.status().as_u16(), &response.headers()["connection"]),
            (408, &HeaderValue::from_static("close"))
        );
    }

    #[tokio::test]
    async fn responses_of_a_draining_process_close_their_connections() {
        let service = service();
        assert!(send(&service, "/id", "a").await.headers().get("connection").is_none());
        service.start_draining();
        assert_eq!(send(&service, "/id", "a").await.headers()["connection"], "close");
    }
}
