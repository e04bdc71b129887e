//! Snapshots of what operators see. `cargo insta review` shows changes.

use super::{
    Cli, crashes,
    lines::Style,
    output::json_line,
    status_table::{render_at, tests::report},
};
use crate::{
    control::{
        client::Connection,
        protocol::{CommandOutcome, Reply},
    },
    core::{Identity, Millis, Now, Policy, State, WorkerSpec},
};
use bulkhead_proto::wire::{
    ids::{CrashId, Generation},
    record_store::Page,
    role::Role,
};
use clap::CommandFactory as _;
use insta::assert_snapshot;
use nix::{sys::stat::Mode, unistd::mkfifo};
use std::{os::unix::net::UnixListener, time::Duration};

/// The output of clap for these arguments on a terminal of 80 columns.
fn help(arguments: &[&str]) -> String {
    let shown = Cli::command().term_width(80).try_get_matches_from(arguments);
    shown.unwrap_err().to_string()
}

#[test]
fn help_of_each_command() {
    assert_snapshot!("help", help(&["bulkhead", "--help"]));
    for command in Cli::command().get_subcommands() {
        let command = command.get_name();
        assert_snapshot!(format!("help_{command}"), help(&["bulkhead", command, "--help"]));
    }
}

#[test]
fn a_misspelt_command() {
    assert_snapshot!(help(&["bulkhead", "statsu"]));
}

#[test]
fn status_for_people() {
    let mut report = report();
    report.workers.truncate(2);
    assert_snapshot!(render_at(&report, Style::PLAIN, 90_000));
}

#[test]
fn status_for_programs() {
    assert_snapshot!(serde_json::to_string_pretty(&report()).unwrap());
}

#[test]
fn one_crash_report_for_people() {
    assert_snapshot!(crashes::show(&crashes::tests::report(9)));
}

#[test]
fn the_list_of_crash_reports_for_people() {
    let page = Page { items: vec![crashes::tests::report(9), crashes::tests::report(8)], next: None };
    assert_snapshot!(crashes::list(&page, Style::PLAIN));
}

#[test]
fn an_unreachable_supervisor() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("file.sock"), "").unwrap();
    mkfifo(&path("fifo.sock"), Mode::S_IRWXU).unwrap();
    drop(UnixListener::bind(path("left.sock")).unwrap());
    let paths = ["none.sock", "file.sock", "fifo.sock", "left.sock"].map(path);
    let error = Connection::open(&paths).unwrap_err().to_string();
    assert_snapshot!(error.replace(dir.path().to_str().unwrap(), "/run"));
}

#[test]
fn an_unknown_worker() {
    let timeout = Duration::from_secs(10);
    let spec = |name: &str, role| WorkerSpec {
        name: name.into(),
        role,
        stop_timeout: timeout,
        hang_timeout: timeout,
    };
    let specs = vec![spec("api", Role::Api), spec("analytics", Role::Analytics), spec("host", Role::Plain)];
    let identity = Identity { pid: 1, next_generation: Generation(1), next_crash: CrashId(1), seed: 1 };
    let now = Now { mono: Millis(0), unix_ms: 0 };
    let state = State::new(Policy::default(), specs, identity, now);
    assert_snapshot!([state.unknown_worker("analytic"), state.unknown_worker("nobody")].join("\n"));
}

#[test]
fn a_reply_as_json() {
    let reply = Reply {
        generation: Some(Generation(5)),
        ..Reply::new(CommandOutcome::Done, "api is running: generation 5")
    };
    assert_snapshot!(json_line(&reply));
}
