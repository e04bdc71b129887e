//! Clients that wait for the end of their command. Each is answered exactly once.

use super::{
    Goal, Is, Waiter, WorkerId,
    event::ClientId,
    mutant::{self, Mutant},
    policy::MAX_WAITING,
    turn::Turn,
};
use bulkhead_proto::wire::{control::RequestOutcome, ids::Generation};

impl Turn<'_> {
    /// Whether one more may wait; if not, it is refused.
    pub(super) fn may_wait(&mut self, id: WorkerId, client: ClientId) -> bool {
        let free = self.worker(id).waiting.len() < MAX_WAITING;
        if !free {
            let name = &self.worker(id).name;
            let why = format!("{MAX_WAITING} commands to {name} are under way: wait for their end");
            self.refuse(client, why);
        }
        free
    }

    pub(super) fn wait(&mut self, id: WorkerId, client: ClientId, goal: Goal) {
        self.worker_mut(id).waiting.push(Waiter { client, goal });
    }

    /// It waits no more, and makes room for others.
    pub(super) fn left(&mut self, client: ClientId) {
        for worker in &mut self.state.workers {
            worker.waiting.retain(|waiter| waiter.client != client);
        }
    }

    /// Answers those who have got what they wanted.
    pub(super) fn answer_the_content(&mut self) {
        for id in self.state.ids() {
            for waiter in self.dismiss(id, |worker, waiter| content(worker, waiter.goal).is_some()) {
                let text = content(self.worker(id), waiter.goal).unwrap_or_default();
                self.answer(waiter.client, RequestOutcome::Done, text.clone());
                if mutant::is(Mutant::TwoAnswers) {
                    self.answer(waiter.client, RequestOutcome::Done, text);
                }
            }
        }
    }

    /// Refuses those who wait for a generation to run, when this one has died.
    pub(super) fn disappoint(&mut self, id: WorkerId, died: Generation, why: &str) {
        self.disappoint_if(id, why, |goal| match goal {
            Goal::Running { after } | Goal::Replaced { after } => died > after,
            Goal::Stopped => false,
        });
    }

    /// Refuses all that wait.
    pub(super) fn disappoint_all(&mut self, id: WorkerId, why: &str) {
        self.disappoint_if(id, why, |_| true);
    }

    /// Refuses those whose goal is this one's.
    pub(super) fn disappoint_if(&mut self, id: WorkerId, why: &str, hopeless: impl Fn(Goal) -> bool) {
        for waiter in self.dismiss(id, |_, waiter| hopeless(waiter.goal)) {
            if !mutant::is(Mutant::ForgetAnswer) {
                self.refuse(waiter.client, why.to_owned());
            }
        }
    }

    fn dismiss(&mut self, id: WorkerId, done: impl Fn(&super::Worker, &Waiter) -> bool) -> Vec<Waiter> {
        let waiting = std::mem::take(&mut self.worker_mut(id).waiting);
        let worker = self.worker(id);
        let (dismissed, waiting) = waiting.into_iter().partition(|waiter| done(worker, waiter));
        self.worker_mut(id).waiting = waiting;
        dismissed
    }
}

/// The good news for who has this goal, if it is reached.
fn content(worker: &super::Worker, goal: Goal) -> Option<String> {
    let name = &worker.name;
    match goal {
        Goal::Stopped => {
            let stopped = worker.main == Is::Stopped && worker.successor.is_none();
            stopped.then(|| format!("{name} is stopped"))
        }
        // Its predecessor may still be leaving.
        Goal::Replaced { .. } if worker.successor.is_some() => None,
        Goal::Running { after } | Goal::Replaced { after } => worker
            .running()
            .filter(|process| process.generation > after)
            .map(|process| format!("{name} is running: generation {}", process.generation)),
    }
}
