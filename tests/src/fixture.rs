//! A directory for one supervisor: its configuration, state and control socket. A supervisor can be started in it again.

use crate::binaries;
use std::{
    fs::Permissions,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// A temporary directory that outlives the supervisors started in it.
pub struct Fixture {
    dir: TempDir,
    listen: String,
    user: Option<u32>,
}

/// The result of an operator's command.
#[derive(Debug)]
pub struct CliOutput {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// The configuration with the standby turned off, unless the text says something about it: most tests follow one process of
/// the analysis after the other, and count them. No line before the section of the analysis moves.
fn without_standby(config: &str) -> String {
    const OFF: &str = "standby = false\n";
    if config.contains("standby") {
        config.to_owned()
    } else if let Some((before, after)) = config.split_once("[analytics]\n") {
        format!("{before}[analytics]\n{OFF}{after}")
    } else if config.lines().any(|line| line.starts_with("analytics.")) {
        format!("analytics.{OFF}{config}")
    } else {
        format!("{config}\n[analytics]\n{OFF}")
    }
}

impl Fixture {
    /// A new directory with this configuration (TOML).
    ///
    /// # Panics
    /// If the temporary directory cannot be created.
    #[must_use]
    pub fn new(config: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("bulkhead-test-").tempdir().unwrap();
        std::fs::write(dir.path().join("bulkhead.toml"), without_standby(config)).unwrap();
        Self { dir, listen: "127.0.0.1:0".to_owned(), user: None }
    }

    /// Sets the listening address of the API. The default is a port that the kernel chooses.
    #[must_use]
    pub fn listen_on(mut self, address: &str) -> Self {
        address.clone_into(&mut self.listen);
        self
    }

    /// Runs supervisors as this user, who may enter the directory but owns nothing in it. Needs root.
    ///
    /// # Panics
    /// If the directory's permissions cannot be changed.
    #[must_use]
    pub fn run_as(mut self, uid: u32) -> Self {
        std::fs::set_permissions(self.dir.path(), Permissions::from_mode(0o755)).unwrap();
        self.user = Some(uid);
        self
    }

    /// Replaces the configuration (TOML).
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn write_config(&self, config: &str) {
        std::fs::write(self.path("bulkhead.toml"), without_standby(config)).unwrap();
    }

    /// A path in the directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Creates a named pipe in the directory. A test can let a plain worker wait on it.
    ///
    /// # Panics
    /// If the pipe cannot be created.
    #[must_use]
    pub fn named_pipe(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        path
    }

    /// Creates or replaces a symbolic link in the directory. A test can replace a worker's program by it.
    ///
    /// # Panics
    /// If the link cannot be created.
    pub fn symlink(&self, name: &str, target: &Path) -> PathBuf {
        let link = self.path(name);
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(target, &link).unwrap();
        link
    }

    /// A command with an environment that does not depend on the caller's. Its output is piped.
    pub(crate) fn command(&self, program: PathBuf) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("BULKHEAD_API_LISTEN", &self.listen)
            .env("BULKHEAD_STATE_DIR", self.path("state"))
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }

    /// Adds the arguments of `bulkhead run` in this directory.
    pub(crate) fn add_run_arguments(&self, command: &mut Command) {
        command.stdout(Stdio::null());
        command.arg("--socket").arg(self.path("control.sock"));
        command.arg("run").arg("--config").arg(self.path("bulkhead.toml"));
    }

    /// Starts an operator's command that runs until it is signalled.
    ///
    /// # Panics
    /// If the command cannot be started.
    #[must_use]
    pub fn spawn_cli(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(binaries::find(binaries::SUPERVISOR));
        command.stderr(Stdio::inherit()).arg("--socket").arg(self.path("control.sock")).args(arguments);
        command.spawn().unwrap()
    }

    /// Runs an operator's command to its end.
    ///
    /// # Panics
    /// If the command cannot be started.
    #[must_use]
    pub fn cli(&self, arguments: &[&str]) -> CliOutput {
        let mut command = self.command(binaries::find(binaries::SUPERVISOR));
        run(command.arg("--socket").arg(self.path("control.sock")).args(arguments))
    }

    /// Runs a supervisor that must refuse to start, and waits for its end.
    ///
    /// # Panics
    /// If the command cannot be started.
    #[must_use]
    pub fn run_to_exit(&self) -> CliOutput {
        let mut command = self.command(binaries::find(binaries::SUPERVISOR));
        self.add_run_arguments(&mut command);
        run(&mut command)
    }
}

fn run(command: &mut Command) -> CliOutput {
    let output = command.output().unwrap();
    CliOutput {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
