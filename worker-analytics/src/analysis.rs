//! What a user writes: one type, one state per series, two functions.

use bincode::{Decode, Encode};
use bulkhead_proto::wire::event::Event;
use serde::Serialize;

/// An analysis of keyed events: it folds each event into the state of its series and says what the public may read of it.
///
/// Keep everything in [`Self::State`]: that alone survives a crash, committed together with the position in the stream,
/// so that every event counts exactly once. A state and its public form must fit a slot of the state table together
/// (see `bulkhead_proto::shm::table`); a larger one stops the analysis with an error that names the series.
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
    /// What is kept of one series. A type that compiles here can be stored and read again: unlike serde's, these derives
    /// promise nothing that the compact format cannot hold.
    type State: Default + Encode + Decode<()>;

    /// The analysis's name, for people.
    const NAME: &'static str;

    /// The version of [`Self::State`]'s form. Raise it with every change of that type or of its meaning.
    const VERSION: u32;

    /// The versions that [`Self::migrate`] understands. A state table of any other is refused at the start.
    const MIGRATES_FROM: &'static [u32] = &[];

    /// Folds an event into its series' state. The same events in the same order must give the same state: after a crash
    /// those since the last commit are applied again, to the state of that commit.
    ///
    /// An event must take less than `analytics.hang_timeout` (5 s), and so must each call of the other functions. A commit and a
    /// migration as a whole must take less than twenty times that, and ten seconds, while events wait: else this process is
    /// ended as one that hangs.
    fn apply(&self, state: &mut Self::State, event: &Event<'_>);

    /// The public form of a series: anything that serialises to a JSON object. Called once a commit for each series that changed.
    fn render<'a>(&'a self, series: &'a str, state: &'a Self::State) -> impl Serialize + 'a;

    /// Turns a state of another version, one of [`Self::MIGRATES_FROM`], into one of this. `None` resets that series, loudly.
    fn migrate(&self, version: u32, bytes: &[u8]) -> Option<Self::State> {
        let _ = (version, bytes);
        None
    }
}
