//! Where in its client's bytes a connection is, and what in them hyper should not let pass: above all a head with both
//! `Content-Length` and `Transfer-Encoding`, by which proxies have been led to see other requests than the server behind
//! them (RFC 9112, 6.1 and 11.2). hyper drops the length silently, so that no handler could tell; here the head is
//! spoilt, so that hyper itself refuses it with 400 and ends the connection. So are trailers whose lines end in a line
//! feed alone, about whose end opinions differ.
//!
//! Only as much is read as is needed to know where the next head begins. It need agree with hyper on what hyper accepts
//! alone: at anything else the connection ends.

/// Where the next byte belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// To a request line, or to the blank lines that may stand before it.
    Request,
    Header,
    /// To a body; so many bytes are left.
    Fixed(u64),
    ChunkSize,
    /// To a chunk and its line end; so many bytes are left.
    Chunk(u64),
    /// To a trailer, or to the blank line that ends them if none has begun.
    Trailer {
        begun: bool,
    },
    /// To a head that was refused.
    Refused,
}

/// Follows the messages of one connection.
#[derive(Debug)]
pub(super) struct Framing {
    next: Next,
    /// The beginning of a line whose end has not come yet. hyper bounds it: it gives up on longer ones.
    line: Vec<u8>,
    length: Option<u64>,
    chunked: bool,
    messages: u64,
}

impl Framing {
    pub(super) const fn new() -> Self {
        Self { next: Next::Request, line: Vec::new(), length: None, chunked: false, messages: 0 }
    }

    /// How many messages have come whole.
    pub(super) const fn messages(&self) -> u64 {
        self.messages
    }

    /// Whether the next byte belongs to a head that has begun.
    pub(super) const fn in_head(&self) -> bool {
        match self.next {
            Next::Request => !self.line.is_empty(),
            Next::Header | Next::Refused => true,
            Next::Fixed(_) | Next::ChunkSize | Next::Chunk(_) | Next::Trailer { .. } => false,
        }
    }

    /// Whether the next byte belongs to a body.
    pub(super) const fn in_body(&self) -> bool {
        !matches!(self.next, Next::Request | Next::Header | Next::Refused)
    }

    /// Follows the bytes that came.
    pub(super) fn follow(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let taken = match self.next {
                Next::Fixed(left) => self.skip(left, bytes.len(), Next::Fixed),
                Next::Chunk(left) => self.skip(left, bytes.len(), Next::Chunk),
                Next::Request | Next::Header | Next::ChunkSize | Next::Trailer { .. } => self.line(bytes),
                Next::Refused => end_at_once(bytes),
            };
            bytes = bytes.get_mut(taken..).unwrap_or_default();
        }
    }

    /// Skips what there is of `left` bytes.
    fn skip(&mut self, left: u64, there: usize, next: fn(u64) -> Next) -> usize {
        let taken = usize::try_from(left).map_or(there, |left| left.min(there));
        match left - taken as u64 {
            0 if matches!(self.next, Next::Chunk(_)) => self.next = Next::ChunkSize,
            0 => self.end_message(),
            left => self.next = next(left),
        }
        taken
    }

    /// Reads a line, as far as it is there.
    fn line(&mut self, bytes: &mut [u8]) -> usize {
        let Some(end) = memchr::memchr(b'\n', bytes) else {
            self.line.extend_from_slice(bytes);
            return bytes.len();
        };
        let refused = if self.line.is_empty() {
            self.understand(&bytes[..end])
        } else {
            let mut line = std::mem::take(&mut self.line);
            line.extend_from_slice(&bytes[..end]);
            self.understand(&line)
        };
        if refused.is_err() {
            bytes[end] = 0;
        }
        end + 1
    }

    /// # Errors
    /// When the head must be refused.
    fn understand(&mut self, line: &[u8]) -> Result<(), Refused> {
        let (line, whole) = line.strip_suffix(b"\r").map_or((line, false), |line| (line, true));
        match self.next {
            Next::Request if line.is_empty() => {}
            Next::Request => self.next = Next::Header,
            Next::Header if line.is_empty() => self.end_head(),
            Next::Header => return self.header(line),
            Next::ChunkSize => match hexadecimal(line) {
                0 => self.next = Next::Trailer { begun: false },
                size => self.next = Next::Chunk(size.saturating_add(2)),
            },
            // hyper first takes a line feed alone for a part of the trailer, and then, at the end, for the end of a line:
            // who goes by the latter sees a message's end where hyper sees none.
            Next::Trailer { .. } if !whole => {
                self.next = Next::Trailer { begun: true };
                return Err(Refused);
            }
            Next::Trailer { begun: false } if line.is_empty() => self.end_message(),
            Next::Trailer { .. } => self.next = Next::Trailer { begun: false },
            Next::Fixed(_) | Next::Chunk(_) | Next::Refused => {}
        }
        Ok(())
    }

    fn header(&mut self, line: &[u8]) -> Result<(), Refused> {
        if let Some(value) = value_of(line, b"content-length:") {
            self.length = decimal(value);
            self.refuse_if(self.length.is_none() || self.chunked)
        } else if value_of(line, b"transfer-encoding:").is_some() {
            self.chunked = true;
            self.refuse_if(self.length.is_some())
        } else {
            Ok(())
        }
    }

    fn refuse_if(&mut self, wrong: bool) -> Result<(), Refused> {
        if !wrong {
            return Ok(());
        }
        self.next = Next::Refused;
        Err(Refused)
    }

    fn end_head(&mut self) {
        match (self.chunked, self.length) {
            (true, _) => self.next = Next::ChunkSize,
            (false, None | Some(0)) => self.end_message(),
            (false, Some(length)) => self.next = Next::Fixed(length),
        }
    }

    fn end_message(&mut self) {
        (self.next, self.length, self.chunked) = (Next::Request, None, false);
        self.messages += 1;
    }
}

/// A line that hyper must not see as it is.
struct Refused;

/// What follows a line that was spoilt: hyper looks at a head that comes in pieces again only at its end.
fn end_at_once(bytes: &mut [u8]) -> usize {
    bytes.fill(b'\n');
    bytes.len()
}

fn value_of<'l>(line: &'l [u8], name: &[u8]) -> Option<&'l [u8]> {
    let (found, value) = line.split_at_checked(name.len())?;
    found.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let all_digits = digits.iter().all(u8::is_ascii_digit);
    str::from_utf8(digits).ok().filter(|_| all_digits)?.parse().ok()
}

/// The number that a line begins with; without any digit hyper ends the connection.
fn hexadecimal(line: &[u8]) -> u64 {
    let digits = line.iter().map_while(|&byte| char::from(byte).to_digit(16));
    digits.fold(0, |number: u64, digit| number.saturating_mul(16).saturating_add(digit.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const POST: &str = "POST / HTTP/1.1\r\nhost: x\r\n";

    /// The messages found in a text, and how many heads were spoilt, whatever the pieces in which it comes.
    fn follow(text: &str, piece: usize) -> (u64, usize) {
        let mut framing = Framing::new();
        let mut bytes = text.as_bytes().to_vec();
        for piece in bytes.chunks_mut(piece) {
            framing.follow(piece);
        }
        (framing.messages(), bytes.iter().filter(|&&byte| byte == 0).count())
    }

    fn assert_follows(text: &str, wanted: (u64, usize)) {
        for piece in [1, 2, 7, 64, usize::MAX] {
            assert_eq!(follow(text, piece), wanted, "{text:?} in pieces of {piece}");
        }
    }

    #[test]
    fn messages_of_every_framing_are_told_apart() {
        let get = "\r\n\nGET / HTTP/1.1\nhost: x\n\n";
        let fixed = format!("{POST}Content-LENGTH:  13 \r\n\r\nGET / \r\n\r\n\r\n\r");
        let chunked = format!(
            "{POST}transfer-Encoding: chunked\r\n\r\n5;x=y\r\n\r\n\r\n.\r\n1F\r\n{}\r\n0\r\nt: content-length: 5\r\n\r\n",
            "content-length: 31\r\n\r\n01234567890"
        );
        assert_follows(get, (1, 0));
        assert_follows(&fixed, (1, 0));
        assert_follows(&chunked, (1, 0));
        assert_follows(&format!("{chunked}{fixed}{get}{chunked}{get}"), (5, 0));
    }

    #[test]
    fn a_head_with_both_lengths_is_spoilt_in_either_order() {
        let (length, chunked) = ("content-length: 5\r\n", "Transfer-Encoding:chunked\r\n");
        let good = format!("{POST}{length}\r\n12345");
        for both in [format!("{length}{chunked}"), format!("{chunked}a: b\r\n{length}")] {
            assert_follows(&format!("{good}{POST}{both}"), (1, 1));
        }
        assert_follows(&format!("{good}{POST}x-{length}{chunked}\r\n0\r\n\r\n"), (2, 0));
    }

    #[test]
    fn nothing_behind_a_spoilt_head_is_seen() {
        let mut bytes = format!("{POST}content-length: x\r\n\r\nGET / HTTP/1.1\r\n\r\n").into_bytes();
        Framing::new().follow(&mut bytes);
        assert!(bytes.ends_with(&[b"\0".as_slice(), &[b'\n'; 20]].concat()));
    }

    #[test]
    fn trailers_with_bare_line_feeds_are_spoilt_and_end_where_hyper_ends_them() {
        let chunked = format!("{POST}transfer-encoding: chunked\r\n\r\n0\r\n");
        for (trailers, spoilt) in [("\n\r\n", 1), ("a: b\n\n\r\n", 2), ("a: b\r\n\nGET / HTTP/1.1\r\n", 1)] {
            assert_follows(&format!("{chunked}{trailers}"), (0, spoilt));
            assert_follows(&format!("{chunked}{trailers}\r\n"), (1, spoilt));
        }
    }

    #[test]
    fn a_length_that_is_no_number_is_spoilt() {
        for length in ["", "-1", "+1", "1, 1", "0x1", "99999999999999999999"] {
            assert_follows(&format!("{POST}content-length:{length}\r\n"), (0, 1));
        }
    }

    #[test]
    fn where_the_next_byte_belongs_is_known() {
        let mut framing = Framing::new();
        let mut at = |text: &str| {
            framing.follow(&mut text.as_bytes().to_vec());
            (framing.in_head(), framing.in_body())
        };
        for (text, place) in [
            ("\r\n", (false, false)),
            ("P", (true, false)),
            ("OST / HTTP/1.1\r\n", (true, false)),
            ("content-length: 2\r\n", (true, false)),
            ("\r\n", (false, true)),
            ("a", (false, true)),
            ("b", (false, false)),
        ] {
            assert_eq!(at(text), place, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(text in r"((GET|content-length: |transfer-encoding: chunked|[0-9a-f]|[ :\r\n]){1,9}\r?\n){0,12}") {
            let whole = follow(&text, usize::MAX);
            for piece in [1, 3, 10] {
                prop_assert_eq!(follow(&text, piece), whole);
            }
        }
    }
}
