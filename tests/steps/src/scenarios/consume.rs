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
    bell::{Waker, announce_park, retract_park},
    control::Care,
    cursor::{self, Doing, LastWords, clear_last_words, leave_last_words},
    fds::Inherited,
    ids::{Generation, Seq},
    link::AnalyticsLink,
    words::Role,
};

/// All that the analysis does between commits.
pub(super) const ALL: &[&dyn Scenario] = &[&Apply, &Careful, &Park, &Words];

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
        "consume_and_apply"
    }

    fn role(&self) -> Role {
        Role::Analytics
    }

    fn prepare(&self, world: &World) -> Result<History> {
        some_pending(world)
    }

    fn act(&self, fds: &mut Inherited, region: &Region) -> Result<()> {
        let mut analysis = Analysis::take_over(AnalyticsLink::open(fds)?)?;
        ensure!(region.run(|| analysis.apply(usize::MAX))? == PENDING);
        Ok(())
    }

    fn judge(&self, copy: &World, history: &History) -> Result<usize> {
        let death = copy.memory.post_mortem();
        history.stage(copy, &[history.before])?;
        // The event in hand is the one that the supervisor would charge.
        let charged = usize::try_from(death.in_hand.map_or(0, |seq| seq.0 - death.committed.0))?;
        ensure!(charged == 0 || death.hand.doing == Doing::Apply, "charged while {:?}", death.hand);
        Ok(charged)
    }

    fn last_stage(&self) -> usize {
        PENDING
    }
}

/// Takes care: applies around a suspect, and skips what was set aside.
struct Careful;

/// The suspect; the two before it are committed when it comes.
const SUSPECT: u64 = 5;

/// What is pending, with the third event suspected and the fourth one set aside.
pub(super) fn some_care(world: &World) -> Result<History> {
    let mut history = some_pending(world)?;
    history.data[5] = history.data[5].set_aside();
    Ok(history)
}

/// The care that [`some_care`] asks for.
pub(super) fn care() -> Care {
    Care { suspects: vec![Seq(SUSPECT)], skip: vec![Seq(SUSPECT + 1)], ..Care::default() }
}

impl Scenario for Careful {
    fn name(&self) -> &'static str {
        "consume_with_care"
    }

    fn role(&self) -> Role {
        Role::Analytics
    }

    fn prepare(&self, world: &World) -> Result<History> {
        some_care(world)
    }

    fn act(&self, fds: &mut Inherited, region: &Region) -> Result<()> {
        let mut analysis = Analysis::take_over(AnalyticsLink::open(fds)?)?;
        analysis.care = care();
        region.run(|| {
            ensure!(analysis.apply(usize::MAX)? == PENDING);
            analysis.commit()?;
            Ok(())
        })
    }

    fn judge(&self, copy: &World, history: &History) -> Result<usize> {
        let death = copy.memory.post_mortem();
        let Reached { accepted, committed } = history.before;
        // Before the suspect, with it, with the event that is skipped, and at the end.
        let stages = [0, 2, 3, 4, 5].map(|more| Reached { accepted, committed: committed + more });
        let stage = history.stage(copy, &stages)?;
        // Who dies of the suspect takes nobody else along, and nobody dies of what is skipped.
        let alone = death.in_hand != Some(Seq(SUSPECT)) || death.committed == Seq(SUSPECT - 1);
        ensure!(alone && death.in_hand != Some(Seq(SUSPECT + 1)), "{death:?}");
        Ok(stage)
    }

    fn last_stage(&self) -> usize {
        4
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

    fn act(&self, fds: &mut Inherited, region: &Region) -> Result<()> {
        let cursor = AnalyticsLink::open(fds)?.cursor;
        region.run(|| {
            announce_park(&cursor);
            retract_park(&cursor);
            announce_park(&cursor);
            Ok(())
        })
    }

    fn judge(&self, copy: &World, history: &History) -> Result<usize> {
        let cursor = AnalyticsLink::open_within(&copy.memory)?.cursor;
        let epoch = Waker::new(&*cursor).due();
        // A successor that sleeps is rung for, whatever its predecessor left there.
        let waker = Waker::new(&*cursor);
        epoch.into_iter().for_each(|epoch| waker.rung(epoch));
        announce_park(&*cursor);
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

fn words(generation: u64) -> LastWords {
    LastWords {
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
        leave_last_words(&*AnalyticsLink::open_within(&world.memory)?.cursor, &words(1));
        some_pending(world)
    }

    fn act(&self, fds: &mut Inherited, region: &Region) -> Result<()> {
        let cursor = AnalyticsLink::open(fds)?.cursor;
        region.run(|| {
            clear_last_words(&cursor);
            leave_last_words(&cursor, &words(2));
            // Over words that are still there.
            leave_last_words(&cursor, &words(3));
            Ok(())
        })
    }

    fn judge(&self, copy: &World, history: &History) -> Result<usize> {
        let found = copy.memory.post_mortem().last_words;
        history.stage(copy, &[history.before])?;
        let cursor = AnalyticsLink::open_within(&copy.memory)?.cursor;
        leave_last_words(&*cursor, &words(4));
        ensure!(cursor::last_words(&*cursor) == Some(words(4)), "a successor's words do not come through");
        let Some(found) = found else { return Ok(1) };
        let generation = (1..=3).find(|&generation| words(generation) == found);
        let generation = generation.with_context(|| format!("nobody's words: {found:?}"))?;
        Ok(if generation == 1 { 0 } else { 1 })
    }

    fn last_stage(&self) -> usize {
        1
    }
}
