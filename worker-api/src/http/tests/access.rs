//! Requests of web pages of other sites, through the service.

use super::*;
use crate::http::{host::HostRule, origin::OriginRule};
use axum::{body::Body, extract::Request, http::StatusCode, routing::post};
use std::collections::BTreeMap;

const APP: &str = "https://app.example";

/// The status of a response, and its headers; the values of one name are joined.
type Answer = (u16, BTreeMap<String, String>);

/// A service on a loopback address without a token.
fn service(cors_origins: &[&str]) -> ApiService {
    let origins: Vec<_> = cors_origins.iter().map(|&origin| origin.to_owned()).collect();
    let access = AccessRules { hosts: HostRule::new(&[], true), origins: OriginRule::new(&origins, false) };
    let router = Router::new()
        .route("/", post(async || StatusCode::ACCEPTED).get(async || "read"))
        .route("/panic", get(async || -> () { panic!("on purpose") }));
    ApiService::new(router, Generation(1), &Limits::default(), access, Arc::default())
}

async fn send(service: &ApiService, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for &(name, value) in [("host", "127.0.0.1:8080")].iter().chain(headers) {
        request = request.header(name, value);
    }
    let response = service.handle(request.body(Body::empty()).unwrap()).await;
    let mut found = BTreeMap::<String, String>::new();
    for (name, value) in response.headers() {
        let values = found.entry(name.to_string()).or_default();
        *values = format!("{values} {}", value.to_str().unwrap()).trim().to_owned();
    }
    (response.status().as_u16(), found)
}

#[tokio::test]
async fn a_page_of_another_site_cannot_change_state() {
    let service = service(&[]);
    let page = [("origin", "http://evil.example"), ("sec-fetch-site", "cross-site")];
    let (status, headers) = send(&service, "POST", "/", &page).await;
    assert_eq!((status, headers["content-type"].as_str()), (403, "application/problem+json"));
    assert!(headers.contains_key("x-request-id"));
    assert_eq!(send(&service, "POST", "/", &[]).await.0, 202, "a program");
}

#[tokio::test]
async fn requests_with_a_foreign_host_or_origin_are_counted_apart() {
    let service = service(&[]);
    let counts = || {
        let counters = serde_json::to_value(&**service.counters()).unwrap();
        (counters["host_not_allowed"].as_u64().unwrap(), counters["cross_origin"].as_u64().unwrap())
    };
    let request = Request::get("/").header("host", "evil.example").body(Body::empty()).unwrap();
    assert_eq!((service.handle(request).await.status().as_u16(), counts()), (421, (1, 0)));
    let page = [("origin", "http://evil.example")];
    assert_eq!((send(&service, "POST", "/", &page).await.0, counts()), (403, (1, 1)));
    assert_eq!((send(&service, "POST", "/", &[]).await.0, counts()), (202, (1, 1)));
}

#[tokio::test]
async fn without_cors_origins_no_response_has_cors_headers() {
    let service = service(&[]);
    let (status, headers) = send(&service, "GET", "/", &[("origin", APP)]).await;
    assert_eq!(status, 200);
    assert!(headers.keys().all(|name| name != "vary" && !name.starts_with("access-control")));
    let preflight = [("origin", APP), ("access-control-request-method", "POST")];
    assert_eq!(send(&service, "OPTIONS", "/", &preflight).await.0, 405);
}

#[tokio::test]
async fn the_preflight_request_of_a_configured_origin_is_answered() {
    let service = service(&[APP, "http://localhost:3000"]);
    let preflight = [
        ("origin", APP),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type,idempotency-key"),
    ];
    let (status, headers) = send(&service, "OPTIONS", "/", &preflight).await;
    assert_eq!((status, headers["access-control-allow-origin"].as_str()), (204, APP));
    assert_eq!(headers["access-control-allow-headers"], "content-type,idempotency-key");
    assert!(headers["access-control-allow-methods"].contains("POST"));
    assert!(headers["vary"].contains("origin"), "{headers:?}");
    let foreign = [("origin", "https://evil.example"), preflight[1]];
    let (status, headers) = send(&service, "OPTIONS", "/", &foreign).await;
    assert!(status == 405 && !headers.contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn a_page_of_a_configured_origin_may_read_every_response_and_change_state() {
    let service = service(&[APP]);
    let page = [("origin", APP), ("sec-fetch-site", "cross-site")];
    for (method, path, status) in
        [("POST", "/", 202), ("GET", "/", 200), ("GET", "/panic", 500), ("GET", "/nowhere", 404)]
    {
        let (found, headers) = send(&service, method, path, &page).await;
        assert_eq!(
            (found, headers["access-control-allow-origin"].as_str()),
            (status, APP),
            "{method} {path}"
        );
        assert!(headers["access-control-expose-headers"].contains("x-request-id"));
        assert_eq!(headers["vary"], "origin");
    }
    let (status, headers) = send(&service, "GET", "/", &[]).await;
    assert_eq!(
        (status, headers["vary"].as_str()),
        (200, "origin"),
        "a cache must not give this response to a page"
    );
    assert!(!headers.contains_key("access-control-allow-origin"));
    assert_eq!(send(&service, "POST", "/", &[("origin", "https://evil.example")]).await.0, 403);
}
