//! Each generation is started once, activated at most once, and dies once. No two generations of a worker are
//! active at the same time.

use super::Check;
use crate::records::{LogLine, Records};
use std::collections::{HashMap, HashSet};

/// The state of all generations at a position in the log.
#[derive(Default)]
struct Generations<'a> {
    /// All generation numbers so far.
    used: HashSet<u64>,
    alive: HashSet<(&'a str, u64)>,
    /// The active generation of each worker.
    active: HashMap<&'a str, u64>,
    /// The number of the last crash.
    crash: u64,
}

pub(super) fn check(records: &Records) -> Check {
    let mut check = Check::of("generations, each started once and dead once, one active at a time");
    let mut generations = Generations::default();
    for line in &records.log {
        let (worker, generation) = (line.text("worker"), line.number("generation").unwrap_or_default());
        let ok = match line.text("event_name") {
            "worker_started" => {
                generations.alive.insert((worker, generation)) && generations.used.insert(generation)
            }
            "worker_activated" => generations.activate(worker, generation),
            "worker_died" => generations.die(line, worker, generation),
            _ => continue,
        };
        check.expect(ok, || line.fields.to_string());
    }
    let Generations { alive, .. } = generations;
    check.expect(alive.is_empty(), || format!("the death of {alive:?} was not logged"));
    check
}

impl<'a> Generations<'a> {
    /// The previous active generation must be dead: there is never a second writer.
    fn activate(&mut self, worker: &'a str, generation: u64) -> bool {
        self.alive.contains(&(worker, generation)) && self.active.insert(worker, generation).is_none()
    }

    /// Each death has the next crash number. Only a generation that was active can have had an event in
    /// flight.
    fn die(&mut self, line: &LogLine, worker: &'a str, generation: u64) -> bool {
        let crash = line.number("crash").unwrap_or_default();
        let follows = crash == self.crash + 1;
        self.crash = crash;
        let active = self.active.get(worker) == Some(&generation);
        if active {
            self.active.remove(worker);
        }
        self.alive.remove(&(worker, generation)) && follows && (active || line.number("seq").is_none())
    }
}
