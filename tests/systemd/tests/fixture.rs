//! Machines on which the package is installed, or the service runs.

use crate::{machine::Machine, package};

/// A machine with the package installed.
pub(super) fn installed() -> Machine {
    let machine = Machine::boot(&package::folder());
    let said = machine.run_ok(&format!("dpkg -i {}", package::FIRST));
    assert!(said.contains("systemctl enable --now bulkhead.socket bulkhead "), "{said}");
    machine
}

/// A machine on which the service and both workers run. Faults are enabled.
pub(super) fn started() -> Machine {
    let machine = installed();
    machine
        .run_ok(r"sed -i '/^\[faults\]/,$ s/^enabled = false/enabled = true/' /etc/bulkhead/bulkhead.toml");
    machine.run_ok("systemctl enable --now bulkhead.socket bulkhead.service");
    // The service is ready as soon as the API runs. The analysis may still start.
    machine.wait_until("both workers", || machine.property("StatusText") == "2 of 2 workers running");
    machine
}
