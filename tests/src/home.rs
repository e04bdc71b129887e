//! A place for one supervisor: its configuration, state and control socket; it may be started there again and again.

use crate::{Bulkhead, binaries, bulkhead::Above};
use std::{
    fs::Permissions,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// A temporary directory that outlives the supervisors started in it.
pub struct Home {
    dir: TempDir,
    listen: String,
    user: Option<u32>,
}

/// What a command of the operator said.
#[derive(Debug)]
pub struct Said {
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Home {
    /// A new one with this configuration (TOML).
    ///
    /// # Panics
    /// When the temporary directory cannot be made.
    #[must_use]
    pub fn new(config: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("bulkhead-test-").tempdir().unwrap();
        std::fs::write(dir.path().join("bulkhead.toml"), config).unwrap();
        Self { dir, listen: "127.0.0.1:0".to_owned(), user: None }
    }

    /// The API listens there, and not at a port that the system chooses.
    #[must_use]
    pub fn listen(mut self, address: &str) -> Self {
        address.clone_into(&mut self.listen);
        self
    }

    /// Supervisors run as this user, who may enter the directory but owns nothing in it. Needs root.
    ///
    /// # Panics
    /// When the directory's permissions cannot be changed.
    #[must_use]
    pub fn run_as(mut self, uid: u32) -> Self {
        std::fs::set_permissions(self.dir.path(), Permissions::from_mode(0o755)).unwrap();
        self.user = Some(uid);
        self
    }

    /// Puts another configuration (TOML) in the place of its own.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn configure(&self, config: &str) {
        std::fs::write(self.path("bulkhead.toml"), config).unwrap();
    }

    /// A path in it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A named pipe in it, by which a test can make a plain worker wait.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn pipe(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        path
    }

    /// A file in it that is a link to a binary of the workspace, so that a test can put another program in its place.
    ///
    /// # Panics
    /// When the binary has not been built.
    pub fn link(&self, name: &str, target: &Path) -> PathBuf {
        let link = self.path(name);
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(target, &link).unwrap();
        link
    }

    /// Starts the supervisor here and waits until both workers are active.
    ///
    /// # Panics
    /// With its log, when it does not come up.
    #[must_use]
    pub fn start(self) -> Bulkhead {
        let command = self.command(binaries::find(binaries::SUPERVISOR));
        Bulkhead::spawn(self, command, Above::Nothing)
    }

    /// Starts the supervisor here and waits only until it listens: the workers may never be at work.
    ///
    /// # Panics
    /// With its log, when it does not begin.
    #[must_use]
    pub fn begin(self) -> Bulkhead {
        let command = self.command(binaries::find(binaries::SUPERVISOR));
        Bulkhead::begin(self, command)
    }

    /// As [`Home::start`], with a file system of its own and of this size at `state/`. Needs root.
    ///
    /// # Panics
    /// With its log, when it does not come up.
    #[must_use]
    pub fn start_on_a_small_disk(self, size: &str) -> Bulkhead {
        let (state, supervisor) = (self.path("state"), binaries::find(binaries::SUPERVISOR));
        std::fs::create_dir(&state).unwrap();
        let mut unshare = self.command("unshare".into());
        let script = r#"mount -t tmpfs -o size="$0" tmpfs "$1" && shift && exec "$@""#;
        unshare.args(["--mount", "sh", "-c", script, size]).args([state, supervisor]);
        Bulkhead::spawn(self, unshare, Above::Nothing)
    }

    /// As [`Home::start`], where `/proc/vmstat` is the file `vmstat` of this place, and no cgroup tells anything. Needs root.
    ///
    /// # Panics
    /// With its log, when it does not come up.
    #[must_use]
    pub fn start_with_a_vmstat_of_its_own(self) -> Bulkhead {
        let mut unshare = self.command("unshare".into());
        let script = r#"mount -t tmpfs tmpfs /sys/fs/cgroup && mount --bind "$0" /proc/vmstat && exec "$@""#;
        unshare.args(["--mount", "sh", "-c", script]).arg(self.path("vmstat"));
        unshare.arg(binaries::find(binaries::SUPERVISOR));
        Bulkhead::spawn(self, unshare, Above::Nothing)
    }

    /// Starts it as in a container: as the first process of a pid namespace of its own, where nothing can be written but
    /// this place. Needs root.
    ///
    /// # Panics
    /// With its log, when it does not come up.
    #[must_use]
    pub fn start_in_container(self) -> Bulkhead {
        const SETUP: &str = r#"mount --bind . . && mount -o remount,bind,ro / && cd "$PWD" && exec "$@""#;
        let mut unshare = self.command("unshare".into());
        unshare.args([
            "--mount",
            "--propagation",
            "private",
            "--pid",
            "--fork",
            "--mount-proc",
            "--kill-child",
        ]);
        unshare.args(["sh", "-c", SETUP, "container"]).arg(binaries::find(binaries::SUPERVISOR));
        Bulkhead::spawn(self, unshare, Above::Unshare)
    }

    /// A program with an environment that does not depend on who runs the tests, its output piped.
    fn command(&self, program: PathBuf) -> Command {
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

    /// Adds `run` and where to run.
    pub(crate) fn run_here(&self, command: &mut Command) {
        command.stdout(Stdio::null());
        command.arg("--socket").arg(self.path("control.sock"));
        command.arg("run").arg("--config").arg(self.path("bulkhead.toml"));
    }

    /// Runs a command of the operator that goes on by itself.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn leave_running(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(binaries::find(binaries::SUPERVISOR));
        command.stderr(Stdio::inherit()).arg("--socket").arg(self.path("control.sock")).args(arguments);
        command.spawn().unwrap()
    }

    /// Runs a command of the operator against the supervisor that runs here.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn say(&self, arguments: &[&str]) -> Said {
        let mut command = self.command(binaries::find(binaries::SUPERVISOR));
        heard(command.arg("--socket").arg(self.path("control.sock")).args(arguments))
    }

    /// Starts a supervisor here that is to be refused, and waits for its end.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn run_in_vain(&self) -> Said {
        let mut command = self.command(binaries::find(binaries::SUPERVISOR));
        self.run_here(&mut command);
        heard(&mut command)
    }
}

fn heard(command: &mut Command) -> Said {
    let output = command.output().unwrap();
    Said {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
