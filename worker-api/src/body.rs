//! Reading a request's body: its media type, and its bytes within the bound.

use crate::{
    limits::{MAX_BODIES, SMALL_BODY},
    parse::Form,
    problem::{Kind, Problem},
};
use axum::{
    body::{Body, HttpBody},
    extract::Request,
    http::{HeaderMap, header, request::Parts},
};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use std::{error::Error, io};
use tokio::sync::{Semaphore, SemaphorePermit};

/// By so much a body's room grows at once, in KiB: a power of two, and few steps for the largest.
const STEP_KIB: usize = 64;

/// How much of a body that is refused is still read, in bytes.
const MAX_DISCARDED: usize = 64 << 20;

/// The layout that the headers announce.
///
/// # Errors
/// When they announce none of ours, or a compressed body.
pub(crate) fn form_of(headers: &HeaderMap) -> Result<Form, Problem> {
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING)
        && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        let detail = format!("a plain body is wanted; found Content-Encoding {encoding:?}");
        return Err(Problem::new(Kind::UnsupportedMediaType, detail));
    }
    let found = headers.get(header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    media(found).ok_or_else(|| {
        let found = String::from_utf8_lossy(found);
        let detail = format!(
            "Content-Type \"application/json\" (an object or an array) or \"application/x-ndjson\" is wanted; found {found:?}"
        );
        Problem::new(Kind::UnsupportedMediaType, detail)
    })
}

fn media(content_type: &[u8]) -> Option<Form> {
    let mut parts = content_type.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
    let essence = parts.next()?;
    let form = if essence.eq_ignore_ascii_case(b"application/json") {
        Form::Json
    } else if essence.eq_ignore_ascii_case(b"application/x-ndjson") {
        Form::Ndjson
    } else {
        return None;
    };
    // JSON is UTF-8 (RFC 8259): the one parameter that people send may say so, and nothing else.
    let utf8 = |part: &[u8]| {
        part.is_empty()
            || part.eq_ignore_ascii_case(b"charset=utf-8")
            || part.eq_ignore_ascii_case(b"charset=\"utf-8\"")
    };
    parts.all(utf8).then_some(form)
}

/// The memory for all large bodies that are on the way at once. Who finds none left is refused at once: waiting bodies
/// would hold what others wait for.
#[derive(Debug)]
pub(crate) struct BodyMemory(Semaphore);

impl BodyMemory {
    pub(crate) fn new(max_body: u64) -> Self {
        let kib = MAX_BODIES.max(max_body.saturating_mul(2)) >> 10;
        Self(Semaphore::new(usize::try_from(kib).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS)))
    }

    const fn room(&self) -> Room<'_> {
        Room { memory: self, held: None }
    }
}

/// One body's part of it.
#[derive(Debug)]
pub(crate) struct Room<'m> {
    memory: &'m BodyMemory,
    held: Option<SemaphorePermit<'m>>,
}

impl Room<'_> {
    /// Makes sure of room for so many bytes: those that came, for what was announced may never come.
    fn grow_to(&mut self, bytes: usize) -> Result<(), Problem> {
        let wanted = bytes.saturating_sub(SMALL_BODY).div_ceil(STEP_KIB << 10) * STEP_KIB;
        let held = self.held.as_ref().map_or(0, SemaphorePermit::num_permits);
        let Some(more) = wanted.checked_sub(held).filter(|&more| more > 0) else { return Ok(()) };
        let permit = u32::try_from(more).ok().and_then(|more| self.memory.0.try_acquire_many(more).ok());
        let Some(permit) = permit else {
            let detail = "too many large bodies are on the way; try again later, or send smaller ones";
            return Err(Problem::new(Kind::Unavailable, detail));
        };
        match &mut self.held {
            Some(held) => held.merge(permit),
            none => *none = Some(permit),
        }
        Ok(())
    }
}

/// A request's head, and the whole of its body with the room that it takes up.
///
/// # Errors
/// When the body is longer than `most` bytes, there is no room for it, or it breaks off.
pub(crate) async fn read(
    request: Request,
    most: u64,
    memory: &BodyMemory,
) -> Result<(Parts, Bytes, Room<'_>), Problem> {
    let (head, mut body) = request.into_parts();
    let mut room = memory.room();
    let outcome = collect(&mut body, most, &mut room).await;
    // A client that asked first (RFC 9110, 10.1.1) has sent nothing yet, and will not after this answer.
    let asked = head.headers.contains_key(header::EXPECT);
    let refused = |problem: &Problem| matches!(problem.kind(), Kind::BodyTooLarge | Kind::Unavailable);
    if outcome.as_ref().is_err_and(refused) && !asked {
        drop(room);
        discard(&mut body).await;
        return Err(outcome.map_or_else(|problem| problem, |_| too_large(most)));
    }
    Ok((head, outcome?, room))
}

fn too_large(most: u64) -> Problem {
    let detail = format!("at most {most} bytes are wanted (`max_body`); send the events in several requests");
    Problem::new(Kind::BodyTooLarge, detail)
}

/// The whole of a body. A body in one piece, the usual case, is not copied.
async fn collect(body: &mut Body, most: u64, room: &mut Room<'_>) -> Result<Bytes, Problem> {
    // An announced length is refused before anything is read.
    if body.size_hint().lower() > most {
        return Err(too_large(most));
    }
    let mut whole = Bytes::new();
    let mut pieces = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| broken(&error))?.into_data() else { continue };
        let length = whole.len() + pieces.len() + data.len();
        if length as u64 > most {
            return Err(too_large(most));
        }
        room.grow_to(length)?;
        if whole.is_empty() && pieces.is_empty() {
            whole = data;
        } else {
            pieces.extend_from_slice(&std::mem::take(&mut whole));
            pieces.extend_from_slice(&data);
        }
    }
    Ok(if pieces.is_empty() { whole } else { pieces.freeze() })
}

/// Why a body did not come whole.
fn broken(error: &axum::Error) -> Problem {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|io| io.kind() == io::ErrorKind::TimedOut) {
            return Problem::new(
                Kind::Timeout,
                "the body came too slowly: nothing of it for a while, or crumbs",
            );
        }
        cause = error.source();
    }
    Problem::new(Kind::BrokenBody, error.to_string())
}

/// Reads on, to throw it away: most clients look for an answer only when they have sent all, and would see nothing but
/// a broken pipe.
async fn discard(body: &mut Body) {
    let mut left = MAX_DISCARDED;
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        let Some(less) = left.checked_sub(length) else { return };
        left = less;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use futures_util::stream;

    fn form(content_type: &'static str) -> Option<Form> {
        form_of(&HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))])).ok()
    }

    #[test]
    fn the_media_type_names_the_form() {
        for json in [
            "application/json",
            "Application/JSON; charset=UTF-8",
            "application/json;charset=\"utf-8\"",
            "application/json;",
        ] {
            assert_eq!(form(json), Some(Form::Json), "{json}");
        }
        assert_eq!(form("application/x-ndjson ; charset=utf-8"), Some(Form::Ndjson));
        for other in [
            "",
            "text/plain",
            "application/jsonp",
            "application/json; charset=latin1",
            "application/x-www-form-urlencoded",
        ] {
            assert_eq!(form(other), None, "{other}");
        }
        assert!(form_of(&HeaderMap::new()).is_err());
        let zipped = [(header::CONTENT_TYPE, "application/json"), (header::CONTENT_ENCODING, "gzip")];
        let zipped = zipped.map(|(name, value)| (name, HeaderValue::from_static(value)));
        assert_eq!(form_of(&HeaderMap::from_iter(zipped)).unwrap_err().kind(), Kind::UnsupportedMediaType);
    }

    fn pieces(parts: &'static [&'static str]) -> Body {
        Body::from_stream(stream::iter(parts.iter().map(|part| Ok::<_, io::Error>(*part))))
    }

    async fn read(mut body: Body, most: u64) -> Result<Bytes, Kind> {
        let memory = BodyMemory::new(most);
        collect(&mut body, most, &mut memory.room()).await.map_err(|problem| problem.kind())
    }

    #[tokio::test]
    async fn a_body_is_read_whole_up_to_its_bound() {
        assert_eq!(read(Body::from("12345"), 5).await.unwrap(), "12345");
        assert_eq!(read(pieces(&["12", "", "3", "45"]), 5).await.unwrap(), "12345");
        assert_eq!(read(Body::empty(), 5).await.unwrap(), "");
        for body in [Body::from("123456"), pieces(&["123", "456"])] {
            assert_eq!(read(body, 5).await, Err(Kind::BodyTooLarge));
        }
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_refused() {
        let broken = |error| Body::from_stream(stream::iter([Ok("12"), Err(error)]));
        assert_eq!(read(broken(io::Error::other("reset")), 5).await, Err(Kind::BrokenBody));
        assert_eq!(read(broken(io::ErrorKind::TimedOut.into()), 5).await, Err(Kind::Timeout));
    }

    #[test]
    fn large_bodies_share_a_bounded_memory_and_small_ones_always_find_room() {
        let memory = BodyMemory::new(4 << 20);
        let mut large: Vec<_> = (0..16).map(|_| memory.room()).collect();
        for room in &mut large {
            room.grow_to(1 << 20).unwrap();
            room.grow_to(4 << 20).unwrap();
        }
        assert_eq!(memory.room().grow_to(SMALL_BODY + 1).unwrap_err().kind(), Kind::Unavailable);
        memory.room().grow_to(SMALL_BODY).unwrap();
        large.pop();
        memory.room().grow_to(4 << 20).unwrap();
    }
}
