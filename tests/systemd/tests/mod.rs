//! The tests. Each runs on its own machine.

mod fixture;
mod installation;
mod journal;
mod lifecycle;

/// All tests with their names.
pub(crate) const ALL: &[(&str, fn())] = &[
    ("the_journal_and_the_status_show_a_segfault_and_a_panic", journal::shows_a_segfault_and_a_panic),
    ("a_stop_and_a_start_under_load_refuse_no_connection_and_lose_no_event", lifecycle::stop_and_start),
    ("a_reload_applies_a_valid_file_and_rejects_an_invalid_one", lifecycle::reload),
    ("an_upgrade_under_load_refuses_no_connection_and_loses_no_event", lifecycle::upgrade),
    ("a_supervisor_that_misses_the_watchdog_is_replaced", lifecycle::watchdog),
    ("a_service_with_an_invalid_configuration_is_not_restarted", lifecycle::invalid_configuration),
    ("a_purge_leaves_only_the_user", installation::purge),
    ("members_of_the_group_may_run_commands", installation::group_members_may_run_commands),
    ("workers_do_not_inherit_the_environment_of_systemd", installation::worker_environment),
    ("the_analysis_has_its_memory_limit_and_its_oom_score", installation::memory_limit_and_oom_score),
    ("the_units_are_valid_and_hardened", installation::units),
    ("the_package_has_no_lintian_error", installation::lintian),
];
