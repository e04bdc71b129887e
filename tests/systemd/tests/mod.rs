//! One behaviour a test, each on a machine of its own.

mod life;
mod story;
mod surroundings;

use crate::{machine::Machine, package};

/// All of them.
pub(crate) const ALL: &[(&str, fn())] = &[
    ("journal_and_status_tell_of_a_segfault_and_of_a_panic", story::of_a_segfault_and_of_a_panic),
    ("stopped_and_started_under_load_it_refuses_nobody_and_loses_nothing", life::stopped_and_started),
    ("reloaded_with_a_good_and_a_bad_file_it_goes_on", life::reloaded),
    ("upgraded_under_load_it_refuses_nobody_and_loses_nothing", life::upgraded),
    ("a_supervisor_that_does_not_answer_is_replaced", life::frozen),
    ("a_configuration_that_cannot_work_is_not_tried_again", life::misconfigured),
    ("a_purge_leaves_the_user_and_nothing_else", surroundings::purged),
    ("who_is_in_the_group_may_command", surroundings::commanded),
    ("workers_hear_nothing_of_systemd", surroundings::environment),
    ("the_analysis_is_limited_and_the_kernels_first_choice", surroundings::limited),
    ("the_units_are_sound_and_give_little_away", surroundings::units),
    ("the_package_is_as_debian_wants_it", surroundings::linted),
];

/// A machine where the package is installed.
fn installed() -> Machine {
    let machine = Machine::boot(&package::folder());
    machine.must(&format!("dpkg -i {}", package::FIRST));
    machine
}

/// A machine where the service runs with both of its workers, and faults are enabled.
fn started() -> Machine {
    let machine = installed();
    machine.must(r"sed -i '/^\[faults\]/,$ s/^enabled = false/enabled = true/' /etc/bulkhead/bulkhead.toml");
    machine.must("systemctl enable --now bulkhead.socket bulkhead.service");
    // It is ready as soon as the API serves.
    machine.until("both workers", || machine.show("StatusText") == "2 of 2 workers running");
    machine
}
