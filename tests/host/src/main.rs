//! The demonstration's plain worker: once a second, figures of this host become events. It knows nothing of Bulkhead but
//! the address of its API, and is no part of the supervisor; production configurations leave it out.
#![forbid(unsafe_code)]

mod feed;
mod figures;
mod pause;

use anyhow::Context;
use feed::Feed;
use figures::Figures;
use pause::Pause;
use std::time::Duration;

/// Where the supervisor says that the API is.
const API_URL: &str = "BULKHEAD_API_URL";

const PERIOD: Duration = Duration::from_secs(1);

fn main() -> anyhow::Result<()> {
    let api = std::env::var(API_URL).with_context(|| format!("{API_URL} is not set: no API to feed"))?;
    anyhow::ensure!(!api.starts_with("unix:"), "{API_URL} is {api}: this demonstration speaks TCP alone");
    let pause = Pause::until_sigterm()?;
    let mut feed = Feed::new(&api);
    let mut figures = Figures::read()?;
    while pause.passed(PERIOD)? {
        let now = Figures::read()?;
        feed.send(&now.since(&figures));
        figures = now;
    }
    Ok(())
}
