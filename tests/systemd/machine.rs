//! A machine with its own systemd: a container on an overlay of this system. The overlay needs no download and leaves this
//! system unchanged. The container and its mounts end with its PID 1.

use bulkhead_tests::{
    http::Client,
    log::DEADLINE,
    process::{self, Signal},
};
use nix::sched::{CloneFlags, setns};
use procfs::process::Process;
use std::{
    fs::File,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    thread::{JoinHandle, sleep, spawn},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Mounts the overlay on the empty directory `$1`, in a mount namespace that ends with this process.
const MOUNT_SCRIPT: &str = r#"set -e
mount -t tmpfs -o size=1g tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
"#;

/// Runs after [`MOUNT_SCRIPT`] and becomes the container. `$2` is the directory of the packages.
const BOOT_SCRIPT: &str = r#"# In images of build machines, this file prevents packages from starting services.
rm -f "$1/root/usr/sbin/policy-rc.d"
exec systemd-nspawn --quiet --directory="$1/root" --boot --register=no --keep-unit --console=pipe --private-network \
    --bind-ro="$2:/packages" systemd.unit=basic.target"#;

/// The timeout of a command in the machine, in seconds. It is long enough for a busy host.
const COMMAND_TIMEOUT: &str = "120";

/// The interval at which a condition is checked that no event announces.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The reason why a machine cannot be booted here; `None` if it can.
pub(crate) fn skip_reason() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("booting systemd in a container needs root".into());
    }
    let tools = ["systemd-nspawn", "unshare", "nsenter", "dpkg", "lintian", "cargo-deb"];
    let missing: Vec<_> = tools.into_iter().filter(|tool| find_in_path(tool).is_none()).collect();
    if !missing.is_empty() {
        return Some(format!("missing: {}; run tests/setup.sh to install them", missing.join(", ")));
    }
    let folder = tempfile::tempdir().ok()?;
    let output = in_mount_namespace(MOUNT_SCRIPT, folder.path()).output().ok()?;
    let error = String::from_utf8_lossy(&output.stderr);
    (!output.status.success()).then(|| format!("cannot mount an overlay: {}", error.trim()))
}

/// A script in a new mount namespace, with this directory as `$1`.
fn in_mount_namespace(script: &str, folder: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script, "machine"]).arg(folder);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

fn find_in_path(tool: &str) -> Option<std::path::PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).map(|folder| folder.join(tool)).find(|path| path.is_file())
}

/// A booted machine. Dropping it ends it.
pub(crate) struct Machine {
    _folder: TempDir,
    nspawn: Child,
    /// The pid of its PID 1 in this system's pid namespace.
    leader: i32,
}

/// The result of a command in the machine.
#[derive(Debug)]
pub(crate) struct CommandOutput {
    pub(crate) code: Option<i32>,
    /// Standard output, then standard error.
    pub(crate) text: String,
}

impl Machine {
    /// Boots a machine in which this directory is `/packages`.
    pub(crate) fn boot(packages: &Path) -> Self {
        let folder = tempfile::Builder::new().prefix("bulkhead-machine-").tempdir().unwrap();
        let mut nspawn = in_mount_namespace(&format!("{MOUNT_SCRIPT}{BOOT_SCRIPT}"), folder.path())
            .arg(packages)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let leader = wait_for("the container to start", || {
            assert!(nspawn.try_wait().unwrap().is_none(), "systemd-nspawn failed");
            leader(&nspawn)
        });
        let machine = Self { _folder: folder, nspawn, leader };
        machine.wait_until("systemd to be up", || {
            // "degraded": a unit that this test does not need has failed.
            ["running", "degraded"].contains(&machine.run("systemctl is-system-running").text.trim())
        });
        machine
    }

    /// Runs a shell command in the machine.
    pub(crate) fn run(&self, line: &str) -> CommandOutput {
        let output = Command::new("nsenter")
            .args([
                "--target",
                &self.leader.to_string(),
                "--all",
                "timeout",
                COMMAND_TIMEOUT,
                "sh",
                "-c",
                line,
            ])
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LANG", "C.UTF-8")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        CommandOutput { code: output.status.code(), text: String::from_utf8_lossy(&text).into_owned() }
    }

    /// Runs a shell command that must succeed. Returns its output.
    pub(crate) fn run_ok(&self, line: &str) -> String {
        let output = self.run(line);
        assert_eq!(output.code, Some(0), "{line}: {}\n{}", output.text, self.journal());
        output.text
    }

    /// A systemd property of the service.
    pub(crate) fn property(&self, property: &str) -> String {
        self.run_ok(&format!("systemctl show --value -p {property} bulkhead")).trim().to_owned()
    }

    /// Waits until a condition holds.
    pub(crate) fn wait_until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !holds() {
            assert!(Instant::now() < deadline, "timed out waiting for {what}\n{}", self.journal());
            sleep(POLL_INTERVAL);
        }
    }

    fn journal(&self) -> String {
        self.run("journalctl --no-pager -o short-precise -n 100").text
    }

    /// Runs `act` on a new thread in the machine's network namespace.
    pub(crate) fn spawn_in_network<T: Send + 'static>(
        &self,
        act: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let network = File::open(format!("/proc/{}/ns/net", self.leader)).unwrap();
        spawn(move || {
            setns(network, CloneFlags::CLONE_NEWNET).unwrap();
            act()
        })
    }

    /// Sends a GET request to the service.
    pub(crate) fn get_json(&self, path: &'static str) -> serde_json::Value {
        self.spawn_in_network(move || client().get_json(path)).join().unwrap()
    }
}

/// A client of the service with its own connection, for use in [`Machine::spawn_in_network`].
pub(crate) fn client() -> Client {
    Client::new(SocketAddr::from(([127, 0, 0, 1], 8080)))
}

/// The first child of nspawn, once it is PID 1 of the machine.
fn leader(nspawn: &Child) -> Option<i32> {
    let nspawn = i32::try_from(nspawn.id()).ok()?;
    let child = process::tree(nspawn).get(1)?.pid();
    let namespace = |pid: i32| {
        Process::new(pid).ok()?.namespaces().ok()?.0.get(std::ffi::OsStr::new("pid")).map(|ns| ns.identifier)
    };
    (namespace(child)? != namespace(nspawn)?).then_some(child)
}

fn wait_for<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(Instant::now() < deadline, "timed out waiting for {what}");
        sleep(POLL_INTERVAL);
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // When PID 1 ends, the kernel kills all other processes of the machine.
        process::signal(self.leader, Signal::SIGKILL);
        let _ = self.nspawn.wait();
    }
}
