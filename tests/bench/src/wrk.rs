//! The load generator wrk (Debian package `wrk`): one thread, 32 connections.

use anyhow::{Context, ensure};
use std::{fs, net::SocketAddr, path::Path, process::Command};

/// How long one run takes, in seconds.
const SECONDS: u32 = 2;

/// What is posted again and again, and what is told at the end: requests answered, those of them that were not 2xx,
/// microseconds that it took, and of the latency the median and the 99th percentile.
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

/// What a run found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// Requests answered 2xx, a second.
    pub(crate) accepted: f64,
    /// The part of the requests that was answered otherwise.
    pub(crate) refused: f64,
    /// The median of the latency, in ms.
    pub(crate) p50: f64,
    /// Its 99th percentile, in ms.
    pub(crate) p99: f64,
}

/// Whether wrk is there.
pub(crate) fn is_there() -> bool {
    Command::new("wrk").arg("--version").output().is_ok()
}

/// Posts `body` to a path for a while.
pub(crate) fn post(folder: &Path, address: SocketAddr, path: &str, body: &str) -> anyhow::Result<Run> {
    let (script, file) = (folder.join("post.lua"), folder.join("body.json"));
    fs::write(&script, SCRIPT)?;
    fs::write(&file, body)?;
    let mut command = Command::new("wrk");
    command.args(["-t1", "-c32", &format!("-d{SECONDS}s"), "-s"]).arg(script);
    command.arg(format!("http://{address}{path}")).env("BULKHEAD_BENCH_BODY", file);
    let output = command.output().context("cannot run wrk")?;
    let said = String::from_utf8_lossy(&output.stdout);
    parse(&said).with_context(|| format!("wrk did not say what it found:\n{said}"))?
}

fn parse(said: &str) -> Option<anyhow::Result<Run>> {
    let line = said.lines().find_map(|line| line.strip_prefix("RESULT "))?;
    let numbers = line.split(' ').map(|number| number.parse().ok()).collect::<Option<Vec<f64>>>()?;
    let [requests, refused, broken, us, p50, p99] = numbers[..] else { return None };
    let run = Run {
        accepted: (requests - refused) / us * 1e6,
        refused: refused / requests,
        p50: p50 / 1e3,
        p99: p99 / 1e3,
    };
    let whole = || {
        ensure!(broken == 0.0, "{broken} connections or requests broke");
        Ok(run)
    };
    Some(whole())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_says_is_understood() {
        let run = parse("Running…\nRESULT 1000 100 0 2000000 800 1500\n").unwrap().unwrap();
        assert_eq!((run.accepted, run.refused, run.p50, run.p99), (450.0, 0.1, 0.8, 1.5));
        assert!(parse("RESULT 1000 0 3 2000000 800 1500").unwrap().is_err());
        assert!(parse("unable to connect").is_none());
    }
}
