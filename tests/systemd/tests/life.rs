//! Ends and beginnings of the service, while its clients go on.

use super::{installed, started};
use crate::{
    load::Load,
    machine::{Machine, client},
    package,
};

pub(super) fn stopped_and_started() {
    let machine = started();
    let load = Load::on(&machine);
    load.goes_on(&machine);
    for how in ["stop", "restart", "stop"] {
        let before = machine.show("MainPID");
        machine.must(&format!("systemctl {how} bulkhead.service"));
        // By the next connection, if not by command.
        machine.until("another supervisor", || !["0", &before].contains(&&*machine.show("MainPID")));
        load.goes_on(&machine);
    }
    load.end(&machine);
}

pub(super) fn reloaded() {
    let machine = started();
    let before = machine.show("MainPID");
    let load = Load::on(&machine);
    machine.must("sed -i 's/^limit = 10/limit = 5/' /etc/bulkhead/bulkhead.toml");
    machine.must("systemctl reload bulkhead.service");
    assert!(machine.must("journalctl -o cat BULKHEAD_EVENT=reloaded").contains("restart.limit"));

    machine.must("echo 'nonsense = 1' >>/etc/bulkhead/bulkhead.toml");
    assert_ne!(machine.run("systemctl reload bulkhead.service").code, Some(0), "a bad file is refused");
    assert!(machine.must("journalctl -o cat BULKHEAD_EVENT=reload_failed").contains("nonsense"));
    assert!(is_active(&machine) && machine.show("MainPID") == before, "the running configuration stays");
    load.goes_on(&machine);
    load.end(&machine);
}

pub(super) fn upgraded() {
    let machine = started();
    let load = Load::on(&machine);
    load.goes_on(&machine);
    let before = machine.show("MainPID");
    machine.must(&format!("dpkg --force-confold -i {}", package::SECOND));
    assert_ne!(machine.show("MainPID"), before, "the new program runs");
    load.goes_on(&machine);
    load.end(&machine);
    let configuration = machine.must("cat /etc/bulkhead/bulkhead.toml");
    assert!(configuration.contains("\nenabled = true") && !configuration.contains("Version 2"));
}

pub(super) fn frozen() {
    let machine = started();
    machine.must("mkdir /etc/systemd/system/bulkhead.service.d");
    machine.must("printf '[Service]\\nWatchdogSec=5s\\n' >/etc/systemd/system/bulkhead.service.d/test.conf");
    machine.must("systemctl daemon-reload && systemctl restart bulkhead.service");
    let before = machine.show("MainPID");
    machine.must(&format!("kill -STOP {before}"));
    machine.until("systemd to replace it", || machine.show("NRestarts") != "0" && is_active(&machine));
    assert_ne!(machine.show("MainPID"), before);
    let journal = machine.must("journalctl -u bulkhead -o cat");
    assert!(journal.contains("Watchdog timeout"), "{journal}");
    assert_eq!(machine.json("/v1/stats")["accepted"], 0);
}

pub(super) fn misconfigured() {
    let machine = installed();
    machine.must("cp /etc/bulkhead/bulkhead.toml /tmp; echo 'nonsense = 1' >>/etc/bulkhead/bulkhead.toml");
    assert_ne!(machine.run("systemctl start bulkhead.service").code, Some(0));
    assert_eq!((&*machine.show("ActiveState"), &*machine.show("NRestarts")), ("failed", "0"));
    assert!(machine.must("journalctl -u bulkhead -o cat").contains("nonsense"));

    machine.must("cp /tmp/bulkhead.toml /etc/bulkhead/bulkhead.toml && systemctl start bulkhead.service");
    assert!(machine.inside(|| client().get("/livez")).join().unwrap().unwrap().is_success());
}

fn is_active(machine: &Machine) -> bool {
    machine.show("ActiveState") == "active"
}
