//! Planted faults: the same operations, done wrong in the way that somebody might do them. The rig must find each.
//!
//! They are made of the real ones, whose stores are noted down and carried out otherwise.

use super::{
    append::THREE,
    charge::{FIRST, SECOND, Supervisor},
    consume::{APPLY, WITH_CARE, care},
    keyed::{AROUND_THE_LOG, request_around_the_log},
    take_over::{COMMITTED, SUCCESSOR, THE_PAGE},
};
use crate::{
    child::Region,
    datum::batch,
    deferred::{Deferred, Write},
    scenario::{History, Scenario},
    service::Analysis,
    world::World,
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

/// A scenario whose child does it wrong.
struct Plant {
    name: &'static str,
    /// The scenario whose beginning and judgement it shares.
    of: &'static str,
    act: fn(&mut InheritedFds, &Region) -> Result<()>,
}

/// All of them.
pub(super) const ALL: &[&dyn Scenario] = &[
    &Plant { name: "plant_head_before_the_bytes", of: "append", act: head_before_the_bytes },
    &Plant { name: "plant_tail_in_place", of: "append", act: tail_in_place },
    &Plant { name: "plant_key_behind_the_flip", of: AROUND_THE_LOG, act: key_behind_the_flip },
    &Plant {
        name: "plant_commit_before_the_record",
        of: "commit_known_series",
        act: commit_before_the_record,
    },
    &Plant {
        name: "plant_bodies_behind_the_commit",
        of: "commit_known_series",
        act: bodies_behind_the_commit,
    },
    &Plant { name: "plant_no_scrub", of: "scrub_and_commit", act: no_scrub },
    &Plant { name: "plant_name_before_the_hand", of: THE_PAGE, act: name_before_the_hand },
    &Plant { name: "plant_in_hand_until_the_next", of: APPLY, act: in_hand_until_the_next },
    &Plant { name: "plant_commit_before_apply", of: WITH_CARE, act: commit_before_apply },
    &Plant { name: "plant_skip_of_another", of: WITH_CARE, act: skip_of_another },
    &Plant { name: "plant_suspect_in_company", of: WITH_CARE, act: suspect_in_company },
    &Plant { name: "plant_charge_behind_the_act", of: FIRST, act: |fds, region| act_first(fds, region, 0) },
    &Plant { name: "plant_store_behind_the_act", of: SECOND, act: |fds, region| act_first(fds, region, 1) },
    &Plant { name: "plant_edition_before_the_value", of: "publish_a_board", act: edition_before_the_value },
];

impl Plant {
    fn base(&self) -> Result<&'static dyn Scenario> {
        let all = super::all();
        let base = all.iter().find(|scenario| scenario.name() == self.of);
        base.copied().with_context(|| format!("no scenario {}", self.of))
    }
}

impl Scenario for Plant {
    fn name(&self) -> &'static str {
        self.name
    }

    fn role(&self) -> Role {
        self.base().map_or(Role::Plain, Scenario::role)
    }

    fn prepare(&self, world: &World) -> Result<History> {
        self.base()?.prepare(world)
    }

    fn act(&self, fds: &mut InheritedFds, region: &Region) -> Result<()> {
        (self.act)(fds, region)
    }

    fn judge(&self, copy: &World, history: &History) -> Result<usize> {
        self.base()?.judge(copy, history)
    }

    fn last_stage(&self) -> usize {
        self.base().map_or(0, Scenario::last_stage)
    }
}

/// Appends, and hands the stores to the page and to the ring to `carry_out` instead.
fn append(
    fds: &mut InheritedFds,
    region: &Region,
    carry_out: fn(page: &Deferred<ReadWrite>, events: &Deferred<ReadWrite>, head: Position),
) -> Result<()> {
    let events = Deferred::new(ReadWrite::map(fds.take(FdName::Events)?, Kind::Events)?);
    let page = Deferred::new(ReadWrite::map(fds.take(FdName::Producer)?, Kind::Producer)?);
    let mut appender = Appender::attach(events.clone(), page.clone());
    let mut batch = batch(THREE)?;
    region.run(|| {
        let head = appender.tail().head;
        appender.append(&mut batch, || Position(head.0 - 512))?;
        carry_out(&page, &events, head);
        Ok(())
    })
}

fn head_before_the_bytes(fds: &mut InheritedFds, region: &Region) -> Result<()> {
    append(fds, region, |page, events, _| {
        page.take().iter().for_each(|write| page.carry_out(write));
        events.take().iter().for_each(|write| events.carry_out(write));
    })
}

/// The slot that is current is written over, instead of the other one.
fn tail_in_place(fds: &mut InheritedFds, region: &Region) -> Result<()> {
    append(fds, region, |page, events, head| {
        events.take().iter().for_each(|write| events.carry_out(write));
        let writes = page.take();
        let mut words = writes.iter().filter_map(|write| match write {
            Write::Word(word, value) => Some((*word, *value)),
            Write::Bytes(..) => None,
        });
        // The last one is the flip's number. Before it come the words of the slot; where they stand in the current slot, the
        // former head tells.
        let flip = words.next_back();
        let mut slot = words.peekable();
        let current = (0..page.words()).find(|&word| page.load(word, Ordering::Relaxed) == head.0);
        let first = slot.peek().map(|(word, _)| *word);
        for (word, value) in slot {
            let word = current.zip(first).map_or(word, |(current, first)| current + word - first);
            page.carry_out(&Write::Word(word, value));
        }
        flip.into_iter().for_each(|(word, value)| page.carry_out(&Write::Word(word, value + 1)));
    })
}

/// A retry of a client whose answer was lost would be counted twice.
fn key_behind_the_flip(fds: &mut InheritedFds, region: &Region) -> Result<()> {
    let events = ReadWrite::map(fds.take(FdName::Events)?, Kind::Events)?;
    let page = ReadWrite::map(fds.take(FdName::Producer)?, Kind::Producer)?;
    let keys = Deferred::new(ReadWrite::map(fds.take(FdName::Keys)?, Kind::Keys)?);
    let (mut appender, log) = (Appender::attach(events, page), KeyLog::new(keys.clone()));
    let mut batch = batch(THREE)?;
    region.run(|| {
        appender.append_keyed(&mut batch, request_around_the_log()?, &log, || Position(0))?;
        keys.take().iter().for_each(|write| keys.carry_out(write));
        Ok(())
    })
}

/// Takes over, applies and commits, and hands the stores of the commit to `carry_out` instead.
fn commit(
    fds: &mut InheritedFds,
    region: &Region,
    events: usize,
    carry_out: fn(&Deferred<StateMemory>, Vec<Write>) -> Result<()>,
) -> Result<()> {
    let mut memory = None;
    let wrap = |state: StateMemory| memory.insert(Deferred::new(state)).clone();
    let mut analysis = Analysis::take_over_within(AnalyticsLink::open(fds)?, wrap)?;
    let memory = memory.context("no memory was opened")?;
    // The scrub, if there was one, is forgotten.
    memory.take();
    analysis.apply(events)?;
    region.run(|| {
        analysis.commit()?;
        carry_out(&memory, memory.take())
    })
}

fn commit_before_the_record(fds: &mut InheritedFds, region: &Region) -> Result<()> {
    commit(fds, region, 3, |memory, mut writes| {
        let number = writes.pop().context("no stores")?;
        // The record's sixteen words come last but that.
        writes.insert(writes.len().saturating_sub(16), number);
        writes.iter().try_for_each(|write| memory.carry_out_in_table(write))
    })
}

fn bodies_behind_the_commit(fds: &mut InheritedFds, region: &Region) -> Result<()> {
    commit(fds, region, 3, |memory, writes| {
        let (bodies, words): (Vec<_>, Vec<_>) =
            writes.into_iter().partition(|write| matches!(write, Write::Bytes(..)));
        words.iter().chain(&bodies).try_for_each(|write| memory.carry_out_in_table(write))
    })
}

fn no_scrub(fds: &mut InheritedFds, region: &Region) -> Result<()> {
    commit(fds, region, 1, |memory, writes| {
        writes.iter().try_for_each(|write| memory.carry_out_in_table(write))
    })
}

/// The successor answers for what its predecessor had in hand.
fn name_before_the_hand(fds: &mut InheritedFds, region: &Region) -> Result<()> {
    let page = Deferred::new(ReadWrite::map(fds.take(FdName::Cursor)?, Kind::Cursor)?);
    region.run(|| {
        cursor::take_over(&page, SUCCESSOR, COMMITTED);
        let mut writes = page.take();
        writes.rotate_right(1);
        writes.iter().for_each(|write| page.carry_out(write));
        Ok(())
    })
}

/// For the moment between two events, the first one is in hand and looked for where the second one is.
fn in_hand_until_the_next(fds: &mut InheritedFds, region: &Region) -> Result<()> {
    let mut analysis = Analysis::take_over(AnalyticsLink::open(fds)?)?;
    analysis.clings = true;
    region.run(|| analysis.apply(usize::MAX).map(drop))
}

/// The position moves on before the state does.
fn commit_before_apply(fds: &mut InheritedFds, region: &Region) -> Result<()> {
    let mut analysis = Analysis::take_over(AnalyticsLink::open(fds)?)?;
    region.run(|| analysis.commit_before_apply())
}

fn with_care(fds: &mut InheritedFds, region: &Region, care: RecoveryHints) -> Result<()> {
    let mut analysis = Analysis::take_over(AnalyticsLink::open(fds)?)?;
    analysis.care = care;
    region.run(|| {
        analysis.apply(usize::MAX)?;
        analysis.commit()?;
        Ok(())
    })
}

fn skip_of_another(fds: &mut InheritedFds, region: &Region) -> Result<()> {
    let RecoveryHints { suspects, .. } = care();
    with_care(fds, region, RecoveryHints { skip: suspects, ..RecoveryHints::default() })
}

/// What is to be skipped is skipped, but nothing is committed around the suspect.
fn suspect_in_company(fds: &mut InheritedFds, region: &Region) -> Result<()> {
    with_care(fds, region, RecoveryHints { suspects: Vec::new(), ..care() })
}

fn edition_before_the_value(fds: &mut InheritedFds, region: &Region) -> Result<()> {
    let memory = Deferred::new(ReadWrite::map(fds.take(FdName::StatusPage)?, Kind::StatusPage)?);
    let mut writer = SeqlockWriter::new(memory.clone());
    region.run(|| {
        for stage in 1..super::board::STAGES {
            writer.publish(&super::board::shown(stage))?;
            let mut writes = memory.take();
            writes.rotate_right(1);
            writes.iter().for_each(|write| memory.carry_out(write));
        }
        Ok(())
    })
}

/// A successor works before the ledger knows of what its predecessor died, or that this is stored.
fn act_first(fds: &mut InheritedFds, region: &Region, deaths_before: usize) -> Result<()> {
    let mut supervisor = Supervisor::open(fds)?;
    supervisor.begin(deaths_before)?;
    supervisor.acts_first = true;
    region.run(|| supervisor.loses_one())
}
