//! An analysis that counts ids, in several programs that read the same state: one is right, and the others are wrong in one
//! way each.

use bulkhead_worker_analytics::{Analysis, Event};
use serde::{Deserialize, Serialize};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// The size of a state that exceeds every limit.
pub(crate) const TOO_MUCH: usize = 17_000_000;

/// How the program is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// It is right.
    None,
    /// It panics at this share of the events, in percent. The same event always gives the same result.
    Panics(u64),
    /// Its state grows too large.
    Grows,
    /// It cannot be rendered: the rendering panics.
    Render,
    /// It panics at each event of this series.
    Series(String),
}

impl Flaw {
    /// The flaw that the command line names.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Some(series) = text.strip_prefix("series:") {
            return Some(Self::Series(series.to_owned()));
        }
        Some(match text {
            "none" => Self::None,
            "grows" => Self::Grows,
            "render" => Self::Render,
            share => Self::Panics(share.parse().ok()?),
        })
    }

    /// Panics if the program fails at this event.
    pub(crate) fn fail_at(&self, event: &Event<'_>) {
        assert!(!self.is_fatal(event), "the program is wrong");
    }

    fn is_fatal(&self, event: &Event<'_>) -> bool {
        match self {
            Self::None | Self::Grows | Self::Render => false,
            Self::Series(name) => name == event.series,
            Self::Panics(percent) => {
                let mut hasher = DefaultHasher::new();
                (event.series, event.value.unwrap_or_default().to_bits()).hash(&mut hasher);
                hasher.finish() % 100 < *percent
            }
        }
    }
}

/// The ids that a series has counted.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Ids {
    count: u64,
    sum: u64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    waste: String,
}

/// The analysis.
pub(crate) struct BadDeploy(pub(crate) Flaw);

impl Analysis for BadDeploy {
    type State = Ids;
    const NAME: &'static str = "bad-deploy";
    const VERSION: u32 = 1;

    fn apply(&self, state: &mut Ids, event: &Event<'_>) {
        self.0.fail_at(event);
        state.count += 1;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "ids are powers of two")]
        let id = event.value.unwrap_or_default() as u64;
        state.sum += id;
        if self.0 == Flaw::Grows {
            state.waste = "x".repeat(TOO_MUCH);
        }
    }

    fn render<'a>(&'a self, series: &'a str, state: &'a Ids) -> impl Serialize + 'a {
        assert_ne!(self.0, Flaw::Render, "the rendering is wrong");
        serde_json::json!({ "series": series, "count": state.count, "sum": state.sum })
    }
}

/// The same name and version, with a field that the stored states do not have.
pub(crate) struct ChangedState;

/// See [`ChangedState`].
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct IdsAndMore {
    count: u64,
    largest: f64,
}

impl Analysis for ChangedState {
    type State = IdsAndMore;
    const NAME: &'static str = BadDeploy::NAME;
    const VERSION: u32 = BadDeploy::VERSION;

    fn apply(&self, state: &mut IdsAndMore, event: &Event<'_>) {
        state.count += 1;
        state.largest = state.largest.max(event.value.unwrap_or_default());
    }

    fn render<'a>(&'a self, series: &'a str, state: &'a IdsAndMore) -> impl Serialize + 'a {
        serde_json::json!({ "series": series, "count": state.count, "largest": state.largest })
    }
}
