//! Checks what a successor must find in a memory, and that it can continue with it.

use crate::{
    fixture::{CAPACITY, MemoryFixture},
    service::{Analysis, append},
    test_event::{MIN_RECORD, TestEvent, fold, removal, test_event},
};
use anyhow::{Context as _, Result, bail, ensure};
use bulkhead_proto::{
    shm::{
        memory::Claims,
        ring::{AppendError, Consumer},
    },
    wire::ids::Seq,
    worker::link::{AnalyticsLink, ApiLink, LinkStats},
};

/// The number of accepted events, and of the committed events among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventCounts {
    /// Accepted.
    pub accepted: usize,
    /// Committed: in the state, or skipped.
    pub committed: usize,
}

/// Checks that a memory holds exactly a prefix of `data`, as an API, an analysis and a supervisor read it.
/// Then checks that a recovered service can continue with other events, around the whole ring and over all
/// slots. Returns the length of the prefix.
///
/// # Errors
/// With the first difference.
pub fn check(fixture: &MemoryFixture, data: &[TestEvent]) -> Result<EventCounts> {
    let reached = inspect(fixture, data)?;
    continue_service(fixture, &data[..reached.accepted]).context("when a successor continued")?;
    Ok(reached)
}

/// The first half of [`check`].
///
/// # Errors
/// With the first difference.
pub fn inspect(fixture: &MemoryFixture, data: &[TestEvent]) -> Result<EventCounts> {
    let api = ApiLink::open_in_process(&fixture.memory)?;
    let stats = api.stats();
    let reached = check_counters(&stats, data)?;
    check_reader(&api, &data[..reached.committed]).context("a reader")?;
    check_pending(fixture, data, &stats, reached)?;
    check_suspect(&fixture.memory.claims(), data)?;
    Ok(reached)
}

/// The event that the supervisor would suspect must be one that can be suspected, and its bytes must be
/// found.
fn check_suspect(death: &Claims, data: &[TestEvent]) -> Result<()> {
    let Some(seq) = death.in_flight.or(death.committing) else { return Ok(()) };
    ensure!(
        death.committed < seq && seq <= death.accepted,
        "an event is suspected that cannot be: {death:?}"
    );
    let suspect = data.get(usize::try_from(seq.0 - 1)?).context("the suspect event does not exist")?;
    // A skipped event is never marked in flight, so its position is unknown.
    let found = death.payload.as_ref().map_or(suspect.skipped, |payload| suspect.matches(payload));
    ensure!(found, "the suspect event is not found, or another one is: {death:?}");
    Ok(())
}

/// All counters must describe the same events.
fn check_counters(stats: &LinkStats, data: &[TestEvent]) -> Result<EventCounts> {
    let LinkStats { record, tail, pending, used_bytes, .. } = stats;
    let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let reached =
        EventCounts { accepted: number(tail.accepted), committed: number(record.analysed + record.skipped) };
    ensure!(reached.accepted <= data.len(), "{} accepted of {}", reached.accepted, data.len());
    ensure!(reached.committed <= reached.accepted, "{reached:?}");
    let counted = record.analysed + record.skipped;
    ensure!(tail.last_seq().0 == tail.accepted && record.seq.0 == counted, "a gap: {stats:?}");
    let skipped = data[..reached.committed].iter().filter(|event| event.skipped).count();
    ensure!(number(record.skipped) == skipped, "{skipped} events must be skipped: {stats:?}");
    ensure!(
        tail.accepted == record.analysed + record.skipped + pending,
        "accepted is not the sum: {stats:?}"
    );
    ensure!(*used_bytes <= CAPACITY && (*pending > 0 || *used_bytes == 0), "bytes: {stats:?}");
    Ok(reached)
}

/// A reader must see exactly what must be committed.
fn check_reader(api: &ApiLink, committed: &[TestEvent]) -> Result<()> {
    let expected = fold(committed);
    let names = api.view().names("", None, usize::MAX);
    ensure!(
        names.iter().map(|name| &**name).eq(expected.keys()),
        "sees {names:?}, expected {:?}",
        expected.keys()
    );
    for (series, total) in &expected {
        let public = api.view().public(series).public().with_context(|| format!("sees no {series}"))?;
        let public = String::from_utf8_lossy(&public);
        ensure!(public.as_bytes() == total.public(series), "sees {public}, expected {total:?}");
    }
    Ok(())
}

/// A successor of the analysis must read exactly the events that must be pending.
fn check_pending(
    fixture: &MemoryFixture,
    data: &[TestEvent],
    stats: &LinkStats,
    reached: EventCounts,
) -> Result<()> {
    let AnalyticsLink { events, producer, .. } = AnalyticsLink::open_in_process(&fixture.memory)?;
    let mut consumer = Consumer::attach(events, producer, stats.record.position, stats.record.seq)?;
    let mut payload = Vec::new();
    for (number, event) in data.iter().enumerate().take(reached.accepted).skip(reached.committed) {
        let seq = consumer.next(&mut payload)?;
        ensure!(seq == Some(Seq(number as u64 + 1)), "event {}: the ring says {seq:?}", number + 1);
        ensure!(event.matches(&payload), "event {} is not {event:?}: {payload:?}", number + 1);
    }
    ensure!(consumer.next(&mut payload)?.is_none(), "the ring holds more than was accepted");
    ensure!(
        consumer.position() == stats.tail.head,
        "the last event ends at {:?}, but the head of the ring is {:?}",
        consumer.position(),
        stats.tail.head
    );
    Ok(())
}

/// The number of batches that a successor gets. Together they wrap the ring more than once.
const ROUNDS: u32 = 12;

/// Lets a recovered service process other events than its predecessor did, and checks the state after every
/// commit.
fn continue_service(fixture: &MemoryFixture, accepted: &[TestEvent]) -> Result<()> {
    let api = ApiLink::open_in_process(&fixture.memory)?;
    let mut analysis = Analysis::take_over(AnalyticsLink::open_in_process(&fixture.memory)?)?;
    ensure!(analysis.take_repaired() == 0, "a line did not verify");
    analysis.hints.skip = skipped_seqs(accepted);
    let (mut data, mut committed) = (accepted.to_vec(), 0);
    for round in 0..ROUNDS {
        let new = new_events(round);
        match append(&api, &new)? {
            Ok(appended) => {
                ensure!(appended.first.0 == data.len() as u64 + 1, "the next seq is {}", appended.first);
                data.extend(new);
            }
            // Only uncommitted events can fill the ring.
            Err(AppendError::Full { .. }) => {
                ensure!(committed < data.len(), "the ring is full although all events are committed");
            }
            Err(error) => bail!("refused: {error}"),
        }
        analysis.apply(if round % 3 == 0 { 2 } else { usize::MAX })?;
        let record = analysis.commit()?;
        committed = usize::try_from(record.analysed + record.skipped)?;
        ensure!(*analysis.totals() == fold(&data[..committed]), "round {round}: {:?}", analysis.totals());
        check_reader(&api, &data[..committed]).with_context(|| format!("a reader in round {round}"))?;
    }
    ensure!(committed == data.len(), "{committed} of {} events were committed", data.len());
    let reached = inspect(fixture, &data)?;
    ensure!(reached == EventCounts { accepted: committed, committed }, "{reached:?} of {committed}");
    Ok(())
}

/// The seqs of the events that must be skipped.
#[must_use]
pub fn skipped_seqs(data: &[TestEvent]) -> Vec<Seq> {
    (1..).map(Seq).zip(data).filter(|(_, event)| event.skipped).map(|(seq, _)| seq).collect()
}

/// Events that no scenario sends. Their series use the slots that an unfinished commit had begun to use.
fn new_events(round: u32) -> Vec<TestEvent> {
    let size = MIN_RECORD + 8 * (round as usize % 4);
    vec![
        test_event(["ATL", "NEW"][round as usize % 2], 900 + round, size),
        test_event(["NEW", "BOS"][round as usize % 2], 1000 + round, size + 16),
        test_event("ATL", 1100 + round, size + 40),
        // Every third round, a series is removed that comes again.
        if round % 3 == 1 { removal("NEW", 1200 + round) } else { test_event("BOS", 1200 + round, size) },
    ]
}
