//! The HTTP routes, one file per resource.

pub(crate) mod authorized;
mod crashes;
mod events;
mod fallback;
mod faults;
mod health;
mod quarantine;
mod series;
mod stats;
mod valid;
mod workers;

use crate::handle::ApiHandle;
use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{get, post},
};

/// The built-in routes and a user's own. Paths that start with `/v1/` are reserved: a user's route that collides with
/// an existing one panics at start, and a later version may add routes.
pub(crate) fn router(user_routes: Router<ApiHandle>, api: ApiHandle) -> Router {
    let max_body = usize::try_from(api.settings().max_body).unwrap_or(usize::MAX);
    Router::new()
        .route("/v1/events", post(events::accept))
        .route("/v1/stats", get(stats::show))
        .route("/v1/series", get(series::list))
        .route("/v1/series/{name}", get(series::show).delete(series::remove))
        .route("/v1/workers", get(workers::list))
        .route("/v1/crashes", get(crashes::list))
        .route("/v1/crashes/{id}", get(crashes::show))
        .route("/v1/faults/{worker}/{kind}", post(faults::induce))
        .route("/v1/quarantine", get(quarantine::list))
        .route("/v1/quarantine/replay", post(quarantine::replay_all))
        .route("/v1/quarantine/drop", post(quarantine::drop_all))
        .route("/v1/quarantine/{seq}", get(quarantine::show).delete(quarantine::discard))
        .route("/v1/quarantine/{seq}/replay", post(quarantine::replay))
        .route("/livez", get(health::live))
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .merge(user_routes.layer(DefaultBodyLimit::max(max_body)))
        .fallback(fallback::not_found)
        .method_not_allowed_fallback(fallback::method_not_allowed)
        .with_state(api)
}

#[cfg(test)]
mod tests;
