//! The analysis dies while it reads the ring, applies, sleeps or panics: nothing of that changes what is committed.

use crate::{
    child::Region,
    datum::datum,
    recovery::Reached,
    scenario::{History, Scenario},
    service::Analysis,
    world::World,
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

/// All that the analysis does between commits.
pub(super) const ALL: &[&dyn Scenario] = &[&Apply, &CARE, &SKIPS, &ONE_BY_ONE, &Park, &Words];

/// How many events are pending in these scenarios.
const PENDING: usize = 5;

fn some_pending(world: &World) -> Result<History> {
    let mut history = History::default();
    history.continue_with(world, &[datum("ATL", 1, 56), datum("BOS", 2, 104)], 2)?;
    let pending = ["ATL", "BOS", "CLT", "ATL", "ATL"];
    let data: Vec<_> = (3..).zip(pending).map(|(value, series)| datum(series, value, 64)).collect();
    history.continue_with(world, &data, 0)?;
    Ok(history)
}

/// Reads and applies all that is pending, one event after the other.
struct Apply;

impl Scenario for Apply {
    fn name(&self) -> &'static str {
        APPLY
    }

    fn role(&self) -> Role {
        Role::Analytics
    }

    fn prepare(&self, world: &World) -> Result<History> {
        some_pending(world)
    }

    fn act(&self, fds: &mut InheritedFds, region: &Region) -> Result<()> {
        let mut analysis = Analysis::take_over(AnalyticsLink::open(fds)?)?;
        ensure!(region.run(|| analysis.apply(usize::MAX))? == PENDING);
        Ok(())
    }

    fn judge(&self, copy: &World, history: &History) -> Result<usize> {
        let death = copy.memory.post_mortem();
        history.stage(copy, &[history.before])?;
        ensure!(death.committing.is_none(), "nobody commits: {death:?}");
        // The supervisor would charge the event in hand, and only while it is applied.
        let applies = death.claimed.activity == Activity::Apply;
        ensure!(death.in_flight == applies.then_some(death.claimed.seq), "{death:?}");
        Ok(usize::try_from(death.claimed.seq.0 - death.committed.0)?)
    }

    fn last_stage(&self) -> usize {
        PENDING
    }
}

/// Takes care: commits around suspects, skips what was set aside, and goes one by one behind a death in a commit.
struct Careful {
    name: &'static str,
    suspects: &'static [u64],
    skip: &'static [u64],
    single_commit_until: u64,
    /// How many of the pending events are committed in turn.
    commits: &'static [usize],
}

/// The suspect is in the midst, and the event behind it is set aside.
const CARE: Careful = Careful {
    name: WITH_CARE,
    suspects: &[5],
    skip: &[6],
    single_commit_until: 0,
    commits: &[0, 2, 3, 4, 5],
};

/// At the beginning, at the end, and two in a row.
const SKIPS: Careful = Careful {
    name: "consume_with_skips",
    suspects: &[],
    skip: &[3, 4, 7],
    single_commit_until: 0,
    commits: &[0, 1, 2, 4, 5],
};

/// The first three.
const ONE_BY_ONE: Careful = Careful {
    name: "consume_one_by_one",
    suspects: &[],
    skip: &[],
    single_commit_until: 5,
    commits: &[0, 1, 2, 3, 5],
};

/// Those whose beginning and judgement planted faults share.
pub(super) const APPLY: &str = "consume_and_apply";
pub(super) const WITH_CARE: &str = "consume_with_care";

/// The care that the second one asks for.
pub(super) fn care() -> RecoveryHints {
    CARE.care()
}

impl Careful {
    fn care(&self) -> RecoveryHints {
        let seqs = |seqs: &[u64]| seqs.iter().copied().map(Seq).collect();
        RecoveryHints {
            suspects: seqs(self.suspects),
            skip: seqs(self.skip),
            single_commit_until: Seq(self.single_commit_until),
        }
    }
}

impl Scenario for Careful {
    fn name(&self) -> &'static str {
        self.name
    }

    fn role(&self) -> Role {
        Role::Analytics
    }

    fn prepare(&self, world: &World) -> Result<History> {
        let mut history = some_pending(world)?;
        for (seq, datum) in (1..).zip(&mut history.data) {
            datum.skipped = self.skip.contains(&seq);
        }
        Ok(history)
    }

    fn act(&self, fds: &mut InheritedFds, region: &Region) -> Result<()> {
        let mut analysis = Analysis::take_over(AnalyticsLink::open(fds)?)?;
        analysis.care = self.care();
        region.run(|| {
            ensure!(analysis.apply(usize::MAX)? == PENDING);
            analysis.commit()?;
            Ok(())
        })
    }

    fn judge(&self, copy: &World, history: &History) -> Result<usize> {
        let death = copy.memory.post_mortem();
        let Reached { accepted, committed } = history.before;
        let reached = |more: &usize| Reached { accepted, committed: committed + more };
        let stage = history.stage(copy, &self.commits.iter().map(reached).collect::<Vec<_>>())?;
        // Who dies of a suspect, or of its commit, takes nobody else along, and nobody dies of what is skipped.
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

/// Lies down to sleep, and gets up.
struct Park;

impl Scenario for Park {
    fn name(&self) -> &'static str {
        "park_and_wake"
    }

    fn role(&self) -> Role {
        Role::Analytics
    }

    fn prepare(&self, world: &World) -> Result<History> {
        some_pending(world)
    }

    fn act(&self, fds: &mut InheritedFds, region: &Region) -> Result<()> {
        let cursor = AnalyticsLink::open(fds)?.cursor;
        region.run(|| {
            prepare_wait(&cursor);
            cancel_wait(&cursor);
            prepare_wait(&cursor);
            Ok(())
        })
    }

    fn judge(&self, copy: &World, history: &History) -> Result<usize> {
        let cursor = AnalyticsLink::open_in_process(&copy.memory)?.cursor;
        let epoch = Waker::new(&*cursor).due();
        // A successor that sleeps is rung for, whatever its predecessor left there.
        let waker = Waker::new(&*cursor);
        epoch.into_iter().for_each(|epoch| waker.mark_notified(epoch));
        prepare_wait(&*cursor);
        ensure!(waker.due().is_some(), "nobody would ring for the successor, epoch {epoch:?}");
        history.stage(copy, &[history.before])?;
        match epoch {
            // Awake: at the beginning, and between the two times.
            None => Ok(0),
            Some(1) => Ok(0),
            Some(3) => Ok(1),
            Some(other) => bail!("epoch {other}"),
        }
    }

    fn last_stage(&self) -> usize {
        1
    }
}

/// Panics: clears its predecessor's last words, leaves its own.
struct Words;

fn words(generation: u64) -> PanicRecord {
    PanicRecord {
        generation: Generation(generation),
        message: format!("the panic of generation {generation}, at some length"),
        location: "src/lib.rs:1:2".to_owned(),
        thread: "main".to_owned(),
    }
}

impl Scenario for Words {
    fn name(&self) -> &'static str {
        "last_words"
    }

    fn role(&self) -> Role {
        Role::Analytics
    }

    fn prepare(&self, world: &World) -> Result<History> {
        write_panic_record(&*AnalyticsLink::open_in_process(&world.memory)?.cursor, &words(1));
        some_pending(world)
    }

    fn act(&self, fds: &mut InheritedFds, region: &Region) -> Result<()> {
        let cursor = AnalyticsLink::open(fds)?.cursor;
        region.run(|| {
            clear_panic_record(&cursor);
            write_panic_record(&cursor, &words(2));
            // Over words that are still there.
            write_panic_record(&cursor, &words(3));
            Ok(())
        })
    }

    fn judge(&self, copy: &World, history: &History) -> Result<usize> {
        let found = copy.memory.post_mortem().panic_record;
        history.stage(copy, &[history.before])?;
        let cursor = AnalyticsLink::open_in_process(&copy.memory)?.cursor;
        write_panic_record(&*cursor, &words(4));
        ensure!(cursor::panic_record(&*cursor) == Some(words(4)), "a successor's words do not come through");
        let Some(found) = found else { return Ok(1) };
        let generation = (1..=3).find(|&generation| words(generation) == found);
        let generation = generation.with_context(|| format!("nobody's words: {found:?}"))?;
        Ok(if generation == 1 { 0 } else { 1 })
    }

    fn last_stage(&self) -> usize {
        1
    }
}
