//! `POST /v1/events`: the hot path.

use super::authorized::Authorized;
use crate::{
    clock::arrival_ms,
    handle::ApiHandle,
    http::{
        body, idempotency,
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
use bulkhead_proto::shm::ring::{AppendOutcome, Appended, Batch, KeyedRequest};

pub(super) async fn accept(
    _: Authorized,
    State(api): State<ApiHandle>,
    request: Request,
) -> Result<Response, Problem> {
    // Read the body first: a client that is refused while it still sends would not see the response.
    let (head, body, _reservation) = body::read(request, api.settings().max_body, api.body_memory()).await?;
    let format = body::format_of(&head.headers)?;
    // No await from here on: the batch buffer belongs to the thread.
    let request = idempotency::keyed_request(&head.headers, format, &body)?;
    let outcome = append(&api, &body, format, request)?;
    let (AppendOutcome::Appended(appended) | AppendOutcome::Replayed(appended)) = outcome;
    let mut response = typed_response(StatusCode::ACCEPTED, "application/json", receipt(appended));
    if matches!(outcome, AppendOutcome::Replayed(_)) {
        response.headers_mut().extend([idempotency::REPLAYED_HEADER]);
    }
    Ok(response)
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
    };
    let fill = |batch: &mut Batch| -> Result<(), Problem> {
        let mut push_error = None;
        parse::parse(body, format, &context, &mut |event| {
            if let Err(error) = batch.push(event) {
                push_error.get_or_insert(error);
            }
        })?;
        // The parser checks the same bounds. This guards against a difference between the two.
        push_error.map_or(Ok(()), |error| Err(Problem::new(ProblemKind::BadEvent, error.to_string())))
    };
    match request {
        None => api.append_with(fill).map(AppendOutcome::Appended),
        Some(request) => api.append_once(request, fill),
    }
}

/// The response body, written without serde because this is the hot path.
fn receipt(Appended { first, last }: Appended) -> Vec<u8> {
    let mut number = itoa::Buffer::new();
    let mut json = Vec::with_capacity(96);
    json.extend_from_slice(b"{\"accepted\":");
    json.extend_from_slice(number.format(last.0 - first.0 + 1).as_bytes());
    json.extend_from_slice(b",\"first_seq\":");
    json.extend_from_slice(number.format(first.0).as_bytes());
    json.extend_from_slice(b",\"last_seq\":");
    json.extend_from_slice(number.format(last.0).as_bytes());
    json.push(b'}');
    json
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkhead_proto::wire::ids::Seq;

    #[test]
    fn the_receipt_holds_count_and_seqs() {
        let receipt = receipt(Appended { first: Seq(u64::MAX - 1), last: Seq(u64::MAX) });
        let expected = r#"{"accepted":2,"first_seq":18446744073709551614,"last_seq":18446744073709551615}"#;
        assert_eq!(str::from_utf8(&receipt), Ok(expected));
    }
}
