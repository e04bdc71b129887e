//! Starting a process: a clean environment, a process group of its own, and no fd but those that are meant for it.
//!
//! Always on the main thread: nothing else runs between fork and exec then, and whatever follows the spawning thread
//! follows the supervisor.

use super::{
    child::{Child, Control},
    memory,
    output::LogPipe,
    token,
};
use crate::{
    config::{Listen, Plan, WorkerPlan, plan::program},
    display::error_chain,
    log::worker_output::OutputOrigin,
    store::{crashes::CrashStore, quarantine::QuarantineStore},
};
use anyhow::Context as _;
use bulkhead_proto::{
    fds::{Bequest, FDS_VARIABLE, FdName},
    ids::Generation,
    link::Memory,
    pipe::{self, Receiver, Sender},
    settings::{SETTINGS_VARIABLE, Settings},
    words::Role,
};
use command_fds::CommandFdExt as _;
use rustix::process::Pid;
use std::{
    ffi::OsString,
    io,
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
};

/// Variables that every worker may see: none of them carries a secret.
const HARMLESS: &[&str] = &["PATH", "HOME", "TZ", "LANG"];

/// What a service manager says to the supervisor alone.
const OURS: &[&str] =
    &["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// Locale variables begin with this.
const LOCALE: &str = "LC_";

/// What all workers are started with.
#[derive(Debug)]
pub(super) struct Spawner {
    /// The supervisor's own executable: programs are looked for beside it.
    pub(super) executable: PathBuf,
    /// The listening socket, for the API.
    pub(super) listener: OwnedFd,
    /// Where it listens.
    pub(super) address: Listen,
    /// What the API may read of the events that were set aside.
    pub(super) quarantine: Arc<QuarantineStore>,
    /// Likewise of the crash reports.
    pub(super) crashes: Arc<CrashStore>,
    /// The log filter in force.
    pub(super) filter: String,
}

/// A process could not be started.
#[derive(Debug)]
pub(super) struct SpawnError {
    /// Why, for people.
    pub(super) text: String,
    /// Trying again cannot help.
    pub(super) config: bool,
}

impl From<anyhow::Error> for SpawnError {
    fn from(error: anyhow::Error) -> Self {
        Self { text: error_chain(&error), config: false }
    }
}

/// Keeps the fds that this process was born with from its workers.
pub(super) fn keep_strays() {
    if let Err(error) = bulkhead_proto::cloexec::mark_all() {
        tracing::warn!("workers may inherit fds that were not meant for them: {error}");
    }
}

/// Keeps this process and, by inheritance, its workers from dumping core: that delays the word of a death by seconds. A limit
/// of one byte forbids it to files, where no core fits, and also to programs, for which a limit of none means nothing: see
/// `kernel.core_pattern` in core(5), and do_coredump in Linux.
pub(super) fn forbid_core_dumps() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let present = getrlimit(Resource::Core);
    let limit = Rlimit { current: Some(present.maximum.map_or(1, |most| most.min(1))), ..present };
    if let Err(error) = setrlimit(Resource::Core, limit) {
        tracing::warn!("core dumps cannot be switched off: {error}");
    }
}

impl Spawner {
    /// Starts one generation of a worker.
    pub(super) fn spawn(
        &self,
        plan: &Plan,
        worker: &WorkerPlan,
        generation: Generation,
        memory: &Memory,
    ) -> Result<Child, SpawnError> {
        let (bequest, control) = self.bequest(plan, worker.role, memory)?;
        let mut command = self.command(plan, worker, generation, &bequest)?;
        command.preserved_fds(bequest.into_fds());
        let mut child = command.spawn().map_err(|error| failed(&command, &error))?;
        // The worker's ends must not stay open here, or its death would close nothing.
        drop(command);
        let watched = Self::watch(&mut child, worker, generation, control);
        if watched.is_err() {
            // Nobody would ever hear of it again.
            let _ = child.kill().and_then(|()| child.wait());
        }
        Ok(watched?)
    }

    /// Takes over a process that was just spawned.
    fn watch(
        child: &mut std::process::Child,
        worker: &WorkerPlan,
        generation: Generation,
        control: Control,
    ) -> anyhow::Result<Child> {
        let origin = |stream| OutputOrigin { worker: worker.name.clone(), generation, stream };
        let mut output = Vec::new();
        for (fd, stream) in [
            (child.stdout.take().map(OwnedFd::from), "stdout"),
            (child.stderr.take().map(OwnedFd::from), "stderr"),
        ] {
            output.extend(fd.map(|fd| LogPipe::new(fd, origin(stream))).transpose().context("log pipe")?);
        }
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("its pid")?;
        let memory_limit = memory::bound(pid, worker, generation);
        Child::new(pid, control, output, memory_limit).context("pidfd")
    }

    /// The fds that a worker of this role inherits, and our ends of its pipes.
    fn bequest(&self, plan: &Plan, role: Role, memory: &Memory) -> Result<(Bequest, Control), SpawnError> {
        let mut bequest = Bequest::default();
        match role {
            Role::Api => {
                bequest.add(FdName::Listener, self.listener.try_clone().context("listener")?);
                if let Some(path) = &plan.token {
                    bequest.add(FdName::Token, token::open(path)?);
                }
                // Without it, the API works but for this.
                match self.quarantine.records() {
                    Ok(folder) => bequest.add(FdName::Quarantine, folder.into()),
                    Err(error) => {
                        tracing::error!("the API cannot show what is set aside: {}", error_chain(&error));
                    }
                }
                match self.crashes.records() {
                    Ok(folder) => bequest.add(FdName::Crashes, folder.into()),
                    Err(error) => {
                        tracing::error!("the API cannot show crash reports: {}", error_chain(&error));
                    }
                }
                memory.bequeath_to_api(&mut bequest).context("shared memory")?;
            }
            Role::Analytics => memory.bequeath_to_analytics(&mut bequest).context("shared memory")?,
            Role::Plain => return Ok((bequest, Control::none())),
        }
        let (control_in, to) = pipe::pair().context("control pipe")?;
        let (from, control_out) = pipe::pair().context("control pipe")?;
        bequest.add(FdName::ControlIn, control_in);
        bequest.add(FdName::ControlOut, control_out);
        Ok((bequest, Control::new(Receiver::new(from), Sender::new(to)).context("control pipe")?))
    }

    fn command(
        &self,
        plan: &Plan,
        worker: &WorkerPlan,
        generation: Generation,
        bequest: &Bequest,
    ) -> anyhow::Result<Command> {
        let (name, arguments) = worker.command.split_first().context("its command is empty")?;
        let mut command = Command::new(program(name, &self.executable));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).env_clear();
        command.envs(std::env::vars_os().filter(|(name, _)| passes(name, &worker.pass_env)));
        command.envs(&worker.env);
        command.env("BULKHEAD_WORKER", &worker.name);
        if let Some(cwd) = &worker.cwd {
            command.current_dir(cwd);
        }
        match worker.role {
            Role::Plain => {
                command.env("BULKHEAD_API_URL", self.address.url());
            }
            Role::Api | Role::Analytics => {
                command.env(FDS_VARIABLE, bequest.variable());
                command.env(SETTINGS_VARIABLE, self.settings(plan, worker, generation).to_json()?);
                // Where the analysis keeps the bytes of a series whose state does not verify.
                command.env("BULKHEAD_STATE_DIR", std::path::absolute(&plan.state_dir)?);
            }
        }
        Ok(command)
    }

    fn settings(&self, plan: &Plan, worker: &WorkerPlan, generation: Generation) -> Settings {
        Settings {
            worker: worker.name.clone(),
            role: worker.role,
            generation,
            faults: plan.policy.faults,
            max_series: plan.max_series,
            max_body: plan.max_body,
            limits: plan.limits.clone(),
            stop_timeout_ms: u64::try_from(worker.stop_timeout.as_millis()).unwrap_or(u64::MAX),
            log: self.filter.clone(),
        }
    }
}

fn passes(name: &OsString, pass_env: &[String]) -> bool {
    name.to_str().is_some_and(|name| {
        let promised = pass_env.iter().any(|wanted| wanted == name) && !OURS.contains(&name);
        HARMLESS.contains(&name) || name.starts_with(LOCALE) || promised
    })
}

fn failed(command: &Command, error: &io::Error) -> SpawnError {
    let config = matches!(
        error.kind(),
        io::ErrorKind::NotFound
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::IsADirectory
    ) || error.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error());
    let program = std::path::Path::new(command.get_program()).display();
    let folder = command.get_current_dir().map(|cwd| format!(" in {}", cwd.display())).unwrap_or_default();
    SpawnError { text: format!("{program}{folder}: {error}"), config }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_sees_the_harmless_variables_and_those_that_it_was_promised() {
        let promised = ["TOKEN".to_owned()];
        for (name, seen) in
            [("PATH", true), ("LC_ALL", true), ("TOKEN", true), ("AWS_SECRET", false), ("LD_PRELOAD", false)]
        {
            assert_eq!(passes(&name.into(), &promised), seen, "{name}");
        }
    }

    #[test]
    fn what_systemd_says_to_the_supervisor_is_passed_on_to_nobody() {
        let promised = ["NOTIFY_SOCKET".to_owned()];
        assert!(!passes(&"NOTIFY_SOCKET".into(), &promised) && !passes(&"LISTEN_FDS".into(), &[]));
    }

    #[test]
    fn a_missing_program_is_a_matter_of_configuration() {
        let mut command = Command::new("/nonexistent/program");
        let missing = command.spawn().unwrap_err();
        let error = failed(&command, &missing);
        assert!(error.config && error.text.contains("/nonexistent/program"), "{error:?}");
    }
}
