//! The API's lock. A real child is killed at sampled steps before, within and after it holds the lock, and
//! once more while its successor takes the lock over. The next API must get the lock, and must find the whole
//! batch or nothing of it.
//!
//! Here the child really dies, because a copied lock does not work: the kernel handles a robust mutex at the
//! death of its owner.

use anyhow::{Context as _, Result, ensure};
use bulkhead_proto::wire::role::Role;
use bulkhead_steps::{
    fixture::MemoryFixture,
    recovery,
    scenario::History,
    scenarios::{
        append::{FIRST_ROUND, THREE_EVENTS},
        find,
    },
    test_event::TestEvent,
    tracee::{Tracee, command},
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::{
    fs,
    os::fd::AsFd as _,
    path::Path,
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

/// A time limit for what takes a millisecond. Beyond it, the lock is lost.
const TIMEOUT: Duration = Duration::from_secs(20);

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_bulkhead-steps-child"))
}

/// One service whose APIs die.
struct Service {
    fixture: MemoryFixture,
    history: History,
}

impl Service {
    fn new() -> Result<Self> {
        let fixture = MemoryFixture::new()?;
        let history = find(FIRST_ROUND).context("unknown scenario")?.prepare(&fixture)?;
        Ok(Self { fixture, history })
    }

    /// An API that is stopped before its append.
    fn traced(&self) -> Result<Tracee> {
        Tracee::start(program(), FIRST_ROUND, self.fixture.pass_fds(Role::Api)?, &[])
    }

    /// An API that appends and exits.
    fn api(&self) -> Result<Child> {
        let mut api = command(program(), FIRST_ROUND, self.fixture.pass_fds(Role::Api)?, &[], false)?;
        Ok(api.stdout(Stdio::piped()).spawn()?)
    }

    /// Waits until that API has appended and exited, within [`TIMEOUT`].
    fn expect_success(&self, mut api: Child) -> Result<()> {
        let output = api.stdout.take().context("its output is not piped")?;
        let mut exited = [PollFd::new(output.as_fd(), PollFlags::POLLIN)];
        if poll(&mut exited, PollTimeout::try_from(TIMEOUT)?)? == 0 {
            api.kill()?;
            api.wait()?;
            anyhow::bail!("the lock was not given to the successor within {TIMEOUT:?}");
        }
        ensure!(api.wait()?.success(), "the successor could not append");
        Ok(())
    }

    /// Checks the memory. Only whole batches may follow what was there before.
    fn check(&self, at_least: usize) -> Result<()> {
        let accepted = usize::try_from(self.fixture.memory.tail().accepted)?;
        let before = self.history.before.accepted;
        let batches = (accepted - before) / THREE_EVENTS.len();
        ensure!(
            accepted == before + batches * THREE_EVENTS.len() && batches >= at_least,
            "{accepted} events accepted, {before} before"
        );
        let data = [&self.history.data[..before], &THREE_EVENTS.repeat(batches)].concat::<TestEvent>();
        let reached = recovery::check(&self.fixture, &data)?;
        ensure!(reached.accepted == accepted, "{reached:?}");
        Ok(())
    }
}

/// The steps of an append until it takes the lock, and until it releases the lock.
fn measure() -> Result<(usize, usize)> {
    let service = Service::new()?;
    let (free, child) = (service.fixture.lock(), service.traced()?);
    let (mut taken, mut released) = (0, 0);
    child.step_through(|step| {
        if service.fixture.lock() != free {
            taken = if taken == 0 { step } else { taken };
            released = step + 1;
        }
        Ok(())
    })?;
    child.finish()?;
    ensure!(0 < taken && taken < released, "the lock was never held");
    Ok((taken, released))
}

/// Every step near the taking and the release of the lock, and some between.
fn samples(taken: usize, released: usize, every: usize) -> Vec<usize> {
    let margin = 40;
    let between = (taken + margin..released - margin).step_by(every);
    (taken - margin..taken + margin).chain(between).chain(released - margin..released + margin).collect()
}

fn step_times(child: &Tracee, steps: usize) -> Result<()> {
    (0..steps).try_for_each(|_| child.step().map(drop))
}

#[test]
fn a_successor_gets_the_lock_of_an_api_that_was_killed_at_any_step() -> Result<()> {
    let (taken, released) = measure()?;
    for steps in samples(taken, released, (released - taken) / 40) {
        let service = Service::new()?;
        let child = service.traced()?;
        step_times(&child, steps)?;
        child.kill()?;
        let successor = service.api()?;
        service.expect_success(successor).with_context(|| format!("killed after step {steps}"))?;
        service.check(1).with_context(|| format!("killed after step {steps}"))?;
    }
    Ok(())
}

#[test]
fn a_third_api_gets_the_lock_when_the_second_is_killed_during_its_takeover() -> Result<()> {
    let (taken, released) = measure()?;
    for steps in samples(taken, released, (released - taken) / 10).into_iter().step_by(2) {
        let service = Service::new()?;
        let first = service.traced()?;
        step_times(&first, (taken + released) / 2)?;
        first.kill()?;
        let second = service.traced()?;
        step_times(&second, steps)?;
        second.kill()?;
        let third = service.api()?;
        service.expect_success(third).with_context(|| format!("the second killed after step {steps}"))?;
        service.check(1).with_context(|| format!("the second killed after step {steps}"))?;
    }
    Ok(())
}

#[test]
fn an_api_that_waits_for_the_lock_gets_it_when_its_owner_is_killed() -> Result<()> {
    let (taken, released) = measure()?;
    for steps in (taken..released).step_by((released - taken) / 20) {
        let service = Service::new()?;
        let owner = service.traced()?;
        step_times(&owner, steps)?;
        let waiter = service.api()?;
        wait_until_asleep(waiter.id())?;
        owner.kill()?;
        service.expect_success(waiter).with_context(|| format!("killed after step {steps}"))?;
        service.check(1).with_context(|| format!("killed after step {steps}"))?;
    }
    Ok(())
}

/// Waits until a process sleeps: for the lock, or for another event before it; either is enough.
fn wait_until_asleep(pid: u32) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < TIMEOUT {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let state = stat.rsplit_once(") ").map(|(_, rest)| rest.as_bytes()[0]);
        if matches!(state, Some(b'S' | b'Z')) {
            return Ok(());
        }
        thread::yield_now();
    }
    anyhow::bail!("process {pid} does not sleep")
}
