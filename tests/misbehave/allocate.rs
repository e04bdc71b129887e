//! An analysis that allocates, and does nothing else.

use bulkhead_proto::wire::event::Event;
use bulkhead_worker_analytics::Analysis;
use std::hint::black_box;

/// What it says when it has begun.
const BEGUN: &str = "from now on, it allocates";

/// Never comes to the end of an event: nearly always, it is in the midst of an allocation.
pub(crate) struct Allocating;

impl Analysis for Allocating {
    type State = u64;
    const NAME: &'static str = "allocating";
    const VERSION: u32 = 1;

    fn apply(&self, _: &mut u64, _: &Event<'_>) {
        println!("{BEGUN}");
        loop {
            // Of a size that comes from the arena, behind its lock.
            drop(black_box(Vec::<u8>::with_capacity(black_box(5000))));
        }
    }

    fn render<'a>(&'a self, _: &'a str, state: &'a u64) -> impl serde::Serialize + 'a {
        serde_json::json!({ "count": state })
    }
}
