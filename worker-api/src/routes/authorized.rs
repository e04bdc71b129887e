//! The extractor that requires the bearer token.

use crate::{handle::ApiHandle, http::problem::Problem};
use axum::{
    extract::{FromRef, FromRequestParts},
    http::request::Parts,
};

/// An extractor for routes that change state: the request has the bearer token, or none is configured.
///
/// The built-in routes that change state use it. Use it in your own too, before any extractor that reads the body:
///
/// ```no_run
/// # use axum::{extract::State, http::StatusCode};
/// # use bulkhead_worker_api::{ApiHandle, AppendError, Authorized, NewEvent};
/// async fn tick(_: Authorized, State(api): State<ApiHandle>) -> Result<StatusCode, AppendError> {
///     api.append(&[NewEvent::new("ticks", 1.0)])?;
///     Ok(StatusCode::ACCEPTED)
/// }
/// ```
///
/// Without a valid token, the response is 401 with `WWW-Authenticate: Bearer`.
#[derive(Clone, Copy, Debug)]
pub struct Authorized(());

impl<S> FromRequestParts<S> for Authorized
where
    ApiHandle: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let api = ApiHandle::from_ref(state);
        api.token().map_or(Ok(()), |token| token.authorize(&parts.headers))?;
        Ok(Self(()))
    }
}
