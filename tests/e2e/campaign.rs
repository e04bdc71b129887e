//! The campaign in short: events, reads and kills, reconciled by id (P1, P2, P3).

use std::process::Command;

#[test]
fn a_short_campaign_adds_up_by_id() {
    let results = tempfile::Builder::new().prefix("bulkhead-campaign-").tempdir().unwrap();
    let mut campaign = Command::new(env!("CARGO_BIN_EXE_bulkhead-campaign"));
    campaign.args(["--seed", "2611", "--events", "20000", "--kills", "20", "--api-kills", "4", "--results"]);
    let output = campaign.arg(results.path()).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    assert!(results.path().join("campaign-2611/report.json").is_file(), "{out}");
}
