//! Each generation has one life: it is started, perhaps activated, and dies. There are never two at work.

use super::Check;
use crate::records::{Records, Told};
use std::collections::{HashMap, HashSet};

/// Who lives, as far as the log was read.
#[derive(Default)]
struct Lives<'a> {
    /// All numbers that were given.
    known: HashSet<u64>,
    living: HashSet<(&'a str, u64)>,
    /// Of each worker, the one at work.
    active: HashMap<&'a str, u64>,
    /// The number of the last death.
    crash: u64,
}

pub(super) fn check(records: &Records) -> Check {
    let mut check = Check::of("generations, each started and dead once, one after the other at work");
    let mut lives = Lives::default();
    for told in &records.story {
        let (worker, generation) = (told.text("worker"), told.number("generation").unwrap_or_default());
        let right = match told.text("event_name") {
            "worker_started" => lives.living.insert((worker, generation)) && lives.known.insert(generation),
            "worker_activated" => lives.activate(worker, generation),
            "worker_died" => lives.die(told, worker, generation),
            _ => continue,
        };
        check.holds(right, || told.line.to_string());
    }
    let Lives { living, .. } = lives;
    check.holds(living.is_empty(), || format!("the death of {living:?} was not reported"));
    check
}

impl<'a> Lives<'a> {
    /// The one before must be gone: there is never a second writer.
    fn activate(&mut self, worker: &'a str, generation: u64) -> bool {
        self.living.contains(&(worker, generation)) && self.active.insert(worker, generation).is_none()
    }

    /// Each death has the next number, and only who was at work can have had an event in hand.
    fn die(&mut self, told: &Told, worker: &'a str, generation: u64) -> bool {
        let crash = told.number("crash").unwrap_or_default();
        let next = crash == self.crash + 1;
        self.crash = crash;
        let active = self.active.get(worker) == Some(&generation);
        if active {
            self.active.remove(worker);
        }
        self.living.remove(&(worker, generation)) && next && (active || told.number("seq").is_none())
    }
}
