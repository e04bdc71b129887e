//! Mixes faults into a plan: poison events into what is posted, and commands among the blows.

use crate::{
    options::Options,
    plan::{Blow, KILL_SPAN, Kind, Moment, Target, WRITERS, Window},
};
use bulkhead_proto::words::FaultKind;
use bulkhead_tests::{faults::cause_and_word, ids::EventId};
use fastrand::Rng;
use std::{collections::BTreeMap, iter, time::Duration};

/// Generations that die of a poison event until it is set aside, as the supervisor does by default; and of one by which
/// they seem to be killed from outside.
pub(crate) const ATTEMPTS: u32 = 2;
pub(crate) const KILLS: u32 = 8;

/// How long an analysis hangs until it is ended: much longer than any event takes on a busy machine.
const HANG_TIMEOUT: Duration = Duration::from_millis(300);

/// The poison events, by the ordinary event that each comes right before.
pub(crate) type Poisons = BTreeMap<EventId, FaultKind>;

fn hangs(kind: FaultKind) -> bool {
    cause_and_word(kind).0 == "hang"
}

/// So many generations die of one poison event of this kind.
pub(crate) fn deaths(kind: FaultKind) -> u32 {
    if kind == FaultKind::Kill { KILLS } else { ATTEMPTS }
}

/// The time that a window has for a fault: for the command, and for the poison event that comes with it.
pub(crate) fn span(kind: FaultKind) -> Duration {
    let one = if hangs(kind) { KILL_SPAN + HANG_TIMEOUT } else { KILL_SPAN };
    one * (1 + deaths(kind))
}

/// What the supervisor must be configured with beyond the rest: for the analysis, and besides.
pub(crate) fn configuration(poisons: &Poisons) -> (String, &'static str) {
    let hang = format!("hang_timeout = \"{}ms\"\n", HANG_TIMEOUT.as_millis());
    let hang = Some(hang).filter(|_| poisons.values().any(|kind| hangs(*kind)));
    (hang.unwrap_or_default(), if poisons.is_empty() { "" } else { "[faults]\nenabled = true\n" })
}

/// Spreads the faults over the windows that are not quiet: each is commanded at a random moment, and in the same window
/// posted at a random place.
pub(crate) fn mix(options: &Options, windows: &mut [Window], rng: &mut Rng) -> Poisons {
    let each = |kind: &FaultKind| iter::repeat_n(*kind, options.of_each_fault());
    let mut kinds: Vec<FaultKind> = options.faults.iter().flat_map(each).collect();
    rng.shuffle(&mut kinds);
    let parts = windows.iter().filter(|window| window.kind != Kind::Quiet).count();
    let (mut poisons, mut part, mut begun) = (Poisons::new(), 0, [0; WRITERS]);
    for window in windows {
        if window.kind != Kind::Quiet {
            for kind in &kinds[kinds.len() * part / parts..kinds.len() * (part + 1) / parts] {
                let order = Blow { target: Target::Order(*kind), moment: Moment::AtOnce };
                window.blows.insert(rng.usize(..=window.blows.len()), order);
                poisons.insert(vacant(&poisons, &begun, &window.quotas, rng), *kind);
            }
            part += 1;
        }
        begun.iter_mut().zip(&window.quotas).for_each(|(begun, quota)| *begun += quota);
    }
    poisons
}

/// An event of the window before which there is no poison yet.
fn vacant(poisons: &Poisons, begun: &[usize; WRITERS], quotas: &[usize], rng: &mut Rng) -> EventId {
    loop {
        let writer = rng.usize(..WRITERS);
        let number = begun[writer] + rng.usize(..quotas[writer].max(1));
        let id = EventId { writer, number };
        if !poisons.contains_key(&id) {
            return id;
        }
    }
}
