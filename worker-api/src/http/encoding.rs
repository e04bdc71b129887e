//! Compressed request bodies: `Content-Encoding` (RFC 9110, 8.4) gzip and zstd.
//!
//! A body is decompressed when all of it has arrived: as one step, like its parse. Its compressed and its decompressed
//! bytes count against the memory for large bodies, and the latter against `max_body`.

use super::{
    body::{BodyReservation, too_large},
    problem::{Problem, ProblemKind},
};
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::{
    BlockDecodingStrategy, FrameDecoder,
    errors::{FrameDecoderError, ReadFrameHeaderError},
};
use std::{
    error::Error,
    fmt,
    io::{self, Write},
};

/// The largest window of a zstd frame, in bytes: what encoders may use in HTTP (RFC 9659). The decoder allocates it.
const MAX_ZSTD_WINDOW: u64 = 8 << 20;

/// How many bytes of a zstd frame are decompressed before the limit is checked.
const ZSTD_STEP: usize = 64 << 10;

/// The compression of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Gzip,
    Zstd,
}

impl Encoding {
    /// The encoding that the headers announce; `None` for a body without compression.
    ///
    /// # Errors
    /// When an encoding is unknown, or there are several.
    pub(crate) fn announced(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let values = headers.get_all(header::CONTENT_ENCODING).iter();
        let names =
            values.flat_map(|value| value.as_bytes().split(|&byte| byte == b',')).map(<[u8]>::trim_ascii);
        let mut names = names.filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case(b"identity"));
        let (Some(name), further) = (names.next(), names.next()) else { return Ok(None) };
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match (is("gzip") || is("x-gzip"), is("zstd"), further) {
            (true, _, None) => Ok(Some(Self::Gzip)),
            (_, true, None) => Ok(Some(Self::Zstd)),
            (_, _, None) => Err(Problem::unsupported_encoding(&String::from_utf8_lossy(name))),
            (_, _, Some(_)) => Err(Problem::unsupported_encoding("several encodings")),
        }
    }

    /// Decompresses a body.
    ///
    /// # Errors
    /// When the result has more than `max_bytes`, no memory is left for it, or the body is corrupt or ends early.
    pub(crate) fn decode(
        self,
        body: &Bytes,
        max_bytes: u64,
        reservation: &mut BodyReservation<'_>,
    ) -> Result<Bytes, Problem> {
        let mut output =
            Output { bytes: Vec::new(), compressed: body.len(), max_bytes, reservation, refusal: None };
        let decoded = match self {
            Self::Gzip => {
                io::copy(&mut MultiGzDecoder::new(&body[..]), &mut output).map(drop).map_err(Into::into)
            }
            Self::Zstd => decode_zstd(body, &mut output),
        };
        match (decoded, output.refusal) {
            (Ok(()), _) => Ok(output.bytes.into()),
            (Err(_), Some(refusal)) => Err(refusal),
            (Err(error), None) => {
                let detail = format!("the body is not a complete {self} stream: {error}");
                Err(Problem::new(ProblemKind::BrokenBody, detail))
            }
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}

/// Decompresses any number of frames (RFC 8878, 3).
fn decode_zstd(mut input: &[u8], output: &mut Output<'_, '_>) -> Result<(), Box<dyn Error>> {
    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size(MAX_ZSTD_WINDOW);
    while !input.is_empty() {
        match decoder.init(&mut input) {
            Ok(()) => {}
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length, ..
            })) => {
                let length = usize::try_from(length)?;
                input = input.get(length..).ok_or(io::ErrorKind::UnexpectedEof).map_err(io::Error::from)?;
                continue;
            }
            Err(error) => return Err(error.into()),
        }
        let mut finished = false;
        while !finished {
            finished = decoder.decode_blocks(&mut input, BlockDecodingStrategy::UptoBytes(ZSTD_STEP))?;
            decoder.collect_to_writer(&mut *output)?;
        }
        let stored = decoder.get_checksum_from_data();
        if stored.is_some() && stored != decoder.get_calculated_checksum() {
            return Err("the checksum does not match".into());
        }
    }
    Ok(())
}

/// Collects decompressed bytes up to a limit.
struct Output<'r, 'm> {
    bytes: Vec<u8>,
    compressed: usize,
    max_bytes: u64,
    reservation: &'r mut BodyReservation<'m>,
    /// Why no more bytes are taken.
    refusal: Option<Problem>,
}

impl Write for Output<'_, '_> {
    fn write(&mut self, decoded: &[u8]) -> io::Result<usize> {
        let length = self.bytes.len() + decoded.len();
        let room = if length as u64 > self.max_bytes {
            Err(too_large(self.max_bytes))
        } else {
            self.reservation.grow_to(self.compressed + length)
        };
        if let Err(refusal) = room {
            self.refusal = Some(refusal);
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.extend_from_slice(decoded);
        Ok(decoded.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
