//! The routes of DESIGN 9, a file each.

mod crashes;
mod events;
mod faults;
mod health;
mod quarantine;
mod series;
mod stats;
mod workers;

use crate::{
    bulkhead::Bulkhead,
    problem::{Kind, Problem},
};
use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    routing::{get, post},
};

/// Our routes and a user's own. Paths that begin with `/v1/` are ours: a user's route at one that exists is a panic at
/// the start, and one that does not exist yet may be taken by a later version.
pub(crate) fn router(own: Router<Bulkhead>, bulkhead: Bulkhead) -> Router {
    let max_body = usize::try_from(bulkhead.settings().max_body).unwrap_or(usize::MAX);
    Router::new()
        .route("/v1/events", post(events::accept))
        .route("/v1/stats", get(stats::show))
        .route("/v1/series", get(series::list))
        .route("/v1/series/{name}", get(series::show))
        .route("/v1/workers", get(workers::list))
        .route("/v1/crashes", get(crashes::list))
        .route("/v1/crashes/{id}", get(crashes::show))
        .route("/v1/faults/{worker}/{kind}", post(faults::induce))
        .route("/v1/quarantine", get(quarantine::list))
        .route("/v1/quarantine/{seq}", get(quarantine::show).delete(quarantine::discard))
        .route("/v1/quarantine/{seq}/replay", post(quarantine::replay))
        .route("/livez", get(health::live))
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .merge(own.layer(DefaultBodyLimit::max(max_body)))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(bulkhead)
}

/// Also for what does not exist because it is not enabled: it is the same answer.
pub(crate) async fn not_found(request: Request) -> Problem {
    Problem::new(Kind::NotFound, format!("there is no route {:?}", request.uri().path()))
}

async fn method_not_allowed(request: Request) -> Problem {
    let detail = format!(
        "{} is not a method of {:?}; the Allow header names those that are",
        request.method(),
        request.uri().path()
    );
    Problem::new(Kind::MethodNotAllowed, detail)
}

#[cfg(test)]
mod crashes_tests;
#[cfg(test)]
mod keyed_tests;
#[cfg(test)]
mod quarantine_tests;
#[cfg(test)]
mod tests;
