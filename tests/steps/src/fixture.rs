//! The shared memory of one service in the smallest size, with the windows through which the runner reads it.

use crate::image::{Image, Window, Windows};
use anyhow::{Context as _, Result, ensure};
use bulkhead_proto::{
    shm::{
        access::{ReadWords as _, WORD},
        memory::{MemoryError, SharedMemory, Sizes},
        segment::{Kind, ReadWrite, Segment},
        table::Geometry,
    },
    wire::role::Role,
    worker::fds::{FdHandoff, FdName},
};
use nix::unistd::Pid;
use std::{fs, os::fd::OwnedFd, path::PathBuf};

/// The size of the ring in bytes. It is so small that a few dozen events wrap it.
pub const CAPACITY: u64 = 2048;

/// The number of slots of the state table, including the slot of the overflow series.
pub const SLOTS: u32 = 6;

/// The state table, with an arena of 64 segments of 512 bytes.
const TABLE: Geometry = Geometry::with_arena(SLOTS, 32 << 10);

/// The number of keyed requests that are remembered. It is so small that the key log soon wraps.
pub const KEY_WINDOW: u64 = 3;

/// The size of the page for published values, in bytes: room for two small ledgers.
const PUBLISHED_PAGE_BYTES: usize = 4096;

/// The words of the producer's page that hold its lock. A copied lock does not work, so the words are neither
/// read nor restored.
const LOCK_WORDS: usize = 8;

/// The index of the producer's page in [`SEGMENTS`].
const PRODUCER: usize = 1;

const SEGMENTS: [(&str, Kind); 6] = [
    ("events", Kind::Events),
    ("producer", Kind::Producer),
    ("keys", Kind::Keys),
    ("cursor", Kind::Cursor),
    ("state", Kind::State),
    ("published", Kind::StatusPage),
];

/// Shared memory of the sizes above.
///
/// # Errors
/// When the system refuses.
pub fn memory() -> Result<SharedMemory, MemoryError> {
    SharedMemory::with_sizes(CAPACITY, 1, Sizes { key_window: KEY_WINDOW, table: TABLE })
}

/// The memory of one service, created as its supervisor creates it.
#[derive(Debug)]
pub struct MemoryFixture {
    /// The shared memory.
    pub memory: SharedMemory,
    /// A page for published values, small enough to be read after every step.
    pub published_page: Segment,
    /// The windows of all segments.
    pub windows: Windows,
}

impl MemoryFixture {
    /// Creates new memory.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn new() -> Result<Self> {
        let memory = memory()?;
        let published_page = Segment::create(Kind::StatusPage, PUBLISHED_PAGE_BYTES, 1, true)?;
        let segments = [
            writable(&memory, "events")?,
            writable(&memory, "producer")?,
            writable(&memory, "keys")?,
            writable(&memory, "cursor")?,
            writable(&memory, "state")?,
            published_page.writable()?,
        ];
        let windows = windows_of(&segments)?;
        Ok(Self { memory, published_page, windows })
    }

    /// The fds that a worker of this role inherits. `Plain` stands for the supervisor: it gets the small page
    /// for published values, and the cursor page, which shows the activated generation.
    ///
    /// # Errors
    /// When no fds are left.
    pub fn pass_fds(&self, role: Role) -> Result<FdHandoff> {
        let mut fds = FdHandoff::default();
        match role {
            Role::Api => self.memory.pass_to_api(&mut fds)?,
            Role::Analytics => self.memory.pass_to_analytics(&mut fds)?,
            Role::Plain => {
                fds.add(FdName::StatusPage, self.published_page.writable()?);
                fds.add(FdName::Cursor, writable(&self.memory, "cursor")?);
            }
        }
        Ok(fds)
    }

    /// The words of the API's lock.
    #[must_use]
    pub fn lock(&self) -> Vec<u64> {
        self.windows.words(PRODUCER, 0..LOCK_WORDS)
    }

    /// Overwrites this memory with an image of another one.
    pub fn restore(&self, image: &Image) {
        self.windows.restore(image);
    }
}

/// The writable fd of a segment, as a worker gets it.
fn writable(memory: &SharedMemory, name: &str) -> Result<OwnedFd> {
    let (mut api, mut analytics) = (FdHandoff::default(), FdHandoff::default());
    memory.pass_to_api(&mut api)?;
    memory.pass_to_analytics(&mut analytics)?;
    let fds = if matches!(name, "events" | "producer" | "keys") { api } else { analytics };
    let variable = fds.variable();
    let names = variable.split(',').filter_map(|item| item.split('=').next());
    let found = names.zip(fds.into_fds()).find(|(found, _)| *found == name);
    Ok(found.with_context(|| format!("no worker inherits {name}"))?.1)
}

fn windows_of(fds: &[OwnedFd]) -> Result<Windows> {
    let map = |(fd, (_, kind)): (&OwnedFd, (&str, Kind))| ReadWrite::map(fd, kind);
    let segments = fds.iter().zip(SEGMENTS).map(map).collect::<Result<Vec<_>, _>>()?;
    let front = TABLE.front_bytes() / WORD;
    let mut windows = Vec::new();
    for (segment, ((name, kind), memory)) in SEGMENTS.into_iter().zip(&segments).enumerate() {
        let all = memory.words();
        match kind {
            Kind::Producer => {
                windows.push(Window { name, segment, first: LOCK_WORDS, words: all - LOCK_WORDS });
            }
            Kind::State => {
                ensure!(all * WORD == TABLE.bytes(), "the table has {all} words");
                windows.push(Window { name: "front", segment, first: 0, words: front });
                windows.push(Window { name: "arena", segment, first: front, words: all - front });
            }
            Kind::Events
            | Kind::Keys
            | Kind::Cursor
            | Kind::Ledger
            | Kind::StatusPage
            | Kind::SupervisorPage => {
                windows.push(Window { name, segment, first: 0, words: all });
            }
        }
    }
    Windows::new(segments, windows)
}

/// The windows of the memory that another process created with [`memory`]. The process must be stopped. It
/// has no page for published values; `published_page` takes its place.
///
/// # Errors
/// When the process created no memory, or the system refuses.
pub fn windows_of_process(pid: Pid, published_page: &Segment) -> Result<Windows> {
    let mut fds = Vec::new();
    for (name, _) in &SEGMENTS[..SEGMENTS.len() - 1] {
        let path = memfd_path(pid, name)?;
        fds.push(OwnedFd::from(fs::File::options().read(true).write(true).open(path)?));
    }
    fds.push(published_page.writable()?);
    windows_of(&fds)
}

fn memfd_path(pid: Pid, name: &str) -> Result<PathBuf> {
    let wanted = format!("/memfd:bulkhead-{name} (deleted)");
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let path = entry?.path();
        if fs::read_link(&path)?.to_str() == Some(&wanted) {
            return Ok(path);
        }
    }
    anyhow::bail!("process {pid} holds no {wanted}")
}
