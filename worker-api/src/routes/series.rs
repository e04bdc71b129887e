//! `GET /v1/series` and `GET /v1/series/{name}`: answered from the last commit, without waiting for the analysis.
//! `DELETE /v1/series/{name}`: accepted like an event.

use super::{authorized::Authorized, events, valid::Valid};
use crate::{
    handle::{ApiHandle, records::check_limit, series::SeriesRead},
    http::{
        idempotency::{self, Keyed},
        problem::{Problem, ProblemKind, typed_response},
    },
};
use axum::{
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use bulkhead_proto::wire::series::OVERFLOW_SERIES;
use serde::Deserialize;
use std::sync::Arc;

/// The default number of series on a page.
const PAGE_LIMIT: usize = 100;

/// The most series on a page.
const MAX_PAGE_LIMIT: usize = 1000;

/// A page ends early when it exceeds this many bytes; `next` says where to continue. A series may take up to 16 MiB.
const MAX_PAGE_BYTES: usize = 4 << 20;

/// The query of a list request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SeriesQuery {
    #[serde(default)]
    prefix: String,
    limit: Option<usize>,
    after: Option<String>,
}

pub(super) async fn show(
    State(api): State<ApiHandle>,
    Valid(Path(name)): Valid<Path<String>>,
) -> Result<Response, Problem> {
    let mut json = Vec::new();
    match api.write_series(&name, &mut json) {
        SeriesRead::Written => Ok(typed_response(StatusCode::OK, "application/json", json)),
        SeriesRead::RenderFailed(reason) => {
            Err(Problem::new(ProblemKind::RenderFailed, format!("series {name:?}: {reason}")))
        }
        SeriesRead::Unreadable => {
            let detail = format!(
                "the stored state of {name:?}, or of all series, does not verify, and no good copy is left; \
                 see the supervisor's log"
            );
            Err(Problem::new(ProblemKind::Unavailable, detail))
        }
        SeriesRead::Missing => Err(missing(&api, &name)),
    }
}

pub(super) async fn remove(
    _: Authorized,
    State(api): State<ApiHandle>,
    Valid(Path(name)): Valid<Path<String>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let request = idempotency::keyed_request(&headers, Keyed::Removal(&name))?;
    let outcome = api.append_removal(request, &name, || {
        if api.may_have_series(&name) { Ok(()) } else { Err(missing(&api, &name)) }
    })?;
    Ok(events::accepted(outcome))
}

fn missing(api: &ApiHandle, name: &str) -> Problem {
    let merged = if api.has_merged_series() {
        let max = api.settings().max_series;
        format!(
            "; if it has events, they count in {OVERFLOW_SERIES:?}, because analytics.max_series ({max}) is reached"
        )
    } else {
        String::new()
    };
    let detail = format!("the last commit has no series {name:?}{merged}");
    Problem::new(ProblemKind::NotFound, detail)
}

pub(super) async fn list(
    State(api): State<ApiHandle>,
    Valid(Query(query)): Valid<Query<SeriesQuery>>,
) -> Result<Response, Problem> {
    let limit = check_limit(query.limit.unwrap_or(PAGE_LIMIT), MAX_PAGE_LIMIT)?;
    // Ask for one more than the limit, to know whether there is a next page.
    let names = names(api.clone(), query, limit + 1).await?;
    let mut json = b"{\"items\":[".to_vec();
    let mut shown = 0;
    for name in names.iter().take(limit) {
        let end = json.len();
        if !json.ends_with(b"[") {
            json.push(b',');
        }
        match api.write_series(name, &mut json) {
            SeriesRead::Written => {}
            SeriesRead::RenderFailed(reason) => write_failed(name, &reason, &mut json),
            SeriesRead::Missing | SeriesRead::Unreadable => json.truncate(end),
        }
        shown += 1;
        if json.len() > MAX_PAGE_BYTES {
            break;
        }
    }
    let next = names[..shown].last().filter(|_| names.len() > shown);
    let next = serde_json::to_string(&next.map(|name| &**name))
        .map_err(|error| Problem::new(ProblemKind::Internal, error.to_string()))?;
    json.extend_from_slice(b"],\"next\":");
    json.extend_from_slice(next.as_bytes());
    json.push(b'}');
    Ok(typed_response(StatusCode::OK, "application/json", json))
}

/// Lists names where nothing else waits: the first list reads the names of all series.
async fn names(api: ApiHandle, query: SeriesQuery, limit: usize) -> Result<Vec<Arc<str>>, Problem> {
    let list = move || api.series_names(&query.prefix, query.after.as_deref(), limit);
    let listed = tokio::task::spawn_blocking(list).await;
    listed.map_err(|error| Problem::new(ProblemKind::Internal, error.to_string()))
}

/// The item of a series that could not be rendered.
fn write_failed(name: &str, reason: &str, json: &mut Vec<u8>) {
    let item =
        serde_json::json!({ "series": name, "problem": ProblemKind::RenderFailed.urn(), "detail": reason });
    json.extend_from_slice(item.to_string().as_bytes());
}
