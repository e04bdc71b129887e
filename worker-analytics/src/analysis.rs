//! The trait that a user implements: one type, one state per series, two functions.

use bulkhead_proto::wire::event::Event;
use serde::{Serialize, de::DeserializeOwned};
use std::error::Error;

/// An analysis of keyed events. It folds each event into the state of the event's series, and renders what
/// readers see.
///
/// Keep everything in [`Self::State`]. Only the state survives a crash: it is committed together with the
/// position in the event stream, so that every event counts exactly once. The encoded state and the rendered form
/// of a series together may have 16 MiB ([`MAX_SERIES_BYTES`](crate::MAX_SERIES_BYTES)). A series
/// that is larger stops the analysis with an error that names the series.
/// [`testing::check`](crate::testing::check) finds all of this in a test.
///
/// ```
/// use bulkhead_worker_analytics::{Analysis, Event};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct Count {
///     events: u64,
/// }
///
/// struct Counting;
///
/// impl Analysis for Counting {
///     type State = Count;
///     const NAME: &'static str = "counting";
///     const VERSION: u32 = 1;
///
///     fn apply(&self, state: &mut Count, _event: &Event<'_>) {
///         state.events += 1;
///     }
///
///     fn render<'a>(&'a self, series: &'a str, state: &'a Count) -> impl Serialize + 'a {
///         serde_json::json!({ "series": series, "count": state.events })
///     }
/// }
/// ```
pub trait Analysis: 'static {
    /// The state of one series. It is stored as MessagePack, with the names of its fields.
    ///
    /// A field with `#[serde(default)]` can be added, and any field can be removed, without another
    /// [`Self::VERSION`].
    ///
    /// A few values cannot be stored, such as `Some(None)`. The worker exits with an error that names the field before
    /// such a state is committed. [`testing::check`](crate::testing::check) finds it in a test.
    type State: Default + Serialize + DeserializeOwned;

    /// The name of the analysis. Name and version together identify the format of the stored state.
    const NAME: &'static str;

    /// The version of [`Self::State`]. Raise it with every change of its meaning, and of the type if the states that
    /// are stored could not be read any more.
    const VERSION: u32;

    /// The earlier versions that [`Self::migrate`] can read. With a state table of any other version, the
    /// worker exits at its start with code 78.
    const MIGRATES_FROM: &'static [u32] = &[];

    /// Folds an event into the state of its series.
    ///
    /// Must be deterministic: the same events in the same order must give the same state. After a crash, the
    /// events since the last commit are applied again, to the state of that commit.
    ///
    /// One event must take less than `analytics.hang_timeout` (default: 5 s), and so must each call of the
    /// other functions. A whole commit and a whole migration must each take less than twenty times
    /// `hang_timeout`, plus ten seconds, while events wait. Otherwise the supervisor kills this process
    /// because it hangs.
    fn apply(&self, state: &mut Self::State, event: &Event<'_>);

    /// Renders what readers of a series see: any value that serialises to a JSON object. Called once per
    /// commit for each series that changed.
    fn render<'a>(&'a self, series: &'a str, state: &'a Self::State) -> impl Serialize + 'a;

    /// Converts the stored state of an earlier version, one of [`Self::MIGRATES_FROM`], to the current one.
    ///
    /// The bytes are the MessagePack that [`encode`](crate::encode) wrote for the former type: a struct is a map with the
    /// names of its fields. [`decode::<Former>`](crate::decode) reads them, where `Former` is a type with those fields.
    ///
    /// # Errors
    /// An error resets the series to an empty state; it is logged as `state_lost`.
    fn migrate(&self, version: u32, bytes: &[u8]) -> Result<Self::State, Box<dyn Error>> {
        let _ = (version, bytes);
        Err("the analysis does not migrate states".into())
    }
}
