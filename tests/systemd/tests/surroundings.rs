//! What the service is given, gives away, and leaves behind.

use super::{installed, started};
use crate::package;
use std::process::Command;

pub(super) fn purged() {
    let machine = started();
    machine.must("dpkg --remove bulkhead");
    assert_eq!(machine.run("pgrep -x bulkhead").code, Some(1), "nothing runs any more");
    machine.must("test -e /etc/bulkhead/bulkhead.toml && test -e /var/lib/bulkhead/snapshot");
    machine.must("dpkg --purge bulkhead");
    assert_eq!(
        machine.must("find /etc /usr /lib /var /run -xdev -iname '*bulkhead*' -not -path '/var/tmp/*'"),
        ""
    );
    machine.must("getent passwd bulkhead");
}

pub(super) fn commanded() {
    let machine = started();
    machine.must("useradd --groups bulkhead member && useradd stranger");
    machine.must("runuser -u member -- bulkhead status");
    machine.must("bulkhead status");
    let said = machine.run("runuser -u stranger -- bulkhead status");
    assert!(said.code != Some(0) && said.text.contains("ermission denied"), "{said:?}");
}

pub(super) fn environment() {
    let machine = started();
    for worker in ["bulkhead-api", "bulkhead-analytics"] {
        // The names of processes are cut at 15 bytes.
        let read = format!("tr '\\0' '\\n' </proc/$(pgrep '^{}')/environ", &worker[..15.min(worker.len())]);
        let variables = machine.must(&read);
        for theirs in ["NOTIFY_SOCKET", "WATCHDOG", "LISTEN_", "JOURNAL_STREAM", "INVOCATION_ID"] {
            assert!(!variables.contains(theirs), "{worker}: {variables}");
        }
    }
}

pub(super) fn limited() {
    let machine = started();
    // What the unit forbids does not keep the supervisor from it.
    let limits = machine.must("cat /proc/$(pgrep '^bulkhead-analyt')/limits");
    let line = limits.lines().find_map(|line| line.strip_prefix("Max data size")).unwrap();
    assert_eq!(line.split_whitespace().take(2).collect::<Vec<_>>(), ["1073741824"; 2], "{limits}");
    assert_eq!(machine.must("cat /proc/$(pgrep '^bulkhead-analyt')/oom_score_adj").trim(), "500");
    let threads = machine.must("ps -L -p $(pgrep -x bulkhead) -o comm=,nice=");
    let mut words = threads.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    assert!(words.any(|words| words == ["crashes", "10"]), "{threads}");
}

pub(super) fn units() {
    let machine = installed();
    let said = machine.must("systemd-analyze --man=no verify bulkhead.service bulkhead.socket");
    assert_eq!(said, "");
    // Tenths: at most 1.5.
    machine
        .must("systemd-analyze security --offline=true --threshold=15 /lib/systemd/system/bulkhead.service");
}

pub(super) fn linted() {
    let deb = package::folder().join("bulkhead.deb");
    let output = Command::new("lintian").args(["--fail-on", "error"]).arg(deb).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
