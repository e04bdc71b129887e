//! The command line.

use crate::deploy_schedule::WrongProgram;
use bulkhead_proto::wire::fault::FaultKind;
use clap::Parser;
use std::path::PathBuf;

/// The bounds of `--events`. The largest number of series that the supervisor's configuration allows holds
/// slightly more events than the upper bound; fewer than the lower bound do not fill the windows.
const EVENTS: fn(&str) -> Result<usize, String> = |text| match text.parse() {
    Ok(events @ 1_000..=3_000_000) => Ok(events),
    Ok(_) | Err(_) => Err("expected a number from 1000 to 3000000".to_owned()),
};

/// The most poison events of a kind. They are of one series, which the supervisor isolates after one more.
const MAX_FAULTS_PER_KIND: usize = 7;

/// Posts events while workers are killed, then reconciles what was counted with what was answered, event by
/// event.
///
/// Exits with 0 when all checks pass, 1 when a check fails, 2 on wrong usage; the report says what is wrong.
#[derive(Parser)]
pub(crate) struct Options {
    /// Seed of the plan: what is sent, and which worker is killed at which event. Only the machine's timing does not
    /// follow from it.
    #[arg(long, default_value_t = fastrand::u64(..1_000_000))]
    pub seed: u64,
    /// Number of events to post. A window with a bad deploy has at least 2,000 of them, and may exceed this number.
    #[arg(long, default_value_t = 1_000_000, value_parser = EVENTS)]
    pub events: usize,
    /// Number of kills of the analysis.
    #[arg(long, default_value_t = 200)]
    pub kills: usize,
    /// Number of kills of the API; by default a tenth of the kills of the analysis.
    #[arg(long)]
    pub api_kills: Option<usize>,
    /// Kinds of faults to add: for each kind, one poison event among the posted events per 20 kills, at most 7, and as many
    /// fault commands.
    #[arg(long, value_delimiter = ',', value_name = "KIND,…")]
    pub faults: Vec<FaultKind>,
    /// Wrong programs to deploy in the middle of the run, under load: each is parked by the brake, or has a series
    /// isolated. Then the right program is put back, and the quarantine is replayed.
    #[arg(long, value_delimiter = ',', value_name = "PROGRAM,…")]
    pub bad_deploys: Vec<WrongProgram>,
    /// Directory for the records; they go to its subdirectory `campaign-SEED`.
    #[arg(long, default_value = "results")]
    pub results: PathBuf,
    /// Run nothing: reconcile the records in this directory again.
    #[arg(long, value_name = "DIR")]
    pub check: Option<PathBuf>,
}

impl Options {
    /// The number of kills of the API.
    pub(crate) fn api_kills(&self) -> usize {
        self.api_kills.unwrap_or(self.kills / 10)
    }

    /// The number of poison events per kind of fault, and of fault commands per kind.
    pub(crate) fn faults_per_kind(&self) -> usize {
        (self.kills / 20).clamp(1, MAX_FAULTS_PER_KIND)
    }

    /// The directory of the records.
    pub(crate) fn directory(&self) -> PathBuf {
        self.check.clone().unwrap_or_else(|| self.results.join(format!("campaign-{}", self.seed)))
    }
}
