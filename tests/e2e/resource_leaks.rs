//! A thousand takeovers by the standby leave their crash reports and no other resource. `idle_wakeups.rs` checks wake-ups.

use bulkhead_proto::wire::crash::MAX_REPORTS;
use bulkhead_tests::{
    Bulkhead, Fixture, eventually,
    log::Line,
    process::{self, FDTarget, Signal},
    resource_usage::ResourceUsage,
};
use std::fs;

/// Deaths before the baseline, in which buffers and tables reach their final size.
const WARM_UP: usize = 50;

/// The number of deaths: 1,000, or `DEATHS`.
fn deaths() -> usize {
    std::env::var("DEATHS").map_or(1_000, |text| text.parse().expect("DEATHS is a number"))
}

/// The test waits for the crash report after this number of deaths: the disk may be slower than the deaths,
/// and the supervisor drops reports when 64 are queued.
const REPORT_INTERVAL: usize = 25;
/// How much the private memory of each process may grow, in KiB: the log lines kept for `bulkhead logs` (512
/// KiB of text), and what an allocator may keep.
const MAX_GROWTH_KIB: u64 = 1_536;

/// Kills the analysis `times` times, each time after its activation. Waits until the supervisor has processed
/// all deaths.
fn kill_analysis(times: usize, bulkhead: &Bulkhead) {
    let mut active = bulkhead.last_line("worker_activated", "analytics");
    for number in 1..=times {
        let mut log = bulkhead.log().from_now();
        bulkhead.signal_worker(active.pid(), Signal::SIGKILL);
        let died = log.wait_for_worker("worker_died", "analytics");
        active = log.wait_for_worker("worker_activated", "analytics");
        if number % REPORT_INTERVAL == 0 || number == times {
            wait_for_report(bulkhead, &died);
        }
    }
}

/// Waits until the crash report of this death is on the disk and the thread that wrote it has closed its
/// files.
fn wait_for_report(bulkhead: &Bulkhead, died: &Line) {
    let folder = bulkhead.fixture().path("state/crashes");
    let report = folder.join(format!("{}.json", died.number("crash").unwrap()));
    let is_in_folder =
        |(_, target): &(i32, FDTarget)| matches!(target, FDTarget::Path(path) if path.starts_with(&folder));
    eventually(bulkhead.log(), "the report of the last death", || {
        report.exists() && !process::fds(bulkhead.pid()).iter().any(is_in_folder)
    });
}

/// The resources of the supervisor and of the API.
fn usage(bulkhead: &Bulkhead) -> [ResourceUsage; 2] {
    [bulkhead.pid(), bulkhead.worker_pid("api")].map(ResourceUsage::of)
}

/// The same, once two samples in a row are equal.
fn constant_usage(bulkhead: &Bulkhead) -> [ResourceUsage; 2] {
    let mut last = usage(bulkhead);
    eventually(bulkhead.log(), "the resource usage to be constant", || {
        let now = usage(bulkhead);
        std::mem::replace(&mut last, now) == now && now[0].children == 3
    });
    last
}

fn stored_reports(bulkhead: &Bulkhead) -> usize {
    fs::read_dir(bulkhead.fixture().path("state/crashes")).unwrap().count()
}

#[test]
fn a_thousand_takeovers_leak_no_fd_no_mapping_no_zombie_and_no_memory() {
    let (bulkhead, deaths) = (Fixture::new("analytics.standby = true\n").start(), deaths());
    let api = bulkhead.worker_pid("api");
    kill_analysis(WARM_UP, &bulkhead);
    let before = constant_usage(&bulkhead);
    println!("before: {before:?}");

    kill_analysis(deaths, &bulkhead);

    let mut last = before;
    eventually(bulkhead.log(), "the resource usage to return to the baseline", || {
        let now = usage(&bulkhead);
        if std::mem::replace(&mut last, now) != now {
            println!(" after: {now:?}");
        }
        now.iter().zip(&before).all(|(now, before)| {
            now.zombies == 0
                && now.same_counts_as(before)
                && now.anonymous <= before.anonymous + MAX_GROWTH_KIB
        })
    });
    assert_eq!(stored_reports(&bulkhead), MAX_REPORTS, "of {}", WARM_UP + deaths);
    assert_eq!(
        bulkhead.log().matching(|line| line.is_worker_event("worker_died", "analytics")).len(),
        WARM_UP + deaths
    );
    assert_eq!(bulkhead.worker_pid("api"), api, "the API must not have died");
}
