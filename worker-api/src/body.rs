//! Reading a request's body: its media type, and its bytes within the bound.

use crate::{
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

/// How much of a body that is too long is still read before it is refused, in bytes.
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

/// A request's head, and the whole of its body.
///
/// # Errors
/// When the body is longer than `most` bytes, or breaks off.
pub(crate) async fn read(request: Request, most: u64) -> Result<(Parts, Bytes), Problem> {
    let (head, mut body) = request.into_parts();
    let outcome = collect(&mut body, most).await;
    // A client that asked first (RFC 9110, 10.1.1) has sent nothing yet, and will not after this answer.
    let asked = head.headers.contains_key(header::EXPECT);
    if outcome.as_ref().is_err_and(|problem| problem.kind() == Kind::BodyTooLarge) && !asked {
        discard(&mut body).await;
    }
    Ok((head, outcome?))
}

/// The whole of a body. A body in one piece, the usual case, is not copied.
///
/// # Errors
/// When it is longer than `most` bytes (an announced length is refused before anything is read), or breaks off.
pub(crate) async fn collect(body: &mut Body, most: u64) -> Result<Bytes, Problem> {
    let too_large = || {
        let detail =
            format!("at most {most} bytes are wanted (`max_body`); send the events in several requests");
        Problem::new(Kind::BodyTooLarge, detail)
    };
    if body.size_hint().lower() > most {
        return Err(too_large());
    }
    let mut whole = Bytes::new();
    let mut pieces = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Problem::new(Kind::BrokenBody, error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        if (whole.len() + pieces.len() + data.len()) as u64 > most {
            return Err(too_large());
        }
        if whole.is_empty() && pieces.is_empty() {
            whole = data;
        } else {
            pieces.extend_from_slice(&std::mem::take(&mut whole));
            pieces.extend_from_slice(&data);
        }
    }
    Ok(if pieces.is_empty() { whole } else { pieces.freeze() })
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
    use std::io;

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

    #[tokio::test]
    async fn a_body_is_read_whole_up_to_its_bound() {
        assert_eq!(collect(&mut Body::from("12345"), 5).await.unwrap(), "12345");
        assert_eq!(collect(&mut pieces(&["12", "", "3", "45"]), 5).await.unwrap(), "12345");
        assert_eq!(collect(&mut Body::empty(), 5).await.unwrap(), "");
        for mut body in [Body::from("123456"), pieces(&["123", "456"])] {
            assert_eq!(collect(&mut body, 5).await.unwrap_err().kind(), Kind::BodyTooLarge);
        }
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_refused() {
        let mut broken = Body::from_stream(stream::iter([Ok("12"), Err(io::Error::other("reset"))]));
        assert_eq!(collect(&mut broken, 5).await.unwrap_err().kind(), Kind::BrokenBody);
    }
}
