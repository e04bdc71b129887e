//! Adds faults to a plan: poison events among the posted events, and fault commands among the kills.

use crate::{
    options::Options,
    plan::{Injection, KILL_SPAN, KillTime, Target, WRITERS, Window},
};
use bulkhead_proto::wire::fault::FaultKind;
use bulkhead_tests::{event_id::EventId, expected_death::expected_cause_and_detail};
use fastrand::Rng;
use std::{collections::BTreeMap, iter, time::Duration};

/// The deaths after which the supervisor quarantines an event, by default: the number of other deaths, and
/// the number of deaths that look like a kill from outside.
pub(crate) const MAX_ATTEMPTS: u32 = 2;
pub(crate) const MAX_KILLS: u32 = 8;

/// The `hang_timeout` of the analysis. It is much longer than any event takes on a busy machine.
const HANG_TIMEOUT: Duration = Duration::from_millis(300);

/// The poison events, keyed by the ordinary event that each directly precedes.
pub(crate) type PoisonEvents = BTreeMap<EventId, FaultKind>;

fn causes_hang(kind: FaultKind) -> bool {
    expected_cause_and_detail(kind).0 == "hang"
}

/// The number of generations that one poison event of this kind kills.
pub(crate) fn expected_deaths(kind: FaultKind) -> u32 {
    if kind == FaultKind::Kill { MAX_KILLS } else { MAX_ATTEMPTS }
}

/// The time that a window reserves for a fault: for the command and for the poison event that comes with it.
pub(crate) fn time_for(kind: FaultKind) -> Duration {
    let per_death = if causes_hang(kind) { KILL_SPAN + HANG_TIMEOUT } else { KILL_SPAN };
    per_death * (1 + expected_deaths(kind))
}

/// Additional configuration of the supervisor: keys of `[analytics]`, and other sections.
pub(crate) fn configuration(poisons: &PoisonEvents) -> (String, &'static str) {
    let hang_timeout = format!("hang_timeout = \"{}ms\"\n", HANG_TIMEOUT.as_millis());
    let hang_timeout = Some(hang_timeout).filter(|_| poisons.values().any(|kind| causes_hang(*kind)));
    (hang_timeout.unwrap_or_default(), if poisons.is_empty() { "" } else { "[faults]\nenabled = true\n" })
}

/// Spreads the faults over the windows with kills. Each fault is commanded at a random moment and, in
/// the same window, posted at a random position.
pub(crate) fn schedule(options: &Options, windows: &mut [Window], rng: &mut Rng) -> PoisonEvents {
    let each = |kind: &FaultKind| iter::repeat_n(*kind, options.faults_per_kind());
    let mut kinds: Vec<FaultKind> = options.faults.iter().flat_map(each).collect();
    rng.shuffle(&mut kinds);
    let parts = windows.iter().filter(|window| window.kind.has_kills()).count();
    let (mut poisons, mut part, mut first_numbers) = (PoisonEvents::new(), 0, [0; WRITERS]);
    for window in windows {
        if window.kind.has_kills() {
            for kind in &kinds[kinds.len() * part / parts..kinds.len() * (part + 1) / parts] {
                let injection =
                    Injection { target: Target::FaultCommand(*kind), time: KillTime::Immediately };
                window.injections.insert(rng.usize(..=window.injections.len()), injection);
                poisons.insert(free_position(&poisons, &first_numbers, &window.quotas, rng), *kind);
            }
            part += 1;
        }
        first_numbers
            .iter_mut()
            .zip(&window.quotas)
            .for_each(|(first_numbers, quota)| *first_numbers += quota);
    }
    poisons
}

/// An event of the window that no poison event precedes yet.
fn free_position(
    poisons: &PoisonEvents,
    first_numbers: &[usize; WRITERS],
    quotas: &[usize],
    rng: &mut Rng,
) -> EventId {
    loop {
        let writer = rng.usize(..WRITERS);
        let number = first_numbers[writer] + rng.usize(..quotas[writer].max(1));
        let id = EventId { writer, number };
        if !poisons.contains_key(&id) {
            return id;
        }
    }
}
