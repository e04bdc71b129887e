//! An analysis that allocates memory in an endless loop.

use bulkhead_proto::wire::event::Event;
use bulkhead_worker_analytics::Analysis;
use std::hint::black_box;

/// The output line when the loop begins.
const BEGUN: &str = "allocation loop started";

/// Never returns from the first event. Nearly always, the process is inside the allocator.
pub(crate) struct AllocateForever;

impl Analysis for AllocateForever {
    type State = u64;
    const NAME: &'static str = "allocating";
    const VERSION: u32 = 1;

    fn apply(&self, _: &mut u64, _: &Event<'_>) {
        println!("{BEGUN}");
        loop {
            // The allocator takes blocks of this size from the arena, under the arena's lock.
            drop(black_box(Vec::<u8>::with_capacity(black_box(5000))));
        }
    }

    fn render<'a>(&'a self, _: &'a str, state: &'a u64) -> impl serde::Serialize + 'a {
        serde_json::json!({ "count": state })
    }
}
