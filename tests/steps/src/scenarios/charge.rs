//! The supervisor dies while it takes in deaths by one event: whoever is activated next, the ledger has charged the death
//! before, and has the event stored before its skip is ordered.

use crate::{
    child::Region,
    scenario::{History, Scenario},
    world::World,
};
use anyhow::{Context as _, Result, ensure};
use bulkhead_proto::{
    shm::{
        cursor,
        segment::{Kind, ReadWrite},
        seqlock::{SeqlockReader, SeqlockWriter},
    },
    wire::{
        control::{FromWorker, PROTOCOL, ToWorker},
        ids::{CrashId, Generation, Seq},
        role::Role,
    },
    worker::fds::{FdName, InheritedFds},
};
use bulkhead_supervisor::core::{
    self, Action, ClientId, Command, Effects, Event, ExitStatus, Identity, Millis, Now, Policy, PostMortem,
    State, SuspectState, WorkerSpec,
};
use std::{mem, time::Duration};

/// One more death by the same event, and what follows until the next generation works.
struct Charge {
    name: &'static str,
    /// Deaths by it before.
    before: usize,
    /// What the ledger says of the event at the end: 0 is nothing, 1 is tried once, 2 is being stored, 3 is stored.
    last: usize,
}

/// All of them.
pub(super) const ALL: &[&dyn Scenario] =
    &[&Charge { name: FIRST, before: 0, last: 1 }, &Charge { name: SECOND, before: 1, last: 3 }];

/// The event is charged with its first death.
pub(super) const FIRST: &str = "charge_first_death";
/// The event is charged with as many deaths as it may cost, and set aside.
pub(super) const SECOND: &str = "charge_second_death";

/// The event that is died of.
const POISON: Seq = Seq(3);

/// A supervisor of an analysis alone, and what it does to the shared memory. All else that it does is done by answering
/// for the workers at once.
pub(super) struct Supervisor {
    state: State,
    ledger: SeqlockWriter<ReadWrite>,
    /// Whoever is activated takes it over: so it is seen.
    cursor: ReadWrite,
    now: Now,
    /// Whether the ledger has taken what it was shown.
    shown: Result<()>,
    /// A planted fault: it acts, and shows the ledger when it turns to the next event.
    pub(super) acts_first: bool,
}

impl Effects for Supervisor {
    fn state(&mut self) -> &mut State {
        if self.acts_first {
            self.show();
        }
        &mut self.state
    }

    fn now(&self) -> Now {
        self.now
    }

    fn publish(&mut self) {
        if !self.acts_first {
            self.show();
        }
    }

    fn carry_out(&mut self, action: Action) -> impl IntoIterator<Item = Event> {
        self.act(action)
    }
}

impl Supervisor {
    fn new(board: ReadWrite, cursor: ReadWrite) -> Self {
        let now = Now { mono: Millis(1_000), unix_ms: 1_700_000_000_000 };
        let (stop_timeout, hang_timeout) = (Duration::from_secs(1), Duration::from_secs(5));
        let spec = WorkerSpec { name: "analytics".into(), role: Role::Analytics, stop_timeout, hang_timeout };
        let identity = Identity { pid: 1, next_generation: Generation(1), next_crash: CrashId(1), seed: 7 };
        let state = State::new(Policy::default(), vec![spec], identity, now);
        Self { state, ledger: SeqlockWriter::new(board), cursor, now, shown: Ok(()), acts_first: false }
    }

    /// In the child.
    pub(super) fn open(fds: &mut InheritedFds) -> Result<Self> {
        let board = ReadWrite::map(fds.take(FdName::StatusPage)?, Kind::StatusPage)?;
        Ok(Self::new(board, ReadWrite::map(fds.take(FdName::Cursor)?, Kind::Cursor)?))
    }

    /// As the shell does it: by the very code that orders there what is shown and what is done.
    fn take(&mut self, event: Event) -> Result<()> {
        core::drive(self, event);
        if self.acts_first {
            self.show();
        }
        mem::replace(&mut self.shown, Ok(()))
    }

    fn show(&mut self) {
        if let Err(error) = self.ledger.publish(&self.state) {
            self.shown = Err(error.into());
        }
    }

    fn act(&self, action: Action) -> Vec<Event> {
        if let Action::Spawn { generation, .. } = action {
            let says = |frame| Event::Frame { generation, frame };
            let hello = FromWorker::Hello { protocol: PROTOCOL, build: String::new() };
            return vec![Event::Spawned { generation, pid: 1 }, says(hello), says(FromWorker::Ready)];
        }
        if let Action::Quarantine(charge) = action {
            return vec![Event::Quarantined { request: charge, result: Ok(()) }];
        }
        if let Action::Send { generation, frame: ToWorker::Activate(_) } = action {
            cursor::take_over(&self.cursor, generation, Seq(0));
        }
        Vec::new()
    }

    /// Boots, loses so many generations, and has a successor stand by.
    pub(super) fn begin(&mut self, deaths: usize) -> Result<()> {
        self.take(Event::Boot)?;
        self.has_one_stand_by()?;
        (0..deaths).try_for_each(|_| {
            self.loses_one()?;
            self.has_one_stand_by()
        })
    }

    fn has_one_stand_by(&mut self) -> Result<()> {
        let restart = Command::Restart("analytics".into());
        self.take(Event::Command { client: ClientId(1), command: restart })?;
        // Starts have a distance.
        self.now.mono = Millis(self.now.mono.0 + 100_000);
        self.take(Event::Tick)
    }

    /// The generation that was activated last dies of the event; whoever stands by is activated at once.
    pub(super) fn loses_one(&mut self) -> Result<()> {
        let generation = cursor::owner(&self.cursor);
        let seen =
            PostMortem { in_hand: Some(POISON), committed: Seq(2), head: Seq(9), ..PostMortem::default() };
        let exit = ExitStatus::Signal { number: 11, core: false };
        self.take(Event::Died { generation, exit, post_mortem: seen })
    }
}

impl Scenario for Charge {
    fn name(&self) -> &'static str {
        self.name
    }

    fn role(&self) -> Role {
        Role::Plain
    }

    fn prepare(&self, _: &World) -> Result<History> {
        Ok(History::default())
    }

    fn act(&self, fds: &mut InheritedFds, region: &Region) -> Result<()> {
        let mut supervisor = Supervisor::open(fds)?;
        supervisor.begin(self.before)?;
        region.run(|| supervisor.loses_one())
    }

    fn judge(&self, copy: &World, _: &History) -> Result<usize> {
        let mut ledger: SeqlockReader<ReadWrite, State> = SeqlockReader::new(copy.board.map()?);
        let state = ledger.read().context("there is no ledger")?;
        let analysis = state.workers.first().context("there is no analysis")?;
        let charged = analysis.poison_tracker.suspects.iter().find(|suspect| suspect.seq == POISON);
        let stage = match charged.map(|suspect| (suspect.attempts, suspect.state)) {
            None => 0,
            Some((1, SuspectState::Retrying)) => 1,
            Some((2, SuspectState::Storing)) => 2,
            Some((2, SuspectState::Stored)) => 3,
            Some(other) => anyhow::bail!("charged with {other:?}"),
        };
        // The first generation works uncharged, the second one behind the first charge, the third one behind the store.
        let Generation(active) = copy.memory.post_mortem().owner;
        let least = [0, 0, 1, 3].get(usize::try_from(active)?).context("a generation too many")?;
        ensure!(*least <= stage, "generation {active} works, and the ledger is at stage {stage}");
        Ok(stage)
    }

    fn last_stage(&self) -> usize {
        self.last
    }
}
