//! What a thousand deaths leave behind: their reports, and nothing else (P8 is at rest).

use bulkhead_proto::wire::crash::MAX_REPORTS;
use bulkhead_tests::{
    Bulkhead, Home, eventually,
    footprint::Footprint,
    log::Line,
    process::{self, FDTarget, Signal},
};
use std::fs;

/// Deaths before the baseline: buffers and tables grow to their size once.
const WARM_UP: usize = 50;
const DEATHS: usize = 1_000;
/// After so many deaths their reports are waited for: the disk may be slower than death, and what it has not taken of the
/// last 64 is dropped.
const BURST: usize = 25;
/// So much more memory of its own each may have in use afterwards, in KiB: the lines of the log that are kept for
/// `bulkhead logs` (512 KiB of text), and what an allocator may hold back.
const SLACK: u64 = 1_536;

/// Kills the analysis so many times, each time once it is at work, and waits until all that follows from that is done.
fn die(times: usize, bulkhead: &Bulkhead) {
    let mut active = bulkhead.last("worker_activated", "analytics");
    for number in 1..=times {
        let mut story = bulkhead.log().from_now();
        bulkhead.signal_worker(active.pid(), Signal::SIGKILL);
        let died = story.wait_for_worker("worker_died", "analytics");
        active = story.wait_for_worker("worker_activated", "analytics");
        if number % BURST == 0 || number == times {
            reported(bulkhead, &died);
        }
    }
}

/// Waits until the report of this death is on the disk, and the thread that has put it there has closed its files.
fn reported(bulkhead: &Bulkhead, died: &Line) {
    let folder = bulkhead.home().path("state/crashes");
    let report = folder.join(format!("{}.json", died.number("crash").unwrap()));
    let within =
        |(_, target): &(i32, FDTarget)| matches!(target, FDTarget::Path(path) if path.starts_with(&folder));
    eventually(bulkhead.log(), "the report of the last death", || {
        report.exists() && !process::fds(bulkhead.pid()).iter().any(within)
    });
}

/// What supervisor and API hold.
fn held(bulkhead: &Bulkhead) -> [Footprint; 2] {
    [bulkhead.pid(), bulkhead.pid_of("api")].map(Footprint::of)
}

/// The same, once two looks in a row show the same.
fn settled(bulkhead: &Bulkhead) -> [Footprint; 2] {
    let mut last = held(bulkhead);
    eventually(bulkhead.log(), "nothing to change any more", || {
        let now = held(bulkhead);
        std::mem::replace(&mut last, now) == now && now[0].children == 2
    });
    last
}

fn reports(bulkhead: &Bulkhead) -> usize {
    fs::read_dir(bulkhead.home().path("state/crashes")).unwrap().count()
}

#[test]
fn a_thousand_deaths_leave_no_fd_no_mapping_no_zombie_and_no_memory_behind() {
    let bulkhead = Home::new("").start();
    let api = bulkhead.pid_of("api");
    die(WARM_UP, &bulkhead);
    let before = settled(&bulkhead);
    println!("before: {before:?}");

    die(DEATHS, &bulkhead);

    let mut last = before;
    eventually(bulkhead.log(), "no more to be held than before", || {
        let now = held(&bulkhead);
        if std::mem::replace(&mut last, now) != now {
            println!(" after: {now:?}");
        }
        now.iter().zip(&before).all(|(now, before)| {
            now.zombies == 0 && now.holds_as_much_as(before) && now.anonymous <= before.anonymous + SLACK
        })
    });
    assert_eq!(reports(&bulkhead), MAX_REPORTS, "of {}", WARM_UP + DEATHS);
    assert_eq!(bulkhead.log().all(|line| line.tells("worker_died", "analytics")).len(), WARM_UP + DEATHS);
    assert_eq!(bulkhead.pid_of("api"), api, "the API did not die meanwhile");
}
