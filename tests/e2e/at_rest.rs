//! What Bulkhead does while there is nothing to do: nothing (P8).

use bulkhead_tests::{
    Home, eventually,
    footprint::{Footprint, switches},
};
use std::time::Duration;

/// How long nothing must happen.
const REST: Duration = Duration::from_secs(10);
/// The supervisor looks at those that have work often enough for a pause of half a second to be rest.
const WATCHFUL: &str = "[api]\nhang_timeout = \"400ms\"\n[analytics]\nhang_timeout = \"400ms\"\n";

/// The most memory of its own that the supervisor may have in use, in KiB. Its program is shared with all that run it, and
/// how much of that is in memory is the compiler's affair, and the kernel's.
const MOST_OWN: u64 = 2 << 10;

#[test]
fn at_rest_nobody_wakes_up_and_the_supervisor_is_small() {
    let bulkhead = Home::new(WATCHFUL).start();
    for _ in 0..10 {
        let client = bulkhead.client();
        for _ in 0..20 {
            let answer = client.post_events(r#"{"series":"s","value":1}"#);
            assert!(answer.is_ok_and(|answer| answer.is_success()));
        }
        let _ = bulkhead.settled();
    }
    // What is still to be done after the start and the traffic (the last looks of the supervisor at its workers, threads that go to sleep, the last lines) is over when nobody runs any
    // more for a moment.
    let workers = [bulkhead.pid(), bulkhead.pid_of("api"), bulkhead.pid_of("analytics")];
    let mut before = workers.map(switches);
    eventually(bulkhead.log(), "everybody to be asleep", || {
        let ended = bulkhead.log().ends_within(Duration::from_millis(500));
        assert!(!ended, "{}", bulkhead.log().dump());
        let now = workers.map(switches);
        std::mem::replace(&mut before, now.clone()) == now
    });
    assert!(!bulkhead.log().ends_within(REST), "{}", bulkhead.log().dump());
    for ((name, pid), before) in ["supervisor", "api", "analytics"].into_iter().zip(workers).zip(before) {
        assert_eq!(
            switches(pid),
            before,
            "{name} was awake within {REST:?}: (waited, had to wait) by thread"
        );
        println!("{name}: {:?}", Footprint::of(pid));
    }
    let footprint = Footprint::of(bulkhead.pid());
    assert!(footprint.anonymous <= MOST_OWN, "{footprint:?}");
}
