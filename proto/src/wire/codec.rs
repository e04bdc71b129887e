//! The one codec of frames, seqlock cells and snapshots: bincode 2. Decoding is bounded and must consume all bytes; an unknown
//! tag is an error value.

use bincode::{Decode, Encode, config, error};

/// Why a value could not be encoded or decoded.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The value does not fit the buffer.
    #[error("value does not fit {room} bytes: {source}")]
    TooLong {
        /// The length of the buffer, in bytes.
        room: usize,
        /// The error of bincode.
        source: error::EncodeError,
    },
    /// The bytes are not a value of the wanted type.
    #[error("cannot decode: {0}")]
    Malformed(#[from] error::DecodeError),
    /// Bytes follow the value.
    #[error("{0} extra bytes after the value")]
    Trailing(usize),
}

/// The most bytes that a decoded value may claim, whatever its length prefixes say, if it has at most as many itself.
const LIMIT: usize = 2 << 20;

/// The most bytes that a longer value may claim: a snapshot holds series of 16 MiB.
const LARGE_LIMIT: usize = 32 << 20;

/// Encodes `value` at the start of `into`. Returns the number of bytes written.
///
/// # Errors
/// [`CodecError::TooLong`] if the value does not fit.
pub fn encode<T: Encode>(value: &T, into: &mut [u8]) -> Result<usize, CodecError> {
    let room = into.len();
    bincode::encode_into_slice(value, into, config::standard())
        .map_err(|source| CodecError::TooLong { room, source })
}

/// Decodes a value that takes up all of `bytes`. Never panics, whatever the bytes.
///
/// # Errors
/// If the bytes are not exactly one value.
pub fn decode<T: Decode<()>>(bytes: &[u8]) -> Result<T, CodecError> {
    let (value, used) = if bytes.len() <= LIMIT {
        bincode::decode_from_slice(bytes, config::standard().with_limit::<LIMIT>())?
    } else {
        bincode::decode_from_slice(bytes, config::standard().with_limit::<LARGE_LIMIT>())?
    };
    match bytes.len() - used {
        0 => Ok(value),
        more => Err(CodecError::Trailing(more)),
    }
}
