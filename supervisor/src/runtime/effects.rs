//! Carries out the actions of the core.

use super::{clock, event_loop::Supervisor};
use crate::{
    control::protocol::Reply,
    core::{Action, Effects, Event, LogRecord, Now, Probe, Progress, State},
    log::lifecycle,
};
use bulkhead_proto::{
    shm::memory::AnalyticsProgress,
    wire::{ids::Generation, role::Role},
};

impl Effects for Supervisor {
    fn state(&mut self) -> &mut State {
        &mut self.state
    }

    fn now(&self) -> Now {
        clock::now()
    }

    fn publish(&mut self) {
        self.storage.reserve(&self.state, &self.memory);
        self.published.publish(&self.state);
    }

    fn carry_out(&mut self, action: Action) -> impl IntoIterator<Item = Event> {
        match action {
            Action::Spawn { worker, generation } => {
                let config = &self.configuration.active;
                return Some(self.children.spawn(config, &worker, generation, &self.memory));
            }
            Action::Send { generation, frame } => return self.children.send(generation, frame),
            Action::CloseControl { generation } => {
                if let Some(child) = self.children.get(generation) {
                    child.close_control();
                }
            }
            Action::Signal { generation, signal, group } => self.children.signal(generation, signal, group),
            Action::Probe { generation } => return self.probe(generation),
            Action::DumpThreads(subject) => {
                if let Some(child) = self.children.get(subject.generation) {
                    let threads = child.dump_threads();
                    lifecycle::write(&LogRecord::WorkerThreadsDumped { subject, threads });
                }
            }
            Action::Answer { client, outcome, text } => {
                self.answer(client, Reply::from_outcome(&outcome, text));
            }
            Action::ReserveSeqs { next } => {
                self.storage.record_seq(next, &self.memory);
                self.storage.reserve(&self.state, &self.memory);
            }
            Action::RemoveQuarantined { requester, id, seq, replayed_as } => {
                self.remove_for_api(requester, id, seq, replayed_as);
            }
            Action::ReplayFailed { seq, why } => self.replay_failed(seq, &why),
            Action::Quarantine(request) => return self.storage.quarantine(&request, &self.memory),
            Action::StoreIsolated { subject, through, isolated } => {
                return self.storage.store_isolated(subject, through, isolated, &self.memory);
            }
            Action::Release(seqs) => return self.storage.release(&seqs),
            Action::WakeAnalytics => self.memory.wake_analytics(),
            Action::Log(record) => lifecycle::write(&record),
            Action::RecordDeath(record) => {
                lifecycle::write_death(&record);
                if !record.orderly_stop {
                    self.storage.report(*record);
                }
            }
            Action::Save { settled } => return self.storage.save(settled, &self.memory),
            Action::Exit { code } => self.exit = Some(code),
        }
        None
    }
}

impl Supervisor {
    /// Probes a process. A process that is gone meanwhile has no result.
    fn probe(&mut self, generation: Generation) -> Option<Event> {
        let cpu_available = self.children.get(generation)?.cpu_available();
        let AnalyticsProgress { owner, seq, steps, committed, pending } = self.memory.progress();
        let probe = Probe {
            cpu_available,
            pending,
            took_over: owner == generation,
            progress: Progress { seq, steps, committed },
            backlog_pending: self.probes.idle.has_backlog(),
        };
        Some(Event::Probed { generation, probe })
    }

    /// Handles the exit of a process: its last frames, then its death.
    pub(super) fn reap(&mut self, generation: Generation) {
        self.children.kill_escaped(generation, self.state.is_stopping(generation));
        let Some(mut child) = self.children.take(generation) else { return };
        for frame in child.drain_frames() {
            self.drive(Event::Frame { generation, frame });
        }
        let active_analysis = self.state.is_activated(Role::Analytics, generation).then_some(generation);
        let oom_kills = &mut self.probes.oom_kills;
        let post_mortem = Box::new(child.post_mortem(active_analysis, &self.memory, oom_kills));
        let killed = post_mortem.exit.is_kill();
        self.fail_replays_of(generation);
        self.drive(Event::Died { generation, post_mortem });
        if !killed {
            self.probes.oom_kills.reset();
        }
    }
}
