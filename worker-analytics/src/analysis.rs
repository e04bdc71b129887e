//! The trait that a user implements: one type, one state per series, two functions.

use bincode::{Decode, Encode};
use bulkhead_proto::wire::event::Event;
use serde::Serialize;

/// An analysis of keyed events. It folds each event into the state of the event's series, and renders what
/// readers see.
///
/// Keep everything in [`Self::State`]. Only the state survives a crash: it is committed together with the
/// position in the event stream, so that every event counts exactly once. The state and the rendered form of
/// a series must fit one slot of the state table together (`bulkhead_proto::shm::table` gives the size). A series
/// that does not fit stops the analysis with an error that names the series.
///
/// ```
/// use bulkhead_worker_analytics::{Analysis, Decode, Encode, Event, bincode};
///
/// #[derive(Default, Encode, Decode)]
/// #[bincode(crate = "bincode")]
/// struct Count(u64);
///
/// struct Counting;
///
/// impl Analysis for Counting {
///     type State = Count;
///     const NAME: &'static str = "counting";
///     const VERSION: u32 = 1;
///
///     fn apply(&self, state: &mut Count, _event: &Event<'_>) {
///         state.0 += 1;
///     }
///
///     fn render<'a>(&'a self, series: &'a str, state: &'a Count) -> impl serde::Serialize + 'a {
///         serde_json::json!({ "series": series, "count": state.0 })
///     }
/// }
/// ```
pub trait Analysis: 'static {
    /// The state of one series. A type that compiles here can be stored and read again: unlike serde's
    /// derives, bincode's accept no type that the compact format cannot hold.
    type State: Default + Encode + Decode<()>;

    /// The name of the analysis. Name and version together identify the format of the stored state.
    const NAME: &'static str;

    /// The version of [`Self::State`]. Raise it with every change of the type or of its meaning.
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
    /// `None` resets the series to an empty state and logs `state_lost`.
    fn migrate(&self, version: u32, bytes: &[u8]) -> Option<Self::State> {
        let _ = (version, bytes);
        None
    }
}
