//! What a successor must find in a memory, and that it can go on with it.

use crate::{
    datum::{Datum, SMALLEST, datum, fold},
    service::{Analysis, append},
    world::{CAPACITY, World},
};
use anyhow::{Context as _, Result, bail, ensure};
use bulkhead_proto::{
    shm::{
        memory::PostMortem,
        ring::{AppendError, Consumer},
    },
    wire::ids::Seq,
    worker::link::{AnalyticsLink, ApiLink, LinkStats},
};

/// How many of the events are accepted, and how many of these are committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reached {
    /// Accepted.
    pub accepted: usize,
    /// Committed: in the state, or skipped.
    pub committed: usize,
}

/// Checks that a memory holds exactly a prefix of `data`, as an API, an analysis and a supervisor see it; and then that
/// a recovered service goes on with other data, around the ring and over all slots. How far it had come.
///
/// # Errors
/// With whatever is wrong.
pub fn check(world: &World, data: &[Datum]) -> Result<Reached> {
    let reached = find(world, data)?;
    go_on(world, &data[..reached.accepted]).context("when a successor went on")?;
    Ok(reached)
}

/// The first half of [`check`].
///
/// # Errors
/// With whatever is wrong.
pub fn find(world: &World, data: &[Datum]) -> Result<Reached> {
    let api = ApiLink::open_in_process(&world.memory)?;
    let figures = api.stats();
    let reached = balanced(&figures, data)?;
    reads(&api, &data[..reached.committed]).context("a reader")?;
    pending(world, data, &figures, reached)?;
    suspected(&world.memory.post_mortem(), data)?;
    Ok(reached)
}

/// Whether the event that the supervisor would suspect may be suspected, and is found.
fn suspected(death: &PostMortem, data: &[Datum]) -> Result<()> {
    let Some(seq) = death.in_flight.or(death.committing) else { return Ok(()) };
    ensure!(death.committed < seq && seq <= death.accepted, "it should not be suspected: {death:?}");
    let suspect = data.get(usize::try_from(seq.0 - 1)?).context("nobody's event is suspected")?;
    // What is skipped is never taken in hand: nobody has said where it is.
    let found = death.payload.as_ref().map_or(suspect.skipped, |payload| suspect.is(payload));
    ensure!(found, "it is not found, or another is: {death:?}");
    Ok(())
}

/// Whether all figures speak of the same events.
fn balanced(figures: &LinkStats, data: &[Datum]) -> Result<Reached> {
    let LinkStats { record, tail, pending, used_bytes, .. } = figures;
    let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let reached =
        Reached { accepted: number(tail.accepted), committed: number(record.analysed + record.skipped) };
    ensure!(reached.accepted <= data.len(), "{} accepted of {}", reached.accepted, data.len());
    ensure!(reached.committed <= reached.accepted, "{reached:?}");
    let counted = record.analysed + record.skipped;
    ensure!(tail.last_seq().0 == tail.accepted && record.seq.0 == counted, "a gap: {figures:?}");
    let skipped = data[..reached.committed].iter().filter(|datum| datum.skipped).count();
    ensure!(number(record.skipped) == skipped, "{skipped} were to be skipped: {figures:?}");
    ensure!(
        tail.accepted == record.analysed + record.skipped + pending,
        "accepted is not the sum: {figures:?}"
    );
    ensure!(*used_bytes <= CAPACITY && (*pending > 0 || *used_bytes == 0), "bytes: {figures:?}");
    Ok(reached)
}

/// Whether a reader is shown exactly what must be committed.
fn reads(api: &ApiLink, committed: &[Datum]) -> Result<()> {
    let wanted = fold(committed);
    let names = api.view().names("", None, usize::MAX);
    ensure!(names.iter().map(|name| &**name).eq(wanted.keys()), "sees {names:?}, wanted {:?}", wanted.keys());
    for (series, tally) in &wanted {
        let (public, _) = api.view().public(series).with_context(|| format!("sees no {series}"))?;
        let public = String::from_utf8_lossy(&public);
        ensure!(public.as_bytes() == tally.public(series), "sees {public}, wanted {tally:?}");
    }
    Ok(())
}

/// Whether a successor of the analysis would read exactly what must be pending.
fn pending(world: &World, data: &[Datum], figures: &LinkStats, reached: Reached) -> Result<()> {
    let AnalyticsLink { events, producer, .. } = AnalyticsLink::open_in_process(&world.memory)?;
    let mut consumer = Consumer::attach(events, producer, figures.record.position, figures.record.seq)?;
    let mut payload = Vec::new();
    for (number, datum) in data.iter().enumerate().take(reached.accepted).skip(reached.committed) {
        let seq = consumer.next(&mut payload)?;
        ensure!(seq == Some(Seq(number as u64 + 1)), "event {}: the ring says {seq:?}", number + 1);
        ensure!(datum.is(&payload), "event {} is not {datum:?}: {payload:?}", number + 1);
    }
    ensure!(consumer.next(&mut payload)?.is_none(), "the ring holds more than was accepted");
    ensure!(consumer.position() == figures.tail.head, "the ring does not end where it says");
    Ok(())
}

/// How many batches a successor is sent: together they go around the ring more than once.
const ROUNDS: u32 = 12;

/// Lets a recovered service take on other data than its predecessor did, checking the state at every commit.
fn go_on(world: &World, accepted: &[Datum]) -> Result<()> {
    let api = ApiLink::open_in_process(&world.memory)?;
    let mut analysis = Analysis::take_over(AnalyticsLink::open_in_process(&world.memory)?)?;
    ensure!(!analysis.activated.repaired, "the index did not verify");
    analysis.care.skip = set_aside(accepted);
    let (mut data, mut committed) = (accepted.to_vec(), 0);
    for round in 0..ROUNDS {
        let more = fresh(round);
        match append(&api, &more)? {
            Ok(appended) => {
                ensure!(appended.first.0 == data.len() as u64 + 1, "seqs go on with {}", appended.first);
                data.extend(more);
            }
            // Only what is not committed can be in the way.
            Err(AppendError::Full { .. }) => ensure!(committed < data.len(), "full, though all is committed"),
            Err(error) => bail!("refused: {error}"),
        }
        analysis.apply(if round % 3 == 0 { 2 } else { usize::MAX })?;
        let record = analysis.commit()?;
        committed = usize::try_from(record.analysed + record.skipped)?;
        ensure!(*analysis.tallies() == fold(&data[..committed]), "round {round}: {:?}", analysis.tallies());
        reads(&api, &data[..committed]).with_context(|| format!("a reader in round {round}"))?;
    }
    ensure!(committed == data.len(), "{committed} of {} came through", data.len());
    let reached = find(world, &data)?;
    ensure!(reached == Reached { accepted: committed, committed }, "{reached:?} of {committed}");
    Ok(())
}

/// The events that are to be skipped.
#[must_use]
pub fn set_aside(data: &[Datum]) -> Vec<Seq> {
    (1..).map(Seq).zip(data).filter(|(_, datum)| datum.skipped).map(|(seq, _)| seq).collect()
}

/// Data that no scenario sends; their series take up the slots that an unfinished commit had begun to use.
fn fresh(round: u32) -> Vec<Datum> {
    let size = SMALLEST + 8 * (round as usize % 4);
    vec![
        datum(["ATL", "NEW"][round as usize % 2], 900 + round, size),
        datum(["NEW", "BOS"][round as usize % 2], 1000 + round, size + 16),
        datum("ATL", 1100 + round, size + 40),
    ]
}
