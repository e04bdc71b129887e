//! A configuration that was read again. The shell compares it with the one in force; here its changes meet whatever is
//! under way.

use super::{
    Asked, Goal, Is, Policy, Process, Spec, Stage, Turn, Wanted, Worker, WorkerId,
    commands::stuck,
    event::ClientId,
    mutant::{self, Mutant},
    policy::{MAX_WORKERS, START_SPACING},
    turn::{At, Lane},
    vigil::{Vigil, Watch},
};
use bulkhead_proto::wire::control::RequestOutcome;

impl Turn<'_> {
    /// What needs no other process. Delays that have begun are cut to the new longest one.
    pub(super) fn configured(&mut self, policy: Policy, specs: &[Spec]) {
        let longest = self.now.mono.after(policy.max);
        self.state.policy = policy;
        for worker in &mut self.state.workers {
            if let Some(spec) = specs.iter().find(|spec| spec.name == worker.name) {
                worker.stop_timeout = spec.stop_timeout;
                worker.hang_timeout = spec.hang_timeout;
            }
            let next_look = self.now.mono.after(Watch::every(worker.hang_timeout));
            let latest = longest.max(worker.started.after(START_SPACING));
            for is in worker.successor.iter_mut().chain([&mut worker.main]) {
                if let Is::Backoff { until } = is {
                    *until = latest.min(*until);
                }
                if let Is::Running { process: Process { vigil: Vigil::Watching(watch), .. } } = is {
                    watch.next = next_look.min(watch.next);
                }
            }
        }
    }

    /// One that was removed just before, and is still leaving, comes back with its next generation.
    pub(super) fn add(&mut self, client: ClientId, spec: &Spec) {
        let same = self.state.ids().find(|id| self.worker(*id).name == spec.name);
        let id = match same {
            Some(id) if self.worker(id).wanted != Wanted::Removed => {
                return self.refuse(client, format!("there is a worker {} already", spec.name));
            }
            Some(id) => id,
            None if self.state.workers.len() >= MAX_WORKERS => {
                return self.refuse(
                    client,
                    format!(
                        "there are {MAX_WORKERS} workers, those that are leaving included: reload again once they are gone"
                    ),
                );
            }
            None => {
                self.state.workers.push(Worker::new(spec));
                WorkerId(u8::try_from(self.state.workers.len() - 1).unwrap_or(u8::MAX))
            }
        };
        self.worker_mut(id).stop_timeout = spec.stop_timeout;
        self.worker_mut(id).hang_timeout = spec.hang_timeout;
        self.start(id, client);
    }

    pub(super) fn remove(&mut self, id: WorkerId, client: ClientId) {
        let worker = self.worker(id);
        let given_up =
            matches!(worker.main, Is::Stopping { stage: Stage::GivenUp, .. }).then(|| stuck(&worker.name));
        self.want(id, Wanted::Removed, "reload");
        if !mutant::is(Mutant::LeaveRemoved) {
            self.begin_stop(At { id, lane: Lane::Successor }, Asked::Remove);
            self.begin_stop(At { id, lane: Lane::Main }, Asked::Remove);
        }
        match given_up {
            Some(why) => self.refuse(client, why),
            None => self.wait(id, client, Goal::Stopped),
        }
    }

    pub(super) fn replace(&mut self, id: WorkerId, client: ClientId) {
        let (name, newest) = (self.worker(id).name.clone(), self.worker(id).generation);
        match self.worker(id).wanted {
            Wanted::Running => {}
            Wanted::Stopped | Wanted::Removed if mutant::is(Mutant::StartStopped) => {
                self.want(id, Wanted::Running, "reload");
            }
            Wanted::Stopped | Wanted::Removed => {
                return self.answer(client, RequestOutcome::Done, format!("{name} is stopped"));
            }
        }
        let given_up = matches!(self.worker(id).main, Is::Stopping { stage: Stage::GivenUp, .. });
        self.disappoint_all(id, "overtaken by a reload");
        self.begin_renewal(id, Asked::Reload);
        if given_up {
            self.refuse(client, stuck(&name));
        } else {
            self.wait(id, client, Goal::Replaced { after: newest });
        }
    }

    /// Forgets the workers that were removed, once nothing is left of them. Last in a turn: it moves the others' places.
    pub(super) fn forget(&mut self) {
        let gone = |worker: &Worker| {
            let empty = worker.main == Is::Stopped && worker.successor.is_none();
            worker.wanted == Wanted::Removed && (empty || mutant::is(Mutant::ForgetTooEarly))
        };
        self.state.workers.retain(|worker| !gone(worker));
    }
}
