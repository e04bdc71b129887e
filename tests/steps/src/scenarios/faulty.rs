//! Faulty scenarios: the same operations with a plausible error. The runner must find each of them.
//!
//! They use the real operations. Their stores are recorded, and applied in another order or in another way.

use super::{
    append::THREE_EVENTS,
    attempts::{FIRST, SECOND, Supervisor},
    consume::{APPLY, WITH_HINTS, hints},
    keyed_append::{AROUND_THE_LOG, request_around_the_log},
    takeover::{COMMITTED, CURSOR_PAGE, SUCCESSOR, commit_number},
};
use crate::{
    child::Region,
    deferred::{Deferred, Write},
    fixture::{MemoryFixture, SLOTS},
    scenario::{History, Scenario},
    service::Analysis,
    test_event::batch,
};
use anyhow::{Context as _, Result};
use bulkhead_proto::{
    shm::{
        access::ReadWords as _,
        cursor,
        ring::{Appender, KeyLog},
        segment::{Kind, ReadWrite},
        seqlock::SeqlockWriter,
        state_memory::StateMemory,
    },
    wire::{control::RecoveryHints, ids::Position, role::Role},
    worker::{
        fds::{FdName, InheritedFds},
        link::AnalyticsLink,
    },
};
use std::sync::atomic::Ordering;

/// A scenario whose child makes an error.
struct FaultyScenario {
    name: &'static str,
    /// The correct scenario whose preparation and check it shares.
    correct: &'static str,
    execute: fn(&mut InheritedFds, &Region) -> Result<()>,
}

/// All faulty scenarios.
pub(super) const ALL: &[&dyn Scenario] = &[
    &FaultyScenario { name: "faulty_head_before_bytes", correct: "append", execute: head_before_bytes },
    &FaultyScenario { name: "faulty_tail_in_place", correct: "append", execute: tail_in_place },
    &FaultyScenario {
        name: "faulty_key_after_the_commit",
        correct: AROUND_THE_LOG,
        execute: key_after_the_commit,
    },
    &FaultyScenario {
        name: "faulty_commit_before_the_record",
        correct: "commit_known_series",
        execute: commit_before_the_record,
    },
    &FaultyScenario {
        name: "faulty_bodies_after_the_commit",
        correct: "commit_known_series",
        execute: bodies_after_the_commit,
    },
    &FaultyScenario { name: "faulty_no_scrub", correct: "scrub_and_commit", execute: no_scrub },
    &FaultyScenario {
        name: "faulty_owner_before_in_flight",
        correct: CURSOR_PAGE,
        execute: owner_before_in_flight,
    },
    &FaultyScenario {
        name: "faulty_in_flight_until_the_next",
        correct: APPLY,
        execute: in_flight_until_the_next,
    },
    &FaultyScenario { name: "faulty_commit_before_apply", correct: WITH_HINTS, execute: commit_before_apply },
    &FaultyScenario { name: "faulty_skip_another_event", correct: WITH_HINTS, execute: skip_another_event },
    &FaultyScenario {
        name: "faulty_suspect_not_isolated",
        correct: WITH_HINTS,
        execute: suspect_not_isolated,
    },
    &FaultyScenario {
        name: "faulty_attempt_published_late",
        correct: FIRST,
        execute: |fds, region| publish_late(fds, region, 0),
    },
    &FaultyScenario {
        name: "faulty_store_published_late",
        correct: SECOND,
        execute: |fds, region| publish_late(fds, region, 1),
    },
    &FaultyScenario {
        name: "faulty_version_before_the_value",
        correct: "publish",
        execute: version_before_the_value,
    },
];

impl FaultyScenario {
    fn base(&self) -> Result<&'static dyn Scenario> {
        let all = super::all();
        let base = all.iter().find(|scenario| scenario.name() == self.correct);
        base.copied().with_context(|| format!("unknown scenario {}", self.correct))
    }
}

impl Scenario for FaultyScenario {
    fn name(&self) -> &'static str {
        self.name
    }

    fn role(&self) -> Role {
        self.base().map_or(Role::Plain, Scenario::role)
    }

    fn prepare(&self, fixture: &MemoryFixture) -> Result<History> {
        self.base()?.prepare(fixture)
    }

    fn execute(&self, fds: &mut InheritedFds, region: &Region) -> Result<()> {
        (self.execute)(fds, region)
    }

    fn check(&self, copy: &MemoryFixture, history: &History) -> Result<usize> {
        self.base()?.check(copy, history)
    }

    fn last_stage(&self) -> usize {
        self.base().map_or(0, Scenario::last_stage)
    }
}

/// Appends, and passes the recorded stores to the page and to the ring to `apply`.
fn append(
    fds: &mut InheritedFds,
    region: &Region,
    apply: fn(page: &Deferred<ReadWrite>, events: &Deferred<ReadWrite>, head: Position),
) -> Result<()> {
    let events = Deferred::new(ReadWrite::map(fds.take(FdName::Events)?, Kind::Events)?);
    let page = Deferred::new(ReadWrite::map(fds.take(FdName::Producer)?, Kind::Producer)?);
    let mut appender = Appender::attach(events.clone(), page.clone());
    let mut batch = batch(THREE_EVENTS)?;
    region.run(|| {
        let head = appender.tail().head;
        appender.append(&mut batch, || Position(head.0 - 512))?;
        apply(&page, &events, head);
        Ok(())
    })
}

fn head_before_bytes(fds: &mut InheritedFds, region: &Region) -> Result<()> {
    append(fds, region, |page, events, _| {
        page.take().iter().for_each(|write| page.apply(write));
        events.take().iter().for_each(|write| events.apply(write));
    })
}

/// Overwrites the current slot instead of the other one.
fn tail_in_place(fds: &mut InheritedFds, region: &Region) -> Result<()> {
    append(fds, region, |page, events, head| {
        events.take().iter().for_each(|write| events.apply(write));
        let writes = page.take();
        let mut words = writes.iter().filter_map(|write| match write {
            Write::Word(word, value) => Some((*word, *value)),
            Write::Bytes(..) => None,
        });
        // The last store is the version of the tail. The stores before it are the words of the slot. The previous
        // head shows where these words are in the current slot.
        let version = words.next_back();
        let mut slot = words.peekable();
        let current = (0..page.words()).find(|&word| page.load(word, Ordering::Relaxed) == head.0);
        let first = slot.peek().map(|(word, _)| *word);
        for (word, value) in slot {
            let word = current.zip(first).map_or(word, |(current, first)| current + word - first);
            page.apply(&Write::Word(word, value));
        }
        version.into_iter().for_each(|(word, value)| page.apply(&Write::Word(word, value + 1)));
    })
}

/// A client that retries after a lost answer would be counted twice.
fn key_after_the_commit(fds: &mut InheritedFds, region: &Region) -> Result<()> {
    let events = ReadWrite::map(fds.take(FdName::Events)?, Kind::Events)?;
    let page = ReadWrite::map(fds.take(FdName::Producer)?, Kind::Producer)?;
    let keys = Deferred::new(ReadWrite::map(fds.take(FdName::Keys)?, Kind::Keys)?);
    let (mut appender, log) = (Appender::attach(events, page), KeyLog::new(keys.clone()));
    let mut batch = batch(THREE_EVENTS)?;
    region.run(|| {
        appender.append_keyed(&mut batch, request_around_the_log()?, &log, || Position(0))?;
        keys.take().iter().for_each(|write| keys.apply(write));
        Ok(())
    })
}

/// Takes over, applies and commits, and passes the recorded stores of the commit to `apply`.
fn commit(
    fds: &mut InheritedFds,
    region: &Region,
    events: usize,
    apply: fn(&Deferred<StateMemory>, Vec<Write>) -> Result<()>,
) -> Result<()> {
    let mut memory = None;
    let wrap = |state: StateMemory| memory.insert(Deferred::new(state)).clone();
    let mut analysis = Analysis::take_over_wrapped(AnalyticsLink::open(fds, SLOTS)?, wrap)?;
    let memory = memory.context("no memory was opened")?;
    // Drops the stores of the scrub, if there was one.
    memory.take();
    analysis.apply(events)?;
    region.run(|| {
        analysis.commit()?;
        apply(&memory, memory.take())
    })
}

fn commit_before_the_record(fds: &mut InheritedFds, region: &Region) -> Result<()> {
    commit(fds, region, 3, |memory, mut writes| {
        let number = commit_number(&writes)?;
        // The sixteen words of the record are stored last before the number.
        writes[number.saturating_sub(16)..=number].rotate_right(1);
        writes.iter().try_for_each(|write| memory.apply_in_table(write))
    })
}

fn bodies_after_the_commit(fds: &mut InheritedFds, region: &Region) -> Result<()> {
    commit(fds, region, 3, |memory, writes| {
        let (bodies, words): (Vec<_>, Vec<_>) =
            writes.into_iter().partition(|write| matches!(write, Write::Bytes(..)));
        words.iter().chain(&bodies).try_for_each(|write| memory.apply_in_table(write))
    })
}

fn no_scrub(fds: &mut InheritedFds, region: &Region) -> Result<()> {
    commit(fds, region, 1, |memory, writes| writes.iter().try_for_each(|write| memory.apply_in_table(write)))
}

/// The successor would be charged for the event that its predecessor had in flight.
fn owner_before_in_flight(fds: &mut InheritedFds, region: &Region) -> Result<()> {
    let page = Deferred::new(ReadWrite::map(fds.take(FdName::Cursor)?, Kind::Cursor)?);
    region.run(|| {
        cursor::take_over(&page, SUCCESSOR, COMMITTED);
        let mut writes = page.take();
        writes.rotate_right(1);
        writes.iter().for_each(|write| page.apply(write));
        Ok(())
    })
}

/// Between two events, the first one is marked in flight, but the position is that of the second one.
fn in_flight_until_the_next(fds: &mut InheritedFds, region: &Region) -> Result<()> {
    let mut analysis = Analysis::take_over(AnalyticsLink::open(fds, SLOTS)?)?;
    analysis.keeps_in_flight = true;
    region.run(|| analysis.apply(usize::MAX).map(drop))
}

/// The committed position advances before the state does.
fn commit_before_apply(fds: &mut InheritedFds, region: &Region) -> Result<()> {
    let mut analysis = Analysis::take_over(AnalyticsLink::open(fds, SLOTS)?)?;
    region.run(|| analysis.commit_before_apply())
}

fn run_with_hints(fds: &mut InheritedFds, region: &Region, hints: RecoveryHints) -> Result<()> {
    let mut analysis = Analysis::take_over(AnalyticsLink::open(fds, SLOTS)?)?;
    analysis.hints = hints;
    region.run(|| {
        analysis.apply(usize::MAX)?;
        analysis.commit()?;
        Ok(())
    })
}

fn skip_another_event(fds: &mut InheritedFds, region: &Region) -> Result<()> {
    let RecoveryHints { suspects, .. } = hints();
    run_with_hints(fds, region, RecoveryHints { skip: suspects, ..RecoveryHints::default() })
}

/// Skips what must be skipped, but does not commit around the suspect event.
fn suspect_not_isolated(fds: &mut InheritedFds, region: &Region) -> Result<()> {
    run_with_hints(fds, region, RecoveryHints { suspects: Vec::new(), ..hints() })
}

fn version_before_the_value(fds: &mut InheritedFds, region: &Region) -> Result<()> {
    let memory = Deferred::new(ReadWrite::map(fds.take(FdName::StatusPage)?, Kind::StatusPage)?);
    let mut writer = SeqlockWriter::new(memory.clone());
    region.run(|| {
        for stage in 1..super::publish::STAGES {
            writer.publish(&super::publish::value_of(stage))?;
            let mut writes = memory.take();
            writes.rotate_right(1);
            writes.iter().for_each(|write| memory.apply(write));
        }
        Ok(())
    })
}

/// A successor is activated before the ledger shows the cause of its predecessor's death, or the stored
/// event.
fn publish_late(fds: &mut InheritedFds, region: &Region, deaths_before: usize) -> Result<()> {
    let mut supervisor = Supervisor::open(fds)?;
    supervisor.boot(deaths_before)?;
    supervisor.publishes_late = true;
    region.run(|| supervisor.lose_active())
}
