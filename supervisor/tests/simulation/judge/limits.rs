//! What must hold between two turns.

use super::{Broken, Judge, Turn, ms};
use crate::demand::demand;
use bulkhead_proto::wire::{ids::Generation, role::Role};
use bulkhead_supervisor::core::{
    DesiredState, State,
    policy::{ABORT_GRACE, KILL_GRACE, SAVE_TIMEOUT, START_TIMEOUT, TERM_GRACE},
};

/// How late the simulated shell may be in all: its ticks come up to a few milliseconds late, several of them in a row.
const SLACK: u64 = 100;

impl Judge {
    /// After the last action of a turn.
    pub(crate) fn end_of_turn(&mut self, state: &State, process_died: bool) -> Result<(), Broken> {
        let turn = std::mem::take(&mut self.turn);
        let deaths: Vec<Generation> = turn.died.into_iter().collect();
        if !self.gone || turn.died.is_none() {
            demand!(turn.deaths == deaths, "the deaths of {deaths:?} are told as {:?}", turn.deaths);
            demand!(!process_died || turn.died.is_none() || turn.kicked, "kicks no bell after a death");
        }
        demand!(turn.unreported.is_empty(), "reports {:?} not at all", turn.unreported);
        if let Some(offender) = turn.offender {
            demand!(
                self.gone || self.records[&offender].killed.is_some(),
                "lets generation {offender} get away with a lie"
            );
        }
        demand!(turn.request.is_none(), "leaves a request unanswered: {:?}", turn.request);
        if let Some(operator) = turn.command.as_ref().filter(|_| turn.refused) {
            // Nothing was tried again.
            let worker = &mut self.workers[operator.worker];
            worker.barred |= turn.before.0;
            worker.excused |= turn.before.1;
        }
        self.check_wanted(state, &turn)?;
        self.check_removed(state)?;
        self.check_actives()?;
        self.check_blame()?;
        self.check_overdue()
    }

    fn check_wanted(&mut self, state: &State, turn: &Turn) -> Result<(), Broken> {
        for (index, (known, name)) in self.workers.iter_mut().zip(&self.names).enumerate() {
            let order = turn.command.as_ref().filter(|operator| operator.worker == index);
            let target = order.and_then(|operator| operator.command.target());
            let carried_out = target.is_some() && !turn.refused;
            let worker = state.workers.iter().find(|worker| worker.name == *name);
            let wanted = worker.map_or(DesiredState::Removed, |worker| worker.desired);
            demand!(
                wanted == known.wanted && !carried_out || Some(wanted) == target,
                "{name} is wanted {wanted:?} but was to be {:?}",
                target.unwrap_or(known.wanted)
            );
            known.wanted = wanted;
            if worker.is_none() {
                // Should it come again, it comes as a new one.
                known.last_spawn = None;
            }
        }
        for index in &turn.spawned {
            demand!(
                self.workers[*index].wanted == DesiredState::Running,
                "spawns {}, which is not wanted",
                self.names[*index]
            );
        }
        Ok(())
    }

    /// Who was removed leaves, is shown until then, and is forgotten then.
    fn check_removed(&self, state: &State) -> Result<(), Broken> {
        for (index, name) in self.names.iter().enumerate() {
            if self.workers[index].wanted != DesiredState::Removed {
                continue;
            }
            let stays = self.siblings(index).find(|(_, record)| record.asked.is_none());
            demand!(stays.is_none() || self.gone, "{name} was removed, but nobody has told {stays:?}");
            let shown = state.workers.iter().any(|worker| worker.name == *name);
            let lives = self.siblings(index).next().is_some();
            demand!(shown == lives || self.gone, "{name} was removed; lives: {lives}, shown: {shown}");
        }
        Ok(())
    }

    fn check_actives(&self) -> Result<(), Broken> {
        for (index, worker) in self.workers.iter().enumerate() {
            let active = self.siblings(index).filter(|(_, record)| record.is_active()).count();
            demand!(active <= 1, "{active} active generations of {}", self.names[index]);
            let living = self.siblings(index).count();
            let most = if worker.role == Role::Plain { 1 } else { 2 };
            demand!(living <= most, "{living} generations of {} at once", self.names[index]);
        }
        let starting = self.living().filter(|(_, record)| record.is_starting()).count();
        let most = usize::try_from(self.policy.starts.max(1)).unwrap_or(usize::MAX);
        demand!(starting <= most, "{starting} workers are starting at once");
        Ok(())
    }

    /// Nothing lasts for ever.
    fn check_overdue(&self) -> Result<(), Broken> {
        if self.gone {
            return Ok(());
        }
        let lived = self.now.lived;
        for (generation, record) in self.living() {
            // After each jump of the clock there is a little more.
            let jumped = self.now.mono - lived;
            let grace = jumped.min(ms(START_TIMEOUT));
            let start_ends = record.ordered + ms(START_TIMEOUT) + grace + SLACK;
            demand!(
                !record.is_starting() || lived <= start_ends,
                "generation {generation} is starting for ever"
            );
            let grace = self.workers[record.worker].stop_timeout + ms(TERM_GRACE) + SLACK;
            let stop_ends = record.asked.map(|asked| asked + grace);
            let abort_ends = record.aborted.map(|aborted| aborted + ms(ABORT_GRACE) + SLACK);
            let ends = abort_ends.or(stop_ends);
            let overdue = record.killed.is_none() && ends.is_some_and(|ends| lived > ends);
            demand!(!overdue, "generation {generation} is stopping for ever");
        }
        if let Some(stopping) = self.stopping {
            let longest = self.workers.iter().map(|worker| worker.stop_timeout).max().unwrap_or(0);
            let stage = longest + ms(TERM_GRACE) + ms(KILL_GRACE);
            demand!(lived <= stopping + 3 * stage + ms(SAVE_TIMEOUT) + SLACK, "it is stopping for ever");
        }
        Ok(())
    }

    /// Once all has been calm for long enough for everything to recover.
    pub(crate) fn all_is_well(&self, state: &State) -> Result<(), Broken> {
        for (index, (known, name)) in self.workers.iter().zip(&self.names).enumerate() {
            let worker = state.workers.iter().find(|worker| worker.name == *name);
            let main = worker.map(|worker| &worker.main);
            let running = worker.is_some_and(|worker| worker.running().is_some());
            let ought = known.wanted == DesiredState::Running && !known.excused;
            demand!(running || !ought, "{name} does not come back: {main:?}");
            let left = self.siblings(index).count();
            demand!(known.wanted == DesiredState::Running || left == 0, "{name} does not go: {main:?}");
        }
        self.nobody_waits()
    }

    pub(crate) fn nobody_waits(&self) -> Result<(), Broken> {
        demand!(self.clients.is_empty(), "clients wait for ever: {:?}", self.clients);
        Ok(())
    }
}
