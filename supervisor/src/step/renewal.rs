//! Replacing a generation by a newer one, for `restart` and for reloads: moved on turn by turn, so that whatever crosses it
//! (deaths, a hand-over that was under way) is met where it is found.

use super::{
    Asked, Course, Is, Worker, WorkerId,
    mutant::{self, Mutant},
    turn::{At, Lane, Turn},
};
use bincode::{Decode, Encode};
use bulkhead_proto::wire::{ids::Generation, role::Role};

/// A replacement that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Renewal {
    /// The last generation that is out of date.
    pub past: Generation,
    /// On whose behalf.
    pub asked: Asked,
}

impl Worker {
    /// Whether the generation is one that is being replaced.
    pub(super) fn is_outdated(&self, generation: Generation) -> bool {
        self.renewal.is_some_and(|renewal| generation <= renewal.past)
    }
}

impl Turn<'_> {
    /// From now on, every generation so far is out of date. What has none at work is tried again at once.
    pub(super) fn begin_renewal(&mut self, id: WorkerId, asked: Asked) {
        let worker = self.worker_mut(id);
        worker.renewal = Some(Renewal { past: worker.generation, asked });
        match (&worker.main, &worker.successor) {
            (Is::Stopped | Is::Backoff { .. } | Is::Parked { .. }, _) => {
                self.start_afresh(At { id, lane: Lane::Main });
            }
            // It has died while its predecessor was leaving.
            (Is::Stopping { .. }, Some(Is::Backoff { .. } | Is::Parked { .. })) => {
                self.start_afresh(At { id, lane: Lane::Successor });
            }
            (Is::Starting { .. } | Is::Standby { .. } | Is::Running { .. } | Is::Stopping { .. }, _) => {}
        }
    }

    /// Moves every replacement on.
    pub(super) fn renew(&mut self) {
        if self.state.course != Course::Up {
            return;
        }
        for id in self.state.ids() {
            if let Some(Renewal { past, asked }) = self.worker(id).renewal {
                self.renew_one(id, past, asked);
            }
        }
    }

    fn renew_one(&mut self, id: WorkerId, past: Generation, asked: Asked) {
        let worker = self.worker(id);
        if worker.running().is_some_and(|process| process.generation > past) {
            self.worker_mut(id).renewal = None;
            return;
        }
        let keeps = worker.role != Role::Plain && !mutant::is(Mutant::DrainTooEarly);
        match (&worker.main, &worker.successor) {
            (Is::Running { .. }, None) if keeps => {
                let until = self.soon(id);
                self.worker_mut(id).successor = Some(Is::Backoff { until });
            }
            // Nothing works that could be kept working meanwhile.
            (Is::Starting { process, .. } | Is::Standby { process } | Is::Running { process }, None) => {
                if process.generation <= past {
                    self.begin_stop(At { id, lane: Lane::Main }, asked);
                }
            }
            // What is on its way comes first, even a hand-over to one that is out of date by now; the rest follows then.
            (Is::Stopped | Is::Stopping { .. } | Is::Backoff { .. } | Is::Parked { .. }, _)
            | (Is::Starting { .. } | Is::Standby { .. } | Is::Running { .. }, Some(_)) => {}
        }
    }

    /// A generation has died. If it was to replace the others, they stay.
    pub(super) fn renewal_failed(&mut self, id: WorkerId, died: Generation) {
        if !self.worker(id).is_outdated(died) || mutant::is(Mutant::LoseRenewal) {
            self.worker_mut(id).renewal = None;
        }
    }
}
