//! Each fault that was commanded is the death of the generation that it went to.

use super::{Check, story};
use crate::records::{Order, Records};
use std::collections::HashSet;

/// Which generations were commanded to die, and how.
pub(super) fn obeyed(records: &Records) -> HashSet<(u64, &'static str)> {
    let obeyed = |order: &Order| Some((order.generation?, order.kind.as_str()));
    records.orders.iter().filter_map(obeyed).collect()
}

/// As many were obeyed as were planned, however often they had been refused before; and whoever got one has died since,
/// by whatever came first, and not by the stop at the end.
pub(super) fn check(records: &Records) -> Check {
    let mut check = Check::of("faults commanded, each the end of the generation that it went to");
    let deaths = story::deaths(records);
    let (mut obeyed, planned) = (0, records.run.orders);
    for order in &records.orders {
        let Some(generation) = order.generation else { continue };
        obeyed += 1;
        let died = deaths.iter().any(|death| {
            (death.worker, death.generation) == ("analytics", generation)
                && death.at >= order.at
                && !death.stopped
        });
        check.holds(died, || format!("{order:?} has ended nobody"));
    }
    check
        .holds(obeyed == planned, || format!("{obeyed} of {planned} faults that were commanded were obeyed"));
    check
}
