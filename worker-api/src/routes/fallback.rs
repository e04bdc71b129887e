//! Responses to requests that no route handles.

use crate::http::problem::{Problem, ProblemKind};
use axum::extract::Request;

/// Also the response of a route that is not enabled: a client cannot distinguish the two.
pub(super) async fn not_found(request: Request) -> Problem {
    Problem::new(ProblemKind::NotFound, format!("there is no route {:?}", request.uri().path()))
}

pub(super) async fn method_not_allowed(request: Request) -> Problem {
    let detail = format!(
        "method {} is not allowed for {:?}; the Allow header lists the allowed methods",
        request.method(),
        request.uri().path()
    );
    Problem::new(ProblemKind::MethodNotAllowed, detail)
}
