//! The analysis dies while it reads the ring, applies events, parks or panics. None of this may change what
//! is committed.

use crate::{
    child::Region,
    fixture::{MemoryFixture, SLOTS},
    recovery::EventCounts,
    scenario::{History, Scenario},
    service::Analysis,
    test_event::test_event,
};
use anyhow::{Context as _, Result, bail, ensure};
use bulkhead_proto::{
    shm::{
        cursor::{self, Activity, PanicRecord, clear_panic_record, write_panic_record},
        wake::{Waker, cancel_wait, prepare_wait},
    },
    wire::{
        control::RecoveryHints,
        ids::{Generation, Seq},
        role::Role,
    },
    worker::{fds::InheritedFds, link::AnalyticsLink},
};

/// The scenarios of the analysis between commits.
pub(super) const ALL: &[&dyn Scenario] =
    &[&Apply, &WITH_HINTS_SCENARIO, &WITH_SKIPS, &SINGLE_COMMITS, &Park, &WritePanicRecord];

/// The number of pending events in these scenarios.
const PENDING: usize = 5;

fn some_pending(fixture: &MemoryFixture) -> Result<History> {
    let mut history = History::default();
    history.append_and_commit(fixture, &[test_event("ATL", 1, 56), test_event("BOS", 2, 104)], 2)?;
    let pending = ["ATL", "BOS", "CLT", "ATL", "ATL"];
    let data: Vec<_> = (3..).zip(pending).map(|(value, series)| test_event(series, value, 64)).collect();
    history.append_and_commit(fixture, &data, 0)?;
    Ok(history)
}

/// Reads and applies all pending events, one after the other.
struct Apply;

impl Scenario for Apply {
    fn name(&self) -> &'static str {
        APPLY
    }

    fn role(&self) -> Role {
        Role::Analytics
    }

    fn prepare(&self, fixture: &MemoryFixture) -> Result<History> {
        some_pending(fixture)
    }

    fn execute(&self, fds: &mut InheritedFds, region: &Region) -> Result<()> {
        let mut analysis = Analysis::take_over(AnalyticsLink::open(fds, SLOTS)?)?;
        ensure!(region.run(|| analysis.apply(usize::MAX))? == PENDING);
        Ok(())
    }

    fn check(&self, copy: &MemoryFixture, history: &History) -> Result<usize> {
        let death = copy.memory.claims();
        history.stage(copy, &[history.before])?;
        ensure!(death.committing.is_none(), "a commit is marked, but none was begun: {death:?}");
        // The supervisor would count an attempt of the event in flight only while the event is applied.
        let applies = death.claimed.activity == Activity::Apply;
        ensure!(death.in_flight == applies.then_some(death.claimed.seq), "{death:?}");
        Ok(usize::try_from(death.claimed.seq.0 - death.committed.0)?)
    }

    fn last_stage(&self) -> usize {
        PENDING
    }
}

/// Follows recovery hints: commits around suspect events, skips quarantined events, and makes single commits
/// after a death in a commit.
struct Isolated {
    name: &'static str,
    suspects: &'static [u64],
    skip: &'static [u64],
    single_commit_until: u64,
    /// The numbers of pending events that are committed after each commit.
    commits: &'static [usize],
}

/// The suspect event is in the middle, and the event after it is quarantined.
const WITH_HINTS_SCENARIO: Isolated = Isolated {
    name: WITH_HINTS,
    suspects: &[5],
    skip: &[6],
    single_commit_until: 0,
    commits: &[0, 2, 3, 4, 5],
};

/// Skips at the beginning, at the end, and two in a row.
const WITH_SKIPS: Isolated = Isolated {
    name: "consume_with_skips",
    suspects: &[],
    skip: &[3, 4, 7],
    single_commit_until: 0,
    commits: &[0, 1, 2, 4, 5],
};

/// Single commits for the first three events.
const SINGLE_COMMITS: Isolated = Isolated {
    name: "consume_single_commits",
    suspects: &[],
    skip: &[],
    single_commit_until: 5,
    commits: &[0, 1, 2, 3, 5],
};

/// The names of the two scenarios whose preparation and check the faulty scenarios share.
pub(super) const APPLY: &str = "consume_and_apply";
pub(super) const WITH_HINTS: &str = "consume_with_hints";

/// The recovery hints of the scenario [`WITH_HINTS`].
pub(super) fn hints() -> RecoveryHints {
    WITH_HINTS_SCENARIO.hints()
}

impl Isolated {
    fn hints(&self) -> RecoveryHints {
        let seqs = |seqs: &[u64]| seqs.iter().copied().map(Seq).collect();
        RecoveryHints {
            suspects: seqs(self.suspects),
            skip: seqs(self.skip),
            proven_until: Seq(u64::MAX),
            single_commit_until: Seq(self.single_commit_until),
            isolated: Vec::new(),
            watched: Vec::new(),
            trial: None,
        }
    }
}

impl Scenario for Isolated {
    fn name(&self) -> &'static str {
        self.name
    }

    fn role(&self) -> Role {
        Role::Analytics
    }

    fn prepare(&self, fixture: &MemoryFixture) -> Result<History> {
        let mut history = some_pending(fixture)?;
        for (seq, event) in (1..).zip(&mut history.data) {
            event.skipped = self.skip.contains(&seq);
        }
        Ok(history)
    }

    fn execute(&self, fds: &mut InheritedFds, region: &Region) -> Result<()> {
        let mut analysis = Analysis::take_over(AnalyticsLink::open(fds, SLOTS)?)?;
        analysis.hints = self.hints();
        region.run(|| {
            ensure!(analysis.apply(usize::MAX)? == PENDING);
            analysis.commit()?;
            Ok(())
        })
    }

    fn check(&self, copy: &MemoryFixture, history: &History) -> Result<usize> {
        let death = copy.memory.claims();
        let EventCounts { accepted, committed } = history.before;
        let counts = |more: &usize| EventCounts { accepted, committed: committed + more };
        let stage = history.stage(copy, &self.commits.iter().map(counts).collect::<Vec<_>>())?;
        // A death by a suspect event, or by its commit, affects no other event. No death is caused by a
        // skipped event.
        if let Some(Seq(seq)) = death.in_flight.or(death.committing) {
            let alone = seq == death.committed.0 + 1;
            ensure!(alone || !self.suspects.contains(&seq) && seq > self.single_commit_until, "{death:?}");
        }
        ensure!(death.in_flight.is_none_or(|seq| !self.skip.contains(&seq.0)), "{death:?}");
        Ok(stage)
    }

    fn last_stage(&self) -> usize {
        self.commits.len() - 1
    }
}

/// Parks, and wakes up.
struct Park;

impl Scenario for Park {
    fn name(&self) -> &'static str {
        "park_and_wake"
    }

    fn role(&self) -> Role {
        Role::Analytics
    }

    fn prepare(&self, fixture: &MemoryFixture) -> Result<History> {
        some_pending(fixture)
    }

    fn execute(&self, fds: &mut InheritedFds, region: &Region) -> Result<()> {
        let cursor = AnalyticsLink::open(fds, SLOTS)?.cursor;
        region.run(|| {
            prepare_wait(&cursor);
            cancel_wait(&cursor);
            prepare_wait(&cursor);
            Ok(())
        })
    }

    fn check(&self, copy: &MemoryFixture, history: &History) -> Result<usize> {
        let cursor = AnalyticsLink::open_in_process(&copy.memory)?.cursor;
        let epoch = Waker::new(&*cursor).due();
        // A parked successor must be woken, whatever its predecessor left in the page.
        let waker = Waker::new(&*cursor);
        epoch.into_iter().for_each(|epoch| waker.mark_notified(epoch));
        prepare_wait(&*cursor);
        ensure!(waker.due().is_some(), "no producer would wake the successor, epoch {epoch:?}");
        history.stage(copy, &[history.before])?;
        match epoch {
            // Awake: at the beginning, and between the two parks.
            None => Ok(0),
            Some(1) => Ok(0),
            Some(3) => Ok(1),
            Some(other) => bail!("unexpected epoch {other}"),
        }
    }

    fn last_stage(&self) -> usize {
        1
    }
}

/// Panics: clears the panic record of its predecessor and writes its own.
struct WritePanicRecord;

fn panic_record(generation: u64) -> PanicRecord {
    PanicRecord {
        generation: Generation(generation),
        message: format!("the panic of generation {generation}, at some length"),
        location: "src/lib.rs:1:2".to_owned(),
        thread: "main".to_owned(),
    }
}

impl Scenario for WritePanicRecord {
    fn name(&self) -> &'static str {
        "panic_record"
    }

    fn role(&self) -> Role {
        Role::Analytics
    }

    fn prepare(&self, fixture: &MemoryFixture) -> Result<History> {
        write_panic_record(&*AnalyticsLink::open_in_process(&fixture.memory)?.cursor, &panic_record(1));
        some_pending(fixture)
    }

    fn execute(&self, fds: &mut InheritedFds, region: &Region) -> Result<()> {
        let cursor = AnalyticsLink::open(fds, SLOTS)?.cursor;
        region.run(|| {
            clear_panic_record(&cursor);
            write_panic_record(&cursor, &panic_record(2));
            // Overwrites a record that was not cleared.
            write_panic_record(&cursor, &panic_record(3));
            Ok(())
        })
    }

    fn check(&self, copy: &MemoryFixture, history: &History) -> Result<usize> {
        let found = copy.memory.claims().panic_record;
        history.stage(copy, &[history.before])?;
        let cursor = AnalyticsLink::open_in_process(&copy.memory)?.cursor;
        write_panic_record(&*cursor, &panic_record(4));
        ensure!(
            cursor::panic_record(&*cursor) == Some(panic_record(4)),
            "the panic record of a successor cannot be read"
        );
        let Some(found) = found else { return Ok(1) };
        let generation = (1..=3).find(|&generation| panic_record(generation) == found);
        let generation =
            generation.with_context(|| format!("a panic record that was never written: {found:?}"))?;
        Ok(if generation == 1 { 0 } else { 1 })
    }

    fn last_stage(&self) -> usize {
        1
    }
}
