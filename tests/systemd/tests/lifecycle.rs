//! Stops, restarts, reloads and upgrades of the service, most of them under load.

use super::fixture::{installed, started};
use crate::{
    load::LoadGenerator,
    machine::{Machine, client},
    package,
};

pub(super) fn stop_and_start() {
    let machine = started();
    let load = LoadGenerator::start(&machine);
    load.wait_for_progress(&machine);
    for command in ["stop", "restart", "stop"] {
        let before = machine.property("MainPID");
        machine.run_ok(&format!("systemctl {command} bulkhead.service"));
        // After a stop, the next connection to the socket starts the service.
        machine.wait_until("a new supervisor", || !["0", &before].contains(&&*machine.property("MainPID")));
        load.wait_for_progress(&machine);
    }
    load.stop_and_check(&machine);
}

pub(super) fn reload() {
    let machine = started();
    let before = machine.property("MainPID");
    let load = LoadGenerator::start(&machine);
    machine.run_ok("sed -i 's/^limit = 10/limit = 5/' /etc/bulkhead/bulkhead.toml");
    machine.run_ok("systemctl reload bulkhead.service");
    assert!(machine.run_ok("journalctl -o cat BULKHEAD_EVENT=reloaded").contains("restart.limit"));

    machine.run_ok("echo 'nonsense = 1' >>/etc/bulkhead/bulkhead.toml");
    assert_ne!(
        machine.run("systemctl reload bulkhead.service").code,
        Some(0),
        "an invalid file must be rejected"
    );
    assert!(machine.run_ok("journalctl -o cat BULKHEAD_EVENT=reload_failed").contains("nonsense"));
    assert!(
        is_active(&machine) && machine.property("MainPID") == before,
        "the service must keep running with the active configuration"
    );
    load.wait_for_progress(&machine);
    load.stop_and_check(&machine);
}

pub(super) fn upgrade() {
    let machine = started();
    let load = LoadGenerator::start(&machine);
    load.wait_for_progress(&machine);
    let before = machine.property("MainPID");
    machine.run_ok(&format!("dpkg --force-confold -i {}", package::SECOND));
    assert_ne!(machine.property("MainPID"), before, "the new program must run");
    load.wait_for_progress(&machine);
    load.stop_and_check(&machine);
    let configuration = machine.run_ok("cat /etc/bulkhead/bulkhead.toml");
    assert!(configuration.contains("\nenabled = true") && !configuration.contains("Version 2"));
}

pub(super) fn watchdog() {
    let machine = started();
    machine.run_ok("mkdir /etc/systemd/system/bulkhead.service.d");
    machine
        .run_ok("printf '[Service]\\nWatchdogSec=5s\\n' >/etc/systemd/system/bulkhead.service.d/test.conf");
    machine.run_ok("systemctl daemon-reload && systemctl restart bulkhead.service");
    let before = machine.property("MainPID");
    machine.run_ok(&format!("kill -STOP {before}"));
    machine.wait_until("systemd to replace the supervisor", || {
        machine.property("NRestarts") != "0" && is_active(&machine)
    });
    assert_ne!(machine.property("MainPID"), before);
    let journal = machine.run_ok("journalctl -u bulkhead -o cat");
    assert!(journal.contains("Watchdog timeout"), "{journal}");
    assert_eq!(machine.get_json("/v1/stats")["accepted"], 0);
}

pub(super) fn invalid_configuration() {
    let machine = installed();
    machine.run_ok("cp /etc/bulkhead/bulkhead.toml /tmp; echo 'nonsense = 1' >>/etc/bulkhead/bulkhead.toml");
    assert_ne!(machine.run("systemctl start bulkhead.service").code, Some(0));
    assert_eq!((&*machine.property("ActiveState"), &*machine.property("NRestarts")), ("failed", "0"));
    assert!(machine.run_ok("journalctl -u bulkhead -o cat").contains("nonsense"));

    machine.run_ok("cp /tmp/bulkhead.toml /etc/bulkhead/bulkhead.toml && systemctl start bulkhead.service");
    assert!(machine.spawn_in_network(|| client().get("/livez")).join().unwrap().unwrap().is_success());
}

fn is_active(machine: &Machine) -> bool {
    machine.property("ActiveState") == "active"
}
