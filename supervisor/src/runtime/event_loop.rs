//! The event loop: waits in one place and handles in one place.

use super::{
    Start,
    child::{ChildEvent, Children, PreexistingChildren, Spawner},
    clock,
    configuration::Configuration,
    control_plane::ControlPlane,
    env_var, initial_state,
    probes::{IdleWaiter, OomKills, Probes},
    published::Published,
    recovery,
    signals::{Signals, SupervisorSignal},
    socket_watch::SocketWatch,
    stand_in::StandIn,
    storage::{Storage, StorageEvent},
};
use crate::{
    config::ActiveConfig,
    control::server::{self, ClientRequest},
    core::{self, Event, State, next_deadline},
    listener::Listener,
    store::{Stores, state_dir::StateDir},
    systemd::{Notifier, socket_activation},
};
use anyhow::Context as _;
use bulkhead_proto::{shm::memory::SharedMemory, wire::ids::Generation};
use std::{os::fd::OwnedFd, path::Path, sync::Arc, time::Duration};
use tokio::sync::mpsc;

/// An overdue deadline beyond this means that the supervisor itself is faulty, however busy the machine is.
const MAX_OVERDUE: Duration = Duration::from_secs(10);

/// The state of the core, and the owners of everything that it acts on.
pub(super) struct Supervisor {
    pub(super) state: State,
    pub(super) published: Published,
    pub(super) memory: Arc<SharedMemory>,
    pub(super) children: Children,
    pub(super) probes: Probes,
    pub(super) stand_in: StandIn,
    pub(super) storage: Storage,
    pub(super) control: ControlPlane,
    pub(super) configuration: Configuration,
    pub(super) notifier: Notifier,
    pub(super) socket_watch: SocketWatch,
    pub(super) exit: Option<u8>,
}

/// Everything that can end a wait.
enum LoopEvent {
    Child(Generation, ChildEvent),
    Request(ClientRequest),
    Signal(SupervisorSignal),
    Storage(StorageEvent),
    WorkAvailable(Event),
    SocketFiles,
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
        tracing::info!(
            max_series = config.max_series,
            ring_bytes = config.ring_capacity,
            reserved_bytes = memory.table().bytes(),
            "the ring has {} MiB; address space of {} MiB is reserved for the states of up to {} series, and takes memory only \
             as far as it is used",
            config.ring_capacity >> 20,
            memory.table().bytes() >> 20,
            config.max_series
        );
        let control = ControlPlane::new(server::serve(&socket, requests, log.buffer.clone())?);
        let idle = IdleWaiter::new(&memory, listener.fd.try_clone()?)?;
        let stand_in = StandIn::new(listener.fd.try_clone()?);
        let (published, stores) = (Published::new(&memory)?, Stores::new(&state_dir));
        let socket_watch = SocketWatch::new();
        socket_watch.add(control.socket.file().path());
        listener.file.iter().for_each(|file| socket_watch.add(file.path()));
        listener.file_of_systemd.iter().for_each(|path| socket_watch.add(path));
        let address = listener.address.clone();
        let executable = std::env::current_exe().context("cannot find the path of this program")?;
        let spawner = Spawner { executable, listener, stores: stores.clone(), filter: log.filter() };
        let next = recovery::load(&state_dir, &memory, &stores)?;
        let mut state = initial_state(&config, next);
        let committed = memory.record().unwrap_or_default().seq;
        state.restore(committed, recovery::quarantined_pending(&stores.quarantine, &memory)?);
        let storage = Storage::begin(state_dir, stores, next)?;
        tracing::info!(
            event_name = "listening",
            address = %address,
            control = %socket.display(),
            state_dir = %storage.state_dir.path().display(),
            config = %source,
            "API listening on {}, control socket {}",
            address.listening_url(),
            socket.display()
        );
        Ok(Self {
            state,
            published,
            memory: Arc::new(memory),
            children: Children::new(spawner, preexisting),
            probes: Probes { idle, oom_kills: OomKills::find(Path::new("/")) },
            stand_in,
            storage,
            control,
            configuration: Configuration {
                active: ActiveConfig::new(config),
                path: config_path,
                log,
                reload: None,
                queued_reload: None,
            },
            notifier,
            socket_watch,
            exit: None,
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
                self.children.wait_for_killed().await;
                self.storage.close().await;
                self.control.socket.finish().await;
                return code;
            }
            while let Some(event) = self.probes.idle.arm(&self.state, &self.memory) {
                self.drive(event);
            }
            self.stand_in.arm(&self.state);
            let deadline = next_deadline(&self.state);
            let event = tokio::select! {
                (generation, event) = self.children.next_event() => LoopEvent::Child(generation, event),
                Some(request) = requests.recv() => LoopEvent::Request(request),
                signal = signals.next() => LoopEvent::Signal(signal),
                event = self.storage.next_event() => LoopEvent::Storage(event),
                event = self.probes.idle.work_available() => LoopEvent::WorkAvailable(event),
                () = self.socket_watch.changed() => LoopEvent::SocketFiles,
                () = clock::wait_until(deadline) => LoopEvent::Deadline,
                () = self.notifier.watchdog_due() => LoopEvent::Watchdog,
            };
            self.handle(event);
            self.start_queued_reload();
        }
    }

    fn handle(&mut self, event: LoopEvent) {
        match event {
            LoopEvent::Child(generation, event) => self.on_child_event(generation, event),
            LoopEvent::Request(request) => self.on_client_request(request),
            LoopEvent::Signal(SupervisorSignal::Stop { origin, terminal }) => {
                self.drive(Event::StopSignal { origin, terminal });
            }
            LoopEvent::Signal(SupervisorSignal::Reload(origin)) => {
                self.restore_socket_files();
                self.reload(origin, None);
            }
            LoopEvent::Signal(SupervisorSignal::Ignored(origin)) => {
                tracing::warn!("{origin}: ignored, as every later signal of this kind");
            }
            LoopEvent::Signal(SupervisorSignal::Child) => self.on_exited_children(),
            LoopEvent::Storage(StorageEvent::Saved(saved)) => {
                self.drive(self.storage.on_saved(saved, &self.state));
            }
            LoopEvent::Storage(StorageEvent::Removed(outcome)) => self.on_removed(outcome),
            LoopEvent::Storage(StorageEvent::Quarantined(event)) | LoopEvent::WorkAvailable(event) => {
                self.drive(event);
            }
            LoopEvent::SocketFiles => self.restore_socket_files(),
            LoopEvent::Deadline => self.drive(Event::Tick),
            LoopEvent::Watchdog => self.notify_watchdog(),
        }
    }

    fn on_child_event(&mut self, generation: Generation, event: ChildEvent) {
        match event {
            ChildEvent::Frame(frame) => self.drive(Event::Frame { generation, frame }),
            ChildEvent::BadFrame(why) => self.drive(Event::BadFrame { generation, why }),
            ChildEvent::Output(pipe) => {
                if let Some(child) = self.children.get(generation) {
                    child.forward(pipe);
                }
            }
            ChildEvent::Exited => {
                self.on_exit(generation);
                self.children.reap_orphans();
            }
        }
    }

    /// The first process of a generation has exited. In an orderly stop, the others may still do so.
    fn on_exit(&mut self, generation: Generation) {
        let gently = self.state.is_stopping_gently(generation);
        if !gently || !self.children.wait_for_descendants(generation) {
            self.reap(generation);
        }
    }

    /// Orphans have exited. Perhaps they were the last processes of a generation that is waited for.
    fn on_exited_children(&mut self) {
        self.children.reap_orphans();
        for generation in self.children.waiting_for_descendants() {
            self.on_exit(generation);
        }
    }

    /// Handles one event, and all events that its actions return.
    pub(super) fn drive(&mut self, event: Event) {
        core::drive(self, event);
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
}
