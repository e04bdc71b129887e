//! An analysis that dies of a series in other moments than of applying its events.

use bulkhead_proto::wire::event::Event;
use bulkhead_worker_analytics::{
    Analysis, Decode, Encode,
    bincode::{self, de::Decoder, error::DecodeError},
};
use serde_json::json;

/// The sum that can be kept, and never be read again.
const UNREADABLE: u64 = 13;

pub(crate) struct Brittle;

/// How much there was.
#[derive(Default, Encode)]
#[bincode(crate = "bincode")]
pub(crate) struct Sum(u64);

impl Decode<()> for Sum {
    fn decode<D: Decoder<Context = ()>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let sum = u64::decode(decoder)?;
        assert_ne!(sum, UNREADABLE, "a state of this sum cannot be loaded");
        Ok(Self(sum))
    }
}

impl Analysis for Brittle {
    type State = Sum;
    const NAME: &'static str = "brittle";
    const VERSION: u32 = 1;

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the tests send small numbers"
    )]
    fn apply(&self, sum: &mut Sum, event: &Event<'_>) {
        sum.0 += event.value as u64;
    }

    fn render<'a>(&'a self, series: &'a str, sum: &'a Sum) -> impl serde::Serialize + 'a {
        assert_ne!(series, "unshowable", "this series cannot be shown");
        json!({ "series": series, "count": sum.0 })
    }
}
