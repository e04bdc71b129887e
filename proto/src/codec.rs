//! The one codec of frames and boards: bincode 2, bounded, all bytes consumed, unknown tags an error value.

use bincode::{Decode, Encode, config, error};

/// Why bytes could not become a value, or a value bytes.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The value does not fit the buffer that it was meant for.
    #[error("does not fit {room} bytes: {source}")]
    TooLong {
        /// The buffer's length.
        room: usize,
        /// What bincode says.
        source: error::EncodeError,
    },
    /// The bytes are not a value of the wanted type.
    #[error("not understood: {0}")]
    Malformed(#[from] error::DecodeError),
    /// A value, and then something else.
    #[error("{0} bytes too many behind the value")]
    Trailing(usize),
}

/// No decoded collection may claim more than this, whatever its length prefix says.
const LIMIT: usize = 1 << 20;

fn configuration() -> impl config::Config {
    config::standard().with_limit::<LIMIT>()
}

/// Writes `value` to the front of `into` and says how many bytes it took.
///
/// # Errors
/// [`CodecError::TooLong`] when it does not fit.
pub fn encode<T: Encode>(value: &T, into: &mut [u8]) -> Result<usize, CodecError> {
    let room = into.len();
    bincode::encode_into_slice(value, into, configuration())
        .map_err(|source| CodecError::TooLong { room, source })
}

/// Reads a value that takes up all of `bytes`.
///
/// # Errors
/// When the bytes are not exactly one value. Never panics, whatever the bytes.
pub fn decode<T: Decode<()>>(bytes: &[u8]) -> Result<T, CodecError> {
    let (value, used) = bincode::decode_from_slice(bytes, configuration())?;
    match bytes.len() - used {
        0 => Ok(value),
        more => Err(CodecError::Trailing(more)),
    }
}
