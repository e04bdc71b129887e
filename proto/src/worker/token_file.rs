//! The content of a token file. The supervisor checks it before it starts the API, which reads it again.

use std::{
    io::{self, Read},
    ops::RangeInclusive,
};

/// The length of a token in bytes. The minimum is too long to guess; the maximum fits the head limit of any proxy.
const LENGTH: RangeInclusive<usize> = 16..=4096;

/// The most bytes of white space around a token, such as the line end that editors add.
const MAX_WHITESPACE: usize = 64;

/// The byte order marks of UTF-8 and UTF-16, which some editors write at the begin of a file.
const BYTE_ORDER_MARKS: [&[u8]; 3] = [b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"];

/// Why a token file cannot be used. The messages never contain its content.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It cannot be read.
    #[error("cannot read the token file: {0}")]
    Io(#[from] io::Error),
    /// It begins with a byte order mark.
    #[error("the token file begins with a byte order mark (BOM); save it as ASCII, without one")]
    ByteOrderMark,
    /// It has several lines.
    #[error("the token file must hold one token on one line; it has {0} lines")]
    Lines(usize),
    /// It has a character that a token cannot have.
    #[error(
        "the token file must hold visible ASCII characters only; byte {0} of the token is another character"
    )]
    Character(usize),
    /// The token is too short or too long.
    #[error(
        "the token file must hold {min} to {max} visible ASCII characters; it has {0}; create a token with `openssl rand -hex 32`",
        min = LENGTH.start(),
        max = LENGTH.end()
    )]
    Length(String),
}

/// Reads the token in a file, without the white space around it.
///
/// # Errors
/// When the file cannot be read, or does not hold one valid token.
pub fn read(file: impl Read) -> Result<Box<[u8]>, TokenError> {
    let max_bytes = LENGTH.end() + MAX_WHITESPACE;
    let mut bytes = Vec::new();
    file.take(max_bytes as u64 + 1).read_to_end(&mut bytes)?;
    if BYTE_ORDER_MARKS.iter().any(|mark| bytes.starts_with(mark)) {
        return Err(TokenError::ByteOrderMark);
    }
    let token = bytes.trim_ascii();
    let lines = token.split(|&byte| byte == b'\n').count();
    if lines > 1 {
        return Err(TokenError::Lines(lines));
    }
    if let Some(offset) = token.iter().position(|byte| !byte.is_ascii_graphic()) {
        return Err(TokenError::Character(offset + 1));
    }
    if bytes.len() > max_bytes {
        return Err(TokenError::Length("more".into()));
    }
    if !LENGTH.contains(&token.len()) {
        return Err(TokenError::Length(token.len().to_string()));
    }
    Ok(token.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "correct-horse-battery-staple";

    #[test]
    fn the_file_holds_one_token_and_surrounding_white_space_is_ignored() {
        assert_eq!(&*read(format!("\n {TOKEN}\r\n").as_bytes()).unwrap(), TOKEN.as_bytes());
        assert_eq!(&*read(&[b'x'; 4096][..]).unwrap(), [b'x'; 4096]);
    }

    #[test]
    fn anything_else_is_refused_by_its_kind_and_never_quoted() {
        let two_lines = format!("{TOKEN}\n{TOKEN}\n");
        let with_bom = format!("\u{feff}{TOKEN}\n");
        for (content, text) in [
            (&b""[..], "it has 0"),
            (b" \n", "it has 0"),
            (b"123456789012345", "it has 15"),
            (b"two tokens of a kind", "byte 4"),
            ("umläute-are-not-ascii".as_bytes(), "byte 4"),
            (&[b'x'; 4097], "it has 4097"),
            (&[b'x'; 9000], "it has more"),
            (two_lines.as_bytes(), "it has 2 lines"),
            (with_bom.as_bytes(), "byte order mark"),
            (b"\xff\xfex\0y\0", "byte order mark"),
        ] {
            let error = read(content).unwrap_err().to_string();
            assert!(
                error.contains(text) && !error.contains("tokens of") && !error.contains("horse"),
                "{error}"
            );
        }
    }
}
