//! `GET /v1/series` and `GET /v1/series/{name}`: always answered at once, from the last commit.

use crate::{
    Bulkhead,
    problem::{Kind, Problem, with_type},
};
use axum::{
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::StatusCode,
    response::Response,
};
use serde::Deserialize;

/// How many series a page has unless the client says otherwise.
const PAGE: usize = 100;

/// The most series on a page.
const MAX_PAGE: usize = 1000;

/// A page that has grown beyond this, in bytes, ends early; `next` says where to go on. A series may take up to 64 KiB.
const MAX_PAGE_BYTES: usize = 4 << 20;

/// The query of a list.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Page {
    prefix: String,
    limit: usize,
    after: Option<String>,
}

impl Default for Page {
    fn default() -> Self {
        Self { prefix: String::new(), limit: PAGE, after: None }
    }
}

pub(super) async fn show(
    State(bulkhead): State<Bulkhead>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let Path(name) = name?;
    let mut answer = Vec::new();
    if bulkhead.write_series(&name, &mut answer) {
        return Ok(with_type(StatusCode::OK, "application/json", answer));
    }
    if bulkhead.is_unreadable(&name) {
        let detail = format!(
            "what the analysis left of {name:?}, or of all series, does not verify, and no good copy is left; \
             see the supervisor's log"
        );
        return Err(Problem::new(Kind::Unavailable, detail));
    }
    let detail = format!("there is no series {name:?} as of the last commit");
    Err(Problem::new(Kind::NotFound, detail))
}

pub(super) async fn list(
    State(bulkhead): State<Bulkhead>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(page) = page?;
    if !(1..=MAX_PAGE).contains(&page.limit) {
        let detail = format!("a limit of 1 to {MAX_PAGE} is wanted; found {}", page.limit);
        return Err(Problem::new(Kind::BadRequest, detail));
    }
    // One more than asked for tells whether there is a next page.
    let names = bulkhead.series_names(&page.prefix, page.after.as_deref(), page.limit + 1);
    let mut answer = b"{\"items\":[".to_vec();
    let mut shown = 0;
    for name in names.iter().take(page.limit) {
        let end = answer.len();
        if !answer.ends_with(b"[") {
            answer.push(b',');
        }
        if !bulkhead.write_series(name, &mut answer) {
            answer.truncate(end);
        }
        shown += 1;
        if answer.len() > MAX_PAGE_BYTES {
            break;
        }
    }
    let next = names[..shown].last().filter(|_| names.len() > shown);
    let next = serde_json::to_string(&next.map(|name| &**name))
        .map_err(|error| Problem::new(Kind::Internal, error.to_string()))?;
    answer.extend_from_slice(b"],\"next\":");
    answer.extend_from_slice(next.as_bytes());
    answer.push(b'}');
    Ok(with_type(StatusCode::OK, "application/json", answer))
}
