//! A keep-alive HTTP client that distinguishes three results: a response, a refused connection, a broken connection.

use serde_json::Value;
use std::{collections::BTreeMap, io, net::SocketAddr};
use ureq::{Agent, Body};

use crate::log::DEADLINE;

/// A response with any status.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers, names in lower case.
    pub headers: ureq::http::HeaderMap,
    /// The body.
    pub body: String,
}

/// Why there is no response.
#[derive(Debug)]
pub enum RequestError {
    /// The connection was refused, which must never happen while the supervisor runs.
    Refused,
    /// The connection broke. The request may have been executed or not.
    Broken(String),
}

impl Response {
    /// The body as JSON.
    ///
    /// # Panics
    /// If the body is not JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in the response {self:?}"))
    }

    /// Whether the status is 2xx.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        self.status / 100 == 2
    }

    /// The text of a header; empty if the header is absent.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// A client with its own connection, which stays open between requests. The client never repeats a request.
pub struct Client {
    agent: Agent,
    base: String,
    token: Option<String>,
}

impl Client {
    /// A client of this server. The first request opens the connection.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        let config =
            Agent::config_builder().http_status_as_error(false).timeout_global(Some(DEADLINE)).build();
        Self { agent: config.new_agent(), base: format!("http://{address}"), token: None }
    }

    /// The client with this bearer token for its POST requests.
    #[must_use]
    pub fn with_token(self, token: &str) -> Self {
        Self { token: Some(format!("Bearer {token}")), ..self }
    }

    /// Sends a GET request.
    ///
    /// # Errors
    /// If there is no response.
    pub fn get(&self, path: &str) -> Result<Response, RequestError> {
        read_response(self.agent.get(format!("{}{path}", self.base)).call())
    }

    /// Sends a POST request.
    ///
    /// # Errors
    /// If there is no response.
    pub fn post(&self, path: &str, content_type: &str, body: &str) -> Result<Response, RequestError> {
        let mut request = self.agent.post(format!("{}{path}", self.base)).content_type(content_type);
        if let Some(token) = &self.token {
            request = request.header("authorization", token);
        }
        read_response(request.send(body))
    }

    /// Sends a DELETE request.
    ///
    /// # Errors
    /// If there is no response.
    pub fn delete(&self, path: &str) -> Result<Response, RequestError> {
        read_response(self.agent.delete(format!("{}{path}", self.base)).call())
    }

    /// Posts events with an `Idempotency-Key`.
    ///
    /// # Errors
    /// If there is no response.
    pub fn post_events_with_key(
        &self,
        key: &str,
        content_type: &str,
        body: &str,
    ) -> Result<Response, RequestError> {
        let request = self.agent.post(format!("{}/v1/events", self.base)).content_type(content_type);
        read_response(request.header("idempotency-key", key).send(body))
    }

    /// Posts events with an `X-Request-Id`, and with an `Idempotency-Key` if `key` is given.
    ///
    /// # Errors
    /// If there is no response.
    pub fn post_events_with_id(
        &self,
        id: &str,
        key: Option<&str>,
        content_type: &str,
        body: &str,
    ) -> Result<Response, RequestError> {
        let mut request = self.agent.post(format!("{}/v1/events", self.base)).content_type(content_type);
        request = request.header("x-request-id", id);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        read_response(request.send(body))
    }

    /// Posts JSON to `/v1/events`.
    ///
    /// # Errors
    /// If there is no response.
    pub fn post_events(&self, json: &str) -> Result<Response, RequestError> {
        self.post("/v1/events", "application/json", json)
    }

    /// Sends a GET request whose response must be a 2xx with JSON.
    ///
    /// # Panics
    /// If there is no response or another one.
    #[must_use]
    pub fn get_json(&self, path: &str) -> Value {
        match self.get(path) {
            Ok(response) if response.is_success() => response.json(),
            other => panic!("GET {path}: {other:?}"),
        }
    }

    /// All items of a list, read page by page. `path` must have a query.
    ///
    /// # Panics
    /// As [`Self::get_json`].
    #[must_use]
    pub fn all_items(&self, path: &str) -> Vec<Value> {
        let (mut items, mut after) = (Vec::new(), String::new());
        loop {
            let mut page = self.get_json(&format!("{path}{after}"));
            items.append(page["items"].as_array_mut().unwrap());
            let (name, number) = (page["next"].as_str().map(str::to_owned), page["next"].as_u64());
            match name.or(number.map(|number| number.to_string())) {
                Some(next) => after = format!("&after={next}"),
                None => return items,
            }
        }
    }

    /// All series, by name.
    ///
    /// # Panics
    /// As [`Self::get_json`].
    #[must_use]
    pub fn all_series(&self) -> BTreeMap<String, Value> {
        let items = self.all_items("/v1/series?limit=100");
        items.into_iter().map(|item| (item["series"].as_str().unwrap().to_owned(), item)).collect()
    }
}

fn read_response(result: Result<ureq::http::Response<Body>, ureq::Error>) -> Result<Response, RequestError> {
    let mut response = result.map_err(classify_error)?;
    let body = response.body_mut().read_to_string().map_err(classify_error)?;
    Ok(Response { status: response.status().as_u16(), headers: response.headers().clone(), body })
}

#[allow(
    clippy::wildcard_enum_match_arm,
    clippy::needless_pass_by_value,
    reason = "the signature and the match fit `map_err` on a foreign enum"
)]
fn classify_error(error: ureq::Error) -> RequestError {
    match &error {
        ureq::Error::Io(io) if io.kind() == io::ErrorKind::ConnectionRefused => RequestError::Refused,
        ureq::Error::ConnectionFailed => RequestError::Refused,
        other => RequestError::Broken(other.to_string()),
    }
}
