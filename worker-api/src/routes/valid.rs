//! Extractors that refuse with a problem.

use crate::http::problem::Problem;
use axum::{extract::FromRequestParts, http::request::Parts};

/// The extractor `E`, with its rejection as a [`Problem`].
pub(super) struct Valid<E>(pub(super) E);

impl<S: Sync, E: FromRequestParts<S>> FromRequestParts<S> for Valid<E>
where
    Problem: From<E::Rejection>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Ok(Self(E::from_request_parts(parts, state).await?))
    }
}
