//! The shell around [`crate::step`]: turns fds, signals and deadlines into events, and carries actions out.
//!
//! It waits in one place and handles in one place; it never waits for a worker, and never looks into an event's payload.

mod act;
mod child;
mod children;
mod clock;
mod crashes;
mod doze;
mod errand;
mod from_disk;
mod memory;
mod oom;
mod orphans;
mod output;
mod reload;
mod removal;
mod report;
mod resume;
mod set_aside;
mod signals;
mod spawn;
mod tail;
mod threads;
mod token;
mod watch;

use crate::{
    config::{InForce, Plan, Source, WorkerPlan},
    control::server::{self, Call},
    listener::Listener,
    log::Log,
    step::{ClientId, Event, Identity, Spec, State, next_deadline},
    store::crashes::{CrashStore, ExitArtifacts, ReportQueue},
    store::quarantine::QuarantineStore,
    store::{
        high_water::{HighWaterMarks, Numbers},
        state_dir::StateDir,
    },
    systemd::{Notifier, socket_activation},
};
use anyhow::Context as _;
use bulkhead_proto::{
    board::BoardWriter,
    control::Outcome,
    ids::{Generation, Seq},
    link::Memory,
    listen_fds,
    segment::ReadWrite,
    snapshot::Summary,
};
use child::Stir;
use children::Children;
use doze::Doze;
use errand::Errand;
use oom::OomKills;
use orphans::Strangers;
use reload::Reload;
use removal::Removals;
use resume::Saving;
use signals::{Signalled, Signals};
use spawn::Spawner;
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

/// So many commands may wait to be handled.
const WAITING_CALLS: usize = 16;

/// How long the supervisor stays at its end to see that those that it has killed are gone.
const LAST_LOOK: Duration = Duration::from_millis(500);

/// What is due is done later than this only if something is wrong with the supervisor itself, however busy the machine.
const LONGEST_DELAY: Duration = Duration::from_secs(10);

/// What a run is started with.
pub struct Start {
    /// What to do.
    pub plan: Plan,
    /// Where that came from.
    pub source: Source,
    /// Where a reload looks first: `--config`.
    pub option: Option<PathBuf>,
    /// Where the control socket shall be.
    pub socket: PathBuf,
    /// The log.
    pub log: Log,
}

/// Runs the service until it is stopped. Says the exit code.
///
/// # Errors
/// When it cannot begin.
pub fn run(start: Start) -> anyhow::Result<u8> {
    let handed = listen_fds::take(&variable)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        spawn::keep_strays();
        spawn::forbid_core_dumps();
        let strangers = orphans::adopt();
        let mut signals = Signals::register().context("cannot handle signals")?;
        let (calls, mut called) = mpsc::channel(WAITING_CALLS);
        let mut shell = Shell::open(start, handed, calls, strangers)?;
        let code = shell.work(&mut signals, &mut called).await;
        shell.server.finish().await;
        Ok(code)
    })
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// All that the shell holds.
struct Shell {
    config: InForce,
    /// Where a reload looks first.
    option: Option<PathBuf>,
    /// The reload that is under way.
    reload: Option<Reload>,
    /// A signal has come meanwhile: from whom.
    reload_again: Option<String>,
    log: Log,
    state: State,
    memory: Arc<Memory>,
    doze: Doze,
    ledger: BoardWriter<ReadWrite>,
    board: BoardWriter<ReadWrite>,
    state_dir: StateDir,
    marks: HighWaterMarks,
    /// The last seq of which the API has told.
    seq_mark: Seq,
    spawner: Spawner,
    children: Children,
    /// Those who wait for the reply to a command, and the worker that it is about.
    clients: BTreeMap<ClientId, (Option<String>, oneshot::Sender<crate::control::protocol::Reply>)>,
    next_client: ClientId,
    saving: Option<Saving>,
    quarantine: Arc<QuarantineStore>,
    setting_aside: Option<Errand<Event>>,
    removals: Removals,
    crashes: Arc<CrashStore>,
    /// Where crash reports are handed in.
    crash_desk: Option<ReportQueue>,
    /// What is left of the process that is being buried.
    remains: Option<(Generation, ExitArtifacts)>,
    /// Those who wait for the replay of an event that was set aside.
    replays: Vec<(Seq, Generation, oneshot::Sender<crate::control::protocol::Reply>)>,
    exit: Option<u8>,
    oom_kills: OomKills,
    /// Children of this process that it did not start: of a program that became this one by exec.
    strangers: Strangers,
    notifier: Notifier,
    // Their files are removed when they are dropped.
    server: server::Server,
    _listener: Listener,
}

/// Everything that can end a wait.
enum Wake {
    Child(Generation, Stir),
    Call(Call),
    Signal(Signalled),
    Saved(bool, anyhow::Result<Summary>),
    SetAside(Event),
    Removed(Outcome),
    Rung(Event),
    Deadline,
    Watchdog,
}

impl Shell {
    fn open(
        start: Start,
        handed: Vec<(String, OwnedFd)>,
        calls: mpsc::Sender<Call>,
        strangers: Strangers,
    ) -> anyhow::Result<Self> {
        let Start { plan, source, option, socket, log } = start;
        let state_dir = StateDir::open(&plan.state_dir)?;
        let notifier = Notifier::new(&variable);
        let listener = match socket_activation::inherited_listener(&plan, handed)? {
            Some(listener) => listener,
            None => Listener::open(&plan.listen)?,
        };
        notifier.notify_preparing(plan.capacity, state_dir.snapshot_bytes());
        let instance = u64::from(std::process::id());
        let memory = Memory::create(plan.capacity, plan.max_series, instance)
            .context("cannot make the shared memory; lower link.capacity or analytics.max_series")?;
        let server = server::serve(&socket, calls, log.buffer.clone())?;
        let quarantine = Arc::new(QuarantineStore::new(state_dir.quarantine()));
        let crashes = Arc::new(CrashStore::new(state_dir.crashes()));
        let crash_desk =
            Some(ReportQueue::open(Arc::clone(&crashes)).context("no thread for crash reports")?);
        let spawner = Spawner {
            quarantine: Arc::clone(&quarantine),
            crashes: Arc::clone(&crashes),
            executable: std::env::current_exe().context("where is this program?")?,
            listener: listener.fd.try_clone()?,
            address: listener.address.clone(),
            filter: log.filter(),
        };
        let (ledger, board) = (BoardWriter::new(memory.ledger()?), BoardWriter::new(memory.board()?));
        let doze = Doze::new(&memory, listener.fd.try_clone()?)?;
        let next = resume::load(&state_dir, &memory, &crashes, &quarantine)?;
        let set_aside = resume::set_aside(&quarantine, &memory)?;
        // Last of all that can fail: from here on, a run that does not end in order has lost something.
        let marks = HighWaterMarks::begin(&state_dir.high_water_marks(), next)?;
        let mut state = state(&plan, next);
        state.remember_set_aside(set_aside);
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
            seq_mark: next.seq,
            spawner,
            children: Children::default(),
            clients: BTreeMap::new(),
            next_client: ClientId(1),
            saving: None,
            quarantine,
            setting_aside: None,
            removals: Removals::default(),
            crashes,
            crash_desk,
            remains: None,
            replays: Vec::new(),
            exit: None,
            oom_kills: OomKills::find(Path::new("/")),
            strangers,
            notifier,
            config: InForce::new(plan),
            option,
            reload: None,
            reload_again: None,
            log,
            doze,
            memory: Arc::new(memory),
            state_dir,
            server,
            _listener: listener,
        })
    }

    /// The event loop.
    async fn work(&mut self, signals: &mut Signals, called: &mut mpsc::Receiver<Call>) -> u8 {
        self.take(Event::Boot);
        loop {
            self.notifier.notify_state(&self.state);
            if let Some(code) = self.exit {
                self.last_look().await;
                if let Some(desk) = self.crash_desk.take() {
                    desk.close().await;
                }
                return code;
            }
            while let Some(event) = self.doze.settle(&self.state, &self.memory) {
                self.take(event);
            }
            let deadline = next_deadline(&self.state);
            let wake = tokio::select! {
                (generation, stir) = self.children.stir() => Wake::Child(generation, stir),
                Some(call) = called.recv() => Wake::Call(call),
                signal = signals.next() => Wake::Signal(signal),
                (settled, saved) = resume::saved(&mut self.saving) => Wake::Saved(settled, saved),
                event = Errand::end(&mut self.setting_aside) => Wake::SetAside(event),
                outcome = self.removals.end() => Wake::Removed(outcome),
                event = self.doze.rung() => Wake::Rung(event),
                () = clock::passed(deadline) => Wake::Deadline,
                () = self.notifier.watchdog_due() => Wake::Watchdog,
            };
            self.handle(wake);
            self.catch_up_on_reloads();
        }
    }

    fn handle(&mut self, wake: Wake) {
        match wake {
            Wake::Child(generation, Stir::Frame(frame)) => self.take(Event::Frame { generation, frame }),
            Wake::Child(generation, Stir::BadFrame(why)) => self.take(Event::BadFrame { generation, why }),
            Wake::Child(generation, Stir::Output(pipe)) => {
                if let Some(child) = self.children.get(generation) {
                    child.pass_on(pipe);
                }
            }
            Wake::Child(generation, Stir::Gone) => {
                self.bury(generation);
                orphans::reap(&self.children);
            }
            Wake::Call(call) => self.call(call),
            Wake::Signal(Signalled::Stop(origin)) => self.take(Event::StopSignal { origin }),
            Wake::Signal(Signalled::Reload(origin)) => self.reload(origin, None),
            Wake::Signal(Signalled::Child) => orphans::reap(&self.children),
            Wake::Saved(settled, saved) => self.saved(settled, saved),
            Wake::SetAside(event) | Wake::Rung(event) => self.take(event),
            Wake::Removed(outcome) => self.removed(outcome),
            Wake::Deadline => self.take(Event::Tick),
            Wake::Watchdog => self.prove_life(),
        }
    }

    /// Tells systemd that the loop goes round, if the heart is served in it: a supervisor that leaves undone what is due is
    /// better replaced.
    fn prove_life(&self) {
        let overdue = next_deadline(&self.state).map_or(Duration::ZERO, |due| clock::now().mono.since(due));
        if overdue <= LONGEST_DELAY {
            self.notifier.notify_watchdog();
        } else {
            tracing::error!(
                "what was due {} s ago is not done: not telling systemd that all is well",
                overdue.as_secs()
            );
        }
    }

    /// Sees that those that were killed at the end are gone, so that nothing is left behind; but not for long.
    async fn last_look(&mut self) {
        let gone = async {
            while !self.children.is_empty() {
                if let (generation, Stir::Gone) = self.children.stir().await
                    && let Some(child) = self.children.remove(generation)
                {
                    let _ = child.bury();
                }
            }
        };
        let _ = timeout(LAST_LOOK, gone).await;
        orphans::reap(&self.children);
        orphans::end(&self.strangers, LAST_LOOK);
    }
}

/// The state before the first event.
fn state(plan: &Plan, next: Numbers) -> State {
    let now = clock::now();
    let identity = Identity {
        pid: std::process::id(),
        next_generation: next.generation,
        next_crash: next.crash,
        seed: now.unix_ms ^ (u64::from(std::process::id()) << 32),
    };
    State::new(plan.policy.clone(), specs(plan), identity, now)
}

/// What the heart needs to know of the workers.
fn specs(plan: &Plan) -> Vec<Spec> {
    plan.workers.iter().map(spec).collect()
}

fn spec(worker: &WorkerPlan) -> Spec {
    let WorkerPlan { ref name, role, stop_timeout, hang_timeout, .. } = *worker;
    Spec { name: name.clone(), role, stop_timeout, hang_timeout }
}
