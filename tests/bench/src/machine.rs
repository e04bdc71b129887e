//! What the machine itself can do, to be held beside what we do with it.

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

/// Enough for a steady figure, and done within 10 ms.
const LINE_TRIPS: u64 = 20_000;

/// What is copied is far larger than the first-level cache and fits the second, as a ring's hot part does.
const COPY_ARENA: usize = 256 << 10;

/// One of the two sides of a measurement; each keeps to a core of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The one that measures.
    Near,
    /// The other.
    Far,
}

/// Pins the calling thread. On a single core both sides share it.
pub(crate) fn pin(side: Side) -> anyhow::Result<()> {
    let cores = cores()?;
    let core = match side {
        Side::Near => cores.first(),
        Side::Far => cores.last(),
    };
    let mut set = CpuSet::new();
    set.set(*core.context("this process may run on no core at all")?);
    sched_setaffinity(None, &set).context("cannot pin a thread to its core")
}

/// Runs `measure` on a thread that is pinned, so that the caller (and what it starts later) stays free.
pub(crate) fn pinned<T: Send>(measure: impl FnOnce() -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
    let run = move || pin(Side::Near).and_then(|()| measure());
    let outcome = thread::scope(|scope| scope.spawn(run).join());
    outcome.unwrap_or_else(|_| Err(anyhow::anyhow!("the measuring thread panicked")))
}

/// The cores that there are to use: those of the measuring process' first thread, which is never pinned.
fn cores() -> anyhow::Result<Vec<usize>> {
    let measuring = if peer::role().is_some() { getppid() } else { Some(getpid()) };
    let set = sched_getaffinity(measuring).context("cannot ask for the cores of this process")?;
    Ok((0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect())
}

/// How long a cache line takes to the other core and back, in ns.
pub(crate) fn line_ns() -> anyhow::Result<f64> {
    let ball = Arc::new(AtomicU64::new(0));
    let far = Arc::clone(&ball);
    let back = thread::spawn(move || {
        let pinned = pin(Side::Far);
        for turn in 0..LINE_TRIPS {
            wait_for(&far, 2 * turn + 1);
            far.store(2 * turn + 2, Ordering::Release);
        }
        pinned
    });
    let elapsed = pinned(move || {
        let mut start = Instant::now();
        for turn in 0..LINE_TRIPS {
            ball.store(2 * turn + 1, Ordering::Release);
            wait_for(&ball, 2 * turn + 2);
            if turn == 0 {
                start = Instant::now();
            }
        }
        Ok(start.elapsed())
    })?;
    back.join().map_err(|_| anyhow::anyhow!("the far thread panicked"))??;
    Ok(ns(elapsed) / (LINE_TRIPS - 1) as f64)
}

fn wait_for(ball: &AtomicU64, value: u64) {
    // On a single core, or beside other work, the peer may need ours.
    for turn in 1u64.. {
        if ball.load(Ordering::Acquire) == value {
            return;
        }
        if turn.is_multiple_of(1 << 16) { thread::yield_now() } else { spin_loop() }
    }
}

/// How long it takes to copy messages of `size` bytes `count` times within the second-level cache.
pub(crate) fn copy(size: usize, count: u64) -> Duration {
    let (from, mut into) = (vec![1u8; COPY_ARENA], vec![0u8; COPY_ARENA]);
    let places = COPY_ARENA / size;
    let start = Instant::now();
    for (_, place) in (0..count).zip((0..places).cycle()) {
        let range = place * size..(place + 1) * size;
        into[range.clone()].copy_from_slice(black_box(&from[range]));
        black_box(&mut into);
    }
    start.elapsed()
}

/// How many processes want a core, averaged over the last minute: a measurement beside other work says little.
pub(crate) fn load() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

/// The machine in a line.
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
