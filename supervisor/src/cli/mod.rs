//! The command line (DESIGN 7).

pub mod commands;
mod crashes;
mod failure;
#[cfg(test)]
mod golden;
mod logs;
mod output;
mod pages;
mod quarantine;
mod table;
mod watch;

use bulkhead_proto::wire::fault::FaultKind;
use clap::{
    Args, Parser, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
};
use clap_complete::Shell;
use std::path::PathBuf;

const AFTERWORD: &str = "\
The control socket is made by `run` in $RUNTIME_DIRECTORY, else in $XDG_RUNTIME_DIR/bulkhead, else in state_dir; the \
other commands look in /run/bulkhead and in those places.

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 no supervisor can be reached.";

/// Keeps a service's API answering while the analysis behind it crashes.
#[derive(Debug, Parser)]
#[command(name = "bulkhead", version, after_help = AFTERWORD, propagate_version = true)]
pub struct Cli {
    /// The control socket; else $BULKHEAD_SOCKET (not for `run`), else the usual places.
    #[arg(long, global = true, value_name = "PATH", display_order = 100)]
    pub socket: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run the service in the foreground, until SIGTERM or Ctrl-C; a second one ends it at once.
    Run {
        /// The configuration; else $BULKHEAD_CONFIG, else /etc/bulkhead/bulkhead.toml, else built-in defaults.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Check the configuration, and say all that is wrong with it.
    Check {
        /// As for `run`.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// As one JSON object: source (null for the built-in defaults), ok, problems (severity, line, column, message,
        /// help; line, column and help may be null).
        #[arg(long)]
        json: bool,
    },
    /// Show the workers and the link between them.
    Status {
        /// As one JSON object: version, pid, uptime_ms, listen, state_dir, faults, workers (the rows of GET /v1/workers),
        /// link (accepted, analysed, quarantined, pending, committed_seq, ring).
        #[arg(long)]
        json: bool,
        /// Ask once a second, and show what has changed until Ctrl-C: in place on a terminal, else one after the other.
        #[arg(long, short)]
        watch: bool,
    },
    /// Show the last lines of the log: the supervisor keeps up to 2,000 of them, or 512 KiB.
    Logs {
        /// Only those of and about this worker; `supervisor` for the supervisor's own.
        worker: Option<String>,
        /// Go on with the lines to come, until Ctrl-C or the end of the supervisor.
        #[arg(long, short)]
        follow: bool,
        /// Only so many of the last ones.
        #[arg(long, short = 'n', value_name = "N")]
        lines: Option<u32>,
        /// As JSON objects, a line each: what the log is when it is no terminal.
        #[arg(long)]
        json: bool,
    },
    /// Replace a worker by a new generation; the old one works until the new one is ready.
    Restart(Target),
    /// Stop a worker, until it is started.
    Stop(Target),
    /// Start a worker that was stopped, or waits to be restarted.
    Start(Target),
    /// Read the configuration again, and apply what has changed. SIGHUP does the same.
    ///
    /// Waits until every worker that has changed is replaced, added or removed. A wrong configuration changes nothing.
    Reload {
        /// As one JSON object: {"changes":[{"what","how","text"}]}; what: the key or the worker; how: live, next_start,
        /// replaced, when_started, added, removed, or failed.
        #[arg(long)]
        json: bool,
    },
    /// Let a worker die in some way, for a drill. Only when faults are enabled in the configuration.
    Fault {
        /// Which one, and how to answer.
        #[command(flatten)]
        target: Target,
        /// How.
        #[arg(value_parser = fault_kind())]
        kind: FaultKind,
    },
    /// Show the newest crash reports, or all of one: what died of what, when, and what was decided.
    Crashes {
        /// Its number.
        id: Option<u64>,
        /// As one JSON object: the report, or items (in brief: without output, living and backtrace) and next. GET /v1/crashes
        /// lists older ones.
        #[arg(long)]
        json: bool,
    },
    /// Look at events that killed the analysis and were set aside; let them in again, or drop them.
    #[command(disable_help_subcommand = true)]
    Quarantine {
        /// What to do with them.
        #[command(subcommand)]
        what: SetAside,
    },
    /// Print a script by which a shell completes commands and options; `make install` puts it in place.
    Completions {
        /// For this shell.
        shell: Shell,
    },
    /// Write the man pages; `make install` puts them in place.
    Man {
        /// Into this directory, which must be there.
        directory: PathBuf,
    },
}

/// Knows every kind, so that help, completions and errors name them all.
fn fault_kind() -> impl TypedValueParser<Value = FaultKind> {
    PossibleValuesParser::new(FaultKind::ALL.iter().map(|kind| kind.as_str()))
        .try_map(|word| word.parse::<FaultKind>())
}

/// What to do with events that were set aside.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum SetAside {
    /// List them all, a line each.
    List {
        /// As one JSON object: items (as `show --json`, without bytes), next (null).
        #[arg(long)]
        json: bool,
    },
    /// Show one, and what it died of.
    Show(Numbered),
    /// Append it once more as a new event, and forget the old one. Never twice, whoever dies meanwhile.
    Replay(Numbered),
    /// Forget it for good.
    Drop(Numbered),
}

/// The event that a command is about.
#[derive(Clone, Copy, Debug, Args)]
pub struct Numbered {
    /// Its number.
    pub seq: u64,
    /// Answer as one JSON object: the event and its report, or outcome and text. So, and on stdout, are failures; the exit
    /// code is the same.
    #[arg(long)]
    pub json: bool,
}

/// The worker that a command is about.
#[derive(Debug, Args)]
pub struct Target {
    /// Its name.
    pub worker: String,
    /// Answer as one JSON object: outcome (done, not_found, conflict, refused, unreachable, failed), text, worker, and
    /// generation if one runs. So, and on stdout, are failures; the exit code is the same.
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
    fn an_unknown_fault_is_a_matter_of_usage() {
        let error = Cli::try_parse_from(["bulkhead", "fault", "api", "nap"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let kinds: Vec<_> = FaultKind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert!(error.to_string().contains(&kinds.join(", ")), "{error}");
    }

    #[test]
    fn the_socket_may_stand_before_or_behind_the_command() {
        for arguments in [["bulkhead", "--socket", "/s", "status"], ["bulkhead", "status", "--socket", "/s"]]
        {
            assert_eq!(Cli::try_parse_from(arguments).unwrap().socket.unwrap(), PathBuf::from("/s"));
        }
    }
}
