//! Clients that wait for a command to finish. Each is answered exactly once.

use crate::core::{
    model::{ClientId, GenerationState, Goal, Waiter, Worker, WorkerId, policy::MAX_WAITERS},
    transition::Transition,
};
use bulkhead_proto::wire::{control::RequestOutcome, ids::Generation};

impl Transition<'_> {
    /// Whether one more client may wait; otherwise it is refused.
    pub(in crate::core) fn can_wait(&mut self, id: WorkerId, client: ClientId) -> bool {
        let free = self.worker(id).waiters.len() < MAX_WAITERS;
        if !free {
            let name = &self.worker(id).name;
            let why = format!("{MAX_WAITERS} commands to {name} are in progress: wait until they are done");
            self.refuse(client, why);
        }
        free
    }

    pub(in crate::core) fn add_waiter(&mut self, id: WorkerId, client: ClientId, goal: Goal) {
        self.worker_mut(id).waiters.push(Waiter { client, goal });
    }

    /// The client disconnected: it no longer counts towards `MAX_WAITERS`.
    pub(in crate::core) fn client_gone(&mut self, client: ClientId) {
        for worker in &mut self.state.workers {
            worker.waiters.retain(|waiter| waiter.client != client);
        }
    }

    /// Answers the clients whose goal is reached.
    pub(in crate::core) fn complete_waiters(&mut self) {
        for id in self.state.worker_ids() {
            for waiter in self.take_waiters(id, |worker, waiter| goal_reached(worker, waiter.goal).is_some())
            {
                let text = goal_reached(self.worker(id), waiter.goal).unwrap_or_default();
                self.answer(waiter.client, RequestOutcome::Done, text);
            }
        }
    }

    /// Fails the clients whose goal the dead generation could have reached.
    pub(in crate::core) fn fail_waiters_of(&mut self, id: WorkerId, died: Generation, why: &str) {
        self.fail_waiters_if(id, why, |goal| match goal {
            Goal::Running { after } | Goal::Replaced { after } => died > after,
            Goal::Stopped => false,
        });
    }

    /// Fails all clients.
    pub(in crate::core) fn fail_waiters(&mut self, id: WorkerId, why: &str) {
        self.fail_waiters_if(id, why, |_| true);
    }

    /// Fails the clients whose goal matches.
    pub(in crate::core) fn fail_waiters_if(&mut self, id: WorkerId, why: &str, fails: impl Fn(Goal) -> bool) {
        for waiter in self.take_waiters(id, |_, waiter| fails(waiter.goal)) {
            self.refuse(waiter.client, why.to_owned());
        }
    }

    fn take_waiters(&mut self, id: WorkerId, is_taken: impl Fn(&Worker, &Waiter) -> bool) -> Vec<Waiter> {
        let waiters = std::mem::take(&mut self.worker_mut(id).waiters);
        let worker = self.worker(id);
        let (taken, waiters) = waiters.into_iter().partition(|waiter| is_taken(worker, waiter));
        self.worker_mut(id).waiters = waiters;
        taken
    }
}

/// The reply if the goal is reached.
fn goal_reached(worker: &Worker, goal: Goal) -> Option<String> {
    let name = &worker.name;
    match goal {
        Goal::Stopped => worker.is_stopped().then(|| format!("{name} is stopped")),
        // The predecessor, or its standby, may still be stopping.
        Goal::Replaced { .. } if worker.successor != GenerationState::Stopped => None,
        Goal::Replaced { after }
            if worker.standby.process().is_some_and(|process| process.generation <= after) =>
        {
            None
        }
        Goal::Running { after } | Goal::Replaced { after } => worker
            .running()
            .filter(|process| process.generation > after)
            .map(|process| format!("{name} is running: generation {}", process.generation)),
    }
}
