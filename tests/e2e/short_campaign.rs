//! A short campaign: events, reads, kills, faults of every kind and two bad deploys, reconciled by event id.

use bulkhead_proto::wire::fault::FaultKind;
use std::process::Command;

#[test]
fn a_short_campaign_passes_all_checks() {
    let results = tempfile::Builder::new().prefix("bulkhead-campaign-").tempdir().unwrap();
    let mut campaign = Command::new(env!("CARGO_BIN_EXE_bulkhead-campaign"));
    campaign.args(["--seed", "2611", "--events", "20000", "--kills", "20", "--api-kills", "4"]);
    campaign
        .args(["--faults", &FaultKind::ALL.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(",")]);
    campaign.args(["--bad-deploys", "half,series"]);
    let output = campaign.arg("--results").arg(results.path()).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    assert!(results.path().join("campaign-2611/report.json").is_file(), "{out}");
}
