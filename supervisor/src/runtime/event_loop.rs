//! The event loop: waits in one place and handles in one place.

use super::{
    Start,
    blocking_task::BlockingTask,
    child::{ChildEvent, Children, PreexistingChildren, Spawner, orphans},
    clock, env_var,
    idle::IdleWaiter,
    initial_state,
    probes::OomKills,
    quarantine::Removals,
    recovery::{self, Saving},
    reload::Reload,
    signals::{Signals, SupervisorSignal},
};
use crate::{
    config::ActiveConfig,
    control::{
        protocol::Reply,
        server::{self, ClientRequest},
    },
    core::{ClientId, Event, State, next_deadline},
    listener::Listener,
    log::Log,
    store::crashes::{CrashStore, ExitArtifacts, ReportQueue},
    store::quarantine::QuarantineStore,
    store::{high_water::HighWaterMarks, state_dir::StateDir},
    systemd::{Notifier, socket_activation},
};
use anyhow::Context as _;
use bulkhead_proto::{
    shm::{memory::SharedMemory, segment::ReadWrite, seqlock::SeqlockWriter, snapshot::Summary},
    wire::{
        control::RequestOutcome,
        ids::{Generation, Seq},
    },
};
use std::{
    collections::BTreeMap,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

/// Time that the supervisor waits at its end for killed processes to disappear.
const FINAL_WAIT: Duration = Duration::from_millis(500);

/// An overdue deadline beyond this means that the supervisor itself is faulty, however busy the machine is.
const MAX_OVERDUE: Duration = Duration::from_secs(10);

/// Everything that the runtime holds.
pub(super) struct Supervisor {
    pub(super) config: ActiveConfig,
    /// The path of `--config`: a reload looks there first.
    pub(super) config_path: Option<PathBuf>,
    /// The reload in progress.
    pub(super) reload: Option<Reload>,
    /// Origin of a reload signal that arrived during a reload.
    pub(super) queued_reload: Option<String>,
    pub(super) log: Log,
    pub(super) state: State,
    pub(super) memory: Arc<SharedMemory>,
    pub(super) idle_waiter: IdleWaiter,
    pub(super) ledger: SeqlockWriter<ReadWrite>,
    pub(super) status_page: SeqlockWriter<ReadWrite>,
    pub(super) state_dir: StateDir,
    pub(super) marks: HighWaterMarks,
    /// The last seq that the API reported.
    pub(super) seq_high_water: Seq,
    pub(super) spawner: Spawner,
    pub(super) children: Children,
    /// The clients that wait for the reply to a command, with the worker that the command concerns.
    pub(super) clients: BTreeMap<ClientId, (Option<String>, oneshot::Sender<Reply>)>,
    pub(super) next_client: ClientId,
    pub(super) saving: Option<Saving>,
    pub(super) quarantine: Arc<QuarantineStore>,
    pub(super) quarantine_task: Option<BlockingTask<Event>>,
    pub(super) removals: Removals,
    pub(super) crashes: Arc<CrashStore>,
    /// The queue of crash reports to be stored.
    pub(super) report_queue: Option<ReportQueue>,
    /// Exit artifacts of the process that is being reaped.
    pub(super) exit_artifacts: Option<(Generation, ExitArtifacts)>,
    /// The clients that wait for the replay of a quarantined event.
    pub(super) replays: Vec<(Seq, Generation, oneshot::Sender<Reply>)>,
    pub(super) exit: Option<u8>,
    pub(super) oom_kills: OomKills,
    /// Children that this process did not start: those of a program that became the supervisor by exec.
    pub(super) preexisting: PreexistingChildren,
    pub(super) notifier: Notifier,
    // Their files are removed on drop.
    pub(super) server: server::ControlSocket,
    pub(super) _listener: Listener,
}

/// Everything that can end a wait.
enum LoopEvent {
    Child(Generation, ChildEvent),
    Request(ClientRequest),
    Signal(SupervisorSignal),
    Saved(bool, anyhow::Result<Summary>),
    Quarantined(Event),
    Removed(RequestOutcome),
    WorkAvailable(Event),
    Deadline,
    Watchdog,
}

impl Supervisor {
    pub(super) fn open(
        start: Start,
        inherited: Vec<(String, OwnedFd)>,
        requests: mpsc::Sender<ClientRequest>,
        preexisting: PreexistingChildren,
    ) -> anyhow::Result<Self> {
        let Start { config, source, config_path, socket, log } = start;
        let state_dir = StateDir::open(&config.state_dir)?;
        let notifier = Notifier::new(&env_var);
        let listener = match socket_activation::inherited_listener(&config, inherited)? {
            Some(listener) => listener,
            None => Listener::open(&config.listen)?,
        };
        notifier.notify_preparing(config.ring_capacity, state_dir.snapshot_bytes());
        let instance = u64::from(std::process::id());
        let memory = SharedMemory::create(config.ring_capacity, config.max_series, instance)
            .context("cannot create the shared memory: lower link.capacity or analytics.max_series")?;
        let server = server::serve(&socket, requests, log.buffer.clone())?;
        let quarantine = Arc::new(QuarantineStore::new(state_dir.quarantine()));
        let crashes = Arc::new(CrashStore::new(state_dir.crashes()));
        let report_queue = Some(
            ReportQueue::open(Arc::clone(&crashes)).context("cannot start the thread for crash reports")?,
        );
        let spawner = Spawner {
            quarantine: Arc::clone(&quarantine),
            crashes: Arc::clone(&crashes),
            executable: std::env::current_exe().context("cannot find the path of this program")?,
            listener: listener.fd.try_clone()?,
            address: listener.address.clone(),
            filter: log.filter(),
        };
        let (ledger, status_page) =
            (SeqlockWriter::new(memory.ledger()?), SeqlockWriter::new(memory.status_page()?));
        let idle_waiter = IdleWaiter::new(&memory, listener.fd.try_clone()?)?;
        let next = recovery::load(&state_dir, &memory, &crashes, &quarantine)?;
        let quarantined = recovery::quarantined_pending(&quarantine, &memory)?;
        // The last step that can fail: from here on, a run that does not end in order has lost something.
        let marks = HighWaterMarks::begin(&state_dir.high_water_marks(), next)?;
        let mut state = initial_state(&config, next);
        state.restore_quarantined(quarantined);
        tracing::info!(
            event_name = "listening",
            address = %listener.address,
            control = %socket.display(),
            state_dir = %state_dir.path().display(),
            config = %source,
            "API listening on {}, control socket {}",
            listener.address.url(),
            socket.display()
        );
        Ok(Self {
            state,
            ledger,
            status_page,
            marks,
            seq_high_water: next.seq,
            spawner,
            children: Children::default(),
            clients: BTreeMap::new(),
            next_client: ClientId(1),
            saving: None,
            quarantine,
            quarantine_task: None,
            removals: Removals::default(),
            crashes,
            report_queue,
            exit_artifacts: None,
            replays: Vec::new(),
            exit: None,
            oom_kills: OomKills::find(Path::new("/")),
            preexisting,
            notifier,
            config: ActiveConfig::new(config),
            config_path,
            reload: None,
            queued_reload: None,
            log,
            idle_waiter,
            memory: Arc::new(memory),
            state_dir,
            server,
            _listener: listener,
        })
    }

    /// Runs the event loop and returns the exit code.
    pub(super) async fn run_loop(
        &mut self,
        signals: &mut Signals,
        requests: &mut mpsc::Receiver<ClientRequest>,
    ) -> u8 {
        self.drive(Event::Boot);
        loop {
            self.notifier.notify_state(&self.state);
            if let Some(code) = self.exit {
                self.wait_for_killed().await;
                if let Some(queue) = self.report_queue.take() {
                    queue.close().await;
                }
                return code;
            }
            while let Some(event) = self.idle_waiter.arm(&self.state, &self.memory) {
                self.drive(event);
            }
            let deadline = next_deadline(&self.state);
            let event = tokio::select! {
                (generation, event) = self.children.next_event() => LoopEvent::Child(generation, event),
                Some(request) = requests.recv() => LoopEvent::Request(request),
                signal = signals.next() => LoopEvent::Signal(signal),
                (settled, saved) = recovery::wait_saved(&mut self.saving) => LoopEvent::Saved(settled, saved),
                event = BlockingTask::end(&mut self.quarantine_task) => LoopEvent::Quarantined(event),
                outcome = self.removals.end() => LoopEvent::Removed(outcome),
                event = self.idle_waiter.work_available() => LoopEvent::WorkAvailable(event),
                () = clock::wait_until(deadline) => LoopEvent::Deadline,
                () = self.notifier.watchdog_due() => LoopEvent::Watchdog,
            };
            self.handle(event);
            self.start_queued_reload();
        }
    }

    fn handle(&mut self, event: LoopEvent) {
        match event {
            LoopEvent::Child(generation, ChildEvent::Frame(frame)) => {
                self.drive(Event::Frame { generation, frame });
            }
            LoopEvent::Child(generation, ChildEvent::BadFrame(why)) => {
                self.drive(Event::BadFrame { generation, why });
            }
            LoopEvent::Child(generation, ChildEvent::Output(pipe)) => {
                if let Some(child) = self.children.get(generation) {
                    child.forward(pipe);
                }
            }
            LoopEvent::Child(generation, ChildEvent::Exited) => {
                self.reap(generation);
                orphans::reap(&self.children);
            }
            LoopEvent::Request(request) => self.on_client_request(request),
            LoopEvent::Signal(SupervisorSignal::Stop(origin)) => self.drive(Event::StopSignal { origin }),
            LoopEvent::Signal(SupervisorSignal::Reload(origin)) => self.reload(origin, None),
            LoopEvent::Signal(SupervisorSignal::Child) => orphans::reap(&self.children),
            LoopEvent::Saved(settled, saved) => self.on_saved(settled, saved),
            LoopEvent::Quarantined(event) | LoopEvent::WorkAvailable(event) => self.drive(event),
            LoopEvent::Removed(outcome) => self.on_removed(outcome),
            LoopEvent::Deadline => self.drive(Event::Tick),
            LoopEvent::Watchdog => self.notify_watchdog(),
        }
    }

    /// Notifies systemd's watchdog, unless a deadline is long overdue: then systemd restarts the supervisor.
    fn notify_watchdog(&self) {
        let overdue = next_deadline(&self.state).map_or(Duration::ZERO, |due| clock::now().mono.since(due));
        if overdue <= MAX_OVERDUE {
            self.notifier.notify_watchdog();
        } else {
            tracing::error!("a deadline is overdue by {} s: the watchdog is not notified", overdue.as_secs());
        }
    }

    /// Waits, for a limited time, until the processes that were killed at the end are gone.
    async fn wait_for_killed(&mut self) {
        let gone = async {
            while !self.children.is_empty() {
                if let (generation, ChildEvent::Exited) = self.children.next_event().await
                    && let Some(child) = self.children.remove(generation)
                {
                    let _ = child.reap();
                }
            }
        };
        let _ = timeout(FINAL_WAIT, gone).await;
        orphans::reap(&self.children);
        orphans::kill_remaining(&self.preexisting, FINAL_WAIT);
    }
}
