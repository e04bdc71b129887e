//! How a state is stored: as MessagePack, with the name of each field.
//!
//! What MessagePack cannot hold is refused with the name of the field. It is never stored as something else.

mod check;
mod encoder;

pub(crate) use check::{compare, verify};
pub use encoder::encode;

use encoder::{MAX_DEPTH, trace};
use rmp_serde::{
    Deserializer,
    config::{DefaultConfig, HumanReadableConfig},
    decode::ReadReader,
};
use serde::de::DeserializeOwned;

/// Why a state cannot be stored or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{reason}", shown(field))]
pub struct StateError {
    /// The path of the field, such as `labels[].count`; empty for the state itself.
    field: String,
    reason: String,
}

/// The most characters of a path that are shown. The path of a deeply nested value is long.
const MAX_SHOWN_PATH: usize = 200;

fn shown(field: &str) -> String {
    let field: String = field.chars().take(MAX_SHOWN_PATH).collect();
    if field.is_empty() { field } else { format!("field `{field}`: ") }
}

/// Decodes a stored state. [`Analysis::migrate`](crate::Analysis::migrate) decodes states of an earlier version with
/// it.
///
/// # Errors
/// If the bytes are not one whole state of this type. No bytes cause a panic, or an allocation that is out of
/// proportion to their number, unless the type's own `Deserialize` does.
pub fn decode<S: DeserializeOwned>(bytes: &[u8]) -> Result<S, StateError> {
    let mut deserializer = deserializer(bytes);
    match S::deserialize(&mut deserializer) {
        Ok(state) => match deserializer.get_ref().len() {
            0 => Ok(state),
            more => Err(StateError::of_whole(format!("{more} extra bytes after the state"))),
        },
        Err(error) => Err(locate::<S>(bytes).unwrap_or_else(|| StateError::of_whole(error.to_string()))),
    }
}

fn deserializer(bytes: &[u8]) -> Deserializer<ReadReader<&[u8]>, HumanReadableConfig<DefaultConfig>> {
    let mut deserializer = Deserializer::new(bytes).with_human_readable();
    // The deserializer refuses the level at which its limit is used up.
    deserializer.set_max_depth(MAX_DEPTH + 1);
    deserializer
}

/// Decodes once more, for the path of the field that cannot be decoded. It takes longer than [`decode`].
fn locate<S: DeserializeOwned>(bytes: &[u8]) -> Option<StateError> {
    let error = serde_path_to_error::deserialize::<_, S>(&mut deserializer(bytes)).err()?;
    let field = if error.path().iter().len() == 0 { String::new() } else { error.path().to_string() };
    Some(StateError { field, reason: error.inner().to_string() })
}

impl StateError {
    const fn of_whole(reason: String) -> Self {
        Self { field: String::new(), reason }
    }
}

#[cfg(test)]
mod tests;
