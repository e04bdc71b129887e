//! People: who type commands, and who kill.

use crate::{
    judge::Broken,
    process::SIGKILL,
    world::{Happening, World},
};
use bulkhead_proto::{ids::Generation, words::FaultKind};
use bulkhead_supervisor::step::{ClientId, Command, Event};

pub(crate) fn types(world: &mut World) -> Result<(), Broken> {
    if world.calm {
        return put_right(world);
    }
    let every = world.weather.commands_every;
    let pause = world.prng.between(every / 2, every * 3 / 2);
    world.later(pause, Happening::Operator);
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

/// In the calm after the storm: what was barred is started, once.
fn put_right(world: &mut World) -> Result<(), Broken> {
    for index in 0..world.names.len() {
        if world.judge.is_excused(index) && world.prng.percent(50) {
            let name = world.names[index].clone();
            command_of_a_new_client(world, Command::Start(name))?;
        }
    }
    Ok(())
}

fn command_of_a_new_client(world: &mut World, command: Command) -> Result<(), Broken> {
    world.clients += 1;
    let client = ClientId(world.clients);
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
