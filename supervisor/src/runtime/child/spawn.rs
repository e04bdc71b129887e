//! Spawning: a clean environment, a process group of its own, and only the descriptors meant for the worker.
//!
//! Always on the main thread: attributes that the kernel binds to the spawning thread, such as the parent-death
//! signal of prctl(2), then last as long as the supervisor.

use super::{
    memory_limit,
    output::LogPipe,
    process::{Child, Control},
    spawn_error::SpawnError,
    token_fd,
};
use crate::{
    config::{Config, WorkerConfig, model::resolve_program},
    display::error_chain,
    limit_hint::limit_hint,
    listener::Listener,
    log::worker_output::OutputOrigin,
    store::Stores,
};
use anyhow::Context as _;
use bulkhead_proto::{
    shm::memory::SharedMemory,
    wire::{ids::Generation, role::Role},
    worker::{
        fds::{FDS_VARIABLE, FdHandoff, FdName},
        pipe::{self, Receiver, Sender},
        settings::{SETTINGS_VARIABLE, Settings},
    },
};
use command_fds::CommandFdExt as _;
use rustix::{io::Errno, process::Pid};
use std::{
    ffi::OsString,
    io,
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    path::PathBuf,
    process::{Command, Stdio},
};

/// Variables that every worker inherits; none carries a secret.
const INHERITED_VARIABLES: &[&str] = &["PATH", "HOME", "TZ", "LANG"];

/// The variable that names the worker of a process.
pub(super) const WORKER_VARIABLE: &str = "BULKHEAD_WORKER";

/// Variables by which a service manager addresses the supervisor alone.
const SUPERVISOR_VARIABLES: &[&str] =
    &["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// Prefix of locale variables.
const LOCALE_PREFIX: &str = "LC_";

/// What all workers start with.
#[derive(Debug)]
pub(in crate::runtime) struct Spawner {
    /// The supervisor's own executable: programs are looked up beside it.
    pub(in crate::runtime) executable: PathBuf,
    /// The listening socket, for the API.
    pub(in crate::runtime) listener: Listener,
    /// The quarantine and the crash reports, which the API may read.
    pub(in crate::runtime) stores: Stores,
    /// The active log filter.
    pub(in crate::runtime) filter: String,
}

/// Marks inherited descriptors as close-on-exec, so that workers do not get them.
pub(in crate::runtime) fn set_cloexec_inherited() {
    if let Err(error) = crate::sys::cloexec::mark_all() {
        tracing::warn!(
            "cannot mark inherited file descriptors close-on-exec, workers may inherit them: {error}"
        );
    }
}

/// Disables core dumps for this process and, by inheritance, for its workers: a core dump delays a death by
/// seconds. A limit of one byte disables dumps to files, where no core fits, and to programs, which ignore a
/// limit of zero: see `kernel.core_pattern` in core(5), and do_coredump() in Linux.
pub(in crate::runtime) fn forbid_core_dumps() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let present = getrlimit(Resource::Core);
    let limit =
        Rlimit { current: Some(present.maximum.map_or(1, |hard_limit| hard_limit.min(1))), ..present };
    if let Err(error) = setrlimit(Resource::Core, limit) {
        tracing::warn!("cannot disable core dumps: {error}");
    }
}

impl Spawner {
    /// Starts one generation of a worker.
    pub(in crate::runtime) fn spawn(
        &self,
        config: &Config,
        worker: &WorkerConfig,
        generation: Generation,
        memory: &SharedMemory,
    ) -> Result<Child, SpawnError> {
        let (handoff, control) = self.handoff(config, worker.role, memory)?;
        let mut command = self.command(config, worker, generation, &handoff)?;
        command.preserved_fds(handoff.into_fds());
        let mut child = command.spawn().map_err(|error| spawn_error(&command, &error))?;
        // If the worker's ends stayed open here, its death would close nothing.
        drop(command);
        let watched = Self::watch(&mut child, worker, generation, control);
        if watched.is_err() {
            // Without its pidfd, the exit would never be noticed.
            let _ = child.kill().and_then(|()| child.wait());
        }
        Ok(watched?)
    }

    /// Takes over a process that was just spawned.
    fn watch(
        child: &mut std::process::Child,
        worker: &WorkerConfig,
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
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("child pid")?;
        let memory_limit = memory_limit::apply(pid, worker, generation);
        let plain_worker = (worker.role == Role::Plain).then(|| worker.name.clone());
        Child::new(pid, control, output, memory_limit, plain_worker).context("pidfd")
    }

    /// The descriptors that a worker of this role inherits, and the supervisor's ends of its pipes.
    fn handoff(
        &self,
        config: &Config,
        role: Role,
        memory: &SharedMemory,
    ) -> Result<(FdHandoff, Control), SpawnError> {
        let mut handoff = FdHandoff::default();
        match role {
            Role::Api => {
                handoff.add(FdName::Listener, self.listener.fd.try_clone().context("listener")?);
                if let Some(path) = &config.token_file {
                    handoff.add(FdName::Token, token_fd::open(path)?);
                }
                // The API works without it, except for the quarantine.
                match self.stores.quarantine.records() {
                    Ok(folder) => handoff.add(FdName::Quarantine, folder.into()),
                    Err(error) => {
                        tracing::error!("the API cannot show the quarantine: {}", error_chain(&error));
                    }
                }
                match self.stores.crashes.records() {
                    Ok(folder) => handoff.add(FdName::Crashes, folder.into()),
                    Err(error) => {
                        tracing::error!("the API cannot show crash reports: {}", error_chain(&error));
                    }
                }
                memory.pass_to_api(&mut handoff).context("shared memory")?;
            }
            Role::Analytics => memory.pass_to_analytics(&mut handoff).context("shared memory")?,
            Role::Plain => return Ok((handoff, Control::none())),
        }
        let (control_in, to) = pipe::pair().context("control pipe")?;
        let (from, control_out) = pipe::pair().context("control pipe")?;
        handoff.add(FdName::ControlIn, control_in);
        handoff.add(FdName::ControlOut, control_out);
        Ok((handoff, Control::new(Receiver::new(from), Sender::new(to)).context("control pipe")?))
    }

    fn command(
        &self,
        config: &Config,
        worker: &WorkerConfig,
        generation: Generation,
        handoff: &FdHandoff,
    ) -> anyhow::Result<Command> {
        let (name, arguments) = worker.command.split_first().context("its command is empty")?;
        let mut command = Command::new(resolve_program(name, &self.executable, &config.start_dir));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).env_clear();
        command.envs(std::env::vars_os().filter(|(name, _)| is_inherited(name, &worker.pass_env)));
        command.envs(&worker.env);
        command.env(WORKER_VARIABLE, &worker.name);
        if let Some(cwd) = &worker.cwd {
            command.current_dir(cwd);
        }
        match worker.role {
            Role::Plain => {
                command.env("BULKHEAD_API_URL", self.listener.address.url());
            }
            Role::Api | Role::Analytics => {
                command.env(FDS_VARIABLE, handoff.variable());
                command.env(SETTINGS_VARIABLE, self.settings(config, worker, generation).to_json()?);
                // Where the analysis keeps the bytes of damaged series.
                command.env("BULKHEAD_STATE_DIR", &config.state_dir);
            }
        }
        Ok(command)
    }

    fn settings(&self, config: &Config, worker: &WorkerConfig, generation: Generation) -> Settings {
        Settings {
            worker: worker.name.clone(),
            role: worker.role,
            generation,
            faults: config.policy.faults,
            max_series: config.max_series,
            expire_ms: config.expire.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
            max_body: config.max_body,
            limits: config.limits.clone(),
            access: config.access.clone(),
            stop_timeout_ms: u64::try_from(worker.stop_timeout.as_millis()).unwrap_or(u64::MAX),
            log: self.filter.clone(),
        }
    }
}

fn is_inherited(name: &OsString, pass_env: &[String]) -> bool {
    name.to_str().is_some_and(|name| {
        let pass_env = pass_env.iter().any(|wanted| wanted == name) && !SUPERVISOR_VARIABLES.contains(&name);
        INHERITED_VARIABLES.contains(&name) || name.starts_with(LOCALE_PREFIX) || pass_env
    })
}

fn spawn_error(command: &Command, error: &io::Error) -> SpawnError {
    let config = matches!(
        error.kind(),
        io::ErrorKind::NotFound
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::IsADirectory
    ) || [Errno::NOEXEC, Errno::TOOBIG]
        .map(|errno| Some(errno.raw_os_error()))
        .contains(&error.raw_os_error());
    let program = std::path::Path::new(command.get_program()).display();
    let folder = command.get_current_dir().map(|cwd| format!(" in {}", cwd.display())).unwrap_or_default();
    let hint = limit_hint(error).map(|hint| format!("; {hint}")).unwrap_or_default();
    SpawnError { text: format!("{program}{folder}: {error}{hint}"), config }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_inherits_the_safe_variables_and_those_of_pass_env() {
        let pass_env = ["TOKEN".to_owned()];
        for (name, seen) in
            [("PATH", true), ("LC_ALL", true), ("TOKEN", true), ("AWS_SECRET", false), ("LD_PRELOAD", false)]
        {
            assert_eq!(is_inherited(&name.into(), &pass_env), seen, "{name}");
        }
    }

    #[test]
    fn systemd_variables_of_the_supervisor_are_not_inherited() {
        let pass_env = ["NOTIFY_SOCKET".to_owned()];
        assert!(
            !is_inherited(&"NOTIFY_SOCKET".into(), &pass_env) && !is_inherited(&"LISTEN_FDS".into(), &[])
        );
    }

    #[test]
    fn a_missing_program_is_a_configuration_error() {
        let mut command = Command::new("/nonexistent/program");
        let missing = command.spawn().unwrap_err();
        let error = spawn_error(&command, &missing);
        assert!(error.config && error.text.contains("/nonexistent/program"), "{error:?}");
    }

    #[test]
    fn arguments_that_are_too_long_are_a_configuration_error_and_a_limit_is_not() {
        let mut command = Command::new("true");
        let too_long = command.arg("x".repeat(200_000)).spawn().unwrap_err();
        assert!(spawn_error(&command, &too_long).config, "{too_long}");
        let limit = spawn_error(&command, &Errno::AGAIN.into());
        assert!(!limit.config && limit.text.contains("ulimit -u"), "{limit:?}");
    }
}
