//! People: who type commands, and who kill.

use crate::{
    judge::Broken,
    process::SIGKILL,
    weather::policy,
    world::{Happening, World, spec},
};
use bulkhead_proto::wire::{fault::FaultKind, ids::Generation, role::Role};
use bulkhead_supervisor::core::{ClientId, Command, Event, Policy};

/// Plain workers that a reload may add: few, so that names come again.
const NAMES: u64 = 6;

pub(crate) fn types(world: &mut World) -> Result<(), Broken> {
    if world.calm {
        return put_right(world);
    }
    let every = world.weather.commands_every;
    let pause = world.prng.between(every / 2, every * 3 / 2);
    world.later(pause, Happening::Operator);
    if world.prng.percent(30) {
        return reloads(world);
    }
    let name =
        if world.prng.percent(2) { "nobody".to_owned() } else { world.prng.pick(&world.names).clone() };
    let command = match world.prng.below(6) {
        0 | 1 => Command::Start(name),
        2 => Command::Stop(name),
        3 | 4 => Command::Restart(name),
        _ => Command::Fault(name, *world.prng.pick(FaultKind::ALL)),
    };
    command_of_a_new_client(world, command)
}

/// A configuration that differs in one thing, or in several.
fn reloads(world: &mut World) -> Result<(), Broken> {
    for _ in 0..world.prng.between(1, 3) {
        let plain = format!("plain-{}", world.prng.below(NAMES));
        let command = match world.prng.below(6) {
            0 => {
                is_configured(world)?;
                continue;
            }
            1 => Command::Remove(plain),
            2 => {
                if !world.names.contains(&plain) {
                    world.names.push(plain.clone());
                }
                let timeout = world.weather.hang_timeout;
                Command::Add(spec(&mut world.prng, plain, Role::Plain, timeout))
            }
            _ => Command::Replace(world.prng.pick(&world.names).clone()),
        };
        command_of_a_new_client(world, command)?;
    }
    Ok(())
}

fn is_configured(world: &mut World) -> Result<(), Broken> {
    // The number of cores stays.
    let policy = Policy { starts: world.state.policy.starts, ..policy(&mut world.prng) };
    let workers: Vec<_> =
        world.state.workers.iter().map(|worker| (worker.name.clone(), worker.role)).collect();
    let timeout = world.weather.hang_timeout;
    let specs = workers.into_iter().map(|(name, role)| spec(&mut world.prng, name, role, timeout)).collect();
    world.turn(Event::Configured { policy, specs })
}

/// In the calm after the storm: what was barred is started, once.
fn put_right(world: &mut World) -> Result<(), Broken> {
    for name in world.judge.excused() {
        if world.prng.percent(50) {
            command_of_a_new_client(world, Command::Start(name))?;
        }
    }
    Ok(())
}

fn command_of_a_new_client(world: &mut World, command: Command) -> Result<(), Broken> {
    world.clients += 1;
    let client = ClientId(world.clients);
    if world.prng.percent(10) {
        let patience = world.prng.below(500);
        world.later(patience, Happening::Event(Event::ClientGone { client }));
    }
    world.turn(Event::Command { client, command })
}

pub(crate) fn kills(world: &mut World) {
    if world.calm {
        return;
    }
    let every = world.weather.kills_every;
    let pause = world.prng.between(every / 2, every * 3 / 2);
    world.later(pause, Happening::Killer);
    let living: Vec<Generation> = world.processes.keys().copied().collect();
    if !living.is_empty() {
        let victim = *world.prng.pick(&living);
        world.later(0, Happening::Dies(victim, SIGKILL));
    }
}
