//! Reads a request body: checks its media type and its size.

use super::{
    limits::{MAX_BODY_MEMORY, SMALL_BODY},
    problem::{Problem, ProblemKind},
};
use crate::parse::BodyFormat;
use axum::{
    body::{Body, HttpBody},
    extract::Request,
    http::{HeaderMap, header, request::Parts},
};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use std::{error::Error, io};
use tokio::sync::{Semaphore, SemaphorePermit};

/// A reservation grows in steps of this many KiB. A power of two; the largest bodies need few steps.
const RESERVATION_STEP_KIB: usize = 64;

/// The most bytes of a refused body that are still read.
const MAX_DISCARDED: usize = 64 << 20;

/// The body format that the headers announce.
///
/// # Errors
/// When the media type is unknown.
pub(crate) fn format_of(headers: &HeaderMap) -> Result<BodyFormat, Problem> {
    let content_type = headers.get(header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    parse_media_type(content_type).ok_or_else(|| {
        let content_type = String::from_utf8_lossy(content_type);
        let detail = format!(
            "expected Content-Type \"application/json\" (an object or an array) or \"application/x-ndjson\"; found {content_type:?}"
        );
        Problem::new(ProblemKind::UnsupportedMediaType, detail)
    })
}

fn parse_media_type(content_type: &[u8]) -> Option<BodyFormat> {
    let mut parts = content_type.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
    let essence = parts.next()?;
    let format = if essence.eq_ignore_ascii_case(b"application/json") {
        BodyFormat::Json
    } else if essence.eq_ignore_ascii_case(b"application/x-ndjson") {
        BodyFormat::Ndjson
    } else {
        return None;
    };
    // JSON is UTF-8 (RFC 8259). The only parameter that is accepted is a charset that says so.
    let utf8 = |part: &[u8]| {
        part.is_empty()
            || part.eq_ignore_ascii_case(b"charset=utf-8")
            || part.eq_ignore_ascii_case(b"charset=\"utf-8\"")
    };
    parts.all(utf8).then_some(format)
}

/// The memory for all large bodies that are being received. A body for which no memory is left is refused at once: if
/// bodies waited, they would hold the memory that other bodies wait for.
#[derive(Debug)]
pub(crate) struct BodyMemory(Semaphore);

impl BodyMemory {
    pub(crate) fn new(max_body: u64) -> Self {
        let kib = MAX_BODY_MEMORY.max(max_body.saturating_mul(2)) >> 10;
        Self(Semaphore::new(usize::try_from(kib).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS)))
    }

    pub(super) const fn reservation(&self) -> BodyReservation<'_> {
        BodyReservation { memory: self, permit: None }
    }
}

/// The part of the memory that one body has reserved.
#[derive(Debug)]
pub(crate) struct BodyReservation<'m> {
    memory: &'m BodyMemory,
    permit: Option<SemaphorePermit<'m>>,
}

impl BodyReservation<'_> {
    /// Reserves memory for this many received bytes. The announced length is not reserved, because those bytes may
    /// never come.
    pub(super) fn grow_to(&mut self, bytes: usize) -> Result<(), Problem> {
        let needed =
            bytes.saturating_sub(SMALL_BODY).div_ceil(RESERVATION_STEP_KIB << 10) * RESERVATION_STEP_KIB;
        let reserved = self.permit.as_ref().map_or(0, SemaphorePermit::num_permits);
        let Some(more) = needed.checked_sub(reserved).filter(|&more| more > 0) else { return Ok(()) };
        let acquired = u32::try_from(more).ok().and_then(|more| self.memory.0.try_acquire_many(more).ok());
        let Some(acquired) = acquired else {
            let detail = "too many large bodies are being received; try again later, or send smaller bodies";
            return Err(Problem::new(ProblemKind::Unavailable, detail));
        };
        match &mut self.permit {
            Some(permit) => permit.merge(acquired),
            none => *none = Some(acquired),
        }
        Ok(())
    }
}

/// Reads a request: its head, its whole body, and the memory reservation of the body.
///
/// # Errors
/// When the body is longer than `max_bytes`, no memory is left for it, or it ends early.
pub(crate) async fn read(
    request: Request,
    max_bytes: u64,
    memory: &BodyMemory,
) -> Result<(Parts, Bytes, BodyReservation<'_>), Problem> {
    let (head, mut body) = request.into_parts();
    let mut reservation = memory.reservation();
    let problem = match collect(&mut body, max_bytes, &mut reservation).await {
        Ok(bytes) => return Ok((head, bytes, reservation)),
        Err(problem) => problem,
    };
    drop(reservation);
    let refused = matches!(problem.kind(), ProblemKind::BodyTooLarge | ProblemKind::Unavailable);
    // A client that sent `Expect: 100-continue` (RFC 9110, 10.1.1) has not sent its body, and will not after a refusal.
    if refused && !head.headers.contains_key(header::EXPECT) {
        discard(&mut body).await;
    }
    Err(problem)
}

/// The problem of a body that is too large.
pub(super) fn too_large(max_bytes: u64) -> Problem {
    let detail = format!(
        "the body may have at most {max_bytes} bytes without compression (`api.max_body`); send the events in several requests"
    );
    Problem::new(ProblemKind::BodyTooLarge, detail)
}

/// Reads the whole body. A body in one piece, the usual case, is not copied.
async fn collect(
    body: &mut Body,
    max_bytes: u64,
    reservation: &mut BodyReservation<'_>,
) -> Result<Bytes, Problem> {
    // Refuse an announced length that is too large before anything is read.
    if body.size_hint().lower() > max_bytes {
        return Err(too_large(max_bytes));
    }
    let mut first = Bytes::new();
    let mut buffer = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| read_error(&error))?.into_data() else { continue };
        let length = first.len() + buffer.len() + data.len();
        if length as u64 > max_bytes {
            return Err(too_large(max_bytes));
        }
        reservation.grow_to(length)?;
        if first.is_empty() && buffer.is_empty() {
            first = data;
        } else {
            buffer.extend_from_slice(&std::mem::take(&mut first));
            buffer.extend_from_slice(&data);
        }
    }
    Ok(if buffer.is_empty() { first } else { buffer.freeze() })
}

/// The problem that describes why a body ended early.
fn read_error(error: &axum::Error) -> Problem {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|io| io.kind() == io::ErrorKind::TimedOut) {
            return Problem::new(ProblemKind::Timeout, "the body arrived too slowly");
        }
        cause = error.source();
    }
    Problem::new(ProblemKind::BrokenBody, error.to_string())
}

/// Reads the rest of a refused body and discards it. Most clients read the response only after they have sent the whole
/// body; otherwise they would only see a broken pipe.
async fn discard(body: &mut Body) {
    let mut left = MAX_DISCARDED;
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        let Some(remaining) = left.checked_sub(length) else { return };
        left = remaining;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use futures_util::stream;

    fn format(content_type: &'static str) -> Option<BodyFormat> {
        format_of(&HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))]))
            .ok()
    }

    #[test]
    fn the_media_type_selects_the_body_format() {
        for json in [
            "application/json",
            "Application/JSON; charset=UTF-8",
            "application/json;charset=\"utf-8\"",
            "application/json;",
        ] {
            assert_eq!(format(json), Some(BodyFormat::Json), "{json}");
        }
        assert_eq!(format("application/x-ndjson ; charset=utf-8"), Some(BodyFormat::Ndjson));
        for other in [
            "",
            "text/plain",
            "application/jsonp",
            "application/json; charset=latin1",
            "application/x-www-form-urlencoded",
        ] {
            assert_eq!(format(other), None, "{other}");
        }
        assert!(format_of(&HeaderMap::new()).is_err());
    }

    fn streamed(parts: &'static [&'static str]) -> Body {
        Body::from_stream(stream::iter(parts.iter().map(|part| Ok::<_, io::Error>(*part))))
    }

    async fn read(mut body: Body, max_bytes: u64) -> Result<Bytes, ProblemKind> {
        let memory = BodyMemory::new(max_bytes);
        collect(&mut body, max_bytes, &mut memory.reservation()).await.map_err(|problem| problem.kind())
    }

    #[tokio::test]
    async fn a_body_is_read_completely_up_to_its_limit() {
        assert_eq!(read(Body::from("12345"), 5).await.unwrap(), "12345");
        assert_eq!(read(streamed(&["12", "", "3", "45"]), 5).await.unwrap(), "12345");
        assert_eq!(read(Body::empty(), 5).await.unwrap(), "");
        for body in [Body::from("123456"), streamed(&["123", "456"])] {
            assert_eq!(read(body, 5).await, Err(ProblemKind::BodyTooLarge));
        }
    }

    #[tokio::test]
    async fn a_body_that_ends_early_is_refused() {
        let broken = |error| Body::from_stream(stream::iter([Ok("12"), Err(error)]));
        assert_eq!(read(broken(io::Error::other("reset")), 5).await, Err(ProblemKind::BrokenBody));
        assert_eq!(read(broken(io::ErrorKind::TimedOut.into()), 5).await, Err(ProblemKind::Timeout));
    }

    #[test]
    fn large_bodies_share_a_memory_limit_and_small_ones_need_no_reservation() {
        let memory = BodyMemory::new(4 << 20);
        let mut large: Vec<_> = (0..16).map(|_| memory.reservation()).collect();
        for reservation in &mut large {
            reservation.grow_to(1 << 20).unwrap();
            reservation.grow_to(4 << 20).unwrap();
        }
        assert_eq!(
            memory.reservation().grow_to(SMALL_BODY + 1).unwrap_err().kind(),
            ProblemKind::Unavailable
        );
        memory.reservation().grow_to(SMALL_BODY).unwrap();
        large.pop();
        memory.reservation().grow_to(4 << 20).unwrap();
    }
}
