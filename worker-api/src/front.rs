//! What surrounds every request, whichever route answers it: its id, its time limit, its panic.
//!
//! One function in place of a tower layer for each: layers would box a future each, for every request.

use crate::{
    limits::{Limits, MAX_URI},
    problem::{Kind, Problem},
    request_id::{self, RequestIds},
};
use axum::{
    Router,
    body::{Body, HttpBody},
    extract::Request,
    http::{HeaderValue, Uri, header},
    response::{IntoResponse, Response},
};
use bulkhead_proto::wire::ids::Generation;
use bytes::Bytes;
use futures_util::FutureExt;
use std::{
    error::Error,
    panic::AssertUnwindSafe,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use tower::Service;

/// The router, and what goes around it.
#[derive(Debug)]
pub(crate) struct Front {
    router: Router,
    ids: RequestIds,
    /// How long a request may take.
    timeout: Duration,
    leaving: AtomicBool,
}

impl Front {
    pub(crate) fn new(router: Router, generation: Generation, limits: &Limits) -> Self {
        let ids = RequestIds::new(generation);
        Self { router, ids, timeout: limits.request, leaving: AtomicBool::new(false) }
    }

    /// From now on every answer ends its connection: clients come back to the successor.
    pub(crate) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// Answers one request, whatever happens in its handler.
    pub(crate) async fn answer<B>(&self, request: Request<B>) -> Response
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let id = self.ids.take_or_make(request.headers());
        let header = id.header();
        if let Some(response) = too_long(request.uri()) {
            return self.finish(response, header);
        }
        let handler = id.scope(self.router.clone().call(request.map(Body::new)));
        // A handler that panics leaves nothing behind but what it shares, and our own locks survive a panic.
        let guarded = AssertUnwindSafe(handler).catch_unwind();
        let response = match tokio::time::timeout(self.timeout, guarded).await {
            Ok(Ok(Ok(response))) => response,
            Ok(Ok(Err(never))) => match never {},
            Ok(Err(_panic)) => panicked(&header),
            Err(_elapsed) => timed_out(self.timeout),
        };
        self.finish(response, header)
    }

    /// Answers a request of a client that has too many connections, and ends this one.
    pub(crate) fn refuse<B>(&self, request: &Request<B>) -> Response {
        let detail = "this address has too many connections; close some, or keep them alive and share them";
        let mut response = Problem::new(Kind::TooManyConnections, detail).into_response();
        end_connection(&mut response);
        self.finish(response, self.ids.take_or_make(request.headers()).header())
    }

    fn finish(&self, mut response: Response, header: HeaderValue) -> Response {
        response.headers_mut().insert(request_id::HEADER, header);
        if self.leaving.load(Ordering::Relaxed) {
            end_connection(&mut response);
        }
        response
    }
}

/// The panic itself was logged by the hook, with its place.
fn panicked(id: &HeaderValue) -> Response {
    let detail = format!("the handler panicked; the log has more, under request id {id:?}");
    Problem::new(Kind::Internal, detail).into_response()
}

fn too_long(uri: &Uri) -> Option<Response> {
    let found = uri.path_and_query().map_or(0, |text| text.as_str().len());
    let detail = || format!("a path and query of at most {MAX_URI} bytes are wanted; found {found}");
    (found > MAX_URI).then(|| Problem::new(Kind::UriTooLong, detail()).into_response())
}

fn timed_out(timeout: Duration) -> Response {
    let detail = format!("a request must be complete, and answered, within {timeout:?}");
    let mut response = Problem::new(Kind::Timeout, detail).into_response();
    // The rest of its body may still be on the way.
    end_connection(&mut response);
    response
}

fn end_connection(response: &mut Response) {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RequestId;
    use axum::routing::get;
    use http_body_util::BodyExt;
    use std::future::pending;

    fn front() -> Front {
        let router = Router::new()
            .route("/id", get(async || RequestId::current().unwrap().as_str().to_owned()))
            .route("/panic", get(async || -> () { panic!("on purpose") }))
            .route("/hang", get(pending::<()>));
        Front::new(router, Generation(3), &Limits::default())
    }

    async fn ask(front: &Front, path: &str, id: &str) -> Response {
        front.answer(Request::get(path).header("x-request-id", id).body(Body::empty()).unwrap()).await
    }

    #[tokio::test]
    async fn the_clients_id_reaches_the_handler_and_comes_back() {
        let response = ask(&front(), "/id", "mine-1").await;
        assert_eq!(response.headers()["x-request-id"], "mine-1");
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "mine-1");
    }

    #[tokio::test]
    async fn an_id_is_made_when_there_is_none_and_stands_on_errors_too() {
        let response = ask(&front(), "/nowhere", "").await;
        assert_eq!(
            (response.status().as_u16(), response.headers()["x-request-id"].as_bytes()),
            (404, &b"g3-1"[..])
        );
    }

    #[tokio::test]
    async fn a_panic_costs_its_own_request_alone() {
        let front = front();
        let response = ask(&front, "/panic", "p").await;
        assert_eq!(
            (response.status().as_u16(), &response.headers()["x-request-id"]),
            (500, &HeaderValue::from_static("p"))
        );
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(ask(&front, "/id", "q").await.status(), 200);
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_that_hangs_is_given_up() {
        let response = ask(&front(), "/hang", "h").await;
        assert_eq!(
            (response.status().as_u16(), &response.headers()["connection"]),
            (408, &HeaderValue::from_static("close"))
        );
    }

    #[tokio::test]
    async fn answers_of_a_leaving_process_end_their_connections() {
        let front = front();
        assert!(ask(&front, "/id", "a").await.headers().get("connection").is_none());
        front.leave();
        assert_eq!(ask(&front, "/id", "a").await.headers()["connection"], "close");
    }
}
