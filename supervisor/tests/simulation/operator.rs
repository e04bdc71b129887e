//! Operators: they send commands and change the configuration. Also the kills that come from outside the
//! supervisor.

use crate::{
    checker::Violation,
    fault_profile::random_policy,
    process::{SIGKILL, series_of},
    simulator::{SimEvent, Simulation, random_spec},
};
use bulkhead_proto::wire::{fault::FaultKind, ids::Generation, role::Role};
use bulkhead_supervisor::core::{ClientId, Command, Event, Policy};

/// The number of names for plain workers that a reload may add. It is small, so that names are reused.
const PLAIN_NAMES: u64 = 6;

pub(crate) fn issue_command(simulation: &mut Simulation) -> Result<(), Violation> {
    if simulation.faults_stopped {
        return restart_rejected(simulation);
    }
    let mean = simulation.faults.mean_command_interval;
    let pause = simulation.prng.between(mean / 2, mean * 3 / 2);
    simulation.schedule(pause, SimEvent::OperatorCommand);
    if simulation.prng.percent(30) {
        return reload(simulation);
    }
    let name = if simulation.prng.percent(2) {
        "unknown".to_owned()
    } else {
        simulation.prng.pick(&simulation.worker_names).clone()
    };
    let command = match simulation.prng.below(6) {
        0 | 1 => Command::Start(name),
        2 => Command::Stop(name),
        3 | 4 => Command::Restart(name),
        _ => Command::Fault(name, *simulation.prng.pick(FaultKind::ALL)),
    };
    if command.worker() == "analytics" && !matches!(command, Command::Stop(_) | Command::Fault(..)) {
        deploy(simulation);
    }
    send_from_new_client(simulation, command)
}

/// The next program of the analysis is right, or wrong in some or all events.
pub(crate) fn deploy(simulation: &mut Simulation) {
    let wrong = simulation.prng.percent(simulation.faults.wrong_program);
    simulation.failing_percent = if wrong { *simulation.prng.pick(&[0, 0, 0, 2, 30, 100, 100]) } else { 0 };
    let series = wrong && simulation.failing_percent == 0;
    simulation.failing_series = series.then(|| series_of(simulation.prng.below(100)));
}

/// Reloads a configuration with one to three differences.
fn reload(simulation: &mut Simulation) -> Result<(), Violation> {
    for _ in 0..simulation.prng.between(1, 3) {
        let plain = format!("plain-{}", simulation.prng.below(PLAIN_NAMES));
        let command = match simulation.prng.below(6) {
            0 => {
                configure(simulation)?;
                continue;
            }
            1 => Command::Remove(plain),
            2 => {
                if !simulation.worker_names.contains(&plain) {
                    simulation.worker_names.push(plain.clone());
                }
                let timeout = simulation.faults.hang_timeout;
                Command::Add(random_spec(&mut simulation.prng, plain, Role::Plain, timeout))
            }
            _ => Command::Replace(simulation.prng.pick(&simulation.worker_names).clone()),
        };
        send_from_new_client(simulation, command)?;
    }
    Ok(())
}

fn configure(simulation: &mut Simulation) -> Result<(), Violation> {
    // The number of concurrent starts is fixed at boot.
    let policy = Policy { starts: simulation.state.policy.starts, ..random_policy(&mut simulation.prng) };
    let workers: Vec<_> =
        simulation.state.workers.iter().map(|worker| (worker.name.clone(), worker.role)).collect();
    let timeout = simulation.faults.hang_timeout;
    let specs = workers
        .into_iter()
        .map(|(name, role)| random_spec(&mut simulation.prng, name, role, timeout))
        .collect();
    simulation.deliver(Event::Configured { policy, specs })
}

/// After the faults have stopped, about half of the workers with a rejected configuration are started, once.
fn restart_rejected(simulation: &mut Simulation) -> Result<(), Violation> {
    for name in simulation.checker.may_be_down() {
        if simulation.prng.percent(50) {
            send_from_new_client(simulation, Command::Start(name))?;
        }
    }
    Ok(())
}

fn send_from_new_client(simulation: &mut Simulation, command: Command) -> Result<(), Violation> {
    simulation.last_client += 1;
    let client = ClientId(simulation.last_client);
    if simulation.prng.percent(10) {
        let timeout = simulation.prng.below(500);
        simulation.schedule(timeout, SimEvent::Deliver(Event::ClientGone { client }));
    }
    simulation.deliver(Event::Command { client, command })
}

pub(crate) fn kill_random_process(simulation: &mut Simulation) {
    if simulation.faults_stopped {
        return;
    }
    let mean = simulation.faults.mean_kill_interval;
    let pause = simulation.prng.between(mean / 2, mean * 3 / 2);
    simulation.schedule(pause, SimEvent::ExternalKill);
    let alive: Vec<Generation> = simulation.processes.keys().copied().collect();
    if !alive.is_empty() {
        let generation = *simulation.prng.pick(&alive);
        simulation.schedule(0, SimEvent::Die(generation, SIGKILL));
    }
}
