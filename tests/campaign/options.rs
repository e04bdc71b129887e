//! What is asked for on the command line.

use bulkhead_proto::wire::fault::FaultKind;
use clap::Parser;
use std::path::PathBuf;

/// The most series that the supervisor's configuration allows hold somewhat more events than the upper bound; fewer than
/// the lower one do not fill the windows.
const EVENTS: fn(&str) -> Result<usize, String> = |text| match text.parse() {
    Ok(events @ 1_000..=3_000_000) => Ok(events),
    Ok(_) | Err(_) => Err("a number from 1000 to 3000000 is wanted".to_owned()),
};

/// Posts events while workers are killed, then reconciles what was counted with what was answered, event by event.
///
/// Exits with 0 when everything adds up, 1 when it does not, 2 on wrong usage; the report says what is wrong.
#[derive(Parser)]
pub(crate) struct Options {
    /// What, when and whom follows from it; only the machine's timing does not.
    #[arg(long, default_value_t = fastrand::u64(..1_000_000))]
    pub seed: u64,
    /// How many events are posted.
    #[arg(long, default_value_t = 1_000_000, value_parser = EVENTS)]
    pub events: usize,
    /// How often the analysis is killed.
    #[arg(long, default_value_t = 200)]
    pub kills: usize,
    /// How often the API is killed; a tenth of the kills of the analysis unless it is said.
    #[arg(long)]
    pub api_kills: Option<usize>,
    /// Kinds of faults to mix in: poison events within what is posted, and the same by command.
    #[arg(long, value_delimiter = ',', value_name = "KIND,…")]
    pub faults: Vec<FaultKind>,
    /// Where the records go, in a directory `campaign-SEED`.
    #[arg(long, default_value = "results")]
    pub results: PathBuf,
    /// Runs nothing: reconciles the records in this directory again.
    #[arg(long, value_name = "DIR")]
    pub check: Option<PathBuf>,
}

impl Options {
    /// How often the API is killed.
    pub(crate) fn api_kills(&self) -> usize {
        self.api_kills.unwrap_or(self.kills / 10)
    }

    /// How many poison events there are of each kind, and as many commands.
    pub(crate) fn of_each_fault(&self) -> usize {
        (self.kills / 20).max(1)
    }

    /// Where the records are.
    pub(crate) fn directory(&self) -> PathBuf {
        self.check.clone().unwrap_or_else(|| self.results.join(format!("campaign-{}", self.seed)))
    }
}
