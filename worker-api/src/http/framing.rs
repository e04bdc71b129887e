//! Follows where each message of a client begins and ends, and makes hyper reject what it would otherwise accept:
//! - A head with both `Content-Length` and `Transfer-Encoding`. A proxy in front of the server may see other requests
//!   in such bytes than the server does: request smuggling (RFC 9112, 6.1 and 11.2). hyper 1.12 drops the length
//!   silently and closes the connection after its response, so a handler cannot detect this.
//! - A trailer line that ends in a line feed alone. A parser that accepts it sees the end of a message where hyper
//!   sees none: hyper takes the next request for trailers and drops it.
//!
//! To reject, the line is corrupted in place: hyper then answers 400 and closes the connection.
//!
//! Only as much is parsed as is needed to find the start of the next head. The result must agree with hyper only on
//! bytes that hyper accepts, because anything else ends the connection.

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ParseState {
    /// A request line, or the blank lines that may precede it.
    StartLine,
    Header,
    /// A body of fixed length, or a chunk and its line end; the value is the number of bytes left.
    Body(u64),
    ChunkSize,
    /// A trailer, or the blank line that ends the trailers.
    Trailer,
    /// The rest of a message that was rejected. hyper sees this byte in place of each further one.
    Rejected(u8),
}

/// Makes hyper parse a head that arrives in pieces: it waits until the head is complete.
const REJECTED_HEAD: ParseState = ParseState::Rejected(b'\n');

/// Ends a trailer line, and is invalid after it.
const REJECTED_TRAILER: ParseState = ParseState::Rejected(b'\r');

/// Follows the messages of one connection.
#[derive(Debug)]
pub(super) struct Framing {
    state: ParseState,
    /// The start of an incomplete line. hyper bounds its length: it rejects longer lines.
    line: Vec<u8>,
    length: Option<u64>,
    chunked: bool,
    messages: u64,
}

impl Framing {
    pub(super) const fn new() -> Self {
        Self { state: ParseState::StartLine, line: Vec::new(), length: None, chunked: false, messages: 0 }
    }

    /// How many messages were received completely.
    pub(super) const fn messages(&self) -> u64 {
        self.messages
    }

    /// Whether the next byte belongs to a head that has begun.
    pub(super) fn in_head(&self) -> bool {
        !self.in_body() && (self.state != ParseState::StartLine || !self.line.is_empty())
    }

    /// Whether the next byte belongs to a body.
    pub(super) const fn in_body(&self) -> bool {
        !matches!(self.state, ParseState::StartLine | ParseState::Header | ParseState::Rejected(_))
    }

    /// Processes the bytes of one read.
    pub(super) fn feed(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let consumed = match self.state {
                ParseState::Body(left) => self.skip_body(left, bytes.len()),
                ParseState::StartLine | ParseState::Header | ParseState::ChunkSize | ParseState::Trailer => {
                    self.read_line(bytes)
                }
                ParseState::Rejected(filler) => return bytes.fill(filler),
            };
            bytes = bytes.get_mut(consumed..).unwrap_or_default();
        }
    }

    /// Skips as many of the `left` body bytes as are `available`.
    fn skip_body(&mut self, left: u64, available: usize) -> usize {
        let consumed = usize::try_from(left).map_or(available, |left| left.min(available));
        match left - consumed as u64 {
            0 if self.chunked => self.state = ParseState::ChunkSize,
            0 => self.end_message(),
            left => self.state = ParseState::Body(left),
        }
        consumed
    }

    /// Reads a line, or the part of it that is available.
    fn read_line(&mut self, bytes: &mut [u8]) -> usize {
        let Some(end) = memchr::memchr(b'\n', bytes) else {
            self.line.extend_from_slice(bytes);
            return bytes.len();
        };
        if self.line.is_empty() {
            self.parse_line(&bytes[..end]);
        } else {
            let mut line = std::mem::take(&mut self.line);
            line.extend_from_slice(&bytes[..end]);
            self.parse_line(&line);
        }
        if matches!(self.state, ParseState::Rejected(_)) {
            bytes[end] = 0;
        }
        end + 1
    }

    fn parse_line(&mut self, line: &[u8]) {
        let (line, ended_by_crlf) = line.strip_suffix(b"\r").map_or((line, false), |line| (line, true));
        match self.state {
            ParseState::StartLine if line.is_empty() => {}
            ParseState::StartLine => self.state = ParseState::Header,
            ParseState::Header if line.is_empty() => self.end_head(),
            ParseState::Header => self.parse_header(line),
            ParseState::ChunkSize => match chunk_size(line) {
                0 => self.state = ParseState::Trailer,
                size => self.state = ParseState::Body(size.saturating_add(2)),
            },
            ParseState::Trailer if !ended_by_crlf => self.state = REJECTED_TRAILER,
            ParseState::Trailer if line.is_empty() => self.end_message(),
            ParseState::Trailer | ParseState::Body(_) | ParseState::Rejected(_) => {}
        }
    }

    fn parse_header(&mut self, line: &[u8]) {
        let mut valid = true;
        if let Some(value) = header_value(line, b"content-length:") {
            self.length = parse_decimal(value);
            valid = self.length.is_some();
        } else if header_value(line, b"transfer-encoding:").is_some() {
            self.chunked = true;
        }
        if !valid || self.chunked && self.length.is_some() {
            self.state = REJECTED_HEAD;
        }
    }

    fn end_head(&mut self) {
        match (self.chunked, self.length) {
            (true, _) => self.state = ParseState::ChunkSize,
            (false, None | Some(0)) => self.end_message(),
            (false, Some(length)) => self.state = ParseState::Body(length),
        }
    }

    fn end_message(&mut self) {
        (self.state, self.length, self.chunked) = (ParseState::StartLine, None, false);
        self.messages += 1;
    }
}

fn header_value<'l>(line: &'l [u8], name: &[u8]) -> Option<&'l [u8]> {
    let (found, value) = line.split_at_checked(name.len())?;
    found.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

fn parse_decimal(digits: &[u8]) -> Option<u64> {
    let all_digits = digits.iter().all(u8::is_ascii_digit);
    str::from_utf8(digits).ok().filter(|_| all_digits)?.parse().ok()
}

/// The hexadecimal number at the start of a line. If there is no digit, hyper closes the connection.
fn chunk_size(line: &[u8]) -> u64 {
    let digits = line.iter().map_while(|&byte| char::from(byte).to_digit(16));
    digits.fold(0, |number: u64, digit| number.saturating_mul(16).saturating_add(digit.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const POST: &str = "POST / HTTP/1.1\r\nhost: x\r\n";

    /// The number of complete messages in a text that arrives in pieces of this size, and of corrupted lines.
    fn feed(text: &str, piece: usize) -> (u64, usize) {
        let mut framing = Framing::new();
        let mut bytes = text.as_bytes().to_vec();
        for piece in bytes.chunks_mut(piece) {
            framing.feed(piece);
        }
        (framing.messages(), bytes.iter().filter(|&&byte| byte == 0).count())
    }

    fn assert_messages(text: &str, expected: (u64, usize)) {
        for piece in [1, 2, 7, 64, usize::MAX] {
            assert_eq!(feed(text, piece), expected, "{text:?} in pieces of {piece}");
        }
    }

    #[test]
    fn messages_of_every_framing_are_counted() {
        let get = "\r\n\nGET / HTTP/1.1\nhost: x\n\n";
        let fixed = format!("{POST}Content-LENGTH:  13 \r\n\r\nGET / \r\n\r\n\r\n\r");
        let chunked = format!(
            "{POST}transfer-Encoding: chunked\r\n\r\n5;x=y\r\n\r\n\r\n.\r\n1F\r\n{}\r\n0\r\nt: content-length: 5\r\n\r\n",
            "content-length: 31\r\n\r\n01234567890"
        );
        assert_messages(get, (1, 0));
        assert_messages(&fixed, (1, 0));
        assert_messages(&chunked, (1, 0));
        assert_messages(&format!("{chunked}{fixed}{get}{chunked}{get}"), (5, 0));
    }

    #[test]
    fn a_head_with_both_lengths_is_corrupted_in_either_order() {
        let (length, chunked) = ("content-length: 5\r\n", "Transfer-Encoding:chunked\r\n");
        let valid = format!("{POST}{length}\r\n12345");
        for both in [format!("{length}{chunked}"), format!("{chunked}a: b\r\n{length}")] {
            assert_messages(&format!("{valid}{POST}{both}"), (1, 1));
        }
        assert_messages(&format!("{valid}{POST}x-{length}{chunked}\r\n0\r\n\r\n"), (2, 0));
    }

    #[test]
    fn the_bytes_after_a_corrupted_line_are_hidden() {
        let mut bytes = format!("{POST}content-length: x\r\n\r\nGET / HTTP/1.1\r\n\r\n").into_bytes();
        Framing::new().feed(&mut bytes);
        assert!(bytes.ends_with(&[b"\0".as_slice(), &[b'\n'; 20]].concat()));
    }

    #[test]
    fn trailers_with_a_bare_line_feed_are_corrupted_and_do_not_end() {
        let chunked = format!("{POST}transfer-encoding: chunked\r\n\r\n0\r\n");
        for trailers in ["\n\r\n", "a: b\n\n\r\n", "a: b\r\n\nGET / HTTP/1.1\r\n"] {
            assert_messages(&format!("{chunked}{trailers}\r\n"), (0, 1));
        }
    }

    #[test]
    fn a_length_that_is_not_a_number_is_corrupted() {
        for length in ["", "-1", "+1", "1, 1", "0x1", "99999999999999999999"] {
            assert_messages(&format!("{POST}content-length:{length}\r\n"), (0, 1));
        }
    }

    #[test]
    fn the_next_byte_is_known_to_be_in_a_head_a_body_or_neither() {
        let mut framing = Framing::new();
        let mut at = |text: &str| {
            framing.feed(&mut text.as_bytes().to_vec());
            (framing.in_head(), framing.in_body())
        };
        for (text, expected) in [
            ("\r\n", (false, false)),
            ("P", (true, false)),
            ("OST / HTTP/1.1\r\n", (true, false)),
            ("content-length: 2\r\n", (true, false)),
            ("\r\n", (false, true)),
            ("a", (false, true)),
            ("b", (false, false)),
        ] {
            assert_eq!(at(text), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn the_split_into_pieces_makes_no_difference(text in r"((GET|content-length: |transfer-encoding: chunked|[0-9a-f]|[ :\r\n]){1,9}\r?\n){0,12}") {
            let whole = feed(&text, usize::MAX);
            for piece in [1, 3, 10] {
                prop_assert_eq!(feed(&text, piece), whole);
            }
        }
    }
}
