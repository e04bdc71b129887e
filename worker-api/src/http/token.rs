//! The bearer token (RFC 6750) that requests need to change state.

use super::problem::{Problem, ProblemKind};
use axum::http::{HeaderMap, header};
use bulkhead_proto::worker::token_file::{self, TokenError};
use std::{fmt, fs::File, iter::repeat, os::fd::OwnedFd};
use subtle::{Choice, ConstantTimeEq};

/// A bearer token. It has no text form, so that it cannot be logged.
pub(crate) struct BearerToken(Box<[u8]>);

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken")
    }
}

impl BearerToken {
    /// Reads the token file that the supervisor opened.
    ///
    /// # Errors
    /// When the file does not hold a valid token.
    pub(crate) fn read(file: OwnedFd) -> Result<Self, TokenError> {
        Ok(Self(token_file::read(File::from(file))?))
    }

    /// Whether `candidate` is this token. The time depends on the length of the token only, not on how many bytes
    /// match.
    fn matches(&self, candidate: &[u8]) -> bool {
        let padded = candidate.iter().chain(repeat(&0));
        let same_length = Choice::from(u8::from(candidate.len() == self.0.len()));
        let equal =
            self.0.iter().zip(padded).fold(same_length, |equal, (own, other)| equal & own.ct_eq(other));
        equal.into()
    }

    /// Checks the `Authorization` header of a request.
    ///
    /// # Errors
    /// When the header is missing, is present more than once, or does not hold this token.
    pub(crate) fn authorize(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let mut found = headers.get_all(header::AUTHORIZATION).iter();
        match (found.next().and_then(|value| bearer(value.as_bytes())), found.next()) {
            (Some(token), None) if self.matches(token) => Ok(()),
            (None, None) => Err(Problem::new(
                ProblemKind::TokenMissing,
                "requests that change state need the header \"Authorization: Bearer TOKEN\" with the token of api.token_file",
            )),
            (_, _) => Err(Problem::new(
                ProblemKind::TokenInvalid,
                "the token is not the one of api.token_file, or there are several Authorization headers",
            )),
        }
    }
}

/// The token of an `Authorization` value with the bearer scheme, whose name is case-insensitive (RFC 9110, 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| rest.trim_ascii())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::io::{self, Write as _};

    pub(crate) const TOKEN: &str = "correct-horse-battery-staple";

    pub(crate) fn token_from(content: &[u8]) -> Result<BearerToken, TokenError> {
        let (read, mut write) = io::pipe().unwrap();
        write.write_all(content).unwrap();
        drop(write);
        BearerToken::read(read.into())
    }

    fn authorize(values: &[&str]) -> Result<(), ProblemKind> {
        let headers = values.iter().map(|value| (header::AUTHORIZATION, value.parse().unwrap()));
        let mut map = HeaderMap::new();
        headers.for_each(|(name, value)| {
            map.append(name, value);
        });
        token_from(TOKEN.as_bytes()).unwrap().authorize(&map).map_err(|problem| problem.kind())
    }

    #[test]
    fn only_the_exact_token_is_accepted() {
        let token = format!("Bearer {TOKEN}");
        assert_eq!(authorize(&[&token]), Ok(()));
        assert_eq!(authorize(&[&format!("bEARER   {TOKEN}")]), Ok(()));
        for missing in [&[][..], &["Basic Y29ycmVjdA=="], &["Bearer"], &[TOKEN]] {
            assert_eq!(authorize(missing), Err(ProblemKind::TokenMissing), "{missing:?}");
        }
        let (longer, shorter) = (format!("{token}x"), &token[..token.len() - 1]);
        let other = token.replace("horse", "house");
        for wrong in
            [&["Bearer "][..], &[&longer], &[shorter], &[&other], &[&token, &token], &[&token, "Basic x"]]
        {
            assert_eq!(authorize(wrong), Err(ProblemKind::TokenInvalid), "{wrong:?}");
        }
    }

    #[test]
    fn a_token_is_never_printed() {
        assert_eq!(format!("{:?}", token_from(TOKEN.as_bytes()).unwrap()), "BearerToken");
    }
}
