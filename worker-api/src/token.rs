//! The token that changing requests must bear (RFC 6750), and the extractor that asks for it.

use crate::{
    Bulkhead,
    problem::{Kind, Problem},
};
use axum::{
    extract::{FromRef, FromRequestParts},
    http::{HeaderMap, header, request::Parts},
};
use std::{
    fmt,
    fs::File,
    io::{self, Read},
    iter::repeat,
    ops::RangeInclusive,
    os::fd::OwnedFd,
};
use subtle::{Choice, ConstantTimeEq};

/// How long a token may be, in bytes: at the least, what cannot be guessed; at the most, what fits any proxy's head.
const LENGTH: RangeInclusive<usize> = 16..=4096;

/// White space around a token that is still read, such as the line end that editors add.
const MAX_AROUND: usize = 64;

/// A token. It has no text form: what is never printed cannot end up in a log.
pub(crate) struct Secret(Box<[u8]>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Why a token file is of no use. What is in it is not said.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("the token file cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error(
        "the token file must hold {least} to {most} visible ASCII characters; it has {0}. `openssl rand -hex 32` makes a good token",
        least = LENGTH.start(),
        most = LENGTH.end()
    )]
    Length(String),
    #[error("the token file must hold visible ASCII characters alone, on one line; byte {0} of it is none")]
    Character(usize),
}

impl Secret {
    /// Reads the file that the supervisor opened for us.
    ///
    /// # Errors
    /// When it does not hold a token.
    pub(crate) fn read(file: OwnedFd) -> Result<Self, TokenError> {
        let most = LENGTH.end() + MAX_AROUND;
        let mut bytes = Vec::new();
        File::from(file).take(most as u64 + 1).read_to_end(&mut bytes)?;
        let token = bytes.trim_ascii();
        if let Some(place) = token.iter().position(|byte| !byte.is_ascii_graphic()) {
            return Err(TokenError::Character(place + 1));
        }
        if bytes.len() > most {
            return Err(TokenError::Length("more".into()));
        }
        if !LENGTH.contains(&token.len()) {
            return Err(TokenError::Length(token.len().to_string()));
        }
        Ok(Self(token.into()))
    }

    /// Whether this is the token, in a time that depends on its length alone, not on how much of it was guessed.
    fn is(&self, given: &[u8]) -> bool {
        let padded = given.iter().chain(repeat(&0));
        let same_length = Choice::from(u8::from(given.len() == self.0.len()));
        let equal =
            self.0.iter().zip(padded).fold(same_length, |equal, (own, other)| equal & own.ct_eq(other));
        equal.into()
    }

    fn check(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let mut found = headers.get_all(header::AUTHORIZATION).iter();
        match (found.next().and_then(|value| bearer(value.as_bytes())), found.next()) {
            (Some(token), None) if self.is(token) => Ok(()),
            (None, None) => Err(Problem::new(
                Kind::TokenMissing,
                "what changes things needs the header \"Authorization: Bearer TOKEN\", with the token that api.token_file holds",
            )),
            (_, _) => {
                Err(Problem::new(Kind::TokenInvalid, "this is not the token that api.token_file holds"))
            }
        }
    }
}

/// The token of a header's value, if it is of the bearer scheme, whose name has no case (RFC 9110, 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| rest.trim_ascii())
}

/// An extractor for routes that change things: the request bears the token, or none is configured.
///
/// Our own changing routes ask for it. Let yours do so, too, and before any extractor that reads the body:
///
/// ```no_run
/// # use axum::{extract::State, http::StatusCode};
/// # use bulkhead_worker_api::{AppendError, Authorized, Bulkhead, NewEvent};
/// async fn tick(_: Authorized, State(bulkhead): State<Bulkhead>) -> Result<StatusCode, AppendError> {
///     bulkhead.append(&[NewEvent::new("ticks", 1.0)])?;
///     Ok(StatusCode::ACCEPTED)
/// }
/// ```
///
/// Otherwise the answer is 401 with `WWW-Authenticate: Bearer`.
#[derive(Clone, Copy, Debug)]
pub struct Authorized(());

impl<S> FromRequestParts<S> for Authorized
where
    Bulkhead: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let bulkhead = Bulkhead::from_ref(state);
        bulkhead.token().map_or(Ok(()), |token| token.check(&parts.headers))?;
        Ok(Self(()))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::io::Write as _;

    pub(crate) const TOKEN: &str = "correct-horse-battery-staple";

    pub(crate) fn secret(content: &[u8]) -> Result<Secret, TokenError> {
        let (read, mut write) = io::pipe().unwrap();
        write.write_all(content).unwrap();
        drop(write);
        Secret::read(read.into())
    }

    fn check(values: &[&str]) -> Result<(), Kind> {
        let headers = values.iter().map(|value| (header::AUTHORIZATION, value.parse().unwrap()));
        let mut map = HeaderMap::new();
        headers.for_each(|(name, value)| {
            map.append(name, value);
        });
        secret(TOKEN.as_bytes()).unwrap().check(&map).map_err(|problem| problem.kind())
    }

    #[test]
    fn only_the_token_itself_is_accepted() {
        let token = format!("Bearer {TOKEN}");
        assert_eq!(check(&[&token]), Ok(()));
        assert_eq!(check(&[&format!("bEARER   {TOKEN}")]), Ok(()));
        for missing in [&[][..], &["Basic Y29ycmVjdA=="], &["Bearer"], &[TOKEN]] {
            assert_eq!(check(missing), Err(Kind::TokenMissing), "{missing:?}");
        }
        let (longer, shorter) = (format!("{token}x"), &token[..token.len() - 1]);
        let other = token.replace("horse", "house");
        for wrong in
            [&["Bearer "][..], &[&longer], &[shorter], &[&other], &[&token, &token], &[&token, "Basic x"]]
        {
            assert_eq!(check(wrong), Err(Kind::TokenInvalid), "{wrong:?}");
        }
    }

    #[test]
    fn the_file_holds_one_token_and_white_space_around_it_is_ignored() {
        assert!(secret(format!("\n {TOKEN}\r\n").as_bytes()).unwrap().is(TOKEN.as_bytes()));
        assert!(secret(&[b'x'; 4096]).is_ok());
        for (content, text) in [
            (&b""[..], "it has 0"),
            (b"123456789012345", "it has 15"),
            (b"two tokens of a kind", "byte 4"),
            ("umläute-are-not-ascii".as_bytes(), "byte 4"),
            (&[b'x'; 4097], "it has 4097"),
            (&[b'x'; 9000], "it has more"),
        ] {
            let error = secret(content).unwrap_err().to_string();
            assert!(error.contains(text) && !error.contains("tokens of"), "{error}");
        }
    }

    #[test]
    fn a_secret_is_never_shown() {
        assert_eq!(format!("{:?}", secret(TOKEN.as_bytes()).unwrap()), "Secret");
    }
}
