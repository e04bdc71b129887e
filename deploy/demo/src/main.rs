//! The worker of the demonstration: once a second, it sends metrics of this host to the API as events.
//!
//! It is an ordinary program without a Bulkhead library: the address of the API in its environment is all
//! that it needs. The supervisor does not depend on it, and production configurations leave it out.
#![forbid(unsafe_code)]

mod api_client;
mod metrics;
mod ticker;

use anyhow::Context;
use api_client::ApiClient;
use metrics::Sample;
use std::time::Duration;
use ticker::Ticker;

/// The environment variable in which the supervisor passes the address of the API to every worker.
const API_URL: &str = "BULKHEAD_API_URL";

const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

fn main() -> anyhow::Result<()> {
    let api = std::env::var(API_URL)
        .with_context(|| format!("{API_URL} is not set: start this program as a worker"))?;
    anyhow::ensure!(!api.starts_with("unix:"), "{API_URL} is {api}: this program supports TCP only");
    let ticker = Ticker::until_sigterm()?;
    let mut client = ApiClient::new(&api);
    let mut previous = Sample::read()?;
    while ticker.wait(SAMPLE_INTERVAL)? {
        let current = Sample::read()?;
        client.send(&current.events_since(&previous));
        previous = current;
    }
    Ok(())
}
