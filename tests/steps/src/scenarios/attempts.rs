//! The supervisor dies while it handles deaths caused by one event. Before a successor is activated, the
//! ledger must have counted the death; before the analysis is ordered to skip the event, the ledger must show it
//! as stored.

use crate::{
    child::Region,
    fixture::MemoryFixture,
    scenario::{History, Scenario},
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

/// One more death caused by the same event, and what follows until the next generation is active.
struct Attempt {
    name: &'static str,
    /// The number of earlier deaths.
    before: usize,
    /// The stage of the event in the ledger at the end: 0: not recorded, 1: one attempt, 2: being stored, 3:
    /// stored.
    last: usize,
}

/// All attempt scenarios.
pub(super) const ALL: &[&dyn Scenario] =
    &[&Attempt { name: FIRST, before: 0, last: 1 }, &Attempt { name: SECOND, before: 1, last: 3 }];

/// The first death is counted.
pub(super) const FIRST: &str = "attempt_first_death";
/// The last allowed death is counted, and the event is quarantined.
pub(super) const SECOND: &str = "attempt_second_death";

/// The event that causes the deaths.
const POISON: Seq = Seq(3);

/// A supervisor of one analysis, and its writes to shared memory. All other actions are answered at once, as
/// a worker would answer.
pub(super) struct Supervisor {
    state: State,
    ledger: SeqlockWriter<ReadWrite>,
    /// Each activated generation takes this page over, so the page shows the active generation.
    cursor: ReadWrite,
    now: Now,
    /// The result of the last publication of the ledger.
    publish_result: Result<()>,
    /// A planted error: the ledger is published only before the next event, after the actions were executed.
    pub(super) publishes_late: bool,
}

impl Effects for Supervisor {
    fn state(&mut self) -> &mut State {
        if self.publishes_late {
            self.publish_ledger();
        }
        &mut self.state
    }

    fn now(&self) -> Now {
        self.now
    }

    fn publish(&mut self) {
        if !self.publishes_late {
            self.publish_ledger();
        }
    }

    fn carry_out(&mut self, action: Action) -> impl IntoIterator<Item = Event> {
        self.answer(action)
    }
}

impl Supervisor {
    fn new(published_page: ReadWrite, cursor: ReadWrite) -> Self {
        let now = Now { mono: Millis(1_000), unix_ms: 1_700_000_000_000 };
        let (stop_timeout, hang_timeout) = (Duration::from_secs(1), Duration::from_secs(5));
        let spec = WorkerSpec { name: "analytics".into(), role: Role::Analytics, stop_timeout, hang_timeout };
        let identity = Identity { pid: 1, next_generation: Generation(1), next_crash: CrashId(1), seed: 7 };
        let state = State::new(Policy::default(), vec![spec], identity, now);
        Self {
            state,
            ledger: SeqlockWriter::new(published_page),
            cursor,
            now,
            publish_result: Ok(()),
            publishes_late: false,
        }
    }

    /// Opens the supervisor's pages in the child.
    pub(super) fn open(fds: &mut InheritedFds) -> Result<Self> {
        let published_page = ReadWrite::map(fds.take(FdName::StatusPage)?, Kind::StatusPage)?;
        Ok(Self::new(published_page, ReadWrite::map(fds.take(FdName::Cursor)?, Kind::Cursor)?))
    }

    /// Handles an event with the code that the runtime uses, which orders publication and actions.
    fn take(&mut self, event: Event) -> Result<()> {
        core::drive(self, event);
        if self.publishes_late {
            self.publish_ledger();
        }
        mem::replace(&mut self.publish_result, Ok(()))
    }

    fn publish_ledger(&mut self) {
        if let Err(error) = self.ledger.publish(&self.state) {
            self.publish_result = Err(error.into());
        }
    }

    fn answer(&self, action: Action) -> Vec<Event> {
        if let Action::Spawn { generation, .. } = action {
            let frame_event = |frame| Event::Frame { generation, frame };
            let hello = FromWorker::Hello { protocol: PROTOCOL, build: String::new() };
            return vec![
                Event::Spawned { generation, pid: 1 },
                frame_event(hello),
                frame_event(FromWorker::Ready),
            ];
        }
        if let Action::Quarantine(charge) = action {
            return vec![Event::Quarantined { request: charge, result: Ok(()) }];
        }
        if let Action::Send { generation, frame: ToWorker::Activate(_) } = action {
            cursor::take_over(&self.cursor, generation, Seq(0));
        }
        Vec::new()
    }

    /// Boots, loses this number of generations, and starts a standby.
    pub(super) fn boot(&mut self, deaths: usize) -> Result<()> {
        self.take(Event::Boot)?;
        self.start_standby()?;
        (0..deaths).try_for_each(|_| {
            self.lose_active()?;
            self.start_standby()
        })
    }

    fn start_standby(&mut self) -> Result<()> {
        let restart = Command::Restart("analytics".into());
        self.take(Event::Command { client: ClientId(1), command: restart })?;
        // Two starts of a worker must be at least `START_SPACING` apart.
        self.now.mono = Millis(self.now.mono.0 + 100_000);
        self.take(Event::Tick)
    }

    /// The active generation dies of the event. The standby is activated at once.
    pub(super) fn lose_active(&mut self) -> Result<()> {
        let generation = cursor::owner(&self.cursor);
        let post_mortem = PostMortem {
            exit: ExitStatus::Signal { number: 11, core: false },
            in_flight: Some(POISON),
            committed: Seq(2),
            head: Seq(9),
            ..PostMortem::default()
        };
        self.take(Event::Died { generation, post_mortem: Box::new(post_mortem) })
    }
}

impl Scenario for Attempt {
    fn name(&self) -> &'static str {
        self.name
    }

    fn role(&self) -> Role {
        Role::Plain
    }

    fn prepare(&self, _: &MemoryFixture) -> Result<History> {
        Ok(History::default())
    }

    fn execute(&self, fds: &mut InheritedFds, region: &Region) -> Result<()> {
        let mut supervisor = Supervisor::open(fds)?;
        supervisor.boot(self.before)?;
        region.run(|| supervisor.lose_active())
    }

    fn check(&self, copy: &MemoryFixture, _: &History) -> Result<usize> {
        let mut ledger: SeqlockReader<ReadWrite, State> = SeqlockReader::new(copy.published_page.map()?);
        let state = ledger.read().context("no ledger was published")?;
        let analysis = state.workers.first().context("the ledger has no analysis")?;
        let found = analysis.poison_tracker.suspects.iter().find(|suspect| suspect.seq == POISON);
        let stage = match found.map(|suspect| (suspect.attempts, suspect.state)) {
            None => 0,
            Some((1, SuspectState::Retrying)) => 1,
            Some((2, SuspectState::Storing)) => 2,
            Some((2, SuspectState::Stored)) => 3,
            Some(other) => anyhow::bail!("unexpected attempts: {other:?}"),
        };
        // The first generation runs before any attempt, the second one after the first attempt is counted,
        // the third one after the event is stored.
        let Generation(active) = copy.memory.claims().owner;
        let required = [0, 0, 1, 3].get(usize::try_from(active)?).context("an unexpected generation")?;
        ensure!(*required <= stage, "generation {active} is active, but the ledger is at stage {stage}");
        Ok(stage)
    }

    fn last_stage(&self) -> usize {
        self.last
    }
}
