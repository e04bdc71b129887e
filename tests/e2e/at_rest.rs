//! What Bulkhead does while there is nothing to do: nothing (P8).

use bulkhead_tests::{
    Bulkhead, Home, eventually,
    footprint::{Footprint, switches},
};
use std::{collections::BTreeMap, time::Duration};

/// How long nothing must happen.
const REST: Duration = Duration::from_secs(10);
/// How long nobody runs, for the rest to begin.
const A_MOMENT: Duration = Duration::from_millis(500);
/// The supervisor looks at those that have work often enough for a pause of half a second to be rest.
const WATCHFUL: &str = "[api]\nhang_timeout = \"400ms\"\n[analytics]\nhang_timeout = \"400ms\"\n";

/// The most memory that the supervisor may have in use, in KiB.
const MOST_RESIDENT: u64 = 8 << 10;

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
    // What is still to be done after the start and the traffic (the last looks of the supervisor at its workers, threads that
    // go to sleep, the last lines) is over when nobody runs any more for a moment; on a busy machine, that moment may come
    // before its end. Whoever wakes up now and then does so in each of the three.
    let workers = [bulkhead.pid(), bulkhead.pid_of("api"), bulkhead.pid_of("analytics")];
    eventually(bulkhead.log(), "everybody to be asleep", || is_asleep(&bulkhead, workers, A_MOMENT).is_ok());
    let rests: Vec<_> = (0..3).map_while(|_| is_asleep(&bulkhead, workers, REST).err()).collect();
    assert!(
        rests.len() < 3,
        "awake within {REST:?}, three times; supervisor, API, analysis, each (waited, had to wait) by thread, before and after: \
         {rests:#?}"
    );
    let footprint = Footprint::of(bulkhead.pid());
    assert!(footprint.resident <= MOST_RESIDENT, "{footprint:?}");
}

/// Switches of a process's threads.
type Switches = [BTreeMap<i32, (u64, u64)>; 3];

/// Whether none of them runs for so long; else what they did before and after.
fn is_asleep(bulkhead: &Bulkhead, workers: [i32; 3], span: Duration) -> Result<(), Box<[Switches; 2]>> {
    let before = workers.map(switches);
    assert!(!bulkhead.log().ends_within(span), "{}", bulkhead.log().dump());
    let after = workers.map(switches);
    if before == after { Ok(()) } else { Err([before, after].into()) }
}
