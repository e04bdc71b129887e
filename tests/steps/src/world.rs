//! The shared memory of one service, as small as it can be, with the views that the rig needs of it.

use crate::image::{Image, Window, Windows};
use anyhow::{Context as _, Result, ensure};
use bulkhead_proto::{
    shm::{
        access::{ReadWords as _, WORD},
        memory::{MemoryError, SharedMemory},
        segment::{Kind, ReadWrite, Segment},
        table::{BODY_BYTES, Geometry},
    },
    wire::role::Role,
    worker::fds::{FdHandoff, FdName},
};
use nix::unistd::Pid;
use std::{fs, os::fd::OwnedFd, path::PathBuf};

/// The ring, in bytes: so small that a few dozen events go around it.
pub const CAPACITY: u64 = 2048;

/// How many slots the state table has, that of the overflow series included.
pub const SLOTS: u32 = 6;

/// How many keyed requests are remembered: so few that the log is soon gone around.
pub const KEY_WINDOW: u64 = 3;

/// The board, in bytes: room for two small ledgers.
const BOARD: usize = 4096;

/// The words of the producer's page that are its lock. A copy of a lock is none: it is not looked at, not restored.
const LOCK_WORDS: usize = 8;

/// The producer's page among [`SEGMENTS`].
const PRODUCER: usize = 1;

const SEGMENTS: [(&str, Kind); 6] = [
    ("events", Kind::Events),
    ("producer", Kind::Producer),
    ("keys", Kind::Keys),
    ("cursor", Kind::Cursor),
    ("state", Kind::State),
    ("board", Kind::StatusPage),
];

/// Memory of the sizes above.
///
/// # Errors
/// When the system refuses.
pub fn memory() -> Result<SharedMemory, MemoryError> {
    SharedMemory::with_key_window(CAPACITY, SLOTS - 1, 1, KEY_WINDOW)
}

/// A service's memory, made as its supervisor makes it.
#[derive(Debug)]
pub struct World {
    /// The memory itself.
    pub memory: SharedMemory,
    /// A board, small enough to be looked at after every step.
    pub board: Segment,
    /// The views of all of it.
    pub windows: Windows,
}

impl World {
    /// Makes fresh memory. Of each body of the state table, the first `body` bytes are looked at.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn new(body: usize) -> Result<Self> {
        let memory = memory()?;
        let board = Segment::create(Kind::StatusPage, BOARD, 1, true)?;
        let fds = [
            writable(&memory, "events")?,
            writable(&memory, "producer")?,
            writable(&memory, "keys")?,
            writable(&memory, "cursor")?,
            writable(&memory, "state")?,
            board.writable()?,
        ];
        let windows = windows_of(&fds, body)?;
        Ok(Self { memory, board, windows })
    }

    /// The fds that a worker of this role inherits. `Plain` stands for the supervisor: its board is the small one, and the
    /// cursor shows whom it has activated.
    ///
    /// # Errors
    /// When there are no fds left.
    pub fn bequeath(&self, role: Role) -> Result<FdHandoff> {
        let mut bequest = FdHandoff::default();
        match role {
            Role::Api => self.memory.pass_to_api(&mut bequest)?,
            Role::Analytics => self.memory.pass_to_analytics(&mut bequest)?,
            Role::Plain => {
                bequest.add(FdName::StatusPage, self.board.writable()?);
                bequest.add(FdName::Cursor, writable(&self.memory, "cursor")?);
            }
        }
        Ok(bequest)
    }

    /// The words of the API's lock.
    #[must_use]
    pub fn lock(&self) -> Vec<u64> {
        self.windows.words(PRODUCER, 0..LOCK_WORDS)
    }

    /// Makes this memory a copy of another's image.
    pub fn restore(&self, image: &Image) {
        self.windows.restore(image);
    }
}

/// The writable fd of a segment, as a worker gets it.
fn writable(memory: &SharedMemory, name: &str) -> Result<OwnedFd> {
    let (mut api, mut analytics) = (FdHandoff::default(), FdHandoff::default());
    memory.pass_to_api(&mut api)?;
    memory.pass_to_analytics(&mut analytics)?;
    let bequest = if matches!(name, "events" | "producer" | "keys") { api } else { analytics };
    let variable = bequest.variable();
    let names = variable.split(',').filter_map(|item| item.split('=').next());
    let found = names.zip(bequest.into_fds()).find(|(found, _)| *found == name);
    Ok(found.with_context(|| format!("no worker gets {name}"))?.1)
}

fn windows_of(fds: &[OwnedFd], body: usize) -> Result<Windows> {
    let map = |(fd, (_, kind)): (&OwnedFd, (&str, Kind))| ReadWrite::map(fd, kind);
    let segments = fds.iter().zip(SEGMENTS).map(map).collect::<Result<Vec<_>, _>>()?;
    let front = Geometry::new(SLOTS).front_bytes() / WORD;
    let mut windows = Vec::new();
    for (segment, ((name, kind), memory)) in SEGMENTS.into_iter().zip(&segments).enumerate() {
        let whole = memory.words();
        match kind {
            Kind::Producer => {
                windows.push(Window { name, segment, first: LOCK_WORDS, words: whole - LOCK_WORDS });
            }
            Kind::State => {
                ensure!(whole * WORD == Geometry::new(SLOTS).bytes(), "the table has {whole} words");
                windows.push(Window { name: "front", segment, first: 0, words: front });
                windows.extend((0..2 * SLOTS as usize).map(|number| Window {
                    name: "bodies",
                    segment,
                    first: front + number * BODY_BYTES / WORD,
                    words: body / WORD,
                }));
            }
            Kind::Events
            | Kind::Keys
            | Kind::Cursor
            | Kind::Ledger
            | Kind::StatusPage
            | Kind::SupervisorPage => {
                windows.push(Window { name, segment, first: 0, words: whole });
            }
        }
    }
    Windows::new(segments, windows)
}

/// The views of the memory that another process, which must be stopped, made for itself with [`memory`]. It has
/// no small board: `board` stands for it.
///
/// # Errors
/// When it made none, or the system refuses.
pub fn windows_of_process(pid: Pid, board: &Segment, body: usize) -> Result<Windows> {
    let mut fds = Vec::new();
    for (name, _) in &SEGMENTS[..SEGMENTS.len() - 1] {
        let path = memory_file(pid, name)?;
        fds.push(OwnedFd::from(fs::File::options().read(true).write(true).open(path)?));
    }
    fds.push(board.writable()?);
    windows_of(&fds, body)
}

fn memory_file(pid: Pid, name: &str) -> Result<PathBuf> {
    let wanted = format!("/memfd:bulkhead-{name} (deleted)");
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let path = entry?.path();
        if fs::read_link(&path)?.to_str() == Some(&wanted) {
            return Ok(path);
        }
    }
    anyhow::bail!("process {pid} holds no {wanted}")
}
