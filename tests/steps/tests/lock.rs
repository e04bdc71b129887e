//! The API's lock: a real child is killed at sampled steps before, inside and behind it, and once more while its successor
//! takes it over. Whoever comes next gets it, and finds the whole batch or nothing of it.
//!
//! Here the child really dies, for a lock that is copied into another memory is none: what the kernel does for a robust
//! mutex, it does at its owner's death.

use anyhow::{Context as _, Result, ensure};
use bulkhead_proto::wire::role::Role;
use bulkhead_steps::{
    datum::Datum,
    recovery,
    scenario::History,
    scenarios::{
        append::{FIRST_ROUND, THREE},
        find,
    },
    tracee::{Tracee, command},
    world::World,
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

/// A bound for what takes a millisecond: beyond it, the lock is lost.
const PATIENCE: Duration = Duration::from_secs(20);

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_bulkhead-steps-child"))
}

/// One service whose APIs die.
struct Service {
    world: World,
    history: History,
}

impl Service {
    fn new() -> Result<Self> {
        let world = World::new(512)?;
        let history = find(FIRST_ROUND).context("no such scenario")?.prepare(&world)?;
        Ok(Self { world, history })
    }

    /// An API that is about to append, stopped.
    fn traced(&self) -> Result<Tracee> {
        Tracee::start(program(), FIRST_ROUND, self.world.bequeath(Role::Api)?, &[])
    }

    /// An API that appends and leaves.
    fn api(&self) -> Result<Child> {
        let mut api = command(program(), FIRST_ROUND, self.world.bequeath(Role::Api)?, &[], false)?;
        Ok(api.stdout(Stdio::piped()).spawn()?)
    }

    /// Waits until that API has appended and left. Never for ever.
    fn succeeds(&self, mut api: Child) -> Result<()> {
        let output = api.stdout.take().context("its output is not piped")?;
        let mut left = [PollFd::new(output.as_fd(), PollFlags::POLLIN)];
        if poll(&mut left, PollTimeout::try_from(PATIENCE)?)? == 0 {
            api.kill()?;
            api.wait()?;
            anyhow::bail!("the lock was not given to the successor within {PATIENCE:?}");
        }
        ensure!(api.wait()?.success(), "the successor could not append");
        Ok(())
    }

    /// Checks the memory, in which some number of whole batches must have come behind what was there before.
    fn check(&self, at_least: usize) -> Result<()> {
        let accepted = usize::try_from(self.world.memory.tail().accepted)?;
        let before = self.history.before.accepted;
        let batches = (accepted - before) / THREE.len();
        ensure!(
            accepted == before + batches * THREE.len() && batches >= at_least,
            "{accepted} after {before}"
        );
        let data = [&self.history.data[..before], &THREE.repeat(batches)].concat::<Datum>();
        let reached = recovery::check(&self.world, &data)?;
        ensure!(reached.accepted == accepted, "{reached:?}");
        Ok(())
    }
}

/// The steps of an append: until the lock is taken, and until it is free again.
fn measure() -> Result<(usize, usize)> {
    let service = Service::new()?;
    let (free, child) = (service.world.lock(), service.traced()?);
    let (mut taken, mut released) = (0, 0);
    child.step_through(|step| {
        if service.world.lock() != free {
            taken = if taken == 0 { step } else { taken };
            released = step + 1;
        }
        Ok(())
    })?;
    child.finish()?;
    ensure!(0 < taken && taken < released, "the lock was never held");
    Ok((taken, released))
}

/// Every step around the taking and the release, and some between.
fn samples(taken: usize, released: usize, every: usize) -> Vec<usize> {
    let near = 40;
    let between = (taken + near..released - near).step_by(every);
    (taken - near..taken + near).chain(between).chain(released - near..released + near).collect()
}

fn walk(child: &Tracee, steps: usize) -> Result<()> {
    (0..steps).try_for_each(|_| child.step().map(drop))
}

#[test]
fn a_successor_gets_the_lock_of_an_api_that_was_killed_at_any_step() -> Result<()> {
    let (taken, released) = measure()?;
    for steps in samples(taken, released, (released - taken) / 40) {
        let service = Service::new()?;
        let child = service.traced()?;
        walk(&child, steps)?;
        child.kill()?;
        let successor = service.api()?;
        service.succeeds(successor).with_context(|| format!("killed behind step {steps}"))?;
        service.check(1).with_context(|| format!("killed behind step {steps}"))?;
    }
    Ok(())
}

#[test]
fn a_third_api_gets_the_lock_when_the_second_is_killed_while_it_takes_it_over() -> Result<()> {
    let (taken, released) = measure()?;
    for steps in samples(taken, released, (released - taken) / 10).into_iter().step_by(2) {
        let service = Service::new()?;
        let first = service.traced()?;
        walk(&first, (taken + released) / 2)?;
        first.kill()?;
        let second = service.traced()?;
        walk(&second, steps)?;
        second.kill()?;
        let third = service.api()?;
        service.succeeds(third).with_context(|| format!("the second killed behind step {steps}"))?;
        service.check(1).with_context(|| format!("the second killed behind step {steps}"))?;
    }
    Ok(())
}

#[test]
fn an_api_that_waits_for_the_lock_gets_it_when_its_owner_is_killed() -> Result<()> {
    let (taken, released) = measure()?;
    for steps in (taken..released).step_by((released - taken) / 20) {
        let service = Service::new()?;
        let owner = service.traced()?;
        walk(&owner, steps)?;
        let waiter = service.api()?;
        until_it_sleeps(waiter.id())?;
        owner.kill()?;
        service.succeeds(waiter).with_context(|| format!("killed behind step {steps}"))?;
        service.check(1).with_context(|| format!("killed behind step {steps}"))?;
    }
    Ok(())
}

/// Until a process sleeps: it waits for the lock, or for something else on its way there, which is no worse.
fn until_it_sleeps(pid: u32) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let state = stat.rsplit_once(") ").map(|(_, rest)| rest.as_bytes()[0]);
        if matches!(state, Some(b'S' | b'Z')) {
            return Ok(());
        }
        thread::yield_now();
    }
    anyhow::bail!("process {pid} does not wait")
}
