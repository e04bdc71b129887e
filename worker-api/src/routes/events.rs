//! `POST /v1/events`: the hot path.

use super::authorized::Authorized;
use crate::{
    handle::ApiHandle,
    http::{
        body,
        encoding::Encoding,
        idempotency::{self, Keyed},
        problem::{Problem, ProblemKind, typed_response},
        request_id::RequestId,
    },
    parse::{self, BatchContext, BodyFormat},
};
use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use bulkhead_proto::{
    shm::ring::{AppendOutcome, Appended, KeyedRequest},
    wire::time::arrival_ms,
};

pub(super) async fn accept(
    _: Authorized,
    State(api): State<ApiHandle>,
    request: Request,
) -> Result<Response, Problem> {
    // Read the body first: a client that is refused while it still sends would not see the response.
    let max_body = api.settings().max_body;
    let read = body::read(request, max_body, api.body_memory()).await;
    let (head, body, mut reservation) = read.inspect_err(|problem| count_memory_full(&api, problem))?;
    let format = body::format_of(&head.headers)?;
    let body = match Encoding::announced(&head.headers)? {
        Some(encoding) => encoding
            .decode(&body, max_body, &mut reservation)
            .inspect_err(|problem| count_memory_full(&api, problem))?,
        None => body,
    };
    // No await from here on: the batch buffer belongs to the thread.
    let request = idempotency::keyed_request(&head.headers, Keyed::Events(format, &body))?;
    let outcome = append(&api, &body, format, request)?;
    Ok(accepted(outcome))
}

/// The response to a request that was accepted, now or when it was sent before.
pub(super) fn accepted(outcome: AppendOutcome) -> Response {
    let mut response = typed_response(StatusCode::ACCEPTED, "application/json", receipt(outcome.appended()));
    if matches!(outcome, AppendOutcome::Replayed(_)) {
        response.headers_mut().extend([idempotency::REPLAYED_HEADER]);
    }
    response
}

fn count_memory_full(api: &ApiHandle, problem: &Problem) {
    if problem.kind() == ProblemKind::Unavailable {
        api.counters().body_memory_full.count(|requests| {
            tracing::warn!(
                requests,
                "too many large bodies at once; requests that got 503 since the last such line: {requests}; their memory is 64 MiB, \
                 or twice api.max_body"
            );
        });
    }
}

fn append(
    api: &ApiHandle,
    body: &[u8],
    format: BodyFormat,
    request: Option<KeyedRequest>,
) -> Result<AppendOutcome, Problem> {
    let id = RequestId::current();
    let context = BatchContext {
        arrived_ms: arrival_ms(),
        request_id: id.as_ref().map(RequestId::as_str),
        faults: api.settings().faults,
        max_data: api.max_data(),
    };
    api.append_with(request, |batch| {
        Ok(parse::parse(body, format, &context, &mut |event| batch.push(event))?)
    })
}

/// The response body.
fn receipt(Appended { first, last }: Appended) -> String {
    let accepted = last.0 - first.0 + 1;
    format!("{{\"accepted\":{accepted},\"first_seq\":{first},\"last_seq\":{last}}}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkhead_proto::wire::ids::Seq;

    #[test]
    fn the_receipt_holds_count_and_seqs() {
        let receipt = receipt(Appended { first: Seq(u64::MAX - 1), last: Seq(u64::MAX) });
        let expected = r#"{"accepted":2,"first_seq":18446744073709551614,"last_seq":18446744073709551615}"#;
        assert_eq!(receipt, expected);
    }
}
