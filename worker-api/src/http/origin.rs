//! Requests of web pages of other sites: which may change state, and what CORS tells their browsers.
//!
//! Browsers send some POST requests of any page without asking the server first. The check is the one of Go's
//! `http.CrossOriginProtection`. `tower-http`'s `CorsLayer` only adds headers for allowed origins; it refuses nothing.

use super::problem::{MAX_QUOTED, Problem, ProblemKind};
use axum::{
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};

const FETCH_SITE: &str = "sec-fetch-site";
const ALLOWED_METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");
const EXPOSED_HEADERS: HeaderValue =
    HeaderValue::from_static("x-request-id, idempotency-replayed, retry-after");
const PREFLIGHT_VARY: HeaderValue =
    HeaderValue::from_static("access-control-request-method, access-control-request-headers");

/// How long a browser may remember the answer to a preflight request, in seconds.
const PREFLIGHT_MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// The rule for requests of web pages of other sites.
#[derive(Clone, Debug, Default)]
pub(crate) struct OriginRule {
    /// `api.cors_origins`.
    allowed: Vec<HeaderValue>,
    /// Whether changes by pages of other origins are refused.
    protects: bool,
}

impl OriginRule {
    /// With a token, nothing needs protection: a page of another site does not know the token.
    pub(crate) fn new(origins: &[String], has_token: bool) -> Self {
        let allowed = origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
        Self { allowed: allowed.collect(), protects: !has_token }
    }

    /// The request's origin, if `api.cors_origins` has it.
    pub(crate) fn allowed_origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(header::ORIGIN)?;
        self.allowed.contains(origin).then(|| origin.clone())
    }

    /// Checks a request whose origin is not in `api.cors_origins`.
    ///
    /// # Errors
    /// When a page of another origin sent it and it could change state. A WebSocket handshake could, too.
    pub(crate) fn check(&self, method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
        let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
            && !headers.contains_key(header::UPGRADE);
        if !self.protects || reads || is_same_origin(headers) {
            return Ok(());
        }
        let origin = headers.get(header::ORIGIN).map_or_else(|| "not named".to_owned(), quote);
        let detail = format!(
            "a web page of another origin ({origin}) may not change state; add its origin to api.cors_origins, or set api.token_file"
        );
        Err(Problem::new(ProblemKind::CrossOrigin, detail))
    }

    /// Answers the preflight request of an allowed origin (Fetch standard, 3.3.2); `None` for any other request.
    pub(crate) fn preflight(method: &Method, headers: &HeaderMap) -> Option<Response> {
        let asked = headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        (*method == Method::OPTIONS && asked).then(|| {
            let mut response = StatusCode::NO_CONTENT.into_response();
            let answer = response.headers_mut();
            answer.insert(header::ACCESS_CONTROL_ALLOW_METHODS, ALLOWED_METHODS);
            answer.insert(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_MAX_AGE);
            answer.insert(header::VARY, PREFLIGHT_VARY);
            if let Some(names) = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
                answer.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
            }
            response
        })
    }

    /// Adds the headers of CORS to a response. `allowed` is the request's origin, if it is allowed.
    pub(crate) fn mark(&self, response: &mut Response, allowed: Option<HeaderValue>) {
        if self.allowed.is_empty() {
            return;
        }
        let headers = response.headers_mut();
        headers.append(header::VARY, HeaderValue::from_static("origin"));
        if let Some(origin) = allowed {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
        }
    }
}

/// The first bytes of a header, for an error.
fn quote(value: &HeaderValue) -> String {
    let bytes = value.as_bytes();
    format!("{:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_QUOTED)]))
}

/// Whether the request comes from a page of the API's own origin, or not from a web page.
fn is_same_origin(headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get(FETCH_SITE) {
        // "none": the user's own action, such as an entry in the address bar.
        return site == "same-origin" || site == "none";
    }
    // Older browsers, and pages without TLS, send `Origin` alone.
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let host = headers.get(header::HOST).map_or(&b""[..], HeaderValue::as_bytes);
    let origin_host = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    origin_host.is_some_and(|(_, origin)| origin.as_bytes().eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|&(name, value)| (name, HeaderValue::from_static(value)));
        pairs.map(|(name, value)| (axum::http::HeaderName::from_static(name), value)).collect()
    }

    fn is_refused(rule: &OriginRule, method: &Method, pairs: &[(&'static str, &'static str)]) -> bool {
        rule.check(method, &headers(pairs)).is_err()
    }

    const FOREIGN: &[&[(&str, &str)]] = &[
        &[("origin", "http://evil.example")],
        &[("origin", "null"), ("host", "localhost:8080")],
        &[("origin", "http://localhost:3000"), ("host", "localhost:8080")],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site"), ("origin", "http://localhost:3000"), ("host", "localhost:8080")],
    ];

    #[test]
    fn a_page_of_another_origin_may_read_but_not_change_state() {
        let rule = OriginRule::new(&[], false);
        for pairs in FOREIGN {
            for method in [Method::POST, Method::DELETE, Method::PUT, Method::from_bytes(b"X").unwrap()] {
                assert!(is_refused(&rule, &method, pairs), "{method} {pairs:?}");
            }
            for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
                assert!(!is_refused(&rule, &method, pairs), "{method} {pairs:?}");
            }
        }
        assert!(is_refused(
            &rule,
            &Method::GET,
            &[("upgrade", "websocket"), ("origin", "http://evil.example"), ("host", "localhost")]
        ));
    }

    #[test]
    fn programs_and_pages_of_the_api_itself_may_change_state() {
        let rule = OriginRule::new(&[], false);
        for pairs in [
            &[][..],
            &[("host", "localhost:8080")],
            &[("origin", "http://LocalHost:8080"), ("host", "localhost:8080")],
            // A proxy that replaces Host.
            &[
                ("origin", "https://app.example"),
                ("host", "127.0.0.1:8080"),
                ("sec-fetch-site", "same-origin"),
            ],
            &[("sec-fetch-site", "none")],
        ] {
            assert!(!is_refused(&rule, &Method::POST, pairs), "{pairs:?}");
        }
    }

    #[test]
    fn a_token_protects_by_itself() {
        let rule = OriginRule::new(&[], true);
        assert!(FOREIGN.iter().all(|pairs| !is_refused(&rule, &Method::POST, pairs)));
    }

    #[test]
    fn only_a_configured_origin_is_allowed() {
        let rule = OriginRule::new(&["https://app.example".to_owned()], false);
        let allowed = |origin| rule.allowed_origin(&headers(&[("origin", origin)]));
        assert_eq!(allowed("https://app.example").unwrap(), "https://app.example");
        for other in
            ["http://app.example", "https://app.example:8443", "https://app.example.evil.example", "null"]
        {
            assert_eq!(allowed(other), None, "{other}");
        }
        assert_eq!(rule.allowed_origin(&HeaderMap::new()), None);
    }
}
