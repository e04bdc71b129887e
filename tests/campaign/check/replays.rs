//! After a bad deploy, exactly the quarantined events are replayed, in order.

use super::{
    Check,
    deploy_log::Deploys,
    log::{self, Replay},
};
use crate::records::Records;

/// Each replay is one of the entries that were listed, in the order of their seqs, once. The command printed how many. That
/// each of them is counted is checked with the events that were answered with 2xx.
pub(super) fn check(records: &Records, deploys: &Deploys<'_>) -> Check {
    let mut check =
        Check::of("events replayed after bad deploys: those that were quarantined, once, in order");
    let replays = log::replays(records);
    let mut explained = 0;
    for (index, deploy_log) in deploys.0.iter().enumerate() {
        let next = deploys.0.get(index + 1).map_or(records.log.len(), |next| next.whole.start);
        let own = |replay: &&Replay| (deploy_log.whole.end..next).contains(&replay.index);
        let own: Vec<Replay> = replays.iter().filter(own).copied().collect();
        explained += own.len();
        let (old, new): (Vec<u64>, Vec<u64>) = own.iter().map(|replay| (replay.old, replay.new)).unzip();
        let deploy = deploy_log.deploy;
        let mut listed: Vec<u64> = deploy.quarantined.iter().map(|entry| entry.seq.0).collect();
        listed.sort_unstable();
        let ok = old == listed && new.is_sorted_by(|a, b| a < b) && deploy.replayed == listed.len() as u64;
        check.expect(ok, || {
            format!(
                "{:?}: {listed:?} were quarantined, {old:?} were replayed as {new:?}, and the command said {}",
                deploy.program, deploy.replayed
            )
        });
    }
    let others = replays.len() - explained;
    check.expect(others == 0, || format!("{others} replays belong to no bad deploy"));
    check
}
