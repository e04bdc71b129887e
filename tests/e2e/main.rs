//! End-to-end: one behaviour a test, on the real binaries.
//!
//! `main.rs` is the only test target, so that the harness is linked once.
#![forbid(unsafe_code)]
#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests report by panicking, as tests do")]

mod api_deaths;
mod at_rest;
mod campaign;
mod commands;
mod containers;
mod example;
mod faults;
mod flights;
mod golden;
mod hostile;
mod isolation;
mod keys;
mod leaks;
mod listening;
mod logs;
mod outages;
mod poison;
mod properties;
mod quarantine;
mod readme;
mod reload;
mod state_dir;
mod stopping;
mod supervisor_death;
mod token;

/// A configuration for tests that induce faults.
const FAULTS: &str = "[faults]\nenabled = true\n";

/// All series of a server, by name, read page by page.
fn all_series(
    client: &bulkhead_tests::http::Client,
) -> std::collections::BTreeMap<String, serde_json::Value> {
    let mut all = std::collections::BTreeMap::new();
    let mut after = String::new();
    loop {
        let page = client.json(&format!("/v1/series?limit=100&after={after}"));
        for item in page["items"].as_array().unwrap() {
            all.insert(item["series"].as_str().unwrap().to_owned(), item.clone());
        }
        match page["next"].as_str() {
            Some(next) => next.clone_into(&mut after),
            None => return all,
        }
    }
}
