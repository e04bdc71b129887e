//! A keep-alive HTTP client that tells apart what the tests must tell apart: answered, refused, broken off.

use serde_json::Value;
use std::{collections::BTreeMap, io, net::SocketAddr};
use ureq::{Agent, Body, http::Response};

use crate::log::DEADLINE;

/// A 2xx or any other answer.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers, names in lower case.
    pub headers: ureq::http::HeaderMap,
    /// The body.
    pub body: String,
}

/// No answer.
#[derive(Debug)]
pub enum Failure {
    /// Nobody listened: what must never happen.
    Refused,
    /// The connection died on the way: the request may have been carried out or not.
    Broken(String),
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in the answer {self:?}"))
    }

    /// Whether it is a 2xx.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        self.status / 100 == 2
    }

    /// A header's text; empty when it is absent.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// One client with its own connection, kept alive between requests; it never repeats a request by itself.
pub struct Client {
    agent: Agent,
    base: String,
    token: Option<String>,
}

impl Client {
    /// A client of this server. Connects with its first request.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        let config =
            Agent::config_builder().http_status_as_error(false).timeout_global(Some(DEADLINE)).build();
        Self { agent: config.new_agent(), base: format!("http://{address}"), token: None }
    }

    /// From now on it bears this token.
    #[must_use]
    pub fn bearing(self, token: &str) -> Self {
        Self { token: Some(format!("Bearer {token}")), ..self }
    }

    /// Asks.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn get(&self, path: &str) -> Result<Answer, Failure> {
        received(self.agent.get(format!("{}{path}", self.base)).call())
    }

    /// Posts a body.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn post(&self, path: &str, content_type: &str, body: &str) -> Result<Answer, Failure> {
        let mut request = self.agent.post(format!("{}{path}", self.base)).content_type(content_type);
        if let Some(token) = &self.token {
            request = request.header("authorization", token);
        }
        received(request.send(body))
    }

    /// Deletes.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn delete(&self, path: &str) -> Result<Answer, Failure> {
        received(self.agent.delete(format!("{}{path}", self.base)).call())
    }

    /// Posts events under an `Idempotency-Key`.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn post_keyed(&self, key: &str, content_type: &str, body: &str) -> Result<Answer, Failure> {
        let request = self.agent.post(format!("{}/v1/events", self.base)).content_type(content_type);
        received(request.header("idempotency-key", key).send(body))
    }

    /// Posts events under an `X-Request-Id`, and an `Idempotency-Key` if there is one.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn post_named(
        &self,
        id: &str,
        key: Option<&str>,
        content_type: &str,
        body: &str,
    ) -> Result<Answer, Failure> {
        let mut request = self.agent.post(format!("{}/v1/events", self.base)).content_type(content_type);
        request = request.header("x-request-id", id);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        received(request.send(body))
    }

    /// Posts JSON to `/v1/events`.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn post_events(&self, json: &str) -> Result<Answer, Failure> {
        self.post("/v1/events", "application/json", json)
    }

    /// Asks, and takes nothing but a 2xx with JSON.
    ///
    /// # Panics
    /// On anything else.
    #[must_use]
    pub fn json(&self, path: &str) -> Value {
        match self.get(path) {
            Ok(answer) if answer.is_success() => answer.json(),
            other => panic!("GET {path}: {other:?}"),
        }
    }

    /// The items of a list, read page by page; its path has a query.
    ///
    /// # Panics
    /// As [`Self::json`].
    #[must_use]
    pub fn items(&self, path: &str) -> Vec<Value> {
        let (mut items, mut after) = (Vec::new(), String::new());
        loop {
            let mut page = self.json(&format!("{path}{after}"));
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
    /// As [`Self::json`].
    #[must_use]
    pub fn all_series(&self) -> BTreeMap<String, Value> {
        let items = self.items("/v1/series?limit=100");
        items.into_iter().map(|item| (item["series"].as_str().unwrap().to_owned(), item)).collect()
    }
}

fn received(result: Result<Response<Body>, ureq::Error>) -> Result<Answer, Failure> {
    let mut response = result.map_err(classified)?;
    let body = response.body_mut().read_to_string().map_err(classified)?;
    Ok(Answer { status: response.status().as_u16(), headers: response.headers().clone(), body })
}

#[allow(
    clippy::wildcard_enum_match_arm,
    clippy::needless_pass_by_value,
    reason = "shaped for map_err on a foreign enum"
)]
fn classified(error: ureq::Error) -> Failure {
    match &error {
        ureq::Error::Io(io) if io.kind() == io::ErrorKind::ConnectionRefused => Failure::Refused,
        ureq::Error::ConnectionFailed => Failure::Refused,
        other => Failure::Broken(other.to_string()),
    }
}
