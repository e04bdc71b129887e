//! The event loop: waits in one place and handles in one place.

use super::{
    Start,
    blocking_task::BlockingTask,
    child::{ChildEvent, Children, PreexistingChildren, Spawner, orphans},
    clock,
    idle::IdleWaiter,
    initial_state,
    probes::OomKills,
    quarantine::Removals,
    recovery::{self, Saving},
    reload::Reload,
    signals::{Signalled, Signals},
    variable,
};
use crate::{
    config::InForce,
    control::server::{self, Call},
    core::{ClientId, Event, State, next_deadline},
    crashes::{Desk, Remains, Store as CrashStore},
    listener::{self, Listener},
    log::Log,
    quarantine::Store,
    state_dir::{Marks, StateDir},
    systemd::Notifier,
};
use anyhow::Context as _;
use bulkhead_proto::{
    board::BoardWriter,
    control::Outcome,
    ids::{Generation, Seq},
    link::Memory,
    segment::ReadWrite,
    snapshot::Summary,
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

/// How long the supervisor stays at its end to see that those that it has killed are gone.
const FINAL_WAIT: Duration = Duration::from_millis(500);

/// What is due is done later than this only if something is wrong with the supervisor itself, however busy the machine.
const MAX_OVERDUE: Duration = Duration::from_secs(10);

/// All that the shell holds.
pub(super) struct Supervisor {
    pub(super) config: InForce,
    /// Where a reload looks first.
    pub(super) option: Option<PathBuf>,
    /// The reload that is under way.
    pub(super) reload: Option<Reload>,
    /// A signal has come meanwhile: from whom.
    pub(super) reload_again: Option<String>,
    pub(super) log: Log,
    pub(super) state: State,
    pub(super) memory: Arc<Memory>,
    pub(super) idle_waiter: IdleWaiter,
    pub(super) ledger: BoardWriter<ReadWrite>,
    pub(super) board: BoardWriter<ReadWrite>,
    pub(super) state_dir: StateDir,
    pub(super) marks: Marks,
    /// The last seq of which the API has told.
    pub(super) seq_high_water: Seq,
    pub(super) spawner: Spawner,
    pub(super) children: Children,
    /// Those who wait for the reply to a command, and the worker that it is about.
    pub(super) clients:
        BTreeMap<ClientId, (Option<String>, oneshot::Sender<crate::control::protocol::Reply>)>,
    pub(super) next_client: ClientId,
    pub(super) saving: Option<Saving>,
    pub(super) quarantine: Arc<Store>,
    pub(super) quarantine_task: Option<BlockingTask<Event>>,
    pub(super) removals: Removals,
    pub(super) crashes: Arc<CrashStore>,
    /// Where crash reports are handed in.
    pub(super) crash_desk: Option<Desk>,
    /// What is left of the process that is being buried.
    pub(super) remains: Option<(Generation, Remains)>,
    /// Those who wait for the replay of an event that was set aside.
    pub(super) replays: Vec<(Seq, Generation, oneshot::Sender<crate::control::protocol::Reply>)>,
    pub(super) exit: Option<u8>,
    pub(super) oom_kills: OomKills,
    /// Children of this process that it did not start: of a program that became this one by exec.
    pub(super) preexisting: PreexistingChildren,
    pub(super) notifier: Notifier,
    // Their files are removed when they are dropped.
    pub(super) server: server::Server,
    pub(super) _listener: Listener,
}

/// Everything that can end a wait.
enum LoopEvent {
    Child(Generation, ChildEvent),
    Call(Call),
    Signal(Signalled),
    Saved(bool, anyhow::Result<Summary>),
    SetAside(Event),
    Removed(Outcome),
    Rung(Event),
    Deadline,
    Watchdog,
}

impl Supervisor {
    pub(super) fn open(
        start: Start,
        handed: Vec<(String, OwnedFd)>,
        calls: mpsc::Sender<Call>,
        preexisting: PreexistingChildren,
    ) -> anyhow::Result<Self> {
        let Start { plan, source, option, socket, log } = start;
        let state_dir = StateDir::open(&plan.state_dir)?;
        let notifier = Notifier::new(&variable);
        let listener = match listener::choose(&plan, handed)? {
            Some(listener) => listener,
            None => Listener::open(&plan.listen)?,
        };
        notifier.preparing(plan.capacity, state_dir.snapshot_bytes());
        let instance = u64::from(std::process::id());
        let memory = Memory::create(plan.capacity, plan.max_series, instance)
            .context("cannot make the shared memory; lower link.capacity or analytics.max_series")?;
        let server = server::serve(&socket, calls, log.recent.clone())?;
        let quarantine = Arc::new(Store::new(state_dir.quarantine()));
        let crashes = Arc::new(CrashStore::new(state_dir.crashes()));
        let crash_desk = Some(Desk::open(Arc::clone(&crashes)).context("no thread for crash reports")?);
        let spawner = Spawner {
            quarantine: Arc::clone(&quarantine),
            crashes: Arc::clone(&crashes),
            executable: std::env::current_exe().context("where is this program?")?,
            listener: listener.fd.try_clone()?,
            address: listener.address.clone(),
            filter: log.filter(),
        };
        let (ledger, board) = (BoardWriter::new(memory.ledger()?), BoardWriter::new(memory.board()?));
        let idle_waiter = IdleWaiter::new(&memory, listener.fd.try_clone()?)?;
        let next = recovery::load(&state_dir, &memory, &crashes, &quarantine)?;
        let quarantine_event = recovery::quarantine_event(&quarantine, &memory)?;
        // Last of all that can fail: from here on, a run that does not end in order has lost something.
        let marks = Marks::begin(&state_dir.marks(), next)?;
        let mut state = initial_state(&plan, next);
        state.restore_quarantined(quarantine_event);
        tracing::info!(
            event_name = "listening",
            address = %listener.address,
            control = %socket.display(),
            state_dir = %state_dir.path().display(),
            config = %source,
            "the API at {}, commands at {}",
            listener.address.url(),
            socket.display()
        );
        Ok(Self {
            state,
            ledger,
            board,
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
            crash_desk,
            remains: None,
            replays: Vec::new(),
            exit: None,
            oom_kills: OomKills::find(Path::new("/")),
            preexisting,
            notifier,
            config: InForce::new(plan),
            option,
            reload: None,
            reload_again: None,
            log,
            idle_waiter,
            memory: Arc::new(memory),
            state_dir,
            server,
            _listener: listener,
        })
    }

    /// The event loop.
    pub(super) async fn run_loop(&mut self, signals: &mut Signals, called: &mut mpsc::Receiver<Call>) -> u8 {
        self.drive(Event::Boot);
        loop {
            self.notifier.tell(&self.state);
            if let Some(code) = self.exit {
                self.wait_for_killed().await;
                if let Some(desk) = self.crash_desk.take() {
                    desk.close().await;
                }
                return code;
            }
            while let Some(event) = self.idle_waiter.arm(&self.state, &self.memory) {
                self.drive(event);
            }
            let deadline = next_deadline(&self.state);
            let event = tokio::select! {
                (generation, stir) = self.children.next_event() => LoopEvent::Child(generation, stir),
                Some(call) = called.recv() => LoopEvent::Call(call),
                signal = signals.next() => LoopEvent::Signal(signal),
                (settled, saved) = recovery::saved(&mut self.saving) => LoopEvent::Saved(settled, saved),
                event = BlockingTask::end(&mut self.quarantine_task) => LoopEvent::SetAside(event),
                outcome = self.removals.end() => LoopEvent::Removed(outcome),
                event = self.idle_waiter.work_available() => LoopEvent::Rung(event),
                () = clock::passed(deadline) => LoopEvent::Deadline,
                () = self.notifier.watchdog_due() => LoopEvent::Watchdog,
            };
            self.handle(event);
            self.start_queued_reload();
        }
    }

    fn handle(&mut self, event: LoopEvent) {
        match event {
            LoopEvent::Child(generation, ChildEvent::Frame(frame)) => {
                self.drive(Event::Frame { generation, frame })
            }
            LoopEvent::Child(generation, ChildEvent::BadFrame(why)) => {
                self.drive(Event::BadFrame { generation, why })
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
            LoopEvent::Call(call) => self.on_call(call),
            LoopEvent::Signal(Signalled::Stop(origin)) => self.drive(Event::StopSignal { origin }),
            LoopEvent::Signal(Signalled::Reload(origin)) => self.reload(origin, None),
            LoopEvent::Signal(Signalled::Child) => orphans::reap(&self.children),
            LoopEvent::Saved(settled, saved) => self.on_saved(settled, saved),
            LoopEvent::SetAside(event) | LoopEvent::Rung(event) => self.drive(event),
            LoopEvent::Removed(outcome) => self.on_removed(outcome),
            LoopEvent::Deadline => self.drive(Event::Tick),
            LoopEvent::Watchdog => self.notify_watchdog(),
        }
    }

    /// Tells systemd that the loop goes round, if the heart is served in it: a supervisor that leaves undone what is due is
    /// better replaced.
    fn notify_watchdog(&self) {
        let overdue = next_deadline(&self.state).map_or(Duration::ZERO, |due| clock::now().mono.since(due));
        if overdue <= MAX_OVERDUE {
            self.notifier.alive();
        } else {
            tracing::error!(
                "what was due {} s ago is not done: not telling systemd that all is well",
                overdue.as_secs()
            );
        }
    }

    /// Sees that those that were killed at the end are gone, so that nothing is left behind; but not for long.
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
        orphans::end(&self.preexisting, FINAL_WAIT);
    }
}
