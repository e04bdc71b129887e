//! `GET /v1/stats`.

use crate::{
    Bulkhead,
    problem::{Problem, json},
};
use axum::{extract::State, response::Response};

pub(super) async fn show(State(bulkhead): State<Bulkhead>) -> Result<Response, Problem> {
    json(&bulkhead.stats())
}
