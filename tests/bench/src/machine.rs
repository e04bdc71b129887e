//! What the machine itself can do, for comparison.

use crate::peer;
use anyhow::Context;
use rustix::{
    process::{getpid, getppid},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};
use std::{
    fs,
    hint::{black_box, spin_loop},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// The number of round trips: enough for a steady value, and done within 10 ms.
const CACHE_LINE_TRIPS: u64 = 20_000;

/// The size of the copied memory. It is far larger than the first-level cache and fits the second, as the
/// used part of a ring does.
const COPY_ARENA: usize = 256 << 10;

/// The two sides of a measurement. Each is pinned to its own core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The side that measures.
    Near,
    /// The other side.
    Far,
}

/// Pins the calling thread. With a single core, both sides share it.
pub(crate) fn pin(side: Side) -> anyhow::Result<()> {
    let cores = cores()?;
    let core = match side {
        Side::Near => cores.first(),
        Side::Far => cores.last(),
    };
    let mut set = CpuSet::new();
    set.set(*core.context("this process is not allowed to run on any core")?);
    sched_setaffinity(None, &set).context("cannot pin a thread to its core")
}

/// Runs `measure` on a pinned thread, so that the caller, and the processes that it starts later, are not
/// pinned.
pub(crate) fn pinned<T: Send>(measure: impl FnOnce() -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
    let run = move || pin(Side::Near).and_then(|()| measure());
    let result = thread::scope(|scope| scope.spawn(run).join());
    result.unwrap_or_else(|_| Err(anyhow::anyhow!("the measuring thread panicked")))
}

/// The usable cores: those of the measuring process' first thread, which is never pinned.
fn cores() -> anyhow::Result<Vec<usize>> {
    let measuring_process = if peer::role().is_some() { getppid() } else { Some(getpid()) };
    let set =
        sched_getaffinity(measuring_process).context("cannot read the allowed cores of this process")?;
    Ok((0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect())
}

/// The round trip of a cache line between the two cores, in nanoseconds.
pub(crate) fn cache_line_ns() -> anyhow::Result<f64> {
    let word = Arc::new(AtomicU64::new(0));
    let far_word = Arc::clone(&word);
    let far_thread = thread::spawn(move || {
        let pinned = pin(Side::Far);
        for trip in 0..CACHE_LINE_TRIPS {
            wait_for(&far_word, 2 * trip + 1);
            far_word.store(2 * trip + 2, Ordering::Release);
        }
        pinned
    });
    let elapsed = pinned(move || {
        let mut start = Instant::now();
        for trip in 0..CACHE_LINE_TRIPS {
            word.store(2 * trip + 1, Ordering::Release);
            wait_for(&word, 2 * trip + 2);
            if trip == 0 {
                start = Instant::now();
            }
        }
        Ok(start.elapsed())
    })?;
    far_thread.join().map_err(|_| anyhow::anyhow!("the far thread panicked"))??;
    Ok(ns(elapsed) / (CACHE_LINE_TRIPS - 1) as f64)
}

fn wait_for(word: &AtomicU64, value: u64) {
    // The peer may need this core: with a single core, or when other processes run.
    for attempt in 1u64.. {
        if word.load(Ordering::Acquire) == value {
            return;
        }
        if attempt.is_multiple_of(1 << 16) { thread::yield_now() } else { spin_loop() }
    }
}

/// The time to copy `count` messages of `size` bytes within the second-level cache.
pub(crate) fn copy(size: usize, count: u64) -> Duration {
    let (from, mut into) = (vec![1u8; COPY_ARENA], vec![0u8; COPY_ARENA]);
    let slots = COPY_ARENA / size;
    let start = Instant::now();
    for (_, slot) in (0..count).zip((0..slots).cycle()) {
        let range = slot * size..(slot + 1) * size;
        into[range.clone()].copy_from_slice(black_box(&from[range]));
        black_box(&mut into);
    }
    start.elapsed()
}

/// The number of processes that want a core, averaged over the last minute. Another load makes a measurement
/// less reliable.
pub(crate) fn load_average() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

/// A description of the machine in one line.
pub(crate) fn describe() -> String {
    let field = |file: &str, key: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default().to_owned();
        line.split_once(':').map(|(_, value)| value.trim().to_owned())
    };
    let model = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = cores().map_or(0, |cores| cores.len());
    format!("{model}, {cores} cores, Linux {}", kernel.trim())
}

/// A duration in nanoseconds.
pub(crate) fn ns(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e9
}
