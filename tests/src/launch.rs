//! The ways to start a supervisor in a fixture.

use crate::{Bulkhead, Fixture, binaries, bulkhead::Launcher};

impl Fixture {
    /// Starts the supervisor and waits until both workers are active.
    ///
    /// # Panics
    /// With the log, if a worker does not become active.
    #[must_use]
    pub fn start(self) -> Bulkhead {
        let command = self.command(binaries::find(binaries::SUPERVISOR));
        Bulkhead::start(self, command, Launcher::Direct)
    }

    /// Starts the supervisor and waits only until it listens. The workers may never become active.
    ///
    /// # Panics
    /// With the log, if the supervisor does not listen.
    #[must_use]
    pub fn launch(self) -> Bulkhead {
        let command = self.command(binaries::find(binaries::SUPERVISOR));
        Bulkhead::launch(self, command)
    }

    /// As [`Fixture::start`], with a separate file system of this size at `state/`. Needs root.
    ///
    /// # Panics
    /// With the log, if a worker does not become active.
    #[must_use]
    pub fn start_with_small_disk(self, size: &str) -> Bulkhead {
        let (state, supervisor) = (self.path("state"), binaries::find(binaries::SUPERVISOR));
        std::fs::create_dir(&state).unwrap();
        let mut unshare = self.command("unshare".into());
        let script = r#"mount -t tmpfs -o size="$0" tmpfs "$1" && shift && exec "$@""#;
        unshare.args(["--mount", "sh", "-c", script, size]).args([state, supervisor]);
        Bulkhead::start(self, unshare, Launcher::Direct)
    }

    /// As [`Fixture::start`], where `/proc/vmstat` is the file `vmstat` of the fixture, and no cgroup files exist. Needs
    /// root.
    ///
    /// # Panics
    /// With the log, if a worker does not become active.
    #[must_use]
    pub fn start_with_fake_vmstat(self) -> Bulkhead {
        let mut unshare = self.command("unshare".into());
        let script = r#"mount -t tmpfs tmpfs /sys/fs/cgroup && mount --bind "$0" /proc/vmstat && exec "$@""#;
        unshare.args(["--mount", "sh", "-c", script]).arg(self.path("vmstat"));
        unshare.arg(binaries::find(binaries::SUPERVISOR));
        Bulkhead::start(self, unshare, Launcher::Direct)
    }

    /// Starts the supervisor as in a container: as PID 1 of its own pid namespace, on a read-only root. Only the
    /// fixture's directory is writable. Needs root.
    ///
    /// # Panics
    /// With the log, if a worker does not become active.
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
        Bulkhead::start(self, unshare, Launcher::Unshare)
    }
}
