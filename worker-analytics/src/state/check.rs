//! Checks that what is stored is what is read again.

use super::{StateError, decode, encode, encoder::IS, trace};
use crate::Analysis;
use bulkhead_proto::wire::event::Event;
use serde::{Serialize, de::DeserializeOwned};

/// Checks that the state of an analysis survives every crash: for the tests of the analysis.
///
/// Applies the events to two states of one series. One of them is stored and read again after each event, as after a
/// crash. Both states, and what readers see of them, must stay equal. Give events that fill every field of the state,
/// so that every field is checked.
///
/// ```
/// # use bulkhead_worker_analytics::{Analysis, Event, check_state};
/// # use serde::{Deserialize, Serialize};
/// #[derive(Default, Serialize, Deserialize)]
/// struct Last {
///     value: Option<f64>,
///     label: Option<Option<String>>,
/// }
/// # struct Example;
/// # impl Analysis for Example {
/// #     type State = Last;
/// #     const NAME: &'static str = "last";
/// #     const VERSION: u32 = 1;
/// #     fn apply(&self, state: &mut Last, event: &Event<'_>) {
/// #         *state = Last { value: Some(event.value), label: Some(event.label.map(str::to_owned)) };
/// #     }
/// #     fn render<'a>(&'a self, _: &'a str, state: &'a Last) -> impl serde::Serialize + 'a {
/// #         state
/// #     }
/// # }
/// // The analysis of this test keeps the last event.
/// let labelled = Event { label: Some("tea"), ..Event::new("s", 1.0) };
/// assert_eq!(check_state(&Example, &[labelled]), Ok(()));
///
/// let refused = check_state(&Example, &[labelled, Event::new("s", 2.0)]).unwrap_err();
/// assert!(refused.to_string().starts_with("field `label`: `Some` of a value without content"));
/// ```
///
/// # Errors
/// With the first field that cannot be stored, or that differs after it was stored and read. The latter is so for a
/// field with `#[serde(skip)]` if results depend on it.
pub fn check_state<A: Analysis>(analysis: &A, events: &[Event<'_>]) -> Result<(), StateError> {
    let (mut kept, mut restored) = (A::State::default(), A::State::default());
    let mut bytes = Vec::new();
    for event in events {
        analysis.apply(&mut kept, event);
        analysis.apply(&mut restored, event);
        encode(&restored, &mut bytes)?;
        restored = decode(&bytes)?;
        compare(&kept, &restored)?;
        compare(&analysis.render(event.series, &kept), &analysis.render(event.series, &restored))?;
    }
    Ok(())
}

/// Checks that the bytes into which a state was encoded are read as the same state.
pub(crate) fn verify<S: Serialize + DeserializeOwned>(state: &S, bytes: &[u8]) -> Result<(), StateError> {
    let restored: S = decode(bytes)?;
    let mut again = Vec::new();
    encode(&restored, &mut again)?;
    // The bytes of a restored `HashMap` can be in another order. A comparison of all values takes fifty times longer.
    let in_any_order = |bytes: &[u8]| (bytes.len(), bytes.iter().copied().map(u64::from).sum::<u64>());
    if in_any_order(&again) == in_any_order(bytes) { Ok(()) } else { compare(state, &restored) }
}

fn compare(kept: &impl Serialize, restored: &impl Serialize) -> Result<(), StateError> {
    let (kept, restored) = (trace(kept)?, trace(restored)?);
    let same = kept.iter().zip(&restored).take_while(|(kept, restored)| kept == restored).count();
    // Both are sorted: the lesser value is missing in the other list.
    let lost = kept.get(same).map(|value| (value, "lost"));
    let new = restored.get(same).map(|value| (value, "new"));
    let Some((value, what)) = lost.into_iter().chain(new).min() else { return Ok(()) };
    let (field, value) = value.split_once(IS).unwrap_or(("", value));
    let reason = format!("{value} is {what} after the state was stored and read again");
    Err(StateError { field: field.to_owned(), reason })
}
