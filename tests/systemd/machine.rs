//! A machine with a systemd of its own: a container that is an overlay of this system, so that nothing needs to be fetched
//! and nothing is changed. It is gone, with its mounts, when its first process is.

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

/// Mounts the overlay on `$1`, an empty directory, in a mount namespace that ends with this process.
const MOUNT: &str = r#"set -e
mount -t tmpfs -o size=1g tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
"#;

/// Then becomes the container. `$2` has the packages.
const BOOT: &str = r#"# Images of build machines let no package start anything.
rm -f "$1/root/usr/sbin/policy-rc.d"
exec systemd-nspawn --quiet --directory="$1/root" --boot --register=no --keep-unit --console=pipe --private-network \
    --bind-ro="$2:/packages" systemd.unit=basic.target"#;

/// No command in a machine takes longer, in seconds, on however busy a host.
const COMMAND_BOUND: &str = "120";

/// How often something is asked that nobody announces.
const PACE: Duration = Duration::from_millis(50);

/// Why no such machine can be booted here, if so.
pub(crate) fn obstacle() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("it takes root to boot a systemd in a container".into());
    }
    let tools = ["systemd-nspawn", "unshare", "nsenter", "dpkg", "lintian", "cargo-deb"];
    let missing: Vec<_> = tools.into_iter().filter(|tool| find(tool).is_none()).collect();
    if !missing.is_empty() {
        return Some(format!("{} missing: tests/setup.sh installs what is needed", missing.join(", ")));
    }
    let folder = tempfile::tempdir().ok()?;
    let output = in_namespace(MOUNT, folder.path()).output().ok()?;
    let error = String::from_utf8_lossy(&output.stderr);
    (!output.status.success()).then(|| format!("no overlay can be mounted: {}", error.trim()))
}

/// A script in a mount namespace of its own, with this directory as `$1`.
fn in_namespace(script: &str, folder: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script, "machine"]).arg(folder);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

fn find(tool: &str) -> Option<std::path::PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).map(|folder| folder.join(tool)).find(|path| path.is_file())
}

/// A booted machine.
pub(crate) struct Machine {
    _folder: TempDir,
    nspawn: Child,
    /// Its first process, as this system numbers it.
    leader: i32,
}

/// What a command in the machine said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    /// Its standard output and error.
    pub(crate) text: String,
}

impl Machine {
    /// Boots one that finds this directory as `/packages`.
    pub(crate) fn boot(packages: &Path) -> Self {
        let folder = tempfile::Builder::new().prefix("bulkhead-machine-").tempdir().unwrap();
        let mut nspawn = in_namespace(&format!("{MOUNT}{BOOT}"), folder.path())
            .arg(packages)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let leader = wait_for("the container to begin", || {
            assert!(nspawn.try_wait().unwrap().is_none(), "systemd-nspawn has failed");
            leader(&nspawn)
        });
        let machine = Self { _folder: folder, nspawn, leader };
        machine.until("systemd to be up", || {
            // Something may fail in it that is no concern of ours.
            ["running", "degraded"].contains(&machine.run("systemctl is-system-running").text.trim())
        });
        machine
    }

    /// Runs a command line in it.
    pub(crate) fn run(&self, line: &str) -> Said {
        let output = Command::new("nsenter")
            .args(["--target", &self.leader.to_string(), "--all", "timeout", COMMAND_BOUND, "sh", "-c", line])
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LANG", "C.UTF-8")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        Said { code: output.status.code(), text: String::from_utf8_lossy(&text).into_owned() }
    }

    /// Runs a command line that must succeed; what it said.
    pub(crate) fn must(&self, line: &str) -> String {
        let said = self.run(line);
        assert_eq!(said.code, Some(0), "{line}: {}\n{}", said.text, self.journal());
        said.text
    }

    /// A property of the service.
    pub(crate) fn show(&self, property: &str) -> String {
        self.must(&format!("systemctl show --value -p {property} bulkhead")).trim().to_owned()
    }

    /// Waits until that holds.
    pub(crate) fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !holds() {
            assert!(Instant::now() < deadline, "waited in vain for {what}\n{}", self.journal());
            sleep(PACE);
        }
    }

    fn journal(&self) -> String {
        self.run("journalctl --no-pager -o short-precise -n 100").text
    }

    /// Does something in the machine's network.
    pub(crate) fn inside<T: Send + 'static>(
        &self,
        act: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let network = File::open(format!("/proc/{}/ns/net", self.leader)).unwrap();
        spawn(move || {
            setns(network, CloneFlags::CLONE_NEWNET).unwrap();
            act()
        })
    }

    /// Asks the service for JSON.
    pub(crate) fn json(&self, path: &'static str) -> serde_json::Value {
        self.inside(move || client().json(path)).join().unwrap()
    }
}

/// A client of the service, with a connection of its own; for use [inside](Machine::inside) the machine.
pub(crate) fn client() -> Client {
    Client::new(SocketAddr::from(([127, 0, 0, 1], 8080)))
}

/// The first child of nspawn, once it is the machine's first process.
fn leader(nspawn: &Child) -> Option<i32> {
    let nspawn = i32::try_from(nspawn.id()).ok()?;
    let child = process::tree(nspawn).get(1)?.pid();
    let namespace = |pid: i32| {
        Process::new(pid).ok()?.namespaces().ok()?.0.get(std::ffi::OsStr::new("pid")).map(|ns| ns.identifier)
    };
    (namespace(child)? != namespace(nspawn)?).then_some(child)
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        sleep(PACE);
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // The kernel ends everything in it with its first process.
        process::signal(self.leader, Signal::SIGKILL);
        let _ = self.nspawn.wait();
    }
}
