//! `POST /v1/events`: the hot path.

use crate::{
    Authorized, Bulkhead, RequestId, body,
    bulkhead::arrival_ms,
    idempotency,
    parse::{self, Form, Rules},
    problem::{Kind, Problem, with_type},
};
use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use bulkhead_proto::shm::ring::{AppendOutcome, Appended, Batch, KeyedRequest};

pub(super) async fn accept(
    _: Authorized,
    State(bulkhead): State<Bulkhead>,
    request: Request,
) -> Result<Response, Problem> {
    // The body first: a client that is refused while it still sends would not see why.
    let (head, body, _room) =
        body::read(request, bulkhead.settings().max_body, bulkhead.body_memory()).await?;
    let form = body::form_of(&head.headers)?;
    // No await from here on: the batch is the thread's.
    let request = idempotency::request(&head.headers, form, &body)?;
    let outcome = append(&bulkhead, &body, form, request)?;
    let (AppendOutcome::Appended(appended) | AppendOutcome::Replayed(appended)) = outcome;
    let mut response = with_type(StatusCode::ACCEPTED, "application/json", receipt(appended));
    if matches!(outcome, AppendOutcome::Replayed(_)) {
        response.headers_mut().extend([idempotency::REPLAYED]);
    }
    Ok(response)
}

fn append(
    bulkhead: &Bulkhead,
    body: &[u8],
    form: Form,
    request: Option<KeyedRequest>,
) -> Result<AppendOutcome, Problem> {
    let id = RequestId::current();
    let rules = Rules {
        arrived_ms: arrival_ms(),
        request_id: id.as_ref().map(RequestId::as_str),
        faults: bulkhead.settings().faults,
    };
    let fill = |batch: &mut Batch| -> Result<(), Problem> {
        let mut refused = None;
        parse::parse(body, form, &rules, &mut |event| {
            if let Err(error) = batch.push(event) {
                refused.get_or_insert(error);
            }
        })?;
        // The parser knows the same bounds; this is for the day when it does not.
        refused.map_or(Ok(()), |error| Err(Problem::new(Kind::BadEvent, error.to_string())))
    };
    match request {
        None => bulkhead.append_with(fill).map(AppendOutcome::Appended),
        Some(request) => bulkhead.append_once(request, fill),
    }
}

/// The answer, written by hand: this is the one that counts.
fn receipt(Appended { first, last }: Appended) -> Vec<u8> {
    let mut number = itoa::Buffer::new();
    let mut answer = Vec::with_capacity(96);
    answer.extend_from_slice(b"{\"accepted\":");
    answer.extend_from_slice(number.format(last.0 - first.0 + 1).as_bytes());
    answer.extend_from_slice(b",\"first_seq\":");
    answer.extend_from_slice(number.format(first.0).as_bytes());
    answer.extend_from_slice(b",\"last_seq\":");
    answer.extend_from_slice(number.format(last.0).as_bytes());
    answer.push(b'}');
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkhead_proto::wire::ids::Seq;

    #[test]
    fn the_receipt_names_count_and_seqs() {
        let receipt = receipt(Appended { first: Seq(u64::MAX - 1), last: Seq(u64::MAX) });
        let wanted = r#"{"accepted":2,"first_seq":18446744073709551614,"last_seq":18446744073709551615}"#;
        assert_eq!(str::from_utf8(&receipt), Ok(wanted));
    }
}
