//! The load generator wrk (Debian package `wrk`): one thread, 32 connections.

use anyhow::{Context, ensure};
use std::{fs, net::SocketAddr, path::Path, process::Command};

/// The duration of one run, in seconds.
const SECONDS: u32 = 2;

/// The script posts the same body repeatedly. At the end it prints the number of answered requests, of those
/// that were not 2xx, of broken connections, the duration in microseconds, and the median and the 99th
/// percentile of the latency in microseconds.
const SCRIPT: &str = r#"
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local file = io.open(os.getenv("BULKHEAD_BENCH_BODY"), "r")
wrk.body = file:read("*a")
file:close()
function done(summary, latency, requests)
    local errors = summary.errors
    local broken = errors.connect + errors.read + errors.write + errors.timeout
    io.write(string.format("RESULT %d %d %d %d %d %d\n", summary.requests, errors.status, broken, summary.duration,
        latency:percentile(50), latency:percentile(99)))
end
"#;

/// The result of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WrkRun {
    /// Requests answered with 2xx, per second.
    pub(crate) accepted: f64,
    /// The share of the requests with another answer.
    pub(crate) refused: f64,
    /// The median of the latency, in milliseconds.
    pub(crate) p50: f64,
    /// The 99th percentile of the latency, in milliseconds.
    pub(crate) p99: f64,
}

/// Whether wrk is installed.
pub(crate) fn is_installed() -> bool {
    Command::new("wrk").arg("--version").output().is_ok()
}

/// Posts `body` to a path for [`SECONDS`].
pub(crate) fn post(folder: &Path, address: SocketAddr, path: &str, body: &str) -> anyhow::Result<WrkRun> {
    let (script, file) = (folder.join("post.lua"), folder.join("body.json"));
    fs::write(&script, SCRIPT)?;
    fs::write(&file, body)?;
    let mut command = Command::new("wrk");
    command.args(["-t1", "-c32", &format!("-d{SECONDS}s"), "-s"]).arg(script);
    command.arg(format!("http://{address}{path}")).env("BULKHEAD_BENCH_BODY", file);
    let output = command.output().context("cannot run wrk")?;
    let output_text = String::from_utf8_lossy(&output.stdout);
    parse(&output_text).with_context(|| format!("wrk printed no result:\n{output_text}"))?
}

fn parse(output_text: &str) -> Option<anyhow::Result<WrkRun>> {
    let line = output_text.lines().find_map(|line| line.strip_prefix("RESULT "))?;
    let numbers = line.split(' ').map(|number| number.parse().ok()).collect::<Option<Vec<f64>>>()?;
    let [requests, refused, broken, us, p50, p99] = numbers[..] else { return None };
    let run = WrkRun {
        accepted: (requests - refused) / us * 1e6,
        refused: refused / requests,
        p50: p50 / 1e3,
        p99: p99 / 1e3,
    };
    let check = || {
        ensure!(broken == 0.0, "{broken} connections or requests broke");
        Ok(run)
    };
    Some(check())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_of_wrk_is_parsed() {
        let run = parse("Running…\nRESULT 1000 100 0 2000000 800 1500\n").unwrap().unwrap();
        assert_eq!((run.accepted, run.refused, run.p50, run.p99), (450.0, 0.1, 0.8, 1.5));
        assert!(parse("RESULT 1000 0 3 2000000 800 1500").unwrap().is_err());
        assert!(parse("unable to connect").is_none());
    }
}
