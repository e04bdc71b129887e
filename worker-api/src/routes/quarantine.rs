//! `/v1/quarantine`: events that were set aside, to be looked at, appended once more, or dropped.

use crate::{
    Authorized, Bulkhead,
    problem::{Kind, Problem, json, with_type},
};
use axum::{
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::StatusCode,
    response::Response,
};
use bulkhead_proto::{control::Request, ids::Seq, quarantine::Entry};
use serde::{Deserialize, Serialize};

/// How many events a page has unless the client says otherwise, and the most.
const PAGE: usize = 100;

/// The query of a list.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Page {
    limit: usize,
    after: Seq,
}

impl Default for Page {
    fn default() -> Self {
        Self { limit: PAGE, after: Seq(0) }
    }
}

#[derive(Serialize)]
struct List {
    items: Vec<Entry>,
    next: Option<Seq>,
}

type Number = Result<Path<u64>, PathRejection>;

pub(super) async fn list(
    State(bulkhead): State<Bulkhead>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(Page { limit, after }) = page.map_err(|bad| Problem::new(Kind::BadRequest, bad.body_text()))?;
    if !(1..=PAGE).contains(&limit) {
        let detail = format!("a limit of 1 to {PAGE} is wanted; found {limit}");
        return Err(Problem::new(Kind::BadRequest, detail));
    }
    let (items, next) = bulkhead.read_set_aside(move |folder| folder.page(after, limit)).await?;
    json(&List { items, next })
}

pub(super) async fn show(State(bulkhead): State<Bulkhead>, seq: Number) -> Result<Response, Problem> {
    json(&bulkhead.set_aside(number(seq)?).await?)
}

pub(super) async fn discard(
    _: Authorized,
    State(bulkhead): State<Bulkhead>,
    seq: Number,
) -> Result<Response, Problem> {
    let seq = number(seq)?;
    bulkhead.desk().ask(Request::Drop { seq, replayed_as: None }).await?;
    json(&serde_json::json!({ "dropped": seq }))
}

pub(super) async fn replay(
    _: Authorized,
    State(bulkhead): State<Bulkhead>,
    seq: Number,
) -> Result<Response, Problem> {
    let seq = number(seq)?;
    let new = bulkhead.replay(seq).await?;
    let body = serde_json::json!({ "replayed": seq, "seq": new }).to_string();
    Ok(with_type(StatusCode::ACCEPTED, "application/json", body))
}

fn number(seq: Number) -> Result<Seq, Problem> {
    seq.map(|Path(seq)| Seq(seq)).map_err(|bad| Problem::new(Kind::BadRequest, bad.body_text()))
}
