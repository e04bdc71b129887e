//! Checks that what is stored is what is read again.

use super::{StateError, decode, encode, encoder::IS, trace};
use serde::{Serialize, de::DeserializeOwned};

/// What happened to the restored value of [`verify`].
const READ_AGAIN: &str = "after the state was stored and read again";

/// Checks that the bytes into which a state was encoded are read as the same state.
pub(crate) fn verify<S: Serialize + DeserializeOwned>(state: &S, bytes: &[u8]) -> Result<(), StateError> {
    let restored: S = decode(bytes)?;
    let mut again = Vec::new();
    encode(&restored, &mut again)?;
    // The bytes of a restored `HashMap` can be in another order. A comparison of all values takes fifty times longer.
    let in_any_order = |bytes: &[u8]| (bytes.len(), bytes.iter().copied().map(u64::from).sum::<u64>());
    if in_any_order(&again) == in_any_order(bytes) { Ok(()) } else { compare(state, &restored, READ_AGAIN) }
}

/// Checks that two values are the same, whatever the order of their maps and sets. `when` says in an error what happened to
/// `restored`.
pub(crate) fn compare(
    kept: &impl Serialize,
    restored: &impl Serialize,
    when: &str,
) -> Result<(), StateError> {
    let (kept, restored) = (trace(kept)?, trace(restored)?);
    let same = kept.iter().zip(&restored).take_while(|(kept, restored)| kept == restored).count();
    // Both are sorted: the lesser value is missing in the other list.
    let lost = kept.get(same).map(|value| (value, "lost"));
    let new = restored.get(same).map(|value| (value, "new"));
    let Some((value, what)) = lost.into_iter().chain(new).min() else { return Ok(()) };
    let (field, value) = value.split_once(IS).unwrap_or(("", value));
    let reason = format!("{value} is {what} {when}");
    Err(StateError { field: field.to_owned(), reason })
}
