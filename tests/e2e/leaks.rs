//! What a thousand deaths leave behind: nothing (P8 is at rest).

use bulkhead_tests::{Bulkhead, Home, eventually, footprint::Footprint, log::Reading, process::Signal};

/// Deaths before the baseline: buffers and tables grow to their size once.
const WARM_UP: usize = 50;
const DEATHS: usize = 1_000;
/// So much more memory may be in use afterwards, in KiB: the lines of the log that are kept for `bulkhead logs` (512 KiB
/// of text), and what an allocator may hold back.
const SLACK: u64 = 1_536;

/// Kills the analysis so many times, each time once its successor is at work.
fn die(times: usize, bulkhead: &Bulkhead, story: &mut Reading) {
    for _ in 0..times {
        let active = story.wait_for_worker("worker_activated", "analytics");
        bulkhead.signal_worker(active.pid(), Signal::SIGKILL);
    }
}

#[test]
fn a_thousand_deaths_leave_no_fd_no_mapping_no_zombie_and_no_memory_behind() {
    let bulkhead = Home::new("").start();
    let mut story = bulkhead.log().from_start();
    let (supervisor, api) = (bulkhead.pid(), bulkhead.pid_of("api"));
    // The last one that is activated stays.
    let settle = |story: &mut Reading| {
        story.wait_for_worker("worker_activated", "analytics");
        eventually(bulkhead.log(), "the last generation to be alone", || {
            Footprint::of(supervisor).children == 2
        });
        [supervisor, api].map(Footprint::of)
    };
    die(WARM_UP, &bulkhead, &mut story);
    let before = settle(&mut story);
    let last = bulkhead.last("worker_activated", "analytics");
    bulkhead.signal_worker(last.pid(), Signal::SIGKILL);
    die(DEATHS - 1, &bulkhead, &mut story);
    // The thread that stores the last reports closes its files when they are durable.
    eventually(bulkhead.log(), "no more fds than before", || Footprint::of(supervisor).fds <= before[0].fds);
    let after = settle(&mut story);
    println!(
        "supervisor: {:?}\n         -> {:?}\napi: {:?}\n  -> {:?}",
        before[0], after[0], before[1], after[1]
    );
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(after.zombies, 0);
        assert!(after.holds_as_much_as(before), "{before:?} -> {after:?}");
        assert!(after.resident <= before.resident + SLACK, "{before:?} -> {after:?}");
    }
    assert_eq!(bulkhead.log().all(|line| line.tells("worker_died", "analytics")).len(), WARM_UP + DEATHS);
    assert_eq!(bulkhead.pid_of("api"), api, "the API did not die meanwhile");
}
