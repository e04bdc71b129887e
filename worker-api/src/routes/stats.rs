//! `GET /v1/stats`.

use crate::{
    handle::ApiHandle,
    http::problem::{Problem, json_response},
};
use axum::{extract::State, response::Response};

pub(super) async fn show(State(api): State<ApiHandle>) -> Result<Response, Problem> {
    json_response(&api.stats())
}
