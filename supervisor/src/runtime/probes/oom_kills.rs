//! The kernel's counter of OOM kills. The SIGKILL itself does not show its sender.

use std::{
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
};

/// The counter, and its last value.
#[derive(Debug)]
pub(in crate::runtime) struct OomKills {
    /// `memory.events` of our own cgroup (version 2), which counts our processes only; without it
    /// `/proc/vmstat`, which counts those of the whole machine. `None` if the kernel has neither.
    file: Option<PathBuf>,
    last_count: u64,
}

impl OomKills {
    /// Finds the counter below this root directory.
    pub(in crate::runtime) fn find(root: &Path) -> Self {
        let cgroups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
        let own =
            own_cgroup(&cgroups).map(|path| root.join("sys/fs/cgroup").join(path).join("memory.events"));
        let file = own.into_iter().chain([root.join("proc/vmstat")]).find(|file| read(file).is_some());
        let last_count = file.as_deref().and_then(read).unwrap_or_default();
        Self { file, last_count }
    }

    /// Ignores the kills so far. Called after a death of another kind, so that they are not taken for the
    /// cause of a later SIGKILL.
    pub(in crate::runtime) fn reset(&mut self) {
        self.increased();
    }

    /// Whether the counter rose since the last call.
    pub(in crate::runtime) fn increased(&mut self) -> bool {
        let before = self.last_count;
        self.last_count = self.file.as_deref().and_then(read).unwrap_or(before);
        self.last_count > before
    }
}

/// Our path in the cgroup v2 hierarchy, relative to its root (cgroups(7)).
fn own_cgroup(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("0::/"))
}

/// The value of `oom_kill` in a file of names and values.
fn read(file: &Path) -> Option<u64> {
    // Files in /proc have no size. With this room, one system call reads everything.
    let mut text = String::with_capacity(16 << 10);
    File::open(file).and_then(|mut file| file.read_to_string(&mut text)).ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: &str = "low 0\nhigh 0\nmax 812\noom 3\noom_kill 2\noom_group_kill 0\n";
    const VMSTAT: &str = "nr_free_pages 5118003\ndrop_slab 0\noom_kill 40\nballoon_inflate 0\n";

    /// A root directory with these files.
    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            write(root.path(), name, text);
        }
        root
    }

    fn write(root: &Path, name: &str, text: &str) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn the_counter_of_our_own_cgroup_is_preferred() {
        let events = "sys/fs/cgroup/system.slice/bulkhead.service/memory.events";
        let own = ("proc/self/cgroup", "0::/system.slice/bulkhead.service\n");
        let root = root(&[own, ("proc/vmstat", VMSTAT), (events, EVENTS)]);
        let mut kills = OomKills::find(root.path());
        assert_eq!((kills.last_count, kills.increased()), (2, false));
        write(root.path(), "proc/vmstat", "oom_kill 41\n");
        assert!(!kills.increased(), "a kill outside of our cgroup");
        write(root.path(), events, &EVENTS.replace("oom_kill 2", "oom_kill 3"));
        assert!(kills.increased() && !kills.increased());
        write(root.path(), events, &EVENTS.replace("oom_kill 2", "oom_kill 4"));
        kills.reset();
        assert!(!kills.increased(), "a kill outside of our cgroup, before");
    }

    #[test]
    fn without_a_cgroup_counter_the_counter_of_the_machine_is_used() {
        let cgroups = "12:memory:/a\n1:name=systemd:/b\n0::/\n";
        let root = root(&[("proc/self/cgroup", cgroups), ("proc/vmstat", VMSTAT)]);
        let mut kills = OomKills::find(root.path());
        assert_eq!((kills.last_count, kills.increased()), (40, false));
        write(root.path(), "proc/vmstat", "oom_kill 41\n");
        assert!(kills.increased());
    }

    #[test]
    fn a_kernel_without_counters_shows_no_kills() {
        let root = root(&[("proc/self/cgroup", "0::/x\n"), ("proc/vmstat", "oom_kill many\n")]);
        let mut kills = OomKills::find(root.path());
        assert!(kills.file.is_none() && !kills.increased());
    }
}
