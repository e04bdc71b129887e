//! The installed package: its files, permissions, limits and units.

use super::fixture::{installed, started};
use crate::package;
use std::process::Command;

pub(super) fn purge() {
    let machine = started();
    machine.run_ok("dpkg --remove bulkhead");
    assert_eq!(machine.run("pgrep -x bulkhead").code, Some(1), "a removed service must not run");
    machine.run_ok("test -e /etc/bulkhead/bulkhead.toml && test -e /var/lib/bulkhead/snapshot");
    machine.run_ok("dpkg --purge bulkhead");
    assert_eq!(
        machine.run_ok("find /etc /usr /lib /var /run -xdev -iname '*bulkhead*' -not -path '/var/tmp/*'"),
        ""
    );
    machine.run_ok("getent passwd bulkhead");
}

pub(super) fn group_members_may_run_commands() {
    let machine = started();
    machine.run_ok("useradd --groups bulkhead member && useradd outsider");
    machine.run_ok("runuser -u member -- bulkhead status");
    machine.run_ok("bulkhead status");
    let output = machine.run("runuser -u outsider -- bulkhead status");
    assert!(output.code != Some(0) && output.text.contains("ermission denied"), "{output:?}");
}

pub(super) fn worker_environment() {
    let machine = started();
    for worker in ["bulkhead-api", "bulkhead-analytics"] {
        // The kernel truncates process names to 15 bytes.
        let read =
            format!("tr '\\0' '\\n' </proc/$(pgrep -o '^{}')/environ", &worker[..15.min(worker.len())]);
        let variables = machine.run_ok(&read);
        for variable in ["NOTIFY_SOCKET", "WATCHDOG", "LISTEN_", "JOURNAL_STREAM", "INVOCATION_ID"] {
            assert!(!variables.contains(variable), "{worker}: {variables}");
        }
    }
}

pub(super) fn memory_limit_and_oom_score() {
    let machine = started();
    // The hardening of the unit must not prevent the supervisor from setting limits and scores.
    let limits = machine.run_ok("cat /proc/$(pgrep -o '^bulkhead-analyt')/limits");
    let line = limits.lines().find_map(|line| line.strip_prefix("Max data size")).unwrap();
    assert_eq!(line.split_whitespace().take(2).collect::<Vec<_>>(), ["1073741824"; 2], "{limits}");
    // A container may not be permitted to lower the score of the supervisor.
    assert_eq!(machine.run_ok("systemctl show --value -p OOMScoreAdjust bulkhead").trim(), "-100");
    let score = |pattern: &str| -> i32 {
        machine.run_ok(&format!("cat /proc/$(pgrep -o {pattern})/oom_score_adj")).trim().parse().unwrap()
    };
    assert_eq!(score("'^bulkhead-analyt'") - score("-x bulkhead"), 500);
    let threads = machine.run_ok("ps -L -p $(pgrep -x bulkhead) -o comm=,nice=");
    let mut words = threads.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    assert!(words.any(|words| words == ["crashes", "10"]), "{threads}");
}

pub(super) fn units() {
    let machine = installed();
    let output = machine.run_ok("systemd-analyze --man=no verify bulkhead.service bulkhead.socket");
    assert_eq!(output, "");
    // The service needs no program of another package that this machine happens to have.
    let depends = machine.run_ok("dpkg-query -W -f '${Depends}' bulkhead");
    assert!(depends.contains("libc6 (>= ") && depends.contains("libgcc-s1"), "{depends}");
    // The threshold is in tenths: an exposure level of at most 1.5.
    machine.run_ok(
        "systemd-analyze security --offline=true --threshold=15 /lib/systemd/system/bulkhead.service",
    );
}

pub(super) fn lintian() {
    let deb = package::folder().join("bulkhead.deb");
    let output = Command::new("lintian").args(["--fail-on", "error"]).arg(deb).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
