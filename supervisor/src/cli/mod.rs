//! The command line.

pub mod commands;
mod crashes;
mod failure;
mod generate;
#[cfg(test)]
mod golden;
mod lines;
mod logs;
mod output;
mod quarantine;
mod status_table;
mod watch;

use bulkhead_proto::wire::{cause::Cause, crash::MAX_REPORTS, fault::FaultKind};
use clap::{
    Args, Parser, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
};
use clap_complete::Shell;
use std::path::PathBuf;

const AFTER_HELP: &str = "\
Control socket: `run` creates it in $RUNTIME_DIRECTORY, else in $XDG_RUNTIME_DIR/bulkhead, else in state_dir. The other \
commands try /run/bulkhead, then the same directories.

Exit codes: 0 success, 1 failure, 2 usage or configuration error, 3 supervisor not reachable.";

/// Keeps an HTTP API available while the analysis process crashes.
#[derive(Debug, Parser)]
#[command(name = "bulkhead", version, after_help = AFTER_HELP, propagate_version = true)]
pub struct Cli {
    /// Path of the control socket [default: $BULKHEAD_SOCKET (not for `run`), else see `bulkhead --help`].
    #[arg(long, global = true, value_name = "PATH", display_order = 100)]
    pub socket: Option<PathBuf>,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// A command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the service in the foreground until SIGTERM or Ctrl-C; a second Ctrl-C stops it at once.
    Run {
        /// Configuration file [default: $BULKHEAD_CONFIG, else /etc/bulkhead/bulkhead.toml, else built-in defaults].
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Check the configuration and report all problems.
    Check {
        /// Configuration file [default: as for `run`].
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Print one JSON object: source (null for the built-in defaults), ok, problems (severity, line, column,
        /// message, help; line, column and help may be null).
        #[arg(long)]
        json: bool,
    },
    /// Show the workers and the link between the API and the analysis.
    Status {
        /// Print one JSON object: version, pid, uptime_ms, listen, state_dir, faults, workers (as in GET /v1/workers),
        /// outside_group (worker: number of processes), orphans, link (accepted, analysed, quarantined, pending, committed_seq, ring, series).
        #[arg(long)]
        json: bool,
        /// Poll once a second and show each change until Ctrl-C. A terminal is updated in place.
        #[arg(long, short)]
        watch: bool,
    },
    /// Show the last lines of the log. The supervisor keeps up to 2,000 lines or 512 KiB.
    Logs {
        /// Show only lines by and about this worker, or `supervisor` for the supervisor's own lines.
        worker: Option<String>,
        /// Also show new lines, until Ctrl-C or until the supervisor exits.
        #[arg(long, short)]
        follow: bool,
        /// Show only the last N lines.
        #[arg(long, short = 'n', value_name = "N")]
        lines: Option<u32>,
        /// Print one JSON object per line, the same as in the log.
        #[arg(long)]
        json: bool,
    },
    /// Replace a worker by a new generation. The old one runs until the new one is ready.
    Restart(WorkerArgs),
    /// Stop a worker until it is started again by command.
    Stop(WorkerArgs),
    /// Start a worker that is stopped, parked, or waiting for its restart.
    Start(WorkerArgs),
    /// Read the configuration again and apply the changes, as SIGHUP does.
    ///
    /// Waits until all changed workers are replaced, added or removed. An invalid configuration changes nothing. Prints the
    /// warnings of `bulkhead check` to stderr.
    Reload {
        /// Print one JSON object: {"changes":[{"what","how","text"}]}. what: the key or the worker; how: live,
        /// next_start, replaced, when_started, added, removed, or failed.
        #[arg(long)]
        json: bool,
    },
    /// Induce a fault in a worker, for a drill. Requires [faults] enabled = true in the configuration.
    Fault {
        /// The worker, and the form of the output.
        #[command(flatten)]
        target: WorkerArgs,
        /// Kind of fault.
        #[arg(value_parser = fault_kind())]
        kind: FaultKind,
    },
    /// List the newest crash reports, or show one: cause, event in flight, decision, output.
    Crashes(CrashesArgs),
    /// List, show, replay or drop quarantined events: events that repeatedly killed the analysis.
    #[command(disable_help_subcommand = true)]
    Quarantine {
        /// The action.
        #[command(subcommand)]
        action: QuarantineAction,
    },
    /// Print a completion script for a shell. `make install` installs the scripts.
    Completions {
        /// Name of the shell.
        shell: Shell,
    },
    /// Write the man pages to a directory. `make install` installs them.
    Man {
        /// Existing directory to write to.
        directory: PathBuf,
    },
}

/// A parser that lists every kind in help, completions and errors.
fn fault_kind() -> impl TypedValueParser<Value = FaultKind> {
    PossibleValuesParser::new(FaultKind::ALL.iter().map(|kind| kind.as_str()))
        .try_map(|word| word.parse::<FaultKind>())
}

/// One crash report or a list, and the form of the output.
#[derive(Clone, Debug, Args)]
pub struct CrashesArgs {
    /// Number of the crash report to show; without it, list the newest.
    #[arg(conflicts_with_all = ["worker", "cause", "limit"])]
    pub id: Option<u64>,
    /// Only reports of this worker.
    #[arg(long, value_name = "NAME")]
    pub worker: Option<String>,
    /// Only reports of this cause.
    #[arg(long, value_parser = cause())]
    pub cause: Option<Cause>,
    /// Number of reports to list.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20, value_parser = report_limit())]
    pub limit: u16,
    /// Print one JSON object: the report, or a list (items without output, living and backtrace; next).
    #[arg(long)]
    pub json: bool,
}

/// At least one report, and no more than are stored.
fn report_limit() -> impl TypedValueParser<Value = u16> {
    clap::value_parser!(u16).range(1..=MAX_REPORTS as i64)
}

/// An action on quarantined events.
#[derive(Clone, Debug, Subcommand)]
pub enum QuarantineAction {
    /// List all quarantined events, one per line.
    List {
        /// Print one JSON object: items (as in `show --json`, without bytes), next (null).
        #[arg(long)]
        json: bool,
    },
    /// Show an event and the last death that it caused.
    Show(EventArgs),
    /// Append an event again as a new one, then remove the old one. If a crash interrupts this, repeat it: the event is
    /// not appended twice.
    ///
    /// With --all: every event that is in quarantine now, in the order of their numbers.
    Replay(SelectionArgs),
    /// Remove an event. It cannot be restored.
    ///
    /// With --all: every event that is in quarantine now.
    Drop(SelectionArgs),
}

/// One quarantined event or many, and the form of the output.
#[derive(Clone, Debug, Args)]
pub struct SelectionArgs {
    /// Sequence number of the event.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub seq: Option<u64>,
    /// All events, or those that --series and --cause select.
    #[arg(long)]
    pub all: bool,
    /// Only events of series whose name begins with PREFIX.
    #[arg(long, value_name = "PREFIX", requires = "all")]
    pub series: Option<String>,
    /// Only events whose last death had this cause.
    #[arg(long, requires = "all", value_parser = cause())]
    pub cause: Option<Cause>,
    /// Print one JSON object: outcome and text; with --all also count. Failures are also printed to stdout in this form;
    /// the exit code is the same.
    #[arg(long)]
    pub json: bool,
}

/// A parser that lists every cause in help, completions and errors.
fn cause() -> impl TypedValueParser<Value = Cause> {
    PossibleValuesParser::new(Cause::ALL.iter().map(|cause| cause.as_str()))
        .try_map(|word| word.parse::<Cause>())
}

/// A quarantined event, and the form of the output.
#[derive(Clone, Copy, Debug, Args)]
pub struct EventArgs {
    /// Sequence number of the event.
    pub seq: u64,
    /// Print one JSON object: the event and its last death, or outcome and text. Failures are also printed to stdout in
    /// this form; the exit code is the same.
    #[arg(long)]
    pub json: bool,
}

/// A worker, and the form of the output.
#[derive(Debug, Args)]
pub struct WorkerArgs {
    /// Name of the worker.
    pub worker: String,
    /// Print one JSON object: outcome (done, not_found, conflict, refused, unreachable, failed), text, worker, and
    /// generation if one runs. Failures are also printed to stdout in this form; the exit code is the same.
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_unknown_fault_kind_is_a_usage_error() {
        let error = Cli::try_parse_from(["bulkhead", "fault", "api", "nap"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let kinds: Vec<_> = FaultKind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert!(error.to_string().contains(&kinds.join(", ")), "{error}");
    }

    #[test]
    fn a_crash_report_is_chosen_by_its_number_or_by_a_filter() {
        let parses =
            |arguments: &[&str]| Cli::try_parse_from([&["bulkhead", "crashes"], arguments].concat()).is_ok();
        let filter = ["--worker", "api", "--cause", "panic", "-n", "1000", "--json"];
        assert!(parses(&[]) && parses(&["7", "--json"]) && parses(&filter));
        for refused in [
            &["7", "-n", "3"][..],
            &["7", "--cause", "panic"],
            &["-n", "0"],
            &["-n", "1001"],
            &["--cause", "x"],
        ] {
            assert!(!parses(refused), "{refused:?}");
        }
    }

    #[test]
    fn the_socket_option_may_precede_or_follow_the_command() {
        for arguments in [["bulkhead", "--socket", "/s", "status"], ["bulkhead", "status", "--socket", "/s"]]
        {
            assert_eq!(Cli::try_parse_from(arguments).unwrap().socket.unwrap(), PathBuf::from("/s"));
        }
    }
}
