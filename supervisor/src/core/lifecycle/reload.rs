//! Applies a new configuration. The runtime compares it with the active one; the core applies the
//! changes while commands and restarts are in progress.

use crate::core::{
    commands::names::unkillable,
    model::{
        ClientId, DesiredState, GenerationState, Goal, Policy, ProgressTracker, StopRequest, Worker,
        WorkerId, WorkerSpec,
        policy::{MAX_WORKERS, START_SPACING},
    },
    transition::Transition,
};
use bulkhead_proto::wire::control::RequestOutcome;

impl Transition<'_> {
    /// Applies settings that need no new process. Delays in progress are cut to the new maximum.
    /// A braked worker is started again: its program may have been corrected.
    pub(in crate::core) fn configured(&mut self, policy: Policy, specs: &[WorkerSpec]) {
        for id in self.state.worker_ids() {
            let worker = self.worker(id);
            if worker.poison_tracker.brake.engaged.is_some() && worker.desired == DesiredState::Running {
                self.clear_brake(id);
                // A process that is still stopping for the brake has a successor when it is gone.
                if matches!(self.worker(id).main, GenerationState::Parked { .. }) {
                    self.start_immediately(id.main());
                }
            }
        }
        let max_backoff_end = self.now.mono.after(policy.max);
        self.state.policy = policy;
        for worker in &mut self.state.workers {
            if let Some(spec) = specs.iter().find(|spec| spec.name == worker.name) {
                worker.stop_timeout = spec.stop_timeout;
                worker.hang_timeout = spec.hang_timeout;
            }
            worker.retry_standby();
            let next_probe = self.now.mono.after(ProgressTracker::interval(worker.hang_timeout));
            let latest_start = max_backoff_end.max(worker.started.after(START_SPACING));
            for slot_state in [&mut worker.main, &mut worker.successor] {
                match slot_state {
                    GenerationState::Backoff { until } => *until = latest_start.min(*until),
                    GenerationState::Live(process) => process.hang_detector.probe_before(next_probe),
                    GenerationState::Stopped | GenerationState::Parked { .. } => {}
                }
            }
        }
    }

    /// Adds a worker. A worker that was removed and is still stopping comes back with its next generation.
    pub(in crate::core) fn add(&mut self, client: ClientId, spec: &WorkerSpec) {
        let existing = self.state.worker_ids().find(|id| self.worker(*id).name == spec.name);
        let id = match existing {
            Some(id) if self.worker(id).desired != DesiredState::Removed => {
                return self.refuse(client, format!("worker {} already exists", spec.name));
            }
            Some(id) => id,
            None if self.state.workers.len() >= MAX_WORKERS => {
                return self.refuse(
                    client,
                    format!(
                        "the maximum of {MAX_WORKERS} workers is reached, including workers that are stopping: reload again when they are gone"
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

    pub(in crate::core) fn remove(&mut self, id: WorkerId, client: ClientId) {
        let worker = self.worker(id);
        let given_up = worker.is_given_up().then(|| unkillable(&worker.name));
        self.set_desired(id, DesiredState::Removed, "reload");
        self.begin_stop(id.standby(), StopRequest::Remove);
        self.begin_stop(id.successor(), StopRequest::Remove);
        self.begin_stop(id.main(), StopRequest::Remove);
        match given_up {
            Some(why) => self.refuse(client, why),
            None => self.add_waiter(id, client, Goal::Stopped),
        }
    }

    pub(in crate::core) fn replace(&mut self, id: WorkerId, client: ClientId) {
        let (name, newest) = (self.worker(id).name.clone(), self.worker(id).generation);
        match self.worker(id).desired {
            DesiredState::Running => {}
            DesiredState::Stopped | DesiredState::Removed => {
                return self.answer(client, RequestOutcome::Done, format!("{name} is stopped"));
            }
        }
        let given_up = self.worker(id).is_given_up();
        self.fail_waiters(id, "superseded by a reload");
        self.clear_brake(id);
        self.begin_replacement(id, StopRequest::Reload);
        if given_up {
            self.refuse(client, unkillable(&name));
        } else {
            self.add_waiter(id, client, Goal::Replaced { after: newest });
        }
    }

    /// Deletes removed workers that have no process. Runs at the end of a transition: it moves the indices of
    /// other workers.
    pub(in crate::core) fn gc_removed(&mut self) {
        let is_deletable = |worker: &Worker| worker.desired == DesiredState::Removed && worker.is_stopped();
        self.state.workers.retain(|worker| !is_deletable(worker));
    }
}
